"""Show runs, past and current, on a Visdom server of their own, from what their directories hold.

python scripts/serve_visdom.py                       # all under runs/, and those that begin later
python scripts/serve_visdom.py runs/cifar2/*         # these, side by side in the environment "compare"
"""

import argparse
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
from handlers.visdom_sender import VisdomSender
from handlers.visdom_windows import Window

from command_line import Parser, bad_input_exits, number
from launching import say_notice
from visdom_server import PORT, credentials, front_end, is_answering, serve


def parser() -> argparse.ArgumentParser:
    """Return the parser of this script's options."""
    parser = Parser(description="Show runs on a Visdom server.")
    parser.add_argument("runs", nargs="*", metavar="RUN_DIR", help="default: all under runs/, now and later")
    parser.add_argument(
        "--port", type=number(int, least=1, below=65536), default=PORT, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 lets everybody in the network see and change the board"
        " (default: %(default)s, this machine only)",
    )
    return parser


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


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until Ctrl-C."""
    with bad_input_exits():
        options = parser().parse_args(argv)
        given = [RunFollower(Path(name)).directory for name in options.runs]
        if is_answering(options.port, options.host):
            raise ValueError(f"--port {options.port} is taken; is a board running already? Give another one")
        username, password = credentials()
        static = front_end()
    if options.host not in ("127.0.0.1", "::1", "localhost") and username is None:
        say_notice("EVERYBODY IN THE NETWORK CAN CHANGE THIS BOARD: set VISDOM_USERNAME and VISDOM_PASSWORD")

    def find() -> Sequence[Path]:
        return given or sorted(path.parent for path in Path("runs").glob("*/*/config.json"))

    host = "localhost" if options.host in ("127.0.0.1", "0.0.0.0", "::") else options.host
    url = f"http://{f'[{host}]' if ':' in host else host}:{options.port}"
    sender = VisdomSender(url, follow(find, options.port), username=username, password=password)

    def ready(port: int) -> None:
        count = len(find())
        runs = f"{count} run{'s' if count != 1 else ''}"
        more = "" if given else " under runs/, and those that begin later"
        print(f"{url} shows {runs}{more}. Ctrl-C ends it.", flush=True)
        sender.start()

    with bad_input_exits(), suppress(KeyboardInterrupt):
        serve(static, [options.port], ready, host=options.host)


if __name__ == "__main__":
    main()
