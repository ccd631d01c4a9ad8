"""Runs in which it is known what takes the time, or the memory: each has one thing that is slow."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from ignite.engine import Engine, Events

from handlers import EvaluateEachEpoch, FetchComputeTimer
from handlers.charged_seconds import PARTS
from handlers.findings import Finding
from handlers.foreign_load import ForeignLoad
from handlers.garbage import GarbageCollection
from handlers.memories import Memory
from handlers.memory_growth import MemoryGrowth
from ignite_pipeline.data.loading import endless_loader
from ignite_pipeline.run.stragglers import straggler
from tests.support.clocks import Clock
from tests.support.machines import Collector, Machine
from tests.support.priced_model import Model, PricedSGD
from tests.support.timely_data import Chain, Collated, First, Second, Spend, Timely

EPOCHS, LENGTH = 3, 100
FETCH_S, STEP_S = 0.001, 0.010


class Loop:
    """Batches of a millisecond, steps of ten, and a timer; ``draw`` is a handler that takes twenty."""

    def __init__(self) -> None:
        self.clock = clock = Clock()
        self.fetch_s: Callable[[int], float] = lambda number: FETCH_S
        self.step: Callable[[int], object] = lambda number: clock.spend(STEP_S)
        self.trainer = Engine(lambda engine, batch: self.step(engine.state.iteration))
        self.evaluator = Engine(lambda engine, batch: None)
        self.timer = FetchComputeTimer(clock=clock)

    def draw(self) -> None:
        self.clock.spend(0.020)

    def time(self) -> "Loop":
        self.timer.attach(self.trainer).watch(self.evaluator, self.trainer)
        EvaluateEachEpoch(self.evaluator, [0]).attach(self.trainer)
        return self

    def batches(self):
        for number in range(1, 10**9):
            self.clock.spend(self.fetch_s(number))
            yield number

    def run(self, epochs: int = EPOCHS, length: int = LENGTH) -> None:
        self.trainer.run(self.batches(), max_epochs=epochs, epoch_length=length)


@dataclass
class Planted:
    """What is slow, and what is to be found: a verdict, or what is said beside it; whose share it is."""

    what: str
    kind: str
    culprit: str | None
    share: float | None
    found: Callable[[], list[Finding]]


CASES: list[Planted] = []


def planted(what: str, kind: str, culprit: str | None, share: float | None):
    def add(function):
        def found() -> list[Finding]:
            loop = Loop()
            return function(loop) or loop.timer.findings()

        CASES.append(Planted(what, kind, culprit, share, found))
        return function

    return add


for _event in ("GET_BATCH_STARTED", "GET_BATCH_COMPLETED", "ITERATION_STARTED", "ITERATION_COMPLETED"):
    for _when in ("before", "after"):

        @planted(f"a handler of {_event}, attached {_when} the timer", "handler-bound", "Loop.draw", 20 / 31)
        def handler(loop, event=Events[_event], when=_when):
            if when == "after":
                loop.time()
            loop.trainer.add_event_handler(event, loop.draw)
            if when == "before":
                loop.time()
            loop.run()


@planted("one of eight handlers, before the timer and after", "handler-bound", "Loop.draw", 20 / 34.5)
def one_of_many(loop):
    def quick():
        loop.clock.spend(0.0005)

    events = [Events.GET_BATCH_STARTED, Events.GET_BATCH_COMPLETED]
    events += [Events.ITERATION_STARTED, Events.ITERATION_COMPLETED]
    for event in events:
        loop.trainer.add_event_handler(event, quick)
    loop.time()
    for event in events[:3]:
        loop.trainer.add_event_handler(event, quick)
    loop.trainer.add_event_handler(Events.ITERATION_STARTED, loop.draw)
    loop.run()


@planted("a handler of each tenth iteration", "handler-bound", "<lambda>", 20 / 31)
def filtered(loop):
    loop.time()
    loop.trainer.add_event_handler(Events.ITERATION_COMPLETED(every=10), lambda: loop.clock.spend(0.2))
    loop.run()


@planted("a handler of each epoch's end", "handler-bound", "<lambda>", 20 / 31)
def each_epoch(loop):
    loop.time()
    loop.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: loop.clock.spend(2.0))
    loop.run()


@planted("a handler that is attached by another, during the run", "handler-bound", "Loop.draw", 20 / 31)
def attached_late(loop):
    loop.time()

    @loop.trainer.on(Events.ITERATION_STARTED(once=1))
    def attach():
        loop.trainer.add_event_handler(Events.ITERATION_COMPLETED, loop.draw)

    loop.run()


@planted("a handler, where another is removed in each epoch", "handler-bound", "Loop.draw", 20 / 31)
def beside_one_that_is_removed(loop):
    loop.time()
    loop.trainer.add_event_handler(Events.ITERATION_COMPLETED, loop.draw)

    @loop.trainer.on(Events.EPOCH_STARTED)
    def attach():
        handle = loop.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: handle.remove())

    loop.run()


@planted("moving batches to the device", "transfer-bound", None, 40 / 51)
def transfers(loop):
    move = loop.timer.timed("transfer", lambda: loop.clock.spend(0.040))
    loop.step = lambda number: (move(), loop.clock.spend(STEP_S))
    loop.time().run()


@planted("evaluations, and what they move to the device", "evaluation-bound", None, 6 / 9.3)
def evaluations(loop):
    move = loop.timer.timed("transfer", lambda: loop.clock.spend(1.0))
    loop.evaluator = Engine(lambda engine, batch: (move(), loop.clock.spend(1.0)))
    loop.time().run()


@planted("checkpoints", "checkpoint-bound", None, 6 / 9.3)
def checkpoints(loop):
    loop.time()
    save = loop.timer.timed("checkpoint", lambda: loop.clock.spend(2.0))
    loop.trainer.add_event_handler(Events.EPOCH_COMPLETED, save)
    loop.run()


@planted("waiting for other processes", "exchange-bound", None, 30 / 41)
def exchange(loop):
    wait = loop.timer.timed("others", lambda: loop.clock.spend(0.030))
    loop.step = lambda number: (loop.clock.spend(STEP_S), wait())
    loop.time().run()


@planted("one process of three, for which two wait", "straggler", "process 1", 21 / 31)
def one_of_three(loop):
    none = dict.fromkeys(PARTS, 0.0)
    others = {**none, "fetch": 1.0, "compute": 10.0, "others": 20.0}
    found = straggler([others, {**none, "fetch": 21.0, "compute": 10.0}, others])
    return [found] if found else []


@planted("data, in the first epoch of ten", "slow phase", "fetch", 49.9 / 60.9)
def slow_start(loop):
    loop.fetch_s = lambda number: 0.5 if number <= LENGTH else FETCH_S
    loop.time().run(epochs=10)
    assert loop.timer.findings()[0].kind == "compute-bound"


@planted("a loader that stalls at each 50th batch", "data-bound", None, 21 / 31)
def stalls(loop):
    loop.fetch_s = lambda number: FETCH_S + (1.0 if number % 50 == 0 else 0.0)
    loop.time().run(epochs=10)


@planted("steps that become slower and slower", "compute-bound", "rest", 1 - 1 / 21)
def drift(loop):
    loop.step = lambda number: loop.clock.spend(0.020 * (0.5 + number / (10 * LENGTH)))
    loop.time().run(epochs=10)


def lazily(slow: str, workers: int, loop: Loop) -> list[Finding]:
    seconds = {name: 0.010 if name == slow else 0.001 for name in ("reading", "First", "Second", "collating")}
    clock = loop.clock
    chain = Chain([First(clock, seconds["First"]), Second(clock, seconds["Second"])])
    data = Timely(Spend(clock, seconds["reading"]), chain)
    loader = endless_loader(
        data, batch_size=4, seed=0, num_workers=workers, collate_fn=Collated(clock, seconds["collating"])
    )
    loader.dataset.costs.every_samples, loader.dataset.costs.clock = 1, clock
    loop.timer.culprits.loading = lambda: [(cost.name, cost.share) for cost in loader.costs()]
    loop.time()
    loop.trainer.run(loader, max_epochs=2, epoch_length=32)
    return loop.timer.findings()


for _slow in ("reading", "First", "collating"):
    planted(f"{_slow} of samples", "data-bound", _slow, 52 / 62)(partial(lazily, _slow, 0))


def slow_part(slow: str, loop: Loop) -> None:
    prices = {part: 0.09 if part == slow else 0.01 for part in ("forward", "backward", "optimizer", "rest")}
    model = Model(loop.clock, prices["forward"], prices["backward"])
    optimizer = PricedSGD(model.parameters(), lr=0.0)
    optimizer.price = (loop.clock, prices["optimizer"])

    def step(engine, batch, model=model, optimizer=optimizer):
        loss = model(torch.ones(1)).sum()
        loop.clock.spend(prices["rest"])
        loss.backward()
        optimizer.step()

    loop.trainer = Engine(step)
    loop.time().run()


for _slow in ("forward", "backward", "optimizer", "rest"):
    planted(f"{_slow} of the step", "compute-bound", _slow, 90 / 121)(partial(slow_part, _slow))


@planted("memory that each step keeps", "memory creeps", "this process", 0.6)
def memory_creeps(loop):
    def taken():
        return 1e6 * loop.trainer.state.iteration

    memory = Memory("this process", taken, free_bytes=lambda: 1e9 - taken())
    loop.timer.culprits.memory = MemoryGrowth(memories=[memory], every_s=0.1, clock=loop.clock)
    loop.time().run(epochs=6)


@planted("other processes on the core", "core shared", "other processes", 6 / 11)
def core_shared(loop):
    machine = Machine()
    loop.timer.culprits.cores = ForeignLoad(clock=loop.clock, make_reader=machine.reader)

    def step(number):
        loop.clock.spend(STEP_S)
        machine.spend(ran=0.004, waited=0.006, others=0.006)

    loop.step = step
    loop.time().run()


@planted("garbage collections", "garbage collection", "full collections", 2 / 11)
def collections(loop):
    loop.timer.culprits.garbage = GarbageCollection(clock=loop.clock)

    def step(number):
        loop.clock.spend(0.008)
        Collector(loop.clock).collect(0.002)

    loop.step = step
    loop.time().run()
