import pickle

import numpy as np
import pytest

from handlers.timing_statistics import _CHUNK, IterationTimes

PARTS = ("fetch", "compute", "handlers")


def times_of(rows):
    times = IterationTimes(PARTS)
    for row in rows:
        times.add(tuple(row))
    return times


@pytest.mark.parametrize("count", [1, 2, _CHUNK - 1, _CHUNK, _CHUNK + 1, 5000])
def test_shares_and_quantiles_are_those_of_all_iterations(count):
    rows = np.random.default_rng(0).lognormal(-4, 1, (count, 3))
    times = times_of(rows)
    assert times.count == count
    for index, part in enumerate(PARTS):
        assert times.share(part) == pytest.approx(rows[:, index].sum() / rows.sum())
        for q in (0.5, 0.95):
            exact = np.quantile(rows[:, index], q, method="inverted_cdf")
            assert times.quantile(part, q) == pytest.approx(exact, rel=0.02)


def test_nothing_is_said_of_nothing():
    times = IterationTimes(PARTS)
    assert times.quantile("fetch", 0.5) is None
    assert times.speedup_without("fetch") is None
    assert times.share("fetch") == 0
    assert times.phases() == []


@pytest.mark.parametrize("count", range(1, 60))
def test_a_run_may_end_after_any_number_of_iterations(count):
    times = times_of(np.random.default_rng(count).random((count, 3)))
    assert 0 < times.share("fetch") < 1
    assert times.phases()[-1]["iterations"] == [1, count]
    assert (times.speedup_without("fetch") is None) is (count < 2)


def test_a_part_that_takes_no_time_has_quantile_zero():
    assert times_of([(0.0, 1.0, 1.0)] * 30).quantile("fetch", 0.95) == 0


def test_memory_does_not_grow_with_the_run():
    short, long = times_of([(0.1, 0.2, 0.3)] * 1024), IterationTimes(PARTS)
    for _ in range(1_000_000):
        long.add((0.1, 0.2, 0.3))
    assert short.share("fetch") == pytest.approx(long.share("fetch"))
    long.share("fetch")
    assert abs(len(pickle.dumps(long)) - len(pickle.dumps(short))) < 100


def test_the_interval_holds_the_true_speedup_95_times_in_100():
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        bursts = generator.random((200, 1)) < 0.1
        rows = np.hstack([bursts * generator.exponential(0.5, (200, 1)), generator.gamma(9, 0.01, (200, 2))])
        _, low, high = times_of(rows).speedup_without("fetch")
        held += low <= (0.05 + 0.18) / 0.18 <= high
    assert 0.9 <= held / 400 <= 0.99


@pytest.mark.parametrize("cut", [0, 1, 300])
def test_what_a_checkpoint_holds_goes_on_as_if_nothing_had_been(cut):
    rows = np.random.default_rng(0).random((600, 3))
    whole, resumed = times_of(rows), IterationTimes(PARTS)
    resumed.load_state_dict(times_of(rows[:cut]).state_dict())
    for row in rows[cut:]:
        resumed.add(tuple(row))
    assert resumed.quantile("fetch", 0.95) == whole.quantile("fetch", 0.95)
    assert resumed.speedup_without("fetch") == pytest.approx(whole.speedup_without("fetch"))
    assert resumed.count == whole.count
