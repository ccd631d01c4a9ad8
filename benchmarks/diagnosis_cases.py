"""Runs in which one known thing is slow: the cases of diagnosis.py, and what they are made of."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

EPOCHS, EPOCH_LENGTH, BATCH = 10, 30, 4


@dataclass(frozen=True)
class Case:
    """What is to be said of a loop, the kind and who it is, and the milliseconds of what there is in it."""

    kind: str
    culprit: str = ""
    workers: int = 0
    read: float = 0.0  # a sample
    transform: float = 0.0  # a sample
    collate: float = 0.0
    stall: float = 0.0  # every 50th batch
    first_epoch: float = 0.0  # a batch
    transfer: float = 0.0
    forward: float = 3.0
    backward: float = 2.0
    optimizer: float = 1.0
    log: float = 0.0
    draw: float = 0.0  # every 50th iteration
    evaluation: float = 0.0  # an epoch
    checkpoint: float = 0.0  # an epoch
    leaked_bytes: int = 0  # an iteration
    objects: int = 0  # an iteration


CASES = {
    "healthy": Case("compute-bound"),
    "slow data": Case("data-bound", "reading", read=1.5),
    "slow data, 2 workers": Case("data-bound", "reading", workers=2, read=7.5),
    "slow transform, 2 workers": Case("data-bound", "Blur", workers=2, transform=7.5),
    "slow collate, 2 workers": Case("data-bound", "collating", workers=2, collate=30),
    "slow data, hidden by 2 workers": Case("compute-bound", workers=2, read=0.5),
    "a stall every 50th batch": Case("data-bound", "reading", stall=400),
    "slow first epoch of ten": Case("compute-bound", first_epoch=60),
    "slow transfer": Case("transfer-bound", transfer=6),
    "slow forward": Case("compute-bound", "forward", forward=9),
    "slow backward": Case("compute-bound", "backward", backward=9),
    "slow optimizer": Case("compute-bound", "optimizer", optimizer=9),
    "slow logging, each iteration": Case("handler-bound", "Slow.log", log=4),
    "slow drawing, every 50th iteration": Case("handler-bound", "Slow.draw", draw=300),
    "slow evaluation, every epoch": Case("evaluation-bound", evaluation=200),
    "slow checkpoint, every epoch": Case("checkpoint-bound", checkpoint=200),
    "1 MB leaks an iteration": Case("memory creeps", leaked_bytes=2**20),
    "garbage of 3,000 objects": Case("garbage collection", objects=3_000),
}


def spend(milliseconds: float) -> None:
    """Take so long."""
    if milliseconds:
        time.sleep(milliseconds / 1000)


class Between(torch.autograd.Function):
    """The identity, which takes long each way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, case: Case) -> Tensor:
        """Take what the forward pass takes."""
        ctx.case = case
        spend(case.forward)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Take what the backward pass takes."""
        spend(ctx.case.backward)
        return gradients[0], None


class Model(nn.Linear):
    """What is trained."""

    def __init__(self, case: Case) -> None:
        super().__init__(8, 2)
        self.case = case

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(B, 2)`` of ``(B, 8)``."""
        y_pred: Tensor = Between.apply(super().forward(x), self.case)
        return y_pred

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return a state that takes long to gather."""
        spend(self.case.checkpoint)
        return super().state_dict(*args, **kwargs)


class Optimizer(torch.optim.SGD):
    """What trains it."""

    case: Case

    def step(self, closure: Any = None) -> Any:
        """Take what a step takes."""
        spend(self.case.optimizer)
        return super().step(closure)


@dataclass
class Blur:
    """A transform."""

    case: Case

    def __call__(self, x: Tensor) -> Tensor:
        """Take what it takes."""
        spend(self.case.transform)
        return x


class Samples(Dataset[tuple[Tensor, int]]):
    """What is read, sample by sample."""

    def __init__(self, case: Case) -> None:
        self.case, self.transform, self.reads = case, Blur(case), 0

    def __len__(self) -> int:
        return EPOCH_LENGTH * BATCH

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.reads += 1
        in_first_epoch = self.reads <= len(self)
        stalls = self.reads % (50 * BATCH) == 0
        spend(self.case.read + in_first_epoch * self.case.first_epoch / BATCH + stalls * self.case.stall)
        return self.transform(torch.full((8,), index / len(self))), index % 2


@dataclass
class OnTheWay:
    """Inputs that take long to reach the device: simulated, as there is none."""

    x: Tensor
    case: Case

    def to(self, device: Any, *, non_blocking: bool = False) -> Tensor:
        """Arrive."""
        spend(self.case.transfer)
        return self.x


class Slow:
    """Whatever else is slow, in one case or another."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.leaked: list[bytearray] = []
        self.boxes: list[list[int]] = []
        self.heap: list[list[int]] = [[] for _ in range(10 * case.objects)]

    def collate(self, samples: list[tuple[Tensor, int]]) -> tuple[OnTheWay, Tensor]:
        """Return a batch."""
        spend(self.case.collate)
        xs, ys = zip(*samples, strict=True)
        return OnTheWay(torch.stack(xs), self.case), torch.tensor(ys)

    def loss(self, y_pred: Tensor, y: Tensor) -> Tensor:
        """Return the loss; leave memory and garbage behind."""
        if self.case.leaked_bytes:
            self.leaked.append(bytearray(b"x" * self.case.leaked_bytes))
        self.boxes = [[number] for number in range(self.case.objects)]
        return nn.functional.cross_entropy(y_pred, y)

    def log(self) -> None:
        """Write a line somewhere."""
        spend(self.case.log)

    def draw(self) -> None:
        """Draw a picture."""
        spend(self.case.draw)

    def evaluate(self, *_: Any) -> None:
        """Evaluate."""
        spend(self.case.evaluation)


def parts_of(case: Case) -> tuple[Slow, Samples, Model, Optimizer]:
    """Return what a run of that case consists of."""
    model = Model(case)
    optimizer = Optimizer(model.parameters(), lr=0.01, fused=True)
    optimizer.case = case
    return Slow(case), Samples(case), model, optimizer
