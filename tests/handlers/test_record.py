import errno
import json
import logging
import os
import shutil
from contextlib import suppress

import pytest
import torch
from ignite.engine import Engine, Events
from PIL import Image
from torch import nn

from handlers import FetchComputeTimer, RunRecord, create_run, model_sha256, plot_report, read_config
from handlers.charged_seconds import PARTS
from handlers.files import positioned_record, read_metrics
from handlers.line_file import LineFile
from handlers.report import PART_STYLES


def trainer_with(directory, *, epochs=2, fail_at=None, error=None, **options):
    def step(engine, batch):
        if engine.state.iteration == fail_at:
            raise error
        engine.state.metrics["train/loss"] = torch.tensor(1 / engine.state.iteration)

    trainer = Engine(step)
    trainer.logger.disabled = True
    scores = [0.5, 0.75, float("nan")]
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED,
        lambda: trainer.state.metrics.update({"val/accuracy": scores[trainer.state.epoch - 1]}),
    )
    record = RunRecord(directory, every_iters=2, best="val/accuracy", report=False, **options).attach(trainer)
    with record:
        trainer.run([0] * 3, max_epochs=epochs)
    return trainer


def summary(directory):
    return json.loads((directory / "summary.json").read_text())


def test_lines_are_flat_and_in_order(tmp_path):
    trainer_with(tmp_path)
    lines = read_metrics(tmp_path)
    assert [(line["kind"], line["epoch"], line["iteration"]) for line in lines] == [
        ("iteration", 1, 2),
        ("epoch", 1, 3),
        ("iteration", 2, 4),
        ("iteration", 2, 6),
        ("epoch", 2, 6),
    ]
    assert lines[0] == {"kind": "iteration", "epoch": 1, "iteration": 2, "train/loss": 0.5}
    assert lines[1]["val/accuracy"] == 0.5


def test_the_summary_says_what_came_of_the_run(tmp_path):
    model, timer = nn.Linear(1, 1), FetchComputeTimer()
    dataset = {"name": "toy", "root": None, "train": 3, "val": 0}
    trainer_with(tmp_path, epochs=3, models=(model,), timer=timer, batch_size=8, dataset=dataset)
    found = summary(tmp_path)
    assert (found["status"], found["epochs"], found["iterations"]) == ("completed", 3, 9)
    assert found["best"] == {"metric": "val/accuracy", "value": 0.75, "epoch": 2, "maximize": True}
    assert found["final"] == {"train/loss": pytest.approx(1 / 9), "val/accuracy": None}
    assert found["dataset"] == dataset
    assert found["model_sha256"] == model_sha256(model)
    assert set(found["timing"]) == {
        *("fetch_s", "transfer_s", "compute_s", "handlers_s", "others_s"),
        *("evaluate_s", "checkpoint_s", "first_batch_s", "wall_s"),
        *("verdict", "diagnosis", "findings", "handlers", "step", "phases"),
        *("ceiling_speedup", "ceiling_speedup_95", "median_s", "p95_s"),
    }


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("broken"), "failed"), (KeyboardInterrupt(), "interrupted")]
)
def test_a_run_that_breaks_off_says_why_and_lets_the_error_through(tmp_path, error, status):
    with pytest.raises(type(error)):
        trainer_with(tmp_path, fail_at=5, error=error)
    found = summary(tmp_path)
    assert (found["status"], found["epochs"], found["iterations"]) == (status, 1, 5)
    assert type(error).__name__ in found["reason"]


def test_a_resumed_run_tells_nothing_twice(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for directory in (whole, cut):
        directory.mkdir()
        trainer_with(directory)
    with open(cut / "metrics.jsonl", "a") as file:
        file.write('{"kind": "epoch", "epo')

    trainer = Engine(
        lambda engine, batch: engine.state.metrics.update({"train/loss": 1 / engine.state.iteration})
    )
    trainer.load_state_dict({"iteration": 3, "epoch_length": 3, "max_epochs": 2})
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: trainer.state.metrics.update({"val/accuracy": 0.75})
    )
    with RunRecord(cut, every_iters=2, report=False).attach(trainer):
        trainer.run([0] * 3, max_epochs=2)
    assert [json.dumps(line)[:60] for line in read_metrics(cut)] == [
        json.dumps(line)[:60] for line in read_metrics(whole)
    ]


def test_what_is_not_finite_is_null(tmp_path):
    trainer_with(tmp_path, epochs=3)
    text = (tmp_path / "metrics.jsonl").read_text()
    assert "NaN" not in text
    assert read_metrics(tmp_path)[-1]["val/accuracy"] is None


