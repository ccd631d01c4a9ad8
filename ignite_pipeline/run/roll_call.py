"""Which process of several has failed: all tell in the launcher's store why they end, or that they wait."""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # public by its docs

_LOOK_S = 0.5
# How long the others may take to answer that they wait: those who have not by then are the cause.
_PATIENCE_S = 4.0
_STORE_S = 10.0


class LostProcess(Exception):
    """Another process has ended, or does not answer; ``status`` is its exit status, if it left one."""

    def __init__(self, text: str, *, status: int = 1, is_said: bool = False) -> None:
        super().__init__(text)
        self.status, self.is_said = status, is_said


class RollCall:
    """Notes of all processes of one attempt, which ``token`` tells from others in the same store.

    A thread of each answers when somebody calls: that its process waits for the others, or does not.
    """

    def __init__(self, token: str, *, rank: int, count: int) -> None:
        self.rank, self.count = rank, count
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=_STORE_S))
        self._store: Any = PrefixStore(token, store)
        self._waits = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._answer, name="roll call", daemon=True)
        self._thread.start()

    def _answer(self) -> None:
        with suppress(RuntimeError):  # the store is gone
            while not self._closed.wait(_LOOK_S):
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

    def close(self) -> None:
        """End answering."""
        self._closed.set()
        self._thread.join()

    def note_end(self, status: int, reason: str) -> None:
        """End answering, and note why this process ends."""
        self.close()
        with suppress(RuntimeError):
            self._store.set(f"ended/{self.rank}", json.dumps([status, reason]))

    def wait_for_readers(self) -> None:
        """Wait a while, in the first process, which may hold the store, for the others to read that."""
        with suppress(RuntimeError):
            limit_s = time.monotonic() + _PATIENCE_S
            others = [f"ended/{rank}" for rank in range(1, self.count)] if self.rank == 0 else []
            while not all(self._store.check([name]) for name in others) and time.monotonic() < limit_s:
                time.sleep(0.05)

    def note_done(self) -> None:
        """Note that all is done."""
        with suppress(RuntimeError):
            self._store.set("done", "")

    def wait_until_done(self) -> None:
        """Wait for that; raise `LostProcess` if another process has ended before."""
        while not self._store.check(["done"]):
            if lost := self._ended(range(self.count)):
                raise lost
            time.sleep(_LOOK_S)

    def _ended(self, among: range) -> LostProcess | None:
        for rank in among:
            if rank != self.rank and (note := self._read(f"ended/{rank}")) is not None:
                status, reason = json.loads(note)
                is_said = rank == 0 or self.rank != min({*among} - {rank})
                return LostProcess(f"process {rank} has ended: {reason}", status=status, is_said=is_said)
        return None

    def lost(self, error: Exception, *, among: int, timeout_s: float) -> LostProcess:
        """Return which of so many processes is why this one's talk to the others failed with ``error``."""
        others = [rank for rank in range(among) if rank != self.rank]
        waiting: list[int] = []
        with suppress(RuntimeError), self.waiting():
            self._store.set("call", "")
            limit_s = time.monotonic() + _PATIENCE_S
            while len(waiting) < len(others) and time.monotonic() < limit_s:
                if lost := self._ended(range(among)):
                    return lost
                waiting = [rank for rank in others if self._read(f"answer/{rank}") == b"waits"]
                time.sleep(0.1)
        silent = [rank for rank in others if rank not in waiting]
        is_said = any(rank < self.rank for rank in waiting)
        if not silent:
            reason = str(error).strip().splitlines()[0]
            return LostProcess(f"the processes cannot reach each other ({reason})", is_said=is_said)
        are = "s" if len(silent) > 1 else ""
        names = f"process{'es' if are else ''} {', '.join(map(str, silent))} {'have' if are else 'has'}"
        timed_out = "imed out" in str(error) or "imeout" in str(error)
        text = f"{names} not answered for {timeout_s:.0f} s" if timed_out else f"{names} died"
        return LostProcess(text, is_said=is_said)

    def _read(self, name: str) -> bytes | None:
        found: bytes | None = self._store.get(name) if self._store.check([name]) else None
        return found
