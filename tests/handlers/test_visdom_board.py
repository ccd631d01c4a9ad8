"""A board: every point arrives, however often the server starts anew, and images as they are."""

import base64
import io

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from PIL import Image

from handlers import RunRecord, StepMeans, VisdomBoard
from handlers.visdom_windows import safe_name
from tests.support.board_training import TEXT, assert_complete, curve, train
from tests.support.visdom_process import VisdomProcess


@pytest.fixture
def server(tmp_path):
    server = VisdomProcess(tmp_path / "home")
    yield server
    server.kill()


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
