"""Where the time of loading goes: reading, each transform and collating, measured where samples are read."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import get_spawning_popen
from operator import getitem
from typing import Any

import numpy as np

from ignite_pipeline.data.held_transforms import HeldTransforms
from ignite_pipeline.data.shared_array import SharedArray
from ignite_pipeline.data.timed_transforms import with_timed_transforms

READING, COLLATING, OTHERS = "reading", "collating", "other transforms"
_BYTES = np.dtype(np.float64).itemsize
_READ, _COLLATED, _SECONDS = 0, 1, 2  # columns: how many samples were timed and collated, and all seconds


@dataclass(frozen=True)
class LoadingCost:
    """What a part of loading takes: milliseconds a sample, and its share of all of them."""

    name: str
    ms: float
    share: float


class LoadingCosts:
    """Seconds of reading samples, of each transform by name, and of collating, in all processes that load.

    Of a batch, one sample in ``every_samples`` is timed, from a place on that a hash of its position decides:
    what repeats itself in the order of samples is met as often as all else. Counts and sums are all that is
    kept, a row for each worker and one for the process itself, in memory that they share; what is being
    added may be seen in part. Nothing is timed before `begin`, nor in a copy.

    >>> costs = LoadingCosts()
    >>> costs.begin(range(3))
    >>> costs.read(range(3), 2), [cost.name for cost in costs.found()]
    (2, ['reading'])
    """

    def __init__(self, *, every_samples: int = 64, clock: Callable[[], float] = time.perf_counter) -> None:
        self.every_samples, self.clock = every_samples, clock
        self._columns: dict[str, int] = {}
        self._has_transforms = False
        self._workers = 0
        self._worker = 0
        self._shared: SharedArray | None = None

    def __getstate__(self) -> dict[str, Any]:
        is_for_worker = get_spawning_popen() is not None
        return {**vars(self), "_shared": self._shared if is_for_worker else None}

    def begin(self, dataset: Any, *, workers: int = 0) -> None:
        """Make room for what so many workers will note; call it before they start."""
        try:
            transforms = HeldTransforms(dataset).names.values()
            self._has_transforms = bool(transforms)
            names = [READING, COLLATING, OTHERS, *transforms]
            columns = {name: column for column, name in enumerate(dict.fromkeys(names), start=_SECONDS)}
            if self._shared is None or (columns, workers) != (self._columns, self._workers):
                self._columns, self._workers = columns, workers
                self._shared = SharedArray(((workers + 1) * (_SECONDS + len(columns)) * _BYTES,))
        except Exception:  # a data set that cannot be looked into, or no memory: loading does without
            self._shared = None

    def work_as(self, worker_id: int) -> None:
        """Note for that worker from now on: it is the process that calls."""
        self._worker = worker_id + 1

    def timed_of(self, indices: Sequence[int], *position: int) -> Sequence[int]:
        """Return those of a batch's indices that are to be timed, if any; ``position`` is the batch's."""
        if self._shared is None:
            return ()
        return indices[hash(position) % self.every_samples :: self.every_samples]

    def read(self, dataset: Any, index: int) -> Any:
        """Return ``dataset[index]``, and note what it and its transforms took."""
        times = _SelfTimes(self.clock)
        timed_read = partial(times.timed, READING, getitem, dataset, index)
        if self._has_transforms:
            sample = with_timed_transforms(dataset, times.timed, timed_read)
        else:  # the cheapest data sets are those, and to look for some again would be most of the cost
            sample = timed_read()
        self._add(_READ, 1, times.seconds)
        return sample

    def read_batch(self, read: Callable[[list[int]], Any], indices: list[int]) -> Any:
        """Return ``read(indices)``, and note what it took."""
        count, start = len(indices), self.clock()
        batch = read(indices)
        self._add(_READ, count, {READING: self.clock() - start})
        return batch

    def collate(self, collate_fn: Callable[[list[Any]], Any], samples: list[Any]) -> Any:
        """Return ``collate_fn(samples)``, and note what it took."""
        count, start = len(samples), self.clock()
        batch = collate_fn(samples)
        self._add(_COLLATED, count, {COLLATING: self.clock() - start})
        return batch

    def found(self) -> list[LoadingCost]:
        """Return what each part takes, the largest first, as far as has been measured by now."""
        if self._shared is None:
            return []
        cells = self._shared.array.view(np.float64).reshape(self._workers + 1, -1)
        read, collated, *seconds = cells.sum(axis=0).tolist()
        costs = [
            (1000 * spent / max(1, collated if name == COLLATING else read), name)
            for name, spent in zip(self._columns, seconds, strict=True)
            if spent
        ]
        all_ms = sum(ms for ms, _ in costs)
        return [LoadingCost(name, ms, ms / all_ms) for ms, name in sorted(costs, reverse=True)]

    def _add(self, counter: int, count: int, seconds: dict[str, float]) -> None:
        if self._shared is None:
            return
        cells = self._shared.array.data.cast("d")
        row = self._worker * (_SECONDS + len(self._columns))
        cells[row + counter] += count
        for name, spent in seconds.items():
            cells[row + self._columns.get(name, self._columns[OTHERS])] += spent


class _SelfTimes:
    """Seconds of calls inside each other, by name: of each without those inside it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.seconds: dict[str, float] = {}
        self._inside_s = 0.0

    def timed(self, name: str, function: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        before_s, self._inside_s = self._inside_s, 0.0
        start = self.clock()
        try:
            return function(*args, **options)
        finally:
            all_s = self.clock() - start
            # What threads of the data set do at once may take longer in sum.
            own_s = max(0.0, all_s - self._inside_s)
            self.seconds[name] = self.seconds.get(name, 0.0) + own_s
            self._inside_s = before_s + all_s
