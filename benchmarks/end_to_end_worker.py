"""What benchmarks/end_to_end.py runs in a process of its own: one training as a framework's docs write it.

python benchmarks/end_to_end_worker.py --framework plain --model conv --recipe '{...}' --data-root DIR ...
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from torchvision import transforms as T
from torchvision.datasets import ImageFolder

from ignite_pipeline.models.classifiers import CLASSIFIERS, fit_whitening
from ignite_pipeline.muon import Muon, muon_groups
from ignite_pipeline.schedules import rise_and_fall

TO_TENSOR = [T.ToTensor(), T.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))]
VALIDATION_BATCH = 500

Parts = tuple[nn.Module, torch.optim.Optimizer, LambdaLR, nn.Module]


class Clock:
    """Adds up the seconds of the training loop, and of the steps in it.

    The loop's are those from the beginning of each epoch to the end of its last step: neither evaluation nor
    checkpoints, but the start of workers.
    """

    def __init__(self) -> None:
        self.loop_s = self.step_s = self._loop_from = self._step_from = 0.0
        self.steps = 0

    def start_epoch(self) -> None:
        """Begin before the epoch's first batch is asked for."""
        self._loop_from = time.perf_counter()

    def start_step(self) -> None:
        """Begin a step, once its batch is there."""
        self._step_from = time.perf_counter()

    def end_step(self) -> None:
        """End it."""
        now = time.perf_counter()
        self.step_s += now - self._step_from
        self.loop_s += now - self._loop_from
        self.steps += 1
        self._loop_from = now

    def __enter__(self) -> None:
        self.start_step()

    def __exit__(self, *error: object) -> None:
        self.end_step()


@dataclass
class Work:
    """What is to be done, the same for every framework."""

    model: str
    recipe: dict[str, Any]
    data_root: Path
    directory: Path
    epochs: int
    workers: int
    clock: Clock = field(default_factory=Clock)

    def loaders(self) -> tuple[DataLoader[Any], DataLoader[Any]]:
        """Return the training and the validation images, from files, as torchvision reads them."""
        augment = [T.RandomCrop(32, padding=4), T.RandomHorizontalFlip()] if self.recipe["augment"] else []
        val = next(self.data_root / name for name in ("val", "test") if (self.data_root / name).is_dir())
        train_set: Any = ImageFolder(self.data_root / "train", T.Compose([*augment, *TO_TENSOR]))
        val_set: Any = ImageFolder(val, T.Compose(TO_TENSOR))
        load = partial(DataLoader, num_workers=self.workers, persistent_workers=self.workers > 0)
        train = load(train_set, batch_size=self.recipe["batch_size"], shuffle=True, drop_last=True)
        return train, load(val_set, batch_size=VALIDATION_BATCH)

    def parts(self, loader: DataLoader[Any]) -> Parts:
        """Return the model, the optimizer, its schedule and the loss, as scripts/run_cifar2.py makes them."""
        recipe, images = self.recipe, self.images_to_fit(loader.dataset)
        classes = loader.dataset.classes  # type: ignore[attr-defined]  # an ImageFolder has them
        model = CLASSIFIERS[self.model](len(classes))
        if images is not None:
            fit_whitening(model, images)
        model.to(memory_format=torch.channels_last)
        common = {name: recipe[name] for name in ("lr", "momentum", "weight_decay")}
        optimizer: torch.optim.Optimizer
        if recipe["muon_share"] is None:
            nesterov = recipe["momentum"] > 0
            optimizer = torch.optim.SGD(model.parameters(), nesterov=nesterov, fused=True, **common)
        else:
            optimizer = Muon(muon_groups(model, lr=recipe["muon_share"] * recipe["lr"]), **common)
        if recipe["warmup"] is None:
            schedule = LambdaLR(optimizer, lambda iteration: 1.0)
        else:
            schedule = rise_and_fall(optimizer, self.epochs * len(loader), warmup=recipe["warmup"])
        return model, optimizer, schedule, nn.CrossEntropyLoss(label_smoothing=recipe["label_smoothing"])

    def images_to_fit(self, train_set: Any) -> Tensor | None:
        """Return some 500 training images, as they are, for a model whose first layer is fit to them."""
        if self.model != "resnet":
            return None
        read = T.Compose(TO_TENSOR)
        some = train_set.samples[:: len(train_set) // 500 or 1]
        return torch.stack([read(train_set.loader(path)) for path, _ in some])

    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return the logits of validation images; the mean of both mirror images where training flips."""
        y_pred: Tensor = model(x)
        return (y_pred + model(x.flip(-1))) / 2 if self.recipe["augment"] else y_pred


def plain(work: Work) -> float:
    """Train in a loop as PyTorch's tutorials write it; return the last accuracy."""
    train, val = work.loaders()
    model, optimizer, schedule, loss_fn = work.parts(train)
    accuracy = 0.0
    for epoch in range(1, work.epochs + 1):
        model.train()
        running_loss = 0.0
        work.clock.start_epoch()
        for x, y in train:
            with work.clock:
                loss = loss_fn(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                running_loss += loss.item()

        model.eval()
        val_loss = correct = 0.0
        with torch.no_grad():
            for x, y in val:
                y_pred = work.predict(model, x)
                val_loss += loss_fn(y_pred, y).item()
                correct += (y_pred.argmax(1) == y).sum().item()
        accuracy = correct / len(val.dataset)  # type: ignore[arg-type]  # torch's stubs give a Dataset no length
        means = f"loss {running_loss / len(train):.4f}, val loss {val_loss / len(val):.4f}"
        print(f"epoch {epoch}: {means}, accuracy {accuracy:.4f}")
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
        torch.save(state, work.directory / f"epoch_{epoch}.pt")
    return accuracy


def ignite(work: Work) -> float:
    """Train as Ignite's examples for MNIST and CIFAR-10 do; return the last accuracy."""
    from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
    from ignite.handlers import Checkpoint, DiskSaver, ProgressBar
    from ignite.metrics import Accuracy, Loss, RunningAverage

    train, val = work.loaders()
    model, optimizer, schedule, loss_fn = work.parts(train)
    trainer = create_supervised_trainer(model, optimizer, loss_fn)
    trainer.add_event_handler(Events.EPOCH_STARTED, work.clock.start_epoch)
    trainer.add_event_handler(Events.ITERATION_STARTED, work.clock.start_step)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, work.clock.end_step)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: schedule.step())

    metrics: Any = {"accuracy": Accuracy(), "loss": Loss(loss_fn)}
    evaluator = create_supervised_evaluator(model, metrics, model_fn=work.predict)
    RunningAverage(output_transform=lambda loss: loss).attach(trainer, "loss")
    bar = ProgressBar()
    bar.attach(trainer, ["loss"])

    @trainer.on(Events.EPOCH_COMPLETED)
    def evaluate() -> None:
        evaluator.run(val)
        bar.log_message(f"epoch {trainer.state.epoch}: {evaluator.state.metrics}")

    to_save = {"trainer": trainer, "model": model, "optimizer": optimizer, "schedule": schedule}
    saver = DiskSaver(str(work.directory), require_empty=False)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, Checkpoint(to_save, saver, n_saved=2))
    trainer.run(train, max_epochs=work.epochs)
    return float(evaluator.state.metrics["accuracy"])


