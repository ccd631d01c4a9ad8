"""What differs in a notebook: errors end a cell, not a process, and pictures appear below it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class CellEnded(Exception):
    """A recipe has ended in a notebook's cell as a script ends with an exit status other than 0.

    The reason has been printed: a notebook shows this line and no traceback.
    """

    def _render_traceback_(self) -> list[str]:  # which IPython calls in place of its own
        return [str(self)]


def in_notebook() -> bool:
    """Return whether this code runs in a cell of a notebook."""
    kernel = sys.modules.get("ipykernel.zmqshell")
    if kernel is None:
        return False
    from IPython import get_ipython

    return isinstance(get_ipython(), kernel.ZMQInteractiveShell)


@contextmanager
def without_exits() -> Iterator[None]:
    """Turn ``SystemExit`` into `CellEnded` in a notebook, which would explain how to leave IPython."""
    if not in_notebook():
        yield
        return
    try:
        yield
    except SystemExit as ended:
        if ended.code:
            raise CellEnded(f"ended with status {ended.code}") from None


def show_picture(path: Path) -> None:
    """Show an image file below the cell, in a notebook."""
    if in_notebook() and path.is_file():
        from IPython.display import Image, display

        display(Image(filename=str(path)))  # type: ignore[no-untyped-call]  # IPython has no types
