"""What a training step reports, brought to the host once in many iterations."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

_LONGEST = 1000


class StepMeans:
    """Publish means of a step's outputs as ``train/<name>``.

    The step returns a dict of tensors ``()`` or numbers, or one alone, which is called ``loss``. They stay on
    the device for ``every_iters`` iterations and come over together; the means of these are published then,
    and the means of the whole epoch at its end.

    >>> trainer = Engine(lambda engine, batch: {"loss": torch.tensor(float(batch))})
    >>> _ = StepMeans(every_iters=2).attach(trainer)
    >>> trainer.run([1, 2, 6]).metrics
    {'train/loss': 3.0}
    """

    def __init__(self, *, every_iters: int = 50) -> None:
        if every_iters < 1:
            raise ValueError(f"every_iters must be at least 1, got {every_iters}")
        self.every_iters = every_iters
        self._on_device: list[Any] = []
        self._window: dict[str, list[float]] = {}
        self._epoch: dict[str, float] = {}
        self._epoch_counts: dict[str, int] = {}
        self._collected_until: int | None = None

    def attach(self, engine: Engine) -> "StepMeans":
        """Register on the engine's events and return self."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED | Events.TERMINATE, self.publish_epoch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.start_epoch)
        return self

    def start(self, engine: Engine) -> None:
        """Forget what was collected, unless the engine goes on after it."""
        if self._collected_until not in (None, engine.state.iteration):
            self._on_device.clear()
            self._window, self._epoch, self._epoch_counts = {}, {}, {}

    def collect(self, engine: Engine) -> None:
        """Keep this iteration's outputs, on the device; publish if the window is full."""
        state = engine.state
        self._on_device.append(state.output)
        self._collected_until = state.iteration
        # Here and in other handlers: a filter, ITERATION_COMPLETED(every=...), costs four times as much.
        if state.iteration % self.every_iters == 0:
            self.publish_window(engine)

    def publish_window(self, engine: Engine) -> None:
        """Publish the means since the last window."""
        self._fetch()
        for name, values in self._window.items():
            engine.state.metrics[f"train/{name}"] = sum(values) / len(values)
        self._window = {}

    def publish_epoch(self, engine: Engine) -> None:
        """Publish the means since the epoch began."""
        self._fetch()
        for name, total in self._epoch.items():
            engine.state.metrics[f"train/{name}"] = total / self._epoch_counts[name]

    def start_epoch(self, engine: Engine) -> None:
        """Forget the epoch that ended."""
        self._epoch, self._epoch_counts = {}, {}

    def _fetch(self) -> None:
        for name, values in columns_in(self._on_device).items():
            self._window.setdefault(name, []).extend(values)
            # Added up one by one, in order: the same bits wherever a checkpoint cuts the window.
            self._epoch[name] = reduce(add, values, self._epoch.get(name, 0.0))
            self._epoch_counts[name] = self._epoch_counts.get(name, 0) + len(values)
        self._on_device.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return what has been collected and not yet published, for a checkpoint."""
        self._fetch()
        window = {name: list(values) for name, values in self._window.items()}
        return {"window": window, "epoch": dict(self._epoch), "epoch_counts": dict(self._epoch_counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint was taken."""
        self._on_device.clear()
        self._collected_until = None
        self._window = {name: list(values) for name, values in state["window"].items()}
        self._epoch = dict(state["epoch"])
        self._epoch_counts = dict(state["epoch_counts"])


