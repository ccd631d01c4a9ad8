"""What benchmarks/survival.py runs in a process of its own: a small training that meets its fate.

python benchmarks/survival_worker.py --framework ours --directory DIR --fate SIGKILL
"""

import argparse
import hashlib
import json
import logging
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

EPOCHS, EPOCH_LENGTH, BATCH = 4, 16, 4
SAVE_EVERY, FATE_AT = 10, 45


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Samples with noise drawn as they are read, as augmentation is."""

    def __len__(self) -> int:
        return EPOCH_LENGTH * BATCH

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return index / len(self) + torch.rand(8), torch.tensor(index % 2)


def model_and_optimizer() -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return what is trained."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.Dropout(0.5), nn.ReLU(), nn.Linear(32, 2))
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=True)


def digest(model: nn.Module) -> str:
    """Return a digest of the weights."""
    hasher = hashlib.sha256()
    for parameter in model.parameters():
        hasher.update(parameter.detach().numpy().tobytes())
    return hasher.hexdigest()


class Fate:
    """What happens to a run at an iteration, and what it was like before."""

    def __init__(self, name: str) -> None:
        self.name, self.before = name, ""

    def meet(self, iteration: int, model: nn.Module, x: Tensor) -> Tensor:
        """Let it happen, if it is time; return the batch."""
        if iteration == FATE_AT:
            self.before = digest(model)
            if self.name in ("SIGKILL", "SIGTERM"):
                os.kill(os.getpid(), getattr(signal, self.name))
            elif self.name == "full":
                resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
            elif self.name == "nan":
                return x * torch.nan
        return x


def ours(directory: Path, *, workers: int, resume: bool, fate: Fate, keep: int) -> nn.Module:
    """Train with this project."""
    from ignite.engine import Engine

    from handlers import Checkpoints, StopOnNonFinite, StopOnSignal, load_newest
    from ignite_pipeline.compute import Compute
    from ignite_pipeline.data.loading import endless_loader
    from ignite_pipeline.seeding import ReseedEachIteration
    from ignite_pipeline.steps import supervised_step

    model, optimizer = model_and_optimizer()
    compute = Compute()
    payload = load_newest(directory) if resume else None
    start = payload["engine"]["iteration"] if payload else 0
    loader = endless_loader(Noisy(), batch_size=BATCH, seed=0, num_workers=workers, start_iteration=start)
    train = supervised_step(model, optimizer, nn.functional.cross_entropy, compute=compute)

    def step(engine: Engine, batch: Any) -> Any:
        return train(engine, (fate.meet(engine.state.iteration, model, batch[0]), batch[1]))

    trainer = Engine(step)
    ReseedEachIteration(0).attach(trainer)
    StopOnNonFinite().attach(trainer)
    ticks = iter(range(10**6))  # a "second" is an iteration here: saves come every ten
    checkpoints = Checkpoints(
        directory,
        {"model": model, "optimizer": optimizer, "compute": compute},
        every_s=SAVE_EVERY,
        keep=keep,
        clock=lambda: next(ticks),
    ).attach(trainer)
    if payload:
        checkpoints.restore(trainer, payload)
    with StopOnSignal().attach(trainer):
        try:
            trainer.run(loader, max_epochs=EPOCHS, epoch_length=EPOCH_LENGTH)
        except (FloatingPointError, RuntimeError) as error:
            print(error, file=sys.stderr)
    return model


def ignite(directory: Path, *, workers: int, resume: bool, fate: Fate, keep: int) -> nn.Module:
    """Train with Ignite's own deterministic engine and checkpoints."""
    from ignite.engine import DeterministicEngine, Engine, Events
    from ignite.handlers import Checkpoint, DiskSaver, TerminateOnNan

    model, optimizer = model_and_optimizer()

    def step(engine: Engine, batch: Any) -> float:
        x = fate.meet(engine.state.iteration, model, batch[0])
        loss = nn.functional.cross_entropy(model(x), batch[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    trainer = DeterministicEngine(step)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, TerminateOnNan())
    objects = {"trainer": trainer, "model": model, "optimizer": optimizer}
    saver = DiskSaver(str(directory), require_empty=False)
    checkpoint = Checkpoint(
        objects, saver, n_saved=keep, global_step_transform=lambda *_: trainer.state.iteration
    )
    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=SAVE_EVERY), checkpoint)
    if resume:
        newest = max(directory.glob("*.pt"), key=lambda path: path.stat().st_mtime)
        Checkpoint.load_objects(objects, torch.load(newest, weights_only=False))
    loader = DataLoader(Noisy(), BATCH, shuffle=True, num_workers=workers)
    torch.manual_seed(0)
    trainer.run(loader, max_epochs=EPOCHS)
    return model


def lightning(directory: Path, *, workers: int, resume: bool, fate: Fate, keep: int) -> nn.Module:
    """Train with Lightning."""
    import lightning as L
    from lightning.pytorch.callbacks import ModelCheckpoint

    model, optimizer = model_and_optimizer()

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Any, index: int) -> Tensor:
            x = fate.meet(self.global_step + 1, model, batch[0])
            return nn.functional.cross_entropy(model(x), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return optimizer

    L.seed_everything(0, workers=True, verbose=False)
    saving = ModelCheckpoint(
        directory, every_n_train_steps=SAVE_EVERY, save_top_k=keep, monitor="step", mode="max", save_last=True
    )
    trainer = L.Trainer(
        max_epochs=EPOCHS,
        callbacks=[saving],
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        detect_anomaly=fate.name == "nan",
        default_root_dir=directory,
    )
    loader = DataLoader(Noisy(), BATCH, shuffle=True, num_workers=workers)
    newest = max(directory.glob("*.ckpt"), key=lambda path: path.stat().st_mtime) if resume else None
    trainer.fit(Module(), loader, ckpt_path=newest, weights_only=False)
    return model


FRAMEWORKS: dict[str, Callable[..., nn.Module]] = {
    "ours": ours,
    "Ignite's own": ignite,
    "Lightning": lightning,
}


def child(options: argparse.Namespace) -> None:
    """Train in this process and print what came of it."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    fate, models = Fate(options.fate), []
    build = model_and_optimizer

    def remembered() -> Any:
        models.append(build())
        return models[-1]

    globals()["model_and_optimizer"] = remembered
    error = None
    try:
        FRAMEWORKS[options.framework](
            options.directory, workers=options.workers, resume=options.resume, fate=fate, keep=options.keep
        )
    except BaseException as failure:  # what is printed matters, not how it ended
        error = f"{type(failure).__name__}: {failure}"
    model = models[-1][0]
    print(json.dumps({"digest": digest(model), "before": fate.before, "error": error}), flush=True)


def main() -> None:
    """Read what is to be trained, and how it is to end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--framework", choices=FRAMEWORKS, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--fate", choices=("", "SIGKILL", "SIGTERM", "full", "nan"), default="")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--keep", type=int, default=2)
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    options.directory.mkdir(exist_ok=True, parents=True)
    child(options)


if __name__ == "__main__":
    main()
