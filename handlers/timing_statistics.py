"""What the times of many iterations say, in memory that does not grow with their number."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_CHUNK = 256
# Bins of the histogram are 2 % wide, from 0.1 µs to 10,000 s.
_SHORTEST_S, _RATIO, _BINS = 1e-7, 1.02, 1280
_ENOUGH_ITERATIONS = 20
_LARGE_SHARE = 0.15
_NEARLY_ALL = 0.9


class IterationTimes:
    """Seconds of the parts of each iteration: totals, quantiles, and what could be gained.

    >>> times = IterationTimes(("fetch", "compute"))
    >>> for _ in range(30):
    ...     times.add((0.01, 0.03))
    >>> times.count, round(times.quantile("fetch", 0.5), 4), round(times.share("compute"), 4)
    (30, 0.01, 0.75)
    """

    def __init__(self, parts: Sequence[str]) -> None:
        self.parts = tuple(parts)
        self._new: list[tuple[float, ...]] = []
        self._count = 0
        self._totals = np.zeros(len(parts))
        self._products = np.zeros((len(parts), len(parts)))
        self._histogram = np.zeros((len(parts), _BINS), dtype=np.int64)

    def add(self, seconds: tuple[float, ...]) -> None:
        """Add an iteration: its seconds, in the order of the parts."""
        self._new.append(seconds)
        if len(self._new) == _CHUNK:
            self._digest()

    def _digest(self) -> None:
        if not self._new:
            return
        rows = np.array(self._new)
        self._new.clear()
        self._count += len(rows)
        self._totals += rows.sum(0)
        self._products += rows.T @ rows
        bins = np.log(np.maximum(rows, _SHORTEST_S) / _SHORTEST_S) / np.log(_RATIO)
        for histogram, column in zip(self._histogram, bins.T.astype(int).clip(0, _BINS - 1), strict=True):
            histogram += np.bincount(column, minlength=_BINS)

    @property
    def count(self) -> int:
        """The number of iterations."""
        return self._count + len(self._new)

    def share(self, part: str) -> float:
        """Return the part's share of all the time; 0 before the first iteration."""
        self._digest()
        return float(self._totals[self.parts.index(part)] / (self._totals.sum() or 1.0))

    def quantile(self, part: str, q: float) -> float | None:
        """Return a quantile of the part's seconds, within 1 %; None before the first iteration."""
        self._digest()
        if not self._count:
            return None
        histogram = self._histogram[self.parts.index(part)].cumsum()
        place = int(np.searchsorted(histogram, q * self._count))
        return 0.0 if place == 0 else float(_SHORTEST_S * _RATIO ** (min(place, _BINS - 1) + 0.5))

    def speedup_without(self, part: str) -> tuple[float, float, float] | None:
        """Return how much faster all would be if the part took no time, and a 95 % interval around it.

        The interval is that of a ratio of two means over the iterations (the delta method). None before
        the second iteration, or if the part is all there is.
        """
        self._digest()
        rest = np.array([name != part for name in self.parts], dtype=float)
        total, busy = self._totals.sum(), self._totals @ rest
        if self._count < 2 or busy <= 0:
            return None
        ratio = total / busy
        residual = 1.0 - ratio * rest
        variance = max(0.0, residual @ self._products @ residual / (self._count - 1))
        margin = 1.96 * (variance / self._count) ** 0.5 / (busy / self._count)
        return float(ratio), float(max(1.0, ratio - margin)), float(ratio + margin)

    def verdict(self) -> str:
        """Say what the loop is bound by, from the parts ``fetch``, ``compute``, ``handlers`` and ``others``.

        ``data-bound``, ``handler-bound`` or, for the sums of several processes, ``exchange-bound`` if that
        takes more than 15 % of the loop (the largest of them, if several do); else ``compute-bound`` if
        computing takes 90 % or more, and ``balanced`` if it does not. Below 20 iterations, ``too few
        iterations to say``.
        """
        if self.count < _ENOUGH_ITERATIONS:
            return "too few iterations to say"
        waits = {"data-bound": self.share("fetch"), "handler-bound": self.share("handlers")}
        if "others" in self.parts:
            waits["exchange-bound"] = self.share("others")
        largest = max(waits, key=waits.__getitem__)
        if waits[largest] > _LARGE_SHARE:
            return largest
        return "compute-bound" if self.share("compute") >= _NEARLY_ALL else "balanced"

    def state_dict(self) -> dict[str, Any]:
        """Return what has been added so far, for a checkpoint."""
        self._digest()
        return {
            "count": self._count,
            "totals": self._totals.tolist(),
            "products": self._products.tolist(),
            "histogram": [{int(b): int(row[b]) for b in row.nonzero()[0]} for row in self._histogram],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint holds."""
        self._new.clear()
        self._count = state["count"]
        self._totals, self._products = np.array(state["totals"]), np.array(state["products"])
        self._histogram[:] = 0
        for row, counts in zip(self._histogram, state["histogram"], strict=True):
            row[list(counts)] = list(counts.values())
