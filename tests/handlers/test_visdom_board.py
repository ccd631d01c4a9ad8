import base64
import io
import logging
import os
import socket
import time
from contextlib import ExitStack

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from PIL import Image
from torch import nn

from handlers import EvaluateEachEpoch, RunRecord, StepMeans, VisdomBoard, model_sha256
from handlers.visdom_sender import VisdomSender
from handlers.visdom_windows import TextPane, safe_name
from tests.support.visdom_process import VisdomProcess, answering_server, hung_server, unused_port

EPOCHS = 6
TEXT = safe_name("text/about")


@pytest.fixture
def server(tmp_path):
    server = VisdomProcess(tmp_path / "home")
    yield server
    server.kill()


def train(url, *, on_epoch=None, epochs=EPOCHS, board=True, deadline_s=60.0, **options):
    """Train a line for a few epochs beside a board; return the digest of the model."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(engine, batch):
        loss = nn.functional.mse_loss(model(batch), batch.sum(1, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss.detach()}

    trainer = Engine(step)
    evaluator = Engine(lambda engine, batch: None)
    evaluator.add_event_handler(Events.COMPLETED, lambda: evaluator.state.metrics.update(loss=0.5))
    StepMeans(every_iters=2).attach(trainer)
    EvaluateEachEpoch(evaluator, [0]).attach(trainer)
    with ExitStack() as stack:
        if board:
            texts = {"about": lambda: "it <goes>"}
            board = VisdomBoard(
                url, environment="a-run", every_iters=2, period_s=0.05, texts=texts, **options
            )
            stack.enter_context(board.attach(trainer))
            stack.callback(
                board.close, deadline_s
            )  # a busy machine may need more than the usual three seconds
        if on_epoch is not None:
            trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: on_epoch(engine.state.epoch))
        trainer.run(torch.randn(4, 8, 4), max_epochs=epochs)
    return model_sha256(model)


def curve(server, name, window="loss"):
    traces = server.windows("a-run")[window]["content"]["data"]
    (trace,) = (trace for trace in traces if trace["name"] == name)
    return list(zip(trace["x"], trace["y"], strict=True))


def assert_complete(server, epochs=EPOCHS):
    ends = [4 * epoch for epoch in range(1, epochs + 1)]
    assert [x for x, _ in curve(server, "training, epoch mean")] == ends
    assert curve(server, "validation") == [(x, 0.5) for x in ends]
    assert [x for x, _ in curve(server, "training, recent mean")] == list(range(2, 4 * epochs + 1, 2))
    assert server.windows("a-run")[TEXT]["content"] == "it &lt;goes&gt;"  # sent once, and never changed


def test_the_server_holds_every_point_and_nothing_is_deleted_at_the_end(server):
    server.start()
    train(server.url)
    assert_complete(server)


def test_a_server_that_starts_late_gets_everything(server):
    train(server.url, on_epoch=lambda epoch: server.start() if epoch == 4 else None)
    assert_complete(server)


def test_a_server_killed_and_started_empty_gets_everything(server):
    def on_epoch(epoch):
        if epoch == 3:
            server.wait_for("a-run", "loss")
            server.kill()
            server.start()

    server.start()
    train(server.url, on_epoch=on_epoch)
    assert_complete(server)


def test_a_server_that_starts_with_what_it_had_saved_long_ago_gets_everything(server):
    def on_epoch(epoch):
        if epoch == 2:
            server.wait_for("a-run", "loss")
            server.post("save", {"data": ["a-run"]})
        if epoch == 4:
            server.kill()
            server.start()
            assert "loss" in server.windows("a-run")

    server.start()
    train(server.url, on_epoch=on_epoch)
    assert_complete(server)


def test_windows_that_went_while_nothing_failed_come_back(server):
    def on_epoch(epoch):
        if epoch == 3:
            server.wait_for("a-run", TEXT)
            server.wait_for("a-run", "loss")
            server.post("close", {"eid": "a-run", "win": None})

    server.start()
    train(server.url, on_epoch=on_epoch)
    assert_complete(server)


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


def test_a_resumed_run_goes_on_with_its_curves(server, tmp_path):
    def run(trainer_epochs, directory, start=0):
        trainer = Engine(lambda engine, batch: {"loss": torch.tensor(float(engine.state.iteration))})
        StepMeans(every_iters=1).attach(trainer)
        record = RunRecord(directory, every_iters=1, report=False).attach(trainer)
        board = VisdomBoard(
            server.url, environment="a-run", directory=directory, every_iters=1, period_s=0.05
        )
        trainer.load_state_dict({"iteration": start, "epoch_length": 4, "max_epochs": trainer_epochs})
        seen = []
        trainer.add_event_handler(Events.ITERATION_STARTED, lambda: seen.append(trainer.state.iteration))
        with record, board.attach(trainer):
            trainer.run(range(4))
            board.close(60.0)
        return seen

    server.start()
    run(3, tmp_path)
    assert run(5, tmp_path, start=8)[0] == 9  # from the checkpoint of epoch 2: epoch 3 happens again
    assert curve(server, "training, recent mean") == [(x, float(x)) for x in range(1, 21)]
    assert [x for x, _ in curve(server, "training, epoch mean")] == [4, 8, 12, 16, 20]


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


def test_images_arrive_as_they_are(server):
    image = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    expected = image.clone().permute(0, 2, 3, 1).numpy()
    server.start()
    trainer = Engine(lambda engine, batch: None)
    with VisdomBoard(server.url, environment="a-run").attach(trainer) as board:
        board.show_image("noise", image, caption="two")
        board.show_image("half", torch.full((1, 2, 2), 0.5, dtype=torch.bfloat16))
        image.zero_()  # what is shown is what was there when it was shown
        trainer.run([0])
    windows = server.windows("a-run")
    assert windows[safe_name("image/noise")]["content"]["caption"] == "two"
    assert np.array_equal(pixels(windows[safe_name("image/noise")]), np.concatenate([*expected], axis=1))
    assert (pixels(windows[safe_name("image/half")]) == 128).all()


def pixels(window):
    png = base64.b64decode(window["content"]["src"].partition("base64,")[2])
    return np.asarray(Image.open(io.BytesIO(png)))


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


def test_only_chosen_metrics_are_shown(server):
    server.start()
    train(server.url, metrics=["val/loss"])
    assert [trace["name"] for trace in server.windows("a-run")["loss"]["content"]["data"]] == ["validation"]


def test_only_the_first_process_shows_anything(monkeypatch):
    monkeypatch.setattr(idist, "get_rank", lambda: 1)
    trainer = Engine(lambda engine, batch: None)
    board = VisdomBoard("http://localhost:1", environment="a-run").attach(trainer)
    assert not any(
        trainer.has_event_handler(handler) for handler in (board.start, board.log_iteration, board.log_epoch)
    )


def test_a_value_on_a_device_is_what_it_was_when_it_was_published(server):
    value = torch.tensor(1.0)
    trainer = Engine(lambda engine, batch: engine.state.metrics.update({"val/x": value}))
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: value.fill_(engine.state.epoch))
    server.start()
    with VisdomBoard(server.url, environment="a-run").attach(trainer):
        trainer.run([0], max_epochs=5)
    assert curve(server, "validation", "x") == [(n, float(n)) for n in range(1, 6)]


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
