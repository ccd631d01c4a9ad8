"""What workers load, and what has become of them where nothing comes."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from ignite_pipeline.data.position_keyed import BadSample, PositionKeyed
from ignite_pipeline.data.worker_process import WorkersFailed, end_if_collected, end_soon, workers_to_end

# What goes on after so many batches, instead of workers that have failed for that reason.
Otherwise = Callable[[int, Exception], Iterable[Any]]
_TO_END_S, _TO_DIE_S = 0.2, 5.0
_LOST_IN_A_FORK = ("SIGSEGV", "SIGABRT")
_LACK_OF_MEMORY = ("shared memory", "No space left", "unable to resize file", "SIGBUS")


def batches_from_workers(
    begin: Callable[[], Iterator[Any]], keyed: PositionKeyed, *, num_workers: int, otherwise: Otherwise | None
) -> Iterator[Any]:
    """Start workers with ``begin``, and return what they load.

    `WorkersFailed` is raised if they cannot be started, die, or cannot hand over a batch; with ``otherwise``,
    the batches that it returns come instead.
    """
    try:
        keyed.expect_workers(num_workers)
        before = multiprocessing.active_children()
        batches = begin()
    except Exception as error:
        failure = _failure(error, keyed, num_workers, workers=())
        if otherwise is None:
            raise failure from error
        return iter(otherwise(0, failure))
    workers = [process for process in multiprocessing.active_children() if process not in before]
    workers_to_end().update(workers)
    end_if_collected(batches, workers)
    children = _Children(workers)
    children.watch()
    return _loaded(batches, children, keyed, num_workers, otherwise)


def _loaded(
    batches: Iterator[Any] | None,
    children: "_Children",
    keyed: PositionKeyed,
    num_workers: int,
    otherwise: Otherwise | None,
) -> Iterator[Any]:
    given = 0
    try:
        while True:
            batch = children.ask(batches)
            given += 1
            yield batch
    except StopIteration:
        return
    except BadSample:
        raise
    except Exception as error:
        failure = _failure(error, keyed, num_workers, children.workers)
        end_soon(children.workers)
        if otherwise is None:
            raise failure from (None if failure is error else error)
        batches, rest = None, otherwise(given, failure)
    finally:
        children.leave()
    yield from rest


def _failure(
    error: Exception, keyed: PositionKeyed, num_workers: int, workers: Sequence[BaseProcess]
) -> Exception:
    """Return why workers have failed, or the error itself if it is that of the data."""
    # The connection of a worker that dies breaks first, on a busy machine long before it has ended.
    is_cut_off = isinstance(error, ConnectionError | EOFError)
    ends = _ends(workers, within_s=_TO_DIE_S if is_cut_off else _TO_END_S)
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = keyed.reason or (ends or lines)[-1]  # the lines before are a worker's traceback
    lacks_memory = any(word in reason for word in _LACK_OF_MEMORY)
    if not workers:
        what = f"{num_workers} workers could not be started"
    elif keyed.reason or lacks_memory:
        what = "a worker could not hand over a batch"
    elif ends or is_cut_off:
        what = f"a worker died while samples {keyed.at_work()} were loaded"
    else:
        return error
    advice = "give /dev/shm more memory (docker run --shm-size), or " if lacks_memory else ""
    if reason in _LOST_IN_A_FORK:
        advice = (
            "give the loader multiprocessing_context='forkserver', if a library does not survive a fork, or "
        )
    return WorkersFailed(f"{what} ({reason}); {advice}load without workers: --num-workers 0")


def _ends(workers: Sequence[BaseProcess], *, within_s: float) -> list[str]:
    """Return how those of the workers have ended that should not have."""
    ended = wait([worker.sentinel for worker in workers], within_s)
    for worker in workers:
        if worker.sentinel in ended:  # its files are closed: on a busy machine, its status is not there yet
            worker.join(within_s)
    codes = [worker.exitcode for worker in workers if worker.exitcode]
    return [signal.Signals(-code).name if code < 0 else f"exit status {code}" for code in codes]


class _Children:
    """Let the death of a worker be an error while a batch is asked for, and at no other time.

    torch's own handler raises at once, for the workers of any loader: inside a step, whose state is no place
    to stop at, or in the midst of an evaluation.
    """

    def __init__(self, workers: Sequence[BaseProcess]) -> None:
        self.workers = workers
        self._before: Any = None
        self._is_asked = self._has_missed = False

    def watch(self) -> None:
        """Take the place of torch's handler."""
        if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
            before = signal.signal(signal.SIGCHLD, self._handle)
            is_torchs = getattr(before, "__module__", "").startswith("torch.")
            self._before = signal.SIG_DFL if is_torchs else before

    def leave(self) -> None:
        """Put back the handler that was there before torch's."""
        in_main_thread = threading.current_thread() is threading.main_thread()
        if self._before is not None and in_main_thread and signal.getsignal(signal.SIGCHLD) == self._handle:
            signal.signal(signal.SIGCHLD, self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._has_missed = True
        if self._is_asked:
            self._look()

    def _look(self) -> None:
        self._has_missed = False
        if any(worker.exitcode for worker in self.workers):
            raise ChildProcessError("a worker has ended")

    def ask(self, batches: Any) -> Any:
        """Return the next batch."""
        self._is_asked = True
        try:
            if self._has_missed:
                self._look()
            return next(batches)
        finally:
            self._is_asked = False
