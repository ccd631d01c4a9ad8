"""Fine-tune any of torchvision's classifiers on a folder of images.

python scripts/run_finetune.py --data-root DIR                        # a ResNet-18 with ImageNet's weights
python scripts/run_finetune.py --data-root DIR --freeze-epochs 2      # its head alone at first
python scripts/run_finetune.py --data-root DIR --find-lr              # draw the loss over the learning rate
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping
from ignite.metrics import Accuracy, Loss, MeanAbsoluteError, Metric
from torch import nn
from torchvision.transforms import v2

from handlers import EvaluateEachEpoch, LearningRate, Mistakes, StepMeans, UnfreezeAfter, WeightAverage
from handlers.states import Stateful
from ignite_pipeline.command_line import absolute_path, named_path, require_outside
from ignite_pipeline.data.batch_transforms import Normalize
from ignite_pipeline.data.class_balance import class_weights, sample_weights
from ignite_pipeline.data.image_folder import CONTENTS, STORAGES, image_folder
from ignite_pipeline.data.images import ImageSplits
from ignite_pipeline.data.labelled_files import missing_classes
from ignite_pipeline.data.sample_transforms import Transformed
from ignite_pipeline.data.targets_csv import KINDS
from ignite_pipeline.freezing import freeze_all_but
from ignite_pipeline.model_modes import require_batch_statistics
from ignite_pipeline.models.pretrained import (
    head_of,
    preprocessing_of,
    pretrained_classifier,
    require_image_size,
)
from ignite_pipeline.parameter_groups import layer_wise
from ignite_pipeline.run import BadInput, Best, Parser, Run, launch, number
from ignite_pipeline.schedules import warmup_and_cosine
from ignite_pipeline.signature import Signature
from ignite_pipeline.steps import accuracy, evaluation_step, supervised_step


def parser() -> Parser:
    """Return the parser of the recipe's options."""
    parser = Parser(description="Fine-tune one of torchvision's classifiers on a folder of images.")
    add_data_options(parser)
    add_model_options(parser)
    add_recipe_options(parser)
    return parser


def add_data_options(parser: Parser) -> None:
    """Add what says which images, and how they are stored."""
    add = parser.add_argument_group("data").add_argument
    add(
        "--data-root",
        metavar="DIR",
        type=absolute_path,
        required=True,
        help="a folder for each class, or train/ and val/ with these",
    )
    add("--targets", metavar="CSV", type=absolute_path, help="a table of files and classes, for folders")
    add("--kind", choices=("auto", *KINDS), default="auto", help="of --targets (default: %(default)s)")
    add(
        "--val-share",
        type=number(float, above=0, below=1),
        default=0.2,
        help="of the images, where there is no val/ (default: %(default)s)",
    )
    add("--image-size", type=number(int, least=8), help="side in pixels (default: that of the weights)")
    add("--storage", choices=STORAGES, default="auto", help="decode once or each time (default: %(default)s)")
    add("--digest", choices=CONTENTS, default="sampled", help="contents to compare when a run is resumed")
    add(
        "--balance",
        choices=("none", "sampling", "loss"),
        default="none",
        help="draw all classes equally often, or weigh them so in the loss (default: %(default)s)",
    )


def add_model_options(parser: Parser) -> None:
    """Add what says which model, and what of it is trained."""
    add = parser.add_argument_group("model").add_argument
    add("--model", default="resnet18", metavar="NAME", help="of torchvision.models (default: %(default)s)")
    add(
        "--weights",
        type=named_path,
        default="default",
        metavar="{default,none,FILE}",
        help="torchvision's, random ones, or those of a state dict or a checkpoint (default: %(default)s)",
    )
    add(
        "--freeze-epochs",
        type=number(int, least=0),
        default=0,
        metavar="N",
        help="train the head alone for so many epochs (default: %(default)s)",
    )
    add("--freeze", choices=("none", "all"), default="none", help="all: never train more than the head")


def add_recipe_options(parser: Parser) -> None:
    """Add what says how the model is trained."""
    add = parser.add_argument_group("recipe").add_argument
    add("--epochs", type=number(int, least=1), default=10, help="(default: %(default)s)")
    add("--batch-size", type=number(int, least=1), default=32, help="(default: %(default)s)")
    add(
        "--lr",
        type=number(float, above=0),
        default=1e-3,
        help="peak, of the head (default: %(default)s)",
    )
    add(
        "--layer-decay",
        type=number(float, above=0, most=1),
        help="rate of a block, in that of the next towards the head (default: 0.75, 1 for --weights none)",
    )
    add("--weight-decay", type=number(float, least=0), default=0.05, help="(default: %(default)s)")
    add(
        "--warmup-epochs",
        type=number(float, least=0),
        default=1.0,
        help="at most half of all (default: %(default)s)",
    )
    add(
        "--label-smoothing",
        type=number(float, least=0, below=1),
        help="(default: 0.1, 0 for labels and numbers)",
    )
    add("--mixup", type=number(float, least=0.001), metavar="ALPHA", help="mix pairs of images, 0.2 say")
    add("--cutmix", type=number(float, least=0.001), metavar="ALPHA", help="paste patches of others, 1.0 say")
    add(
        "--rand-augment",
        type=number(int, least=1, most=30),
        metavar="MAGNITUDE",
        help="of 30, for batches, 9 say",
    )
    add("--ema", type=number(float, above=0, below=1), metavar="DECAY", help="average the weights, 0.999 say")
    add("--patience", type=number(int, least=1), metavar="EPOCHS", help="stop after so many without a gain")
    add("--clip-norm", type=number(float, above=0), metavar="NORM", help="of all gradients, 1.0 say")
    add(
        "--find-lr",
        action="store_true",
        default=False,
        help="draw the loss over --lr, and end",
    )