def lightning(work: Work) -> float:
    """Train as Lightning's guide does, which saves after each epoch by itself; return the last accuracy."""
    import lightning as L
    from lightning.pytorch.loggers import CSVLogger
    from torchmetrics.classification import MulticlassAccuracy

    train, val = work.loaders()
    model, optimizer, schedule, loss_fn = work.parts(train)

    class Classifier(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.loss_fn = model, loss_fn
            classes = val.dataset.classes  # type: ignore[attr-defined]  # an ImageFolder has them
            self.accuracy = MulticlassAccuracy(len(classes), average="micro")

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            x, y = batch
            loss: Tensor = self.loss_fn(self.model(x), y)
            self.log("train_loss", loss, prog_bar=True)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            x, y = batch
            y_pred = work.predict(self.model, x)
            self.accuracy(y_pred, y)
            self.log("val_loss", self.loss_fn(y_pred, y), prog_bar=True)
            self.log("val_accuracy", self.accuracy, prog_bar=True)

        def configure_optimizers(self) -> Any:
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

        def on_train_epoch_start(self) -> None:
            work.clock.start_epoch()

        def optimizer_step(self, *arguments: Any, **options: Any) -> None:
            with work.clock:  # the closure that is among these runs training_step and the backward pass
                super().optimizer_step(*arguments, **options)

    logger = CSVLogger(work.directory)
    trainer = L.Trainer(max_epochs=work.epochs, accelerator="cpu", logger=logger)
    trainer.fit(Classifier(), train, val)
    return float(trainer.callback_metrics["val_accuracy"])


FRAMEWORKS: dict[str, Callable[[Work], float]] = {"plain": plain, "ignite": ignite, "lightning": lightning}


def main() -> None:
    """Train, and print one line of JSON: seconds of the loop and of its steps, their number, the accuracy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--framework", choices=FRAMEWORKS, required=True)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--model", choices=CLASSIFIERS, required=True)
    parser.add_argument("--recipe", type=json.loads, required=True, help="one of scripts/run_cifar2.py")
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--directory", type=Path, required=True, help="for checkpoints and logs")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    work = Work(
        model=options.model,
        recipe=options.recipe,
        data_root=options.data_root,
        directory=options.directory,
        epochs=options.epochs,
        workers=options.workers,
    )
    accuracy = FRAMEWORKS[options.framework](work)
    clock = work.clock
    figures = {"loop_s": clock.loop_s, "step_s": clock.step_s, "steps": clock.steps, "accuracy": accuracy}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
