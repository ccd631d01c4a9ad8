"""Real signals, to real engines and real scripts."""

import os
import signal

import pytest
from ignite.engine import Engine, Events

from handlers import Checkpoints, Interrupted, StopOnSignal, load_newest


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

    trainer = Engine(step)
    trainer.logger.disabled = True
    with pytest.raises(Interrupted), StopOnSignal().attach(trainer):
        trainer.run([0])
    assert steps == [0, 1]


def test_what_fails_after_a_signal_failed_because_of_it():
    def step(engine, batch):
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("DataLoader worker is killed by signal: Terminated")

    trainer = Engine(step)
    trainer.logger.disabled = True
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