def load_data(run: Run) -> ImageSplits:
    """Return the images, of the size at which the model's preprocessing cuts out their middle."""
    options, preprocessing = run.options, preprocessing_of(run.options.model)
    require_outside(options.resume or options.output or "runs/finetune", options.data_root)
    options.image_size = options.image_size or preprocessing.image_size
    require_image_size(options.model, options.image_size)
    images = image_folder(
        options.data_root,
        targets=options.targets,
        kind=options.kind,
        val_share=options.val_share,
        image_size=round(options.image_size * preprocessing.resize_size / preprocessing.image_size),
        storage=options.storage,
        contents=options.digest,
    )
    return run.use_data(images)


def build_optimizer(
    model: nn.Module, options: argparse.Namespace, iterations_per_epoch: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return AdamW, its rates lower for earlier layers, and a schedule: a warm-up, then half a cosine."""
    groups = layer_wise(
        model,
        lr=options.lr,
        decay=options.layer_decay,
        weight_decay=options.weight_decay,
        head=head_of(options.model),
    )
    optimizer = torch.optim.AdamW(groups, fused=True)
    warmup = round(min(options.warmup_epochs, options.epochs / 2) * iterations_per_epoch)
    iterations = options.epochs * iterations_per_epoch
    return optimizer, warmup_and_cosine(optimizer, iterations, warmup_iterations=warmup)


def augmentation_of_images(options: argparse.Namespace) -> nn.Module:
    """Return what is done to single images ``(3, H, W)`` uint8, where they are loaded."""
    crop = v2.RandomResizedCrop(options.image_size, scale=(0.35, 1.0), antialias=True)
    return nn.Sequential(crop, v2.RandomHorizontalFlip())


def augmentation_of_batches(options: argparse.Namespace) -> list[nn.Module]:
    """Return what is done to whole batches ``(B, 3, H, W)`` uint8, on the device."""
    return [] if options.rand_augment is None else [v2.RandAugment(magnitude=options.rand_augment)]


def build_mix(options: argparse.Namespace, num_classes: int) -> nn.Module | None:
    """Return what mixes images and targets of a batch: MixUp or CutMix, or each as often as the other."""
    alphas = {v2.MixUp: options.mixup, v2.CutMix: options.cutmix}
    mixes = [mix(alpha=alpha, num_classes=num_classes) for mix, alpha in alphas.items() if alpha is not None]
    choice: nn.Module | None = v2.RandomChoice(mixes) if mixes else None
    return choice


@dataclass(frozen=True)
class Task:
    """What is learnt of an image: how wrong a prediction is, and which metric tells the best model."""

    loss_fn: nn.Module
    metric_name: str
    metric: Callable[[], Metric]
    maximize: bool = True

    def score(self, evaluator: Engine) -> float:
        """Return what is higher for a better model."""
        value: float = evaluator.state.metrics[self.metric_name]
        return value if self.maximize else -value


def build_task(options: argparse.Namespace, data: ImageSplits) -> Task:
    """Return what is learnt from targets of the kind that the data has."""
    if options.label_smoothing is None:
        options.label_smoothing = 0.1 if data.kind == "classes" else 0.0
    if data.kind == "classes":
        weight = None
        if options.balance == "loss":
            if missing := missing_classes(data.train.files):
                raise BadInput(f"--balance loss: no image of {', '.join(missing)} to train on; add some")
            weight = class_weights(data.train.files.targets, len(data.classes))
        return Task(
            nn.CrossEntropyLoss(weight, label_smoothing=options.label_smoothing), "accuracy", Accuracy
        )
    for name, without in {"balance": "none", "label_smoothing": 0, "mixup": None, "cutmix": None}.items():
        if getattr(options, name) != without:
            flag, wanted = f"--{name.replace('_', '-')}", "left out" if without is None else without
            raise BadInput(f"{flag} must be {wanted}: {options.targets} holds {data.kind}")
    if data.kind == "numbers":
        return Task(nn.MSELoss(), "mean_absolute_error", MeanAbsoluteError, maximize=False)
    rounded = partial(Accuracy, lambda output: ((output["y_pred"] > 0).int(), output["y"].int()))
    return Task(nn.BCEWithLogitsLoss(), "all_labels_right", partial(rounded, is_multilabel=True))


def evaluations(
    run: Run, trainer: Engine, model: nn.Module, task: Task, data: ImageSplits, normalize: nn.Module
) -> list[EvaluateEachEpoch]:
    """Return the evaluation of the model or, before it, of the average of its weights, which then counts."""
    options = run.options
    models = {"val/": model}
    if options.ema is not None:
        average = WeightAverage(model, decay=options.ema).attach(trainer)
        models = {"val/": average.averaged, "val/unaveraged_": model}
    workers = data.val.helpful_workers if options.num_workers == "auto" else options.num_workers
    loader = run.evaluation_loader(data.val, batch_size=options.batch_size, num_workers=workers)
    crop = nn.Sequential(v2.CenterCrop(options.image_size), normalize)
    evaluate: list[EvaluateEachEpoch] = []
    for prefix, evaluated in models.items():
        evaluator = Engine(evaluation_step(evaluated, compute=run.compute, transform=crop))
        task.metric().attach(evaluator, task.metric_name)
        Loss(task.loss_fn, itemgetter("y_pred", "y")).attach(evaluator, "loss")
        evaluate.append(EvaluateEachEpoch(evaluator, loader, prefix=prefix))
    if options.patience is not None:
        stop = EarlyStopping(options.patience, task.score, trainer)
        evaluate[0].evaluator.add_event_handler(Events.COMPLETED, stop)
    return evaluate


def reports_on(
    evaluator: Engine, options: argparse.Namespace, data: ImageSplits
) -> list[Callable[[Path], object]]:
    """Return what is to be seen of the errors: of one class out of several, which are confused."""
    if data.kind != "classes":
        return []
    # Where samples are left out, their indices in the evaluation are not those in the data.
    image_of = None if options.on_bad_sample == "skip" else (lambda index: data.val[index][0])
    return [Mistakes(data.classes, image_of=image_of).attach(evaluator).write]


def signature_of(options: argparse.Namespace, data: ImageSplits) -> Signature:
    """Return what a checkpoint says of the model, so that it alone is enough to predict."""
    preprocessing = preprocessing_of(options.model)
    return Signature(
        data.kind,
        replace(preprocessing, image_size=options.image_size, resize_size=data.val.image_size),
        outputs=data.classes,
        model=f"torchvision/{options.model}",
        arguments={"num_outputs": len(data.classes)},
        weights="model" if options.ema is None else "WeightAverage",
        batch_size=options.batch_size,
    )


def train(run: Run) -> None:
    """Fine-tune a classifier, from the data to the last evaluation."""
    options = run.options
    if options.layer_decay is None:
        options.layer_decay = 1.0 if options.weights == "none" else 0.75
    if options.freeze == "all" and options.freeze_epochs:
        raise BadInput("--freeze all trains the head alone to the end: leave out --freeze-epochs")
    data = load_data(run)
    task = build_task(options, data)
    weights = sample_weights(data.train.files.targets) if options.balance == "sampling" else None
    train_data = Transformed(data.train, augmentation_of_images(options))
    loader = run.train_loader(train_data, batch_size=options.batch_size, weights=weights)
    weights_file = "none" if run.iteration else options.weights  # a checkpoint has its own
    model = pretrained_classifier(options.model, len(data.classes), weights=weights_file)
    if options.freeze != "all":
        require_batch_statistics(
            model, options.batch_size, replicas=options.replicas, parts=options.micro_batches
        )
    run.place(model, memory_format=torch.channels_last)
    freezes = options.freeze == "all" or options.freeze_epochs > 0
    frozen = freeze_all_but(model, head_of(options.model)) if freezes else []
    for_now = frozen if options.freeze_epochs else []
    optimizer, schedule = build_optimizer(model, options, len(loader))
    signature = signature_of(options, data)
    normalize = run.place(Normalize(signature.preprocessing.mean, signature.preprocessing.std))
    trainer = Engine(
        supervised_step(
            model,
            optimizer,
            run.place(task.loss_fn),
            compute=run.compute,
            transform=nn.Sequential(*augmentation_of_batches(options), normalize),
            mix=build_mix(options, len(data.classes)),
            schedule=schedule,
            clip_norm=options.clip_norm,
            metrics={"accuracy": accuracy} if data.kind == "classes" else None,
        )
    )
    save: dict[str, Stateful] = {"model": model, "optimizer": optimizer, "schedule": schedule}
    if options.find_lr:
        run.search_learning_rate(trainer, train_data, optimizer=optimizer, save=save)
        return
    evaluate = evaluations(run, trainer, model, task, data, normalize)
    run.attach(
        trainer,
        measure=[StepMeans(), LearningRate(optimizer), UnfreezeAfter(for_now, epochs=options.freeze_epochs)],
        evaluate=evaluate,
        reports=reports_on(evaluate[0].evaluator, options, data),
        save=save,
        best=Best(f"val/{task.metric_name}", maximize=task.maximize),
        show={"train/loss": "loss", f"val/{task.metric_name}": task.metric_name.replace("_", " ")},
        signature=signature,
    )
    run.train(trainer, loader, epochs=options.epochs)


def main(argv: Sequence[str] | None = None) -> None:
    """Fine-tune as the command line asks for."""
    launch(train, parser(), argv, task="finetune", resumable=["data_root", "targets", "storage"])


if __name__ == "__main__":
    main()
