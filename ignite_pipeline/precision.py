"""Which number format a step computes in, and how a loss becomes an update under it."""

import platform
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

_AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_precision(name: str, device: torch.device | str) -> str:
    """Turn "auto" into "bf16" where the device computes in bfloat16, else into "fp32"; pass others on.

    On a processor that means AVX-512-BF16 or AMX: emulated bfloat16 is slower than float32.
    """
    if name not in ("auto", "fp32", *_AUTOCAST_DTYPES):
        raise ValueError(f"precision must be auto, fp32, bf16 or fp16, got {name!r}")
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


class Precision:
    """Autocast, loss scaling and the update of one model in float32, bfloat16 or float16.

    A loss that is not finite leaves the parameters as they are, and every later one too, so that they are
    those of the iteration before whenever somebody looks; ``skip_non_finite`` leaves out that step alone.
    The device is not asked for the loss's value where the optimizer is a fused one
    (``torch.optim.SGD(..., fused=True)``). In float16 the loss scale skips steps, as it does.

    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = torch.optim.SGD([weight], lr=0.1, fused=True)
    >>> for skip in (False, True):
    ...     precision = Precision("fp32", skip_non_finite=skip)
    ...     for factor in (torch.nan, 1.0):
    ...         precision.begin()
    ...         optimizer.zero_grad()
    ...         loss = factor * weight.sum()
    ...         precision.backward(loss)
    ...         precision.update(optimizer, loss)
    ...     print(round(weight.item(), 3))
    1.0
    0.9
    """

    def __init__(
        self, name: str = "fp32", device: torch.device | str = "cpu", *, skip_non_finite: bool = False
    ) -> None:
        self.name, self.device = resolve_precision(name, device), torch.device(device)
        self.skip_non_finite = skip_non_finite
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")
        self._halted: Tensor | None = None
        self._buffers: list[tuple[Tensor, Tensor]] = []

    def begin(self, *models: nn.Module) -> None:
        """Begin a step: with ``skip_non_finite``, remember the buffers of ``models`` until `end`."""
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
        dtype = _AUTOCAST_DTYPES.get(self.name)
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``, scaled up in float16."""
        self.scaler.scale(loss).backward()

    def update(self, optimizer: Optimizer, loss: Tensor, *, clip_norm: float | None = None) -> None:
        """Step the optimizer, unless a loss was not finite. Its gradients stay, to be looked at.

        ``clip_norm`` bounds the global L2 norm of the gradients first.
        """
        if not optimizer.state:
            _zero_momentum(optimizer)
        if clip_norm is not None:
            self.scaler.unscale_(optimizer)
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        bad = ~loss.detach().isfinite()
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
