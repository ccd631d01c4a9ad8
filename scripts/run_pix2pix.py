"""Train pix2pix: a generator that translates images, from pairs such as façades and their labels.

python scripts/run_pix2pix.py --data-root facades              # labels to photos, 200 epochs, as in the paper
python scripts/run_pix2pix.py --dataset generated --image-size 64 --epochs 3 --decay-epochs 2
python scripts/run_pix2pix.py --resume runs/pix2pix/...        # go on with a run that was stopped

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", arXiv 1611.07004.
"""

import argparse
from collections.abc import Sequence
from functools import partial

import torch
from ignite.engine import Engine
from torch import Tensor, nn

from handlers import EvaluateEachEpoch, LearningRate, SampleGrids, StepMeans
from ignite_pipeline.adversarial import LOSSES
from ignite_pipeline.command_line import absolute_path
from ignite_pipeline.data.batch_transforms import RandomCrop, SplitPair
from ignite_pipeline.data.paired import DIRECTIONS, paired_images
from ignite_pipeline.data.preprocessing import Preprocessing
from ignite_pipeline.gan_steps import gan_step, translation_step
from ignite_pipeline.model_modes import inference_mode_of
from ignite_pipeline.models.pix2pix import IMAGE_SIZES, NORMS, PatchDiscriminator, UNetGenerator
from ignite_pipeline.run import Parser, Run, launch, number
from ignite_pipeline.signature import Signature
from ignite_pipeline.translation_metrics import attach_translation_metrics

SAMPLES = 4
HALF = (0.5, 0.5, 0.5)  # to [-1, 1]
SHOWN = {
    "train/loss_g_reconstruction": "L1",
    "train/loss_g_adversarial": "G",
    "train/loss_d": "D",
    "val/l1": "validation L1",
}
GRADIENT_PENALTY = 10.0  # Gulrajani et al., arXiv 1704.00028, section 4


def parser() -> Parser:
    """Return the parser of the recipe's options."""
    parser = Parser(description="Train pix2pix on pairs of images.")
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data-root",
        metavar="DIR",
        type=absolute_path,
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
        "--image-size",
        type=int,
        choices=IMAGE_SIZES,
        default=256,
        help="side in pixels (default: %(default)s)",
    )
    model = parser.add_argument_group("model and recipe")
    model.add_argument(
        "--norm",
        choices=tuple(NORMS),
        default="batch",
        help="kind of normalisation layer (default: %(default)s)",
    )
    model.add_argument(
        "--epochs",
        type=number(int, least=1),
        default=100,
        help="epochs at the full learning rate (default: %(default)s)",
    )
    model.add_argument(
        "--decay-epochs",
        type=number(int, least=0),
        default=100,
        help="epochs after these, in which the rate falls to 0 (default: %(default)s)",
    )
    model.add_argument(
        "--batch-size", type=number(int, least=1), default=1, help="pairs in a step (default: %(default)s)"
    )
    model.add_argument(
        "--lr",
        type=number(float, above=0),
        default=2e-4,
        help="learning rate of both Adams (default: %(default)s)",
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
    parser.set_defaults(precision="fp32", checkpoint_every_s=600.0)
    return parser


def build_optimizer(
    model: nn.Module, options: argparse.Namespace, epoch_length: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return the paper's Adam, and a schedule that is constant for ``--epochs`` and then falls to 0."""
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr, betas=(0.5, 0.999), fused=True)

    def factor(iteration: int) -> float:
        decayed = max(0, iteration // epoch_length - options.epochs + 1)
        return 1.0 - float(decayed / (options.decay_epochs + 1))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def signature_of(options: argparse.Namespace) -> Signature:
    """Return what a checkpoint says of the generator, so that it alone is enough to translate."""
    return Signature(
        "image",
        Preprocessing(options.image_size, options.image_size, mean=HALF, std=HALF),
        outputs=(options.direction[-1],),
        model="pix2pix/generator",
        arguments={"image_size": options.image_size, "norm": options.norm},
        weights="generator",
        mode=options.inference,
        batch_size=1,
    )


def train(run: Run) -> None:
    """Train a generator and its discriminator, from the data to the last samples."""
    options = run.options
    size = options.image_size
    data = run.use_data(
        paired_images(
            options.data_root,
            direction=options.direction,
            image_size=size,
            dataset=options.dataset,
            skip_bad=options.on_bad_sample == "skip",
        )
    )
    options.dataset = data.name
    loader = run.train_loader(data.train, batch_size=options.batch_size)
    generator = run.place(UNetGenerator(image_size=size, norm=options.norm))
    discriminator = run.place(PatchDiscriminator(6, norm=options.norm))
    optimizer_g, schedule_g = build_optimizer(generator, options, len(loader))
    optimizer_d, schedule_d = build_optimizer(discriminator, options, len(loader))
    split = SplitPair()
    trainer = Engine(
        gan_step(
            generator,
            discriminator,
            optimizer_g,
            optimizer_d,
            adversarial_loss=LOSSES[options.gan_loss],
            reconstruction_weight=options.lambda_l1,
            penalty_weight=GRADIENT_PENALTY if options.gan_loss == "wasserstein" else 0.0,
            compute=run.compute,
            transform=nn.Sequential(RandomCrop(0, size=size, flip=0.5), split),
            schedules=(schedule_g, schedule_d),
        )
    )
    # One image a batch: in train mode, each is normalised by its own statistics (section 3.3).
    validation = run.evaluation_loader(data.val, batch_size=1)
    evaluator = Engine(
        translation_step(generator, compute=run.compute, transform=split, mode=options.inference)
    )
    attach_translation_metrics(evaluator, run.device)

    samples = partial(translations, run, generator, *split(data.val.pairs[:SAMPLES].to(run.device)))
    # No checkpoint is called best: L1 is least for a blur. The newest is the model, as in the paper.
    run.attach(
        trainer,
        measure=[StepMeans(), LearningRate(optimizer_g)],
        evaluate=[EvaluateEachEpoch(evaluator, validation), SampleGrids(run.directory / "samples", samples)],
        save={
            "generator": generator,
            "discriminator": discriminator,
            "optimizer_g": optimizer_g,
            "optimizer_d": optimizer_d,
            "schedule_g": schedule_g,
            "schedule_d": schedule_d,
        },
        show=SHOWN,
        signature=signature_of(options),
    )
    run.train(trainer, loader, epochs=options.epochs + options.decay_epochs)


def translations(run: Run, generator: nn.Module, source: Tensor, target: Tensor) -> list[Tensor]:
    """Return columns of images: ``source``, what the generator makes of each, and ``target``."""
    with inference_mode_of(generator, run.options.inference):
        fake = torch.cat([run.compute.predict(generator, image.unsqueeze(0)) for image in source])
    return [source, fake, target]


def main(argv: Sequence[str] | None = None) -> None:
    """Train as the command line asks for."""
    launch(train, parser(), argv, task="pix2pix", resumable=["data_root"])


if __name__ == "__main__":
    main()
