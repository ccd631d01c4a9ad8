"""The state of an object, as a checkpoint holds it."""

import copy
import gc
from collections.abc import Collection, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from ignite.engine import State
from torch import Tensor, nn
from torch.optim import Optimizer

from handlers.model_digest import unwrapped

# What an engine has on its state by itself.
_ENGINE_ATTRIBUTES = {*vars(State()), "dataloader", "seed", "output", "batch"}
_DICT_AND_CLASS = 2


class Stateful(Protocol):
    """Anything whose state can be taken and put back."""

    def state_dict(self) -> Any:
        """Return the state: tensors, numbers and strings in dicts and lists."""

    def load_state_dict(self, state_dict: Any) -> Any:
        """Restore the state."""


def state_of(thing: Stateful) -> Any:
    """Return an object's state, with numbers of NumPy's as Python's: a checkpoint holds no other."""
    return without_numpy_scalars(unwrapped(thing).state_dict())


def added_attributes(state: State) -> dict[str, Any]:
    """Return the numbers, words and tensors, also in lists and dicts, that somebody has put on a state.

    >>> state = State()
    >>> state.noise = 0.5
    >>> added_attributes(state)
    {'noise': 0.5}
    """
    # To look into an object's __dict__ makes later access to its attributes slower (Python 3.11 and on), here
    # by 2 µs an iteration: so it is only done where there are more values than usual. (An older Python has a
    # dict for each object, to count as one, and nothing to lose.)
    usual = len(gc.get_referents(State()))
    if usual > _DICT_AND_CLASS and len(gc.get_referents(state)) == usual:
        return {}
    return {
        name: without_numpy_scalars(value)
        for name, value in vars(state).items()
        if name not in _ENGINE_ATTRIBUTES and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(name, str | int) and _is_plain(inside) for name, inside in value.items())
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, int | float | str | Tensor | np.generic)


def frozen_parameters(thing: Any) -> list[str]:
    """Return the names of a model's parameters that are not trained: a model's state does not tell.

    >>> frozen_parameters(nn.Sequential(nn.Linear(1, 1).requires_grad_(False), nn.Linear(1, 1)))
    ['0.weight', '0.bias']
    """
    model = unwrapped(thing)
    if not isinstance(model, nn.Module):
        return []
    return [name for name, parameter in model.named_parameters() if not parameter.requires_grad]


def freeze_parameters(thing: Any, names: Collection[str]) -> None:
    """Train all parameters of a model but those of these names."""
    model = unwrapped(thing)
    if isinstance(model, nn.Module):
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in names)


def lay_out_as_parameters(optimizer: Optimizer) -> None:
    """Let an optimizer's state lie in memory as its parameters do: fused kernels take that for granted."""
    for parameter, state in optimizer.state.items():
        if not isinstance(parameter, Tensor) or not isinstance(state, dict):
            continue  # somebody's own, of no parameter
        for name, value in state.items():
            is_alike = isinstance(value, Tensor) and value.shape == parameter.shape
            if is_alike and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def without_numpy_scalars(content: Any) -> Any:
    """Return a state with numbers of NumPy's as Python's.

    >>> without_numpy_scalars({"a": [np.float64(0.5)]})
    {'a': [0.5]}
    """
    if isinstance(content, np.generic):
        return content.item()
    if isinstance(content, dict):
        if any(isinstance(value, np.generic | dict | list | tuple) for value in content.values()):
            plain = copy.copy(content)
            plain.update((name, without_numpy_scalars(value)) for name, value in content.items())
            return plain
    elif type(content) in (list, tuple):
        return type(content)(map(without_numpy_scalars, content))
    return content


def copied(content: Any) -> Any:
    """Return a copy on the processor, which what happens later does not change."""
    if isinstance(content, Tensor):
        return content.detach().to("cpu", copy=True)
    if isinstance(content, dict):
        like = copy.copy(content)  # of its own kind: a model's state has its versions as an attribute
        like.update((name, copied(value)) for name, value in content.items())
        return like
    if isinstance(content, list | tuple):
        return type(content)(copied(value) for value in content)
    return content


def holds_nan(content: Any) -> bool:
    """Return whether there is a tensor with NaN in a state.

    >>> holds_nan({"a": [torch.zeros(2)]}), holds_nan({"a": (torch.tensor([0, torch.nan]),)})
    (False, True)
    """
    if isinstance(content, Tensor):
        # The sum alone takes a third of the time; infinities of both signs make it NaN too.
        if not content.is_floating_point() or content.itemsize == 1:  # numbers of 8 bits cannot be summed
            return False
        return bool(content.sum().isnan()) and bool(content.isnan().any())
    if isinstance(content, Mapping):
        content = content.values()
    elif not isinstance(content, list | tuple):
        return False
    return any(map(holds_nan, content))
