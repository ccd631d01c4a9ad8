"""The numbers that training steps return, brought to the host once in many iterations."""

from collections.abc import Mapping, Sequence, Set
from typing import Any, Protocol

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor
from torch.optim import Optimizer

from handlers.attached import attached_objects


class Numbers:
    """The single numbers in the outputs of steps, from ``first_iteration`` on, brought over in one transfer.

    ``lrs`` are the learning rates of these steps, where somebody noted them. An output is a mapping, or a
    number alone, which is called ``loss``; whatever else it has is left out.

    >>> numbers = Numbers([{"loss": torch.tensor(0.5), "y_pred": torch.zeros(2)}, 0.25, None])
    >>> numbers.rows(), numbers.columns()
    ([{'loss': 0.5}, {'loss': 0.25}, {}], {'loss': [0.5, 0.25]})
    """

    def __init__(
        self, outputs: Sequence[Any], *, first_iteration: int = 1, lrs: Sequence[float | Tensor | None] = ()
    ) -> None:
        self.first_iteration, self.lrs = first_iteration, lrs
        self._columns = _columns_of_alike(outputs)
        self._rows = _rows_of(outputs) if self._columns is None else None

    def rows(self) -> list[dict[str, float]]:
        """Return those of each step."""
        if self._rows is not None:
            return self._rows
        columns = self._columns or {}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def columns(self) -> dict[str, list[float]]:
        """Return those of each name."""
        if self._columns is not None:
            return self._columns
        columns: dict[str, list[float]] = {}
        for row in self._rows or ():
            for name, value in row.items():
                columns.setdefault(name, []).append(value)
        return columns


class Reader(Protocol):
    """Who reads the numbers of an engine's steps."""

    def read(self, numbers: Numbers) -> None:
        """Take in the numbers of the steps since the last call, or since `forget`."""

    def forget(self) -> None:
        """Forget what was read: the engine does not go on after it."""


class StepOutputs:
    """The outputs of an engine's last steps, on the device until somebody asks for their numbers.

    All readers of an engine share one (see `outputs_of`): there is one transfer for all of them.
    """

    untimed_handlers = ("collect",)

    def __init__(self) -> None:
        self.readers: list[Reader] = []
        self.optimizer: Optimizer | None = None
        """The one whose learning rate is noted at each step, if there is one."""
        self._kept: list[Mapping[str, Any]] = []
        self._names: Set[str] = frozenset()  # of an output that was a dict of nothing but numbers
        self._lrs: list[float | Tensor | None] = []
        self._lr: float | Tensor | None = None  # of the step to come
        self._since: int | None = None  # the iteration after which they begin

    def attach(self, engine: Engine) -> "StepOutputs":
        """Register on the engine's events and return self."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        return self

    def start(self, engine: Engine) -> None:
        """Forget what was collected, unless the engine goes on after it."""
        iteration = engine.state.iteration
        if self._since is not None and self._since + len(self._kept) != iteration:
            self._kept.clear()
            self._lrs.clear()
            for reader in self.readers:
                reader.forget()
            self._since = None
        self._note_lr()

    def collect(self, engine: Engine) -> None:
        """Keep the numbers of this iteration's output, and let go of all else: it may be large."""
        if self._since is None:
            self._since = engine.state.iteration - 1
        output: Any = engine.state.output
        if type(output) is dict and output.keys() == self._names:
            output = output.copy()  # a step may fill the same one again
        else:
            output = self._numbers_in(output)
        self._kept.append(output)
        if self.optimizer is not None:
            self._lrs.append(self._lr)
            self._note_lr()

    def _numbers_in(self, output: Any) -> dict[str, Any]:
        numbers = {name: value for name, value in _named(output).items() if is_number(value)}
        if type(output) is dict and len(numbers) == len(output):
            self._names = frozenset(numbers)
        return numbers

    def _note_lr(self) -> None:
        if self.optimizer is not None:
            lr = self.optimizer.param_groups[0]["lr"]
            self._lr = lr.clone() if isinstance(lr, Tensor) else lr

    def bring(self) -> None:
        """Bring what has been collected to the host, and hand it to all readers."""
        kept, lrs, self._kept, self._lrs = self._kept, self._lrs, [], []
        if not kept or self._since is None:
            return
        numbers = Numbers(kept, first_iteration=self._since + 1, lrs=[*[None] * (len(kept) - len(lrs)), *lrs])
        self._since += len(kept)
        for reader in self.readers:
            reader.read(numbers)

    def restart(self) -> None:
        """Let the engine start at any iteration: the readers' states have been put back."""
        self.bring()
        self._since = None


def outputs_of(engine: Engine, reader: Reader) -> StepOutputs:
    """Return what collects the engine's outputs, for one more reader; it is attached with the first."""
    for thing in attached_objects(engine):
        if isinstance(thing, StepOutputs):
            break
    else:
        thing = StepOutputs().attach(engine)
    thing.readers.append(reader)
    return thing


def _rows_of(outputs: Sequence[Any]) -> list[dict[str, float]]:
    rows = [{name: value for name, value in _named(output).items() if is_number(value)} for output in outputs]
    tensors = [value for row in rows for value in row.values() if isinstance(value, Tensor)]
    kinds = {(tensor.dtype, tensor.device) for tensor in tensors}
    if len(kinds) > 1 or any(tensor.ndim for tensor in tensors):
        device = tensors[0].device
        widest = torch.float32 if device.type == "mps" else torch.float64  # which that lacks
        tensors = [tensor.reshape(()).to(device, widest) for tensor in tensors]
    values = iter(torch.stack(tensors).tolist() if tensors else ())
    return [
        {name: next(values) if isinstance(value, Tensor) else float(value) for name, value in row.items()}
        for row in rows
    ]


def _columns_of_alike(outputs: Sequence[Any]) -> dict[str, list[float]] | None:
    """Return the numbers of dicts of the same tensors ``()``, three times as fast; None for all others.

    Tensors of several types would be rounded to one of them.
    """
    if not outputs or type(outputs[0]) is not dict or not outputs[0]:
        return None
    names = list(outputs[0])
    try:
        if any(len(output) != len(names) for output in outputs):
            return None
        tensors = [output[name] for name in names for output in outputs]
        if len({tensor.dtype for tensor in tensors}) > 1:
            return None
        on_device = torch.stack(tensors)
    except (KeyError, TypeError, AttributeError, RuntimeError):
        return None
    if on_device.ndim != 1:
        return None
    return dict(zip(names, on_device.view(len(names), -1).tolist(), strict=True))


def _named(output: Any) -> Mapping[str, Any]:
    return output if isinstance(output, Mapping) else {"loss": output}


def is_number(value: Any) -> bool:
    """Return whether a value is a single number: a tensor of one element, or a number of Python or NumPy."""
    return value.numel() == 1 if isinstance(value, Tensor) else isinstance(value, int | float | np.number)
