"""Transforms of single images, with what they draw at random decided by position."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ignite_pipeline.data.position_keyed import size_of


class Transformed(Dataset[tuple[Any, Any]]):
    """A data set of ``(image, target)`` whose images go through a transform, each by itself.

    ``transform`` is one of torchvision's ``transforms.v2``, one of Albumentations, or any function of a uint8
    tensor ``(C, H, W)``. The loader seeds what it draws by ``(seed, epoch, index)``: neither workers nor a
    kill change it, nor where images are stored.

    >>> images = torch.utils.data.TensorDataset(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.arange(4))
    >>> image, target = Transformed(images, lambda image: image[:, 2:6, 2:6])[3]
    >>> image.shape, target
    (torch.Size([3, 4, 4]), tensor(3))
    """

    def __init__(self, dataset: Dataset[Any], transform: Callable[..., Any] | None) -> None:
        self.dataset = dataset
        # Its classes have more packages than one, but all of them can be seeded.
        self.transform = Albumentation(transform) if hasattr(transform, "set_random_seed") else transform

    def __len__(self) -> int:
        return size_of(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return an image, as the transform returns it if there is one, and its target."""
        image, target = self.dataset[index]
        return (image if self.transform is None else self.transform(image)), target

    def sha256(self) -> str | None:
        """Return the digest of the images before the transform, if there is one."""
        digest = getattr(self.dataset, "sha256", None)
        return digest() if callable(digest) else None


class Albumentation:
    """A transform of Albumentations as a function of tensors, seeded by what torch draws.

    It keeps generators of its own, whose draws would depend on what was read before.
    """

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __call__(self, image: Tensor) -> Tensor:
        """Return the image, uint8 ``(C, H, W)``, as the transform makes it, a tensor ``(C, H, W)``."""
        self.transform.set_random_seed(int(torch.randint(2**31, ())))
        result = self.transform(image=np.ascontiguousarray(image.permute(1, 2, 0)))["image"]
        return result if isinstance(result, Tensor) else torch.from_numpy(result).permute(2, 0, 1)
