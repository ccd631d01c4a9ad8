"""One process at a time in a run directory."""

import os
import time
from pathlib import Path

from handlers.errors import UnusableRun

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]  # mypy has no word for a module that may be missing


def lock_run(directory: str | Path) -> None:
    """Lock a run directory for this process until it ends, however it ends.

    `UnusableRun` is raised if another process has locked it. Opening and closing ``.lock`` in this process
    gives the lock up.
    """
    # Never closed. A record lock, not flock(): workers that are forked do not inherit it and keep it alive.
    try:
        file = os.open(Path(directory) / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UnusableRun(f"{directory}: cannot be locked ({error.strerror})") from error
    if not _try_lock(file):
        time.sleep(0.2)  # somebody may only have looked whether it is locked
        if not _try_lock(file):
            owner = os.read(file, 20).decode()
            os.close(file)
            raise UnusableRun(f"{directory}: process {owner} is training there; wait for it or end it")
    os.ftruncate(file, 0)
    os.write(file, str(os.getpid()).encode())


def is_locked(directory: str | Path) -> bool:
    """Return whether another process has locked a run directory."""
    try:
        file = os.open(Path(directory) / ".lock", os.O_RDWR)
    except OSError:
        return False
    try:
        return not _try_lock(file)
    finally:
        os.close(file)


def _try_lock(file: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks
        return True
    return True
