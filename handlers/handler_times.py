"""How long each handler of an engine takes, by its name."""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from handlers.attached import keep_entries, unfiltered

# All others are fired inside something else, the fetch, the step or a handler, or may be.
_IN_THE_LOOP = (
    Events.STARTED,
    Events.EPOCH_STARTED,
    Events.GET_BATCH_STARTED,
    Events.GET_BATCH_COMPLETED,
    Events.ITERATION_STARTED,
    Events.ITERATION_COMPLETED,
    Events.EPOCH_COMPLETED,
    Events.COMPLETED,
)


@dataclass(frozen=True)
class HandlerTime:
    """What one handler has taken at one event: its name, where it is defined, and the sum of its seconds."""

    event: str
    name: str
    place: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.name} ({self.place})" if self.place else self.name


class HandlerTimes:
    """The seconds of every handler of an engine: between one and the next, the clock is read.

    Whoever counts a part of a handler as something else, an evaluation, say, adds it to ``elsewhere_s[0]``.
    Where events are fired inside the step or the fetch, ``from_inside()`` is entered around their handlers.
    Those of ``own`` are left out, and the handlers in ``last`` stay the last of their events.

    >>> ticks = iter(range(100))
    >>> engine = Engine(lambda engine, batch: None)
    >>> def draw(engine):
    ...     next(ticks)
    >>> _ = engine.add_event_handler(Events.ITERATION_COMPLETED(every=2), draw)
    >>> times = HandlerTimes(clock=lambda: next(ticks))
    >>> times.observe(engine)
    True
    >>> _ = engine.run([0, 0])
    >>> [(time.name, time.seconds) for time in times.largest()]
    [('draw', 3.0)]
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.perf_counter,
        own: object = None,
        last: Collection[Callable[..., object]] = (),
        from_inside: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.clock, self.own, self.last, self.from_inside = clock, own, last, from_inside
        self.elsewhere_s = [0.0]
        """One number: lists of one are quicker to add to than attributes."""
        self.own_s = [0.0]
        self._sums_s: dict[tuple[str, str, str], list[float]] = {}

    def observe(self, engine: Engine) -> bool:
        """Observe what is attached to an engine, now or later; return False if Ignite does not let us."""
        return keep_entries(engine, partial(self._observed, engine))

    def _observed(self, engine: Engine, event: Enum, entries: list[Any]) -> list[Any]:
        if isinstance(entries, _Observed) and entries.times is self:
            return entries
        observed = _Observed(engine, event, self)
        for entry in entries:
            observed.append(entry)
        return observed

    def sum_of(self, event: Enum, handler: Callable[..., Any]) -> list[float]:
        """Return where the seconds of a handler are added up; ``own_s`` for one of ``own``."""
        name, place, owner = described(handler)
        if self.own is not None and owner is self.own:
            return self.own_s
        return self._sums_s.setdefault((event.name, name, place), [0.0])

    def largest(self) -> list[HandlerTime]:
        """Return what has taken time, the largest first: an item for each handler of each event."""
        taken = [HandlerTime(*key, seconds) for key, (seconds,) in self._sums_s.items() if seconds > 0]
        return sorted(taken, key=lambda time: -time.seconds)

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds so far, for a checkpoint."""
        return {"handlers": [[*key, seconds] for key, (seconds,) in self._sums_s.items()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's seconds."""
        for *key, seconds in state["handlers"]:
            self._sums_s.setdefault(tuple(key), [0.0])[0] = seconds


class _Entry(tuple[Any, ...]):
    """What Ignite keeps of a handler, and the sum of its seconds, in a list of one."""

    sum_s: list[float]


class _Observed(list[Any]):
    """What an event calls. Who iterates over it as the event is fired is Ignite, calling one by one."""

    def __init__(self, engine: Engine, event: Enum, times: HandlerTimes) -> None:
        super().__init__()
        self.engine, self.event, self.times = engine, event, times
        self.in_the_loop = event in _IN_THE_LOOP

    def append(self, entry: Any) -> None:
        """Add a handler, in front of the one that stays the last."""
        closed = bool(self) and self[-1][0] in self.times.last
        self.insert(len(self) - closed, entry)

    # Ignite's profilers put theirs in front, or in the place of others.
    def insert(self, place: Any, entry: Any) -> None:
        """Add a handler at a place."""
        super().insert(place, self._timed_entry(entry))

    def __setitem__(self, place: Any, entry: Any) -> None:
        super().__setitem__(place, self._timed_entry(entry))

    def _timed_entry(self, entry: Any) -> "_Entry":
        timed = _Entry(entry)
        timed.sum_s = self.times.sum_of(self.event, entry[0])
        if timed.sum_s is not self.times.own_s:
            self.__class__ = _Timed
        return timed


class _Timed(_Observed):
    """One in which there are others' handlers: else there is nothing to read the clock for."""

    def __iter__(self) -> Iterator[Any]:
        if self.engine.last_event_name is not self.event:
            return super().__iter__()
        return self._timed() if self.in_the_loop else self._timed_inside()

    def _timed(self) -> Iterator[Any]:
        clock, elsewhere_s = self.times.clock, self.times.elsewhere_s
        mark = clock() - elsewhere_s[0]
        for entry in super().__iter__():
            yield entry
            now = clock() - elsewhere_s[0]
            entry.sum_s[0] += now - mark
            mark = now

    def _timed_inside(self) -> Iterator[Any]:
        times = self.times
        before_s, start_s = times.elsewhere_s[0], times.clock()
        with times.from_inside():
            yield from self._timed()
        # All of it counts once, whoever has counted a part of it inside.
        times.elsewhere_s[0] = before_s + times.clock() - start_s


def described(handler: Callable[..., Any]) -> tuple[str, str, object]:
    """Return what to call a handler, where it is defined, and the object whose method it is, if any.

    >>> from ignite.metrics import Accuracy
    >>> described(Accuracy().completed)[0], described(print)[:2]
    ('Accuracy.completed', ('print', ''))
    """
    function = unfiltered(handler)
    while isinstance(function, partial):
        function = function.func
    owner = getattr(function, "__self__", None)
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    place = "" if code is None else f"{Path(code.co_filename).name}:{code.co_firstlineno}"
    name = getattr(function, "__name__", None)
    if name is None:  # an object that can be called
        return type(function).__name__, "", function
    if owner is None or isinstance(owner, type) or code is None:
        return getattr(function, "__qualname__", name).rpartition("<locals>.")[2], place, owner
    return f"{type(owner).__name__}.{name}", place, owner
