"""Files that are written whole or not at all, and what is read of those that may be damaged."""

import errno
import json
import logging
import math
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from itertools import chain, count
from pathlib import Path
from typing import Any

_LOGGER = logging.getLogger(__name__)
_MOST_BYTES = 2**30
_MOST_NAMED = 5
_MOST = 2**63
_KINDS = ("iteration", "epoch")


def write_whole(
    path: Path, write: Callable[[Path], object], *, check: Callable[[Path], object] | None = None
) -> None:
    """Let ``write`` make a temporary file beside ``path``, sync it to the disk, and rename it into place.

    Whatever fails or is killed on the way, ``path`` holds its old content or all of the new. ``check`` is
    called with the temporary file, and may raise to keep it out.
    """
    names = chain([f".{path.name}.tmp"], (f".{path.name}.{number}.tmp" for number in count(1)))
    # A folder may be in the way; and to open anything else but a file might wait for ever.
    temporary = next(place for place in map(path.with_name, names) if _is_free(place))
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        if check is not None:
            check(temporary)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _is_free(path: Path) -> bool:
    return not os.path.lexists(path) or (os.path.isfile(path) and not os.path.islink(path))


def make_folders(path: Path) -> None:
    """Make a folder, and those that it is in, so that they survive a power cut."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(missing):
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` survive a power cut, where the system can (not on Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # of file systems that do not know it
                raise
        finally:
            os.close(descriptor)


def require_regular(path: str | Path) -> None:
    """Raise ``OSError`` for what is there and no regular file: to open a FIFO would wait for ever."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def read_regular(path: str | Path, *, most_bytes: int = _MOST_BYTES) -> bytes:
    """Return what a regular file holds; raise ``OSError`` for anything else, and for one that is larger."""
    require_regular(path)
    with open(path, "rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"larger than {most_bytes:,} bytes", str(path))
    return content


def read_metrics(directory: str | Path) -> list[dict[str, Any]]:
    """Return the records in a run's ``metrics.jsonl``, and log which of its lines are none."""
    path = Path(directory) / "metrics.jsonl"
    return records_in(read_regular(path), path, as_record=metrics_record) if os.path.lexists(path) else []


def records_in(
    content: bytes, path: Path, *, as_record: Callable[[Any], dict[str, Any] | None]
) -> list[dict[str, Any]]:
    """Return what ``as_record`` makes of the lines in ``content``, a part of the file at ``path``.

    Lines of which it makes nothing are left out: cut off by a kill or a full disk, damaged, or edited. They
    are logged.
    """
    lines = list(enumerate(content.split(b"\n"), start=1))
    records = [(number, as_record(_parsed(line))) for number, line in lines if line]
    bad = [number for number, record in records if record is None]
    if bad:
        named = ", ".join(map(str, bad[:_MOST_NAMED])) + (", ..." if len(bad) > _MOST_NAMED else "")
        what = f"line {named}, no record, is" if len(bad) == 1 else f"lines {named}, no records, are"
        _LOGGER.warning("%s: %s left out", path, what)
    return [record for _, record in records if record is not None]


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def metrics_record(value: Any) -> dict[str, Any] | None:
    """Return a line of ``metrics.jsonl``, what is not finite as None; None for what is no such line.

    >>> metrics_record({"kind": "epoch", "epoch": 1, "iteration": 9, "val/loss": 2})
    {'kind': 'epoch', 'epoch': 1, 'iteration': 9, 'val/loss': 2}
    >>> metrics_record({"kind": "epoch", "epoch": 1, "iteration": 9, "val/loss": "low"})
    """
    record = positioned_record(value)
    if record is None or not _is_count(record.get("epoch")) or record.get("kind") not in _KINDS:
        return None
    values = {name: number for name, number in record.items() if name != "kind"}
    if not all(number is None or type(number) in (int, float) for number in values.values()):
        return None
    return {name: _finite(number) for name, number in record.items()}


def positioned_record(value: Any) -> dict[str, Any] | None:
    """Return an object that has an ``iteration``; None for anything else."""
    return value if isinstance(value, dict) and _is_count(value.get("iteration")) else None


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST


def _finite(value: Any) -> Any:
    if isinstance(value, int):
        return value if abs(value) < _MOST else None
    return None if isinstance(value, float) and not math.isfinite(value) else value
