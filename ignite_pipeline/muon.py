"""Muon: steps of convolutions and linear layers in which all directions count alike."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

# Of the fifth-order Newton-Schulz iteration: singular values of 0.001 come close to 1 within a few rounds.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_LEAST_NORM = 1e-7  # what divides by a norm keeps zeros as they are


class Muon(Optimizer):
    """Nesterov's momentum, in groups with ``orthogonal=True`` made orthogonal before it is a step.

    A weight ``(M, ...)`` is taken as a matrix of M rows. What its momentum has as singular values becomes 1,
    or nearly so, by ``rounds`` of a Newton-Schulz iteration; the weight's norm is kept at the root of M, so
    that steps turn it (Jordan, "Muon: an optimizer for hidden layers in neural networks", 2024, and
    arXiv 2404.00498). All other groups are SGD with ``weight_decay``.

    ``torch.optim.Muon`` takes matrices alone, and computes in bfloat16, which is slow on many processors.
    It reads ``found_inf`` on the device, as fused optimizers of torch do: such a step changes nothing.

    >>> layer = nn.Linear(2, 2, bias=False)
    >>> layer.weight.grad = torch.diag(torch.tensor([3.0, 0.01]))
    >>> before = layer.weight * 2**0.5 / layer.weight.norm()
    >>> Muon([{"params": [layer.weight], "orthogonal": True}], lr=0.1, rounds=9).step()
    >>> ((before - layer.weight).svd().S * 10).round().tolist()
    [1.0, 1.0]
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        orthogonal: bool = False,
        rounds: int = 3,
    ) -> None:
        if rounds < 1:
            raise ValueError(f"rounds must be at least 1, got {rounds}")
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "orthogonal": orthogonal}
        super().__init__(params, {**defaults, "rounds": rounds, "fused": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make a step, but where ``found_inf`` is not 0; return what ``closure`` returns; it goes first."""
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        found_inf = getattr(self, "found_inf", None)
        keep = None if found_inf is None else found_inf != 0
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group, keep)
        return result

    def _update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any], keep: Tensor | None) -> None:
        state = self.state[weight]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        buffer = state["momentum_buffer"]
        if group["weight_decay"]:
            gradient = gradient.add(weight, alpha=group["weight_decay"])
        moved = buffer.mul(group["momentum"]).add_(gradient)
        step = gradient.add(moved, alpha=group["momentum"])
        after = weight
        if group["orthogonal"]:
            after = weight * (len(weight) ** 0.5 / weight.norm().clamp_min(_LEAST_NORM))
            step = orthogonal(step.flatten(1), group["rounds"]).view_as(step)
        after = after.sub(step, alpha=group["lr"])
        buffer.copy_(moved if keep is None else torch.where(keep, buffer, moved))
        weight.copy_(after if keep is None else torch.where(keep, weight, after))


def orthogonal(matrix: Tensor, rounds: int) -> Tensor:
    """Return ``matrix`` (M, N) with its singular values brought close to 1.

    >>> orthogonal(torch.diag(torch.tensor([1.0, 0.1])), rounds=9).diag().round().tolist()
    [1.0, 1.0]
    """
    is_high = len(matrix) > matrix.shape[1]
    x = matrix.T if is_high else matrix
    x = x / (x.norm() + _LEAST_NORM)
    for _ in range(rounds):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x.T if is_high else x


def muon_groups(model: nn.Module, *, lr: float, **options: Any) -> list[dict[str, Any]]:
    """Return ``model``'s weights in two groups: its convolutions, with ``lr``, are the last.

    ``options`` are those of the first group. What is frozen is left out.
    """
    convolutions = [layer.weight for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    trained = [weight for weight in convolutions if weight.requires_grad]
    ids = {id(weight) for weight in trained}
    others = [weight for weight in model.parameters() if weight.requires_grad and id(weight) not in ids]
    return [
        {"params": others, **options},
        {"params": trained, "lr": lr, "orthogonal": True, "momentum": 0.6},
    ]
