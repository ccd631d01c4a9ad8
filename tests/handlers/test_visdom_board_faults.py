"""A server that fails, or refuses, changes nothing in the training, and what is wrong is said once."""

import logging
import os
import socket
import time
from contextlib import ExitStack

import pytest
import torch
from ignite.engine import Engine

from handlers import VisdomBoard
from handlers.visdom_sender import VisdomSender
from handlers.visdom_windows import TextPane
from tests.support.board_training import curve, train
from tests.support.visdom_process import VisdomProcess, answering_server, hung_server, unused_port


@pytest.fixture
def server(tmp_path):
    server = VisdomProcess(tmp_path / "home")
    yield server
    server.kill()


def test_a_text_that_cannot_be_had_is_logged_and_the_run_goes_on(caplog):
    trainer = Engine(lambda engine, batch: None)
    board = VisdomBoard(
        "http://localhost:1", environment="a-run", texts={"bad": lambda: 1 / 0}, optional=True
    )
    with board.attach(trainer):
        assert trainer.run([0]).epoch == 1
    assert "the text 'bad' failed" in caplog.text


def test_a_board_may_be_opened_again_after_it_gave_up(server):
    with hung_server() as url:
        trainer = Engine(lambda engine, batch: engine.state.metrics.update(x=engine.state.epoch))
        board = VisdomBoard(url, environment="a-run", period_s=0.05).attach(trainer)
        trainer.run([0], max_epochs=1)
        board.close(deadline_s=0.1)
        board._sender.url = server.url
        server.start()
        with board:
            trainer.run([0], max_epochs=2)
        assert curve(server, "x", "x") == [(1, 1.0), (2, 2.0)]


@pytest.mark.parametrize("fault", ["nobody there", "hung", "status 500", "not Visdom", "slow"])
def test_a_server_that_fails_changes_nothing_in_the_training(fault, caplog):
    with ExitStack() as stack:
        if fault == "nobody there":
            url = f"http://localhost:{unused_port()}"
        elif fault == "hung":
            url = stack.enter_context(hung_server())
        else:
            status, delay_s = {"status 500": (500, 0), "not Visdom": (200, 0), "slow": (200, 5)}[fault]
            url = stack.enter_context(answering_server(status, delay_s=delay_s))
        with caplog.at_level(logging.WARNING):
            digest = train(url, on_epoch=lambda epoch: time.sleep(0.1), deadline_s=3.0)
        said = [record.message for record in caplog.records]
    assert digest == train(url, board=False)
    words = {
        "nobody there": "nobody is there",
        "status 500": "status 500",
        "not Visdom": "is that a Visdom server",
    }
    assert len(said) == (fault in words), said
    assert all(words[fault] in line for line in said)


def test_closing_gives_up_on_a_hung_server_in_time():
    with hung_server() as url:
        trainer = Engine(lambda engine, batch: None)
        board = VisdomBoard(url, environment="a-run", texts={"about": lambda: "x"}).attach(trainer)
        trainer.run([0])
        start = time.monotonic()
        board.close(deadline_s=0.2)
        assert time.monotonic() - start < 5  # a request waits for ten


def test_an_optional_server_that_never_was_there_is_no_news(caplog):
    train(f"http://localhost:{unused_port()}", optional=True)
    assert not caplog.records


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"username": "ada", "password": "right"}, []),
        ({"username": "ada", "password": "wrong"}, ["it refuses the user name or password"]),
        ({}, ["it asks for a log-in"]),
    ],
)
def test_a_server_may_ask_for_a_log_in(tmp_path, caplog, given, said):
    server = VisdomProcess(tmp_path, VISDOM_USERNAME="ada", VISDOM_PASSWORD="right")
    server.start()
    try:
        train(server.url, **given)
        assert server.log_in("ada", "right")
        assert bool(server.windows("a-run")) == (not said)
    finally:
        server.kill()
    assert [record.message for record in caplog.records] == [
        f"Visdom at {server.url}: {words}; the board goes on when it can" for words in said
    ]


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (1, 2, 3, 4, 5)])
def test_what_is_no_image_is_refused(shape):
    board = VisdomBoard("http://localhost:1", environment="a-run")
    with pytest.raises(ValueError, match=r"image must be .* got \(.*"):
        board.show_image("x", torch.zeros(shape))


@pytest.mark.parametrize(
    "url",
    [
        *("localhost:8097", "ftp://localhost", "http://", "http://localhost:abc", "http://localhost:0"),
        *("http://ada:secret@localhost", "ada:secret@localhost", "http://ada:secret@[::1"),
    ],
)
def test_a_url_that_is_none_is_refused_and_no_secret_told(url):
    with pytest.raises(ValueError, match="a server's URL must") as error:
        VisdomBoard(url, environment="a-run")
    assert "secret" not in str(error.value)


def test_a_window_that_fails_keeps_no_other_from_the_server(server, caplog):
    class Broken(TextPane):
        def content(self):
            raise ZeroDivisionError

    panes = {("a-run", name): Broken(name) if name == "b" else TextPane(name) for name in "abc"}
    for pane in panes.values():
        pane.set("x")
    server.start()
    sender = VisdomSender(server.url, lambda: panes, period_s=0.01)
    sender.start()
    assert server.wait_for("a-run", "c")
    panes["a-run", "b"].set("y")
    panes["a-run", "c"].set("z")
    sender.close()
    assert set(server.windows("a-run")) == {"a", "c"}
    assert server.windows("a-run")["c"]["content"] == "z"
    assert [record.message for record in caplog.records] == ["the window 'b' of 'a-run' cannot be shown"]


def test_what_a_server_says_with_a_refusal_is_passed_on(server, caplog, monkeypatch):
    find = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *args: find("localhost", *args))
    server.start()
    pane = TextPane("a")
    pane.set("x")
    sender = VisdomSender(f"http://board.test:{server.port}", lambda: {("a-run", "a"): pane})
    sender.start()
    sender.close(10)
    (record,) = caplog.records
    assert (
        "it answers with status 403 (The board does not go by this name: ask for localhost" in record.message
    )


def test_a_run_directory_that_is_damaged_costs_only_what_is_in_it(server, tmp_path, caplog):
    os.mkfifo(tmp_path / "metrics.jsonl")
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "epoch_0001.png").write_bytes(b"no image")
    server.start()
    trainer = Engine(lambda engine, batch: engine.state.metrics.update({"val/x": engine.state.epoch}))
    trainer.load_state_dict({"iteration": 1, "epoch_length": 1, "max_epochs": 3})
    board = VisdomBoard(server.url, environment="a-run", directory=tmp_path, period_s=0.05)
    with board.attach(trainer):
        trainer.run([0])
    assert curve(server, "validation", "x") == [(2, 2.0), (3, 3.0)]
    said = [record.message.partition(": ")[2] for record in caplog.records]
    assert len(said) == 2
    assert said[0].startswith("metrics.jsonl is not shown (")
    assert said[1] == "samples is not shown (not a PNG image)"
