"""An object in the place of another, which is called through a function of one's own."""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

# Of the special methods, those that make or end the stand-in itself, or are its own.
_NOT_HANDED_ON = {
    "__call__",
    "__class__",
    "__copy__",
    "__del__",
    "__getattr__",
    "__getattribute__",
    "__init__",
    "__init_subclass__",
    "__new__",
    "__reduce__",
    "__reduce_ex__",
    "__subclasshook__",
}


def stand_in(thing: Any, call: Callable[..., Any]) -> Any:
    """Return what passes for ``thing`` and, when it is called, calls ``call`` with the same arguments.

    Attributes, special methods, ``isinstance`` and hashes are those of the thing, and a copy of it, or a
    pickle, is one of the thing. ``is`` and ``type()`` alone tell them apart.

    >>> double = stand_in(abs, lambda x: 2 * abs(x))
    >>> double(-3), double.__name__, double == abs, double is abs
    (6, 'abs', True, False)
    """
    return _kind_of_stand_in(type(thing))(thing, call)  # type: ignore[arg-type]  # a type is hashable


class _StandIn:
    __slots__ = ("__weakref__", "_call", "_thing")

    def __init__(self, thing: Any, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_thing", thing)
        object.__setattr__(self, "_call", call)

    def __getattribute__(self, name: str) -> Any:
        own = name == "__reduce_ex__"  # which copy and pickle ask the object for
        return object.__getattribute__(self, name) if own else getattr(_thing_of(self), name)

    def __call__(self, /, *args: Any, **options: Any) -> Any:
        return object.__getattribute__(self, "_call")(*args, **options)

    def __copy__(self) -> Any:
        return copy.copy(_thing_of(self))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _itself, (_thing_of(self),)


def _thing_of(stand_in: _StandIn) -> Any:
    return object.__getattribute__(stand_in, "_thing")


def _itself(thing: Any) -> Any:
    return thing


@cache
def _kind_of_stand_in(kind: type) -> type[_StandIn]:
    """Return a class with the special methods of another, for Python looks these up in the class alone."""
    special: dict[str, Any] = {"__slots__": ()}
    for name in set(dir(kind)) - _NOT_HANDED_ON:
        method = getattr(kind, name, None)
        if name.startswith("__") and (callable(method) or name == "__hash__"):
            special[name] = None if method is None else _handed_on(method)
    return type("StandIn", (_StandIn,), special)


def _handed_on(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: _StandIn, /, *args: Any, **options: Any) -> Any:
        return method(_thing_of(self), *args, **options)

    return call
