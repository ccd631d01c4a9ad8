"""Parameters that are frozen for the first epochs."""

from collections.abc import Iterable

from ignite.engine import Engine, Events
from torch import nn


class UnfreezeAfter:
    """Train ``parameters``, which somebody has frozen, once ``epochs`` are over.

    They are unfrozen as the next epoch starts; with ``epochs=0``, as the first does. A checkpoint tells what
    was frozen, so that a run may go on from before, at or after that moment.

    Give the optimizer all parameters when it is made: it leaves alone what has no gradient.

    >>> import torch
    >>> weight = nn.Parameter(torch.zeros(1), requires_grad=False)
    >>> trainer = Engine(lambda engine, batch: print(engine.state.epoch, weight.requires_grad))
    >>> _ = UnfreezeAfter([weight], epochs=1).attach(trainer)
    >>> _ = trainer.run([0], max_epochs=2)
    1 False
    2 True
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, epochs: int) -> None:
        if epochs < 0:
            raise ValueError(f"epochs must be at least 0, got {epochs}")
        self.parameters, self.epochs = list(parameters), epochs

    def attach(self, engine: Engine) -> "UnfreezeAfter":
        """Register on the engine's events and return self."""
        engine.add_event_handler(Events.EPOCH_STARTED(once=self.epochs + 1), self.unfreeze)
        return self

    def unfreeze(self) -> None:
        """Let the parameters have gradients from here on."""
        for parameter in self.parameters:
            parameter.requires_grad_(True)
