"""Intervals of differences and ratios between two small groups of figures."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

LEVEL = 0.99
# Student's t at LEVEL, two-sided; above three degrees of freedom an expansion is within 0.3 %.
_FEW = {1: 63.657, 2: 9.925, 3: 5.841}
_NORMAL = statistics.NormalDist().inv_cdf((1 + LEVEL) / 2)


class Estimate(NamedTuple):
    """A value and its 99 % interval, which is None where there are too few figures for one."""

    value: float
    low: float | None
    high: float | None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends, or None."""
        return None if self.low is None or self.high is None else (self.low, self.high)


def difference(a: Sequence[float], b: Sequence[float]) -> Estimate:
    """Return mean(b) - mean(a), and its interval by Student's t with one variance for both groups.

    The runs of both are made in turn, on one machine, so that the same noise is in both. With fewer than two
    figures in a group there is no interval. ``ValueError`` is raised for an empty group.

    >>> difference([1.0, 1.1, 0.9], [2.0, 2.1, 1.9])
    Estimate(value=1.0, low=0.62..., high=1.37...)
    """
    if not a or not b:
        raise ValueError(f"a and b must have figures, got {len(a)} and {len(b)}")
    value = statistics.fmean(b) - statistics.fmean(a)
    if min(len(a), len(b)) < 2:
        return Estimate(value, None, None)
    freedom = len(a) + len(b) - 2
    squares = statistics.variance(a) * (len(a) - 1) + statistics.variance(b) * (len(b) - 1)
    margin = student_t(freedom) * math.sqrt(squares / freedom * (1 / len(a) + 1 / len(b)))
    return Estimate(value, value - margin, value + margin)


def ratio(a: Sequence[float], b: Sequence[float]) -> Estimate:
    """Return how many times b is a, of geometric means, and the interval: `difference` of logarithms.

    What disturbs a run makes it slower by a factor, so that logarithms have the same noise in both groups.
    The figures must be positive.

    >>> round(ratio([1.0, 1.0], [2.0, 2.0]).value, 6)
    2.0
    """
    logs = difference([math.log(one) for one in a], [math.log(one) for one in b])
    low, high = logs.interval or (None, None)
    return Estimate(
        math.exp(logs.value),
        None if low is None else math.exp(low),
        None if high is None else math.exp(high),
    )


def student_t(freedom: int) -> float:
    """Return Student's t of `LEVEL`, two-sided (Abramowitz and Stegun 1964, 26.7.5).

    >>> [round(student_t(freedom), 2) for freedom in (3, 4, 10, 100)]
    [5.84, 4.59, 3.17, 2.63]
    """
    if freedom in _FEW:
        return _FEW[freedom]
    x = _NORMAL
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return x + math.fsum(term / float(freedom**power) for power, term in enumerate(terms, 1))
