"""What an image file has to become before a model sees it."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ignite_pipeline.data.image_files import middle_square, read_square

_MOST_PIXELS = 2**14


@dataclass(frozen=True)
class Preprocessing:
    """What images have to be for a model: scaled, cut to the middle, in 0 to 1, then normalised.

    The square in the middle is scaled to ``resize_size`` pixels a side, and ``image_size`` × ``image_size``
    of them are kept. Raises ``ValueError`` for what cannot be so.
    """

    image_size: int
    resize_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        for name in ("image_size", "resize_size"):
            side = getattr(self, name)
            if type(side) is not int or not 1 <= side <= _MOST_PIXELS:
                raise ValueError(f"{name} must be a whole number from 1 to {_MOST_PIXELS}, got {side!r}")
        if self.image_size > self.resize_size:
            raise ValueError(
                f"image_size must be at most resize_size={self.resize_size}, got {self.image_size}"
            )
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != 3 or not all(
                isinstance(value, float | int) and math.isfinite(value) for value in values
            ):
                raise ValueError(f"{name} must be three numbers, got {values!r}")

    def read(self, path: str | Path) -> Tensor:
        """Return a file's image as the model takes it, but for the normalisation: uint8 ``(3, S, S)``.

        `UnreadableImage` is raised with the path for a file that is none.
        """
        return self._center_crop(read_square(path, self.resize_size))

    def apply(self, image: Tensor) -> Tensor:
        """Return what `read` returns, of an image ``(3, H, W)`` uint8 that has been read already."""
        return self._center_crop(
            middle_square(Image.fromarray(image.permute(1, 2, 0).numpy()), self.resize_size)
        )

    def _center_crop(self, image: Image.Image) -> Tensor:
        from torchvision.transforms.v2.functional import center_crop  # only who cuts waits for its import

        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        return pixels if len(pixels[0]) == self.image_size else center_crop(pixels, [self.image_size] * 2)
