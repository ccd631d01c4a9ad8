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

from ignite_pipeline.compute import Compute, LossAndOutput

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
    compute: Compute | None = None,
    transform: Callable[[Tensor], Tensor] | None = None,
    schedule: LRScheduler | None = None,
    clip_norm: float | None = None,
    micro_batches: int = 1,
    metrics: Mapping[str, Metric] | None = None,
) -> Step:
    """Return a step that trains ``model`` on ``(x, y)``: one batch, one update.

    ``compute`` says where and how (default: in float32 on the processor). ``transform`` is applied to ``x``
    on the device. ``loss_fn`` must average over the batch. The ``schedule`` steps once an iteration.
    ``micro_batches`` splits the batch and accumulates the gradients, to save memory: an update still sees
    the whole batch, the last, smaller one too. A loss that is not finite leaves the parameters as they are
    from then on (see `Compute`). The output has ``loss`` and one entry for each of ``metrics``, tensors
    ``()``.

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
    by = compute or Compute()
    measures = {"loss": loss_fn, **(metrics or {})}

    def forward(part: tuple[Tensor, Tensor, float]) -> LossAndOutput:
        x, y, share = part
        with by.autocast():
            y_pred = model(x)
        output = {name: measure(y_pred.float(), y) * share for name, measure in measures.items()}
        return output["loss"], output

    def step(engine: Engine, batch: Any) -> dict[str, Tensor]:
        by.begin(model)
        x, y = by.transfer(batch)
        if transform is not None:
            x = transform(x)
        parts = [
            (x_part, y_part, len(x_part) / len(x))
            for x_part, y_part in zip(x.chunk(micro_batches), y.chunk(micro_batches), strict=True)
        ]
        output = by.update(optimizer, forward, parts, clip_norm=clip_norm)
        by.end()
        if schedule is not None:
            schedule.step()
        return output

    return step


def evaluation_step(
    model: nn.Module,
    *,
    compute: Compute | None = None,
    transform: Callable[[Tensor], Tensor] | None = None,
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
    by = compute or Compute()

    @torch.inference_mode()
    def step(engine: Engine, batch: Any) -> dict[str, Tensor]:
        if model.training:
            model.eval()
        x, y = by.transfer(batch)
        if transform is not None:
            x = transform(x)
        with by.autocast():
            y_pred = model(x).float()
            if mirror:
                y_pred = (y_pred + model(x.flip(-1)).float()) / 2
        return {"y_pred": y_pred, "y": y}

    return step
