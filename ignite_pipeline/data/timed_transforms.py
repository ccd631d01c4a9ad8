"""The transforms of a data set, each called through a clock while a sample is read."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from ignite_pipeline.data.held_transforms import ABSENT, HeldTransforms, Place
from ignite_pipeline.data.stand_in import stand_in

Timed = Callable[..., Any]


def with_timed_transforms(dataset: Any, timed: Timed, read: Callable[[], Any]) -> Any:
    """Return ``read()``; in it, a data set's transforms are called by ``timed(name, transform, *arguments)``.

    Where the data set holds them, stand-ins are put (see `stand_in`), and taken away after. Whatever calls
    them, a Compose, say, stays what it is, so that order, arguments, draws and errors do. A data set may
    compare a transform by ``==`` and ``isinstance``, but not by ``is``.

    >>> dataset = type("Images", (), {"__getitem__": lambda self, index: self.transform(index)})()
    >>> dataset.transform = abs
    >>> with_timed_transforms(dataset, lambda name, call, x: (name, call(x)), lambda: dataset[-3])
    ('abs', 3)
    >>> dataset[-3]
    3
    """
    changes: list[tuple[Place, Any]] = []
    try:
        with suppress(Exception):  # in a data set that cannot be looked into, transforms are not told apart
            changes = _changes(dataset, timed)
            for place, other in changes:
                place.holder[place.key] = other
        return read()
    finally:
        for place, other in changes:
            _put_back(place, other)


def _changes(dataset: Any, timed: Timed) -> list[tuple[Place, Any]]:
    """Return what to put in which place; a transform in two places has one stand-in."""
    found = HeldTransforms(dataset)
    made: dict[int, Any] = {}

    def other(transform: Any) -> Any:
        if type(transform) is tuple:
            return tuple(map(other, transform))
        key = id(transform)
        if key in found.names and key not in made:
            made[key] = stand_in(transform, partial(timed, found.names[key], transform))
        return made.get(key, transform)

    return [(place, other(place.transform)) for place in found.places]


def _put_back(place: Place, other: Any) -> None:
    with suppress(Exception):
        if place.holder[place.key] is not other:  # something else has been put there as the sample was read
            return
        if place.before is ABSENT:
            del place.holder[place.key]
        else:
            place.holder[place.key] = place.before
