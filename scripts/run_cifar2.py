"""Train a classifier of two (or more) classes of CIFAR-10: airplanes against birds.

python scripts/run_cifar2.py                                   # the quick residual net
python scripts/run_cifar2.py --model conv                      # the book's convolutional net and recipe
python scripts/run_cifar2.py --resume runs/cifar2/...          # go on with a run that was stopped
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from ignite.engine import Engine
from ignite.metrics import Accuracy, Loss
from torch import nn

from handlers import (
    Checkpoints,
    EvaluateEachEpoch,
    FetchComputeTimer,
    LearningRate,
    ModelNorms,
    ProgressLine,
    Record,
    StepMeans,
    StopOnNonFinite,
    StopOnSignal,
)
from ignite_pipeline.data.batch_transforms import Normalize, RandomCrop
from ignite_pipeline.data.cifar2 import cifar2
from ignite_pipeline.data.loading import endless_loader, ordered_loader
from ignite_pipeline.machine import keep_freed_memory
from ignite_pipeline.models.classifiers import CLASSIFIERS, fit_whitening
from ignite_pipeline.precision import Precision, resolve_precision
from ignite_pipeline.run.auto_workers import AutoWorkers
from ignite_pipeline.run.directory import Run, say_notice
from ignite_pipeline.run.live_board import showing
from ignite_pipeline.run.options import (
    Parser,
    add_run_options,
    bad_input_exits,
    number,
    parse_options,
    resolve_device,
)
from ignite_pipeline.seeding import ReseedEachIteration, make_deterministic
from ignite_pipeline.steps import accuracy, evaluation_step, supervised_step, to_device


@dataclass(frozen=True)
class Recipe:
    """How a model is trained unless options say otherwise."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    momentum: float = 0.0
    # The share of the run in which the learning rate rises, to fall to 0 after it; None keeps it constant.
    warmup: float | None = None
    # Crop and flip in training, average over mirror images in validation.
    augment: bool = False


BOOK = Recipe(epochs=100, batch_size=64, lr=0.01)
RECIPES = {
    "resnet": Recipe(
        epochs=20,
        batch_size=64,
        lr=0.3,
        weight_decay=4e-4,
        label_smoothing=0.05,
        momentum=0.9,
        warmup=0.25,
        augment=True,
    ),
    "conv": BOOK,
    "fully-connected": BOOK,
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of this script's options."""
    parser = Parser(description="Train a classifier of two or more classes of CIFAR-10.")
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data-root",
        metavar="DIR",
        type=os.path.abspath,
        help="CIFAR-10 files or a folder tree (default: data, downloaded)",
    )
    data.add_argument(
        "--dataset",
        choices=("auto", "cifar10", "folder", "generated"),
        default="auto",
        help="auto takes the first of the others that is there (default: %(default)s)",
    )
    data.add_argument(
        "--classes",
        nargs="+",
        default=["airplane", "bird"],
        metavar="NAME",
        help="two or more (default: airplane bird)",
    )
    model = parser.add_argument_group("model and recipe")
    model.add_argument(
        "--model",
        choices=tuple(CLASSIFIERS),
        default="resnet",
        help="two of them are the book's (default: %(default)s)",
    )
    add = partial(model.add_argument, default=None)
    add("--epochs", type=number(int, least=1), help=defaults("epochs"))
    add("--batch-size", type=number(int, least=1), help=defaults("batch_size"))
    add("--lr", type=number(float, above=0), help=f"peak learning rate {defaults('lr')}")
    add("--weight-decay", type=number(float, least=0), help=defaults("weight_decay"))
    add("--label-smoothing", type=number(float, least=0, below=1), help=defaults("label_smoothing"))
    add_run_options(parser)
    return parser


def defaults(name: str) -> str:
    """Return an option's default in each recipe, in words."""
    return (
        "(default: "
        + ", ".join(f"{model} {getattr(recipe, name)}" for model, recipe in RECIPES.items())
        + ")"
    )


