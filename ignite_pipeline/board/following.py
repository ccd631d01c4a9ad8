"""Run directories, followed as they grow, as windows of a board.

Nothing in them is taken for granted: a directory may be damaged, half copied, or made by somebody else.
"""

import json
import os
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from handlers.files import metrics_record, read_regular, require_regular
from handlers.lock import is_locked
from handlers.run_windows import RunWindows, compare, run_environment
from handlers.visdom_windows import Window
from ignite_pipeline.board.server import PORT
from ignite_pipeline.command_line import say

_MOST_METRICS_BYTES = 2**24  # in one round: the rest waits for the next, so that other runs need not wait
_LONGEST_LINE_BYTES = 2**20
_LARGEST_OBJECT_BYTES = 2**22


class RunFollower:
    """The windows of one run, as far as its directory has them; ``damage`` says, by file, what is wrong."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._begin(None)

    def _begin(self, inode: int | None) -> None:
        self.windows, self._inode, self._offset = RunWindows(), inode, 0
        self.damage: dict[str, str] = {}
        self.windows.set_text("run", _printable(self.directory))  # the first of the windows

    def update(self) -> RunWindows:
        """Read what has been added since the last time, or a part of it where that is much."""
        with self._noting("metrics.jsonl"):
            self._add_metrics(self.directory / "metrics.jsonl")
        with self._noting("samples"):
            self.windows.show_samples(self.directory)
        lines = [*self._lines(), *(f"{name}: {reason}" for name, reason in self.damage.items())]
        self.windows.set_text("run", "\n".join(lines))
        return self.windows

    def _add_metrics(self, path: Path) -> None:
        require_regular(path)
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_ino != self._inode or status.st_size < self._offset:
                self._begin(status.st_ino)  # it is a new run, or resumed: lines were dropped
            file.seek(self._offset)
            added = file.read(_MOST_METRICS_BYTES)
        end = added.rfind(b"\n") + 1
        if not end and len(added) == _MOST_METRICS_BYTES:
            end = len(added)  # a line without an end; the rest of it will be no record, and left out as well
        self._offset += end
        lines = [line for line in added[:end].split(b"\n") if line]
        records = [record for line in lines if (record := _metrics(line)) is not None]
        for record in records:
            self.windows.add(record)
        if len(records) < len(lines):
            raise ValueError("lines that are no records are left out")
        if self.windows.is_full:
            raise ValueError("it holds more metrics than are shown")

    def _lines(self) -> list[str]:
        lines = [_printable(self.directory)]
        with self._noting("config.json"):
            if notice := (self._object("config.json").get("dataset") or {}).get("notice"):
                lines.append(str(notice))
        with self._noting("summary.json"):
            summary = self._object("summary.json")
            lines.append(str(summary["status"]))
            if verdict := (summary.get("timing") or {}).get("diagnosis"):
                lines.append(str(verdict))
            if best := summary.get("best"):
                lines.append(f"best {best['metric']} {best['value']:.4g} in epoch {best['epoch']}")
        if not os.path.lexists(self.directory / "summary.json"):
            lines.append("has not ended")
        return lines

    def shows_itself(self, port: int) -> bool:
        """Return whether the run is going on and has a board of its own on this port of this machine."""
        if not is_locked(self.directory):
            return False
        with self._noting("config.json"):
            board = self._object("config.json")["options"]["visdom"]  # a resumed run may have another
            url = urlsplit(f"http://localhost:{PORT}" if board == "auto" else board)
            return url.port == port and url.hostname in ("localhost", "127.0.0.1", socket.gethostname())
        return False

    def _object(self, name: str) -> dict[str, Any]:
        content = json.loads(read_regular(self.directory / name, most_bytes=_LARGEST_OBJECT_BYTES))
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
        return content

    @contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        """Note what is wrong with a file: the others are shown nevertheless."""
        try:
            yield
            if name != "metrics.jsonl":  # whose lines are read once
                self.damage.pop(name, None)
        except FileNotFoundError as error:
            if os.path.islink(error.filename):  # else it is not yet there, or no longer
                self.damage[name] = "a link to what is not there"
        except OSError as error:
            self.damage[name] = error.strerror or str(error)
        except ValueError as error:
            self.damage[name] = str(error)
        except Exception as error:
            self.damage[name] = f"not as a run writes it ({type(error).__name__}: {error})"


def _metrics(line: bytes) -> dict[str, Any] | None:
    try:
        return metrics_record(json.loads(line)) if len(line) <= _LONGEST_LINE_BYTES else None
    except (ValueError, RecursionError):
        return None


def _printable(name: object) -> str:
    """Return a name as text that any terminal, file and browser takes, whatever its bytes are."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(name))


def follow(find: Callable[[], Sequence[Path]], port: int) -> Callable[[], dict[tuple[str, str], Window]]:
    """Return a function that returns the windows of all runs that ``find`` finds, and of their comparison.

    What is damaged is said once, and hides nothing else.
    """
    followers: dict[str, RunFollower] = {}
    found: set[Path] = set()
    said: set[tuple[Path, str]] = set()

    def update() -> dict[tuple[str, str], Window]:
        for directory in find():
            if directory not in found:
                found.add(directory)
                followers[_unused(run_environment(directory), followers)] = RunFollower(directory)
        windows: dict[tuple[str, str], Window] = {}
        for name, follower in followers.items():
            follower.update()
            if not follower.shows_itself(port):
                windows.update({(name, title): window for title, window in follower.windows.windows.items()})
            new = {
                file: why for file, why in follower.damage.items() if (follower.directory, file) not in said
            }
            if new:
                said.update((follower.directory, file) for file in new)
                reasons = "; ".join(f"{file}: {why}" for file, why in new.items())
                say(f"{_printable(follower.directory)}: {reasons}")
        runs = {name: follower.windows for name, follower in followers.items()}
        common = {title: window for title, window in compare(runs).items() if len(window.traces) > 1}
        return {**windows, **{("compare", title): window for title, window in common.items()}}

    return update


def _unused(name: str, taken: Collection[str]) -> str:
    numbered = (f"{name}-{number}" for number in count(1))
    return next(one for one in chain([name], numbered) if one not in taken)
