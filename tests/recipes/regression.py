"""Regression, with a step written out by hand in plain PyTorch."""

import torch
from ignite.engine import Engine
from ignite.metrics import MeanAbsoluteError
from torch import nn
from torch.utils.data import TensorDataset

from handlers import EvaluateEachEpoch, StepMeans
from ignite_pipeline.run import Best, Parser, launch


def train(run):
    x = torch.linspace(-3, 3, 48).unsqueeze(1)
    data = TensorDataset(x, x.sin())
    loader = run.train_loader(data, batch_size=4)
    model = run.place(nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Dropout(0.1), nn.Linear(16, 1)))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 36)

    def step(engine, batch):
        model.train()
        x, y = batch
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        schedule.step()
        return loss.item()

    def predict(engine, batch):
        model.eval()
        with torch.no_grad():
            return model(batch[0]), batch[1]

    trainer, evaluator = Engine(step), Engine(predict)
    MeanAbsoluteError().attach(evaluator, "error")
    run.attach(
        trainer,
        measure=[StepMeans(every_iters=5)],
        evaluate=[EvaluateEachEpoch(evaluator, run.evaluation_loader(data, batch_size=16))],
        save={"model": model, "optimizer": optimizer},  # the schedule is found in the step
        best=Best("val/error", maximize=False),
        show={"train/loss": "loss"},
    )
    run.train(trainer, loader, epochs=3)


if __name__ == "__main__":
    launch(train, Parser(), task="regression")
