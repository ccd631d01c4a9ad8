"""Train pix2pix: a generator that translates images, from pairs such as façades and their labels.

python scripts/run_pix2pix.py --data-root facades              # labels to photos, 200 epochs, as in the paper
python scripts/run_pix2pix.py --dataset generated --image-size 64 --epochs 3 --decay-epochs 2
python scripts/run_pix2pix.py --resume runs/pix2pix/...        # go on with a run that was stopped

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", arXiv 1611.07004.
"""

import argparse
import os
from collections.abc import Sequence
from functools import partial

import torch
from ignite.engine import Engine
from ignite.metrics import PSNR, SSIM, Loss
from torch import Tensor, nn

from handlers import (
    Checkpoints,
    EvaluateEachEpoch,
    FetchComputeTimer,
    LearningRate,
    ModelNorms,
    ProgressLine,
    Record,
    SampleGrids,
    StepMeans,
    StopOnNonFinite,
    StopOnSignal,
)
from ignite_pipeline.adversarial import LOSSES
from ignite_pipeline.data.batch_transforms import RandomCrop, SplitPair
from ignite_pipeline.data.loading import endless_loader, ordered_loader
from ignite_pipeline.data.paired import DIRECTIONS, paired_images
from ignite_pipeline.machine import keep_freed_memory
from ignite_pipeline.models.pix2pix import IMAGE_SIZES, NORMS, PatchDiscriminator, UNetGenerator
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
from ignite_pipeline.steps import gan_step, inference_mode_of, to_device, translation_step

SAMPLES = 4
GRADIENT_PENALTY = 10.0  # Gulrajani et al., arXiv 1704.00028, section 4


def parser() -> argparse.ArgumentParser:
    """Return the parser of this script's options."""
    parser = Parser(description="Train pix2pix on pairs of images.")
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data-root",
        metavar="DIR",
        type=os.path.abspath,
        help="holds train/ and val/, or trainA/, trainB/, ...",
    )
    data.add_argument(
        "--dataset",
        choices=("auto", "paired", "generated"),
        default="auto",
        help="auto draws façades where there is no --data-root (default: %(default)s)",
    )
    data.add_argument(
        "--direction",
        choices=DIRECTIONS,
        default="BtoA",
        help="A is the left image of a pair: for façades, the photo (default: %(default)s)",
    )
    data.add_argument(
        "--image-size", type=int, choices=IMAGE_SIZES, default=256, help="pixels (default: %(default)s)"
    )
    model = parser.add_argument_group("model and recipe")
    model.add_argument("--norm", choices=tuple(NORMS), default="batch", help="(default: %(default)s)")
    model.add_argument(
        "--epochs",
        type=number(int, least=1),
        default=100,
        help="at the full learning rate (default: %(default)s)",
    )
    model.add_argument(
        "--decay-epochs",
        type=number(int, least=0),
        default=100,
        help="down to 0, after these (default: %(default)s)",
    )
    model.add_argument(
        "--batch-size", type=number(int, least=1), default=1, help="pairs (default: %(default)s)"
    )
    model.add_argument(
        "--lr", type=number(float, above=0), default=2e-4, help="of both Adams (default: %(default)s)"
    )
    model.add_argument(
        "--lambda-l1",
        type=number(float, least=0),
        default=100.0,
        help="weight of the L1 loss (default: %(default)s)",
    )
    model.add_argument(
        "--gan-loss", choices=tuple(LOSSES), default="vanilla", help="adversarial loss (default: %(default)s)"
    )
    model.add_argument(
        "--inference",
        choices=("train", "eval"),
        default="train",
        help="mode of dropout and batch norm when validating; the paper's is train (default: %(default)s)",
    )
    add_run_options(parser, precision="fp32", checkpoint_every_s=600.0)
    return parser


