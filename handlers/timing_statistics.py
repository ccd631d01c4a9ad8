"""What the times of many iterations say, in memory that does not grow with their number."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from handlers.block_sums import BlockSums, Rows
from handlers.correlated_means import ratio_interval
from handlers.phases import Phase, phases, steady

_CHUNK = 1024
# Bins of the histogram are 2 % wide, from 0.1 µs to 10,000 s.
_SHORTEST_S, _RATIO, _BINS = 1e-7, 1.02, 1280


class IterationTimes:
    """Seconds of the parts of each iteration: shares, quantiles, and what could be gained.

    Shares and gains are those of the steady state: of the longest phase, where the run has several (see
    `phases`), a slow start, say, and the rest.

    >>> times = IterationTimes(("fetch", "compute"))
    >>> for _ in range(30):
    ...     times.add((0.01, 0.03))
    >>> times.count, round(times.quantile("fetch", 0.5), 3), round(times.share("compute"), 4)
    (30, 0.01, 0.75)
    """

    def __init__(self, parts: Sequence[str]) -> None:
        self.parts = tuple(parts)
        self._new: list[tuple[float, ...]] = []
        self._ends: list[tuple[float, ...]] = []
        self._count = 0
        self._totals = np.zeros(len(parts))
        self._blocks = BlockSums(len(parts))
        self._histogram = np.zeros((len(parts), _BINS), dtype=np.int64)
        self._looked_at: tuple[int, list[Phase]] = (0, [])

    def add(self, seconds: tuple[float, ...]) -> None:
        """Add an iteration: its seconds, in the order of the parts."""
        self._new.append(seconds)
        if len(self._new) == _CHUNK:
            self._digest()

    def begin(self) -> None:
        """Take the next `end` for that of an iteration which does not count."""
        self._digest()
        self._ends.clear()

    def end(self, sums: tuple[float, ...]) -> None:
        """Add an iteration by the sums of the parts' seconds at its end; it began at the last one's."""
        self._ends.append(sums)
        if len(self._ends) > _CHUNK:
            self._digest()

    def _digest(self) -> None:
        if self._new:
            self._take(np.array(self._new))
            self._new.clear()
        if len(self._ends) > 1:
            sums = np.fromiter(chain.from_iterable(self._ends), dtype=float).reshape(len(self._ends), -1)
            self._take(np.diff(sums, axis=0))
            del self._ends[:-1]

    def _take(self, rows: Rows) -> None:
        self._count += len(rows)
        self._totals += rows.sum(0)
        self._blocks.add(rows)
        bins = np.log(np.maximum(rows, _SHORTEST_S) / _SHORTEST_S) / np.log(_RATIO)
        for histogram, column in zip(self._histogram, bins.T.astype(int).clip(0, _BINS - 1), strict=True):
            histogram += np.bincount(column, minlength=_BINS)

    @property
    def count(self) -> int:
        """The number of iterations."""
        return self._count + len(self._new) + max(0, len(self._ends) - 1)

    def _phases(self) -> list[Phase]:
        self._digest()
        if self._looked_at[0] != self._count:
            self._looked_at = (self._count, phases(self._blocks.sums()))
        return self._looked_at[1]

    def _steady(self) -> Rows:
        """Return the sums of the blocks in the steady state."""
        phase = steady(self._phases())
        return self._blocks.sums()[phase.start : phase.stop]

    def share(self, part: str) -> float:
        """Return the part's share of all the time in the steady state; 0 before the first iteration."""
        if not self.count:
            return 0.0
        totals = self._steady().sum(0) if len(self._phases()) > 1 else self._totals
        return float(totals[self.parts.index(part)] / (totals.sum() or 1.0))

    def quantile(self, part: str, q: float) -> float | None:
        """Return a quantile of the part's seconds, of all iterations; None before the first.

        It is within 1 %, and closer where neighbouring times are frequent: between the bounds of a bin, times
        are taken to be evenly spread.
        """
        self._digest()
        if not self._count:
            return None
        counts = self._histogram[self.parts.index(part)]
        up_to = counts.cumsum()
        place = int(np.searchsorted(up_to, q * self._count))
        if place == 0:
            return 0.0
        place = min(place, _BINS - 1)
        inside = (q * self._count - up_to[place - 1]) / (counts[place] or 1)
        return float(_SHORTEST_S * _RATIO ** (place + inside))

    def speedup_without(self, part: str) -> tuple[float, float, float] | None:
        """Return how much faster all would be if the part took no time, and a 95 % interval around it.

        See `ratio_interval`. None before the second iteration, or if the part is all there is.
        """
        rest = np.array([name != part for name in self.parts], dtype=float)
        if self.count < 2:
            return None
        rows = self._steady()
        if (busy := rows @ rest).sum() <= 0:
            return None
        ratio, low, high = ratio_interval(rows.sum(1), busy)
        return ratio, max(1.0, low), high

    def phases(self) -> list[dict[str, Any]]:
        """Return the run's phases: their iterations, counted from 1, and the seconds of one in each part.

        ``extra_s`` is what the phase took more than as many iterations of the steady state.
        """
        if not self.count:
            return []
        found, sums, size = self._phases(), self._blocks.sums(), self._blocks.size
        longest = steady(found)
        usual_s = sums[longest.start : longest.stop].mean(0).sum() / size if len(sums) else 0.0
        described = []
        for phase in found:
            iterations = len(phase) * size
            each_s = sums[phase.start : phase.stop].sum(0) / (iterations or 1)
            described.append(
                {
                    "iterations": [phase.start * size + 1, phase.stop * size],
                    "steady": phase is longest,
                    "iteration_s": dict(zip(self.parts, each_s.tolist(), strict=True)),
                    "extra_s": float((each_s.sum() - usual_s) * iterations),
                }
            )
        return described

    def state_dict(self) -> dict[str, Any]:
        """Return what has been added so far, for a checkpoint."""
        self._digest()
        return {
            "count": self._count,
            "totals": self._totals.tolist(),
            "blocks": self._blocks.state_dict(),
            "histogram": [{int(b): int(row[b]) for b in row.nonzero()[0]} for row in self._histogram],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint holds."""
        self._new.clear()
        self._ends.clear()
        self._count, self._looked_at = state["count"], (0, [])
        self._totals = np.array(state["totals"])
        self._blocks.load_state_dict(state["blocks"])
        self._histogram[:] = 0
        for row, counts in zip(self._histogram, state["histogram"], strict=True):
            row[list(counts)] = list(counts.values())
