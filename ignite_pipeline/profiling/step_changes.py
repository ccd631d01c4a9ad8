"""What can be changed about a step without touching its recipe."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from ignite.engine import Engine
from torch import nn
from torch.optim import Optimizer

from handlers.held import held_objects
from handlers.states import lay_out_as_parameters
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
    is_last = any(
        p.is_contiguous(memory_format=torch.channels_last) and not p.is_contiguous() for p in kernels
    )
    other = torch.contiguous_format if is_last else torch.channels_last
    optimizers = [thing for thing in held if isinstance(thing, Optimizer)]
    return [Change(f"model.to(memory_format={other})", partial(_laid_out, models, optimizers, other))]


@contextmanager
def _laid_out(
    models: Sequence[nn.Module], optimizers: Sequence[Optimizer], memory_format: torch.memory_format
) -> Iterator[None]:
    strides = [(p, p.stride()) for model in models for p in model.parameters()]
    for model in models:
        model.to(memory_format=memory_format)
    for optimizer in optimizers:
        lay_out_as_parameters(optimizer)
    try:
        yield
    finally:
        for p, before in strides:
            p.data = torch.empty_strided(p.shape, before, dtype=p.dtype, device=p.device).copy_(p.data)
        for optimizer in optimizers:
            lay_out_as_parameters(optimizer)


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
