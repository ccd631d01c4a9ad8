"""Several labels an image, each rarer than the one before: a weighted loss, and a recall for each label."""

import torch
from ignite.engine import Engine
from ignite.metrics import Recall
from torch import nn
from torch.utils.data import Dataset

from handlers import EvaluateEachEpoch, StepMeans
from ignite_pipeline.run import Best, Parser, launch
from ignite_pipeline.steps import evaluation_step, supervised_step

LABELS = ("bright", "tall", "rare")


class Shapes(Dataset):
    def __len__(self):
        return 48

    def __getitem__(self, index):
        y = torch.tensor([index % 2, index % 3 == 0, index % 8 == 0], dtype=torch.float32)
        x = 0.3 * torch.randn(1, 6, 6)
        x[0, 0], x[0, :, 0], x[0, -1, -1] = x[0, 0] + y[0], x[0, :, 0] + y[1], 2 * y[2]
        return x, y


def train(run):
    loader = run.train_loader(Shapes(), batch_size=4)
    model = run.place(
        nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    loss_fn = run.place(nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 2.0, 7.0])))
    trainer = Engine(supervised_step(model, optimizer, loss_fn, compute=run.compute))
    evaluator = Engine(evaluation_step(model, compute=run.compute))
    Recall(
        is_multilabel=True,
        average=False,
        output_transform=lambda output: ((output["y_pred"] > 0).long(), output["y"]),
    ).attach(evaluator, "recall")
    validation = run.evaluation_loader(Shapes(), batch_size=16)
    run.attach(
        trainer,
        measure=[StepMeans(every_iters=5)],
        evaluate=[EvaluateEachEpoch(evaluator, validation, classes=LABELS)],
        save={"model": model, "optimizer": optimizer},
        best=Best("val/recall/rare"),
        show={"train/loss": "loss", "val/recall/rare": "recall of the rare"},
    )
    run.train(trainer, loader, epochs=3)


if __name__ == "__main__":
    launch(train, Parser(), task="multi-label")
