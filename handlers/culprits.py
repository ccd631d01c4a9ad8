"""Who takes the time of a run: handlers, parts of the step, transforms, and whatever else is watched."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from handlers.diagnosis import LARGE_SHARE, diagnose, largest_handler, slow_phases
from handlers.findings import Finding
from handlers.handler_times import HandlerTime, HandlerTimes
from handlers.step_parts import StepParts
from handlers.timing_statistics import IterationTimes

_MOST_HANDLERS = 8


class Watcher(Protocol):
    """Whoever finds something out about a run."""

    def findings(self) -> list[Finding]:
        """Return what has been found so far."""


class Culprits:
    """What is known by name, of a run whose seconds a `FetchComputeTimer` counts by parts."""

    def __init__(self, handlers: HandlerTimes, step: StepParts) -> None:
        self.handlers, self.step = handlers, step
        self.loading: Callable[[], Sequence[tuple[str, float]]] = tuple
        """Returns what loading a sample consists of, by name and share, the largest first, if it is known."""
        self.straggler: Finding | None = None
        """Which of several processes the others wait for, if it is one."""
        self.watchers: list[Watcher] = []
        """Who else has something to say of the run."""

    def findings(self, times: IterationTimes, seconds: Mapping[str, float], host_s: float) -> list[Finding]:
        """Return what takes much of the time, and who it is, the largest first: the first is the verdict.

        ``seconds`` are those of all parts of the run; of handlers, the host has counted ``host_s``.
        """
        found = diagnose(
            iterations=times.count,
            share=times.share,
            seconds=seconds,
            handlers=self._handlers(seconds, host_s),
            step=self.step.seconds(),
            loading=self.loading(),
        )
        straggler = [] if self.straggler is None else [self.straggler]
        watched = [finding for watcher in self.watchers for finding in watcher.findings()]
        return [*straggler, *found, *slow_phases(times.phases(), seconds), *watched]

    def describe(self, seconds: Mapping[str, float], host_s: float) -> dict[str, Any]:
        """Return the seconds of handlers, the largest first, and of the parts of the steps looked into."""
        handlers = self._handlers(seconds, host_s)[:_MOST_HANDLERS]
        return {"handlers": [vars(time) for time in handlers], "step": self.step.seconds()}

    def in_short(self, seconds: Mapping[str, float], loop_s: float) -> str:
        """Return which handler takes long, if all take a large share of ``loop_s``; else nothing."""
        share = seconds["handlers"] / (loop_s or 1.0)
        name, _ = largest_handler(self.handlers.largest(), seconds["handlers"])
        return f" · handlers {share:.0%}, {name}" if share > LARGE_SHARE and name else ""

    def _handlers(self, seconds: Mapping[str, float], host_s: float) -> list[HandlerTime]:
        # What counts is the time of the device, where there is one: they share it as they share the host's.
        scale = seconds["handlers"] / host_s if host_s else 1.0
        return [replace(time, seconds=time.seconds * scale) for time in self.handlers.largest()]

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds so far, for a checkpoint."""
        return {"handlers": self.handlers.state_dict(), "step": self.step.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's seconds."""
        self.handlers.load_state_dict(state["handlers"])
        self.step.load_state_dict(state["step"])
