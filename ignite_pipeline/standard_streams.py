"""Standard output and standard error that cannot hurt a run, whatever becomes of them."""

import os
import select
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TextIO

from ignite_pipeline.notebook import in_notebook

_PATIENCE_S = 1.0
# A signal's handler that prints while something is being printed is a RuntimeError.
_FAILURES = (OSError, ValueError, RuntimeError)


class GuardedStream:
    """A text stream whose failures are nobody's concern: full, closed, missing, or not made for our letters.

    What cannot be written is dropped. A reader that has stopped to read, such as a terminal after Ctrl-S, is
    waited for once, for ``patience_s``, and then no more until it reads again. That holds for text, not for
    what is written into its ``buffer``.

    >>> GuardedStream(None).write("lost")
    4
    """

    def __init__(self, stream: TextIO | None, *, patience_s: float = _PATIENCE_S) -> None:
        self.stream, self.patience_s = stream, patience_s
        self._wait_s = patience_s
        self._descriptor: int | None = None
        with suppress(AttributeError, OSError, ValueError):  # no descriptor behind it
            self._descriptor = stream.fileno()  # type: ignore[union-attr]  # None has none either

    def write(self, text: str) -> int:
        """Write what can be written; return the length of it all."""
        if self.stream is not None:
            with suppress(*_FAILURES):
                if self._takes_more():
                    try:
                        self.stream.write(text)
                    except UnicodeEncodeError as error:
                        self.stream.write(text.encode(error.encoding, "replace").decode(error.encoding))
                    if "\n" in text:
                        self.stream.flush()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write what can be written of each."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand over what has been written."""
        if self.stream is not None:
            with suppress(*_FAILURES):
                if self._takes_more():
                    self.stream.flush()

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        with suppress(OSError, ValueError):
            return self.stream is not None and self.stream.isatty()
        return False

    def _takes_more(self) -> bool:
        if self._descriptor is None or not hasattr(select, "poll"):
            return True
        poll = select.poll()  # one for each call: threads may print at the same time
        poll.register(self._descriptor, select.POLLOUT)
        ready = bool(poll.poll(1000 * self._wait_s))
        self._wait_s = self.patience_s if ready else 0.0
        return ready

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["stream"], name)


def guard_standard_streams() -> None:
    """Guard ``sys.stdout`` and ``sys.stderr`` for as long as this process lives."""
    if in_notebook():  # whose own cannot fail
        return
    _occupy_standard_descriptors()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, GuardedStream):
            setattr(sys, name, GuardedStream(stream))


def _occupy_standard_descriptors() -> None:
    # Where one is closed, the next file to be opened would get its number, and what a library says with it.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
