import io
import os
import struct
from contextlib import suppress

import pytest
import torch
from ignite.engine import Engine, Events

from handlers import FetchComputeTimer, ProgressLine


def run(stream, *, clock, epochs=2, start=0, **options):
    trainer = Engine(lambda engine, batch: None)
    if start:
        trainer.load_state_dict({"iteration": start, "epoch_length": 4, "max_epochs": epochs})
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: trainer.state.metrics.update({"train/loss": torch.tensor(0.25)})
    )
    ProgressLine(metrics={"train/loss": "loss", "val/x": "x"}, stream=stream, clock=clock, **options).attach(
        trainer
    )
    trainer.run([0] * 4, max_epochs=epochs)


def test_plain_lines_come_once_an_epoch(ticking_clock):
    stream = io.StringIO()
    run(stream, clock=ticking_clock, every_s=1000)
    assert stream.getvalue().splitlines() == [
        "epoch 1/2 · loss 0.25 · 00:05 to go",
        "epoch 2/2 · loss 0.25 · 00:00 to go",
    ]


def test_a_bar_ends_with_the_run_however_that_ends(ticking_clock):
    def step(engine, batch):
        raise OSError("a sample cannot be read")

    stream, trainer = io.StringIO(), Engine(step)
    ProgressLine(metrics={}, stream=stream, clock=ticking_clock, redraws=True).attach(trainer)
    with pytest.raises(OSError, match="sample"):
        trainer.run([0])
    assert stream.getvalue().endswith("\n")


def test_what_is_no_number_is_not_shown(ticking_clock):
    stream, trainer = io.StringIO(), Engine(lambda engine, batch: None)
    published = {"recall": torch.ones(3), "confusion": torch.eye(2), "note": "well", "loss": 0.5}
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: trainer.state.metrics.update(published))
    show = {name: name for name in published}
    ProgressLine(metrics=show, stream=stream, clock=ticking_clock, every_s=1000).attach(trainer)
    trainer.run([0])
    assert stream.getvalue() == "epoch 1/1 · loss 0.5 · 00:00 to go\n"


def test_a_reader_who_has_had_enough_ends_no_run(ticking_clock):
    reader, writer = os.pipe()
    os.close(reader)
    with suppress(BrokenPipeError), open(writer, "w") as stream:
        run(stream, clock=ticking_clock, every_s=2)
        trained = True
    assert trained


def test_a_program_without_standard_error_trains(ticking_clock, monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    run(None, clock=ticking_clock)


def test_a_long_epoch_gets_lines_between(ticking_clock):
    stream = io.StringIO()
    run(stream, clock=ticking_clock, every_s=2)
    assert len(stream.getvalue().splitlines()) > 4


def test_speed_split_and_label_are_shown(ticking_clock):
    stream = io.StringIO()
    timer = FetchComputeTimer()
    state = timer.state_dict()
    state["seconds"].update(fetch=1.0, compute=9.0)
    timer.load_state_dict({**state, "iterations": 100})
    run(stream, clock=ticking_clock, timer=timer, batch_size=64, label="GENERATED data")
    assert stream.getvalue().startswith(
        "GENERATED data · epoch 1/2 · loss 0.25 · 640 images/s · data 10% · compute 90%"
    )


def test_a_resumed_run_counts_only_its_own_time(ticking_clock):
    stream = io.StringIO()
    run(stream, clock=ticking_clock, start=4, every_s=1000)
    assert stream.getvalue().splitlines() == ["epoch 2/2 · loss 0.25 · 00:00 to go"]


def test_a_terminal_gets_a_bar():
    fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))
    seconds = iter(range(0, 10_000, 10))
    with os.fdopen(theirs, "w") as stream:
        run(stream, clock=lambda: next(seconds))
    text = ""
    with suppress(OSError):  # which is how a pseudo-terminal ends
        while part := os.read(ours, 100_000):
            text += part.decode()
    os.close(ours)
    last = text.strip().split("\r")[-1]
    assert last.startswith("epoch 2/2 100%|██████████|")
    assert last.rstrip().endswith(", loss 0.25")
