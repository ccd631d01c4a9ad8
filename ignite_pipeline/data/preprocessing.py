"""What an image file has to become before a model sees it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ignite_pipeline.data.images import read_square


@dataclass(frozen=True)
class Preprocessing:
    """What images have to be for a model: scaled, cut to the middle, in 0 to 1, then normalised.

    The square in the middle is scaled to ``resize_size`` pixels a side, and ``image_size`` × ``image_size``
    of them are kept.
    """

    image_size: int
    resize_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def read(self, path: str | Path) -> Tensor:
        """Return a file's image as the model takes it, but for the normalisation: uint8 ``(3, S, S)``.

        `UnreadableImage` is raised with the path for a file that is none.
        """
        pixels = np.array(read_square(path, self.resize_size))
        return self.cut(torch.from_numpy(pixels).permute(2, 0, 1))

    def cut(self, images: Tensor) -> Tensor:
        """Return the middle of square images ``(..., H, W)``, ``image_size`` pixels a side."""
        from torchvision.transforms.v2.functional import center_crop  # only who cuts waits for its import

        return images if images.shape[-1] == self.image_size else center_crop(images, [self.image_size] * 2)
