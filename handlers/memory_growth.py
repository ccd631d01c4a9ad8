"""Memory that creeps: it grows, goes on growing, and will be full."""

import math
import time
from collections.abc import Callable, Iterator, Sequence

from ignite.engine import Engine, Events

from handlers.creep import Floor, Slope, creep
from handlers.findings import Finding
from handlers.memories import Memory, memories_of_this_process

_MUCH_BYTES, _MUCH_OF_FREE = 64e6, 0.01
# The clock is read about four times in `every_s`, and at the latest after so many iterations.
_LOOKS, _MOST_UNSEEN = 4, 64
_MOST_OF_THE_TIME = 0.005
_NO_TIME_S = 1e-9
_MANY_ITERATIONS = 1e9
_SMALL_BYTES = 1e5
_ADVICE = (
    "look for what each iteration keeps: tensors with their graph in a list or a sum (detach them), "
    "a cache without a bound, outputs of all batches"
)


class MemoryGrowth:
    """Notice that the memory of a run's process, of its workers or of its device creeps.

    At the end of an iteration, not more often than every ``every_s``, it reads what is taken and keeps
    minima (see `handlers.creep`); reading takes at most 0.5 % of the time. Growth is found if it goes on,
    began in the first third of the run so far, has a pace whose 95 % interval is clear of 0, and has taken
    64 MB, or 1 % of what is free. In the first two epochs of several it may be a cache that fills: there it
    counts only if memory would be full before they are over.

    Nothing is saved for a resumed run, whose process begins with memory of its own. Where the system does not
    tell, as on macOS, nothing is found.

    >>> kept = []
    >>> trainer = Engine(lambda engine, batch: kept.append(batch))
    >>> leak = Memory("this process", taken_bytes=lambda: 2e6 * len(kept), free_bytes=lambda: 1e9)
    >>> growth = MemoryGrowth(memories=[leak], clock=lambda: len(kept)).attach(trainer)
    >>> _ = trainer.run(range(80))
    >>> print(*growth.findings())
    memory creeps: 2.00 MB an iteration in this process (2.00 to 2.00), full in about 500 iterations
    """

    def __init__(
        self,
        *,
        memories: Sequence[Memory] | None = None,
        every_s: float = 0.1,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if every_s <= 0:
            raise ValueError(f"every_s must be positive, got {every_s}")
        self.memories = memories_of_this_process() if memories is None else list(memories)
        self.every_s, self.clock = every_s, clock
        self._floors = [Floor() for _ in self.memories]
        self._iterations = 0
        self._stride = self._left = 1
        self._looked_s = self._due_s = 0.0
        self._caches_fill_until = 0

    def attach(self, engine: Engine) -> "MemoryGrowth":
        """Register on the engine's events and return self.

        Whoever is called at each iteration anyway may call `start`, `start_epoch` and `look` instead: for
        Ignite to call a handler that does nothing takes 0.3 µs.
        """
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.EPOCH_STARTED, self.start_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._count)
        return self

    def start(self) -> None:
        """Begin a run."""
        self._looked_s = self._due_s = self.clock()
        self._stride = self._left = 1

    def start_epoch(self, engine: Engine) -> None:
        """Begin an epoch."""
        is_one_of_several = engine.state.max_epochs != 1
        self._caches_fill_until = 2 * (engine.state.epoch_length or 0) * is_one_of_several

    def _count(self) -> None:
        self._left -= 1
        if not self._left:
            self._left = self.look()

    def look(self) -> int:
        """Look at the memories if it is time, and return after how many iterations to call this again.

        The first call is due after the first iteration of a run.
        """
        now = self.clock()
        self._iterations += self._stride
        iteration_s = (now - self._looked_s) / self._stride or _NO_TIME_S
        self._stride = min(_MOST_UNSEEN, max(1, int(self.every_s / _LOOKS / iteration_s)))
        self._looked_s = now
        if now >= self._due_s:
            self._read()
            self._due_s = now + max(self.every_s, (self.clock() - now) / _MOST_OF_THE_TIME)
        return self._stride

    def _read(self) -> None:
        for memory, floor in self._watched():
            taken = memory.taken_bytes()
            if taken is not None:
                floor.add(self._iterations, taken)

    def paces(self) -> dict[str, Slope]:
        """Return of all memories that creep, by whose they are, the pace in bytes an iteration."""
        paces = {memory.whose: creep(floor.points()) for memory, floor in self._watched()}
        return {whose: pace for whose, pace in paces.items() if pace is not None}

    def findings(self) -> list[Finding]:
        """Return the memories that creep and matter, their pace in MB (1e6 bytes) and when they are full."""
        paces = self.paces()
        found = [
            self._finding(memory, paces[memory.whose], since=float(floor.points()[0, 0]))
            for memory, floor in self._watched()
            if memory.whose in paces
        ]
        return [finding for finding in found if finding is not None]

    def _watched(self) -> Iterator[tuple[Memory, Floor]]:
        return zip(self.memories, self._floors, strict=True)

    def _finding(self, memory: Memory, pace: Slope, *, since: float) -> Finding | None:
        free, grown = memory.free_bytes(), pace.value * (self._iterations - since)
        if grown < (_MUCH_BYTES if free is None else min(_MUCH_BYTES, _MUCH_OF_FREE * free)):
            return None
        full_in = math.inf if free is None else free / pace.value
        if self._iterations < self._caches_fill_until < self._iterations + full_in:
            return None
        share = None if free is None else grown / (grown + free)
        words = f"memory creeps: {_in_words(pace, memory.whose)}"
        if full_in < _MANY_ITERATIONS:
            words += f", full in about {_rounded(full_in):,} iterations"
        return Finding("memory creeps", share, memory.whose, words, _ADVICE)


def _in_words(pace: Slope, whose: str) -> str:
    unit, name = (1e6, "MB") if pace.value > _SMALL_BYTES else (1e3, "kB")
    value, low, high = (number / unit for number in pace)
    return f"{value:.2f} {name} an iteration in {whose} ({low:.2f} to {high:.2f})"


def _rounded(count: float) -> int:
    """Return a count with two digits that say something."""
    return int(float(f"{count:.2g}"))