class LearningRate:
    """Publish the learning rate of an optimizer's first group as ``train/lr``.

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
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.publish_if_due)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.publish)
        return self

    def publish_if_due(self, engine: Engine) -> None:
        """Publish every ``every_iters`` iterations."""
        if engine.state.iteration % self.every_iters == 0:
            self.publish(engine)

    def publish(self, engine: Engine) -> None:
        """Publish the rate that the next step will use."""
        engine.state.metrics["train/lr"] = self.optimizer.param_groups[0]["lr"]


class ModelNorms:
    """Publish a model's L2 norms: ``train/weight_norm``, and ``train/grad_norm`` of what the step left there.

    They stay on the device as tensors ``()`` until somebody shows them.

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
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.publish_if_due)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.publish)
        return self

    def publish_if_due(self, engine: Engine) -> None:
        """Publish every ``every_iters`` iterations."""
        if engine.state.iteration % self.every_iters == 0:
            self.publish(engine)

    def publish(self, engine: Engine) -> None:
        """Publish the norms as they are."""
        weights = [parameter.detach() for parameter in self.model.parameters()]
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        engine.state.metrics["train/weight_norm"] = get_total_norm(weights)
        engine.state.metrics["train/grad_norm"] = get_total_norm(gradients)


def numbers_in(
    outputs: Sequence[Any], wanted: Callable[[str], bool] = lambda name: True
) -> list[dict[str, float]]:
    """Return the single numbers of ``wanted`` names in steps' outputs, brought to the host in one transfer.

    An output is a mapping, or a number alone, which is called ``loss``; whatever else it has is left out.

    >>> numbers_in([{"loss": torch.tensor(0.5), "y_pred": torch.zeros(2)}, 0.25, None])
    [{'loss': 0.5}, {'loss': 0.25}, {}]
    """
    columns = _columns_of_alike(outputs, wanted)
    if columns is not None:
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    rows = [
        {name: value for name, value in _named(output).items() if wanted(name) and _is_number(value)}
        for output in outputs
    ]
    tensors = [value for row in rows for value in row.values() if isinstance(value, Tensor)]
    if len({tensor.dtype for tensor in tensors}) > 1 or any(tensor.ndim for tensor in tensors):
        tensors = [tensor.reshape(()).float() for tensor in tensors]
    values = iter(torch.stack(tensors).tolist() if tensors else ())
    return [
        {name: next(values) if isinstance(value, Tensor) else float(value) for name, value in row.items()}
        for row in rows
    ]


def columns_in(outputs: Sequence[Any]) -> dict[str, list[float]]:
    """Return the same numbers as `numbers_in`, by name."""
    columns = _columns_of_alike(outputs, lambda name: True)
    if columns is None:
        columns = {}
        for row in numbers_in(outputs):
            for name, value in row.items():
                columns.setdefault(name, []).append(value)
    return columns


def _columns_of_alike(outputs: Sequence[Any], wanted: Callable[[str], bool]) -> dict[str, list[float]] | None:
    """Return the numbers of dicts of the same tensors ``()``, three times as fast; None for all others."""
    if not outputs or type(outputs[0]) is not dict:
        return None
    names = [name for name in outputs[0] if wanted(name)]
    if not names:
        return None
    try:
        on_device = torch.stack([output[name] for name in names for output in outputs])
    except (KeyError, TypeError, RuntimeError):
        return None
    if on_device.ndim != 1 or any(len(output) != len(outputs[0]) for output in outputs):
        return None
    return dict(zip(names, on_device.view(len(names), -1).tolist(), strict=True))


def _named(output: Any) -> Mapping[str, Any]:
    return output if isinstance(output, Mapping) else {"loss": output}


def _is_number(value: Any) -> bool:
    return value.numel() == 1 if isinstance(value, Tensor) else isinstance(value, int | float | np.number)


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics that are numbers, and those of vectors by their place; all others are left out.

    >>> scalars({"loss": torch.tensor(0.5), "recall": [0.25, 1.0], "confusion": torch.eye(2), "note": "x"})
    {'loss': 0.5, 'recall/0': 0.25, 'recall/1': 1.0}
    """
    numbers: dict[str, float] = {}
    for name, value in metrics.items():
        if _is_number(value):
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
    if isinstance(value, list | tuple) and 1 < len(value) <= _LONGEST and all(map(_is_number, value)):
        return [float(number) for number in value]
    return None
