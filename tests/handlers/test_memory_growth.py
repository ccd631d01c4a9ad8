"""Memory that creeps, and memory that does not."""

import math

import numpy as np
import pytest
from ignite.engine import Engine, Events

from handlers.creep import Floor, creep
from handlers.memories import Memory
from handlers.memory_growth import MemoryGrowth
from tests.support.clocks import Clock

MB, GB = 1e6, 1e9
ITERATIONS = 4000


def watched(history, *, iterations=ITERATIONS, epochs=1, iteration_s=0.25, free=20e9, whose="this process"):
    """Return the watch on a run whose memory after each iteration is what ``history(iteration)`` returns."""
    clock = Clock()
    trainer = Engine(lambda engine, batch: clock.spend(iteration_s))
    memory = Memory(whose, lambda: history(trainer.state.iteration), lambda: free)
    growth = MemoryGrowth(memories=[memory], clock=clock).attach(trainer)
    trainer.run(range(iterations // epochs), max_epochs=epochs)
    return growth


def noise(sd, *, seed=0):
    """Return memory by the iteration that goes up and down by chance, some tens of values alike."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, sd, ITERATIONS + 1)
    smooth = np.convolve(values, np.full(20, 20**-0.5), mode="same")
    return lambda iteration: float(values[iteration] + smooth[iteration])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("leak", "iterations", "sd"),
    [(10e3, 16_000, 2 * MB), (100e3, ITERATIONS, 10 * MB), (1 * MB, ITERATIONS, 100 * MB)],
)
def test_a_leak_is_found_and_measured(leak, iterations, sd, seed):
    around = noise(sd, seed=seed)
    growth = watched(lambda i: 3 * GB + leak * i + around(i % ITERATIONS), iterations=iterations)
    (finding,) = growth.findings()
    assert (finding.kind, finding.culprit) == ("memory creeps", "this process")
    pace = growth.paces()["this process"]
    assert pace.low <= leak <= pace.high
    assert pace.value == pytest.approx(leak, rel=0.15)


def test_the_words_say_how_much_and_until_when():
    (finding,) = watched(lambda i: 1.02 * MB * i, free=3.5 * GB, whose="the workers").findings()
    assert str(finding) == (
        "memory creeps: 1.02 MB an iteration in the workers (1.02 to 1.02), full in about 3,400 iterations"
    )
    (finding,) = watched(lambda i: 20e3 * i, free=None).findings()
    assert str(finding) == "memory creeps: 20.00 kB an iteration in this process (20.00 to 20.00)"
    assert finding.share is None


def test_a_leak_is_found_among_what_happens_once_and_what_comes_back():
    def history(i):
        evaluation = 2 * GB * (i % 500 > 450)
        return 0.3 * MB * i + evaluation + 5 * GB * (i > 1000) + 1 * GB * (i > 2500)

    growth = watched(history)
    assert "0.30 MB an iteration" in str(growth.findings()[0])


def test_what_every_epoch_leaves_behind_is_a_leak():
    growth = watched(lambda i: 40 * MB * (i // 100), epochs=40)
    assert "0.40 MB an iteration" in str(growth.findings()[0])


def test_a_leak_that_begins_late_is_found():
    assert watched(lambda i: max(0.0, i - 1000) * MB).findings()


def test_each_memory_is_looked_at_by_itself():
    clock = Clock()
    trainer = Engine(lambda engine, batch: clock.spend(1.0))
    leak = Memory("the device", lambda: trainer.state.iteration * MB, lambda: GB)
    still = Memory("this process", lambda: 7.0 * GB, lambda: GB)
    unknown = Memory("the workers", lambda: None, lambda: None)
    growth = MemoryGrowth(memories=[still, unknown, leak], clock=clock).attach(trainer)
    trainer.run(range(300))
    assert [finding.culprit for finding in growth.findings()] == ["the device"]


def random_walk(step, *, seed=1, drift_back=0.0):
    rng, level, levels = np.random.default_rng(seed), 0.0, []
    for change in rng.normal(0, step, ITERATIONS + 1):
        level += change - drift_back * level
        levels.append(level)
    return lambda i: levels[i]


NOISE = noise(50 * MB)
# Bytes by iteration, of runs of 4000 iterations that leak nothing.
LEAK_FREE = {
    "still": lambda i: 5 * GB,
    "noise": noise(100 * MB),
    "pages that come and go": lambda i: 4096 * (i % 7),
    "a jump": lambda i: 3 * GB * (i > 2500),
    "a jump in the last eighth": lambda i: 3 * GB * (i > 3700),
    "three jumps": lambda i: 1 * GB * ((i > 900) + (i > 1900) + (i > 2900)),
    "a jump in noise": lambda i: 2 * GB * (i > 1300) + NOISE(i),
    "an evaluation every epoch": lambda i: 2 * GB * (i % 500 > 400),
    "an evaluation that keeps what it has allocated": lambda i: 2 * GB * (i > 500),
    "a checkpoint now and then": lambda i: 1.5 * GB * (i % 700 < 12),
    "warm-up": lambda i: 3 * GB * min(1.0, i / 400),
    "slow warm-up": lambda i: 3 * GB * (1 - math.exp(-i / 500)),
    "a cache that fills in the first half": lambda i: 4 * GB * min(1.0, i / 2000),
    "a cache drawn from at random": lambda i: 4 * GB * (1 - math.exp(-i / 1300)),
    "a logarithm": lambda i: 1 * GB * math.log1p(i),
    "a short sawtooth": lambda i: 1 * MB * (i % 100),
    "a long sawtooth": lambda i: 1 * MB * (i % 1300),
    "a sawtooth in its second rise": lambda i: 1 * MB * (i % 2100),
    "a slow wave": lambda i: 500 * MB * math.sin(i / 500),
    "fragments that wander": random_walk(3 * MB),
    "fragments that wander and return": random_walk(10 * MB, drift_back=0.01),
    "a fall": lambda i: 9 * GB - 1 * MB * i,
    "a rise and a fall": lambda i: 1 * MB * min(i, 4000 - i),
    "very little": lambda i: 10e3 * i,
    "workers that start and end": lambda i: 3 * GB * (i % 1000 < 900),
    "a rise that has ended": lambda i: 1 * MB * min(i, 3000),
}


@pytest.mark.parametrize("name", LEAK_FREE)
def test_no_alarm_where_nothing_leaks(name):
    assert watched(LEAK_FREE[name]).findings() == []


@pytest.mark.parametrize("name", ["noise", "a jump in noise", "an evaluation every epoch", "three jumps"])
def test_no_alarm_at_any_time_of_such_a_run(name):
    clock = Clock()
    trainer = Engine(lambda engine, batch: clock.spend(0.25))
    memory = Memory("this process", lambda: LEAK_FREE[name](trainer.state.iteration), lambda: 20 * GB)
    growth = MemoryGrowth(memories=[memory], clock=clock).attach(trainer)
    found = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=20), lambda: found.extend(growth.findings()))
    trainer.run(range(ITERATIONS))
    assert found == []


@pytest.mark.parametrize("sd", [0.0, 5.0])
def test_random_walks_raise_one_alarm_in_forty_at_most(sd):
    alarms = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        floor = Floor()
        for place, value in enumerate(rng.normal(size=300).cumsum() + sd * rng.normal(size=300)):
            floor.add(place, value)
        alarms += creep(floor.points()) is not None
    assert alarms <= 5


def test_a_cache_may_fill_in_the_first_two_epochs_of_several():
    fills = {"iterations": 900, "free": 20 * GB, "iteration_s": 1.0}
    assert watched(lambda i: 1 * MB * i, **fills, epochs=1).findings()
    assert watched(lambda i: 1 * MB * i, **fills, epochs=3).findings()
    clock = Clock()
    trainer = Engine(lambda engine, batch: clock.spend(1.0))
    memory = Memory("this process", lambda: trainer.state.iteration * MB, lambda: free[0])
    growth = MemoryGrowth(memories=[memory], clock=clock).attach(trainer)
    found = {}

    @trainer.on(Events.ITERATION_COMPLETED(every=100))
    def ask(engine):
        for free[0] in (20 * GB, 0.1 * GB):
            found[engine.state.iteration, free[0] / GB] = len(growth.findings())

    free = [0.0]
    trainer.run(range(300), max_epochs=4)
    assert [found[at, 20] for at in (200, 500, 600, 700)] == [0, 0, 1, 1]
    assert [found[at, 0.1] for at in (200, 400)] == [1, 1]  # it would be full before they are over


@pytest.mark.parametrize("iteration_s", [0.001, 0.05, 2.0, 30.0])
def test_it_is_read_once_in_a_second_or_at_each_longer_iteration(iteration_s):
    reads = []
    clock = Clock()
    trainer = Engine(lambda engine, batch: clock.spend(iteration_s))
    memory = Memory("this process", lambda: reads.append(clock()), lambda: None)
    MemoryGrowth(memories=[memory], every_s=1.0, clock=clock).attach(trainer)
    trainer.run(range(max(100, int(20 / iteration_s))))
    pauses = np.diff(reads[2:])
    assert pauses.min() >= max(1.0, iteration_s) - 1e-6
    assert pauses.max() <= max(1.3, iteration_s) + 1e-6


def test_reading_that_takes_long_is_done_less_often():
    clock, reads = Clock(), []

    def slow():
        clock.spend(0.1)
        reads.append(clock())

    trainer = Engine(lambda engine, batch: clock.spend(0.1))
    MemoryGrowth(memories=[Memory("the workers", slow, lambda: None)], clock=clock).attach(trainer)
    trainer.run(range(3000))
    assert len(reads) * 0.1 <= 0.005 * clock() + 0.1


def test_whoever_is_called_at_each_iteration_may_call_it():
    clock, calls = Clock(), []
    trainer = Engine(lambda engine, batch: clock.spend(0.02))
    memory = Memory("this process", lambda: trainer.state.iteration * MB, lambda: GB)
    growth = MemoryGrowth(memories=[memory], every_s=1.0, clock=clock)
    due = [1]
    growth.start()

    @trainer.on(Events.ITERATION_COMPLETED)
    def end(engine):
        if engine.state.iteration == due[0]:
            calls.append(engine.state.iteration)
            due[0] += growth.look()

    trainer.run(range(2000))
    assert "1.00 MB an iteration" in str(growth.findings()[0])
    assert len(calls) < 250


def test_what_is_kept_does_not_grow_with_the_run():
    floor = Floor()
    for place in range(100_000):
        floor.add(place, -place)
    assert 16 <= len(floor.points()) <= 32
    places, values = floor.points().T
    assert np.all(np.diff(places) == floor.size)
    assert values[-1] == -places[-1] - (floor.size - 1) / 2


@pytest.mark.parametrize("every_s", [0, -1.0])
def test_a_pause_of_no_time_is_refused(every_s):
    with pytest.raises(ValueError, match="every_s must be positive"):
        MemoryGrowth(every_s=every_s)
