"""What is attached to an engine, which Ignite keeps under a private name: the one place that reads it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from enum import Enum
from functools import partial, wraps
from types import BuiltinFunctionType, FunctionType
from typing import Any, ParamSpec, TypeVar

from ignite.distributed import utils as idist_utils
from ignite.distributed.comp_models.base import _SerialModel
from ignite.engine import Engine, Events, State

P = ParamSpec("P")
T = TypeVar("T")

FIRING = getattr(getattr(Engine, "_fire_event", None), "__code__", None)
"""The code of Ignite's that goes over what an event calls, to call it."""
_EVERY_N: Any = Events.ITERATION_COMPLETED(every=2).filter


def _entries(engine: Engine, event: Enum) -> list[Any]:
    """Return the list of what ``event`` calls, in order; an empty one where Ignite keeps it otherwise."""
    entries: list[Any] = getattr(engine, "_event_handlers", {}).get(event, [])
    return entries


def put_first(engine: Engine, event: Enum) -> bool:
    """Let the handler that was attached last to ``event`` be called first; return whether it is.

    >>> from ignite.engine import Events
    >>> engine = Engine(lambda engine, batch: None)
    >>> for words in ("attached first", "attached last"):
    ...     _ = engine.add_event_handler(Events.STARTED, lambda engine, words: print(words), words)
    >>> put_first(engine, Events.STARTED)
    True
    >>> _ = engine.run([0])
    attached last
    attached first
    """
    entries = _entries(engine, event)
    if entries:
        entries.insert(0, entries.pop())
    return bool(entries)


class _Kept(dict[Any, list[Any]]):
    """What events call, each in a list of our making, also when Ignite puts another in its place."""

    def __init__(self, make: Callable[[Any, list[Any]], list[Any]]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, event: Any) -> list[Any]:
        self[event] = []
        return self[event]

    def __setitem__(self, event: Any, entries: list[Any]) -> None:
        super().__setitem__(event, self._make(event, entries))


def keep_entries(engine: Engine, make: Callable[[Any, list[Any]], list[Any]]) -> bool:
    """Let what an event calls be kept in the list that ``make(event, entries)`` makes of the one it is in.

    It is called for each event, as it is fired, now and whenever handlers are removed. ``entries`` are tuples
    of three: the handler, its arguments, and those by name. Ignite iterates over them as the event is fired.
    False is returned where Ignite keeps them otherwise than we know.

    >>> from ignite.engine import Events
    >>> engine, made = Engine(lambda engine, batch: None), []
    >>> removable = engine.add_event_handler(Events.EPOCH_COMPLETED(every=2), lambda: None)
    >>> keep_entries(engine, lambda event, entries: made.append((event, len(entries))) or entries)
    True
    >>> removable.remove()
    >>> made == [(Events.EPOCH_COMPLETED, 1), (Events.EPOCH_COMPLETED, 0)]
    True
    """
    entries = getattr(engine, "_event_handlers", None)
    if not isinstance(entries, dict) or not hasattr(engine, "_allowed_events"):
        return False

    def make_of(event: Any, entries: list[Any]) -> list[Any]:
        # What is attached with a filter is kept under an event that only equals the one that is fired.
        fired = next((allowed for allowed in engine._allowed_events if allowed == event), event)
        return make(fired, entries)

    kept = _Kept(make_of)
    for event in list(entries):
        kept[event] = entries[event]
    engine._event_handlers = kept
    return True


def step_of(engine: Engine) -> Callable[[Engine, Any], Any]:
    """Return the step function that an engine was made with.

    >>> def step(engine, batch):
    ...     return batch
    >>> step_of(Engine(step)) is step
    True
    """
    return engine._process_function


def replace_step(engine: Engine, step: Callable[[Engine, Any], Any]) -> None:
    """Let an engine run another step function.

    >>> engine = Engine(lambda engine, batch: 1)
    >>> replace_step(engine, lambda engine, batch: 2)
    >>> engine.run([0]).output
    2
    """
    engine._process_function = step


def as_if_alone(function: Callable[P, T]) -> Callable[P, T]:
    """Return ``function``, which is not to know, when it is called, of any other process than its own.

    An Ignite metric that has been given all outputs must not add up what several processes have.
    """

    @wraps(function)
    def alone(*args: P.args, **kwargs: P.kwargs) -> T:
        before = idist_utils._model, idist_utils._need_to_sync
        idist_utils._model, idist_utils._need_to_sync = _SerialModel(), False
        try:
            return function(*args, **kwargs)
        finally:
            idist_utils._model, idist_utils._need_to_sync = before

    return alone


