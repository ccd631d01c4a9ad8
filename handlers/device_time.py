"""When a device computes and when it waits, from events in its own queue."""

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch


class DeviceTimeline:
    """Marks before and after each step in the device's queue, read when the device has passed them.

    ``make_event`` returns events with ``record()``, ``query()``, ``synchronize()`` and
    ``elapsed_time(later)`` in milliseconds, as `torch.cuda.Event` with ``enable_timing=True`` does. They are
    used again and again.
    """

    def __init__(self, make_event: Callable[[], Any]) -> None:
        self.make_event = make_event
        self._free: list[Any] = []
        self._pending: deque[tuple[Any, Any, Any]] = deque()
        self._start: Any = None
        self._last_end: Any = None

    def _mark(self) -> Any:
        event = self._free.pop() if self._free else self.make_event()
        event.record()
        return event

    def start_step(self) -> None:
        """Mark the beginning of a step."""
        self._start = self._mark()

    def end_step(self, note: Any) -> None:
        """Mark the end of the step; ``note`` comes back with its times."""
        self._pending.append((self._start, self._mark(), note))

    def wait(self) -> None:
        """Wait until the device has done all steps."""
        if self._pending:
            self._pending[-1][1].synchronize()

    def passed(self) -> Iterator[tuple[float, float, Any]]:
        """Yield, for each step that the device has done: seconds idle before it, seconds busy, its note.

        The first step has none before it to be idle since, and is left out.
        """
        while self._pending and self._pending[0][1].query():
            start, end, note = self._pending.popleft()
            if self._last_end is not None:
                idle_s = self._last_end.elapsed_time(start) / 1000
                yield idle_s, start.elapsed_time(end) / 1000, note
                self._free.append(self._last_end)
            self._free.append(start)
            self._last_end = end

    def parts(self) -> Iterator[tuple[tuple[float, ...], tuple[float, ...]]]:
        """Yield, for each step that the device has done, what the parts of the loop took on it, and the host.

        The note of `end_step` is the latter, of fetch, transfer, compute, handlers and others, and what was
        outside of the loop. Idle time is shared by fetch and handlers as they shared the host's.
        """
        for idle_s, busy_s, host in self.passed():
            fetch, _, _, handlers, _, outside = host
            idle_s = min(max(0.0, idle_s - outside), fetch + handlers)
            waited = idle_s * fetch / ((fetch + handlers) or 1.0)
            yield (waited, 0.0, busy_s, idle_s - waited, 0.0), host


def cuda_events() -> Callable[[], Any] | None:
    """Return what makes events for `DeviceTimeline`, if this process has used CUDA."""
    return partial(torch.cuda.Event, enable_timing=True) if torch.cuda.is_initialized() else None
