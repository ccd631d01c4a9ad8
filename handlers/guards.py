"""Handlers that stop a run which should not go on."""

import math

from ignite.engine import Engine, Events


class StopOnNonFinite:
    """Raise ``FloatingPointError`` when a published metric is infinite or not a number.

    Attach it after `StepMeans`, with the same ``every_iters``: it looks at what has been brought to
    the host already. The step itself leaves the weights as they are when a loss is not finite.

    >>> trainer = Engine(lambda engine, batch: None)
    >>> _ = StopOnNonFinite(every_iters=1).attach(trainer)
    >>> trainer.logger.disabled = True
    >>> @trainer.on(Events.STARTED)
    ... def publish():
    ...     trainer.state.metrics["train/loss"] = float("nan")
    >>> trainer.run([1])
    Traceback (most recent call last):
    FloatingPointError: train/loss is nan at iteration 1; a lower learning rate or clipping may help
    """

    def __init__(self, name: str = "train/loss", *, every_iters: int = 50) -> None:
        self.name, self.every_iters = name, every_iters

    def attach(self, engine: Engine) -> "StopOnNonFinite":
        """Register on the engine's events and return self."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.check_if_due)
        engine.add_event_handler(Events.EPOCH_COMPLETED | Events.TERMINATE, self.check)
        return self

    def check_if_due(self, engine: Engine) -> None:
        """Check every ``every_iters`` iterations."""
        if engine.state.iteration % self.every_iters == 0:
            self.check(engine)

    def check(self, engine: Engine) -> None:
        """Raise if the metric is not finite."""
        value = engine.state.metrics.get(self.name, 0.0)
        if not math.isfinite(value):
            raise FloatingPointError(
                f"{self.name} is {value} at iteration {engine.state.iteration};"
                " a lower learning rate or clipping may help"
            )
