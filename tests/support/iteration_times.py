"""Times of iterations as processes of all kinds make them, in seconds."""

import numpy as np


def independent(generator, count):
    return generator.exponential(1.0, count)


def heavy_tailed(generator, count):
    return generator.lognormal(0, 1, count)


def bursts(generator, count):
    return np.where(generator.random(count) < 0.05, 4.0, 0.1) + generator.exponential(0.05, count)


def every_twentieth(generator, count):
    times = 0.1 + generator.exponential(0.05, count)
    times[generator.integers(20) :: 20] += 4
    return times


def switching(generator, count, mean=50):
    """Slow phases of 50 iterations or so, ten times as slow as the others."""
    lengths = generator.geometric(1 / mean, 2 * count // mean + 50)
    slow = np.repeat(np.arange(len(lengths)) % 2 == generator.integers(2), lengths)[:count]
    return np.where(slow, 1.0, 0.1) + generator.exponential(0.02, count)


def autoregressive(generator, count):
    noise, value, times = generator.normal(0, 0.3, count), 0.0, np.empty(count)
    for place in range(count):
        value = 0.5 * value + noise[place]
        times[place] = value
    return np.exp(times)


def with_a_pause(generator, count):
    times = 1 + generator.exponential(0.1, count)
    times[generator.integers(count)] = 0.3 * count
    return times


def drifting(generator, count):
    return 1 + np.arange(count) / count + generator.exponential(0.1, count)


def with_a_slow_start(generator, count):
    times = 1 + generator.exponential(0.3, count)
    times[: count // 10] *= 1.5
    return times


def with_a_change(generator, count):
    times = 1 + generator.exponential(0.3, count)
    times[count // 2 :] *= 1.5
    return times


STEADY = [
    independent,
    heavy_tailed,
    bursts,
    every_twentieth,
    switching,
    autoregressive,
    with_a_pause,
    drifting,
]
