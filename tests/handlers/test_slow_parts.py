"""Runs in which a part takes long, or a part of the step: it is named."""

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from handlers import EvaluateEachEpoch, FetchComputeTimer
from tests.support.clocks import Clock
from tests.support.priced_model import Model, PricedSGD
from tests.support.timed_loop import FETCH_S, LENGTH, STEP_S, Loader, named, run


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def trainer(clock):
    return Engine(lambda engine, batch: clock.spend(STEP_S))


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
    assert timer.findings()[0].kind == "data-bound"
    assert timer.findings()[0].share == pytest.approx(0.5, abs=0.01)


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
    assert timer.findings()[0].kind == f"{kind}-bound"
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


def test_a_step_that_raises_leaves_no_hooks_behind(clock):
    model = nn.Linear(1, 1)

    def step(engine, batch, model=model):
        model(torch.ones(1))
        if engine.state.iteration == 3:  # the first that is looked into
            raise ZeroDivisionError

    trainer = Engine(step)
    FetchComputeTimer(clock=clock).attach(trainer)
    with pytest.raises(ZeroDivisionError):
        trainer.run(range(5))
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


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
