"""Batches of dicts, as Hugging Face data sets give them, joined and mixed by a function of one's own."""

from operator import itemgetter

import torch
from ignite.engine import Engine
from ignite.metrics import Accuracy
from torch import nn
from torch.utils.data import Dataset, default_collate
from torchvision.transforms import v2

from handlers import EvaluateEachEpoch, StepMeans
from ignite_pipeline.run import Best, Parser, launch
from ignite_pipeline.steps import evaluation_step, supervised_step

mixup = v2.MixUp(num_classes=2)


class Images(Dataset):
    def __len__(self):
        return 48

    def __getitem__(self, index):
        image = 0.5 * torch.randn(3, 8, 8)
        image[index % 2] += 1
        return {"image": image, "label": index % 2, "file": f"{index}.png"}


def mixed(samples):
    batch = default_collate(samples)
    batch["image"], batch["label"] = mixup(batch["image"], batch["label"])
    return batch


def train(run):
    loader = run.train_loader(Images(), batch_size=4, collate_fn=mixed)
    model = run.place(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(144, 2))
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, fused=True)
    unpack = itemgetter("image", "label")
    step = supervised_step(model, optimizer, nn.functional.cross_entropy, compute=run.compute, unpack=unpack)
    trainer, evaluator = Engine(step), Engine(evaluation_step(model, compute=run.compute, unpack=unpack))
    Accuracy().attach(evaluator, "accuracy")
    run.attach(
        trainer,
        measure=[StepMeans(every_iters=5)],
        evaluate=[EvaluateEachEpoch(evaluator, run.evaluation_loader(Images(), batch_size=16))],
        save={"model": model, "optimizer": optimizer},
        best=Best("val/accuracy"),
    )
    run.train(trainer, loader, epochs=3)


if __name__ == "__main__":
    launch(train, Parser(), task="dicts")
