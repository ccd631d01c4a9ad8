"""Standard output and error that cannot hurt a run, and answers that are not lost."""

import codecs
import errno
import os
import select
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TextIO

from ignite_pipeline.errors import BadInput
from ignite_pipeline.notebook import in_notebook

_PATIENCE_S = 1.0
_KEEP_BYTES = "ignite_pipeline.keep_bytes"
_BROKEN_PIPE = 141  # a shell's status for what SIGPIPE has ended
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
                    _write_encodable(self.stream, text)
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


def print_answer(text: str) -> None:
    """Print what a tool has been asked for: unlike what a run says on the way, it is not lost.

    Whoever reads it is waited for, however long. `BadInput` is raised if it cannot be written, as on a full
    disk. A reader who has had enough, such as ``head``, ends the program without a word.
    """
    stream = sys.stdout
    if not isinstance(stream, GuardedStream):
        print(text)
        return
    try:
        if stream.stream is None:
            raise OSError(errno.EBADF, "it is closed")
        with suppress(*_FAILURES):  # no descriptor behind it
            os.set_blocking(stream.stream.fileno(), True)
        _write_encodable(stream.stream, f"{text}\n")
        stream.stream.flush()
    except BrokenPipeError:
        sys.exit(_BROKEN_PIPE)
    except OSError as error:
        raise BadInput(f"standard output cannot be written: {error.strerror or error}") from error


def _keep_bytes(error: UnicodeError) -> tuple[bytes, int]:
    """Write the bytes of a file's name that are no text as they are, and ? for letters that are not there."""
    assert isinstance(error, UnicodeEncodeError)
    part = error.object[error.start : error.end]
    return b"".join(_byte(letter) for letter in part), error.end


def _byte(letter: str) -> bytes:
    return bytes([ord(letter) - 0xDC00]) if "\udc80" <= letter <= "\udcff" else b"?"


codecs.register_error(_KEEP_BYTES, _keep_bytes)


def _write_encodable(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError as error:
        stream.flush()
        stream.buffer.write(text.encode(error.encoding, _KEEP_BYTES))


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
