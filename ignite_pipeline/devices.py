"""Where to compute and in which number format, by name, and how a batch gets there."""

import platform
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ignite_pipeline.errors import BadInput
from ignite_pipeline.nested import map_leaves

AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


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


def make_current(device: torch.device) -> None:
    """Make a CUDA device with a number the current one, whose events and memory are looked at."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


PRECISIONS = ("auto", "fp32", *AUTOCAST_DTYPES)


def resolve_precision(name: str, device: torch.device | str) -> str:
    """Turn "auto" into "bf16" where the device computes in bfloat16, else into "fp32"; pass others on.

    On a processor that means AVX-512-BF16 or AMX: emulated bfloat16 is slower than float32.
    """
    if name not in PRECISIONS:
        raise BadInput(f"precision must be {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}, got {name!r}")
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

    What has a method ``to`` of its own moves by it.

    >>> batch = {"x": torch.zeros(1), "pair": (torch.ones(1), None), "file": "a.png"}
    >>> moved = to_device("cpu")(batch)
    >>> moved["x"].device.type, moved["pair"][1], moved["file"]
    ('cpu', None, 'a.png')
    """
    return partial(_moved, device=torch.device(device))


def _moved(batch: Any, device: torch.device) -> Any:
    return map_leaves(
        lambda leaf: leaf.to(device, non_blocking=True) if _has_place(leaf) else leaf,
        batch,
        is_leaf=_has_place,
    )


def _has_place(thing: Any) -> bool:
    return isinstance(thing, Tensor) or hasattr(thing, "to")
