"""Files that a tool writes where its user has asked for them."""

import errno
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from handlers.files import write_whole
from ignite_pipeline.errors import BadInput


def write_output(path: str | Path, how: Callable[[Path], object], *, option: str) -> None:
    """Write a file whole or not at all; raise `BadInput` naming the option if that cannot be done."""
    try:
        write_whole(Path(path), how)
    except OSError as error:
        raise BadInput(f"{option} {path} cannot be written: {error.strerror or error}") from error


def require_writable(path: str | Path, *, option: str, inputs: Iterable[str | Path] = ()) -> None:
    """Raise `BadInput` naming the option if a file cannot be written, or would replace one of ``inputs``.

    To be called before whatever it takes to compute what is to be written.
    """
    path = Path(path)
    if os.path.isdir(path):
        reason = errno.EISDIR
    elif not os.path.isdir(path.parent):
        reason = errno.ENOTDIR if os.path.exists(path.parent) else errno.ENOENT
    else:
        reason = 0 if os.access(path.parent, os.W_OK) else errno.EACCES
    if reason:
        raise BadInput(f"{option} {path} cannot be written: {os.strerror(reason)}")
    for other in inputs:
        if _is_same(path, other):
            raise BadInput(f"{option} {path} would replace {other}; give another file")


def _is_same(path: Path, other: str | Path) -> bool:
    with suppress(OSError):  # of a file that is not there yet
        return os.path.samefile(path, other)
    return os.path.realpath(path) == os.path.realpath(other)
