"""What Python's garbage collector takes of a run, and what helps."""

import gc
import time

import pytest
from ignite.engine import Engine, Events

from handlers.garbage import GarbageCollection
from tests.support.clocks import Clock
from tests.support.machines import Collector


@pytest.fixture(autouse=True)
def _as_before():
    """Let no collection happen but those of a test, and undo what it sets."""
    callbacks = list(gc.callbacks)
    gc.disable()
    yield
    gc.unfreeze()
    gc.enable()
    assert gc.callbacks == callbacks


@pytest.fixture
def clock():
    return Clock()


def run(clock, *, compute_s, steps=100, **collection):
    """Return what is found in a run whose steps compute, and then collect."""

    def step(engine, batch):
        clock.spend(compute_s)
        Collector(clock).collect(**collection)

    trainer = Engine(step)
    collector = GarbageCollection(clock=clock).attach(trainer)
    trainer.run(range(steps))
    clock.spend(1e6)  # after the run, which is no part of it
    return collector


def test_full_collections_are_found_with_their_share(clock):
    collector = run(clock, compute_s=0.9, seconds=0.1)
    (finding,) = collector.findings()
    assert (finding.kind, finding.culprit) == ("garbage collection", "full collections")
    assert finding.share == pytest.approx(0.1)
    assert str(finding) == "garbage collection: 100 full collections, 10 %"
    assert "gc.freeze()" in finding.advice


@pytest.mark.parametrize(("freed", "advice"), [(0, "gc.disable()"), (500, "in a circle")])
def test_young_collections_are_told_from_those_that_free_circles(clock, freed, advice):
    (finding,) = run(clock, compute_s=0.7, seconds=0.3, generation=0, freed=freed).findings()
    assert str(finding) == "garbage collection: 100 young collections, 30 %"
    assert advice in finding.advice


def test_five_percent_are_nothing_to_speak_of(clock):
    assert run(clock, compute_s=0.951, seconds=0.049).findings() == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_run_that_raises_still_raises_and_no_callback_stays(clock, error):
    callbacks = list(gc.callbacks)

    def step(engine, batch):
        Collector(clock).collect(1.0)
        raise error

    trainer = Engine(step)
    collector = GarbageCollection(clock=clock).attach(trainer)
    with pytest.raises(error):
        trainer.run([0])
    assert gc.callbacks == callbacks
    assert collector.seconds["full"] == 1.0


@pytest.mark.parametrize("end", ["terminate", "terminate_epoch", "interrupt"])
def test_a_run_that_is_ended_leaves_no_callback(clock, end):
    callbacks = list(gc.callbacks)
    trainer = Engine(lambda engine, batch: None)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda: getattr(trainer, end)())
    GarbageCollection(clock=clock).attach(trainer)
    trainer.run(range(5))
    assert gc.callbacks == callbacks


def test_handlers_of_exceptions_work_as_without_it(clock):
    seen = []

    def step(engine, batch):
        raise RuntimeError("planted")

    trainer = Engine(step)
    GarbageCollection(clock=clock).attach(trainer)
    trainer.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, error: seen.append(str(error)))
    trainer.run([0])
    assert "planted" in seen


def test_an_engine_inside_the_other_counts_once(clock):
    evaluator = Engine(lambda engine, batch: Collector(clock).collect(1.0))
    trainer = Engine(lambda engine, batch: evaluator.run([0]))
    collector = GarbageCollection(clock=clock).attach(trainer).attach(evaluator)
    trainer.run([0])
    assert collector.seconds["full"] == 1.0
    assert collector.wall_s() == 1.0


def test_what_is_collected_outside_a_run_is_not_counted(clock):
    collector = run(clock, compute_s=1.0, seconds=0.0, steps=3)
    Collector(clock).collect(5.0)
    assert collector.seconds["full"] == 0.0


def test_a_resumed_run_goes_on_counting(clock):
    state = run(clock, compute_s=0.5, seconds=0.5).state_dict()
    collector = GarbageCollection(clock=clock)
    trainer = Engine(lambda engine, batch: clock.spend(100.0))
    trainer.add_event_handler(Events.STARTED, lambda: collector.load_state_dict(state))
    collector.attach(trainer)
    trainer.run([0])
    (finding,) = collector.findings()
    assert finding.share == pytest.approx(50 / 200)


@pytest.mark.slow
def test_what_is_advised_helps_beside_a_large_heap():
    def step(engine, batch):
        end_s = time.perf_counter() + 0.02
        while time.perf_counter() < end_s:
            pass
        gc.collect()

    heap = [{"path": str(number), "box": [number]} for number in range(200_000)]
    before = GarbageCollection().attach(trainer := Engine(step))
    trainer.run(range(4))
    (finding,) = before.findings()
    assert "call gc.freeze() after set-up" in finding.advice
    gc.freeze()
    after = GarbageCollection().attach(trainer := Engine(step))
    trainer.run(range(4))
    assert after.findings() == []
    assert after.collections["full"] == before.collections["full"] == 4
    assert len(heap) == 200_000  # it was there all the time
