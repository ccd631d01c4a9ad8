"""Steps of a GAN: a generator against a discriminator, and what the generator makes of a batch."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ignite_pipeline.adversarial import AdversarialLoss, discriminator_loss, gradient_penalty, vanilla
from ignite_pipeline.compute import Compute, LossAndOutput
from ignite_pipeline.model_modes import frozen, inference_mode_of
from ignite_pipeline.steps import Step

# Source, target, and what the generator makes of the source.
_Images = tuple[Tensor, Tensor, Tensor]


def gan_step(
    generator: nn.Module,
    discriminator: nn.Module,
    optimizer_g: Optimizer,
    optimizer_d: Optimizer,
    *,
    adversarial_loss: AdversarialLoss = vanilla,
    reconstruction_loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.l1_loss,
    reconstruction_weight: float = 100.0,
    conditional: bool = True,
    discriminator_weight: float = 0.5,
    discriminator_steps: int = 1,
    penalty_weight: float = 0.0,
    compute: Compute | None = None,
    transform: Callable[[Any], tuple[Tensor, Tensor]] | None = None,
    schedules: Sequence[LRScheduler] = (),
    clip_norm: float | None = None,
) -> Step:
    """Return a step that trains a generator against a discriminator: one batch, one update of the generator.

    ``compute`` is as in `supervised_step`. ``transform`` turns a batch, on ``device``, into
    ``(source, target)``; without it, the batch is that pair. The generator makes a fake of ``target``
    from ``source``. First the discriminator is updated, ``discriminator_steps`` times, on the detached
    fake and the real target, with their losses summed and multiplied by ``discriminator_weight``; then
    the generator, through the updated and frozen discriminator, on the adversarial loss plus
    ``reconstruction_weight`` times the reconstruction loss. A ``conditional``
    discriminator sees the source too, joined along the channels. ``penalty_weight`` adds
    `gradient_penalty` to the discriminator's loss.

    The defaults are pix2pix's (arXiv 1611.07004, sections 3.1 and 3.3). A plain DCGAN is
    ``conditional=False, reconstruction_weight=0, discriminator_weight=1`` on batches of (noise, images).

    The output has ``loss_d``, ``loss_g_adversarial``, ``loss_g_reconstruction`` (unweighted, where it
    has a weight), and
    ``accuracy_real`` and ``accuracy_fake`` of the discriminator: detached tensors ``()`` on the device.
    """
    if discriminator_steps < 1:
        raise ValueError(f"discriminator_steps must be at least 1, got {discriminator_steps}")
    for name, weight in (
        ("reconstruction_weight", reconstruction_weight),
        ("penalty_weight", penalty_weight),
    ):
        if weight < 0:
            raise ValueError(f"{name} must not be negative, got {weight}")
    by = compute or Compute()

    def judge(image: Tensor, source: Tensor) -> Tensor:
        logits: Tensor = by.predict(discriminator, torch.cat([source, image], 1) if conditional else image)
        return logits

    def loss_of_discriminator(part: _Images) -> LossAndOutput:
        source, target, fake = part
        judged_fake, judged_real = judge(fake.detach(), source), judge(target, source)
        loss, accuracies = discriminator_loss(adversarial_loss, real=judged_real, fake=judged_fake)
        loss = discriminator_weight * loss
        if penalty_weight:
            loss = loss + penalty_weight * gradient_penalty(partial(judge, source=source), target, fake)
        return loss, {"loss_d": loss, **accuracies}

    def loss_of_generator(part: _Images) -> LossAndOutput:
        source, target, fake = part
        loss = adversarial = adversarial_loss(judge(fake, source), "generator")
        output = {"loss_g_adversarial": adversarial}
        if reconstruction_weight:
            output["loss_g_reconstruction"] = reconstruction_loss(fake, target)
            loss = loss + reconstruction_weight * output["loss_g_reconstruction"]
        return loss, output

    def with_fake(images: tuple[Tensor, Tensor]) -> _Images:
        return (*images, by.predict(generator, images[0]))

    def with_detached_fake(images: tuple[Tensor, Tensor]) -> _Images:
        with torch.no_grad():
            return with_fake(images)

    def step(engine: Engine, batch: Any) -> dict[str, Tensor]:
        by.begin(engine, generator, discriminator)
        images = by.parts(batch, transform)
        for _ in range(discriminator_steps - 1):
            parts = by.each(with_detached_fake, images)
            by.update(optimizer_d, loss_of_discriminator, parts, clip_norm=clip_norm)
        parts = by.each(with_fake, images)
        output = by.update(optimizer_d, loss_of_discriminator, parts, clip_norm=clip_norm)
        with frozen(discriminator):
            output |= by.update(optimizer_g, loss_of_generator, parts, clip_norm=clip_norm)
        by.end()
        for schedule in schedules:
            schedule.step()
        return output

    return step


def translation_step(
    generator: nn.Module,
    *,
    compute: Compute | None = None,
    transform: Callable[[Any], tuple[Tensor, Tensor]] | None = None,
    mode: str = "train",
) -> Step:
    """Return a step that translates in `inference_mode_of` ``mode``: ``{"y_pred": fake, "y": target}``.

    ``transform`` is as in `gan_step`. In ``"train"`` mode, batches of one image give each its own statistics.
    """
    if mode not in ("train", "eval"):
        raise ValueError(f"mode must be train or eval, got {mode!r}")
    by = compute or Compute()

    def step(engine: Engine, batch: Any) -> dict[str, Tensor]:
        batch = by.transfer(batch)
        source, target = batch if transform is None else transform(batch)
        with inference_mode_of(generator, mode):
            fake = by.predict(generator, source)
        return {"y_pred": fake, "y": target}

    return step
