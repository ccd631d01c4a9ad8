"""Runs whose bottleneck is known, and whether the timer finds it; see `planted` for more of them."""

from dataclasses import dataclass, field

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.utils.data import DataLoader, Dataset

from handlers import EvaluateEachEpoch, FetchComputeTimer
from tests.support.clocks import Clock

EPOCHS, LENGTH = 3, 100


class Files(Dataset):
    """Samples that are read, decoded and transformed, each at a price."""

    def __init__(self, clock, read, decode, transform):
        self.clock, self.prices = clock, (read, decode, transform)

    def __len__(self):
        return 2 * LENGTH

    def __getitem__(self, index):
        for price in self.prices:
            self.clock.spend(price)
        return index


class Workers:
    """Batches that workers make in turn, batch *i* in ``price(i)`` seconds, each up to two ahead."""

    def __init__(self, clock, price, workers, start=0.0):
        self.clock, self.price, self.workers, self.start = clock, price, workers, start

    def __len__(self):
        return LENGTH

    def __iter__(self):
        self.clock.spend(self.start)
        free, fetched = [self.clock.now] * self.workers, [self.clock.now] * (2 * self.workers)
        for index in range(LENGTH):
            worker = index % self.workers
            free[worker] = max(free[worker], fetched[index]) + self.price(index)
            self.clock.now = max(self.clock.now, free[worker])
            fetched.append(self.clock.now)
            yield index


@dataclass
class Case:
    """Milliseconds of each thing, and what is to be found."""

    verdict: str
    fetch_share: float
    culprit: str | None = None
    share: float | None = None  # of what the verdict is about; where it is None, the fetch's, if it is that
    read: float = 0.1
    decode: float = 0.1
    transform: float = 0.1
    collate: float = 0.1
    step: float = 10.0
    handler: float = 0.0
    evaluation: float = 0.0
    workers: object = None
    epochs: int = EPOCHS
    parts: dict = field(default_factory=dict)


CASES = {
    "slow disk": Case("data-bound", 20.5 / 30.5, read=10),
    "slow decoding": Case("data-bound", 12.5 / 22.5, decode=6),
    "slow transform": Case("data-bound", 8.5 / 18.5, transform=4),
    "slow collation": Case("data-bound", 5.6 / 15.6, collate=5),
    "slow step": Case("compute-bound", 0.7 / 100.7, "rest", 100 / 100.7, step=100),
    "slow handler": Case("handler-bound", 0.7 / 30.7, "<lambda>", 20 / 30.7, handler=20),
    "slow first batch": Case(
        "compute-bound",
        0,
        "rest",
        1,
        workers=lambda clock: Workers(clock, lambda index: 0.001, 2, start=60.0),
        parts={"first_batch": EPOCHS * 60.001},
    ),
    "slow evaluation": Case(
        "evaluation-bound", 0.7 / 10.7, None, 15 / 18.21, evaluation=5000, parts={"evaluate": EPOCHS * 5}
    ),
    "one straggler among the workers": Case(
        "data-bound",
        0.5,
        workers=lambda clock: Workers(clock, lambda index: 0.08 if index % 4 == 1 else 0.01, 4),
    ),
    "bursts": Case(
        "data-bound",
        2 / 3,
        workers=lambda clock: Workers(clock, lambda index: 0.42 if index % 20 == 10 else 0.0, 1),
    ),
    "prefetch that hides all of it": Case(
        "compute-bound", 0, "rest", 1, workers=lambda clock: Workers(clock, lambda index: 0.015, 2)
    ),
    "prefetch that hides half of it": Case(
        "data-bound", 5 / 15, workers=lambda clock: Workers(clock, lambda index: 0.015, 1)
    ),
    "balanced": Case("balanced", 1.0 / 12.0, collate=0.4, handler=1.0),
    "too short to say": Case("too few iterations to say", 0, epochs=0),
}


def timed(case):
    """Return the timer of a run of that case, and the clock."""
    clock = Clock()
    loader = case.workers and case.workers(clock)
    if loader is None:
        files = Files(clock, case.read / 1000, case.decode / 1000, case.transform / 1000)
        loader = DataLoader(files, batch_size=2, collate_fn=lambda batch: clock.spend(case.collate / 1000))
    trainer = Engine(lambda engine, batch: clock.spend(case.step / 1000))
    evaluator = Engine(lambda engine, batch: clock.spend(case.evaluation / 1000))
    timer = FetchComputeTimer(clock=clock).attach(trainer).watch(evaluator, trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: clock.spend(case.handler / 1000))
    EvaluateEachEpoch(evaluator, [0]).attach(trainer)
    if case.epochs:
        for _ in range(case.epochs):  # each with an iterator of its own, as in most trainers
            trainer.run(loader, max_epochs=1)
    else:
        trainer.run(loader, max_epochs=1, epoch_length=10)
    return timer, clock


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_known_bottleneck_is_found(case):
    timer, clock = timed(case)
    summary = timer.summary()
    assert summary["verdict"] == case.verdict
    assert summary["wall_s"] == pytest.approx(clock.now)
    for part, seconds in case.parts.items():
        assert summary[f"{part}_s"] == pytest.approx(seconds)
    if case.epochs:
        assert timer.times.share("fetch") == pytest.approx(case.fetch_share, abs=0.02)
        assert summary["ceiling_speedup"] == pytest.approx(1 / (1 - case.fetch_share), rel=0.05)
        low, high = summary["ceiling_speedup_95"]
        assert low <= summary["ceiling_speedup"] <= high


