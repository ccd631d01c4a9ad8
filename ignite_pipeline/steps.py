"""Step functions: what an ``Engine`` does with one batch.

A step returns detached tensors on the device and never asks for their values, so that the processor
can run ahead of an accelerator; whoever shows a value fetches it, once in many iterations.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ignite_pipeline.precision import Precision

Step = Callable[[Engine, Any], dict[str, Tensor]]
Metric = Callable[[Tensor, Tensor], Tensor]


def accuracy(y_pred: Tensor, y: Tensor) -> Tensor:
    """Return the share of rows of logits ``(B, K)`` whose largest is at ``y``, as a tensor ``()``.

    >>> accuracy(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 1]))
    tensor(0.5000)
    """
    return (y_pred.argmax(1) == y).float().mean()


def supervised_step(
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    *,
    device: torch.device | str = "cpu",
    transform: Callable[[Tensor], Tensor] | None = None,
    schedule: LRScheduler | None = None,
    precision: Precision | None = None,
    clip_norm: float | None = None,
    micro_batches: int = 1,
    metrics: Mapping[str, Metric] | None = None,
) -> Step:
    """Return a step that trains ``model`` on ``(x, y)``: one batch, one update.

    ``transform`` is applied to ``x`` on ``device``. ``loss_fn`` must average over the batch. The
    ``schedule`` steps once an iteration. ``micro_batches`` splits the batch and accumulates the
    gradients, to save memory: an update still sees the whole batch, the last, smaller one too. A
    loss that is not finite leaves the parameters as they are (see `Precision`). The output has
    ``loss`` and one entry for each of ``metrics``, tensors ``()``.

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
    measures = {"loss": loss_fn, **(metrics or {})}

    def step(engine: Engine, batch: Any) -> dict[str, Tensor]:
        if not model.training:
            model.train()
        x, y = (part.to(device, non_blocking=True) for part in batch)
        if transform is not None:
            x = transform(x)
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
