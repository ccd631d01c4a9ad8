"""A file of JSON lines that loses none, though a disk be full for a while."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from handlers.errors import UnusableRun
from handlers.files import read_regular, records_in, sync_folder, write_whole

_LOGGER = logging.getLogger(__name__)


class LineFile:
    """Append records to the file at ``path``; what cannot be written is kept, and written before the next.

    ``as_record`` tells records from damage (see `handlers.files.records_in`).

    >>> import tempfile
    >>> from handlers.files import positioned_record
    >>> directory = tempfile.TemporaryDirectory()
    >>> lines = LineFile(Path(directory.name) / "lines.jsonl", as_record=positioned_record)
    >>> lines.add({"iteration": 1})
    >>> lines.add({"iteration": 2})
    >>> lines.keep_until(1)
    >>> lines.read()
    [{'iteration': 1}]
    >>> directory.cleanup()
    """

    def __init__(self, path: Path, *, as_record: Callable[[Any], dict[str, Any] | None]) -> None:
        self.path, self.as_record = path, as_record
        self._waiting: list[str] = []
        self._rewrites = False  # what waits is the whole file
        # Written and not yet synced: a disk that fails to sync may have lost them.
        self._unsynced: list[str] = []
        self._synced_bytes: int | None = None
        self._trouble: str | None = None

    def read(self) -> list[dict[str, Any]]:
        """Return the records in the file; raise `UnusableRun` if it cannot be read."""
        return records_in(self._content(), self.path, as_record=self.as_record)

    def _content(self) -> bytes:
        try:
            return read_regular(self.path) if os.path.lexists(self.path) else b""
        except OSError as error:
            raise UnusableRun(f"{self.path}: cannot be read ({error.strerror}); remove it") from error

    def keep_until(self, iteration: int) -> None:
        """Drop the records of later iterations, and all that is no record; of that, keep a copy beside it."""
        if not os.path.lexists(self.path):
            return
        whole = self._content()
        records = records_in(whole, self.path, as_record=self.as_record)
        complete = [line for line in whole.split(b"\n")[:-1] if line]
        if len(records) < len(complete):  # else there is at most a last line that was cut off
            self._try(lambda: write_whole(self._damaged(), lambda path: path.write_bytes(whole)))
        kept = [_line(record) for record in records if record["iteration"] <= iteration]
        self._waiting = self._waiting if self._rewrites else [*kept, *self._waiting]
        self._rewrites = True
        self._try(self.flush)

    def _damaged(self) -> Path:
        return self.path.with_name(f"{self.path.name}.damaged")

    def add(self, record: dict[str, Any]) -> None:
        """Append a record, now or later."""
        self._waiting.append(_line(record))
        self._try(self.flush)

    def _try(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:
            if str(error) != self._trouble:  # once for as long as it lasts
                self._trouble = str(error)
                _LOGGER.warning("%s: not written (%s); it is tried again", self.path, error)

    def flush(self) -> None:
        """Write what waits; raise ``OSError`` if that cannot be done."""
        if self._rewrites:
            write_whole(self.path, lambda path: path.write_text("".join(self._waiting)))
            self._synced_bytes, self._unsynced = self.path.stat().st_size, []
        elif self._waiting:
            if self._synced_bytes is None:
                self._synced_bytes = self.path.stat().st_size if self.path.exists() else 0
            _append(self.path, "".join(self._waiting).encode())
            self._unsynced += self._waiting
        self._waiting, self._rewrites, self._trouble = [], False, None

    def sync(self) -> None:
        """Write what waits, and wait until all is on the disk; raise ``OSError`` if that cannot be done."""
        self.flush()
        if not self.path.exists():
            return
        if self._synced_bytes is None:  # nothing has been written here yet
            self._synced_bytes = self.path.stat().st_size
        with open(self.path, "rb+") as file:
            try:
                os.fsync(file.fileno())
            except OSError:
                file.truncate(self._synced_bytes)
                self._waiting, self._unsynced = self._unsynced, []
                raise
        self._synced_bytes, self._unsynced = self.path.stat().st_size, []
        sync_folder(self.path.parent)


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record) + "\n"


def _append(path: Path, content: bytes) -> None:
    """Append all of ``content`` or nothing of it."""
    with open(path, "ab", buffering=0) as file:
        size = file.tell()
        try:
            while content:
                content = content[file.write(content) :]
        except BaseException:
            file.truncate(size)
            raise
