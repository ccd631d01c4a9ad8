"""What the machine gives this process: cores and memory."""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def available_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory_bytes(*, root: Path = Path("/")) -> int:
    """Return how much memory this process may still use, by what the system and its control groups say.

    Where neither tells, as on macOS, half of what the machine has. ``root`` holds ``proc/`` and ``sys/``.
    """
    try:
        lines = dict(line.split(":") for line in (root / "proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    for limit, used in _memory_groups(root):
        with suppress(OSError, ValueError):  # no such group, or no limit ("max")
            taken = int(used.read_text()) - _file_pages_bytes(used.parent)
            free = min(free, int(limit.read_text()) - taken)
    return max(0, free)


def _file_pages_bytes(group: Path) -> int:
    """Return how much of a control group's memory is pages of files, freed when others need it."""
    with suppress(OSError, ValueError):
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # Version 1 counts the groups below under another name.
        kinds = ("active_file", "inactive_file")
        return sum(int(counts.get(f"total_{kind}", counts.get(kind, 0))) for kind in kinds)
    return 0


def _memory_groups(root: Path) -> Iterator[tuple[Path, Path]]:
    """Yield where limit and use of this process's control groups stand, and of all groups above."""
    cgroup = root / "proc/self/cgroup"
    for line in cgroup.read_text().splitlines() if cgroup.exists() else ():
        number, controllers, group = line.split(":", 2)
        top, below = root / "sys/fs/cgroup", Path(group.lstrip("/"))
        for folder in (below, *below.parents):
            if number == "0":  # version 2
                yield top / folder / "memory.max", top / folder / "memory.current"
            elif "memory" in controllers.split(","):
                found = top / "memory" / folder
                yield found / "memory.limit_in_bytes", found / "memory.usage_in_bytes"


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
