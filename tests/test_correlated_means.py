"""The interval of what perfect loading would give: right, and no wider than need be."""

import numpy as np
import pytest

from handlers.correlated_means import ratio_interval
from handlers.timing_statistics import IterationTimes

from iteration_times import bursts, heavy_tailed, independent, switching

RUNS = 200


@pytest.mark.parametrize("count", [1000, 5000, 20_000])
@pytest.mark.parametrize("process", [independent, heavy_tailed, bursts, switching])
def test_an_interval_holds_the_truth_and_is_as_narrow_as_the_process_allows(process, count):
    generator = np.random.default_rng(count)
    fetch = [process(generator, count) for _ in range(RUNS)]
    found = [IterationTimes(("fetch", "compute")) for _ in fetch]
    for times, seconds in zip(found, fetch, strict=True):
        times._new = [(second, 1.0) for second in seconds.tolist()]
    means = np.array([seconds.mean() for seconds in fetch])
    truth, spread = 1 + means.mean(), means.std(ddof=1)
    intervals = np.array([times.speedup_without("fetch") for times in found])
    held = (intervals[:, 1] <= truth) & (truth <= intervals[:, 2])
    assert held.mean() >= 0.9
    assert np.median(intervals[:, 2] - intervals[:, 1]) <= 1.5 * 2 * 1.96 * spread


@pytest.mark.parametrize("count", [8, 20, 100])
def test_few_iterations_have_an_interval_too(count):
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(RUNS):
        numerators = 1 + independent(generator, count)
        ratio, low, high = ratio_interval(numerators, np.ones(count))
        assert low < ratio < high
        held += low <= 2 <= high
    assert held / RUNS >= 0.88


def test_fewer_than_eight_have_none():
    with pytest.raises(ValueError, match="needs 8 values, got 7"):
        ratio_interval(np.ones(7), np.ones(7))
