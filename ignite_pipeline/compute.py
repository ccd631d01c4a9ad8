"""Where and in which number format a step computes, and how a loss becomes an update."""

import platform
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeVar

import torch
from ignite.utils import convert_tensor
from torch import Tensor, nn
from torch.optim import Optimizer

from ignite_pipeline.errors import BadInput

Part = TypeVar("Part")
# The loss to minimise, and what the step publishes.
LossAndOutput = tuple[Tensor, dict[str, Tensor]]

_AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is a GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name.split(":")[0] not in ("cpu", "cuda", "mps"):
        raise BadInput(f"--device must be auto, cpu, cuda, cuda:N or mps, got {name}")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except Exception as error:  # each backend raises its own
        raise BadInput(f"--device {name} is not there ({str(error).splitlines()[0]}); try cpu") from error
    return device


def resolve_precision(name: str, device: torch.device | str) -> str:
    """Turn "auto" into "bf16" where the device computes in bfloat16, else into "fp32"; pass others on.

    On a processor that means AVX-512-BF16 or AMX: emulated bfloat16 is slower than float32.
    """
    if name not in ("auto", "fp32", *_AUTOCAST_DTYPES):
        raise BadInput(f"precision must be auto, fp32, bf16 or fp16, got {name!r}")
    if name != "auto":
        return name
    device = torch.device(device)
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    return "bf16" if device.type == "cpu" and _processor_computes_bf16() else "fp32"


def _processor_computes_bf16() -> bool:
    # torch has this only under private names, which move; Linux says it in plain text.
    if platform.system() != "Linux":
        return False
    with open("/proc/cpuinfo") as info:
        flags = next((line.split() for line in info if line.startswith("flags")), [])
    return "avx512_bf16" in flags or "amx_bf16" in flags


def to_device(device: torch.device | str) -> Callable[[Any], Any]:
    """Return a function that moves the tensors of a batch to ``device`` without waiting until they are there.

    >>> [x.device.type for x in to_device("cpu")((torch.zeros(1), torch.ones(1)))]
    ['cpu', 'cpu']
    """
    return partial(convert_tensor, device=device, non_blocking=True)


class Compute:
    """Device, number format and transfer of a step, and how its loss becomes an update.

    ``precision`` is fp32, bf16, fp16 or auto; ``transfer`` moves a batch to the device (default: `to_device`,
    which does not wait for it).

    A loss that is not finite leaves the parameters as they are, and every later one too, so that they are
    those of the iteration before whenever somebody looks; ``skip_non_finite`` leaves out that step alone.
    The device is not asked for the loss's value where the optimizer is a fused one
    (``torch.optim.SGD(..., fused=True)``). In float16 the loss scale skips steps, as usual.

    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = torch.optim.SGD([weight], lr=0.1, fused=True)
    >>> for skip in (False, True):
    ...     compute = Compute(skip_non_finite=skip)
    ...     for factor in (torch.nan, 1.0):
    ...         compute.begin()
    ...         output = compute.update(optimizer, lambda x: (x * weight.sum(), {}), [factor])
    ...     print(round(weight.item(), 3))
    1.0
    0.9
    """

    def __init__(
        self,
        device: torch.device | str = "cpu",
        *,
        precision: str = "fp32",
        skip_non_finite: bool = False,
        transfer: Callable[[Any], Any] | None = None,
    ) -> None:
        self.device, self.precision = torch.device(device), resolve_precision(precision, device)
        self.skip_non_finite = skip_non_finite
        self.transfer = transfer or to_device(self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self._halted: Tensor | None = None
        self._buffers: list[tuple[Tensor, Tensor]] = []

    def begin(self, *models: nn.Module) -> None:
        """Begin a step: put ``models`` in training mode, and remember what `end` may need."""
        for model in models:
            if not model.training:
                model.train()
        if self.skip_non_finite:
            self._halted = None
            self._buffers = [(buffer, buffer.clone()) for model in models for buffer in model.buffers()]

    def end(self) -> None:
        """End a step: buffers, such as the statistics of batch norm, forget a batch that was skipped."""
        for buffer, before in self._buffers:
            buffer.copy_(torch.where(self._halted, before, buffer))  # type: ignore[arg-type]
        self._buffers = []

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which to call a model."""
        dtype = _AUTOCAST_DTYPES.get(self.precision)
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)

    def update(
        self,
        optimizer: Optimizer,
        forward: Callable[[Part], LossAndOutput],
        parts: Sequence[Part],
        *,
        clip_norm: float | None = None,
    ) -> dict[str, Tensor]:
        """Make one step of ``optimizer`` on the sum of ``forward``'s losses; return the sums of its outputs.

        ``forward`` is called with one part of the batch after the other and returns its loss, a tensor
        ``()``, and a dict of such: both weighted, so that the sums are what is wanted of the batch.
        ``clip_norm`` bounds the global L2 norm of the gradients. A loss that is not finite is no step. The
        gradients stay, to be looked at; the outputs are detached, and on the device.
        """
        optimizer.zero_grad()
        total: Tensor | None = None
        sums: dict[str, Tensor] = {}
        for part in parts:
            loss, output = forward(part)
            self.scaler.scale(loss).backward()
            total = loss.detach() if total is None else total + loss.detach()
            for name, value in output.items():
                sums[name] = sums[name] + value.detach() if name in sums else value.detach()
        if total is None:
            raise ValueError("parts must hold at least one part of the batch, got none")
        self._step(optimizer, total, clip_norm)
        return sums

    def _step(self, optimizer: Optimizer, loss: Tensor, clip_norm: float | None) -> None:
        if not optimizer.state:
            _zero_momentum(optimizer)
        if clip_norm is not None:
            self.scaler.unscale_(optimizer)
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        bad = ~loss.isfinite()
        self._halted = bad if self._halted is None else self._halted | bad
        if self.scaler.is_enabled():
            self.scaler.step(optimizer)
            self.scaler.update()
        elif optimizer.defaults.get("fused"):
            # What GradScaler does: a fused kernel reads the flag on the device and keeps the weights.
            optimizer.found_inf = self._halted.float()  # type: ignore[attr-defined]
            optimizer.step()
            del optimizer.found_inf  # type: ignore[attr-defined]
        elif not self._halted:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the loss scale: empty but in float16.

        Raises ``ValueError`` when updates have stopped: the weights are those of an earlier iteration then.
        """
        if not self.skip_non_finite and self._halted is not None and self._halted:
            raise ValueError("a loss was not finite")
        return self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the loss scale."""
        if state:
            self.scaler.load_state_dict(state)


def _zero_momentum(optimizer: Optimizer) -> None:
    # A fused SGD that skips its first step leaves its momentum as uninitialised memory. Zeros are what
    # torch's first step amounts to, without dampening.
    for group in optimizer.param_groups:
        if group.get("momentum") and group.get("dampening") == 0:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
