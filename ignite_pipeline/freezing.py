"""Which parameters of a model are trained: fine-tuning begins with a new head on a frozen rest."""

from collections.abc import Collection

from torch import nn


def freeze_all_but(model: nn.Module, names: Collection[str]) -> list[nn.Parameter]:
    """Freeze a model's parameters but those of ``names``; return those that were trained until now.

    What is frozen has no gradients, so that an optimizer leaves it as it is, weight decay or not, and buffers
    beside it stay too (see `TrainingMode`). `handlers.UnfreezeAfter` takes the list, to undo it. Raises
    ``ValueError`` for a name that is none of the model's.

    In an average of the weights, what is frozen stays as it is with torch's ``AveragedModel(model,
    multi_avg_fn=get_ema_multi_avg_fn(decay))``. Ignite's ``EMAHandler`` rounds it anew in every iteration:
    after 10,000 with a momentum of 0.0002, it is off by 1e-4 of the largest weight.

    >>> model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    >>> frozen = freeze_all_but(model, ["1.weight", "1.bias"])
    >>> [parameter.requires_grad for parameter in model.parameters()], len(frozen)
    ([False, False, True, True], 2)
    """
    parameters = dict(model.named_parameters())
    unknown = [name for name in names if name not in parameters]
    if unknown:
        raise ValueError(f"names must be those of parameters of the model, got {unknown[0]!r}")
    frozen = [
        parameter for name, parameter in parameters.items() if parameter.requires_grad and name not in names
    ]
    for parameter in frozen:
        parameter.requires_grad_(False)
    return frozen
