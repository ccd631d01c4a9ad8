"""Recipes in processes of their own, which are killed, and go on."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.connection import wait
from pathlib import Path
from threading import Lock

import pytest
import torch
from ignite.engine import Engine, Events

from handlers import record
from handlers.attached import put_first
from ignite_pipeline.run import Parser, Run, launch, live_board, session

# Its children begin with all this imported, and with no thread that a fork would lose.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__, "tests.support.ignite_cases", "tests.support.data_cases"])
# To start one process looks after the others that have ended: two threads would read one's status in parts.
_LOCK = Lock()
QUIET = ["--visdom", "off", "--precision", "fp32", "--num-workers", "0", "--checkpoint-every-s", "1e-9"]


def run_recipe(
    train: Callable[[Run], None], directory: Path, *options: object, kill_at: int | None = None
) -> None:
    """Launch a recipe's ``train``, to its end or until, after the step of an iteration, it is killed.

    A run in ``directory`` is resumed. Every iteration is saved but that in which it is killed.
    """
    place = ["--resume" if (directory / "config.json").exists() else "--output", str(directory)]
    log = directory.with_suffix(".log")
    argv = [*place, *QUIET, *map(str, options)]
    process = CONTEXT.Process(target=_run, args=(train, argv, kill_at, log))
    with _LOCK, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # which the server does not get otherwise
        forkserver.ensure_running()
        process.start()
    wait([process.sentinel], 120)
    with _LOCK:
        process.join(0)
        status = process.exitcode
    if status is None:
        process.kill()
    wanted = 0 if kill_at is None else -signal.SIGKILL
    assert status == wanted, f"{status} instead of {wanted}:\n{log.read_text()}"


def _run(train: Callable[[Run], None], argv: list[str], kill_at: int | None, log: Path) -> None:
    with open(log, "w", buffering=1) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    multiprocessing.set_start_method("fork", force=True)  # for workers: as in a process that one starts
    live_board.PORT = 1  # nobody's board
    torch.set_num_threads(1)  # others may run at the same time
    record.plot_report = lambda directory: None  # which takes as long as all the rest
    run_until = session.run_until

    def run_until_killed(iteration: int, trainer: Engine, loader: session.EndlessLoader) -> None:
        if kill_at is not None:
            once = Events.ITERATION_COMPLETED(once=kill_at)
            trainer.add_event_handler(once, lambda: os.kill(os.getpid(), signal.SIGKILL))
            put_first(trainer, Events.ITERATION_COMPLETED)
        run_until(iteration, trainer, loader)

    session.run_until = run_until_killed
    launch(train, Parser(), argv, task="killed")
