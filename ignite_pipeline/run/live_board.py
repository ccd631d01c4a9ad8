"""The board that the option ``--visdom`` of the training scripts asks for."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ignite.engine import Engine

from handlers import FetchComputeTimer, VisdomBoard
from handlers.run_windows import run_environment
from ignite_pipeline.board.server import PORT, credentials, is_answering, served
from ignite_pipeline.run.directory import Run


@contextmanager
def showing(trainer: Engine, run: Run, *, timer: FetchComputeTimer, notice: str | None) -> Iterator[None]:
    """Show the run on the board that ``--visdom`` asks for, while the trainer runs inside."""
    choice, url = run.options.visdom, f"http://localhost:{PORT}"
    with ExitStack() as stack:
        if choice == "serve":
            try:
                url = f"http://localhost:{stack.enter_context(served())}"
            except OSError as error:  # a board is never worth a run
                print(f"No board: {error}", file=sys.stderr, flush=True)
                choice = "off"
        elif choice not in ("auto", "off"):
            url = choice
        if choice != "off":
            board = _board(url, run, timer, notice, optional=choice == "auto").attach(trainer)
            stack.enter_context(board)
            if choice == "auto" and not is_answering(PORT):
                words = f"No board at {url}; python -m ignite_pipeline.board starts one, now or later"
            else:
                words = f"Board: {url}/env/{run_environment(run.directory)}"
            print(words, file=sys.stderr, flush=True)
        yield


def _board(
    url: str, run: Run, timer: FetchComputeTimer, notice: str | None, *, optional: bool
) -> VisdomBoard:
    def about_run() -> str:
        lines = (str(run.directory), notice, timer.verdict(), timer.shares())
        return "\n".join(line for line in lines if line)

    username, password = credentials()
    return VisdomBoard(
        url,
        environment=run_environment(run.directory),
        directory=run.directory,
        texts={"run": about_run},
        optional=optional,
        username=username,
        password=password,
    )