def build_optimizer(
    model: nn.Module, options: argparse.Namespace, recipe: Recipe, iterations: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return SGD and a schedule over ``iterations``: up to the peak, then down to 0, in straight lines."""
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=options.lr,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        weight_decay=options.weight_decay,
        fused=True,
    )

    def factor(iteration: int) -> float:
        if recipe.warmup is None:
            return 1.0
        rise = recipe.warmup * iterations
        return max(0.0, min((iteration + 1) / rise, (iterations - iteration) / (iterations - rise)))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, from options to summary, in the order in which things run."""
    with bad_input_exits():
        options = parse_options(parser(), argv, task="cifar2")
        recipe = RECIPES[options.model]
        for name in ("epochs", "batch_size", "lr", "weight_decay", "label_smoothing"):
            if getattr(options, name) is None:
                setattr(options, name, getattr(recipe, name))
        make_deterministic()
        keep_freed_memory()
        device = resolve_device(options.device)
        options.device, options.precision = str(device), resolve_precision(options.precision, device)
        run = Run("cifar2", options)
        data = cifar2(
            options.data_root,
            classes=options.classes,
            dataset=options.dataset,
            skip_bad=options.on_bad_sample == "skip",
        )
        make_loader = partial(
            endless_loader,
            data.train,
            batch_size=options.batch_size,
            seed=options.seed,
            pin_memory=device.type == "cuda",
        )
        num_workers = 0 if options.num_workers == "auto" else options.num_workers
        train_loader = make_loader(num_workers=num_workers, start_iteration=run.iteration)
        dataset = data.describe()
        normalize = Normalize(*data.train.channel_statistics())

    torch.manual_seed(options.seed)
    model = CLASSIFIERS[options.model](len(data.classes))
    fit_whitening(model, normalize(data.train.images[:: len(data.train) // 500 or 1]))
    model.to(device, memory_format=torch.channels_last)
    iterations = options.epochs * len(train_loader)
    optimizer, schedule = build_optimizer(model, options, recipe, iterations)
    iterations = min(iterations, options.max_iterations or iterations)
    precision = Precision(options.precision, device, skip_non_finite=options.skip_non_finite > 0)
    loss_fn = nn.CrossEntropyLoss(label_smoothing=options.label_smoothing)
    augment = [RandomCrop(padding=4, flip=0.5)] if recipe.augment else []

    timer = FetchComputeTimer()
    trainer = Engine(
        supervised_step(
            model,
            optimizer,
            loss_fn,
            device=device,
            prepare_batch=timer.timed("transfer", to_device(device)),
            transform=nn.Sequential(*augment, normalize).to(device),
            schedule=schedule,
            precision=precision,
            metrics={"accuracy": accuracy},
        )
    )
    evaluator = Engine(
        evaluation_step(
            model, device=device, transform=normalize.to(device), precision=precision, mirror=recipe.augment
        )
    )
    Accuracy().attach(evaluator, "accuracy")
    Loss(loss_fn, output_transform=lambda output: (output["y_pred"], output["y"])).attach(evaluator, "loss")

    # Attachment order is execution order: measure, evaluate, record, save, show.
    timer.attach(trainer).watch(evaluator, trainer)
    ReseedEachIteration(options.seed, device=device).attach(trainer)
    means = StepMeans().attach(trainer)
    if options.num_workers == "auto":
        left = iterations - run.iteration
        AutoWorkers(make_loader, iterations=left, decided=run.note_workers).attach(trainer)
    LearningRate(optimizer).attach(trainer)
    if options.log_norms:
        ModelNorms(model).attach(trainer)
    guard = StopOnNonFinite(
        allowed_in_a_row=options.skip_non_finite,
        path=run.directory / "non_finite.jsonl",
        samples_of=train_loader.batch_sampler.indices,
        optimizer=optimizer,
    ).attach(trainer)
    EvaluateEachEpoch(evaluator, ordered_loader(data.val, batch_size=500)).attach(trainer)
    record = Record(
        run.directory,
        timer=timer,
        batch_size=options.batch_size,
        models=(model,),
        dataset=dataset,
        best="val/accuracy",
    ).attach(trainer)
    checkpoints = Checkpoints(
        run.directory / "checkpoints",
        {
            "model": model,
            "optimizer": optimizer,
            "schedule": schedule,
            "precision": precision,
            "means": means,
            "guard": guard,
            "timer": timer,
        },
        every_s=options.checkpoint_every_s,
        timer=timer,
        background=options.save_in_background,
        score="val/accuracy",
        config={"task": "cifar2", **vars(options)},
    ).attach(trainer)
    ProgressLine(
        metrics={"train/loss": "loss", "train/accuracy": "accuracy", "val/accuracy": "validation accuracy"},
        timer=timer,
        batch_size=options.batch_size,
        label="GENERATED data" if data.name == "generated" else "",
    ).attach(trainer)

    with bad_input_exits():  # until here, nothing has been written
        if run.checkpoint is not None:
            checkpoints.restore(trainer, run.checkpoint)
        run.write_config(dataset)
    say_notice(data.notice)
    board = showing(trainer, run, timer=timer, notice=data.notice)
    with run.closing(), record, board, StopOnSignal(checkpoints.save).attach(trainer):
        if trainer.state.iteration < iterations:
            trainer.run(train_loader, max_iters=iterations, epoch_length=len(train_loader))


if __name__ == "__main__":
    main()
