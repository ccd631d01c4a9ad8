"""The processes that a process has started, and those that they have started."""

import os
from contextlib import suppress
from pathlib import Path


def descendants(pid: int, *, proc: Path = Path("/proc")) -> list[int]:
    """Return the ids of all processes below ``pid``, none where the system does not tell.

    >>> descendants(os.getpid(), proc=Path("/nowhere"))
    []
    """
    if os.path.exists(f"{proc}/{pid}/task/{pid}/children"):
        return _by_children(pid, proc)
    return _by_parents(pid, proc)


def _by_children(pid: int, proc: Path) -> list[int]:
    found: list[int] = []
    with suppress(OSError):  # it may end at any time
        for task in os.listdir(f"{proc}/{pid}/task"):
            with suppress(OSError, ValueError):
                found += map(int, Path(f"{proc}/{pid}/task/{task}/children").read_text().split())
    return found + [below for child in found for below in _by_children(child, proc)]


def _by_parents(pid: int, proc: Path) -> list[int]:
    """Return the same where the kernel was built without lists of children: all processes are looked at."""
    children: dict[int, list[int]] = {}
    with suppress(OSError):
        for name in filter(str.isdigit, os.listdir(proc)):
            with suppress(OSError, ValueError, IndexError):
                children.setdefault(parent_of(Path(f"{proc}/{name}/stat").read_text()), []).append(int(name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found[1:]


def parent_of(stat: str) -> int:
    """Return the parent's id from the text of ``/proc/<pid>/stat``."""
    return int(fields_of(stat)[1])


def fields_of(stat: str) -> list[str]:
    """Return what follows the name in the text of ``/proc/<pid>/stat``, the process's state first.

    >>> fields_of("7 (a (b) c) S 1 7")
    ['S', '1', '7']
    """
    return stat.rpartition(")")[2].split()
