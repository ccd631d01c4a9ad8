"""Who has had the processor: a thread, a tree of processes, everybody; and who kept it from them."""

import os
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path

from handlers.control_groups import group_folders
from handlers.process_tree import descendants, fields_of

_TICKS_A_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_USER, _NICE, _SYSTEM, _IRQ, _SOFTIRQ, _STEAL = 0, 1, 2, 5, 6, 7


@dataclass(frozen=True)
class CpuTimes:
    """Seconds since some time, all of which only grow.

    A thread ran for ``ran_s``, and for ``waited_s`` it could have run, but had no core. Its process and all
    that this has started ran for ``tree_s``. On the cores that the thread may use, everybody together ran
    for ``busy_s``, and a hypervisor gave them to somebody else for ``stolen_s``. A quota held the process's
    control group for ``throttled_s``, added up over cores.

    >>> CpuTimes(wall_s=9.0, ran_s=2.0) - CpuTimes(wall_s=1.0, ran_s=0.5)
    CpuTimes(wall_s=8.0, ran_s=1.5, waited_s=0.0, tree_s=0.0, busy_s=0.0, stolen_s=0.0, throttled_s=0.0)
    """

    wall_s: float = 0.0
    ran_s: float = 0.0
    waited_s: float = 0.0
    tree_s: float = 0.0
    busy_s: float = 0.0
    stolen_s: float = 0.0
    throttled_s: float = 0.0

    def __add__(self, other: "CpuTimes") -> "CpuTimes":
        return CpuTimes(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: "CpuTimes") -> "CpuTimes":
        return CpuTimes(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))


class CpuReader:
    """Read the `CpuTimes` of the thread that makes it, from Linux's ``/proc`` and control groups.

    `times` raises ``OSError`` where there are no such files, and ``ValueError`` or ``IndexError`` where
    they are different.
    """

    def __init__(
        self,
        *,
        read: Callable[[str], str] = lambda path: Path(path).read_text(),
        children: Callable[[int], Collection[int]] = descendants,
        cores: Collection[int] | None = None,
    ) -> None:
        self.read, self.children = read, children
        self.cores = os.sched_getaffinity(0) if cores is None else cores
        self.pid, self.thread = os.getpid(), threading.get_native_id()

    def times(self, wall_s: float) -> CpuTimes:
        """Return the seconds until now, at ``wall_s`` of the caller's clock."""
        ran, waited, *_ = self.read(f"/proc/{self.pid}/task/{self.thread}/schedstat").split()
        busy_s, stolen_s = cores_s(self.read("/proc/stat"), self.cores)
        return CpuTimes(
            wall_s, int(ran) / 1e9, int(waited) / 1e9, self._tree_s(), busy_s, stolen_s, self._throttled_s()
        )

    def _tree_s(self) -> float:
        sum_s = 0.0
        for pid in (self.pid, *self.children(self.pid)):
            with suppress(OSError):  # it has just ended, and counts to its parent from now on
                sum_s += with_ended_children_s(self.read(f"/proc/{pid}/stat"))
        return sum_s

    def _throttled_s(self) -> float:
        sum_s = 0.0
        for folder in group_folders(self.read(f"/proc/{self.pid}/cgroup"), "cpu"):
            with suppress(OSError):  # no such group, or one that is not seen from inside a container
                sum_s += throttled_s(self.read(f"{folder}/cpu.stat"))
        return sum_s


def cores_s(stat: str, cores: Collection[int]) -> tuple[float, float]:
    """Return the seconds that these cores were busy, and stolen, from the text of ``/proc/stat``.

    >>> cores_s("cpu 1 1 1\\ncpu0 100 0 50 700 0 0 0 25 0 0\\ncpu1 999 0 0 0 0 0 0 0 0 0\\n", {0})
    (1.5, 0.25)
    """
    busy = stolen = 0
    for line in stat.splitlines():
        name, *values = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
            ticks = [int(value) for value in values]
            busy += sum(ticks[column] for column in (_USER, _NICE, _SYSTEM, _IRQ, _SOFTIRQ))
            stolen += ticks[_STEAL]
    return busy / _TICKS_A_S, stolen / _TICKS_A_S


def with_ended_children_s(stat: str) -> float:
    """Return the seconds that a process and its children that ended have run, from its ``stat``."""
    return sum(map(int, fields_of(stat)[11:15])) / _TICKS_A_S


def throttled_s(stat: str) -> float:
    """Return the seconds in the text of a ``cpu.stat``: in µs in version 2, in ns in version 1.

    >>> throttled_s("nr_throttled 3\\nthrottled_usec 1500000"), throttled_s("throttled_time 2000000000")
    (1.5, 2.0)
    """
    values = dict(line.split() for line in stat.splitlines())
    return int(values.get("throttled_usec", 0)) / 1e6 + int(values.get("throttled_time", 0)) / 1e9
