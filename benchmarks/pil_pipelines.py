"""Data sets and steps as most people write them: files, Pillow, and a transform for each sample.

cd benchmarks && python ../scripts/profile_data.py \\
    --dataset-factory pil_pipelines:cifar2 --step-factory pil_pipelines:cifar2_step

The images lie where IGNITE_PIPELINE_CIFAR2 and IGNITE_PIPELINE_FACADES say.
"""

import os
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset
from torchvision import transforms as T
from torchvision.datasets import ImageFolder

from ignite_pipeline.gan_steps import gan_step
from ignite_pipeline.models.classifiers import conv_net
from ignite_pipeline.models.pix2pix import PatchDiscriminator, UNetGenerator
from ignite_pipeline.steps import Step, supervised_step

NORMALIZE = T.Normalize((0.4915, 0.4823, 0.4468), (0.2470, 0.2435, 0.2616))


def cifar2() -> Dataset[Any]:
    """Return airplanes and birds from JPEG files, cropped, flipped and normalised one by one."""
    transform = T.Compose([T.RandomCrop(32, padding=4), T.RandomHorizontalFlip(), T.ToTensor(), NORMALIZE])
    dataset: Dataset[Any] = ImageFolder(os.environ["IGNITE_PIPELINE_CIFAR2"] + "/train", transform)
    return dataset


def cifar2_step() -> Step:
    """Return a step that trains the book's convolutional net."""
    model = conv_net(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, fused=True)
    return supervised_step(model, optimizer, nn.functional.cross_entropy)


class Pairs(Dataset[Any]):
    """Labels and photos of façades, side by side in JPEG files."""

    def __init__(self, root: str, side: int = 64) -> None:
        self.files = sorted(Path(root).glob("*.jpg"))
        self.transform: Any = T.Compose(
            [T.Resize((side + 8, 2 * side + 16)), T.ToTensor(), T.RandomCrop((side, 2 * side))]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        image = Image.open(self.files[index]).convert("RGB")
        if self.transform is None:
            return image
        photo, labels = (2 * self.transform(image) - 1).chunk(2, dim=2)
        return labels.contiguous(), photo.contiguous()


def facades() -> Dataset[Any]:
    """Return the pairs at 64 pixels."""
    return Pairs(os.environ["IGNITE_PIPELINE_FACADES"] + "/train")


def facades_step() -> Step:
    """Return the step of pix2pix at 64 pixels."""
    networks = UNetGenerator(image_size=64), PatchDiscriminator(6)
    optimizers = [torch.optim.Adam(network.parameters(), lr=2e-4, fused=True) for network in networks]
    return gan_step(*networks, *optimizers)


class Drawn(Dataset[Any]):
    """One image in memory, again and again: what is measured is the transform."""

    def __init__(self, side: int, transform: Any) -> None:
        self.image = Image.effect_noise((side, side), 64).convert("RGB")
        self.transform = transform

    def __len__(self) -> int:
        return 256

    def __getitem__(self, index: int) -> Any:
        return self.image if self.transform is None else self.transform(self.image)


def rotated_1024() -> Dataset[Any]:
    """Return 1024 × 1024 images, rotated, then scaled to 300 × 300."""
    return Drawn(1024, T.Compose([T.RandomRotation(45), T.Resize(300), T.ToTensor()]))


def rotated_300() -> Dataset[Any]:
    """Return 300 × 300 images, rotated."""
    return Drawn(300, T.Compose([T.RandomRotation(45), T.ToTensor()]))
