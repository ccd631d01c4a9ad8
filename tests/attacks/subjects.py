"""The runs that are attacked: which scripts, with which options, and what comes of them undisturbed."""

import signal
import time
from dataclasses import dataclass
from pathlib import Path

from tests.attacks.legs import Leg
from tests.support.runs import SCRIPTS

TINY = ["--checkpoint-every-s", "0.05", "--visdom", "off"]

# Of somebody's own: samples are read as they are asked for, which takes its time, and jittered.
RECIPE = """
import sys, time
from pathlib import Path
import torch
from ignite.engine import Engine
from torch import nn
from torchvision.transforms.functional import to_tensor
from handlers import SampleGrids, StepMeans
from ignite_pipeline.data.image_files import read_image
from ignite_pipeline.run import Parser, launch
from ignite_pipeline.steps import supervised_step

class Lazy(torch.utils.data.Dataset):
    def __init__(self, root):
        self.paths = sorted(Path(root, "train").glob("*/*"))
    def __len__(self):
        return len(self.paths)
    def __getitem__(self, index):
        time.sleep(0.004)
        x = to_tensor(read_image(self.paths[index])).flatten()
        return x + 0.1 * torch.randn_like(x), int(self.paths[index].parent.name == "bird")

def train(run):
    loader = run.train_loader(Lazy(run.options.data_root), batch_size=2)
    model = run.place(nn.Sequential(nn.Linear(3072, 8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 2)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    trainer = Engine(supervised_step(model, optimizer, nn.functional.cross_entropy, compute=run.compute))
    grid = SampleGrids(run.directory / "samples", lambda: [model[0].weight.detach().view(8, 3, 32, 32)])
    run.attach(trainer, measure=[StepMeans(every_iters=4)], evaluate=[grid],
               save={"model": model, "optimizer": optimizer})
    run.train(trainer, loader, epochs=run.options.epochs)

parser = Parser()
parser.add_argument("--data-root")
parser.add_argument("--epochs", type=int, default=4)
launch(train, parser, task="own", resumable=["data_root"])
"""


@dataclass(frozen=True)
class Subject:
    """A script whose runs are attacked, and a folder with data, an undisturbed run and others of its runs."""

    name: str
    script: Path
    options: tuple[str, ...]
    folder: Path
    data: str

    def command(self, *options: object) -> list[str]:
        data = self.folder.parent / self.data
        return [str(self.script), "--data-root", str(data), *self.options, *TINY, *map(str, options)]

    @property
    def whole(self) -> Path:
        return self.folder / "whole"

    @property
    def part(self) -> Path:
        """A run that was ended in the middle."""
        return self.folder / "part"

    @property
    def other(self) -> Path:
        """A run with another seed."""
        return self.folder / "other"


def subjects(folder: Path) -> dict[str, Subject]:
    cifar2 = ("--epochs", "5", "--batch-size", "2", "--precision", "fp32")
    pix2pix = ("--image-size", "32", "--epochs", "1", "--decay-epochs", "1")
    return {
        "cifar2": Subject("cifar2", SCRIPTS / "run_cifar2.py", cifar2, folder / "cifar2", "images"),
        "own": Subject("own", folder / "own_recipe.py", (), folder / "own", "images"),
        "pix2pix": Subject("pix2pix", SCRIPTS / "run_pix2pix.py", pix2pix, folder / "pix2pix", "pairs"),
    }


def prepare(subject: Subject) -> None:
    """Let a subject run undisturbed, with another seed, and until it is ended in the middle."""
    subject.folder.mkdir()
    legs = {}
    for directory, seed in ((subject.whole, 0), (subject.other, 1), (subject.part, 0)):
        command = subject.command("--output", directory, "--seed", seed, "--num-workers", 0)
        legs[directory] = Leg(command, directory)
    part = legs[subject.part]
    while not list(subject.part.glob("checkpoints/checkpoint_*[1-9].pt")) and part.poll() is None:
        time.sleep(0.001)
    time.sleep(0.1)
    part.send(signal.SIGTERM)
    for directory, leg in legs.items():
        if leg.wait() != (143 if leg is part else 0):
            raise RuntimeError(f"an undisturbed run has failed in {directory}:\n{leg}")
