"""What models are made of, and what a step of theirs takes: layers, shapes, parameters, FLOPs, memory."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from ignite.engine import Engine
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.optim import Optimizer

Step = Callable[[Engine, Any], Any]


@dataclass(frozen=True)
class Layer:
    """A module with parameters of its own, or with no module in it; ``shape`` is that of its first output."""

    name: str
    kind: str
    shape: tuple[int, ...] | None
    parameters: int
    trainable: int


@dataclass(frozen=True)
class Cost:
    """What a step takes: floating-point operations, and bytes of what it has to keep."""

    flops: int
    parameters_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    activations_bytes: int

    @property
    def total_bytes(self) -> int:
        """The sum: what a step needs at least, on the processor or on a GPU."""
        return self.parameters_bytes + self.gradients_bytes + self.optimizer_bytes + self.activations_bytes


def summarize(step: Step, batch: Any, objects: Mapping[str, Any]) -> tuple[dict[str, list[Layer]], Cost]:
    """Make one step on a batch, and return the layers of each model among ``objects``, and what it took.

    FLOPs are those of matrix products and convolutions, forward and backward, a multiplication and an
    addition counting as two (torch's ``FlopCounterMode``). Activations are what is saved for the backward
    pass, each tensor once.
    """
    from torch.utils.flop_counter import FlopCounterMode  # with Triton, where it is: 0.2 s

    models = {name: thing for name, thing in objects.items() if isinstance(thing, nn.Module)}
    shapes: dict[nn.Module, tuple[int, ...]] = {}
    saved: dict[tuple[int, int], int] = {}
    own = {tensor.untyped_storage().data_ptr() for model in models.values() for tensor in model.parameters()}

    def save(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr(), storage.nbytes()] = storage.nbytes()
        return tensor

    counter = FlopCounterMode(display=False)
    with ExitStack() as stack:
        for model in models.values():
            for module in _layers(model).values():
                hook = module.register_forward_hook(partial(_note_shape, shapes))
                stack.callback(hook.remove)
        stack.enter_context(counter)
        stack.enter_context(saved_tensors_hooks(save, lambda tensor: tensor))
        Engine(step).run([batch])
    optimizers = [thing for thing in objects.values() if isinstance(thing, Optimizer)]
    parameters = [tensor for model in models.values() for tensor in (*model.parameters(), *model.buffers())]
    states = [state for optimizer in optimizers for state in optimizer.state.values()]
    cost = Cost(
        counter.get_total_flops(),
        _bytes(parameters),
        _bytes([tensor for tensor in parameters if tensor.requires_grad]),
        _bytes([value for state in states for value in state.values() if isinstance(value, Tensor)]),
        sum(saved.values()),
    )
    return {name: _described(model, shapes) for name, model in models.items()}, cost


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    def is_layer(module: nn.Module) -> bool:
        return not list(module.children()) or bool(list(module.parameters(recurse=False)))

    return {name: module for name, module in model.named_modules() if is_layer(module)}


def _note_shape(shapes: dict[nn.Module, tuple[int, ...]], module: nn.Module, given: Any, output: Any) -> None:
    if isinstance(output, Tensor):
        shapes.setdefault(module, tuple(output.shape))


def _described(model: nn.Module, shapes: Mapping[nn.Module, tuple[int, ...]]) -> list[Layer]:
    layers, counted = [], set[int]()
    for name, module in _layers(model).items():
        new = [tensor for tensor in module.parameters(recurse=False) if id(tensor) not in counted]
        counted |= set(map(id, new))
        total = sum(tensor.numel() for tensor in new)
        trainable = sum(tensor.numel() for tensor in new if tensor.requires_grad)
        layers.append(
            Layer(name or "(the model)", type(module).__name__, shapes.get(module), total, trainable)
        )
    return layers


def _bytes(tensors: list[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def as_text(models: Mapping[str, list[Layer]], cost: Cost, batch_size: int) -> str:
    """Return a table of each model, and the cost of a step on ``batch_size`` samples."""
    lines = []
    for name, layers in models.items():
        rows = [("layer", "kind", "output", "parameters", "trained")]
        for layer in layers:
            shape = "-" if layer.shape is None else "x".join(map(str, layer.shape))
            trained = "" if not layer.parameters else f"{layer.trainable / layer.parameters:.0%}"
            rows.append((layer.name, layer.kind, shape, f"{layer.parameters:,}", trained))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += [name]
        for row in rows:
            left = [cell.ljust(width) for cell, width in zip(row[:3], widths, strict=False)]
            right = [cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True)]
            lines.append("  " + "  ".join([*left, *right]).rstrip())
        total, trainable = (sum(getattr(one, what) for one in layers) for what in ("parameters", "trainable"))
        lines += [f"  {total:,} parameters, {trainable:,} of them trained", ""]
    parts = {
        "weights": cost.parameters_bytes,
        "gradients": cost.gradients_bytes,
        "optimizer": cost.optimizer_bytes,
        "saved for backward": cost.activations_bytes,
    }
    lines.append(f"a step on {batch_size} samples: {cost.flops / 1e9:,.3f} GFLOP")
    of_parts = ", ".join(f"{name} {size / 2**20:,.1f}" for name, size in parts.items())
    lines.append(f"its memory: {cost.total_bytes / 2**20:,.1f} MiB ({of_parts})")
    return "\n".join(lines)
