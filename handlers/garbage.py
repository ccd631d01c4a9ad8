"""What Python's garbage collector takes of a run."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ignite.engine import Engine

from handlers.attached import around_run
from handlers.findings import Finding

_LARGE_SHARE = 0.05
_LEAST_S, _LEAST_COLLECTIONS = 1.0, 3
_COUNTED = ("seconds", "collections", "freed")
_FULL = 2
_MANY_IN_CYCLES = 70  # a young collection looks at 700 objects or so
_FREEZE = "call gc.freeze() after set-up: full collections then pass over all that is there already"
_DISABLE = "call gc.freeze() and gc.disable() after set-up, and gc.collect() once an epoch"
_NO_CYCLES = "make fewer objects that refer to each other in a circle: only the collector can free them"


class GarbageCollection:
    """The seconds that Python's garbage collector takes while an engine runs; found where they are over 5 %.

    Nothing is done in an iteration: the collector calls back, and no longer does once a run has ended,
    however it ended. Less than a second, or than three collections, say nothing.

    What is advised was tried (``benchmarks/garbage.py``: 90 steps beside 500,000 dicts with a list in each;
    Python 3.11.7, two cores, medians of three runs). Where steps keep objects for a while, collections took
    1.86 s (1.38 to 2.08), 0.22 after ``gc.freeze()``, and 0.02 with ``gc.disable()`` and one collection an
    epoch as well; those alone, without the freeze, took 1.15. Where objects refer to each other in circles,
    0.13 s, and no remedy took less.

    >>> collector = GarbageCollection()
    >>> trainer = Engine(lambda engine, batch: gc.collect())
    >>> _ = collector.attach(trainer)
    >>> _ = trainer.run([0, 0, 0])
    >>> collector.collections["full"]
    3
    """

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.seconds = {"young": 0.0, "full": 0.0}
        """Seconds in collections of what is new, and in those of everything."""
        self.collections = {"young": 0, "full": 0}
        self.freed = {"young": 0, "full": 0}
        """Objects that were in circles and are no more."""
        self._wall_s = 0.0
        self._run_began_s: float | None = None
        self._began_s: float | None = None

    def attach(self, engine: Engine) -> "GarbageCollection":
        """Count in each run of the engine from now on, and return self."""
        around_run(engine, self.counting)
        return self

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what runs inside."""
        if self._run_began_s is not None:  # one engine inside another, and attached to both
            yield
            return
        self._run_began_s = self.clock()
        gc.callbacks.append(self._collected)
        try:
            yield
        finally:
            gc.callbacks.remove(self._collected)
            self._wall_s, self._run_began_s, self._began_s = self.wall_s(), None, None

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        now = self.clock()
        if phase == "start":
            self._began_s = now
        elif self._began_s is not None:
            kind = "full" if info["generation"] == _FULL else "young"
            self.seconds[kind] += now - self._began_s
            self.collections[kind] += 1
            self.freed[kind] += info["collected"]

    def wall_s(self) -> float:
        """Return the seconds of all runs so far."""
        return self._wall_s + (0.0 if self._run_began_s is None else self.clock() - self._run_began_s)

    def findings(self) -> list[Finding]:
        """Return what the collector takes of the runs' time, and what to call, if it is much."""
        wall_s = self.wall_s()
        share = sum(self.seconds.values()) / (wall_s or 1.0)
        kind = max(self.seconds, key=self.seconds.__getitem__)
        if wall_s < _LEAST_S or share <= _LARGE_SHARE or self.collections[kind] < _LEAST_COLLECTIONS:
            return []
        in_cycles = self.freed["young"] > _MANY_IN_CYCLES * self.collections["young"]
        advice = _FREEZE if kind == "full" else _NO_CYCLES if in_cycles else _DISABLE
        words = f"garbage collection: {self.collections[kind]:,} {kind} collections, {100 * share:.0f} %"
        return [Finding("garbage collection", share, f"{kind} collections", words, advice)]

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds so far, for a checkpoint."""
        counted = {name: dict(getattr(self, name)) for name in _COUNTED}
        return {**counted, "wall_s": self.wall_s()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's seconds."""
        for name in _COUNTED:
            setattr(self, name, dict(state[name]))
        self._wall_s = state["wall_s"]
        if self._run_began_s is not None:
            self._run_began_s = self.clock()
