"""A device without enough memory: what fits is found by trying, and said."""

import gc
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine

from handlers.attached import step_of
from ignite_pipeline.compute import Compute


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that a device has no memory left.

    >>> is_out_of_memory(RuntimeError("MPS backend out of memory")), is_out_of_memory(ValueError("no"))
    (True, False)
    """
    # Backends differ: only CUDA has a class of its own in every version of torch.
    words = ("out of memory", "can't allocate memory")
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def advice(
    error: BaseException, trainer: Engine, compute: Compute, *, batch_size: int, directory: Path
) -> str:
    """Return a line on what to do about ``error``, after trying the step on smaller and smaller parts.

    The models are not what they were afterwards: the run must be over.
    """
    batches = "an evaluation" if _is_inside_another_engine(error, trainer) else f"batches of {batch_size}"
    described = f"out of memory on {compute.device} with {batches}"
    if compute.micro_batches > 1:
        described += f" in {compute.micro_batches} micro-batches"
    going_on = f"go on with --resume {directory} --micro-batches"
    _forget(error)
    if batches == "an evaluation":
        return f"{described}: take smaller ones there, or {going_on} {2 * compute.micro_batches}"
    if not compute.predicts:
        return f"{described}: take smaller batches (--micro-batches needs a step that calls compute.predict)"
    parts = 2 * compute.micro_batches
    while parts < 2 * batch_size:
        parts = min(parts, batch_size)
        compute.micro_batches = parts
        if _fits(step_of(trainer), trainer):
            rows = -(-batch_size // parts)
            return f"{described}: {rows} at a time {'fits' if rows == 1 else 'fit'}, {going_on} {parts}"
        parts *= 2
    return f"{described}, nor do smaller parts fit: take smaller batches, smaller images or a smaller model"


def _is_inside_another_engine(error: BaseException, trainer: Engine) -> bool:
    owners = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(isinstance(owner, Engine) and owner is not trainer for owner in owners)


def _fits(step: Callable[[Engine, Any], Any], trainer: Engine) -> bool:
    try:
        step(trainer, trainer.state.batch)
    except Exception as error:  # memory again, or a batch norm that has nothing to compare one row with
        _forget(error)
        return False
    return True


def _forget(error: BaseException) -> None:
    """Let go of what the failed attempt has in memory."""
    traceback.clear_frames(error.__traceback__)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
