"""How a step computes, and how its loss becomes an update."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.checkpoint import checkpoint

from ignite_pipeline.devices import AUTOCAST_DTYPES, resolve_precision, to_device
from ignite_pipeline.model_modes import Buffers, RepeatedFrom, TrainingMode
from ignite_pipeline.nested import joined, leaves, map_leaves, split
from ignite_pipeline.replicas import Replicas, Replicated

_LOGGER = logging.getLogger(__name__)
_LOOK_EVERY_ITERS = 50
Part = TypeVar("Part")
Result = TypeVar("Result")
# The loss to minimise, and what the step publishes.
LossAndOutput = tuple[Tensor, dict[str, Tensor]]


class Compute:
    """Device, number format and transfer of a step, and how its loss becomes an update.

    ``precision`` is fp32, bf16, fp16 or auto; ``transfer`` moves a batch to the device (default: `to_device`,
    which does not wait for it).

    ``micro_batches`` saves memory: a model is called on so many parts of a batch, one after the other, and
    once more on each when its gradients are due, so that one part at a time is in memory (Chen et al.,
    "Training deep nets with sublinear memory cost", arXiv 1604.06174). The loss is still that of the whole
    batch, whichever it is; batch norm sees the parts. It costs a second forward pass.

    A loss that is not finite leaves the parameters as they are, and every later one too until a new run
    begins, so that they are those of the iteration before whenever somebody looks; ``skip_non_finite`` leaves
    out that step alone. In float16 the loss scale skips steps, as usual. Whichever it is, a warning is logged
    within 50 iterations. The device is not asked for the loss's value where the optimizer is a fused one
    (``torch.optim.SGD(..., fused=True)``).

    With ``replicas``, a batch comes in as many parts, and an update is that of their mean (see `Replicas`).

    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = torch.optim.SGD([weight], lr=0.1, fused=True)
    >>> compute = Compute()
    >>> def step(engine, factor):
    ...     compute.begin(engine)
    ...     return compute.update(optimizer, lambda x: (x * weight.sum(), {}), compute.parts(factor))
    >>> _LOGGER.disabled = True
    >>> for batches in ([1.0, torch.nan, 1.0], [1.0]):
    ...     _ = Engine(step).run(batches)
    ...     print(round(weight.item(), 3))
    0.9
    0.8
    """

    def __init__(
        self,
        device: torch.device | str = "cpu",
        *,
        precision: str = "fp32",
        skip_non_finite: bool = False,
        micro_batches: int = 1,
        transfer: Callable[[Any], Any] | None = None,
        replicas: Replicas | None = None,
    ) -> None:
        if micro_batches < 1:
            raise ValueError(f"micro_batches must be at least 1, got {micro_batches}")
        self.device, self.precision = torch.device(device), resolve_precision(precision, device)
        self.skip_non_finite, self.micro_batches = skip_non_finite, micro_batches
        self.transfer = transfer or to_device(self.device)
        self.replicas = replicas
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self._engine: Engine | None = None
        self._modes: dict[nn.Module, TrainingMode] = {}
        self._buffers: Buffers | None = None
        self.predicts = False
        """Whether `predict` has been called: else ``micro_batches`` change nothing."""
        # Whether a loss was not finite: in this iteration or, where updates stop for good, since they did.
        self._bad: Tensor | None = None
        # The same of iterations whose steps were left out, until it has been said.
        self._left_out: Tensor | None = None
        self._said = False

    def begin(self, engine: Engine, *models: nn.Module) -> None:
        """Begin a step of ``engine``: put ``models`` in `TrainingMode`, and remember what `end` may need."""
        if engine is not self._engine:
            self._watch(engine)
        elif engine.state.iteration % _LOOK_EVERY_ITERS == 1:
            self._say_what_was_not_finite(engine)
        for model in models:
            if model not in self._modes:
                self._modes[model] = TrainingMode(model)
            self._modes[model].enter()
        if self._goes_on:
            if self._bad is not None:
                self._left_out = self._bad if self._left_out is None else self._left_out | self._bad
            self._bad = None
        if self.replicas is not None:
            self.replicas.begin(engine.state.iteration, models)
        if self.skip_non_finite:
            self._buffers = Buffers(*models)

    def parts(self, batch: Any, prepare: Callable[[Any], Any] | None = None) -> list[Any]:
        """Return the parts of a batch, on the device: one for each replica that this process computes.

        Each is what ``prepare`` makes of it there, drawing at random as that replica.
        """
        if self.replicas is None:
            batch = self.transfer(batch)
            return [batch if prepare is None else prepare(batch)]
        batches = batch.batches if isinstance(batch, Replicated) else [batch]
        parts = [self.transfer(batch) for batch in batches]
        return parts if prepare is None else self.replicas.each(prepare, parts)

    def each(self, function: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
        """Return what ``function`` makes of each part, drawing at random as that replica."""
        if self.replicas is None:
            return [function(part) for part in parts]
        return self.replicas.each(function, parts)

    def end(self) -> None:
        """End a step: buffers, such as the statistics of batch norm, forget a batch that was skipped."""
        if self.replicas is not None:
            self.replicas.end()
        if self._buffers is not None and self._bad is not None:
            self._buffers.restore(where=self._bad)
        self._buffers = None

    def _watch(self, engine: Engine) -> None:
        self._engine = engine
        self._start(engine)
        if not engine.has_event_handler(self._start, Events.STARTED):
            engine.add_event_handler(Events.STARTED, self._start)
            engine.add_event_handler(Events.EPOCH_COMPLETED | Events.TERMINATE, self._say_what_was_not_finite)

    def _start(self, engine: Engine) -> None:
        self._bad = self._left_out = None
        self._said = False

    @property
    def _goes_on(self) -> bool:
        """Whether updates go on after a loss that is not finite."""
        return self.skip_non_finite or self.scaler.is_enabled()

    def _say_what_was_not_finite(self, engine: Engine) -> None:
        found = [flag for flag in (self._bad, self._left_out) if flag is not None]
        if self._said or not any(found):
            return
        if self._goes_on:
            self._bad = self._left_out = None
        else:
            self._said = True
        _LOGGER.warning(
            "a loss was not finite by iteration %d: %s",
            engine.state.iteration,
            "its step was left out"
            if self._goes_on
            else "the weights stay what they were before it, until a new run begins",
        )

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which to call a model; `predict` does."""
        dtype = AUTOCAST_DTYPES.get(self.precision)
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)

    def predict(self, model: nn.Module, x: Any) -> Any:
        """Call ``model`` on ``x`` in the number format; halves come back as float32.

        ``x`` is what the model takes: a tensor ``(B, ...)``, or a dict, tuple, list or dataclass of such.
        With micro-batches, what it returns must be alike, else ``TypeError`` is raised.
        """
        self.predicts = True
        parts = [x] if self.micro_batches == 1 else split(x, self.micro_batches)
        if len(parts) == 1:
            return self._call(model, x)
        call = self._call_twice if torch.is_grad_enabled() else self._call
        rows = [next(len(leaf) for leaf in leaves(part) if leaf.ndim) for part in parts]
        return joined([call(model, part) for part in parts], rows)

    def _call_twice(self, model: nn.Module, x: Any) -> Any:
        again = RepeatedFrom(model)
        # Their devices are those whose generators have to draw the same once more.
        tensors = leaves(x)
        return checkpoint(
            lambda *tensors: self._call(model, x),
            *tensors,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), again),
        )

    def _call(self, model: nn.Module, x: Any) -> Any:
        with self.autocast():
            y_pred = model(x)
        if self.precision == "fp32":
            return y_pred
        return _single(y_pred) if isinstance(y_pred, Tensor) else map_leaves(_single, y_pred)

    def update(
        self,
        optimizer: Optimizer,
        forward: Callable[[Part], LossAndOutput],
        parts: Sequence[Part],
        *,
        clip_norm: float | None = None,
    ) -> dict[str, Tensor]:
        """Make one step of ``optimizer`` on the mean of ``forward``'s losses; return means of its outputs.

        ``forward`` is called with each of the ``parts``, and returns its loss, a tensor ``()``, and a dict of
        such. ``clip_norm`` bounds the global L2 norm of the gradients. A loss that is not finite is no step.
        The gradients stay, to be looked at; the outputs are detached, and on the device.
        """
        optimizer.zero_grad()
        if self.replicas is not None:
            return self._update_of_replicas(self.replicas, optimizer, forward, parts, clip_norm)
        if len(parts) != 1:
            raise ValueError(f"parts must be those of one replica, got {len(parts)}")
        loss, output = forward(parts[0])
        self.scaler.scale(loss).backward()
        self._step(optimizer, loss.detach(), clip_norm)
        return {name: value.detach() for name, value in output.items()}

    def _update_of_replicas(
        self,
        replicas: Replicas,
        optimizer: Optimizer,
        forward: Callable[[Part], LossAndOutput],
        parts: Sequence[Part],
        clip_norm: float | None,
    ) -> dict[str, Tensor]:
        def backward(part: Part) -> LossAndOutput:
            loss, output = forward(part)
            self.scaler.scale(loss).backward()
            return loss, output

        loss, output = replicas.update(optimizer, backward, parts)
        with replicas.updating():
            self._step(optimizer, loss, clip_norm)
        return output

    def _step(self, optimizer: Optimizer, loss: Tensor, clip_norm: float | None) -> None:
        if not optimizer.state:
            _zero_momentum(optimizer)
        if clip_norm is not None:
            self.scaler.unscale_(optimizer)
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        bad = ~loss.isfinite()
        self._bad = bad if self._bad is None else self._bad | bad
        if self.scaler.is_enabled():
            self.scaler.step(optimizer)
            self.scaler.update()
        elif optimizer.defaults.get("fused"):
            # What GradScaler does: a fused kernel reads the flag on the device and keeps the weights.
            optimizer.found_inf = self._bad.float()  # type: ignore[attr-defined]  # torch's stubs lack it
            optimizer.step()
            del optimizer.found_inf  # type: ignore[attr-defined]  # torch's stubs lack it
        elif not self._bad:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the loss scale: empty but in float16.

        Raises ``ValueError`` when updates have stopped: the weights are those of an earlier iteration then.
        """
        if not self._goes_on and self._bad is not None and self._bad:
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


def _single(y: Any) -> Any:
    return y.float() if isinstance(y, Tensor) and y.dtype in AUTOCAST_DTYPES.values() else y
