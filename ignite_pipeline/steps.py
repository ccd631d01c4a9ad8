"""Step functions: what an ``Engine`` does with one batch.

A step returns detached tensors on the device and never asks for their values, so that the processor
can run ahead of an accelerator; whoever shows a value fetches it, once in many iterations.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from ignite.engine import Engine
from ignite.utils import convert_tensor
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ignite_pipeline.adversarial import AdversarialLoss, discriminator_accuracy, gradient_penalty, vanilla
from ignite_pipeline.precision import Precision

Step = Callable[[Engine, Any], dict[str, Tensor]]
Metric = Callable[[Tensor, Tensor], Tensor]


def accuracy(y_pred: Tensor, y: Tensor) -> Tensor:
    """Return the share of rows of logits ``(B, K)`` whose largest is at ``y``, as a tensor ``()``.

    >>> accuracy(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 1]))
    tensor(0.5000)
    """
    return (y_pred.argmax(1) == y).float().mean()


def to_device(device: torch.device | str) -> Callable[[Any], Any]:
    """Return a function that moves the tensors of a batch to ``device`` without waiting until they are there.

    >>> [x.device.type for x in to_device("cpu")((torch.zeros(1), torch.ones(1)))]
    ['cpu', 'cpu']
    """
    return partial(convert_tensor, device=device, non_blocking=True)


def supervised_step(
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    *,
    device: torch.device | str = "cpu",
    prepare_batch: Callable[[Any], Any] | None = None,
    transform: Callable[[Tensor], Tensor] | None = None,
    schedule: LRScheduler | None = None,
    precision: Precision | None = None,
    clip_norm: float | None = None,
    micro_batches: int = 1,
    metrics: Mapping[str, Metric] | None = None,
) -> Step:
    """Return a step that trains ``model`` on ``(x, y)``: one batch, one update.

    ``prepare_batch`` moves a batch (default: to ``device``, without waiting for it); ``transform`` is
    applied to ``x`` on ``device``. ``loss_fn`` must average over the batch. The ``schedule`` steps once
    an iteration. ``micro_batches`` splits the batch and accumulates the gradients, to save memory: an
    update still sees the whole batch, the last, smaller one too. A loss that is not finite leaves the
    parameters as they are from then on (see `Precision`). The output has ``loss`` and one entry for each of
    ``metrics``, tensors ``()``.

    >>> model = nn.Linear(2, 2)
    >>> step = supervised_step(
    ...     model,
    ...     torch.optim.SGD(model.parameters(), lr=0.1, fused=True),
    ...     nn.functional.cross_entropy,
    ...     metrics={"accuracy": accuracy},
    ... )
    >>> state = Engine(step).run([(torch.randn(4, 2), torch.tensor([0, 1, 1, 0]))])
    >>> sorted(state.output)
    ['accuracy', 'loss']
    """
    if micro_batches < 1:
        raise ValueError(f"micro_batches must be at least 1, got {micro_batches}")
    if clip_norm is not None and clip_norm <= 0:
        raise ValueError(f"clip_norm must be positive or None, got {clip_norm}")
    precision = precision or Precision("fp32", device)
    prepare = prepare_batch or to_device(device)
    measures = {"loss": loss_fn, **(metrics or {})}

    def step(engine: Engine, batch: Any) -> dict[str, Tensor]:
        if not model.training:
            model.train()
        precision.begin(model)
        x, y = prepare(batch)
        if transform is not None:
            x = transform(x)
        optimizer.zero_grad()
        parts = []
        for x_part, y_part in zip(x.chunk(micro_batches), y.chunk(micro_batches), strict=True):
            share = len(x_part) / len(x)
            with precision.autocast():
                y_pred = model(x_part)
            output = {name: measure(y_pred.float(), y_part) * share for name, measure in measures.items()}
            precision.backward(output["loss"])
            parts.append({name: value.detach() for name, value in output.items()})
        total = {name: sum((part[name] for part in parts[1:]), parts[0][name]) for name in measures}
        precision.update(optimizer, total["loss"], clip_norm=clip_norm)
        precision.end()
        if schedule is not None:
            schedule.step()
        return total

    return step


def evaluation_step(
    model: nn.Module,
    *,
    device: torch.device | str = "cpu",
    transform: Callable[[Tensor], Tensor] | None = None,
    precision: Precision | None = None,
    mirror: bool = False,
) -> Step:
    """Return a step that predicts in eval mode: ``{"y_pred": logits, "y": targets}``, for Ignite's metrics.

    ``mirror`` averages the logits of each image and its mirror image.

    >>> from ignite.metrics import Accuracy
    >>> evaluator = Engine(evaluation_step(nn.Identity()))
    >>> Accuracy().attach(evaluator, "accuracy")
    >>> evaluator.run([(torch.eye(2), torch.tensor([0, 0]))]).metrics
    {'accuracy': 0.5}
    """
    precision = precision or Precision("fp32", device)

    @torch.inference_mode()
    def step(engine: Engine, batch: Any) -> dict[str, Tensor]:
        if model.training:
            model.eval()
        x, y = (part.to(device, non_blocking=True) for part in batch)
        if transform is not None:
            x = transform(x)
        with precision.autocast():
            y_pred = model(x).float()
            if mirror:
                y_pred = (y_pred + model(x.flip(-1)).float()) / 2
        return {"y_pred": y_pred, "y": y}

    return step


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
    device: torch.device | str = "cpu",
    prepare_batch: Callable[[Any], Any] | None = None,
    transform: Callable[[Any], tuple[Tensor, Tensor]] | None = None,
    schedules: Sequence[LRScheduler] = (),
    precision: Precision | None = None,
    clip_norm: float | None = None,
) -> Step:
    """Return a step that trains a generator against a discriminator: one batch, one update of the generator.

    ``prepare_batch`` is as in `supervised_step`. ``transform`` turns a batch, on ``device``, into
    ``(source, target)``; without it, the batch is that pair. The generator makes a fake of ``target``
    from ``source``. First the discriminator is updated, ``discriminator_steps`` times, on the detached
    fake and the real target, with their losses summed and multiplied by ``discriminator_weight``; then
    the generator, through the updated and frozen discriminator, on the adversarial loss plus
    ``reconstruction_weight`` times the reconstruction loss. A ``conditional``
    discriminator sees the source too, joined along the channels. ``penalty_weight`` adds
    `gradient_penalty` to the discriminator's loss.

    The defaults are pix2pix's (arXiv 1611.07004, sections 3.1 and 3.3). A plain DCGAN is
    ``conditional=False, reconstruction_weight=0, discriminator_weight=1`` on batches of (noise, images).

    The output has ``loss_d``, ``loss_g_adversarial``, ``loss_g_reconstruction`` (unweighted), and
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
    precision = precision or Precision("fp32", device)
    prepare = prepare_batch or to_device(device)

    def update_discriminator(source: Tensor, target: Tensor, fake: Tensor) -> dict[str, Tensor]:
        def judge(image: Tensor) -> Tensor:
            with precision.autocast():
                return discriminator(torch.cat([source, image], 1) if conditional else image).float()

        judged = {"fake": judge(fake), "real": judge(target)}
        losses = [adversarial_loss(output, role) for role, output in judged.items()]
        loss = discriminator_weight * torch.stack(losses).sum()
        if penalty_weight:
            loss = loss + penalty_weight * gradient_penalty(judge, target, fake)
        optimizer_d.zero_grad()
        precision.backward(loss)
        precision.update(optimizer_d, loss, clip_norm=clip_norm)
        accuracies = {
            f"accuracy_{role}": discriminator_accuracy(adversarial_loss, output.detach(), role)
            for role, output in judged.items()
        }
        return {"loss_d": loss.detach(), **accuracies}

    def step(engine: Engine, batch: Any) -> dict[str, Tensor]:
        for model in (generator, discriminator):
            if not model.training:
                model.train()
        precision.begin(generator, discriminator)
        batch = prepare(batch)
        source, target = batch if transform is None else transform(batch)
        for _ in range(discriminator_steps - 1):
            with torch.no_grad(), precision.autocast():
                fake = generator(source).float()
            update_discriminator(source, target, fake)
        with precision.autocast():
            fake = generator(source).float()
        output = update_discriminator(source, target, fake.detach())

        with frozen(discriminator):
            with precision.autocast():
                judged = discriminator(torch.cat([source, fake], 1) if conditional else fake).float()
            adversarial = adversarial_loss(judged, "generator")
            loss = adversarial
            if reconstruction_weight:
                reconstruction = reconstruction_loss(fake, target)
                output["loss_g_reconstruction"] = reconstruction.detach()
                loss = loss + reconstruction_weight * reconstruction
            optimizer_g.zero_grad()
            precision.backward(loss)
        precision.update(optimizer_g, loss, clip_norm=clip_norm)
        precision.end()
        for schedule in schedules:
            schedule.step()
        return {**output, "loss_g_adversarial": adversarial.detach()}

    return step


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Compute no gradients for the model's parameters; restore what was before."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    for parameter, _ in before:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, requires_grad in before:
            parameter.requires_grad_(requires_grad)


