"""Augmentation of whole uint8 batches, after the move to the device.

Each is an ``nn.Module``, so ``nn.Sequential`` composes them and ``.to(device)`` moves them. They draw on
the CPU from torch's default generator, which `ReseedEachIteration` seeds by position, and never wait for
the device.
"""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn

from ignite_pipeline.errors import BadInput


class RandomCrop(nn.Module):
    """Pad by reflection, then cut from each image ``(B, C, H, W)`` a window at a place of its own.

    The window has the image's size, or ``size`` × ``size``. It is mirrored left to right with probability
    ``flip``, which then costs nothing: both are one gather.

    >>> x = torch.arange(2 * 3 * 8 * 8, dtype=torch.uint8).view(2, 3, 8, 8)
    >>> RandomCrop(padding=2)(x).shape, RandomCrop(padding=0, size=6, flip=0.5)(x).shape
    (torch.Size([2, 3, 8, 8]), torch.Size([2, 3, 6, 6]))
    """

    def __init__(self, padding: int, *, size: int | None = None, flip: float = 0.0) -> None:
        super().__init__()
        if padding < 0:
            raise ValueError(f"padding must not be negative, got {padding}")
        if not 0 <= flip <= 1:
            raise ValueError(f"flip must be in [0, 1], got {flip}")
        self.padding, self.size, self.flip = padding, size, flip

    def forward(self, x: Tensor) -> Tensor:
        """Return a window of each image, of the same type."""
        count, channels, height, width = x.shape
        rows = _windows(height, self.padding, self.size or height)
        columns = _windows(width, self.padding, self.size or width)
        top, left = torch.randint(len(rows), (count,)), torch.randint(len(columns), (count,))
        if self.flip:
            left += (torch.rand(count) < self.flip) * len(columns)
            columns = torch.cat([columns, columns.flip(1)])
        rows, columns = (part.to(x.device, non_blocking=True) for part in (rows[top], columns[left]))
        # Padding and mirroring are in the indices of pixels, which all channels share.
        pixels = (rows * width).unsqueeze(2) + columns.unsqueeze(1)
        windows = pixels.view(count, 1, -1).expand(-1, channels, -1)
        cut = x.reshape(count, channels, -1).gather(2, windows)
        return cut.view(count, channels, rows.shape[1], columns.shape[1])


@cache
def _windows(side: int, padding: int, size: int) -> Tensor:
    """Return the indices ``(N, size)`` of all N windows in a side padded by reflection."""
    if padding >= side:
        raise ValueError(f"padding={padding} must be less than the image's side, {side}")
    if size > side + 2 * padding:
        raise ValueError(f"size={size} must be at most the padded side, {side + 2 * padding}")
    padded = torch.arange(-padding, side + padding).abs()
    padded = torch.where(padded < side, padded, 2 * (side - 1) - padded)
    return padded.unfold(0, size, 1).contiguous()


class Normalize(nn.Module):
    """Turn uint8 in [0, 255] to float32, minus ``mean`` and divided by ``std`` (each ``(C,)``, in [0, 1]).

    >>> Normalize([0.5], [0.5])(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
    tensor([[[[-1.,  1.]]]])
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor) -> None:
        super().__init__()
        means, stds = (torch.as_tensor(part, dtype=torch.float64).view(-1, 1, 1) for part in (mean, std))
        if not (stds > 0).all():
            raise BadInput(
                f"std must be positive in every channel, got {std}: is every image the same colour?"
            )
        self.register_buffer("scale", (1 / (255 * stds)).float())
        self.register_buffer("shift", (-means / stds).float())

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 of the same shape."""
        return x.to(torch.float32, copy=True).mul_(self.scale).add_(self.shift)


class Centre(nn.Module):
    """Turn uint8 in [0, 255] to float32 in [-1, 1], as tanh returns it.

    >>> Centre()(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([-1.,  1.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 of the same shape."""
        return (x / 127.5).sub_(1)


def to_pixels(images: Tensor) -> Tensor:
    """Turn images in [-1, 1] to uint8 in [0, 255], the inverse of `Centre`; what is beyond is cut off.

    >>> to_pixels(torch.tensor([-1.0, 0.001, 1.2]))
    tensor([  0, 128, 255], dtype=torch.uint8)
    """
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


class SplitPair(nn.Module):
    """Turn uint8 pairs ``(B, 2 * C, H, W)`` to source and target, float32 ``(B, C, H, W)`` in [-1, 1].

    >>> source, target = SplitPair()(torch.tensor([0, 255], dtype=torch.uint8).view(1, 2, 1, 1))
    >>> source.item(), target.item()
    (-1.0, 1.0)
    """

    def forward(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first half of the channels and the second."""
        source, target = Centre()(pairs).chunk(2, dim=1)
        return source, target
