"""How steeply the floor rises that a quantity returns to again and again."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
_MOST, _LEAST = 32, 14
_WARM_UP = 8
_STUDENT_975 = 2.2  # with the fewest values; less with more
# Of a random walk: what differences of stretches hide of its variance, and what a fitted line adds to it.
_RANDOM_WALK = math.sqrt(3 / 2 * 6 / 5)
_LARGEST_CORRELATION = 0.8
_MOST_STEPS, _OUTLYING = 3, 8
_LAST_HALF, _LAST_QUARTER = 0.7, 0.5


class Slope(NamedTuple):
    """A slope and its 95 % interval."""

    value: float
    low: float
    high: float


class Floor:
    """The minima of a quantity in 16 to 32 stretches of its course, each of as many values.

    >>> floor = Floor(most=4)
    >>> for place, value in enumerate([5, 7, 6, 8, 9, 9]):
    ...     floor.add(place, value)
    >>> floor.points().tolist()
    [[0.5, 5.0], [2.5, 6.0], [4.5, 9.0]]
    """

    def __init__(self, *, most: int = _MOST) -> None:
        if most % 2:
            raise ValueError(f"most must be even, got {most}")
        self.most, self.size = most, 1
        """How many values a stretch has."""
        self._points: list[tuple[float, float]] = []
        self._count, self._places, self._least = 0, 0.0, math.inf

    def add(self, place: float, value: float) -> None:
        """Add a value, at a place behind that of the last."""
        if len(self._points) == self.most:
            pairs = zip(self._points[::2], self._points[1::2], strict=True)
            self._points = [((a + b) / 2, min(low, other)) for (a, low), (b, other) in pairs]
            self.size *= 2
        self._count, self._places = self._count + 1, self._places + place
        self._least = min(self._least, value)
        if self._count == self.size:
            self._points.append((self._places / self.size, self._least))
            self._count, self._places, self._least = 0, 0.0, math.inf

    def points(self) -> Values:
        """Return the middles and minima of all complete stretches, ``(n, 2)``."""
        return np.array(self._points, dtype=float).reshape(-1, 2)


def creep(points: Values) -> Slope | None:
    """Return the slope of points ``(n, 2)`` that rise and go on rising; None of all others.

    The first eighth is left out as warm-up, and at least 14 points must remain. Up to three jumps upwards
    that stand out are taken for what happens once; falls count. The slope is that of a fitted line. Its
    interval is the one for a random walk with correlated differences, as the usual one takes wandering for
    a trend (Durlauf and Phillips 1988); where there is only noise around a line, it is wider than it need
    be. It must be clear of 0. The last half must rise at 0.7 of the first half's pace or more, the last
    quarter at 0.5 of the mean.

    >>> rise = np.stack([np.arange(20.0), 3 * np.arange(20.0)], axis=1)
    >>> creep(rise)
    Slope(value=3.0, low=3.0, high=3.0)
    >>> creep(np.minimum(rise, 30.0)) is None
    True
    """
    points = points[len(points) // _WARM_UP :]
    if len(points) < _LEAST:
        return None
    places, values = points[:, 0], _without_steps(points[:, 1])
    found = _slope(places, values)
    return found if found.low > 0 and _goes_on(places, values) else None


def _goes_on(places: Values, values: Values) -> bool:
    def pace(first: int, last: int) -> float:
        return float((values[last] - values[first]) / (places[last] - places[first]))

    last = len(values) - 1
    middle, quarter = len(values) // 2, last - len(values) // 4
    if pace(middle, last) < _LAST_HALF * pace(0, middle):
        return False
    return pace(quarter, last) >= _LAST_QUARTER * pace(0, last)


def _without_steps(values: Values) -> Values:
    """Return values without the few jumps that are far from all other differences."""
    differences = np.diff(values)
    usual = np.median(differences)
    deviation = np.median(np.abs(differences - usual))
    steps = differences > usual + _OUTLYING * deviation
    if 0 < steps.sum() <= _MOST_STEPS:
        differences[steps] = differences[~steps].mean()
    return np.concatenate([values[:1], values[0] + differences.cumsum()])


def _slope(places: Values, values: Values) -> Slope:
    around = places - places.mean()
    slope = float(around @ values / (around @ around))
    differences = np.diff(values)
    noise = differences - differences.mean()
    square = float(noise @ noise)
    correlation = float(noise[1:] @ noise[:-1]) / square if square else 0.0
    correlation = min(max(0.0, correlation), _LARGEST_CORRELATION)
    variance = square / (len(noise) - 1) / len(noise) * (1 + correlation) / (1 - correlation)
    half = _STUDENT_975 * _RANDOM_WALK * math.sqrt(variance) / float(np.diff(places).mean())
    return Slope(slope, slope - half, slope + half)
