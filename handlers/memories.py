"""The memories that a run takes: of its process, of its workers, of its device."""

import os
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch

from handlers.control_groups import group_folders
from handlers.process_tree import descendants

_KIB = 1024
# In groups of version 2, and of version 1.
_LIMIT_AND_USED = (
    ("memory.max", "memory.current"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)


@dataclass(frozen=True)
class Memory:
    """Whose it is, how much is taken and how much is left, in bytes; None where nobody can tell.

    >>> memory = Memory("this process", taken_bytes=lambda: 3 * 2**30, free_bytes=lambda: 2**30)
    >>> memory.taken_bytes() / memory.free_bytes()
    3.0
    """

    whose: str
    taken_bytes: Callable[[], float | None]
    free_bytes: Callable[[], float | None]


def memories_of_this_process() -> list[Memory]:
    """Return those of this process, of the processes below it, and of the current CUDA device.

    What is counted is resident and belongs to no file: pages of a file that is read go when others need them.
    What a worker shares with others, batches on their way, is counted in this process alone. Memory that a
    worker took over by a fork and copies as it writes to it, reference counts above all, is not seen: it was
    resident before.
    """
    pid = os.getpid()
    return [
        Memory("this process", lambda: resident_bytes([pid], ("RssAnon", "RssShmem")), free_bytes),
        Memory("the workers", lambda: resident_bytes(descendants(pid), ("RssAnon",)), free_bytes),
        Memory("the device", _allocated_bytes, _free_on_device_bytes),
    ]


def resident_bytes(
    pids: Iterable[int], kinds: Collection[str], *, proc: Path = Path("/proc")
) -> float | None:
    """Return the resident memory of these kinds that the processes have together, None for no process."""
    sums = []
    for pid in pids:
        with suppress(OSError, KeyError, ValueError, IndexError):  # ended, or no Linux
            lines = _lines(Path(f"{proc}/{pid}/status"))
            sums.append(sum(int(lines[kind].split()[0]) for kind in kinds) * _KIB)
    return float(sum(sums)) if sums else None


def free_bytes(*, proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return how much memory is left, by what the system and the process's control groups say."""
    try:
        free = float(_lines(proc / "meminfo")["MemAvailable"].split()[0]) * _KIB
    except (OSError, KeyError, ValueError, IndexError):
        return None
    cgroup = ""
    with suppress(OSError):  # a system without control groups
        cgroup = (proc / "self/cgroup").read_text()
    for folder, (limit, used) in product(group_folders(cgroup, "memory", root=groups), _LIMIT_AND_USED):
        with suppress(OSError, ValueError):  # no such group, or no limit ("max")
            taken = float((folder / used).read_text()) - _file_pages_bytes(folder)
            free = min(free, float((folder / limit).read_text()) - taken)
    return max(0.0, free)


def _file_pages_bytes(group: Path) -> float:
    """Return how much of a control group's memory is pages of files, freed when others need it."""
    with suppress(OSError, ValueError):
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # Version 1 counts the groups below under another name.
        kinds = ("active_file", "inactive_file")
        return sum(float(counts.get(f"total_{kind}", counts.get(kind, 0))) for kind in kinds)
    return 0.0


def _lines(path: Path) -> dict[str, str]:
    return dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)


def _allocated_bytes() -> float | None:
    return float(torch.cuda.memory_allocated()) if torch.cuda.is_initialized() else None


def _free_on_device_bytes() -> float | None:
    if not torch.cuda.is_initialized():
        return None
    # What the allocator has reserved and not given away is free as well.
    return float(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated())
