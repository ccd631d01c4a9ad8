"""Fine-tune any of torchvision's classifiers on a folder of images.

python scripts/run_finetune.py --data-root DIR                        # a ResNet-18 with ImageNet's weights
python scripts/run_finetune.py --data-root DIR --freeze-epochs 2      # its head alone at first
python scripts/run_finetune.py --data-root DIR --find-lr              # draw the loss over the learning rate
"""

import argparse
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping
from ignite.metrics import Loss
from torch import nn
from torchvision.transforms import v2

from handlers import EvaluateEachEpoch, LearningRate, Mistakes, StepMeans, UnfreezeAfter, WeightAverage
from handlers.states import Stateful
from ignite_pipeline.command_line import absolute_path, named_path, require_outside
from ignite_pipeline.data.batch_transforms import Normalize
from ignite_pipeline.data.class_balance import class_weights, sample_weights
from ignite_pipeline.data.image_folder import CONTENTS, STORAGES, image_folder, require_readable_classes
from ignite_pipeline.data.images import ImageSplits
from ignite_pipeline.data.labelled_files import missing_classes
from ignite_pipeline.data.preprocessing import Preprocessing
from ignite_pipeline.data.sample_transforms import Transformed
from ignite_pipeline.data.targets_csv import KINDS
from ignite_pipeline.freezing import freeze_all_but
from ignite_pipeline.model_modes import require_batch_statistics
from ignite_pipeline.models.pretrained import head_of, preprocessing_of, pretrained_classifier
from ignite_pipeline.parameter_groups import layer_wise
from ignite_pipeline.run import BadInput, Best, Parser, Run, launch, number
from ignite_pipeline.schedules import warmup_and_cosine
from ignite_pipeline.signature import Signature
from ignite_pipeline.steps import accuracy, evaluation_step, supervised_step
from ignite_pipeline.target_kinds import TARGET_KINDS


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
    side, share = number(int, least=8, most=8192), number(float, above=0, below=1)
    add(
        "--data-root",
        metavar="DIR",
        type=absolute_path,
        required=True,
        help="a folder for each class, or train/ and val/ with these",
    )
    add("--targets", metavar="CSV", type=absolute_path, help="a table of files, in place of folders")
    add("--kind", choices=("auto", *KINDS), default="auto", help="what --targets has (default: %(default)s)")
    add("--val-share", type=share, default=0.2, help="held out where there is no val/ (default: %(default)s)")
    add("--image-size", type=side, help="side in pixels (default: that of the weights)")
    add("--storage", choices=STORAGES, default="auto", help="decode once or each time (default: %(default)s)")
    add(
        "--digest",
        choices=CONTENTS,
        default="sampled",
        help="how many files have their contents compared on --resume: 256 or all (default: %(default)s)",
    )
    add(
        "--balance",
        choices=("none", "sampling", "loss"),
        default="none",
        help="draw all classes equally often, or weigh them so in the loss (default: %(default)s)",
    )


def add_model_options(parser: Parser) -> None:
    """Add what says which model, and what of it is trained."""
    add, count = parser.add_argument_group("model").add_argument, number(int, least=0)
    add("--model", default="resnet18", metavar="NAME", help="a torchvision classifier (default: %(default)s)")
    add(
        "--weights",
        type=named_path,
        default="default",
        metavar="{default,none,FILE}",
        help="torchvision's, random ones, or those of a state dict or a checkpoint (default: %(default)s)",
    )
    add("--freeze-epochs", type=count, default=0, help="that train the head alone (default: %(default)s)")
    add("--freeze", choices=("none", "all"), default="none", help="all: never train more than the head")


def add_recipe_options(parser: Parser) -> None:
    """Add what says how the model is trained."""
    add = parser.add_argument_group("recipe").add_argument
    count, positive, not_negative = number(int, least=1), number(float, above=0), number(float, least=0)
    decay, share = number(float, above=0, most=1), number(float, least=0, below=1)
    magnitude, alpha = number(int, least=1, most=30), number(float, least=0.001)
    add("--epochs", type=count, default=10, help="passes over the training images (default: %(default)s)")
    add("--batch-size", type=count, default=32, help="samples in a step (default: %(default)s)")
    add("--lr", type=positive, default=1e-3, help="peak, of the head (default: %(default)s)")
    add(
        "--layer-decay",
        type=decay,
        help="a block's rate over that of the next towards the head (default: 0.75, 1 for --weights none)",
    )
    add("--weight-decay", type=not_negative, default=0.05, help="of the optimizer (default: %(default)s)")
    add(
        "--warmup-epochs",
        type=not_negative,
        default=1.0,
        help="epochs in which the learning rate rises, at most half of all (default: %(default)s)",
    )
    add("--label-smoothing", type=share, help="of the cross-entropy (default: 0.1, 0 for labels and numbers)")
    add("--mixup", type=alpha, metavar="ALPHA", help="mix pairs of images, 0.2 say")
    add("--cutmix", type=alpha, metavar="ALPHA", help="paste patches of others, 1.0 say")
    add("--rand-augment", type=magnitude, metavar="MAGNITUDE", help="of RandAugment, up to 30, 9 say")
    add("--ema", type=number(float, above=0, below=1), metavar="DECAY", help="average the weights, 0.999 say")
    add("--patience", type=count, metavar="EPOCHS", help="stop after so many without a gain")
    add("--clip-norm", type=positive, metavar="NORM", help="largest norm of all gradients together, 1.0 say")
    add("--find-lr", action="store_true", default=False, help="draw the loss over --lr, and end")


