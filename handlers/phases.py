"""Phases of a run: where its times change for good, by a test, and which of them is the steady one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
_LEAST_BLOCKS, _LEAST_SHARE = 5, 0.05
_LEAST_EFFECT, _SMALL_DIFFERENCE, _SMALL_BESIDE_CHANGE = 0.1, 0.05, 0.5
_MOST_CHANGES = 3
# One false alarm in a hundred, wherever the change may be (Andrews 1993, table I: one parameter, 5 % left out
# at the ends), if the correlation were known. It is estimated: the fewer independent values there are, the
# larger the statistic has to be. Simulated, see the tests.
_CRITICAL, _CRITICAL_WITH_FEW = 13.0, 20.0
_LARGEST_CORRELATION = 0.97
_SIZES, _LEAST_MEANS = (1, 2, 4, 8), 16


@dataclass(frozen=True)
class Phase:
    """Consecutive blocks, from ``start`` to before ``stop``."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def phases(parts: Values) -> list[Phase]:
    """Return the phases of a run from the times of consecutive blocks in parts, ``(blocks, parts)``.

    A change is one of the mean of all parts together or of one of them, by a tenth of the whole or more, that
    leaves 5 % of the run or more on either side. It is tested by the largest Wald statistic over all places
    where it may be (Andrews 1993), on ranks, so that a pause is no change; differences that are small beside
    an iteration, or beside the change, count in part. The long-run variance of what is left on both sides is
    that of an autoregression (Andrews and Monahan 1992), of the values or of means of neighbours, whichever
    is larger. Each side is then searched anew. More than three changes are none: slow times that come and go
    belong to one phase.

    >>> times = np.ones((100, 1)) + np.random.default_rng(0).normal(0, 0.1, (100, 1))
    >>> times[:12] += 1
    >>> phases(times)
    [Phase(start=0, stop=12), Phase(start=12, stop=100)]
    """
    whole = Phase(0, len(parts))
    series = [
        parts.sum(1),
        *(column for column in parts.T if column.mean() > _LEAST_EFFECT * parts.sum(1).mean()),
    ]
    least = max(_LEAST_BLOCKS, int(_LEAST_SHARE * len(parts)))
    found = _split(whole, series, least)
    return found if len(found) <= _MOST_CHANGES + 1 else [whole]


def steady(found: Sequence[Phase]) -> Phase:
    """Return the longest phase, and the last of several such."""
    return max(found, key=lambda phase: (len(phase), phase.start))


def _split(phase: Phase, series: Sequence[Values], least: int) -> list[Phase]:
    if len(phase) < 2 * least:
        return [phase]
    level = float(series[0].mean())
    changes = [_change(values[phase.start : phase.stop], least, level) for values in series]
    statistic, place = max(changes)
    if statistic < 1:
        return [phase]
    middle = phase.start + place
    return [
        *_split(Phase(phase.start, middle), series, least),
        *_split(Phase(middle, phase.stop), series, least),
    ]


def _change(values: Values, least: int, level: float) -> tuple[float, int]:
    """Return the largest statistic of a change, in critical values, and its place; 0 if it is too small."""
    count, small = len(values), _SMALL_DIFFERENCE * level
    places = np.arange(least, count - least + 1)
    place = int(places[_between(_ranks(values, small), places).argmax()])
    sides = values[:place], values[place:]
    change = abs(float(_usual(sides[0]).mean() - _usual(sides[1]).mean()))
    if abs(sides[0].mean() - sides[1].mean()) < _LEAST_EFFECT * level or change < small:
        return 0.0, place
    ranks = _ranks(values, max(small, _SMALL_BESIDE_CHANGE * change))
    residuals = np.concatenate([side - side.mean() for side in (ranks[:place], ranks[place:])])
    variance = float(residuals.var())
    if not variance:
        return np.inf, place
    long_run = max(
        _long_run_variance(residuals, size) for size in _SIZES if size == 1 or count >= _LEAST_MEANS * size
    )
    independent = count * variance / long_run
    critical = _CRITICAL * (1 + _CRITICAL_WITH_FEW / independent)
    return float(_between(ranks, np.array([place]))[0]) / long_run / critical, place


def _between(ranks: Values, places: npt.NDArray[np.int64]) -> Values:
    """Return how much of the sum of squares of ranks around 0 lies between both sides of each place."""
    count, before = len(ranks), ranks.cumsum()[places - 1]
    between: Values = before**2 * count / (places * (count - places))
    return between


def _usual(values: Values) -> Values:
    """Return values without the twentieth that is largest, and the one that is smallest."""
    few = len(values) // 20
    usual: Values = np.sort(values)[few : len(values) - few]
    return usual


def _ranks(values: Values, small: float) -> Values:
    """Return ranks around 0, to which differences below ``small`` count in part: noise is no order.

    >>> _ranks(np.array([1.0, 3.0, 2.0, 2.0625]), 0.125).tolist()
    [-1.5, 1.5, -0.25, 0.25]
    """
    if not small:
        return np.zeros_like(values)
    ranks: Values = np.clip((values[:, None] - values) / (2 * small), -0.5, 0.5).sum(1)
    return ranks


def _long_run_variance(values: Values, size: int) -> float:
    """Return the variance of the mean of ``values`` times their number, if means of ``size`` are AR(1)."""
    count = len(values) // size
    means = values[: count * size].reshape(count, size).mean(1)
    square = float(means @ means)
    correlation = float(means[1:] @ means[:-1]) / square if square else 0.0
    # Least squares find too little of it in short series (Kendall 1954).
    correlation = min(max(0.0, correlation + (1 + 3 * correlation) / count), _LARGEST_CORRELATION)
    noise = means[1:] - correlation * means[:-1]
    return size * float(noise @ noise) / (count - 3) / (1 - correlation) ** 2
