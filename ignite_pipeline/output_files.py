"""Files that a tool writes where its user has asked for them."""

from collections.abc import Callable
from pathlib import Path

from handlers.files import write_whole
from ignite_pipeline.errors import BadInput


def write_output(path: str | Path, how: Callable[[Path], object], *, option: str) -> None:
    """Write a file whole or not at all; raise `BadInput` naming the option if that cannot be done."""
    try:
        write_whole(Path(path), how)
    except OSError as error:
        raise BadInput(f"{option} {path} cannot be written: {error.strerror or error}") from error