def test_a_folder_that_vanishes_does_not_stop_the_run(tmp_path, caplog):
    directory = tmp_path / "run"
    directory.mkdir()
    trainer = Engine(lambda engine, batch: engine.state.metrics.update({"train/loss": 1.0}))
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda: shutil.rmtree(directory))
    with caplog.at_level(logging.WARNING), RunRecord(directory, every_iters=1).attach(trainer):
        assert trainer.run([0] * 3).iteration == 3
    assert "not written" in caplog.text


def test_a_directory_holds_one_run(tmp_path):
    create_run(tmp_path / "run", {"options": {}})
    assert read_config(tmp_path / "run") == {"options": {}}
    with pytest.raises(ValueError, match="run already holds a run"):
        create_run(tmp_path / "run", {})


@pytest.mark.parametrize("content", [None, "", "{", "[]"])
def test_a_directory_that_is_no_run_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=f"{tmp_path}: not a run directory"):
        read_config(tmp_path)


@pytest.mark.parametrize("lines", [0, 1, 40])
def test_the_report_is_a_picture_for_runs_of_any_length(tmp_path, lines):
    records = [
        {
            "kind": "epoch",
            "epoch": i + 1,
            "iteration": 10 * i,
            "train/loss": 1.0,
            "val/loss": None,
            "val/psnr": i,
        }
        for i in range(lines)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in records))
    (tmp_path / "summary.json").write_text(json.dumps({"status": "completed"}))
    with Image.open(plot_report(tmp_path)) as image:
        assert min(image.size) > 200
        assert len(set(image.convert("L").tobytes())) > 10


def test_vectors_are_recorded_and_drawn_in_one_panel(tmp_path, monkeypatch):
    trainer = Engine(lambda engine, batch: None)
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: trainer.state.metrics.update({"val/recall": torch.tensor([0.5, 1.0])})
    )
    with RunRecord(tmp_path).attach(trainer):
        trainer.run([0], max_epochs=2)
    assert {"val/recall/0": 0.5, "val/recall/1": 1.0}.items() <= read_metrics(tmp_path)[-1].items()
    drawn = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, path: drawn.extend(figure.axes))
    plot_report(tmp_path)
    titles = {axis.get_title(): [line.get_label() for line in axis.lines] for axis in drawn}
    assert titles["recall"] == ["validation, 0", "validation, 1"]


def test_each_part_of_the_time_has_a_bar_if_it_took_any(tmp_path, monkeypatch):
    assert PART_STYLES.keys() == set(PARTS)
    trainer = Engine(lambda engine, batch: None)
    times = {"time/fetch_s": 1.0, "time/others_s": 2.0}
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: trainer.state.metrics.update(times))
    with RunRecord(tmp_path).attach(trainer):
        trainer.run([0], max_epochs=2)
    drawn = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, path: drawn.extend(figure.axes))
    plot_report(tmp_path)
    (time,) = (axis for axis in drawn if axis.get_title() == "where the time went")
    assert {bars.get_label(): bars[0].get_height() for bars in time.containers} == {
        "waiting for data": 1.0,
        "waiting for other processes": 2.0,
    }


def test_a_metric_that_is_called_like_a_part_of_a_line_hides_none(tmp_path):
    trainer = Engine(lambda engine, batch: engine.state.metrics.update({"epoch": 0.5, "kind": 7.0}))
    with RunRecord(tmp_path, report=False).attach(trainer):
        trainer.run([0], max_epochs=2)
    assert read_metrics(tmp_path) == [
        {"kind": "epoch", "epoch": epoch, "iteration": epoch} for epoch in (1, 2)
    ]


def test_a_disk_that_fails_before_anything_is_written_costs_no_line(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"iteration": 1}\n')
    lines = LineFile(path, as_record=positioned_record)

    def fail(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        lines.sync()
    assert lines.read() == [{"iteration": 1}]


def test_lines_that_a_disk_has_taken_and_not_kept_are_written_again(tmp_path, monkeypatch):
    record = RunRecord(tmp_path, report=False)
    trainer, failures = Engine(lambda engine, batch: None), [2]
    sync = os.fsync

    def lose_what_was_written(descriptor):
        if trainer.state.epoch in failures:
            failures.remove(trainer.state.epoch)
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            raise OSError(errno.EIO, "Input/output error")
        sync(descriptor)

    def try_to_sync():
        with suppress(OSError):
            record.sync()

    monkeypatch.setattr(os, "fsync", lose_what_was_written)
    record.attach(trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, try_to_sync)
    trainer.run([0], max_epochs=3)
    assert [line["epoch"] for line in read_metrics(tmp_path)] == [1, 2, 3]