def load_data(run: Run, preprocessing: Preprocessing) -> ImageSplits:
    """Return the images, of the size at which the model's preprocessing cuts out their middle."""
    options = run.options
    require_outside(options.resume or options.output or "runs/finetune", options.data_root)
    images = image_folder(
        options.data_root,
        targets=options.targets,
        kind=options.kind,
        val_share=options.val_share,
        image_size=preprocessing.resize_size,
        storage=options.storage,
        contents=options.digest,
    )
    if options.on_bad_sample == "skip" and images.kind == "classes":
        require_readable_classes(images.train)
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


def build_mix(options: argparse.Namespace, num_classes: int) -> nn.Module | None:
    """Return what mixes images and targets of a batch: MixUp or CutMix, or each as often as the other."""
    alphas = {v2.MixUp: options.mixup, v2.CutMix: options.cutmix}
    mixes = [mix(alpha=alpha, num_classes=num_classes) for mix, alpha in alphas.items() if alpha is not None]
    choice: nn.Module | None = v2.RandomChoice(mixes) if mixes else None
    return choice


def build_loss(options: argparse.Namespace, data: ImageSplits) -> nn.Module:
    """Return the loss for targets of the kind that the data has."""
    kind = TARGET_KINDS[data.kind]
    if options.label_smoothing is None:
        options.label_smoothing = 0.1 if data.kind == "classes" else 0.0
    if data.kind != "classes":
        for name, without in {"balance": "none", "label_smoothing": 0, "mixup": None, "cutmix": None}.items():
            if getattr(options, name) != without:
                flag, wanted = f"--{name.replace('_', '-')}", "left out" if without is None else without
                raise BadInput(f"{flag} must be {wanted}: {options.targets} holds {data.kind}")
        return kind.loss()
    files, weighs = data.train.files, options.balance == "loss"
    if weighs and (missing := missing_classes(files)):
        raise BadInput(f"--balance loss: no image of {', '.join(missing)} to train on; add some")
    weight = class_weights(files.targets, len(data.classes)) if weighs else None
    return kind.loss(weight, label_smoothing=options.label_smoothing)


def evaluations(
    run: Run, trainer: Engine, model: nn.Module, loss_fn: nn.Module, data: ImageSplits, normalize: nn.Module
) -> list[EvaluateEachEpoch]:
    """Return the evaluation of the model or, before it, of the average of its weights, which then counts."""
    options, kind = run.options, TARGET_KINDS[data.kind]
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
        kind.metric(device=run.device).attach(evaluator, kind.metric_name)
        Loss(loss_fn, itemgetter("y_pred", "y"), device=run.device).attach(evaluator, "loss")
        evaluate.append(EvaluateEachEpoch(evaluator, loader, prefix=prefix))
    if options.patience is not None:
        stop = EarlyStopping(options.patience, kind.score, trainer)
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


def signature_of(options: argparse.Namespace, data: ImageSplits, preprocessing: Preprocessing) -> Signature:
    """Return what a checkpoint says of the model, so that it alone is enough to predict."""
    return Signature(
        data.kind,
        preprocessing,
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
    preprocessing = preprocessing_of(options.model, options.image_size)
    options.image_size = preprocessing.image_size
    data = load_data(run, preprocessing)
    kind, loss_fn = TARGET_KINDS[data.kind], build_loss(options, data)
    weights = sample_weights(data.train.files.targets) if options.balance == "sampling" else None
    crop = v2.RandomResizedCrop(options.image_size, scale=(0.35, 1.0), antialias=True)
    train_data = Transformed(data.train, nn.Sequential(crop, v2.RandomHorizontalFlip()))
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
    normalize = run.place(Normalize(preprocessing.mean, preprocessing.std))
    augment = [] if options.rand_augment is None else [v2.RandAugment(magnitude=options.rand_augment)]
    trainer = Engine(
        supervised_step(
            model,
            optimizer,
            run.place(loss_fn),
            compute=run.compute,
            transform=nn.Sequential(*augment, normalize),
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
    evaluate = evaluations(run, trainer, model, loss_fn, data, normalize)
    run.attach(
        trainer,
        measure=[StepMeans(), LearningRate(optimizer), UnfreezeAfter(for_now, epochs=options.freeze_epochs)],
        evaluate=evaluate,
        reports=reports_on(evaluate[0].evaluator, options, data),
        save=save,
        best=Best(f"val/{kind.metric_name}", maximize=kind.maximize),
        show={"train/loss": "loss", f"val/{kind.metric_name}": kind.metric_name.replace("_", " ")},
        signature=signature_of(options, data, preprocessing),
    )
    run.train(trainer, loader, epochs=options.epochs)


def main(argv: Sequence[str] | None = None) -> None:
    """Fine-tune as the command line asks for."""
    launch(train, parser(), argv, task="finetune", resumable=["data_root", "targets", "storage"])


if __name__ == "__main__":
    main()
