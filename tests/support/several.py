"""A recipe in several processes at once, with a fault in one of them."""

import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Accuracy, ConfusionMatrix, EpochMetric, Loss, RunningAverage
from torch import Tensor, nn
from torch.utils.data import Dataset

from handlers import Checkpoints, EvaluateEachEpoch, StepMeans
from handlers.attached import attached_objects
from ignite_pipeline.gan_steps import gan_step
from ignite_pipeline.run import Best, Parser, Run, launch, number
from ignite_pipeline.steps import accuracy, evaluation_step, supervised_step
from tests.support.killing import CONTEXT, QUIET, _run

LENGTH = 6
BATCH = 8
EPOCHS = 3


@dataclass
class Ended:
    """How the processes of a run have ended: what each has printed, and its exit status."""

    statuses: list[int | None]
    logs: list[str]


def run_several(
    train: Callable[[Run], None], directory: Path, *options: object, processes: int = 2, limit_s: float = 90
) -> Ended:
    """Launch a recipe in so many processes; go on with a run in ``directory`` if there is one."""
    place = ["--resume" if (directory / "config.json").exists() else "--output", str(directory)]
    argv = [*place, *QUIET, *map(str, options)]
    logs = [directory.with_name(f"{directory.name}-{rank}.log") for rank in range(processes)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank, log in enumerate(logs):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **place} if processes > 1 else {}
        child = CONTEXT.Process(target=_begin, args=(environment, train, argv, log))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # which the server does not get otherwise
            forkserver.ensure_running()
            child.start()
        started.append(child)
    end_s = time.monotonic() + limit_s
    while (alive := [child for child in started if child.is_alive()]) and time.monotonic() < end_s:
        wait([child.sentinel for child in alive], 1)
        if len(alive) < processes:  # the rest is about to end, or has been stopped
            end_s = min(end_s, time.monotonic() + 7)
    for child in started:
        if child.is_alive():
            child.kill()
            child.join()
    return Ended([child.exitcode for child in started], [log.read_text() for log in logs])


def _begin(environment: dict[str, object], train: Any, argv: list[str], log: Path) -> None:
    os.environ.update({name: str(value) for name, value in environment.items()})
    _run(train, argv, None, log)


class Patterns(Dataset):
    """Noisy images (1, 8, 8) of two classes; some may be damaged, one hold a NaN, those of rank 1 be slow."""

    def __init__(
        self, size: int = LENGTH * BATCH, *, slow_s: float = 0, bad: Collection[int] = (), nan: int = -1
    ) -> None:
        self.size, self.slow_s, self.bad, self.nan = size, slow_s, bad, nan

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index in self.bad:
            raise OSError(f"image {index} is damaged")
        if self.slow_s and os.environ.get("RANK") == "1":
            time.sleep(self.slow_s)
        if index == self.nan:
            return torch.full((1, 8, 8), torch.nan), 0
        return torch.randn(1, 8, 8) + index % 2 + 0.5 * random.random(), index % 2


def classify(
    run: Run, *, fault: Callable[..., None] | None = None, bad_val: Collection[int] = (), **data: Any
) -> None:
    """Train a net with dropout and batch norm; ``fault(run, trainer, model)`` may spoil it."""
    loader = run.train_loader(Patterns(**data), batch_size=BATCH)
    model = run.place(
        nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)
        )
    )
    model.register_buffer("mask", torch.full((3,), torch.finfo(torch.float32).min))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, LENGTH, 0.5)
    step = supervised_step(
        model,
        optimizer,
        nn.functional.cross_entropy,
        compute=run.compute,
        transform=lambda x: x + 0.1 * torch.randn_like(x),
        schedule=schedule,
        clip_norm=1.0,
        metrics={"accuracy": accuracy},
    )
    trainer = Engine(step)
    RunningAverage(output_transform=lambda output: output["loss"]).attach(trainer, "train/running")
    evaluator = Engine(evaluation_step(model, compute=run.compute))
    Accuracy().attach(evaluator, "accuracy")
    Loss(nn.functional.cross_entropy, lambda output: (output["y_pred"], output["y"])).attach(
        evaluator, "loss"
    )
    ConfusionMatrix(2).attach(evaluator, "confusion")
    EpochMetric(_spread).attach(evaluator, "spread")

    @evaluator.on(Events.COMPLETED)
    def count(engine: Engine) -> None:
        engine.state.metrics["seen"] = engine.state.metrics["confusion"].sum().item()

    # 21 samples in batches of 4: neither is a multiple of anything.
    validation = run.evaluation_loader(Patterns(21, bad=bad_val), batch_size=4)
    if fault is not None:
        fault(run, trainer, model)
    run.attach(
        trainer,
        measure=[StepMeans(every_iters=4)],
        evaluate=[EvaluateEachEpoch(evaluator, validation)],
        save={"model": model, "optimizer": optimizer, "schedule": schedule},
        best=Best("val/accuracy"),
    )
    run.train(trainer, loader, epochs=getattr(run.options, "epochs", EPOCHS))


