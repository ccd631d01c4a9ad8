"""How long each handler of an engine takes, by its name."""

import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from ignite.engine import Engine

from handlers.attached import keep_entries, unfiltered
from handlers.event_lists import EventList


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
    Those of ``own`` are left out, and methods that their class lists as ``untimed_handlers``: reading the
    clock would take as long as they do. The handlers in ``last`` stay the last of their events.

    What is attached with ``every=N`` or `EverySeconds` to an event of each iteration is not called before it
    is due: it costs next to nothing, while Ignite alone asks the filter each time.

    >>> from ignite.engine import Events
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
    [('draw', 2.0)]
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
        self.untimed_s = [0.0]
        self._sums_s: dict[tuple[str, str, str], list[float]] = {}

    def observe(self, engine: Engine) -> bool:
        """Observe what is attached to an engine, now or later; return False if Ignite does not let us."""
        return keep_entries(engine, partial(self._observed, engine))

    def _observed(self, engine: Engine, event: Enum, entries: list[Any]) -> list[Any]:
        if isinstance(entries, EventList) and entries.sums is self:
            return entries
        observed = EventList(engine, event, self)
        for entry in entries:
            observed.append(entry)
        return observed

    def sum_of(self, event: Enum | str, handler: Callable[..., Any]) -> list[float]:
        """Return where the seconds of a handler are added up; ``untimed_s`` if they are left out."""
        name, place, owner = described(handler)
        is_own = self.own is not None and owner is self.own
        if is_own or name.rpartition(".")[2] in getattr(type(owner), "untimed_handlers", ()):
            return self.untimed_s
        word = event.name if isinstance(event, Enum) else event  # which Ignite lets a word be
        return self._sums_s.setdefault((word, name, place), [0.0])

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
