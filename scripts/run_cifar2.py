"""Train a classifier of two (or more) classes of CIFAR-10: airplanes against birds.

python scripts/run_cifar2.py                                   # the quick residual net
python scripts/run_cifar2.py --model conv                      # the book's convolutional net and recipe
python scripts/run_cifar2.py --resume runs/cifar2/...          # go on with a run that was stopped
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter

import torch
from ignite.engine import Engine
from ignite.metrics import Accuracy, Loss
from torch import nn

from handlers import EvaluateEachEpoch, LearningRate, Mistakes, StepMeans
from ignite_pipeline.command_line import absolute_path
from ignite_pipeline.data.batch_transforms import Normalize, RandomCrop
from ignite_pipeline.data.cifar2 import SIDE, cifar2
from ignite_pipeline.data.images import ImageSplits
from ignite_pipeline.data.preprocessing import Preprocessing
from ignite_pipeline.models.classifiers import CLASSIFIERS, fit_whitening
from ignite_pipeline.muon import Muon, muon_groups
from ignite_pipeline.run import Best, Parser, Run, launch, number
from ignite_pipeline.schedules import rise_and_fall
from ignite_pipeline.signature import Signature
from ignite_pipeline.steps import accuracy, evaluation_step, supervised_step


@dataclass(frozen=True)
class Recipe:
    """How a model is trained unless options say otherwise."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    momentum: float = 0.0
    # The learning rate of convolutions, which Muon trains, as a share of lr; None trains all by SGD.
    muon_share: float | None = None
    # The share of the run in which the learning rate rises, to fall to 0 after it; None keeps it constant.
    warmup: float | None = None
    # Crop and flip in training, average over mirror images in validation.
    augment: bool = False


VALIDATION_BATCH = 500
BOOK = Recipe(epochs=100, batch_size=64, lr=0.01)
RECIPES = {
    "resnet": Recipe(
        epochs=12,
        batch_size=128,
        lr=0.3,
        weight_decay=4e-4,
        label_smoothing=0.05,
        momentum=0.9,
        muon_share=0.25,
        warmup=0.1,
        augment=True,
    ),
    "conv": BOOK,
    "fully-connected": BOOK,
}


def parser() -> Parser:
    """Return the parser of the recipe's options."""
    parser = Parser(description="Train a classifier of two or more classes of CIFAR-10.")
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data-root",
        metavar="DIR",
        type=absolute_path,
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
        help="conv and fully-connected are the book's (default: %(default)s)",
    )
    add = partial(model.add_argument, default=None)
    add("--epochs", type=number(int, least=1), help=f"passes over the training images {defaults('epochs')}")
    add("--batch-size", type=number(int, least=1), help=f"samples in a step {defaults('batch_size')}")
    add("--lr", type=number(float, above=0), help=f"peak learning rate {defaults('lr')}")
    add("--weight-decay", type=number(float, least=0), help=f"of the optimizer {defaults('weight_decay')}")
    add(
        "--label-smoothing",
        type=number(float, least=0, below=1),
        help=f"of the cross-entropy {defaults('label_smoothing')}",
    )
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
    """Return SGD, or Muon, and a schedule over ``iterations``."""
    common = {"lr": options.lr, "momentum": recipe.momentum, "weight_decay": options.weight_decay}
    optimizer: torch.optim.Optimizer
    if recipe.muon_share is None:
        nesterov = recipe.momentum > 0
        optimizer = torch.optim.SGD(model.parameters(), nesterov=nesterov, fused=True, **common)
    else:
        optimizer = Muon(muon_groups(model, lr=recipe.muon_share * options.lr), **common)
    if recipe.warmup is None:
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda iteration: 1.0)
    return optimizer, rise_and_fall(optimizer, iterations, warmup=recipe.warmup)


def signature_of(options: argparse.Namespace, recipe: Recipe, data: ImageSplits) -> Signature:
    """Return what a checkpoint says of the model, so that it alone is enough to predict."""
    mean, std = (tuple(values.tolist()) for values in data.train.channel_statistics())
    return Signature(
        "classes",
        Preprocessing(image_size=SIDE, resize_size=SIDE, mean=mean, std=std),
        outputs=data.classes,
        model=f"classifiers/{options.model}",
        arguments={"num_classes": len(data.classes)},
        mirror=recipe.augment,
        batch_size=VALIDATION_BATCH,
    )


def train(run: Run) -> None:
    """Train a classifier, from the data to the last evaluation."""
    options = run.options
    recipe = RECIPES[options.model]
    for name in ("epochs", "batch_size", "lr", "weight_decay", "label_smoothing"):
        if getattr(options, name) is None:
            setattr(options, name, getattr(recipe, name))
    skip_bad = options.on_bad_sample == "skip"
    data = run.use_data(
        cifar2(options.data_root, classes=options.classes, dataset=options.dataset, skip_bad=skip_bad)
    )
    options.dataset = data.name
    loader = run.train_loader(data.train, batch_size=options.batch_size)
    signature = signature_of(options, recipe, data)
    normalize = Normalize(signature.preprocessing.mean, signature.preprocessing.std)
    model = CLASSIFIERS[options.model](len(data.classes))
    fit_whitening(model, normalize(data.train.images[:: len(data.train) // 500 or 1]))
    run.place(model, memory_format=torch.channels_last)
    optimizer, schedule = build_optimizer(model, options, recipe, options.epochs * len(loader))
    loss_fn = nn.CrossEntropyLoss(label_smoothing=options.label_smoothing)
    augment = [RandomCrop(padding=4, flip=0.5)] if recipe.augment else []

    trainer = Engine(
        supervised_step(
            model,
            optimizer,
            loss_fn,
            compute=run.compute,
            transform=run.place(nn.Sequential(*augment, normalize)),
            schedule=schedule,
            metrics={"accuracy": accuracy},
        )
    )
    evaluator = Engine(
        evaluation_step(model, compute=run.compute, transform=normalize, mirror=recipe.augment)
    )
    Accuracy(device=run.device).attach(evaluator, "accuracy")
    Loss(loss_fn, itemgetter("y_pred", "y"), device=run.device).attach(evaluator, "loss")

    mistakes = Mistakes(data.classes, image_of=lambda index: data.val.images[index]).attach(evaluator)
    validation = run.evaluation_loader(data.val, batch_size=VALIDATION_BATCH)

    run.attach(
        trainer,
        measure=[StepMeans(), LearningRate(optimizer)],
        evaluate=[EvaluateEachEpoch(evaluator, validation)],
        reports=[mistakes.write],
        save={"model": model, "optimizer": optimizer, "schedule": schedule},
        best=Best("val/accuracy"),
        show={"train/loss": "loss", "train/accuracy": "accuracy", "val/accuracy": "validation accuracy"},
        signature=signature,
    )
    run.train(trainer, loader, epochs=options.epochs)


def main(argv: Sequence[str] | None = None) -> None:
    """Train as the command line asks for."""
    launch(train, parser(), argv, task="cifar2", resumable=["data_root"])


if __name__ == "__main__":
    main()
