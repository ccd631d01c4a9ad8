"""What a worker process does besides loading: signals are its parent's, and so is its end."""

import atexit
import multiprocessing
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from multiprocessing import queues
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any
from weakref import WeakSet

from torch.utils.data import get_worker_info

from ignite_pipeline.errors import BadInput
from ignite_pipeline.standard_streams import guard_standard_streams

LEFT_TO_PARENT = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
_LOOK_EVERY_S = 1.0


class WorkersFailed(BadInput):
    """Worker processes could not be started, died, or could not hand over what they had loaded."""


def begin_work(worker_id: int, *, then: Callable[[int], object] | None) -> None:
    """Prepare the process that calls, a worker, and call ``then`` in it.

    Signals that would end a run are ignored, for the parent ends its step and saves with its workers alive.
    The worker ends when its parent is gone, or when a batch cannot be handed over.
    """
    guard_standard_streams()
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    for name in LEFT_TO_PARENT:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _do_nothing)  # SIG_IGN would be inherited by its children
    info: Any = get_worker_info()
    dataset = info.dataset
    _end_with_parent()
    _end_where_a_batch_is_lost(dataset.note_reason)
    dataset.work_as(worker_id)
    if then is not None:
        then(worker_id)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    pass


def _end_with_parent() -> None:
    by_birth, parent = os.getppid(), multiprocessing.parent_process()

    def watch() -> None:
        while os.getppid() == by_birth and (parent is None or parent.is_alive()):
            time.sleep(_LOOK_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _end_where_a_batch_is_lost(note: Callable[[str], object]) -> None:
    # multiprocessing sends from a thread, which drops what it cannot send, and the parent waits for ever. It
    # has this hook for that, which it leaves out of its documentation, and so typeshed does.
    def end(error: Exception, batch: object) -> None:
        try:
            note(f"{type(error).__name__}: {error}")
        finally:
            os._exit(1)

    queues.Queue._on_queue_feeder_error = staticmethod(end)  # type: ignore[attr-defined]  # see above


@cache
def workers_to_end() -> "WeakSet[BaseProcess]":
    """Return the set of the workers that are ended as this process ends."""
    workers: WeakSet[BaseProcess] = WeakSet()
    atexit.register(_end, workers, of=os.getpid())
    return workers


def end_if_collected(batches: Iterator[Any], workers: Sequence[BaseProcess]) -> None:
    """End the workers of torch's iterator before the garbage collector does, if it is that which frees it.

    It ends the queues first, so that torch's orderly way to end a worker would wait for ten seconds.
    """
    weakref.finalize(batches, _kill, tuple(workers), of=os.getpid()).atexit = False


def _kill(workers: Iterable[BaseProcess], *, of: int) -> None:
    if os.getpid() == of:  # else this process was forked
        for worker in workers:
            worker.kill()


def end_soon(workers: Sequence[BaseProcess]) -> None:
    """End workers in a second, if they have not by then: one may wait for a lock of another that has died."""

    timer = threading.Timer(_LOOK_EVERY_S, _kill, [tuple(workers)], {"of": os.getpid()})
    timer.daemon = True
    timer.start()


def _end(workers: "WeakSet[BaseProcess]", *, of: int) -> None:
    # multiprocessing would send them SIGTERM, which they leave to their parent, and then wait.
    if os.getpid() == of and hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _kill(workers, of=of)
