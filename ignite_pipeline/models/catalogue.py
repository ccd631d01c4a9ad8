"""The models that can be built from their names alone, so that a file of weights is enough."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ignite_pipeline.errors import BadInput
from ignite_pipeline.models.classifiers import CLASSIFIERS
from ignite_pipeline.models.pix2pix import UNetGenerator


def build_model(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Return a model with random weights: ``classifiers/…``, ``torchvision/…`` or ``pix2pix/generator``.

    ``arguments`` are what its builder takes, in words and numbers. `BadInput` is raised for an unknown name,
    and for arguments that the builder does not take.

    >>> build_model("classifiers/fully-connected", {"num_classes": 2})[1]
    Linear(in_features=3072, out_features=512, bias=True)
    """
    family, _, own_name = name.partition("/")
    try:
        if family in _FAMILIES:
            return _FAMILIES[family](own_name)(**arguments)
    except Exception as error:  # whatever the arguments of a foreign file make a builder stumble over
        raise BadInput(f"the model {name} cannot be built with {arguments!r}: {error}") from error
    raise BadInput(f"the model {name!r} is none of {', '.join(f'{family}/...' for family in _FAMILIES)}")


def _torchvision(name: str) -> Callable[..., nn.Module]:
    from ignite_pipeline.models.pretrained import pretrained_classifier  # only who needs it pays for it

    return lambda num_outputs: pretrained_classifier(name, num_outputs, weights="none")


_FAMILIES: dict[str, Callable[[str], Callable[..., nn.Module]]] = {
    "classifiers": lambda name: CLASSIFIERS[name],
    "torchvision": _torchvision,
    "pix2pix": {"generator": UNetGenerator}.__getitem__,
}
