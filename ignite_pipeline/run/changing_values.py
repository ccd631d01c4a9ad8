"""Values that a step, a handler or a data set changes, and that no checkpoint holds."""

import io
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from ignite.engine import Engine
from torch import Tensor

from handlers.held import held_objects

# A counter, a running mean, the place in a list.
_VALUES = (int, float, str, Tensor, np.ndarray, type(None))


class ChangingValues:
    """Say once which plain values have changed since the run began, by name.

    >>> def make_step(count):
    ...     def step(engine, batch):
    ...         count[0] += 1
    ...     return step
    >>> trainer = Engine(make_step([0]))
    >>> values = ChangingValues(trainer)
    >>> _ = trainer.run([0])
    >>> values.changed()
    ['count.0']
    """

    def __init__(self, trainer: Engine, saved: Iterable[Any] = (), *, dataset: object = None) -> None:
        self._trainer, self._dataset = trainer, dataset
        self._saved = {id(thing) for thing in saved}
        self._before = self._now()
        self._said: set[str] = set()

    def changed(self) -> list[str]:
        """Return the names of the values that have changed and were not named before."""
        now = self._now()
        names = [name for name, value in now.items() if self._before.get(name, value) != value]
        new = dict.fromkeys(name.partition("#")[0] for name in names)
        new = {name: None for name in new if name not in self._said}
        self._said.update(new)
        return list(new)

    def iterators(self) -> list[str]:
        """Return the names of iterators, which nobody can put back to where they were."""
        return [
            name
            for name, thing in held_objects(self._trainer)
            if isinstance(thing, Iterator) and not isinstance(thing, io.IOBase)
        ]

    def _now(self) -> dict[str, Any]:
        attributes = getattr(self._dataset, "__dict__", {}).items()
        held = [(f"{type(self._dataset).__name__}.{name}", value) for name, value in attributes]
        found: dict[str, Any] = {}
        for name, value in (*held, *held_objects(self._trainer)):
            if isinstance(value, _VALUES) and id(value) not in self._saved:
                found[f"{name}#{len(found)}" if name in found else name] = _fingerprint(value)
        return found


def _fingerprint(value: Any) -> Any:
    if isinstance(value, Tensor):
        # One that was made in inference mode counts no changes.
        return id(value), None if value.is_inference() else value._version
    if isinstance(value, np.ndarray):
        return hash(value.tobytes()) if value.nbytes < 2**20 else id(value)
    return repr(value)
