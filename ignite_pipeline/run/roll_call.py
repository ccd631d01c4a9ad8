"""Which process of several has failed: they note in the launcher's store why they end, or that they wait."""

import json
import os
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # public by its docs

# How long the others may take to note that they wait, too: those who have not by then are the cause.
_PATIENCE_S = 5.0
_STORE_S = 10.0


class LostProcess(Exception):
    """Another process has ended, or does not answer; ``status`` is its exit status, if it left one."""

    def __init__(self, text: str, *, status: int = 1, is_said: bool = False) -> None:
        super().__init__(text)
        self.status, self.is_said = status, is_said


class RollCall:
    """Notes of all processes of one attempt, which ``token`` tells from others in the same store."""

    def __init__(self, token: str, *, rank: int, count: int) -> None:
        self.rank, self.count = rank, count
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=_STORE_S))
        self._store: Any = PrefixStore(token, store)

    def note_end(self, status: int, reason: str) -> None:
        """Note why this process ends."""
        with suppress(RuntimeError):  # the store is gone, and whoever could have read it
            self._store.set(f"ended/{self.rank}", json.dumps([status, reason]))

    def note_done(self) -> None:
        """Note that all is done."""
        with suppress(RuntimeError):
            self._store.set("done", "")

    def wait_until_done(self) -> None:
        """Wait for that."""
        with suppress(RuntimeError):
            while not self._store.check(["done"]):
                time.sleep(0.5)

    def lost(self, error: Exception, *, among: int, timeout_s: float) -> LostProcess:
        """Return which of so many processes is why this one's talk to the others failed with ``error``."""
        others = {rank for rank in range(among) if rank != self.rank}
        waiting: set[int] = set()
        ended: dict[int, tuple[int, str]] = {}
        with suppress(RuntimeError):
            self._store.set(f"waits/{self.rank}", "")
            limit_s = time.monotonic() + _PATIENCE_S
            while others - waiting - ended.keys() and time.monotonic() < limit_s:
                waiting |= {rank for rank in others if self._store.check([f"waits/{rank}"])}
                for rank in others:
                    if self._store.check([f"ended/{rank}"]):
                        status, reason = json.loads(self._store.get(f"ended/{rank}"))
                        ended[rank] = status, reason
                if ended:
                    break
                time.sleep(0.1)
        is_first = not any(rank < self.rank for rank in waiting)
        if ended:
            rank = min(ended)
            status, reason = ended[rank]
            return LostProcess(
                f"process {rank} has ended: {reason}", status=status, is_said=rank == 0 or not is_first
            )
        silent = sorted(others - waiting)
        names = f"process{'es' if len(silent) > 1 else ''} {', '.join(map(str, silent))}"
        has = "has" if len(silent) == 1 else "have"
        if not silent:
            text = f"processes cannot reach each other ({str(error).strip().splitlines()[0]})"
        elif "imed out" in str(error) or "imeout" in str(error):
            text = f"{names} {has} not answered for {timeout_s:.0f} s"
        else:
            text = f"{names} {has} died"
        return LostProcess(text, is_said=not is_first)
