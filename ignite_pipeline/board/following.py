"""Run directories, followed as they grow, as windows of a board."""

import json
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from handlers import read_config
from handlers.files import parse_lines
from handlers.lock import is_locked
from handlers.run_windows import RunWindows, compare, run_environment
from handlers.visdom_windows import Window
from ignite_pipeline.board.server import PORT


class RunFollower:
    """The windows of one run, as far as its directory has them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = read_config(directory)
        self.name = run_environment(directory)
        self._begin(None)

    def _begin(self, inode: int | None) -> None:
        self.windows, self._inode, self._offset = RunWindows(), inode, 0

    def update(self) -> RunWindows:
        """Read what has been added since the last time."""
        path = self.directory / "metrics.jsonl"
        status = path.stat() if path.exists() else None
        if status and (status.st_ino != self._inode or status.st_size < self._offset):
            self._begin(status.st_ino)  # it is a new run, or resumed: lines were dropped
        self.windows.set_text("run", self._text())
        if status:
            with open(path, "rb") as file:
                file.seek(self._offset)
                added = file.read()
            added = added[: added.rfind(b"\n") + 1]
            self._offset += len(added)
            for line in parse_lines(added.decode(errors="replace"), path):
                self.windows.add(line)
        self.windows.show_samples(self.directory)
        return self.windows

    def _text(self) -> str:
        lines = [str(self.directory), (self.config.get("dataset") or {}).get("notice")]
        try:
            summary = json.loads((self.directory / "summary.json").read_text())
            lines += [summary["status"], (summary.get("timing") or {}).get("verdict")]
            if best := summary.get("best"):
                lines.append(f"best {best['metric']} {best['value']:.4g} in epoch {best['epoch']}")
        except (OSError, ValueError, KeyError):
            lines.append("has not ended")
        return "\n".join(line for line in lines if line)

    def shows_itself(self, port: int) -> bool:
        """Return whether the run is going on and has a board of its own on this port of this machine."""
        if not is_locked(self.directory):
            return False
        board = read_config(self.directory)["options"]["visdom"]  # a resumed run may have another
        url = urlsplit(f"http://localhost:{PORT}" if board == "auto" else board)
        return url.port == port and url.hostname in ("localhost", "127.0.0.1", socket.gethostname())


def follow(find: Callable[[], Sequence[Path]], port: int) -> Callable[[], dict[tuple[str, str], Window]]:
    """Return a function that returns the windows of all runs that ``find`` finds, and of their comparison."""
    followers: dict[Path, RunFollower] = {}
    damaged: set[Path] = set()

    def update() -> dict[tuple[str, str], Window]:
        for directory in find():
            if directory not in followers:
                with suppress(ValueError):  # no run, or none of ours
                    followers[directory] = RunFollower(directory)
        windows: dict[tuple[str, str], Window] = {}
        runs: dict[str, RunWindows] = {}
        for directory, follower in followers.items():
            name = follower.name if follower.name not in runs else f"{follower.name}-{len(runs)}"
            runs[name] = follower.windows
            try:
                runs[name] = follower.update()
                if follower.shows_itself(port):
                    continue
            except Exception as error:  # one damaged directory is not the others' concern
                if directory not in damaged:
                    damaged.add(directory)
                    print(f"{directory}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            windows.update({(name, title): window for title, window in runs[name].windows.items()})
        common = {title: window for title, window in compare(runs).items() if len(window.traces) > 1}
        return {**windows, **{("compare", title): window for title, window in common.items()}}

    return update