def build_optimizer(
    model: nn.Module, options: argparse.Namespace, epoch_length: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return the paper's Adam, and a schedule that is constant for ``--epochs`` and then falls to 0."""
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr, betas=(0.5, 0.999), fused=True)

    def factor(iteration: int) -> float:
        decayed = max(0, iteration // epoch_length - options.epochs + 1)
        return 1 - decayed / (options.decay_epochs + 1)

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, from options to summary, in the order in which things run."""
    with bad_input_exits():
        options = parse_options(parser(), argv, task="pix2pix")
        make_deterministic()
        keep_freed_memory()
        device = resolve_device(options.device)
        options.device, options.precision = str(device), resolve_precision(options.precision, device)
        run = Run("pix2pix", options)
        data = paired_images(
            options.data_root,
            direction=options.direction,
            image_size=options.image_size,
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

    torch.manual_seed(options.seed)
    precision = Precision(options.precision, device, skip_non_finite=options.skip_non_finite > 0)
    # Not channels_last: its gradients come in another layout, which costs the optimizer more than it gains.
    generator = UNetGenerator(image_size=options.image_size, norm=options.norm).to(device)
    discriminator = PatchDiscriminator(6, norm=options.norm).to(device)
    optimizer_g, schedule_g = build_optimizer(generator, options, len(train_loader))
    optimizer_d, schedule_d = build_optimizer(discriminator, options, len(train_loader))
    iterations = (options.epochs + options.decay_epochs) * len(train_loader)
    iterations = min(iterations, options.max_iterations or iterations)
    split = SplitPair()

    timer = FetchComputeTimer()
    trainer = Engine(
        gan_step(
            generator,
            discriminator,
            optimizer_g,
            optimizer_d,
            adversarial_loss=LOSSES[options.gan_loss],
            reconstruction_weight=options.lambda_l1,
            penalty_weight=GRADIENT_PENALTY if options.gan_loss == "wasserstein" else 0.0,
            device=device,
            prepare_batch=timer.timed("transfer", to_device(device)),
            transform=nn.Sequential(RandomCrop(0, size=options.image_size, flip=0.5), split),
            schedules=(schedule_g, schedule_d),
            precision=precision,
        )
    )
    evaluator = Engine(
        translation_step(
            generator, device=device, transform=split, precision=precision, mode=options.inference
        )
    )
    measured = {"output_transform": lambda output: (output["y_pred"], output["y"]), "device": device}
    Loss(nn.functional.l1_loss, **measured).attach(evaluator, "l1")
    PSNR(data_range=2, **measured).attach(evaluator, "psnr")
    SSIM(data_range=2, **measured).attach(evaluator, "ssim")

    def sample() -> list[Tensor]:
        source, target = split(data.val.pairs[:SAMPLES].to(device))
        with inference_mode_of(generator, options.inference), precision.autocast():
            fake = torch.cat([generator(image.unsqueeze(0)).float() for image in source])
        return [source, fake, target]

    # Attachment order is execution order: measure, evaluate, record, save, show.
    timer.attach(trainer).watch(evaluator, trainer)
    ReseedEachIteration(options.seed, device=device).attach(trainer)
    means = StepMeans().attach(trainer)
    if options.num_workers == "auto":
        left = iterations - run.iteration
        AutoWorkers(make_loader, iterations=left, decided=run.note_workers).attach(trainer)
    LearningRate(optimizer_g).attach(trainer)
    if options.log_norms:
        ModelNorms(generator).attach(trainer)
    guard = StopOnNonFinite(
        allowed_in_a_row=options.skip_non_finite,
        path=run.directory / "non_finite.jsonl",
        samples_of=train_loader.batch_sampler.indices,
        optimizer=optimizer_g,
    ).attach(trainer)
    # One image a batch: in train mode, each is normalised by its own statistics (section 3.3).
    EvaluateEachEpoch(evaluator, ordered_loader(data.val, batch_size=1)).attach(trainer)
    record = Record(
        run.directory,
        timer=timer,
        batch_size=options.batch_size,
        models=(generator, discriminator),
        dataset=dataset,
        best="val/l1",
        maximize=False,
    ).attach(trainer)
    SampleGrids(run.directory / "samples", sample).attach(trainer)
    checkpoints = Checkpoints(
        run.directory / "checkpoints",
        {
            "generator": generator,
            "discriminator": discriminator,
            "optimizer_g": optimizer_g,
            "optimizer_d": optimizer_d,
            "schedule_g": schedule_g,
            "schedule_d": schedule_d,
            "precision": precision,
            "means": means,
            "guard": guard,
            "timer": timer,
        },
        every_s=options.checkpoint_every_s,
        timer=timer,
        background=options.save_in_background,
        score="val/l1",
        maximize=False,
        config={"task": "pix2pix", **vars(options)},
    ).attach(trainer)
    ProgressLine(
        metrics={
            "train/loss_g_reconstruction": "L1",
            "train/loss_g_adversarial": "G",
            "train/loss_d": "D",
            "val/l1": "validation L1",
        },
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
