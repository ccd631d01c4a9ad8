"""How many bytes a batch has on its way to the device, and what it would save to send images as uint8."""

import time
from typing import Any

import torch
from torch import Tensor

from ignite_pipeline.compute import Compute
from ignite_pipeline.nested import leaves, map_leaves
from ignite_pipeline.profiling.changes import CONFIRMING_ROUNDS, Tried

_REPEATS = 20


def bytes_on_the_way(batch: Any) -> tuple[int, int]:
    """Return the bytes of a batch's tensors, and those if its images ``(B, C, H, W)`` in floats were uint8.

    >>> bytes_on_the_way({"image": torch.zeros(2, 3, 8, 8), "label": torch.zeros(2, dtype=torch.int64)})
    (1552, 400)
    """
    tensors = leaves(batch)
    return sum(t.nbytes for t in tensors), sum(t.numel() if _is_image(t) else t.nbytes for t in tensors)


def _is_image(tensor: Tensor) -> bool:
    return tensor.ndim == 4 and tensor.is_floating_point()


def try_uint8(batch: Any, compute: Compute) -> Tried:
    """Move a batch to the device as it is and with images as uint8, floats again there, in turns."""
    small = map_leaves(lambda leaf: _as_uint8(leaf) if isinstance(leaf, Tensor) else leaf, batch)
    kinds = [leaf.dtype for leaf in leaves(batch)]

    def move_small() -> None:
        for leaf, kind in zip(leaves(compute.transfer(small)), kinds, strict=True):
            leaf.to(kind)

    speedups = [
        _seconds(lambda: compute.transfer(batch)) / _seconds(move_small) for _ in range(CONFIRMING_ROUNDS)
    ]
    return Tried("images as uint8, of the transfer alone", speedups)


def _as_uint8(tensor: Tensor) -> Tensor:
    if not _is_image(tensor):
        return tensor
    small = tensor.to(torch.uint8)
    return small.pin_memory() if tensor.is_pinned() else small


def _seconds(move: Any) -> float:
    _wait()
    start = time.perf_counter()
    for _ in range(_REPEATS):
        move()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
