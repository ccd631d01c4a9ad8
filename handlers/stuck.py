"""Notice from outside that an engine does not move, and what it is about."""

import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from ignite.engine import Engine, Events

_TICK_S = 1.0


def say(text: str) -> None:
    """Print a line on standard error, whatever has become of that; of several processes, say which."""
    if os.environ.get("WORLD_SIZE", "1") != "1" and (rank := os.environ.get("RANK", "0")) != "0":
        text = f"process {rank}: {text}"
    with suppress(OSError, ValueError, AttributeError, RuntimeError):
        print(text, file=sys.stderr, flush=True)


def waits_for_data(engine: Engine) -> bool:
    """Return whether an engine is between two steps: all that belongs to the last has been done."""
    last = engine.last_event_name
    if last == Events.EXCEPTION_RAISED:
        return engine.state.dataloader is not None and engine.state.batch is None
    return last in (Events.GET_BATCH_STARTED, Events.DATALOADER_STOP_ITERATION)


def whereabouts(engine: Engine) -> str:
    """Return where an engine is, in words."""
    if waits_for_data(engine):
        return f"waiting for the data of iteration {engine.state.iteration + 1}"
    if engine.last_event_name == Events.ITERATION_STARTED:
        return f"inside the step of iteration {engine.state.iteration}"
    name = getattr(engine.last_event_name, "name", engine.last_event_name)
    return f"handling {name} of iteration {engine.state.iteration}"


class StuckWatch:
    """Look once in a second, from a thread, whether engines move; be told of signals as they arrive.

    ``on_quiet(still_s)`` is called when nothing has moved for ``quiet_s``, once in each such time. When one
    of ``signals`` has arrived and nothing has moved for ``patience_s`` since, ``on_stuck(number, still_s)``
    is called, once. While ``is_busy()``, that counts as moving. Where it has moved more slowly before, both
    wait for twice the longest pause.

    A signal is seen here even where the main thread does not come to handle it, inside a long computation.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        *,
        signals: Collection[int],
        on_stuck: Callable[[int, float], object],
        patience_s: float,
        on_quiet: Callable[[float], object] = lambda still_s: None,
        quiet_s: float = math.inf,
        is_busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self.engines, self.signals, self.is_busy = engines, signals, is_busy
        self.on_quiet, self.on_stuck, self.quiet_s, self.patience_s = on_quiet, on_stuck, quiet_s, patience_s
        self._reader, self._writer = socket.socketpair()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stuck", daemon=True)

    def start(self) -> None:
        """Begin to watch; called in the main thread."""
        self._writer.setblocking(False)
        self._reader.settimeout(_TICK_S)
        _leave_signals_to_the_parent_after_a_fork()
        self._fd_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._thread.start()

    def close(self) -> None:
        """End watching."""
        if self._thread.ident is not None:
            self._ended.set()
            signal.set_wakeup_fd(self._fd_before)
            with suppress(OSError):
                self._writer.send(b"\0")
            self._thread.join()
        self._reader.close()
        self._writer.close()

    def _watch(self) -> None:
        moved_s = time.monotonic()
        position, asked, is_quiet, longest_s = self._position(), 0, False, 0.0
        while not self._ended.is_set():
            arrived = self._arrived()
            still_s = time.monotonic() - moved_s
            if (here := self._position()) != position or self.is_busy():
                longest_s = max(longest_s, still_s)
                position, moved_s, is_quiet = here, time.monotonic(), False
            elif arrived and not asked:
                moved_s = time.monotonic()
            asked = asked or arrived
            still_s = time.monotonic() - moved_s
            if asked and still_s >= max(self.patience_s, 2 * longest_s):
                self.on_stuck(asked, still_s)
                return
            if still_s >= max(self.quiet_s, 2 * longest_s) and not is_quiet and not asked:
                is_quiet = True
                self.on_quiet(still_s)

    def _arrived(self) -> int:
        """Return a signal that has arrived, or 0 after a while."""
        try:
            return next((number for number in self._reader.recv(100) if number in self.signals), 0)
        except TimeoutError:
            return 0

    def _position(self) -> list[Any]:
        return [(engine.state.iteration, engine.last_event_name) for engine in self.engines]


@cache
def _leave_signals_to_the_parent_after_a_fork() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