def attached_objects(engine: Engine) -> list[Any]:
    """Return the objects whose methods, or which themselves, are called at the engine's events, each once.

    >>> from ignite.handlers import EarlyStopping
    >>> from ignite.engine import Events
    >>> engine = Engine(lambda engine, batch: None)
    >>> stopping = EarlyStopping(3, lambda engine: 0.0, engine)
    >>> _ = engine.add_event_handler(Events.EPOCH_COMPLETED, stopping)
    >>> attached_objects(engine) == [stopping]
    True
    """
    found: dict[int, Any] = {}
    for handler, _ in handlers_of(engine):
        owner = owner_of(handler)
        if owner is not None:
            found.setdefault(id(owner), owner)
    return list(found.values())


def handlers_of(engine: Engine) -> Iterator[tuple[Callable[..., Any], list[Any]]]:
    """Yield what is called at the engine's events, without filters, and its arguments."""
    for event in list(getattr(engine, "_event_handlers", {})):
        for handler, args, kwargs in _entries(engine, event):
            yield unfiltered(handler), [*args, *kwargs.values()]


def unfiltered(handler: Any) -> Any:
    """Return the handler that a filter, such as that of ``Events.X(every=2)``, passes on to."""
    while isinstance(handler, FunctionType) and hasattr(handler, "_parent"):
        handler = handler.__wrapped__  # type: ignore[attr-defined]  # functools.wraps sets it
    return handler


def filter_of(handler: Any) -> Any:
    """Return the filter that a handler was attached with, None if there is none."""
    return None if unfiltered(handler) is handler else _held_by(handler, "event_filter")


def period_of(event_filter: Any) -> int:
    """Return N of the filter of ``Events.X(every=N)``; 1 for any other, which may be true at any time.

    >>> period_of(Events.ITERATION_COMPLETED(every=50).filter), period_of(Events.STARTED(once=2).filter)
    (50, 1)
    """
    if event_filter is None or getattr(event_filter, "__code__", None) is not _EVERY_N.__code__:
        return 1
    return int(_held_by(event_filter, "every"))


def _held_by(function: Any, name: str) -> Any:
    """Return what a function has closed over by that name."""
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    return function.__closure__[names.index(name)].cell_contents if name in names else None


def owner_of(handler: Any) -> Any:
    """Return the object whose method a handler is, or the handler if it is an object; None for a function."""
    while isinstance(handler, partial):
        handler = handler.func
    if isinstance(handler, FunctionType | BuiltinFunctionType | type):
        return getattr(handler, "__self__", None)
    return getattr(handler, "__self__", handler)


def replace_handlers(engine: Engine, replaced: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Let ``replaced(handler)`` be called instead of each handler, as often as its filter lets it.

    A handler whose filter Ignite keeps otherwise than we know stays.

    >>> from ignite.engine import Events
    >>> engine = Engine(lambda engine, batch: None)
    >>> _ = engine.add_event_handler(Events.ITERATION_COMPLETED(every=2), lambda: print("called"))
    >>> replace_handlers(engine, lambda handler: lambda: print("called instead"))
    >>> _ = engine.run([0, 0, 0])
    called instead
    """
    for event in list(getattr(engine, "_event_handlers", {})):
        entries = _entries(engine, event)
        for place, (handler, *arguments) in enumerate(entries):
            if unfiltered(handler) is handler:
                entries[place] = (replaced(handler), *arguments)
                continue
            names = handler.__code__.co_freevars
            if "handler" in names:
                cell = handler.__closure__[names.index("handler")]
                cell.cell_contents = replaced(cell.cell_contents)


def around_run(engine: Engine, enter: Callable[[], AbstractContextManager[object]]) -> None:
    """Let every run of an engine happen inside the context that ``enter()`` returns, however it ends.

    Events will not do: with a handler of ``EXCEPTION_RAISED``, Ignite leaves it to that to raise it again.

    >>> from contextlib import closing
    >>> from io import StringIO
    >>> file = StringIO()
    >>> engine = Engine(lambda engine, batch: file.write(batch))
    >>> around_run(engine, lambda: closing(file))
    >>> _ = engine.run(["a"])
    >>> file.closed
    True
    """
    engine.run = _RunInside(engine.run, enter)  # type: ignore[method-assign]  # of this engine alone


class _RunInside:
    """An object, for a copy of the engine to have one that runs the copy."""

    def __init__(
        self, run: Callable[..., State], enter: Callable[[], AbstractContextManager[object]]
    ) -> None:
        self._run, self._enter = run, enter

    def __call__(self, *args: Any, **kwargs: Any) -> State:
        with self._enter():
            return self._run(*args, **kwargs)
