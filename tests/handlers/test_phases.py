"""Phases of a run: what changes for good is found, and what comes and goes is none."""

import numpy as np
import pytest

from handlers.phases import Phase, phases, steady
from handlers.timing_statistics import IterationTimes
from tests.support.iteration_times import STEADY, with_a_change, with_a_slow_start

RUNS = 150
LENGTHS = (300, 1000, 5000)


def phases_of(seconds):
    times = IterationTimes(("fetch", "compute"))
    for second in seconds.tolist():
        times.add((second, 1.0))
    return times.phases()


@pytest.mark.slow
@pytest.mark.parametrize("process", STEADY)
def test_what_comes_and_goes_is_no_phase(process):
    generator = np.random.default_rng(0)
    # Six slow phases of 50 iterations are six phases: nobody could tell.
    counts = LENGTHS[1:] if process.__name__ == "switching" else LENGTHS
    for count in counts:
        found = [len(phases_of(process(generator, count))) > 1 for _ in range(RUNS)]
        assert np.mean(found) <= 0.03, count


@pytest.mark.parametrize("count", LENGTHS)
def test_a_slow_start_is_found_and_left_out(count):
    generator = np.random.default_rng(0)
    right = 0
    for _ in range(RUNS):
        found = phases_of(with_a_slow_start(generator, count))
        right += not found[0]["steady"] and abs(found[0]["iterations"][1] - count / 10) <= 0.03 * count
    assert right / RUNS >= 0.95


@pytest.mark.parametrize("count", LENGTHS)
def test_a_change_in_the_middle_is_found(count):
    generator = np.random.default_rng(0)
    found = [phases_of(with_a_change(generator, count)) for _ in range(RUNS)]
    assert np.mean([len(one) == 2 for one in found]) >= 0.95


@pytest.mark.parametrize("count", LENGTHS)
def test_small_noise_that_drifts_neither_hides_a_slow_start_nor_makes_a_phase(count):
    generator = np.random.default_rng(0)
    for _ in range(20):
        noise = np.zeros(count)
        for place in range(1, count):
            noise[place] = 0.95 * noise[place - 1] + generator.normal(0, 0.006)
        stalls = np.where(np.arange(count) % 50 == 49, 60.0, 0.0)
        assert len(phases_of(1 + noise + stalls)) == 1
        slow = np.where(np.arange(count) < count // 10, 10.0, 0.0)
        assert phases_of(1 + noise + slow)[0]["iterations"][1] == pytest.approx(count / 10, abs=0.03 * count)


def test_time_that_moves_from_one_part_to_another_is_a_change():
    fetch = np.repeat([0.9, 0.1], 100) + np.random.default_rng(0).normal(0, 0.02, 200)
    found = phases(np.stack([fetch, 1.0 - fetch], 1))
    assert [phase.stop for phase in found] == [100, 200]


def test_the_steady_state_is_the_longest_and_of_several_the_last():
    assert steady([Phase(0, 10), Phase(10, 60), Phase(60, 70)]) == Phase(10, 60)
    assert steady([Phase(0, 10), Phase(10, 20)]) == Phase(10, 20)


def test_shares_are_those_of_the_steady_state():
    times = IterationTimes(("fetch", "compute"))
    for place in range(1000):
        times.add((0.1 if place < 100 else 0.001, 0.01))
    assert times.share("fetch") == pytest.approx(1 / 11)
    first, last = times.phases()
    assert first["iterations"] == [1, 100]
    assert first["extra_s"] == pytest.approx(100 * 0.099)
    assert (first["steady"], last["steady"]) == (False, True)