@contextmanager
def inference_mode_of(model: nn.Module, mode: str) -> Iterator[None]:
    """Put a model in ``"train"`` or ``"eval"`` mode without gradients; restore mode and buffers after.

    In ``"train"`` mode dropout stays on and batch norm uses the statistics of the batch at hand, as pix2pix
    does at test time (section 3.3); the running statistics are none the wiser.
    """
    training, buffers = model.training, [(buffer, buffer.clone()) for buffer in model.buffers()]
    model.train(mode == "train")
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
        for buffer, before in buffers:
            buffer.copy_(before)


def translation_step(
    generator: nn.Module,
    *,
    device: torch.device | str = "cpu",
    transform: Callable[[Any], tuple[Tensor, Tensor]] | None = None,
    precision: Precision | None = None,
    mode: str = "train",
) -> Step:
    """Return a step that translates in `inference_mode_of` ``mode``: ``{"y_pred": fake, "y": target}``.

    ``transform`` is as in `gan_step`. In ``"train"`` mode, batches of one image give each its own statistics.
    """
    if mode not in ("train", "eval"):
        raise ValueError(f"mode must be train or eval, got {mode!r}")
    precision = precision or Precision("fp32", device)

    def step(engine: Engine, batch: Any) -> dict[str, Tensor]:
        batch = convert_tensor(batch, device, non_blocking=True)
        source, target = batch if transform is None else transform(batch)
        with inference_mode_of(generator, mode), precision.autocast():
            fake = generator(source).float()
        return {"y_pred": fake, "y": target}

    return step
