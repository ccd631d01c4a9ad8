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
    described = f"out of memory on {compute.device} with batches of {batch_size}"
    if compute.micro_batches > 1:
        described += f" in {compute.micro_batches} micro-batches"
    _forget(error)
    parts = 2 * compute.micro_batches
    while parts < 2 * batch_size:
        parts = min(parts, batch_size)
        compute.micro_batches = parts
        if _fits(step_of(trainer), trainer):
            rows = -(-batch_size // parts)
            return (
                f"{described}: {rows} at a time {'fits' if rows == 1 else 'fit'}, go on with"
                f" --resume {directory} --micro-batches {parts}"
            )
        parts *= 2
    return f"{described}, nor does one at a time fit: take smaller batches, smaller images or a smaller model"


def _fits(step: Callable[[Engine, Any], Any], trainer: Engine) -> bool:
    try:
        step(trainer, trainer.state.batch)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        _forget(error)
        return False
    return True


def _forget(error: BaseException) -> None:
    """Let go of what the failed attempt has in memory."""
    traceback.clear_frames(error.__traceback__)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
