"""Handlers that stop a run which should not go on, and say why."""

import json
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor
from torch.optim import Optimizer

from handlers.training_metrics import scalars

_LOGGER = logging.getLogger(__name__)


class StopOnNonFinite:
    """Raise ``FloatingPointError`` when a loss among the step's outputs is infinite or not a number.

    The losses stay on the device for ``every_iters`` iterations. Until then a step has to leave the weights
    as they are, as those of this project do (see ``Precision``). ``allowed_in_a_row`` such iterations are
    let pass, for a step that skips them.

    Each gets a line in the file ``path``: ``iteration``, ``epoch``, its losses, the training metrics as last
    published, ``lr`` of the ``optimizer`` and, from ``samples_of(iteration)``, the indices of its samples.

    Attach it after `StepMeans` and before what evaluates, records and saves.

    >>> trainer = Engine(lambda engine, batch: {"loss": torch.tensor(batch)})
    >>> _ = StopOnNonFinite(every_iters=4).attach(trainer)
    >>> trainer.logger.disabled = True
    >>> trainer.run([1.0, float("nan"), 1.0])
    Traceback (most recent call last):
    FloatingPointError: loss is nan at iteration 2; a lower learning rate or clipping may help
    """

    def __init__(
        self,
        names: Sequence[str] = ("loss",),
        *,
        every_iters: int = 50,
        allowed_in_a_row: int = 0,
        path: Path | None = None,
        samples_of: Callable[[int], list[int]] | None = None,
        optimizer: Optimizer | None = None,
    ) -> None:
        if every_iters < 1:
            raise ValueError(f"every_iters must be at least 1, got {every_iters}")
        if allowed_in_a_row < 0:
            raise ValueError(f"allowed_in_a_row must not be negative, got {allowed_in_a_row}")
        self.names, self.every_iters, self.allowed_in_a_row = tuple(names), every_iters, allowed_in_a_row
        self.path, self.samples_of, self.optimizer = path, samples_of, optimizer
        self._losses: list[list[Tensor]] = []
        self._lrs: list[float | None] = []
        self._in_a_row = 0

    def attach(self, engine: Engine) -> "StopOnNonFinite":
        """Register on the engine's events and return self."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED | Events.TERMINATE, self.check)
        return self

    def start(self, engine: Engine) -> None:
        """Forget an earlier run."""
        self._losses, self._lrs, self._in_a_row = [], [self._lr()], 0

    def collect(self, engine: Engine) -> None:
        """Keep this iteration's losses, on the device; look at them if the window is full."""
        output: Any = engine.state.output
        self._losses.append([output[name] for name in self.names])
        self._lrs.append(self._lr())
        if engine.state.iteration % self.every_iters == 0:
            self.check(engine)

    def _lr(self) -> float | None:
        """Return the learning rate of the step to come."""
        return None if self.optimizer is None else self.optimizer.param_groups[0]["lr"]

    def check(self, engine: Engine) -> None:
        """Raise if one of the losses kept is not finite, and was one too many."""
        if not self._losses:
            return
        rows = torch.stack([loss for losses in self._losses for loss in losses]).tolist()
        count = len(self.names)
        first = engine.state.iteration - len(self._losses) + 1
        lrs, self._losses, self._lrs = self._lrs, [], self._lrs[-1:]
        for place, lr in enumerate(lrs[:-1]):
            losses = rows[place * count : (place + 1) * count]
            bad = [value for value in losses if not math.isfinite(value)]
            self._in_a_row = self._in_a_row + 1 if bad else 0
            if bad:
                iteration = first + place
                self._record(engine, iteration, dict(zip(self.names, losses, strict=True)), lr)
                if self._in_a_row > self.allowed_in_a_row:
                    name = self.names[losses.index(bad[0])]
                    raise FloatingPointError(
                        f"{name} is {bad[0]} at iteration {iteration};"
                        " a lower learning rate or clipping may help"
                    )

    def _record(self, engine: Engine, iteration: int, losses: dict[str, float], lr: float | None) -> None:
        epoch_length = engine.state.epoch_length or 1
        line = {
            "iteration": iteration,
            "epoch": (iteration - 1) // epoch_length + 1,
            "losses": {name: value if math.isfinite(value) else str(value) for name, value in losses.items()},
            "lr": lr,
            "samples": None if self.samples_of is None else self.samples_of(iteration),
            "metrics": {
                name: value if math.isfinite(value) else None
                for name, value in scalars(engine.state.metrics).items()
                if name.startswith("train/")
            },
        }
        _LOGGER.warning("a loss is not finite at iteration %d: %s", iteration, line["losses"])
        if self.path is not None:
            try:
                with open(self.path, "a") as file:
                    file.write(json.dumps(line) + "\n")
            except OSError as error:
                _LOGGER.warning("%s: not written (%s)", self.path, error)
