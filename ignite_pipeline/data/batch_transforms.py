"""Augmentation of whole uint8 batches, after the move to the device.

Each is an ``nn.Module``, so ``nn.Sequential`` composes them and ``.to(device)`` moves them. They draw on
the CPU from torch's default generator, which `ReseedEachIteration` seeds by position, and never wait for
the device.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class RandomCrop(nn.Module):
    """Pad by reflection, then cut each image ``(B, C, H, W)`` back to its size at a place of its own.

    >>> x = torch.arange(2 * 3 * 8 * 8, dtype=torch.uint8).view(2, 3, 8, 8)
    >>> RandomCrop(padding=2)(x).shape
    torch.Size([2, 3, 8, 8])
    """

    def __init__(self, padding: int) -> None:
        super().__init__()
        if padding < 0:
            raise ValueError(f"padding must not be negative, got {padding}")
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """Return a crop of each image, of the same shape and type."""
        batch, _, height, width = x.shape
        p = self.padding
        if p >= min(height, width):
            raise ValueError(f"padding={p} must be less than the image's side, {min(height, width)}")
        tops, lefts = torch.randint(2 * p + 1, (2, batch)).to(x.device, non_blocking=True)
        padded = x.index_select(2, _reflected(height, p, x.device)).index_select(
            3, _reflected(width, p, x.device)
        )
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        return windows[torch.arange(batch, device=x.device), :, tops, lefts]


def _reflected(side: int, padding: int, device: torch.device) -> Tensor:
    # F.pad has no reflection for uint8.
    positions = torch.arange(-padding, side + padding, device=device).abs()
    return torch.where(positions < side, positions, 2 * (side - 1) - positions)


class RandomHorizontalFlip(nn.Module):
    """Mirror each image ``(B, C, H, W)`` left to right with probability ``p``."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"p must be in [0, 1], got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return the batch, some images mirrored."""
        mirrored = (torch.rand(len(x), 1, 1, 1) < self.p).to(x.device, non_blocking=True)
        return torch.where(mirrored, x.flip(3), x)


class Normalize(nn.Module):
    """Turn uint8 in [0, 255] to float32, less ``mean`` and over ``std`` (each ``(C,)``, in [0, 1]).

    >>> Normalize([0.5], [0.5])(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
    tensor([[[[-1.,  1.]]]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32).view(-1, 1, 1) * 255)
        self.register_buffer("std", torch.as_tensor(std, dtype=torch.float32).view(-1, 1, 1) * 255)
        if not (self.std > 0).all():
            raise ValueError(
                f"std must be positive in every channel, got {std}: is every image the same colour?"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 of the same shape."""
        return (x - self.mean) / self.std
