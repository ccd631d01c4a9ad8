"""Random generators of somebody's own, as objects with a state that a checkpoint holds."""

import random
from typing import Any

import numpy as np
import torch


class GeneratorState:
    """The state of a generator of torch, NumPy or ``random``.

    >>> generator = random.Random(0)
    >>> kept = GeneratorState(generator)
    >>> state, first = kept.state_dict(), generator.random()
    >>> kept.load_state_dict(state)
    >>> generator.random() == first
    True
    """

    def __init__(self, generator: Any) -> None:
        self.generator = generator

    def state_dict(self) -> dict[str, Any]:
        """Return what the generator goes on from."""
        generator = self.generator
        if isinstance(generator, torch.Generator):
            return {"state": generator.get_state()}
        if isinstance(generator, np.random.Generator):
            return {"state": _plain(generator.bit_generator.state)}
        if isinstance(generator, np.random.RandomState):
            return {"state": _plain(generator.get_state(legacy=False))}
        return {"state": generator.getstate()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        generator = self.generator
        if isinstance(generator, torch.Generator):
            generator.set_state(state["state"])
        elif isinstance(generator, np.random.Generator):
            generator.bit_generator.state = _arrays(state["state"])
        elif isinstance(generator, np.random.RandomState):
            generator.set_state(_arrays(state["state"]))
        else:
            generator.setstate(state["state"])


def as_stateful(thing: Any) -> Any:
    """Return a generator with a state, and anything else as it is."""
    kinds = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
    return GeneratorState(thing) if isinstance(thing, kinds) else thing


def _plain(state: Any) -> Any:
    """Return a state of NumPy's with lists in place of arrays, which a checkpoint does not hold."""
    if isinstance(state, dict):
        return {name: _plain(value) for name, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state


def _arrays(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: _arrays(value) for name, value in state.items()}
    return np.array(state, dtype=np.uint64) if isinstance(state, list) else state
