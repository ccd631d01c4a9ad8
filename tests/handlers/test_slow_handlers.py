"""Runs in which a handler takes long, however it is attached: it is named."""

import copy
from functools import partial

import pytest
from ignite.engine import Engine, EventEnum, Events
from ignite.handlers import EarlyStopping

from handlers import FetchComputeTimer
from handlers.handler_times import HandlerTimes, described
from tests.support.clocks import Clock
from tests.support.timed_loop import EPOCHS, FETCH_S, LENGTH, STEP_S, named, run


class Drawing:
    """A handler that takes long."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds = clock, seconds

    def attach(self, engine, event):
        engine.add_event_handler(event, self.draw)

    def draw(self, engine):
        self.clock.spend(self.seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def trainer(clock):
    return Engine(lambda engine, batch: clock.spend(STEP_S))


EACH_ITERATION = [
    Events.GET_BATCH_STARTED,
    Events.GET_BATCH_COMPLETED,
    Events.ITERATION_STARTED,
    Events.ITERATION_COMPLETED,
]
EACH_EPOCH = [Events.EPOCH_STARTED, Events.EPOCH_COMPLETED]


@pytest.mark.parametrize("when", ["before the timer", "after it", "as the run goes on"])
@pytest.mark.parametrize("event", [*EACH_ITERATION, *EACH_EPOCH], ids=lambda event: event.name)
def test_a_slow_handler_is_named_whatever_the_order(clock, trainer, event, when):
    # The start of the first epoch comes before the loop.
    between = EPOCHS - (event is Events.EPOCH_STARTED)
    seconds, calls = (0.005, EPOCHS * LENGTH) if event in EACH_ITERATION else (1.0, between)
    drawing = Drawing(clock, seconds)
    timer = FetchComputeTimer(clock=clock)
    if when == "before the timer":
        drawing.attach(trainer, event)
        timer.attach(trainer)
    elif when == "as the run goes on":
        timer.attach(trainer)
        # Only then is anything attached to most of the events.
        trainer.add_event_handler(Events.STARTED, lambda: drawing.attach(trainer, event))
    else:
        timer.attach(trainer)
        drawing.attach(trainer, event)
    run(trainer, clock)
    kind, culprit, share = named(timer)
    drawn_s = seconds * calls
    assert kind == "handler-bound"
    assert culprit.startswith("Drawing.draw (test_slow_handlers.py:")
    assert share == pytest.approx(drawn_s / (drawn_s + EPOCHS * LENGTH * (FETCH_S + STEP_S)), abs=0.02)
    assert timer.seconds["compute"] == pytest.approx(EPOCHS * LENGTH * STEP_S)
    assert timer.seconds["fetch"] == pytest.approx((EPOCHS * LENGTH - 1) * FETCH_S)


def test_one_handler_at_many_events_is_one_culprit(clock, trainer):
    def log():
        clock.spend(0.002)

    def small():
        clock.spend(0.003)

    trainer.add_event_handler(Events.ITERATION_STARTED | Events.ITERATION_COMPLETED, log)
    timer = FetchComputeTimer(clock=clock).attach(trainer)
    trainer.add_event_handler(Events.GET_BATCH_COMPLETED, small)
    run(trainer, clock)
    kind, culprit, share = named(timer)
    assert kind == "handler-bound"
    assert culprit.startswith("log (test_slow_handlers.py:")
    assert share == pytest.approx(4 / 18, abs=0.02)


def test_a_handler_that_is_slow_now_and_then_is_counted_each_time(clock, trainer):
    timer = FetchComputeTimer(clock=clock).attach(trainer)
    Drawing(clock, 0.2).attach(trainer, Events.ITERATION_COMPLETED(every=37))
    Drawing(clock, 0.5).attach(trainer, Events.ITERATION_COMPLETED(once=200))
    run(trainer, clock)
    drawn_s = 8 * 0.2 + 0.5
    assert sum(time.seconds for time in timer.culprits.handlers.largest()) == pytest.approx(drawn_s)
    assert named(timer)[0] == "handler-bound"


def test_a_handler_that_others_remove_and_one_that_removes_itself_change_nothing_else(clock, trainer):
    timer = FetchComputeTimer(clock=clock).attach(trainer)
    removable = trainer.add_event_handler(Events.ITERATION_STARTED, lambda: clock.spend(0.001))
    itself = trainer.add_event_handler(Events.ITERATION_STARTED(once=7), lambda: itself.remove())
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=150), lambda: removable.remove())
    Drawing(clock, 0.005).attach(trainer, Events.ITERATION_STARTED)
    run(trainer, clock)
    assert timer.seconds["compute"] == pytest.approx(EPOCHS * LENGTH * STEP_S)
    assert timer.seconds["handlers"] == pytest.approx(EPOCHS * LENGTH * 0.005 + 150 * 0.001)
    drawn = next(time for time in timer.culprits.handlers.largest() if time.name == "Drawing.draw")
    assert drawn.seconds == pytest.approx(EPOCHS * LENGTH * 0.005)


def test_an_engine_without_data_has_a_verdict(clock, trainer):
    timer = FetchComputeTimer(clock=clock).attach(trainer)
    Drawing(clock, 0.005).attach(trainer, Events.ITERATION_COMPLETED)
    trainer.run(max_epochs=2, epoch_length=50)
    assert named(timer)[0] == "handler-bound"
    assert named(timer)[2] == pytest.approx(5 / 15, abs=0.01)


def test_what_is_put_into_the_lists_of_ignite_is_timed_as_well(clock, trainer):
    timer = FetchComputeTimer(clock=clock).attach(trainer)
    Drawing(clock, 0.005).attach(trainer, Events.ITERATION_COMPLETED)
    trainer.add_event_handler(Events.STARTED, wrap_as_profilers_do, trainer, clock)
    run(trainer, clock)
    assert named(timer)[0] == "handler-bound"
    assert timer.seconds["handlers"] == pytest.approx(EPOCHS * LENGTH * 0.008)


def wrap_as_profilers_do(engine, trainer, clock):
    entries = trainer._event_handlers[Events.ITERATION_COMPLETED]
    handler, args, kwargs = entries[-1]
    entries[-1] = (lambda *given: (clock.spend(0.003), handler(*given)), args, kwargs)
    entries.insert(0, (lambda: clock.spend(0.001), (), {}))  # in front of the end of the step


class StepEvents(EventEnum):
    FORWARD_DONE = "forward_done"


@pytest.mark.parametrize("event", [StepEvents.FORWARD_DONE, "forward_done"], ids=["enum", "word"])
def test_handlers_of_events_inside_the_step_are_handlers(clock, event):
    def step(engine, batch):
        clock.spend(STEP_S / 2)
        engine.fire_event(event)
        clock.spend(STEP_S / 2)

    trainer = Engine(step)
    trainer.register_events(event)
    timer = FetchComputeTimer(clock=clock).attach(trainer)
    Drawing(clock, 0.01).attach(trainer, event)
    run(trainer, clock)
    assert named(timer)[:1] == ("handler-bound",)
    assert timer.seconds["compute"] == pytest.approx(EPOCHS * LENGTH * STEP_S)
    assert timer.seconds["handlers"] == pytest.approx(EPOCHS * LENGTH * 0.01)


def test_a_handler_is_not_charged_with_the_evaluation_that_it_runs_nor_with_what_another_event_takes(
    clock, trainer
):
    evaluator = Engine(lambda engine, batch: clock.spend(0.1))
    timer = FetchComputeTimer(clock=clock).attach(trainer).watch(evaluator, trainer)
    trainer.register_events(*StepEvents)

    def outer(engine):
        clock.spend(0.001)
        evaluator.run([0])
        engine.fire_event(StepEvents.FORWARD_DONE)
        clock.spend(0.002)

    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=10), outer)
    trainer.add_event_handler(StepEvents.FORWARD_DONE, lambda: clock.spend(0.04))
    run(trainer, clock)
    times = {time.name: time.seconds for time in timer.culprits.handlers.largest()}
    assert times["outer"] == pytest.approx(30 * 0.003)
    assert times["<lambda>"] == pytest.approx(30 * 0.04)
    assert timer.seconds["evaluate"] == pytest.approx(30 * 0.1)
    assert timer.seconds["handlers"] == pytest.approx(30 * 0.043)


def test_a_trainer_that_starts_within_an_evaluation_is_no_harm(clock, trainer):
    evaluator = Engine(lambda engine, batch: run(trainer, clock))
    timer = FetchComputeTimer(clock=clock).attach(trainer).watch(evaluator, trainer)
    evaluator.run([0])
    assert timer.seconds["compute"] == pytest.approx(EPOCHS * LENGTH * STEP_S)


def test_where_ignite_keeps_handlers_otherwise_it_is_said_and_they_are_timed_together(
    clock, trainer, monkeypatch
):
    monkeypatch.setattr("handlers.handler_times.keep_entries", lambda engine, make: False)
    timer = FetchComputeTimer(clock=clock).attach(trainer)
    Drawing(clock, 0.01).attach(trainer, Events.ITERATION_COMPLETED)
    run(trainer, clock)
    first = timer.findings()[0]
    assert (first.kind, first.culprit) == ("handler-bound", None)
    assert first.advice.startswith("this version of Ignite keeps handlers where we cannot tell")


def test_a_handler_that_raises_leaves_the_next_run_well_timed(clock, trainer):
    timer = FetchComputeTimer(clock=clock).attach(trainer)

    def fail(engine):
        if engine.state.iteration == 5:
            raise ValueError("at 5")

    trainer.add_event_handler(Events.ITERATION_COMPLETED, fail)
    with pytest.raises(ValueError, match="at 5"):
        run(trainer, clock)
    fresh = FetchComputeTimer(clock=clock)
    other = Engine(lambda engine, batch: clock.spend(STEP_S))
    fresh.attach(other)
    run(other, clock)
    assert fresh.seconds["compute"] == pytest.approx(EPOCHS * LENGTH * STEP_S)
    assert timer.seconds["compute"] == pytest.approx(5 * STEP_S)


@pytest.mark.parametrize(
    "kind", ["lambda", "partial", "object", "method", "class method", "builtin", "filtered"]
)
def test_what_a_handler_is_called(kind, clock, trainer):
    drawing = Drawing(clock, 0.0)
    stopping = EarlyStopping(3, lambda engine: 0.0, trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=2), drawing.draw)
    handler, name = {
        "lambda": (lambda engine: None, "<lambda>"),
        "partial": (partial(drawing.draw), "Drawing.draw"),
        "object": (stopping, "EarlyStopping"),
        "method": (drawing.draw, "Drawing.draw"),
        "class method": (dict.fromkeys, "dict.fromkeys"),
        "builtin": (print, "print"),
        "filtered": (trainer._event_handlers[Events.ITERATION_COMPLETED][0][0], "Drawing.draw"),
    }[kind]
    assert described(handler)[0] == name


def test_where_ignite_keeps_handlers_otherwise_it_is_said(trainer):
    other = Engine(lambda engine, batch: None)
    del other.__dict__["_event_handlers"]
    assert not HandlerTimes().observe(other)


def test_names_go_through_a_checkpoint(clock, trainer):
    Drawing(clock, 0.01).attach(trainer, Events.ITERATION_COMPLETED)
    first = FetchComputeTimer(clock=clock).attach(trainer)
    run(trainer, clock)
    second = FetchComputeTimer(clock=clock)
    second.load_state_dict(first.state_dict())
    assert second.findings() == first.findings()
    assert second.summary() == first.summary()


def test_a_copy_of_a_timed_engine_runs_itself(clock, trainer):
    FetchComputeTimer(clock=clock).attach(trainer)
    other = copy.deepcopy(trainer)
    assert other.run([0, 0]).iteration == 2
    assert trainer.state.iteration == 0
