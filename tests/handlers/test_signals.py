"""Real signals, to real engines and real scripts."""

import os
import signal
import time

import pytest
from ignite.engine import Engine, Events

from handlers import Checkpoints, Interrupted, StopOnSignal, load_newest
from handlers.signals import ENDING, raising_on_signals
from ignite_pipeline.data.worker_process import LEFT_TO_PARENT


def run(directory, *, send_at, send, epochs=3):
    """Run an engine of five iterations an epoch that is sent a signal; return the events that it saw."""
    seen = []

    def step(engine, batch):
        seen.append(engine.state.iteration)
        if engine.state.iteration == send_at:
            os.kill(os.getpid(), send)

    trainer = Engine(step)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: seen.append("evaluated"))
    Checkpoints(directory, {}).attach(trainer)
    with StopOnSignal().attach(trainer):
        trainer.run([0] * 5, max_epochs=epochs)
    return seen


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_step_is_finished_and_saved(tmp_path, number, status):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=signal.Signals(number).name) as interrupt:
        run(tmp_path, send_at=7, send=number)
    assert interrupt.value.status == status
    assert load_newest(tmp_path)["engine"]["iteration"] == 7
    assert signal.getsignal(number) is before


def test_an_epoch_that_is_done_is_evaluated_first(tmp_path):
    seen = []
    trainer = Engine(lambda engine, batch: None)

    @trainer.on(Events.ITERATION_COMPLETED(once=5))
    def send():
        os.kill(os.getpid(), signal.SIGTERM)

    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: seen.append("evaluated"))
    with pytest.raises(Interrupted), StopOnSignal().attach(trainer):
        trainer.run([0] * 5, max_epochs=3)
    assert seen == ["evaluated"]
    assert trainer.state.iteration == 5


def test_a_second_signal_ends_it_at_once(tmp_path):
    steps = []

    def step(engine, batch):
        for part in range(3):
            steps.append(part)
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)  # as a group's leader may get it, and its group
            time.sleep(1.1)

    trainer = Engine(step)
    with pytest.raises(Interrupted), StopOnSignal().attach(trainer):
        trainer.run([0])
    assert steps == [0, 1]


def test_what_fails_after_a_signal_failed_because_of_it():
    def step(engine, batch):
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("DataLoader worker is killed by signal: Terminated")

    trainer = Engine(step)
    with pytest.raises(Interrupted) as interrupt, StopOnSignal().attach(trainer):
        trainer.run([0])
    assert isinstance(interrupt.value.__cause__, RuntimeError)


def test_without_a_signal_nothing_is_changed(tmp_path):
    assert run(tmp_path, send_at=None, send=None, epochs=1) == [1, 2, 3, 4, 5, "evaluated"]


def test_a_signal_that_is_ignored_stays_ignored(tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run(tmp_path, send_at=2, send=signal.SIGINT, epochs=1) == [1, 2, 3, 4, 5, "evaluated"]
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_terminal_that_is_gone_costs_no_save(tmp_path, monkeypatch):
    class Gone:
        def write(self, text):
            raise BrokenPipeError

        flush = None

    monkeypatch.setattr("sys.stderr", Gone())
    with pytest.raises(Interrupted):
        run(tmp_path, send_at=7, send=signal.SIGTERM)
    assert load_newest(tmp_path)["engine"]["iteration"] == 7


def test_what_saves_comes_before_what_evaluates_an_unfinished_epoch(tmp_path):
    order = []

    def step(engine, batch):
        if engine.state.iteration == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    trainer = Engine(step)
    trainer.add_event_handler(Events.TERMINATE, lambda: order.append("evaluated"))
    checkpoints = Checkpoints(tmp_path, {}, before=lambda: order.append("saved"))
    with pytest.raises(Interrupted), StopOnSignal(checkpoints).attach(trainer):
        trainer.run([0] * 5)
    assert order == ["saved", "evaluated"]


@pytest.mark.parametrize("handles", [False, True])
def test_what_fails_while_a_run_waits_for_data_is_saved(tmp_path, handles):
    def data():
        yield from range(7)
        raise OSError("gone")

    trainer = Engine(lambda engine, batch: None)
    if handles:

        @trainer.on(Events.EXCEPTION_RAISED)
        def raise_again(error):
            raise error

    checkpoints = Checkpoints(tmp_path, {}).attach(trainer)
    with pytest.raises(OSError, match="gone"), StopOnSignal(checkpoints).attach(trainer):
        trainer.run(data(), max_epochs=2, epoch_length=5)
    assert load_newest(tmp_path)["engine"]["iteration"] == 7


def test_a_step_that_fails_is_not_saved(tmp_path):
    trainer = Engine(lambda engine, batch: 1 / (engine.state.iteration - 7))
    checkpoints = Checkpoints(tmp_path, {}).attach(trainer)
    with pytest.raises(ZeroDivisionError), StopOnSignal(checkpoints).attach(trainer):
        trainer.run([0] * 5, max_epochs=3)
    assert load_newest(tmp_path)["engine"]["iteration"] == 5


def test_a_signal_before_there_is_anything_to_save_raises():
    before = signal.getsignal(signal.SIGHUP)
    with pytest.raises(Interrupted) as interrupt, raising_on_signals():
        signal.raise_signal(signal.SIGHUP)
    assert interrupt.value.status == 128 + signal.SIGHUP
    assert signal.getsignal(signal.SIGHUP) is before


def test_a_signal_while_the_end_is_written_down_is_held(tmp_path):
    trainer, written = Engine(lambda engine, batch: None), []

    def run_and_write():
        with StopOnSignal(Checkpoints(tmp_path, {})).attach(trainer) as stop:
            with stop.interrupting():
                trainer.run([0])
            os.kill(os.getpid(), signal.SIGTERM)
            written.append("all")

    with pytest.raises(Interrupted):
        run_and_write()
    assert written == ["all"]


def test_a_slow_run_is_given_more_time(tmp_path):
    steps = []

    def step(engine, batch):
        if engine.state.iteration == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(3)
        steps.append(engine.state.iteration)

    trainer = Engine(step)
    checkpoints = Checkpoints(tmp_path, {}).attach(trainer)
    with pytest.raises(Interrupted), StopOnSignal(checkpoints, patience_s=1).attach(trainer):
        trainer.run([0] * 5)
    assert steps == [1, 2]
    assert load_newest(tmp_path)["engine"]["iteration"] == 2


def test_workers_leave_to_their_parent_what_ends_a_run():
    assert {signal.Signals(number).name for number in ENDING} == set(LEFT_TO_PARENT)
