"""Files that a tool writes where its user has asked for them."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

from handlers.files import require_regular, write_whole
from ignite_pipeline.errors import BadInput


def write_output(path: str | Path, how: Callable[[Path], object], *, option: str) -> None:
    """Write a file whole or not at all; raise `BadInput` naming the option if that cannot be done.

    It goes through a link to where that leads. What is there and no regular file stays as it is.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if os.path.lexists(target):
            require_regular(target)
        write_whole(target, how)
    except OSError as error:
        raise BadInput(f"{option} {path} cannot be written: {error.strerror or error}") from error
