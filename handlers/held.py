"""What an engine's step and handlers can reach: the variables of functions, the attributes of objects."""

import sys
from collections import deque
from collections.abc import Iterator
from functools import partial
from types import CellType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

from ignite.engine import Engine
from torch import nn

from handlers.attached import handlers_of, owner_of, step_of

# Longer lists are of data, not of what computes.
_MOST, _DEEPEST = 1000, 5
# Ours have a state if they need one, and to look into their __dict__ would slow them down (see
# `added_attributes`); what others keep inside is their own.
_OURS = {"handlers", "ignite_pipeline"}
_OTHERS = {"ignite", "torch", "torchvision", "numpy", "PIL", "matplotlib", "tqdm", "tensorboardX", "visdom"}


def held_objects(engine: Engine) -> Iterator[tuple[str, Any]]:
    """Yield what the engine's step and its handlers can reach, each once, with the name that it has there.

    That is an object that is the step, or whose method it is; the variables of a function that lie outside
    it, its defaults, and the objects with a state among its module's variables; the arguments that a handler
    is called with; what is in lists and dicts; and the attributes of objects of the user's own classes.

    >>> def make_step(model):
    ...     return lambda engine, batch: model
    >>> list(held_objects(Engine(make_step(3))))
    [('model', 3)]
    """
    walk = _Walk()
    yield from walk.root(step_of(engine))
    for handler, arguments in handlers_of(engine):
        yield from walk.root(handler)
        for thing in arguments:
            yield from walk.into(type(thing).__name__, thing, 1)


class _Walk:
    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}  # by identity; kept, so that none is given anew meanwhile

    def root(self, thing: Any) -> Iterator[tuple[str, Any]]:
        """Walk from a step or a handler: into whatever object its owner is, but for ours."""
        owner = owner_of(thing)
        yield from self.into(type(thing).__name__, thing, 0)
        if owner is not None and _root_of(owner) in _OTHERS and not hasattr(type(owner), "state_dict"):
            for name, value in _attributes(owner):
                if hasattr(type(value), "state_dict"):
                    yield f"{type(owner).__name__}.{name}", value

    def into(self, name: str, thing: Any, depth: int) -> Iterator[tuple[str, Any]]:
        """Walk into ``thing``, which goes by ``name``."""
        if depth > _DEEPEST or isinstance(thing, type | ModuleType):
            return
        if not isinstance(thing, int | float | str | type(None)):
            if id(thing) in self._seen:
                return
            self._seen[id(thing)] = thing
        if isinstance(thing, partial):
            yield from self.into(name, thing.func, depth)
            yield from self._all(name, {**dict(enumerate(thing.args)), **thing.keywords}, depth + 1)
        elif isinstance(thing, MethodType):
            yield from self.into(type(thing.__self__).__name__, thing.__self__, depth)
        elif isinstance(thing, FunctionType):
            yield from self._of_function(thing, depth + 1)
        elif isinstance(thing, dict):
            yield from self._all(name, thing, depth + 1)
        elif isinstance(thing, list | tuple | deque):  # no set: its order is another in every process
            yield from self._all(name, dict(enumerate(thing)) if len(thing) <= _MOST else {}, depth + 1)
        else:
            yield name, thing
            if _is_open(thing):
                for attribute, value in _attributes(thing):
                    yield from self.into(f"{type(thing).__name__}.{attribute}", value, depth + 1)

    def _all(self, name: str, things: dict[Any, Any], depth: int) -> Iterator[tuple[str, Any]]:
        if len(things) <= _MOST:
            for key, value in list(things.items()):
                yield from self.into(f"{name}.{key}", value, depth)

    def _of_function(self, function: FunctionType, depth: int) -> Iterator[tuple[str, Any]]:
        if _root_of_module(function.__module__) in _OTHERS:
            return
        code = function.__code__
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            yield from self.into(name, _value_of(cell), depth)
        arguments = code.co_varnames[: code.co_argcount]
        defaults = function.__defaults__ or ()
        for name, value in zip(arguments[len(arguments) - len(defaults) :], defaults, strict=True):
            yield from self.into(name, value, depth)
        for name, value in (function.__kwdefaults__ or {}).items():
            yield from self.into(name, value, depth)
        if _root_of_module(function.__module__) not in _OURS:
            for name in code.co_names:
                value = function.__globals__.get(name)
                if hasattr(type(value), "state_dict") or isinstance(value, FunctionType):
                    yield from self.into(name, value, depth)


def _value_of(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that has no value yet
        return None


def _is_open(thing: Any) -> bool:
    """Return whether to look at an object's attributes: it is of the user's, or a module of torch's."""
    if type(thing) is Engine or _root_of(thing) in _OURS | _OTHERS:
        return False
    if isinstance(thing, nn.Module | Engine | SimpleNamespace):
        return True
    # The state of others has all that they want to be kept.
    return not hasattr(type(thing), "state_dict") and _root_of(thing) not in sys.stdlib_module_names


def _attributes(owner: Any) -> Iterator[tuple[str, Any]]:
    usual = _ENGINE if isinstance(owner, Engine) else ()
    for name, value in list(getattr(owner, "__dict__", {}).items()):
        # A module's parameters, buffers and modules are in its state.
        if name not in usual and not (isinstance(owner, nn.Module) and name.startswith("_")):
            yield name, value


_ENGINE = frozenset(vars(Engine(lambda engine, batch: None)))


def _root_of(thing: Any) -> str:
    return _root_of_module(type(thing).__module__)


def _root_of_module(module: str | None) -> str:
    return (module or "").split(".")[0]
