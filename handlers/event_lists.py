"""What each event calls, in lists that time the handlers and leave out those that are not due."""

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from enum import Enum
from typing import Any, Protocol

from ignite.engine import Engine, Events

from handlers.attached import FIRING, filter_of, period_of
from handlers.every_seconds import EverySeconds

_EACH_ITERATION = (
    Events.GET_BATCH_STARTED,
    Events.GET_BATCH_COMPLETED,
    Events.ITERATION_STARTED,
    Events.ITERATION_COMPLETED,
)
# All others are fired inside something else, the fetch, the step or a handler, or may be.
_IN_THE_LOOP = (
    *_EACH_ITERATION,
    Events.STARTED,
    Events.EPOCH_STARTED,
    Events.EPOCH_COMPLETED,
    Events.COMPLETED,
)


class Sums(Protocol):
    """Where the seconds of handlers are added up, in lists of one number; see `HandlerTimes`."""

    clock: Callable[[], float]
    last: Collection[Callable[..., object]]
    from_inside: Callable[[], AbstractContextManager[None]]
    elsewhere_s: list[float]
    untimed_s: list[float]

    def sum_of(self, event: Enum, handler: Callable[..., Any]) -> list[float]:
        """Return where those of one handler are; ``untimed_s`` if nobody asks for them."""


class _Entry(tuple[Any, ...]):
    """What Ignite keeps of a handler, the sum of its seconds, and when it is due."""

    sum_s: list[float]
    period: int
    wait: EverySeconds | None


class EventList(list[Any]):
    """What an event calls. Who iterates over it as the event is fired is Ignite, calling one by one."""

    def __init__(self, engine: Engine, event: Enum, sums: Sums) -> None:
        super().__init__()
        self.engine, self.event, self.sums = engine, event, sums
        self.each_iteration, self.in_the_loop = event in _EACH_ITERATION, event in _IN_THE_LOOP
        self._always: list[_Entry] = []
        self._periods: list[int] = []
        self._waits: list[EverySeconds] = []
        self._times_always = False

    def append(self, entry: Any) -> None:
        """Add a handler, in front of the one that stays the last."""
        closed = bool(self) and self[-1][0] in self.sums.last
        self.insert(len(self) - closed, entry)

    # Ignite's profilers put theirs in front, or in the place of others.
    def insert(self, place: Any, entry: Any) -> None:
        """Add a handler at a place."""
        super().insert(place, self._entry(entry))
        self._sort_out()

    def __setitem__(self, place: Any, entry: Any) -> None:
        super().__setitem__(place, self._entry(entry))
        self._sort_out()

    def _entry(self, kept: Any) -> _Entry:
        entry = _Entry(kept)
        entry.sum_s = self.sums.sum_of(self.event, kept[0])
        entry.period, entry.wait = 1, None
        if self.each_iteration:
            event_filter = filter_of(kept[0])
            entry.period = period_of(event_filter)
            if isinstance(event_filter, EverySeconds) and event_filter.clock is self.sums.clock:
                entry.wait = event_filter
        return entry

    def _sort_out(self) -> None:
        """Tell those that are called each time from those that wait, and whether any is timed."""
        entries = list(super().__iter__())
        self._always = [entry for entry in entries if entry.period == 1 and entry.wait is None]
        self._periods = sorted({entry.period for entry in entries} - {1})
        self._waits = [entry.wait for entry in entries if entry.wait is not None]
        self._times_always = any(entry.sum_s is not self.sums.untimed_s for entry in self._always)
        waiting = len(self._always) < len(entries)
        self.__class__ = _Iterated if waiting or self._times_always else EventList


class _Iterated(EventList):
    """One in which there is something to time, or that waits: all others are iterated over as any list."""

    def __iter__(self) -> Iterator[Any]:
        if sys._getframe(1).f_code is not FIRING:  # somebody else, to remove one, say, wants all
            return super().__iter__()
        if not self.each_iteration:
            return self._timed() if self.in_the_loop else self._timed_inside()
        iteration = self.engine.state.iteration
        if self._times_always or self._is_any_due(iteration):
            return self._timed(iteration)
        return iter(self._always)

    def _is_any_due(self, iteration: int) -> bool:
        for period in self._periods:
            if not iteration % period:
                return True
        if self._waits:
            now = self.sums.clock()
            for wait in self._waits:
                if now >= wait.due_s:
                    return True
        return False

    def _timed(self, iteration: int = 0) -> Iterator[Any]:
        clock, elsewhere_s = self.sums.clock, self.sums.elsewhere_s
        mark = clock() - elsewhere_s[0]
        for entry in super().__iter__():
            if iteration % entry.period or (entry.wait and mark + elsewhere_s[0] < entry.wait.due_s):
                continue
            yield entry
            now = clock() - elsewhere_s[0]
            entry.sum_s[0] += now - mark
            mark = now

    def _timed_inside(self) -> Iterator[Any]:
        elsewhere_s, clock = self.sums.elsewhere_s, self.sums.clock
        before_s, start_s = elsewhere_s[0], clock()
        with self.sums.from_inside():
            yield from self._timed()
        # All of it counts once, whoever has counted a part of it inside.
        elsewhere_s[0] = before_s + clock() - start_s
