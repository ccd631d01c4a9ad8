"""A run that torchrun has started again finds its directory by itself."""

import json
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from handlers.files import read_regular
from handlers.process_tree import fields_of


def job() -> str | None:
    """Return what all starts of one job by torchrun have in common, and no other job has; None without it.

    That is the job's ``--rdzv-id``; where none was given, the launcher's own process.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    if name in (None, "none"):
        return None if name is None else f"{socket.gethostname()}:{os.getppid()}:{_start_of(os.getppid())}"
    return name


def _start_of(process: int) -> str:
    """Return when a process was started, where that is known: numbers of processes come again."""
    try:
        return fields_of(Path(f"/proc/{process}/stat").read_text())[19]
    except (OSError, IndexError):
        return ""


def begun_before(task: str, output: str | None) -> Path | None:
    """Return the directory in which an earlier start of this job has begun its run, if there is one.

    A run that is complete counts only if the job has been started again since: a new job may have the name
    of an old one.
    """
    name = job()
    if name is None:
        return None
    candidates: Iterable[Path] = [Path(output)] if output is not None else Path("runs", task).glob("*")
    ours = [path for path in candidates if _read(path / "config.json").get("job") == name]
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        ours = [path for path in ours if _read(path / "summary.json").get("status") != "completed"]
    return max(ours, key=lambda path: (path / "config.json").stat().st_mtime, default=None)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
