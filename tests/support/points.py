"""A tiny recipe whose parts can be replaced, and what must not depend on how a run came to its end."""

from collections import Counter

import torch
from ignite.engine import Engine
from torch import nn
from torch.utils.data import Dataset

from handlers import StepMeans
from ignite_pipeline.run import Parser, Run, launch
from ignite_pipeline.steps import supervised_step
from tests.support.runs import summary, untimed

LENGTH = 12


class Points(Dataset):
    """Points in the plane, jittered anew in every epoch, of two classes."""

    def __len__(self):
        return 4 * LENGTH

    def __getitem__(self, index):
        return torch.randn(2) + 2 * (index % 2) - 1, index % 2


class Recipe:
    """A recipe whose parts can be replaced; by default it is exact."""

    def __init__(self):
        self.run = self.trainer = None
        self.counts = Counter()

    def data(self):
        return Points()

    def loader(self, run):
        return run.train_loader(self.data(), batch_size=4)

    def step(self, run, model, optimizer):
        return supervised_step(model, optimizer, self.loss, compute=run.compute)

    def loss(self, y_pred, y):
        return nn.functional.cross_entropy(y_pred, y)

    def more(self, run, trainer, model):
        return {}

    def train(self, run: Run) -> None:
        self.run, loader = run, self.loader(run)
        model = run.place(nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 2)))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        self.trainer = Engine(self.step(run, model, optimizer))
        options = {"measure": [StepMeans(every_iters=5)], "save": {"model": model, "optimizer": optimizer}}
        run.attach(self.trainer, **{**options, **self.more(run, self.trainer, model)})
        run.train(self.trainer, loader, epochs=3)

    def __call__(self, directory, *options):
        """Run; return the summary, and what must not depend on how the run came there."""
        given = ["--visdom", "off", "--precision", "fp32", "--num-workers", "0", *map(str, options)]
        place = [] if "--resume" in given else ["--output", str(directory)]
        launch(self.train, Parser(), [*place, *given], task="points")
        return summary(directory), untimed(directory)


def ending(summarised):
    return {name: summarised[name] for name in ("status", "final", "model_sha256")}


def assert_exact(make, tmp_path, *options, cuts=(17, 2 * LENGTH)):
    """A run that is cut inside an epoch or at its end ends, with other workers, as one that is not."""
    whole, lines = make()(tmp_path / "whole", *options)
    for cut in cuts:
        directory = tmp_path / f"cut{cut}"
        make()(directory, *options, "--max-iterations", cut)
        resumed, resumed_lines = make()(
            directory, "--resume", directory, "--num-workers", 2, "--max-iterations", 1000
        )
        assert ending(resumed) == ending(whole)
        assert resumed_lines == lines
