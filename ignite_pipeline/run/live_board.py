"""What the options ``--visdom`` and ``--tensorboard`` ask for."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ignite.engine import Engine

from handlers import RunRecord, VisdomBoard
from handlers.run_windows import run_environment
from handlers.tensorboard_curves import TensorboardCurves, is_available
from ignite_pipeline.board.server import PORT, credentials, front_end, is_answering, served
from ignite_pipeline.command_line import say
from ignite_pipeline.errors import BadInput


def require_board(choice: str, *, tensorboard: bool = False) -> None:
    """Raise `BadInput` if what ``--visdom`` or ``--tensorboard`` needs is not there."""
    if tensorboard and not is_available():
        raise BadInput("--tensorboard needs tensorboardX: pip install 'ignite_pipeline[tensorboard]'")
    if choice == "serve":
        front_end()
    if choice != "off":
        credentials()


@contextmanager
def drawing(record: RunRecord, directory: Path, is_asked_for: bool, *, from_iteration: int) -> Iterator[None]:
    """Write curves for TensorBoard to ``directory`` while a run goes on inside, if that is asked for."""
    if not is_asked_for:
        yield
        return
    with TensorboardCurves(directory, from_iteration=from_iteration) as curves:
        record.listeners.append(curves.add)
        say(f"TensorBoard: tensorboard --logdir {directory.parent.parent}")
        yield


@contextmanager
def showing(
    trainer: Engine, directory: Path, choice: str | None, *, about: Callable[[], str]
) -> Iterator[None]:
    """Show a run on the board of ``choice``, if any, while it runs inside; ``about`` says how it goes."""
    if choice is None:
        yield
        return
    url = f"http://localhost:{PORT}" if choice in ("auto", "off", "serve") else choice
    with ExitStack() as stack:
        if choice == "serve":
            try:
                url = f"http://localhost:{stack.enter_context(served())}"
            except OSError as error:  # a board must not end a run
                say(f"No board: {error}")
                choice = "off"
        if choice != "off":
            username, password = credentials()
            board = VisdomBoard(
                url,
                environment=run_environment(directory),
                directory=directory,
                texts={"run": about},
                optional=choice == "auto",
                username=username,
                password=password,
            )
            stack.enter_context(board.attach(trainer))
            if choice == "auto" and not is_answering(PORT):
                say(f"No board at {url}; python -m ignite_pipeline.board starts one, now or later")
            else:
                say(f"Board: {url}/env/{run_environment(directory)}")
        yield
