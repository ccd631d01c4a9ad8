"""What a training step reports, brought to the host once in many iterations."""

import math
from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from handlers.step_outputs import Numbers, StepOutputs, is_number, outputs_of

_LONGEST = 1000


class StepMeans:
    """Publish means of a step's outputs as ``train/<name>``.

    The step returns a dict of tensors ``()`` or numbers, or one alone, which is called ``loss``. They stay on
    the device for ``every_iters`` iterations and come over together; the means of these are published then,
    and the means of the whole epoch at its end. What is not finite is left out, unless nothing else is there:
    such a batch was skipped, or is about to end the run.

    >>> import torch
    >>> trainer = Engine(lambda engine, batch: {"loss": torch.tensor(float(batch))})
    >>> _ = StepMeans(every_iters=2).attach(trainer)
    >>> trainer.run([1, 2, 6]).metrics
    {'train/loss': 3.0}
    """

    def __init__(self, *, every_iters: int = 50) -> None:
        if every_iters < 1:
            raise ValueError(f"every_iters must be at least 1, got {every_iters}")
        self.every_iters = every_iters
        self._outputs: StepOutputs | None = None
        self._window: dict[str, list[float]] = {}
        self._epoch: dict[str, float] = {}
        self._epoch_counts: dict[str, int] = {}

    def attach(self, engine: Engine) -> "StepMeans":
        """Register on the engine's events and return self."""
        self._outputs = outputs_of(engine, self)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every_iters), self.publish_window)
        engine.add_event_handler(Events.EPOCH_COMPLETED | Events.TERMINATE, self.publish_epoch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.start_epoch)
        return self

    def read(self, numbers: Numbers) -> None:
        """Add what some steps have returned."""
        for name, values in numbers.columns().items():
            finite = [value for value in values if math.isfinite(value)]
            self._window.setdefault(name, []).extend(finite)
            # Added up one by one, in order: the same bits wherever a checkpoint cuts the window.
            self._epoch[name] = reduce(add, finite, self._epoch.get(name, 0.0))
            self._epoch_counts[name] = self._epoch_counts.get(name, 0) + len(finite)

    def forget(self) -> None:
        """Forget what was added."""
        self._window, self._epoch, self._epoch_counts = {}, {}, {}

    def _bring(self) -> None:
        if self._outputs is not None:
            self._outputs.bring()

    def publish_window(self, engine: Engine) -> None:
        """Publish the means since the last window."""
        self._bring()
        for name, values in self._window.items():
            engine.state.metrics[f"train/{name}"] = _mean(sum(values), len(values))
        self._window = {}

    def publish_epoch(self, engine: Engine) -> None:
        """Publish the means since the epoch began."""
        self._bring()
        for name, total in self._epoch.items():
            engine.state.metrics[f"train/{name}"] = _mean(total, self._epoch_counts[name])

    def start_epoch(self, engine: Engine) -> None:
        """Forget the epoch that ended."""
        self._epoch, self._epoch_counts = {}, {}

    def state_dict(self) -> dict[str, Any]:
        """Return what has been collected and not yet published, for a checkpoint."""
        self._bring()
        window = {name: list(values) for name, values in self._window.items()}
        return {"window": window, "epoch": dict(self._epoch), "epoch_counts": dict(self._epoch_counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint was taken."""
        if self._outputs is not None:
            self._outputs.restart()
        self._window = {name: list(values) for name, values in state["window"].items()}
        self._epoch = dict(state["epoch"])
        self._epoch_counts = dict(state["epoch_counts"])


def _mean(total: float, count: int) -> float:
    return total / count if count else math.nan


class LearningRate:
    """Publish the learning rate of an optimizer's first group as ``train/lr``.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    >>> trainer = Engine(lambda engine, batch: None)
    >>> _ = LearningRate(optimizer, every_iters=1).attach(trainer)
    >>> trainer.run([1]).metrics
    {'train/lr': 0.1}
    """

    def __init__(self, optimizer: Optimizer, *, every_iters: int = 50) -> None:
        self.optimizer, self.every_iters = optimizer, every_iters

    def attach(self, engine: Engine) -> "LearningRate":
        """Register on the engine's events and return self."""
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every_iters), self.publish)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.publish)
        return self

    def publish(self, engine: Engine) -> None:
        """Publish the rate that the next step will use."""
        engine.state.metrics["train/lr"] = self.optimizer.param_groups[0]["lr"]


class ModelNorms:
    """Publish a model's L2 norms: ``train/weight_norm``, and ``train/grad_norm`` of what the step left there.

    They stay on the device as tensors ``()`` until somebody shows them.

    >>> import torch
    >>> model = torch.nn.Linear(2, 1)
    >>> trainer = Engine(lambda engine, batch: model(torch.ones(2)).sum().backward())
    >>> _ = ModelNorms(model, every_iters=1).attach(trainer)
    >>> trainer.run([1]).metrics["train/grad_norm"]
    tensor(1.7321)
    """

    def __init__(self, model: nn.Module, *, every_iters: int = 50) -> None:
        if every_iters < 1:
            raise ValueError(f"every_iters must be at least 1, got {every_iters}")
        self.model, self.every_iters = model, every_iters

    def attach(self, engine: Engine) -> "ModelNorms":
        """Register on the engine's events and return self."""
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every_iters), self.publish)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.publish)
        return self

    def publish(self, engine: Engine) -> None:
        """Publish the norms as they are."""
        weights = [parameter.detach() for parameter in self.model.parameters()]
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        engine.state.metrics["train/weight_norm"] = get_total_norm(weights)
        engine.state.metrics["train/grad_norm"] = get_total_norm(gradients)


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics that are numbers, and those of vectors by their place; all others are left out.

    >>> import torch
    >>> scalars({"loss": torch.tensor(0.5), "recall": [0.25, 1.0], "confusion": torch.eye(2), "note": "x"})
    {'loss': 0.5, 'recall/0': 0.25, 'recall/1': 1.0}
    """
    numbers: dict[str, float] = {}
    for name, value in metrics.items():
        if is_number(value):
            numbers[name] = float(value)
        elif (vector := vector_in(value)) is not None:
            numbers.update((f"{name}/{place}", number) for place, number in enumerate(vector))
    return numbers


def vector_in(value: Any) -> list[float] | None:
    """Return a vector of at most 1,000 numbers, such as one for each class, as floats; None for all else."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().tolist() if value.ndim == 1 else None
    elif isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple) and 1 < len(value) <= _LONGEST and all(map(is_number, value)):
        return [float(number) for number in value]
    return None
