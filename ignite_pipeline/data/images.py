"""Images decoded once into one uint8 tensor, handed out a batch at a time."""

import hashlib
import math
import os
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from ignite_pipeline.data.image_files import UnreadableImage
from ignite_pipeline.errors import BadInput

MEMORY_LIMIT_BYTES = 4 * 2**30
_CHUNK, _WORTH_THREADS = 64, 96 * 96
Item = TypeVar("Item")


class ImageTensors(Dataset[tuple[Tensor, Tensor]]):
    """Images ``(N, C, H, W)`` uint8 and targets ``(N,)`` int64 in memory; a batch is one gather.

    >>> dataset = ImageTensors(torch.zeros(5, 3, 8, 8, dtype=torch.uint8), torch.arange(5))
    >>> x, y = dataset.__getitems__([4, 0])
    >>> x.shape, y.tolist()
    (torch.Size([2, 3, 8, 8]), [4, 0])
    """

    deterministic = True

    def __init__(self, images: Tensor, targets: Tensor) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise TypeError(f"images must be uint8 (N, C, H, W), got {images.dtype} {tuple(images.shape)}")
        if len(images) != len(targets):
            raise ValueError(f"images and targets must be as many, got {len(images)} and {len(targets)}")
        self.images, self.targets = images.contiguous(), targets.contiguous()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return one image ``(C, H, W)`` and its target ``()``."""
        return self.images[index].clone(), self.targets[index].clone()  # a transform may write into them

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return images ``(B, C, H, W)`` and targets ``(B,)``, complete: nothing is left to collate."""
        rows = torch.tensor(indices)
        return self.images.index_select(0, rows), self.targets.index_select(0, rows)

    def sha256(self) -> str:
        """Return the digest of all images and targets, to tell whether data has changed."""
        hasher = hashlib.sha256(self.images.numpy().data)
        hasher.update(self.targets.numpy().data)
        return hasher.hexdigest()

    def channel_statistics(self) -> tuple[Tensor, Tensor]:
        """Return each channel's mean and standard deviation, ``(C,)`` float32, in [0, 1]."""
        return channel_statistics(level_counts(self.images))


def level_counts(images: Tensor) -> Tensor:
    """Return how often each level is in each channel, ``(C, 256)`` int64; images: uint8 ``(N, C, ...)``."""
    return torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)])


def channel_statistics(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means and standard deviations, ``(C,)`` in [0, 1], of channels with such `level_counts`.

    Integers have the same sums, and so these the same bits, on every machine.

    >>> channel_statistics(level_counts(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)))
    (tensor([0.5000]), tensor([0.5000]))
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    shares = counts / counts.sum(1, keepdim=True, dtype=torch.float64)
    mean = shares @ levels
    variance = shares @ levels**2 - mean**2
    return mean.float(), variance.clamp_min(0).sqrt().float()


@dataclass(frozen=True)
class ImageSplits:
    """Training and validation data, where they come from, and what their user must be told."""

    name: str
    root: str | None
    train: Any
    val: Any
    notice: str | None = None
    classes: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    kind: str = "classes"

    def describe(self) -> dict[str, object]:
        """Return what a run's record keeps of the data."""
        return {
            "name": self.name,
            "root": self.root,
            "train": len(self.train),
            "val": len(self.val),
            "sha256": [self.train.sha256(), self.val.sha256()],
            "classes": list(self.classes),
            "notice": self.notice,
            "unreadable": list(self.unreadable),
        }


def count_unreadable(messages: Collection[str]) -> str | None:
    """Return what to tell the user of images that were left out, if there are any."""
    if not messages:
        return None
    return f"{len(messages)} images could not be read and are left out, such as {next(iter(messages))}"


def stack_images(
    items: Sequence[Item],
    read: Callable[[Item], Image.Image | np.ndarray],
    *,
    description: str = "decoding",
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    unreadable: dict[Item, str] | None = None,
) -> Tensor:
    """``read`` each item to an image or array ``(H, W, C)`` of one size; return uint8 ``(N, C, H, W)``.

    Beyond ``memory_limit_bytes`` they go to an unnamed temporary file that is mapped into memory. Items that
    raise `UnreadableImage` are left out, and their messages put into ``unreadable``, if that is given.
    """

    def try_to_read(item: Item) -> np.ndarray | None:
        try:
            return np.array(read(item))
        except UnreadableImage as error:
            if unreadable is None:
                raise
            unreadable[item] = str(error)
            return None

    first = next((array for array in map(try_to_read, items) if array is not None), None)
    if first is None:
        raise BadInput(f"no image can be read; the first: {next(iter((unreadable or {}).values()))}")
    height, width, channels = first.shape
    images = allocate((len(items), channels, height, width), memory_limit_bytes=memory_limit_bytes)
    pixels, count = images.numpy(), 0  # torch's threads would wait for the cores that decode
    # Decoders of small images hold the interpreter most of the time: threads would only pass it around.
    workers = None if height * width >= _WORTH_THREADS else 1
    with ThreadPoolExecutor(workers) as pool, progress(total=len(items), description=description) as bar:
        # In chunks: handing over every single image would cost as much as decoding it.
        chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
        for chunk in pool.map(lambda chunk: [try_to_read(item) for item in chunk], chunks):
            arrays = [array for array in chunk if array is not None]
            if arrays:
                pixels[count : count + len(arrays)] = np.stack(arrays).transpose(0, 3, 1, 2)
            count += len(arrays)
            bar.update(len(chunk))
    return images[:count]


def allocate(shape: tuple[int, ...], *, memory_limit_bytes: int = MEMORY_LIMIT_BYTES) -> Tensor:
    """Return an empty uint8 tensor, in memory or, beyond the limit, in an unnamed temporary file.

    >>> allocate((2, 3), memory_limit_bytes=1).fill_(7).sum().item()
    42
    """
    if math.prod(shape) <= memory_limit_bytes:
        return torch.empty(shape, dtype=torch.uint8)
    with tempfile.TemporaryFile() as file:
        _set_aside(file.fileno(), math.prod(shape))
        return torch.from_numpy(np.memmap(file, np.uint8, "w+", shape=shape))


def _set_aside(descriptor: int, size_bytes: int) -> None:
    """Take the space of a file that is to be mapped: to find the disk full later would end the process."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    except OSError as error:
        raise BadInput(
            f"{tempfile.gettempdir()}: has no room for the decoded images, {size_bytes / 2**30:.1f} GiB"
            f" ({error.strerror}); let TMPDIR name another folder"
        ) from error


def progress(items: Iterable[Any] | None = None, *, total: int, description: str) -> "tqdm[Any]":
    """Pass ``items`` on, with a bar on the terminal once they have taken a second."""
    return tqdm(items, total=total, desc=description, delay=1, leave=False, disable=not sys.stderr.isatty())
