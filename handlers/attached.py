"""What is attached to an engine, which Ignite keeps under a private name: the one place that reads it."""

from collections.abc import Callable, Iterator
from enum import Enum
from functools import partial, wraps
from types import BuiltinFunctionType, FunctionType
from typing import Any, ParamSpec, TypeVar

from ignite.distributed import utils as idist_utils
from ignite.distributed.comp_models.base import _SerialModel
from ignite.engine import Engine

P = ParamSpec("P")
T = TypeVar("T")


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


def events_of(engine: Engine) -> list[Any]:
    """Return the events that something is attached to, as they are fired.

    There are none where Ignite keeps them otherwise than we know.

    >>> from ignite.engine import Events
    >>> engine = Engine(lambda engine, batch: None)
    >>> _ = engine.add_event_handler(Events.EPOCH_COMPLETED(every=2), print)
    >>> events_of(engine) == [Events.EPOCH_COMPLETED] and events_of(engine)[0] is Events.EPOCH_COMPLETED
    True
    """
    with_handlers = list(getattr(engine, "_event_handlers", {}))
    # What is attached with a filter is kept under an event that only equals the one that is fired.
    return [event for event in getattr(engine, "_allowed_events", []) if event in with_handlers]


def replace_entries(engine: Engine, event: Enum, make: Callable[[list[Any]], list[Any]]) -> None:
    """Let what an event calls be kept in the list that ``make`` makes of the one it is kept in.

    Its items are tuples of three: the handler, its arguments, and those by name. Ignite iterates over it when
    the event is fired.
    """
    engine._event_handlers[event] = make(_entries(engine, event))


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
        handler = handler.__wrapped__  # type: ignore[attr-defined]
    return handler


def owner_of(handler: Any) -> Any:
    """Return the object whose method a handler is, or the handler if it is an object; None for a function."""
    while isinstance(handler, partial):
        handler = handler.func
    if isinstance(handler, FunctionType | BuiltinFunctionType | type):
        return getattr(handler, "__self__", None)
    return getattr(handler, "__self__", handler)
