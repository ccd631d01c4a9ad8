"""Recipes that train on photographs through transforms that draw, of several libraries."""

import os

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the network, at every import

import albumentations
import torch
from ignite.engine import Engine
from torch import nn
from torchvision.transforms import v2

from handlers import StepMeans
from ignite_pipeline.data.image_folder import image_folder
from ignite_pipeline.data.sample_transforms import Transformed
from ignite_pipeline.run import Run
from ignite_pipeline.steps import supervised_step

EPOCHS, BATCH = 3, 11
TRANSFORMS = {
    "torchvision": v2.Compose(
        [
            v2.RandomResizedCrop(24, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandAugment(),
            v2.ColorJitter(0.3, 0.3, 0.3, 0.1),
            v2.RandomErasing(),
        ]
    ),
    "Albumentations": albumentations.Compose(
        [
            albumentations.RandomResizedCrop((24, 24)),
            albumentations.HorizontalFlip(),
            albumentations.OneOf([albumentations.Blur(), albumentations.GaussNoise()]),
            albumentations.ColorJitter(),
            albumentations.CoarseDropout(),
        ]
    ),
}


def train(run: Run, root: str, transform: str, storage: str) -> None:
    """Train a small net."""
    data = run.use_data(image_folder(root, image_size=32, storage=storage))
    loader = run.train_loader(Transformed(data.train, TRANSFORMS[transform]), batch_size=BATCH)
    net = [nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8 * 11 * 11, 2)]
    model = run.place(nn.Sequential(*net))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    step = supervised_step(
        model, optimizer, nn.CrossEntropyLoss(), compute=run.compute, transform=lambda x: x / 255
    )
    trainer = Engine(step)
    run.attach(trainer, measure=[StepMeans(every_iters=5)], save={"model": model, "optimizer": optimizer})
    run.train(trainer, loader, epochs=EPOCHS)
