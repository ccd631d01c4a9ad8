"""The slow part of loading is named, from whichever process it is slow in."""

import multiprocessing
import os
import signal

import numpy as np
import pytest

from ignite_pipeline.data.loading import endless_loader
from ignite_pipeline.data.loading_costs import LoadingCosts
from ignite_pipeline.data.worker_process import WorkersFailed
from tests.support.clocks import Clock
from tests.support.timed_loading import started
from tests.support.timely_data import Chain, Collated, First, Second, Spend, Timely

NAMES = ("reading", "First", "Second", "collating")


def check_that_it_is_named(slow, num_workers, method):
    clock = Clock()  # of which each worker has a copy
    seconds = {name: 0.004 if name == slow else 0.001 for name in NAMES}
    chain = Chain([First(clock, seconds["First"]), Second(clock, seconds["Second"])])
    loader, loaded = started(
        Timely(Spend(clock, seconds["reading"]), chain),
        collate_fn=Collated(clock, seconds["collating"]),
        clock=clock,
        num_workers=num_workers,
        multiprocessing_context=method,
    )
    for _ in range(8):
        next(loaded)
    assert {cost.name for cost in loader.costs()} == set(NAMES)  # with workers at work
    del loaded  # which waits for them
    costs = loader.costs()
    assert costs[0].name == slow
    found = {cost.name: (cost.ms, cost.share) for cost in costs}
    assert found.keys() == set(NAMES)
    for name in NAMES:
        assert found[name] == pytest.approx((1000 * seconds[name], seconds[name] / 0.007))


@pytest.mark.parametrize("slow", NAMES)
@pytest.mark.parametrize("workers", [(0, None), (1, "fork"), (2, "fork")], ids=str)
def test_what_is_slow_is_named(slow, workers):
    check_that_it_is_named(slow, *workers)


def test_what_is_slow_is_named_from_workers_that_are_spawned():
    check_that_it_is_named("Second", 2, "spawn")


def test_nothing_is_named_before_anything_is_loaded():
    assert endless_loader(range(8), batch_size=4, seed=0).costs() == []
    loader, loaded = started(range(8))
    assert loader.costs() == []
    next(loaded)
    assert "collating" in {cost.name for cost in loader.costs()}


@pytest.mark.parametrize("size", [1, 4, 48, 64, 200])
def test_whatever_comes_back_among_samples_is_timed_as_often_as_all_else(size):
    costs = LoadingCosts()
    costs.begin(range(size))
    timed = [costs.timed_of(range(size), number, 0) for number in range(64_000)]
    np.testing.assert_allclose(np.bincount([place for places in timed for place in places]), 1000, rtol=0.1)
    for period in (2, 3, 10, 16, 50, 64):
        by_phase = np.bincount(np.arange(64_000) % period, [len(places) for places in timed])
        np.testing.assert_allclose(by_phase, 1000 * size / period, rtol=0.5)


def test_the_costs_of_a_loader_go_on_when_it_is_asked_again():
    clock = Clock()
    loader, loaded = started(Timely(Spend(clock, 0.001), First(clock, 0.002)), clock=clock)
    next(loaded)
    clock.spend(1)
    loader.dataset.dataset.transform.seconds = 0.004
    next(iter(loader))
    assert {cost.name: cost.ms for cost in loader.costs()} == pytest.approx({"First": 3, "reading": 1})


class Mortal(Timely):
    def __getitem__(self, index):
        if index == 30:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def test_what_a_worker_noted_before_it_was_killed_stays():
    clock = Clock()
    dataset = Mortal(Spend(clock, 0.001), First(clock, 0.003))
    others = multiprocessing.active_children()  # of earlier tests, perhaps
    loader, loaded = started(dataset, clock=clock, num_workers=2)
    with pytest.raises(WorkersFailed, match="a worker died"):
        list(loaded)
    for worker in set(multiprocessing.active_children()) - set(others):
        worker.join(timeout=60)
        assert worker.exitcode is not None
    shares = {cost.name: cost.share for cost in loader.costs()}
    assert shares == pytest.approx({"First": 0.75, "reading": 0.25})