def classify_with_a_generator(run: Run) -> None:
    """Train with a generator that a handler holds."""
    own = torch.Generator()

    def hold(run: Run, trainer: Engine, model: nn.Module) -> None:
        trainer.add_event_handler(Events.STARTED, do_nothing, own)

    classify(run, fault=hold)


def do_nothing(*args: object) -> None:
    """Do nothing."""


def classify_other_data(run: Run) -> None:
    """Train where the second process has more images than the first."""
    classify(run, size=(LENGTH + run.processes.rank) * BATCH)


def _spread(y_pred: Tensor, y: Tensor) -> float:
    return float((y_pred.double().diff(dim=0) * y[1:, None]).sum())


def generate(run: Run) -> None:
    """Train a critic with a gradient penalty, twice for each update of a generator with batch norm."""
    loader = run.train_loader(Patterns(), batch_size=BATCH)
    generator = run.place(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1)))
    critic = run.place(
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.LeakyReLU(0.2), nn.Dropout(0.1), nn.Conv2d(4, 1, 3))
    )
    optimizers = [torch.optim.Adam(net.parameters(), lr=1e-3) for net in (generator, critic)]
    step = gan_step(
        generator,
        critic,
        *optimizers,
        discriminator_steps=2,
        penalty_weight=10.0,
        compute=run.compute,
        transform=lambda batch: (batch[0] + torch.randn_like(batch[0]), batch[0]),
    )
    trainer = Engine(step)
    run.attach(trainer, measure=[StepMeans(every_iters=4)], save={"generator": generator, "critic": critic})
    run.train(trainer, loader, epochs=EPOCHS)


def update_by_hand(run: Run) -> None:
    """Train with a step that makes its updates by itself."""
    loader = run.train_loader(Patterns(), batch_size=BATCH)
    model = run.place(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(engine: Engine, batch: Any) -> Tensor:
        x, y = run.compute.transfer(batch)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    trainer = Engine(step)
    run.attach(trainer, save={"model": model, "optimizer": optimizer})
    run.train(trainer, loader, epochs=EPOCHS)


# Faults: each happens after the step of an iteration, in one process.


def at(iteration: int, action: Callable[..., None], rank: int = 1) -> Callable[..., None]:
    """Return a fault: ``action(trainer, model)`` after that iteration, in the process of that rank."""
    return partial(_attach, iteration, action, rank)


def _attach(
    iteration: int, action: Callable[..., None], rank: int, run: Run, trainer: Engine, model: Any
) -> None:
    if run.processes.rank == rank:
        trainer.add_event_handler(Events.ITERATION_COMPLETED(once=iteration), lambda: action(trainer, model))


def flip_a_bit(trainer: Engine, model: nn.Module) -> None:
    """Change the lowest bit of one weight."""
    weight = next(model.parameters()).data.view(-1)
    weight[0] = (weight[:1].view(torch.int32) ^ 1).view(torch.float32)[0]


def send(signal_number: int, trainer: Engine, model: nn.Module) -> None:
    """Send this process a signal."""
    os.kill(os.getpid(), signal_number)


def fail(trainer: Engine, model: nn.Module) -> None:
    """Raise, as a defect would."""
    raise ZeroDivisionError("a defect")


def terminate(trainer: Engine, model: nn.Module) -> None:
    """End the run, as a limit of time would that one process looks after."""
    trainer.terminate()


def forbid_writing(trainer: Engine, model: nn.Module) -> None:
    """Let every save from here on fail."""
    handlers = [owner for owner in attached_objects(trainer) if isinstance(owner, Checkpoints)]
    folder = handlers[0].directory
    folder.rename(folder.with_name("taken away"))  # at once, though a save may be on its way there
    folder.write_text("in the way")


def end_an_epoch(trainer: Engine, model: nn.Module) -> None:
    """End the epoch early, in one process."""
    trainer.terminate_epoch()


kill = partial(send, signal.SIGKILL)
stop = partial(send, signal.SIGSTOP)
term = partial(send, signal.SIGTERM)


if __name__ == "__main__":
    parser = Parser()
    parser.add_argument("--epochs", type=number(int, least=1), default=EPOCHS)
    launch(classify, parser, task="several")
