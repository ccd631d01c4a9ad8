"""Do all processes hold the same weights? Equal by construction: a difference is a broken machine."""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from handlers.states import Stateful, state_of
from ignite_pipeline.run.processes import Processes


class Diverged(RuntimeError):
    """The processes of a run do not hold the same."""


def require_equal(
    objects: Mapping[str, Stateful], processes: Processes, *, given: Collection[str] = ()
) -> None:
    """Raise `Diverged`, in all processes, if objects are not the same; name the object and the minority.

    Compared are those ``given`` and whatever else holds tensors. A digest is computed where the tensors are,
    in one pass over their memory.
    """
    digests = processes.gather(
        {name: _digest_of(thing, plain=name in given) for name, thing in objects.items()}
    )
    for name in objects:
        of_each = [found.get(name) for found in digests]
        counts = Counter(of_each).most_common()
        if len(counts) == 1:
            continue
        is_clear = counts[0][1] > len(of_each) / 2
        odd = [rank for rank, found in enumerate(of_each) if not is_clear or found != counts[0][0]]
        ranks = " and ".join(map(str, odd)) if len(odd) < 3 else ", ".join(map(str, odd))
        whose = f"that of process{'es' if len(odd) > 1 else ''} {ranks}"
        raise Diverged(
            f"{name} is not the same in all processes: {whose} differ{'' if len(odd) > 1 else 's'}. Either a"
            " step changes it outside of compute.each and compute.update, or a handler by something that only"
            " one process knows, or a machine computes wrong; nothing was saved since the last checkpoint"
        )


def _digest_of(thing: Stateful, *, plain: bool) -> str | None:
    try:
        return digest(state_of(thing), plain=plain)
    except Exception as error:  # a state that refuses to be taken now: the save says so
        return f"{type(error).__name__}: {error}"


def digest(state: Any, *, plain: bool = True) -> str | None:
    """Return a digest of a state: tensors by their bits, summed up on their device; the rest by its words.

    One changed bit changes it; elements that change places, or changes that cancel, do not.

    Without ``plain``, None stands for a state that holds no tensor.

    >>> digest({"a": torch.zeros(3)}) == digest({"a": torch.tensor([0.0, 0.0, 1e-45])})
    False
    """
    words: list[str] = []
    sums: list[Tensor] = []
    _feed(state, words, sums)
    if not sums and not plain:
        return None
    by_device: dict[torch.device, list[Tensor]] = {}
    for each in sums:
        by_device.setdefault(each.device, []).append(each)
    words += [str(torch.stack(found).tolist()) for found in by_device.values()]
    return hashlib.sha256(" ".join(words).encode()).hexdigest()


def _feed(thing: Any, words: list[str], sums: list[Tensor]) -> None:
    if isinstance(thing, Tensor):
        words.append(f"{thing.dtype} {tuple(thing.shape)}")
        sums.append(_sum_of_bits(thing))
    elif isinstance(thing, Mapping):
        for name, value in thing.items():
            words.append(f"{name}:")
            _feed(value, words, sums)
    elif isinstance(thing, list | tuple):
        words.append(str(len(thing)))
        for value in thing:
            _feed(value, words, sums)
    else:
        words.append(repr(thing))


def _sum_of_bits(tensor: Tensor) -> Tensor:
    """Return the sum of all elements, taken for whole numbers: any one changed bit changes it."""
    dense = tensor.detach() if tensor.layout is torch.strided else tensor.detach().to_dense()
    flat = dense.contiguous().view(-1)
    if not flat.numel():
        return torch.zeros((), dtype=torch.int64, device=flat.device)
    width = {2: torch.int16, 4: torch.int32, 8: torch.int64}.get(flat.element_size(), torch.uint8)
    return flat.view(width).sum(dtype=torch.int64)
