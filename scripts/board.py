"""The option ``--visdom`` of the training scripts, and the board that it asks for."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ignite.engine import Engine

from handlers import FetchComputeTimer, VisdomBoard
from handlers.visdom_windows import environment_name

from visdom_server import PORT, credentials, free_port, is_answering, served

if TYPE_CHECKING:
    from launching import Run


def board_choice(text: str) -> str:
    """Return the value of ``--visdom`` if it can be one."""
    if text in ("auto", "off", "serve"):
        return text
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise argparse.ArgumentTypeError(
            f"must be auto, off, serve or like http://localhost:{PORT}, got {text}"
        )
    if parts.username or parts.password:
        raise argparse.ArgumentTypeError(
            "must hold no user name or password; set VISDOM_USERNAME and VISDOM_PASSWORD instead"
        )
    return text


def attach_board(
    trainer: Engine, run: "Run", *, timer: FetchComputeTimer, notice: str | None
) -> AbstractContextManager[object]:
    """Attach the board that ``--visdom`` asks for, and return what is to be open while the trainer runs."""
    choice = run.options.visdom
    if choice == "off":
        return nullcontext()
    port = free_port() if choice == "serve" else PORT
    url = choice.rstrip("/") if "://" in choice else f"http://localhost:{port}"
    username, password = credentials()
    environment = environment_name(f"{run.task}_{run.directory.resolve().name}")

    def about_run() -> str:
        return "\n".join(
            line for line in (str(run.directory), notice, timer.verdict(), timer.shares()) if line
        )

    board = VisdomBoard(
        url,
        environment=environment,
        directory=run.directory,
        texts={"run": about_run},
        optional="://" not in choice,
        username=username,
        password=password,
    ).attach(trainer)

    @contextmanager
    def open_board() -> Iterator[None]:
        with served(port) if choice == "serve" else nullcontext(), board:
            if choice == "auto" and not is_answering(PORT):
                words = f"No board at {url}; python scripts/serve_visdom.py starts one, now or later"
            else:
                words = f"Board: {url}/env/{environment}"
            print(words, file=sys.stderr, flush=True)
            yield

    return open_board()
