"""Files that are written whole or not at all, and one that is written line by line."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LOGGER = logging.getLogger(__name__)


def write_whole(
    path: Path, write: Callable[[Path], object], *, check: Callable[[Path], object] | None = None
) -> None:
    """Let ``write`` make a temporary file beside ``path``, sync it to the disk, and rename it into place.

    Whatever fails or is killed on the way, ``path`` holds its old content or all of the new. ``check`` is
    called with the temporary file, and may raise to keep it out.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        if check is not None:
            check(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` survive a power cut, where the system can (not on Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_metrics(directory: str | Path) -> list[dict[str, Any]]:
    """Return the lines of a run's ``metrics.jsonl``, without any that a kill or a full disk cut off."""
    path = Path(directory) / "metrics.jsonl"
    return parse_lines(path.read_text(), path) if path.exists() else []


def parse_lines(text: str, path: Path) -> list[dict[str, Any]]:
    """Return the lines in ``text``, a part of the file at ``path``, without any that is cut off."""
    lines = []
    for line in filter(None, text.splitlines()):
        try:
            lines.append(json.loads(line))
        except ValueError:
            _LOGGER.warning("%s: a line was cut off and is left out", path)
    return lines
