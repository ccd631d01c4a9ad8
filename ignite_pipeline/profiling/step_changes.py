"""What can be changed about a step without touching its recipe."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.optim import Optimizer

from handlers.held import held_objects
from ignite_pipeline.compute import Compute
from ignite_pipeline.machine import available_cores
from ignite_pipeline.profiling.changes import Change
from ignite_pipeline.profiling.tuning import Setting, Step


def precisions(compute: Compute) -> list[Change]:
    """Return the number formats that the device computes in, but for the one that the step computes in."""
    names = ["fp32", "bf16", *(["fp16"] if compute.device.type == "cuda" else [])]
    return [
        Change(f"--precision {name}", partial(_computing_in, compute, name))
        for name in names
        if name != compute.precision
    ]


@contextmanager
def _computing_in(compute: Compute, precision: str) -> Iterator[None]:
    before = compute.precision, compute.scaler
    compute.precision = precision
    compute.scaler = torch.amp.GradScaler(compute.device.type, enabled=precision == "fp16")
    try:
        yield
    finally:
        compute.precision, compute.scaler = before


def memory_formats(step: Step) -> list[Change]:
    """Return the layout of images that the step's models do not have, where there are convolutions."""
    held = [thing for _, thing in held_objects(Engine(step))]
    models = [thing for thing in held if isinstance(thing, nn.Module)]
    kernels = [p for model in models for p in model.parameters() if p.ndim == 4]
    if not kernels:
        return []
    now, other = torch.contiguous_format, torch.channels_last
    if any(kernel.is_contiguous(memory_format=other) and not kernel.is_contiguous() for kernel in kernels):
        now, other = other, now
    optimizers = [thing for thing in held if isinstance(thing, Optimizer)]
    return [Change(f"model.to(memory_format={other})", partial(_laid_out, models, optimizers, now, other))]


@contextmanager
def _laid_out(
    models: Sequence[nn.Module],
    optimizers: Sequence[Optimizer],
    before: torch.memory_format,
    after: torch.memory_format,
) -> Iterator[None]:
    _lay_out(models, optimizers, after)
    try:
        yield
    finally:
        _lay_out(models, optimizers, before)


def _lay_out(
    models: Sequence[nn.Module], optimizers: Sequence[Optimizer], memory_format: torch.memory_format
) -> None:
    for model in models:
        model.to(memory_format=memory_format)
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            for name, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    # Fused kernels take momentum and weights to lie alike.
                    state[name] = torch.empty_like(parameter).copy_(value)


def pinning(setting: Setting) -> list[Change]:
    """Return pinned memory, from which a GPU fetches batches by itself, unless the setting has it."""
    return (
        [] if setting.pin_memory else [Change("pin_memory=True", setting=partial(replace, pin_memory=True))]
    )


def thread_counts(compute: Compute) -> list[Change]:
    """Return other numbers of threads for a step on the processor: one, half of the cores, all of them."""
    if compute.device.type != "cpu":
        return []
    cores = available_cores()
    counts = {1, max(1, cores // 2), cores} - {torch.get_num_threads()}
    return [
        Change(f"torch.set_num_threads({count})", partial(_on_threads, count)) for count in sorted(counts)
    ]


@contextmanager
def _on_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
