"""What the machine gives this process: cores and memory."""

import ctypes
import os
import platform

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def available_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Ask the C library to keep what is freed, for the next iteration, instead of returning it to the system.

    Every iteration frees its gradients and activations and allocates them again. By default glibc gives
    large blocks back each time, and the system then has to clear every page anew: for pix2pix on a
    processor, a sixth of the step. Does nothing where the C library is not glibc, or memory is a GPU's.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
