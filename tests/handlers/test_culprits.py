"""Runs in which one thing takes long, whatever it is and however it is attached: it is named."""

import copy
from functools import partial

import pytest
import torch
from ignite.engine import Engine, EventEnum, Events
from ignite.handlers import EarlyStopping
from torch import nn

from handlers import EvaluateEachEpoch, FetchComputeTimer
from handlers.handler_times import HandlerTimes, described
from tests.support.clocks import Clock
from tests.support.priced_model import Model, PricedSGD

EPOCHS, LENGTH = 3, 100
FETCH_S, STEP_S = 0.001, 0.010


class Loader:
    """Batches that take a millisecond each."""

    def __init__(self, clock):
        self.clock = clock

    def __len__(self):
        return LENGTH

    def __iter__(self):
        for number in range(LENGTH):
            self.clock.spend(FETCH_S)
            yield number


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


def run(trainer, clock, epochs=EPOCHS):
    trainer.run(Loader(clock), max_epochs=epochs)


def named(timer):
    """Return kind, culprit and its share of the first finding."""
    first = timer.findings()[0]
    return first.kind, first.culprit, float(first.words.rpartition(", ")[2].removesuffix(" %")) / 100


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
    assert culprit.startswith("Drawing.draw (test_culprits.py:")
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
    assert culprit.startswith("log (test_culprits.py:")
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


def test_a_slow_first_epoch_of_ten_is_said_beside_the_verdict_of_the_others(clock, trainer):
    class Cold(Loader):
        epoch = 0

        def __iter__(self):
            self.epoch += 1
            for number in range(LENGTH):
                self.clock.spend(0.2 if self.epoch == 1 else FETCH_S)
                yield number

    timer = FetchComputeTimer(clock=clock).attach(trainer)
    trainer.run(Cold(clock), max_epochs=10)
    verdict, slow = timer.findings()
    assert verdict.kind == "compute-bound"
    assert slow.words == "slow phase: iterations 1 to 100 took 20 s more than as many others, for fetch"
    assert timer.summary()["ceiling_speedup"] == pytest.approx((FETCH_S + STEP_S) / STEP_S)


@pytest.mark.parametrize("slow_s", [0.0, 5.0], ids=["drift", "pauses"])
def test_drift_and_pauses_change_no_verdict(clock, slow_s):
    def step(engine, batch):
        drifted = 1 + engine.state.iteration / 1000
        clock.spend(STEP_S if slow_s else STEP_S * drifted)
        clock.spend(slow_s if engine.state.iteration in (300, 700) else 0.0)

    trainer = Engine(step)
    timer = FetchComputeTimer(clock=clock).attach(trainer)
    trainer.run(Loader(clock), max_epochs=10)
    assert [finding.kind for finding in timer.findings()] == ["compute-bound"]


def test_stalls_every_fiftieth_batch_are_waiting_for_data(clock, trainer):
    def batches():
        for number in range(1000):
            clock.spend(0.5 if number % 50 == 49 else 0.0)
            yield number

    timer = FetchComputeTimer(clock=clock).attach(trainer)
    trainer.run(batches(), max_epochs=1, epoch_length=1000)
    assert timer.verdict() == "data-bound"
    assert timer.findings()[0].share == pytest.approx(0.5, abs=0.01)


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


def test_handlers_of_events_inside_the_step_are_handlers(clock):
    def step(engine, batch):
        clock.spend(STEP_S / 2)
        engine.fire_event(StepEvents.FORWARD_DONE)
        clock.spend(STEP_S / 2)

    trainer = Engine(step)
    trainer.register_events(*StepEvents)
    timer = FetchComputeTimer(clock=clock).attach(trainer)
    Drawing(clock, 0.01).attach(trainer, StepEvents.FORWARD_DONE)
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


