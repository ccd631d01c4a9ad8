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
Metric = Callable[[Any, Any], Tensor]
Unpack = Callable[[Any], tuple[Any, Any]]


def accuracy(y_pred: Tensor, y: Tensor) -> Tensor:
    """Return the share of rows of logits ``(B, K)`` whose largest is at ``y``, as a tensor ``()``.

    ``y`` holds classes, ``(B,)``, or their shares, ``(B, K)``, as MixUp makes them: then the largest counts.

    >>> accuracy(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 1]))
    tensor(0.5000)
    """
    return (y_pred.argmax(1) == (y if y.ndim == 1 else y.argmax(1))).float().mean()


def supervised_step(
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: Callable[[Any, Any], Tensor],
    *,
    compute: Compute | None = None,
    unpack: Unpack | None = None,
    transform: Callable[[Any], Any] | None = None,
    mix: Callable[[Any, Any], tuple[Any, Any]] | None = None,
    schedule: LRScheduler | None = None,
    clip_norm: float | None = None,
    metrics: Mapping[str, Metric] | None = None,
) -> Step:
    """Return a step that trains ``model`` on ``(x, y)``: one batch, one update.

    ``compute`` says where and how (default: in float32 on the processor). A batch is ``(x, y)``, or whatever
    ``unpack`` makes that of once it is on the device: ``operator.itemgetter("image", "label")`` for a dict.
    ``transform`` is applied to ``x``, then ``mix`` to ``(x, y)``: ``torchvision.transforms.v2.MixUp``, say.
    The ``schedule`` steps once an iteration. A loss that is not finite leaves the parameters as they are from
    then on (see `Compute`). The output has ``loss`` and one entry for each of ``metrics``, functions of the
    prediction and ``y`` as ``loss_fn`` is: tensors ``()``.

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
    if clip_norm is not None and clip_norm <= 0:
        raise ValueError(f"clip_norm must be positive or None, got {clip_norm}")
    by = compute or Compute()
    measures = {"loss": loss_fn, **(metrics or {})}

    def forward(batch: tuple[Any, Any]) -> LossAndOutput:
        x, y = batch
        y_pred = by.predict(model, x)
        output = {name: measure(y_pred, y) for name, measure in measures.items()}
        return output["loss"], output

    def prepare(batch: Any) -> tuple[Any, Any]:
        x, y = _pair(batch, unpack)
        x = x if transform is None else transform(x)
        return (x, y) if mix is None else mix(x, y)

    def step(engine: Engine, batch: Any) -> dict[str, Tensor]:
        by.begin(engine, model)
        output = by.update(optimizer, forward, by.parts(batch, prepare), clip_norm=clip_norm)
        by.end()
        if schedule is not None:
            schedule.step()
        return output

    return step


def _pair(batch: Any, unpack: Unpack | None) -> tuple[Any, Any]:
    if unpack is not None:
        return unpack(batch)
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    names = f" with {', '.join(map(str, batch))}" if isinstance(batch, Mapping) else ""
    raise ValueError(
        f"a batch must be (x, y), got {type(batch).__name__}{names}: give the step unpack, such as"
        ' unpack=operator.itemgetter("image", "label")'
    )


def evaluation_step(
    model: nn.Module,
    *,
    compute: Compute | None = None,
    unpack: Unpack | None = None,
    transform: Callable[[Any], Any] | None = None,
    mirror: bool = False,
) -> Step:
    """Return a step that predicts in eval mode: ``{"y_pred": logits, "y": targets}``, for Ignite's metrics.

    ``unpack`` and ``transform`` are as in `supervised_step`. ``mirror`` averages the logits of each image
    and its mirror image.

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
        x, y = _pair(by.transfer(batch), unpack)
        if transform is not None:
            x = transform(x)
        y_pred = by.predict(model, x)
        if mirror:
            y_pred = (y_pred + by.predict(model, x.flip(-1))) / 2
        return {"y_pred": y_pred, "y": y}

    return step
