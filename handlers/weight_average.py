"""An average of a model's weights over the iterations."""

from ignite.engine import Engine, Events
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class WeightAverage:
    """Keep an exponential moving average of a model's weights: ``decay`` of it and the rest of the new ones.

    `averaged` is a copy of the model with these weights, and with the model's own buffers, such as the
    statistics of batch norm. Make it when the model is on its device.

    It is torch's `AveragedModel`: the average of weights that stay as they are, those of a frozen part, is
    the same to the last bit. (Ignite's ``EMAHandler`` adds two products, whose rounding adds up.)

    >>> import torch
    >>> model = nn.Linear(1, 1, bias=False)
    >>> average = WeightAverage(model, decay=0.75)
    >>> def step(engine, batch):
    ...     torch.nn.init.constant_(model.weight, batch)
    >>> _ = average.attach(trainer := Engine(step))
    >>> _ = trainer.run([4.0, 8.0])
    >>> average.averaged.weight.item()
    5.0
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, got {decay}")
        self.model = model
        self._average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))

    @property
    def averaged(self) -> nn.Module:
        """The copy of the model with the averages as its weights."""
        module: nn.Module = self._average.module
        return module

    def attach(self, engine: Engine) -> "WeightAverage":
        """Register on the engine's events and return self."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.update)
        return self

    def update(self) -> None:
        """Take the weights as they are now into the average."""
        self._average.update_parameters(self.model)

    def state_dict(self) -> dict[str, object]:
        """Return the averages, and how often they were updated."""
        return self._average.state_dict()

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on from such a state."""
        self._average.load_state_dict(state)
