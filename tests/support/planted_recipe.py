"""A recipe of a stranger's, in which each part takes as long as an option says; tests copy it elsewhere."""

import os
import time

import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.utils.data import Dataset, default_collate

from handlers import EvaluateEachEpoch
from ignite_pipeline.run import Parser, Run, launch
from ignite_pipeline.steps import supervised_step


def spend(seconds):
    if seconds:  # to sleep for none is to let others go first
        time.sleep(seconds)


class Images(Dataset):
    def __init__(self, folder, read_s):
        os.listdir(folder)
        self.read_s = read_s

    def __len__(self):
        return 240

    def __getitem__(self, index):
        spend(self.read_s)
        return torch.rand(1, 8, 8), 0


class Batch:
    """One whose way to the device is long."""

    def __init__(self, samples, seconds):
        self.samples, self.seconds = samples, seconds

    def to(self, device, **options):
        spend(self.seconds)
        return default_collate(self.samples)


class Net(nn.Module):
    """One that is quicker in bfloat16, and in channels_last."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds
        self.body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(32, 2))

    def forward(self, x):
        weight = self.body[1].weight
        quick = torch.is_autocast_enabled("cpu"), weight.is_contiguous(memory_format=torch.channels_last)
        spend(self.seconds / 2 ** sum(quick))
        return self.body(x)


class Draw:
    def __init__(self, seconds):
        self.seconds = seconds

    def attach(self, engine):
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=2), self.draw)

    def draw(self):
        spend(self.seconds)


class Notes:
    """Something that takes long to save."""

    def __init__(self, seconds):
        self.seconds = seconds

    def state_dict(self):
        spend(self.seconds)
        return {}

    def load_state_dict(self, state):
        pass


def parser():
    parser = Parser()
    parser.add_argument("--data-root", default=".")
    parser.add_argument("--epochs", type=int, default=1)
    for name in ("--read-s", "--move-s", "--compute-s", "--draw-s", "--evaluate-s", "--save-s"):
        parser.add_argument(name, type=float, default=0.0)
    return parser


def train(run: Run):
    o = run.options
    collate = (lambda samples: Batch(samples, o.move_s)) if o.move_s else default_collate
    images = Images(o.data_root, o.read_s)
    loader = run.train_loader(images, batch_size=8, collate_fn=collate)
    model = run.place(Net(o.compute_s))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    trainer = Engine(supervised_step(model, optimizer, nn.functional.cross_entropy, compute=run.compute))
    evaluator = Engine(lambda engine, batch: spend(o.evaluate_s))
    draw = [Draw(o.draw_s)] if o.draw_s else []
    evaluate = [EvaluateEachEpoch(evaluator, [0])]
    save = {"model": model, "optimizer": optimizer, "notes": Notes(o.save_s)}
    run.attach(trainer, measure=draw, evaluate=evaluate, save=save)
    run.train(trainer, loader, epochs=o.epochs)


if __name__ == "__main__":
    launch(train, parser(), task="planted")