class Device:
    """A device with a queue: what is put in begins when it is free, on the clock of the host."""

    def __init__(self, clock):
        self.clock, self.free_at, self.events = clock, 0.0, 0

    def run(self, seconds):
        self.free_at = max(self.free_at, self.clock.now) + seconds

    def wait(self):
        self.clock.now = max(self.clock.now, self.free_at)

    def event(self):
        self.events += 1
        return DeviceEvent(self)


class DeviceEvent:
    def __init__(self, device):
        self.device = device

    def record(self):
        self.at = max(self.device.free_at, self.device.clock.now)

    def query(self):
        return self.at <= self.device.clock.now

    def synchronize(self):
        self.device.clock.now = max(self.device.clock.now, self.at)

    def elapsed_time(self, later):
        assert self.query()
        assert later.query()
        return (later.at - self.at) * 1000


@pytest.mark.parametrize(
    ("fetch", "handler", "kernels", "verdict", "idle_share"),
    [
        (0.005, 0.001, 0.010, "compute-bound", 0),  # the host reads ahead
        (0.030, 0.001, 0.010, "data-bound", 22 / 32),
        (0.001, 0.030, 0.010, "handler-bound", 22 / 32),
        (0.009, 0.000, 0.0095, "compute-bound", 1 / 20),
    ],
)
def test_on_a_device_what_it_does_not_wait_for_costs_nothing(fetch, handler, kernels, verdict, idle_share):
    clock = Clock()
    device = Device(clock)

    def batches():
        for index in range(1000):
            clock.spend(fetch)
            yield index

    def step(engine, batch):
        device.run(kernels)
        clock.spend(0.001)

    def handle(engine):
        clock.spend(handler)
        if engine.state.iteration % 50 == 0:
            device.wait()  # as who reads a value does

    trainer = Engine(step)
    evaluator = Engine(lambda engine, batch: clock.spend(0.1))
    timer = FetchComputeTimer(clock=clock, make_event=device.event).attach(trainer).watch(evaluator, trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, handle)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=100), lambda: evaluator.run([0]))
    trainer.run(batches(), max_epochs=1, epoch_length=1000)
    assert timer.findings()[0].kind == verdict
    assert 1 - timer.times.share("compute") == pytest.approx(idle_share, abs=0.02)
    assert timer.seconds["compute"] == pytest.approx(1000 * kernels, rel=0.02)
    assert device.events < 200  # used again and again


@pytest.mark.parametrize("reads", [True, False], ids=["somebody reads a value", "nobody does"])
def test_the_last_steps_in_the_queue_of_a_device_count_too(reads):
    clock = Clock()
    device = Device(clock)

    def batches():
        for index in range(50):
            clock.spend(0.005)
            yield index

    def step(engine, batch):
        device.run(0.010)
        clock.spend(0.001)

    trainer = Engine(step)
    timer = FetchComputeTimer(clock=clock, make_event=device.event).attach(trainer)
    if reads:
        trainer.add_event_handler(Events.ITERATION_COMPLETED(every=50), device.wait)
    trainer.run(batches(), max_epochs=1, epoch_length=50)
    assert timer.times.count == 49  # the first has none before it
    assert timer.seconds["compute"] == pytest.approx(49 * 0.010 + 0.001)  # of the first, what the host saw
    assert timer.seconds["handlers"] == pytest.approx(0.009)  # while the rest of it was computed
    assert sum(timer.seconds.values()) == pytest.approx(clock.now)


class Kernels(torch.autograd.Function):
    """The identity, queued on the device for so long each way."""

    @staticmethod
    def forward(ctx, x, device, forward_s, backward_s):
        ctx.device, ctx.backward_s = device, backward_s
        device.run(forward_s)
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        ctx.device.run(ctx.backward_s)
        return grad, None, None, None


class OnDevice(nn.Linear):
    def __init__(self, *kernels):
        super().__init__(1, 1)
        self.kernels = kernels

    def forward(self, x):
        return Kernels.apply(super().forward(x), *self.kernels)


def test_parts_of_a_step_are_those_of_the_device():
    clock = Clock()
    device = Device(clock)
    model = OnDevice(device, 0.002, 0.006)

    def step(engine, batch, model=model):
        model(torch.ones(1)).sum().backward()
        device.run(0.002)
        clock.spend(0.001)

    def log(engine):
        clock.spend(0.0085)
        if engine.state.iteration % 50 == 0:
            device.wait()

    trainer = Engine(step)
    timer = FetchComputeTimer(clock=clock, make_event=device.event).attach(trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, log)
    trainer.run(range(1000), max_epochs=1)
    parts = timer.culprits.step.seconds()
    looked_into = parts["forward"] / 0.002
    assert looked_into == pytest.approx(round(looked_into))
    assert round(looked_into) > 10
    assert parts["backward"] == pytest.approx(3 * parts["forward"])
    assert parts["rest"] == pytest.approx(parts["forward"])
    assert timer.findings()[0].words == "compute-bound: backward, 60 %"