@pytest.mark.parametrize("part", ["evaluate", "checkpoint", "transfer"])
def test_what_is_timed_as_a_part_gives_the_verdict(clock, part):
    timer = FetchComputeTimer(clock=clock)
    move = timer.timed("transfer", lambda: clock.spend(0.04 if part == "transfer" else 0.0))

    def step(engine, batch):
        move()
        clock.spend(STEP_S)

    trainer = Engine(step)
    evaluator = Engine(lambda engine, batch: clock.spend(2 if part == "evaluate" else 0))
    timer.attach(trainer).watch(evaluator, trainer)
    EvaluateEachEpoch(evaluator, [0]).attach(trainer)

    def save():
        with timer.part("checkpoint"):
            clock.spend(2 if part == "checkpoint" else 0)

    trainer.add_event_handler(Events.EPOCH_COMPLETED, save)
    run(trainer, clock)
    kind = {"evaluate": "evaluation", "checkpoint": "checkpoint", "transfer": "transfer"}[part]
    assert timer.verdict() == f"{kind}-bound"
    share = 4 / 5.1 if part == "transfer" else 6 / 9.3
    assert timer.findings()[0].share == pytest.approx(share, abs=0.01)


PRICES = {"forward": 0.01, "backward": 0.01, "optimizer": 0.01, "rest": 0.01}


@pytest.mark.parametrize("slow", PRICES)
@pytest.mark.parametrize("nested", [False, True], ids=["one call", "checkpointed"])
def test_the_part_of_a_slow_step_is_named(clock, slow, nested):
    prices = {**PRICES, slow: 0.09}
    model = Model(clock, prices["forward"], prices["backward"])
    optimizer = PricedSGD(model.parameters(), lr=0.0)
    optimizer.price = (clock, prices["optimizer"])

    def step(engine, batch, model=model, optimizer=optimizer):
        x = torch.ones(1)
        y = torch.utils.checkpoint.checkpoint(model, x, use_reentrant=False) if nested else model(x)
        loss = y.sum()
        clock.spend(prices["rest"])
        loss.backward()
        optimizer.step()

    trainer = Engine(step)
    timer = FetchComputeTimer(clock=clock).attach(trainer)
    run(trainer, clock)
    assert not model._forward_hooks
    assert not model._forward_pre_hooks
    assert not optimizer._optimizer_step_pre_hooks
    kind, culprit, share = named(timer)
    assert (kind, culprit) == ("compute-bound", slow)
    forward_calls = 2 if nested else 1
    whole = sum(prices.values()) + (forward_calls - 1) * prices["forward"] + FETCH_S
    wanted = prices[slow] * (forward_calls if slow == "forward" else 1)
    assert share == pytest.approx(wanted / whole, abs=0.02)


def test_the_weights_are_the_same_with_names_and_without():
    def trained(names):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 1))
        optimizer = torch.optim.Adam(model.parameters())

        def step(engine, batch):
            optimizer.zero_grad()
            model(batch).square().mean().backward()
            optimizer.step()

        trainer = Engine(step)
        FetchComputeTimer(names=names).attach(trainer)
        trainer.run([torch.randn(8, 4) for _ in range(50)], max_epochs=4)
        return [parameter.detach() for parameter in model.parameters()]

    assert all(map(torch.equal, trained(True), trained(False)))


@pytest.mark.parametrize("in_place", [False, True])
def test_a_compiled_model_is_not_compiled_anew(in_place):
    def compiled_times(timer):
        compiled = []

        def backend(graph, inputs):
            compiled.append(graph)
            return graph.forward

        torch.compiler.reset()
        model = inner = nn.Linear(4, 1)
        if in_place:
            inner.compile(backend=backend)
        else:
            model = torch.compile(inner, backend=backend)
        trainer = Engine(lambda engine, batch, model=model: model(batch).sum().backward())
        if timer is not None:
            timer.attach(trainer)
        trainer.run([torch.ones(8, 4)] * 100)
        return len(compiled)

    timer = FetchComputeTimer()
    assert compiled_times(timer) == compiled_times(None)
    assert bool(timer.culprits.step.seconds()["forward"]) is not in_place


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
