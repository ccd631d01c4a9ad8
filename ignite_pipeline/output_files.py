"""Files that a tool writes where its user has asked for them."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from handlers.files import require_regular, write_whole
from ignite_pipeline.errors import BadInput


def write_output(path: str | Path, how: Callable[[Path], object], *, option: str) -> None:
    """Write a file whole or not at all; raise `BadInput` naming the option if that cannot be done.

    It goes through a link to where that leads. What is there and no regular file stays as it is.
    """
    with _naming(path, option):
        write_whole(_target(path), how)


def require_writable(path: str | Path, *, option: str, inputs: Iterable[str | Path] = ()) -> None:
    """Raise `BadInput` naming the option if a file cannot be written, or would replace one of ``inputs``.

    To be called before whatever it takes to compute what is to be written.
    """
    with _naming(path, option):
        folder = _target(path).parent
        if not folder.is_dir():
            reason = errno.ENOTDIR if folder.exists() else errno.ENOENT
        else:
            reason = 0 if os.access(folder, os.W_OK) else errno.EACCES
        if reason:
            raise OSError(reason, os.strerror(reason))
    for other in inputs:
        if _is_same(Path(path), other):
            raise BadInput(f"{option} {path} would replace {other}; give another file")


@contextmanager
def _naming(path: str | Path, option: str) -> Iterator[None]:
    """Turn an `OSError` inside into `BadInput` that names the option and its file."""
    try:
        yield
    except OSError as error:
        raise BadInput(f"{option} {path} cannot be written: {error.strerror or error}") from error


def _target(path: str | Path) -> Path:
    """Return where a link leads; raise `OSError` for what is there and no regular file."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if os.path.lexists(target):
        require_regular(target)
    return target


def _is_same(path: Path, other: str | Path) -> bool:
    with suppress(OSError):  # of a file that is not there yet
        return os.path.samefile(path, other)
    return os.path.realpath(path) == os.path.realpath(other)
