"""Show runs, past and current, on a Visdom server of their own, from what their directories hold.

python -m ignite_pipeline.board             # all under runs/, and those that begin later
python -m ignite_pipeline.board runs/cifar2/*         # these, side by side in the environment "compare"
"""

import argparse
import glob
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from handlers.visdom_sender import VisdomSender
from ignite_pipeline.board.following import follow
from ignite_pipeline.board.server import PORT, credentials, front_end, is_answering, serve
from ignite_pipeline.command_line import Parser, exit_on_bad_input, named_path, number, say_loudly
from ignite_pipeline.errors import BadInput

PROG = "python -m ignite_pipeline.board"


def parser() -> argparse.ArgumentParser:
    """Return the parser of this script's options."""
    parser = Parser(prog=PROG, description="Show runs on a Visdom server.")
    parser.add_argument(
        "runs", nargs="*", metavar="RUN_DIR", type=named_path, help="default: all under runs/, now and later"
    )
    parser.add_argument(
        "--port",
        type=number(int, least=1, below=65536),
        default=PORT,
        help="port of the server (default: %(default)s)",
    )
    parser.add_argument(
        "--host",
        metavar="ADDRESS",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 lets everybody in the network see and change the board"
        " (default: %(default)s, this machine only)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until Ctrl-C."""
    with exit_on_bad_input(PROG):
        options = parser().parse_args(argv)
        given = [Path(name) for name in options.runs]
        for directory in given:
            if not os.path.lexists(directory / "config.json"):
                raise BadInput(f"{directory}: not a run directory, config.json is missing")
        if is_answering(options.port, options.host):
            raise BadInput(f"--port {options.port} is taken; is a board running already? Give another one")
        username, password = credentials()
        static = front_end()
    if options.host not in ("127.0.0.1", "::1", "localhost") and username is None:
        say_loudly("EVERYBODY IN THE NETWORK CAN CHANGE THIS BOARD: set VISDOM_USERNAME and VISDOM_PASSWORD")

    def find() -> Sequence[Path]:
        # Unlike Path.glob, it passes over folders that cannot be read, and finds links that lead nowhere.
        return given or sorted(Path(path).parent for path in glob.glob("runs/*/*/config.json"))

    host = "localhost" if options.host in ("127.0.0.1", "0.0.0.0", "::") else options.host
    url = f"http://{f'[{host}]' if ':' in host else host}:{options.port}"
    sender = VisdomSender(url, follow(find, options.port), username=username, password=password)

    def ready(port: int) -> None:
        count = len(find())
        runs = f"{count} run{'s' if count != 1 else ''}"
        more = "" if given else " under runs/, and those that begin later"
        print(f"{url} shows {runs}{more}. Ctrl-C ends it.", flush=True)
        sender.start()

    with exit_on_bad_input(PROG), suppress(KeyboardInterrupt):
        serve(static, [options.port], ready, host=options.host)


if __name__ == "__main__":
    main()
