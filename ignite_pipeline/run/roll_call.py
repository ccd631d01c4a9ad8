"""Which process of several has failed: all tell in the launcher's store why they end, or that they wait."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_LOOK_S = 0.5
# How long the others may take to answer that they wait: those who have not by then are the cause.
_PATIENCE_S = 4.0
# How long the store itself may take.
_LIMIT_S = 2.0


class LostProcess(Exception):
    """Another process has ended, or does not answer; ``status`` is its exit status, if it left one."""

    def __init__(self, text: str, *, status: int = 1, is_said: bool = False) -> None:
        super().__init__(text)
        self.status, self.is_said = status, is_said


class RollCall:
    """Notes of all processes of one attempt, in its ``store``.

    A thread of each reads why others have ended, and answers when somebody calls: that its process waits for
    the others, or does not.
    """

    def __init__(self, store: Any, *, rank: int, count: int) -> None:
        self.rank, self.count, self._store = rank, count, store
        self._waits = self._hangs = False
        self._ends: dict[int, tuple[int, str]] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._answer, name="roll call", daemon=True)
        self._thread.start()

    def _answer(self) -> None:
        with suppress(RuntimeError):  # the store is gone
            while not self._closed.wait(_LOOK_S):
                if self._store.check(["ended"]):
                    self._read_ends()
                if self._store.check(["call"]):
                    self._store.set(f"answer/{self.rank}", "waits" if self._waits else "works")

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Answer inside that this process waits for the others."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False

    def _close(self) -> None:
        self._closed.set()
        self._thread.join(_LIMIT_S)  # or the store does not answer

    def note_end(self, status: int, reason: str) -> None:
        """End answering, and note why this process ends."""
        self._close()
        if 0 in self._ends or self._hangs:  # the store may have gone with it
            return
        with suppress(RuntimeError):
            self._store.set(f"ended/{self.rank}", json.dumps([status, reason]))
            self._store.set("ended", "")
            if self.rank == 0:  # which may hold the store: the others have to read that before
                time.sleep(3 * _LOOK_S)

    def note_done(self) -> None:
        """End answering, and note that this process is done; the first, which may hold the store, is last."""
        self._close()
        with suppress(RuntimeError):
            self._store.set(f"done/{self.rank}", "")
            if self.rank == 0:
                self._store.set("done", "")
                limit_s = time.monotonic() + _LIMIT_S
                others = [f"done/{rank}" for rank in range(self.count)]
                while not all(self._store.check([name]) for name in others) and time.monotonic() < limit_s:
                    time.sleep(0.02)

    def wait_until_done(self) -> None:
        """Wait for that; raise `LostProcess` if another process has ended before."""
        try:
            while not self._store.check(["done"]):
                if self._ends:
                    raise self._ended(self.count)
                time.sleep(_LOOK_S)
        except RuntimeError as error:
            raise LostProcess("process 0 has died", is_said=True) from error

    def _read_ends(self) -> None:
        for rank in range(self.count):
            if rank != self.rank and self._store.check([f"ended/{rank}"]):
                status, reason = json.loads(self._store.get(f"ended/{rank}"))
                self._ends[rank] = status, reason

    def _ended(self, among: int) -> LostProcess:
        rank = min(self._ends)
        status, reason = self._ends[rank]
        is_said = rank == 0 or self.rank != min({*range(among)} - {rank})
        return LostProcess(f"process {rank} has ended: {reason}", status=status, is_said=is_said)

    def lost(self, error: Exception, *, among: int, timeout_s: float) -> LostProcess:
        """Return which of so many processes is why this one's talk to the others failed with ``error``."""
        others = [rank for rank in range(among) if rank != self.rank]
        waiting: set[int] = set()
        # Not in this thread: a store whose process has been stopped never answers.
        call = threading.Thread(target=self._call, args=(others, waiting), daemon=True)
        if not self._ends:
            call.start()
            call.join(_PATIENCE_S + _LIMIT_S)
        if self._ends:
            return self._ended(among)
        self._hangs = call.is_alive()
        silent = [0] if self._hangs else [rank for rank in others if rank not in waiting]
        is_said = any(rank < self.rank for rank in waiting)
        if not silent:
            text = (
                "the processes wait for each other in different places: a handler acts in one of them alone"
            )
            return LostProcess(text, is_said=is_said)
        are = "s" if len(silent) > 1 else ""
        names = f"process{'es' if are else ''} {', '.join(map(str, silent))} {'have' if are else 'has'}"
        timed_out = "imed out" in str(error) or "imeout" in str(error)
        text = f"{names} not answered for {timeout_s:.0f} s" if timed_out else f"{names} died"
        return LostProcess(text, is_said=is_said)

    def _call(self, others: list[int], waiting: set[int]) -> None:
        """Ask the others, for a while, whether they wait too; add those that do."""
        with suppress(RuntimeError), self.waiting():
            self._store.set("call", "")
            limit_s = time.monotonic() + _PATIENCE_S
            while not self._ends and len(waiting) < len(others) and time.monotonic() < limit_s:
                self._read_ends()
                answers = {rank: f"answer/{rank}" for rank in others if self._store.check([f"answer/{rank}"])}
                waiting.clear()
                waiting.update(rank for rank, name in answers.items() if self._store.get(name) == b"waits")
                time.sleep(0.1)
