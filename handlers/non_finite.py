"""Stop a run whose loss is no longer finite, and say why."""

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from torch.optim import Optimizer

from handlers.files import positioned_record
from handlers.line_file import LineFile
from handlers.step_outputs import Numbers, StepOutputs, outputs_of
from handlers.training_metrics import scalars

_LOGGER = logging.getLogger(__name__)


class StopOnNonFinite:
    """Raise ``FloatingPointError`` when a loss among the step's outputs is infinite or not a number.

    The losses stay on the device for ``every_iters`` iterations. Until then a step has to leave the weights
    as they are, as a fused optimizer does that is told (``found_inf``). ``allowed_in_a_row`` such
    iterations are let pass, for a step that skips them.

    Each gets a line in the file ``path``: ``iteration``, ``epoch``, its losses, the training metrics as last
    published, ``lr`` of the ``optimizer`` and, from ``samples_of(iteration)``, the indices of its samples.
    Looked at are the outputs called ``names``; without these, all whose name begins with ``loss``.

    Attach it after `StepMeans` and before what evaluates, records and saves.

    >>> trainer = Engine(lambda engine, batch: {"loss": batch})
    >>> _ = StopOnNonFinite(every_iters=4).attach(trainer)
    >>> trainer.logger.disabled = True
    >>> trainer.run([1.0, float("nan"), 1.0])
    Traceback (most recent call last):
    FloatingPointError: loss is nan at iteration 2; a lower learning rate or clipping may help
    """

    def __init__(
        self,
        names: Sequence[str] | None = None,
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
        self.names, self.every_iters, self.allowed_in_a_row = names, every_iters, allowed_in_a_row
        self.samples_of, self.optimizer = samples_of, optimizer
        self._lines = None if path is None else LineFile(path, as_record=positioned_record)
        self._outputs: StepOutputs | None = None
        self._unchecked: list[tuple[int, float | None, dict[str, float]]] = []
        self._last = self._in_a_row = 0

    def attach(self, engine: Engine) -> "StopOnNonFinite":
        """Register on the engine's events and return self."""
        self._outputs = outputs_of(engine, self)
        engine.add_event_handler(Events.STARTED, self.start)
        self._outputs.optimizer = self.optimizer or self._outputs.optimizer
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every_iters), self.check)
        engine.add_event_handler(Events.EPOCH_COMPLETED | Events.TERMINATE, self.check)
        return self

    def start(self, engine: Engine) -> None:
        """Drop lines that are about to come again."""
        if self._lines is not None:
            self._lines.keep_until(engine.state.iteration)

    def read(self, numbers: Numbers) -> None:
        """Keep the losses of some steps that are not finite."""
        columns = [values for name, values in numbers.columns().items() if self._is_loss(name)]
        if all(all(map(math.isfinite, values)) for values in columns):
            return
        for place, (lr, row) in enumerate(zip(numbers.lrs, numbers.rows(), strict=True)):
            losses = {name: value for name, value in row.items() if self._is_loss(name)}
            if not all(map(math.isfinite, losses.values())):
                number = None if lr is None else float(lr)
                self._unchecked.append((numbers.first_iteration + place, number, losses))

    def forget(self) -> None:
        """Forget a run that this one does not go on with."""
        self._unchecked, self._last, self._in_a_row = [], 0, 0

    def check(self, engine: Engine) -> None:
        """Raise if one of the losses is not finite, and was one too many."""
        if self._outputs is not None:
            self._outputs.bring()
        unchecked, self._unchecked = self._unchecked, []
        for iteration, lr, losses in unchecked:
            self._in_a_row = self._in_a_row + 1 if iteration == self._last + 1 else 1
            self._last = iteration
            self._record(engine, iteration, losses, lr)
            if self._in_a_row > self.allowed_in_a_row:
                bad = {name: value for name, value in losses.items() if not math.isfinite(value)}
                name, value = next(iter(bad.items()))
                raise FloatingPointError(
                    f"{name} is {value} at iteration {iteration}; a lower learning rate or clipping may help"
                )

    def _is_loss(self, name: str) -> bool:
        return str(name).startswith("loss") if self.names is None else name in self.names

    def state_dict(self) -> dict[str, Any]:
        """Return what has been kept and not yet looked at, for a checkpoint."""
        if self._outputs is not None:
            self._outputs.bring()
        return {"unchecked": list(self._unchecked), "last": self._last, "in_a_row": self._in_a_row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a checkpoint was taken."""
        if self._outputs is not None:
            self._outputs.restart()
        self._unchecked, self._last, self._in_a_row = (
            list(state["unchecked"]),
            state["last"],
            state["in_a_row"],
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
        if self._lines is not None:
            self._lines.add(line)

    def sync(self) -> None:
        """Wait until the lines are on the disk; raise ``OSError`` if that cannot be done."""
        if self._lines is not None:
            self._lines.sync()
