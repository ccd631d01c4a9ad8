"""What decides, besides the program and its options, which bits a computation gives."""

import hashlib
import os
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

# Whoever sets one of these chooses other kernels.
_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
)


def circumstances(device: torch.device) -> dict[str, Any]:
    """Return processor, threads, libraries and settings, and a digest of what they compute.

    The digest tells what nobody has thought of recording: it is of small computations on ``device``, whose
    bits differ wherever another kernel, instruction set or order of sums is at work.
    """
    build = torch.__config__.show()
    found: dict[str, Any] = {
        "device": str(device),
        "processor": _processor(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "oneDNN": _first(r"(?:oneDNN|MKL-DNN) v([\d.]+)", build),
        "MKL": _first(r"Math Kernel Library Version (\S+)", build),
        **{name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }
    if device.type == "cuda":
        found |= {
            "gpu": torch.cuda.get_device_name(device),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return {**found, "computes": _digest(device)}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what has changed between two `circumstances`, in words.

    >>> differences({"threads": 2, "computes": "ab"}, {"threads": 1, "computes": "cd"})
    ['threads was 2 and is 1']
    """
    names = dict.fromkeys([*now, *(name for name in before if name in _VARIABLES)])
    changed = [name for name in names if before.get(name) != now.get(name)]
    if changed == ["computes"]:
        return ["the same computation gives other bits"]
    return [
        f"{name} was {before.get(name, 'not set')} and is {now.get(name, 'not set')}"
        for name in changed
        if name != "computes"
    ]


def _processor() -> str:
    with suppress(OSError):
        if name := _first(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text()):
            return name
    return platform.processor() or platform.machine()


def _first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[1] if found else None


@torch.inference_mode()
def _digest(device: torch.device) -> str:
    hasher = hashlib.sha256()
    for dtype in (torch.float32, torch.bfloat16):
        x = _numbers(4, 16, 24, 24).to(device, dtype)
        weight = _numbers(32, 16, 3, 3).to(device, dtype)
        features = F.gelu(F.conv2d(x, weight, padding=1))
        means = F.batch_norm(features, None, None, training=True).mean((2, 3))
        logits = F.linear(features.flatten(1), _numbers(10, 32 * 24 * 24).to(device, dtype))
        for result in (features, means, F.log_softmax(logits, 1), x.float().exp().sum()):
            hasher.update(result.float().cpu().numpy().tobytes())
    return hasher.hexdigest()[:16]


def _numbers(*shape: int) -> torch.Tensor:
    """Return the same numbers in [-0.5, 0.5) everywhere, without drawing any."""
    count = torch.Size(shape).numel()
    return ((torch.arange(count) * 7919 % 997).float() / 997 - 0.5).view(shape)
