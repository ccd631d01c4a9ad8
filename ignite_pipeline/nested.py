"""Batches that are made of tensors, dicts, tuples, lists and dataclasses: mapped, cut and put together."""

import copy
import dataclasses
from collections.abc import Callable, Mapping, MutableMapping
from functools import partial
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor


def map_leaves(
    function: Callable[[Any], Any], batch: Any, *, is_leaf: Callable[[Any], bool] = lambda thing: False
) -> Any:
    """Apply ``function`` to all that is inside the dicts, tuples, lists and dataclasses of a batch.

    >>> map_leaves(lambda x: x + 1, {"a": 1, "b": (2, [3])})
    {'a': 2, 'b': (3, [4])}
    """
    if isinstance(batch, Tensor) or is_leaf(batch):
        return function(batch)
    go_on = partial(map_leaves, function, is_leaf=is_leaf)
    if isinstance(batch, Mapping):
        return _like(batch, {name: go_on(value) for name, value in batch.items()})
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(go_on, batch))
    if isinstance(batch, tuple | list):
        return type(batch)(map(go_on, batch))
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        names = [field.name for field in dataclasses.fields(batch)]
        return dataclasses.replace(batch, **{name: go_on(getattr(batch, name)) for name in names})
    return function(batch)


def _like(batch: Mapping[Any, Any], content: dict[Any, Any]) -> Any:
    """Return ``content`` in a mapping of the same kind, or a dict where that cannot be changed."""
    if type(batch) is dict or not isinstance(batch, MutableMapping):
        return content
    like = copy.copy(batch)  # a defaultdict, say, is made otherwise
    for name, value in content.items():
        like[name] = value
    return like


def leaves(batch: Any) -> list[Tensor]:
    """Return the tensors in a batch.

    >>> leaves({"a": torch.zeros(1), "b": ("c", [torch.ones(1)])})
    [tensor([0.]), tensor([1.])]
    """
    found: list[Tensor] = []
    map_leaves(lambda leaf: found.append(leaf) if isinstance(leaf, Tensor) else None, batch)
    return found


def split(batch: Any, parts: int) -> list[Any]:
    """Cut a batch into at most ``parts``, each with its share of the rows, as ``torch.chunk`` does.

    Tensors, arrays and lists with one item for each row are cut; what has no rows goes into every part.
    ``ValueError`` is raised for tensors of different numbers of rows.

    >>> split({"x": torch.arange(3), "lengths": [4, 5, 6]}, 2)
    [{'x': tensor([0, 1]), 'lengths': [4, 5]}, {'x': tensor([2]), 'lengths': [6]}]
    """
    sizes = {len(leaf) for leaf in leaves(batch) if leaf.ndim}
    if len(sizes) != 1:
        raise ValueError(f"micro-batches need tensors of as many rows each, got {sorted(sizes)}")
    (rows,) = sizes
    step = -(-rows // parts)

    def has_rows(thing: Any) -> bool:
        if isinstance(thing, list):
            return len(thing) == rows and not leaves(thing)
        return isinstance(thing, Tensor | np.ndarray) and thing.ndim > 0 and len(thing) == rows

    def part_from(first: int) -> Any:
        return map_leaves(
            lambda leaf: leaf[first : first + step] if has_rows(leaf) else leaf, batch, is_leaf=has_rows
        )

    return [part_from(first) for first in range(0, rows, step)]


def joined(parts: list[Any], rows: list[int]) -> Any:
    """Put together what was returned for the parts of a batch, which have so many ``rows``.

    ``TypeError`` is raised for what has no rows to put together, unless it is the same in all parts.

    >>> joined([{"a": torch.zeros(2), "b": 1}, {"a": torch.ones(1), "b": 1}], [2, 1])
    {'a': tensor([0., 0., 1.]), 'b': 1}
    """
    first = parts[0]

    def together(pick: Callable[[Any], Any]) -> Any:
        return joined([pick(part) for part in parts], rows)

    if isinstance(first, Tensor) and [len(part) if part.ndim else None for part in parts] == rows:
        return torch.cat(parts)
    if isinstance(first, Mapping):
        return _like(first, {name: together(itemgetter(name)) for name in first})
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(together(itemgetter(place)) for place in range(len(first))))
    if isinstance(first, tuple | list):
        return type(first)(together(itemgetter(place)) for place in range(len(first)))
    if dataclasses.is_dataclass(first) and not isinstance(first, type):
        names = [field.name for field in dataclasses.fields(first)]
        return dataclasses.replace(first, **{name: together(attrgetter(name)) for name in names})
    if first is None or (isinstance(first, str | int | float) and all(part == first for part in parts)):
        return first
    raise TypeError(
        "micro-batches need a model that returns tensors with a row for each sample, got"
        f" {type(first).__name__}{f' of {tuple(first.shape)}' if isinstance(first, Tensor) else ''}"
    )
