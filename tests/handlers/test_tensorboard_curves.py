"""What TensorBoard would read, and a disk that hangs or fails under it."""

import logging
import threading

import pytest
from ignite.engine import Engine
from tensorboardX.proto.event_pb2 import Event

from handlers import RunRecord, create_run
from handlers.files import read_metrics
from handlers.tensorboard_curves import TensorboardCurves
from tests.support.runs import summary, train


def written(directory):
    """Return the points of all curves that are shown, those of a later session in place of an earlier one's.

    A record in the file is a length, its checksum, the content, and its checksum.
    """
    points = {}
    for path in sorted(directory.glob("events.*")):
        content = path.read_bytes()
        while content:
            size = int.from_bytes(content[:8], "little")
            event = Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]
            if event.HasField("session_log"):
                points = {
                    name: [(step, value) for step, value in curve if step < event.step]
                    for name, curve in points.items()
                }
            for value in event.summary.value:
                points.setdefault(value.tag, []).append((event.step, value.simple_value))
    return points


def test_every_line_of_the_record_becomes_points(tmp_path):
    trainer = Engine(
        lambda engine, batch: engine.state.metrics.update({"train/loss": 0.5 * batch, "val/x": 2})
    )
    record = RunRecord(create_run(tmp_path / "run", {}), every_iters=2, report=False).attach(trainer)
    with record, TensorboardCurves(tmp_path / "curves") as curves:
        record.listeners.append(curves.add)
        trainer.run([1.0, 2.0, 3.0], max_epochs=2)
    assert written(tmp_path / "curves") == {
        "train/loss_recent": [(2, 1.0), (4, 0.5), (6, 1.5)],
        "train/loss": [(3, 1.5), (6, 1.5)],
        "val/x": [(3, 2.0), (6, 2.0)],
    }


def test_a_resumed_run_writes_each_point_once(tmp_path, monkeypatch):
    for session, steps in enumerate((range(1, 6), range(4, 7))):
        monkeypatch.setattr("time.time", lambda session=session: 1e9 + session)  # which names the files
        with TensorboardCurves(tmp_path, from_iteration=steps[0] - 1) as curves:
            for step in steps:
                curves.add({"kind": "epoch", "epoch": 1, "iteration": step, "x": session})
    assert written(tmp_path) == {"x": [(1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 1)]}


def test_a_run_writes_what_its_record_has_and_trains_the_same_model(image_tree, undisturbed, tmp_path):
    train(image_tree, tmp_path / "run", "--tensorboard")
    assert summary(tmp_path / "run")["model_sha256"] == summary(undisturbed)["model_sha256"]
    found = written(tmp_path / "run" / "tensorboard")
    lines = [line for line in read_metrics(tmp_path / "run") if line["kind"] == "epoch"]
    assert [step for step, _ in found["val/accuracy"]] == [line["iteration"] for line in lines]
    assert [value for _, value in found["val/accuracy"]] == pytest.approx(
        [line["val/accuracy"] for line in lines]
    )


def test_a_folder_that_cannot_be_written_is_said_once_and_nothing_else(tmp_path, caplog):
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING), TensorboardCurves(tmp_path / "file" / "below") as curves:
        for iteration in range(5):
            curves.add({"kind": "epoch", "epoch": 1, "iteration": iteration, "x": 1.0})
    failed, missing = (record.message for record in caplog.records)
    assert "no more is written for TensorBoard" in failed
    assert "5 lines of 5 are missing" in missing


def test_a_disk_that_hangs_holds_up_nobody_and_what_is_missing_is_said(tmp_path, monkeypatch, caplog):
    released = threading.Event()
    monkeypatch.setattr("ignite.handlers.TensorboardLogger", lambda **options: released.wait())
    try:
        with caplog.at_level(logging.WARNING), TensorboardCurves(tmp_path, deadline_s=0.05) as curves:
            for iteration in range(200_000):
                curves.add({"kind": "epoch", "epoch": 1, "iteration": iteration, "x": 1.0})
        assert "200000 lines of 200000 are missing" in caplog.text
    finally:
        released.set()


def test_without_the_package_it_is_one_line(monkeypatch, image_tree, tmp_path, capsys):
    monkeypatch.setattr("ignite_pipeline.run.live_board.is_available", lambda: False)
    with pytest.raises(SystemExit) as stop:
        train(image_tree, tmp_path / "run", "--tensorboard")
    assert stop.value.code == 2
    assert "--tensorboard needs tensorboardX: pip install" in capsys.readouterr().err
    monkeypatch.setattr("handlers.tensorboard_curves.is_available", lambda: False)
    with pytest.raises(ModuleNotFoundError, match="tensorboardX"):
        TensorboardCurves(tmp_path)
