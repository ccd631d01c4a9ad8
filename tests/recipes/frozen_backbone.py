"""Fine-tuning: a head on a frozen backbone, then all of it, and an average of the weights beside them."""

import torch
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from ignite.metrics import Accuracy
from torch import nn
from torch.utils.data import Dataset

from handlers import EvaluateEachEpoch, LearningRate, StepMeans
from ignite_pipeline.run import Parser, launch
from ignite_pipeline.steps import evaluation_step, supervised_step


class Images(Dataset):
    def __len__(self):
        return 48

    def __getitem__(self, index):
        return torch.randn(3, 8, 8) + index % 2, index % 2


def train(run):
    loader = run.train_loader(Images(), batch_size=4)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2), nn.Flatten())
    model = run.place(nn.Sequential(backbone.requires_grad_(False), nn.Dropout(), nn.Linear(288, 2)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    trainer = Engine(supervised_step(model, optimizer, nn.functional.cross_entropy, compute=run.compute))
    average = EMAHandler(model, momentum=0.1)
    average.attach(trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=2), lambda: backbone.requires_grad_(True))
    evaluator = Engine(evaluation_step(average.ema_model, compute=run.compute))
    Accuracy().attach(evaluator, "accuracy")
    run.attach(
        trainer,
        measure=[StepMeans(every_iters=5), LearningRate(optimizer)],
        evaluate=[EvaluateEachEpoch(evaluator, run.evaluation_loader(Images(), batch_size=16))],
        save={"model": model, "optimizer": optimizer, "average": average.ema_model},
    )
    run.train(trainer, loader, epochs=3)


if __name__ == "__main__":
    launch(train, Parser(), task="frozen-backbone")
