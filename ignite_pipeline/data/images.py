"""Images decoded once into one uint8 tensor, handed out a batch at a time."""

import hashlib
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm


class ImageTensors(Dataset[tuple[Tensor, Tensor]]):
    """Images ``(N, C, H, W)`` uint8 and targets ``(N,)`` int64 in memory; a batch is one gather.

    >>> dataset = ImageTensors(torch.zeros(5, 3, 8, 8, dtype=torch.uint8), torch.arange(5))
    >>> x, y = dataset.__getitems__([4, 0])
    >>> x.shape, y.tolist()
    (torch.Size([2, 3, 8, 8]), [4, 0])
    """

    def __init__(self, images: Tensor, targets: Tensor) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise TypeError(f"images must be uint8 (N, C, H, W), got {images.dtype} {tuple(images.shape)}")
        if len(images) != len(targets):
            raise ValueError(f"images and targets must be as many, got {len(images)} and {len(targets)}")
        self.images, self.targets = images, targets

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return one image ``(C, H, W)`` and its target ``()``."""
        return self.images[index], self.targets[index]

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
        """Return each channel's mean and standard deviation, ``(C,)`` float32, in [0, 1].

        Counted in integers, one channel after the other: the same bits on every machine.

        >>> images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
        >>> ImageTensors(images, torch.arange(2)).channel_statistics()
        (tensor([0.5000]), tensor([0.5000]))
        """
        levels = torch.arange(256, dtype=torch.float64) / 255
        shares = torch.stack(
            [torch.bincount(channel.flatten(), minlength=256) for channel in self.images.unbind(1)]
        ).double() / (self.images.numel() // self.images.shape[1])
        mean = shares @ levels
        variance = shares @ levels**2 - mean**2
        return mean.float(), variance.clamp_min(0).sqrt().float()


def decode_images(
    paths: Sequence[Path], prepare: Callable[[Image.Image], Image.Image], *, description: str = "decoding"
) -> Tensor:
    """Decode files to RGB, ``prepare`` each to one common size, and stack them as uint8 ``(N, 3, H, W)``.

    Raises ``ValueError`` with the path of the first file that cannot be read to its end.
    """

    def decode(path: Path) -> np.ndarray:
        try:
            with Image.open(path) as image:
                return np.asarray(prepare(image.convert("RGB")))
        except Exception as error:  # Pillow's decoders raise whatever they stumble over
            raise ValueError(f"{path}: not a readable image ({error}); mend or remove it") from error

    with ThreadPoolExecutor() as pool:
        arrays = progress(pool.map(decode, paths), total=len(paths), description=description)
        return torch.from_numpy(np.stack(list(arrays))).permute(0, 3, 1, 2).contiguous()


def progress(items, *, total: int, description: str):  # type: ignore[no-untyped-def]
    """Pass ``items`` on, with a bar on the terminal once they have taken a second."""
    return tqdm(items, total=total, desc=description, delay=1, leave=False, disable=not sys.stderr.isatty())
