"""Optimizer parameter groups: which rate and which weight decay each parameter of a model has."""

from collections.abc import Collection, Iterable
from typing import Any

from torch import nn


def layer_wise(
    model: nn.Module, *, lr: float, decay: float, weight_decay: float, head: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Return groups for an optimizer, in which rates fall from the ``head`` to the first layers.

    The head, parameters of these names, has the rate ``lr`` and comes first; the last block before it has
    ``lr * decay``, the one before that ``lr * decay**2``, and so on (Bao et al., "BEiT", arXiv 2106.08254,
    section 3.2 and its code; timm's ``--layer-decay``). BEiT has a ``decay`` of 0.65 to 0.75. Parameters of
    one dimension, those of norms and biases, have no weight decay.

    Blocks are the model's children in the order of their definition. An ``nn.Sequential``, and what holds
    over half of all parameters, is taken apart; what it has of its own, such as position embeddings, belongs
    to its first block. A norm belongs to the block before it. Frozen parameters are in, so that they can be
    unfrozen.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.Linear(8, 2))
    >>> groups = layer_wise(model, lr=1.0, decay=0.5, weight_decay=0.1, head=["3.weight", "3.bias"])
    >>> [(group["lr"], group["weight_decay"], len(group["params"])) for group in groups]
    [(1.0, 0.1, 1), (1.0, 0.0, 1), (0.5, 0.1, 1), (0.5, 0.0, 1), (0.25, 0.1, 1), (0.25, 0.0, 3)]
    """
    if not 0 < decay <= 1:
        raise ValueError(f"decay must be above 0 and at most 1, got {decay}")
    parameters = dict(model.named_parameters())
    unknown = [name for name in head if name not in parameters]
    if unknown:
        raise ValueError(f"head must name parameters of the model, got {unknown[0]!r}")
    layers = _Blocks(model, apart=[parameters[name] for name in head]).blocks
    layers.append([parameters[name] for name in head])
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for depth, layer in enumerate(reversed(layers)):
        for parameter in layer:
            options = (lr * decay**depth, weight_decay if parameter.ndim > 1 else 0.0)
            groups.setdefault(options, []).append(parameter)
    return [
        {"params": group, "lr": lr_of_layer, "weight_decay": of_group}
        for (lr_of_layer, of_group), group in groups.items()
    ]


class _Blocks:
    """The parameters of a model, but for those ``apart``, by block, the first ones first."""

    def __init__(self, model: nn.Module, *, apart: Iterable[nn.Parameter]) -> None:
        self.blocks: list[list[nn.Parameter]] = []
        self._seen = {id(parameter) for parameter in apart}
        self._half = sum(parameter.numel() for parameter in model.parameters()) / 2
        self._take_apart(model)

    def _take_apart(self, module: nn.Module) -> None:
        first = len(self.blocks)
        for child in module.children():
            is_container = isinstance(child, nn.Sequential) or _size(child) > self._half
            if is_container and any(True for _ in child.children()):
                self._take_apart(child)
            elif block := self._unseen(child.parameters()):
                is_norm = all(parameter.ndim <= 1 for parameter in block)
                self._add(block, to=len(self.blocks) - 1 if is_norm and self.blocks else None)
        if own := self._unseen(module.parameters(recurse=False)):
            self._add(own, to=first if first < len(self.blocks) else None)

    def _unseen(self, parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
        unseen = [parameter for parameter in parameters if id(parameter) not in self._seen]
        self._seen.update(map(id, unseen))
        return unseen

    def _add(self, parameters: list[nn.Parameter], *, to: int | None) -> None:
        if to is None:
            self.blocks.append(parameters)
        else:
            self.blocks[to] += parameters


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
