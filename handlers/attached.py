"""What is attached to an engine, which Ignite keeps under a private name: the one place that reads it."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import Enum
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from ignite.engine import Engine
from torch import nn

_OURS = ("handlers", "ignite_pipeline")
_MOST = 1000


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


def step_of(engine: Engine) -> Callable[[Engine, Any], Any]:
    """Return the step function that an engine was made with.

    >>> def step(engine, batch):
    ...     return batch
    >>> step_of(Engine(step)) is step
    True
    """
    return engine._process_function


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
    for handler, _ in _handlers_of(engine):
        owner = _owner_of(handler)
        if owner is not None:
            found.setdefault(id(owner), owner)
    return list(found.values())


def held_objects(engine: Engine) -> Iterator[tuple[str, Any]]:
    """Yield what the engine's step and its handlers can reach, with the name that it has there.

    These are an object that is the step, or whose method it is; the variables of a function that lie outside
    it; the arguments that a handler is called with; and the attributes of an object without a state of its
    own; not what these hold in turn.

    >>> def make_step(model):
    ...     return lambda engine, batch: model
    >>> list(held_objects(Engine(make_step(3))))
    [('model', 3)]
    """
    seen: set[int] = set()
    yield from _held_by(step_of(engine), seen)
    for handler, arguments in _handlers_of(engine):
        yield from _held_by(handler, seen)
        for thing in arguments:
            yield from _each(type(thing).__name__, thing)


def _handlers_of(engine: Engine) -> Iterator[tuple[Callable[..., Any], list[Any]]]:
    """Yield what is called at the engine's events, without filters, and its arguments."""
    for event in list(getattr(engine, "_event_handlers", {})):
        for handler, args, kwargs in _entries(engine, event):
            while isinstance(handler, FunctionType) and hasattr(handler, "_parent"):
                handler = handler.__wrapped__  # type: ignore[attr-defined]  # a filter: Events.X(every=2)
            yield handler, [*args, *kwargs.values()]


def _owner_of(handler: Any) -> Any:
    """Return the object whose method a handler is, or the handler if it is an object; None for a function."""
    while isinstance(handler, partial):
        handler = handler.func
    if isinstance(handler, FunctionType | BuiltinFunctionType | type):
        return getattr(handler, "__self__", None)
    return getattr(handler, "__self__", handler)


def _held_by(thing: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield what a function or an object holds; ``seen`` are functions that need no second look."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, partial):
        yield from _held_by(thing.func, seen)
        for name, value in (*enumerate(thing.args), *thing.keywords.items()):
            yield from _each(str(name), value)
    elif isinstance(thing, FunctionType):
        for name, cell in zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True):
            with suppress(ValueError):  # a variable that has no value yet
                value = cell.cell_contents
                is_function = isinstance(value, FunctionType | MethodType | partial)
                yield from _held_by(value, seen) if is_function else _each(name, value)
    elif (owner := _owner_of(thing)) is not None:
        yield type(owner).__name__, owner
        yield from _attributes(owner)


def _attributes(owner: Any) -> Iterator[tuple[str, Any]]:
    # Ours have a state if they need one; to look into them would slow them down, see added_attributes.
    if type(owner).__module__.split(".")[0] in _OURS:
        return
    # The state of a module has its parameters, buffers and modules, and nothing else.
    if hasattr(type(owner), "state_dict") and not isinstance(owner, nn.Module):
        return
    for name, value in getattr(owner, "__dict__", {}).items():
        if not (isinstance(owner, nn.Module) and name.startswith("_")):
            yield from _each(f"{type(owner).__name__}.{name}", value)


def _each(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list | tuple | dict) and len(value) > _MOST:
        return  # of data, not of what computes
    if isinstance(value, list | tuple):
        yield from ((f"{name}.{place}", inside) for place, inside in enumerate(value))
    elif isinstance(value, dict):
        yield from ((f"{name}.{key}", inside) for key, inside in value.items())
    else:
        yield name, value
