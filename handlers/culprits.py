"""Who takes the time of a run, and its memory: handlers, parts of the step, transforms, others."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ignite.engine import Engine

from handlers.attached import around_run
from handlers.diagnosis import LARGE_SHARE, diagnose, largest_handler, slow_phases
from handlers.findings import Finding
from handlers.foreign_load import ForeignLoad
from handlers.garbage import GarbageCollection
from handlers.handler_times import HandlerTime, HandlerTimes
from handlers.memory_growth import MemoryGrowth
from handlers.states import Stateful
from handlers.step_parts import StepParts
from handlers.timing_statistics import IterationTimes

_MOST_HANDLERS = 8
_NO_NAMES = "this version of Ignite keeps handlers where we cannot tell them apart: leave them out in turn"


class Culprits:
    """What is known by name, of a run whose seconds a `FetchComputeTimer` counts by parts."""

    def __init__(self, handlers: HandlerTimes, step: StepParts) -> None:
        self.handlers, self.step = handlers, step
        self.loading: Callable[[], Sequence[tuple[str, float]]] = tuple
        """Returns what loading a sample consists of, by name and share, the largest first, if it is known."""
        self.straggler: Finding | None = None
        """Which of several processes the others wait for, if it is one."""
        self.memory, self.garbage, self.cores = MemoryGrowth(), GarbageCollection(), ForeignLoad()
        self._handlers_have_names = True
        self.memory_due = -1
        """After how many iterations to call `look_at_memory`."""

    def watch(self, engine: Engine) -> None:
        """Watch whatever runs of the engine follow; handlers are observed from now on."""
        self._handlers_have_names = self.handlers.observe(engine)
        self.garbage.attach(engine)
        self.cores.attach(engine)
        around_run(engine, self._stopping)

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.step.stop()  # a step that raises leaves its hooks behind

    def begin(self, engine: Engine, *, iteration: int, make_event: Callable[[], Any] | None) -> None:
        """Begin a run of the engine, at an iteration; ``make_event`` as in `StepParts.begin`."""
        self.step.begin(engine, iteration=iteration, make_event=make_event)
        self.memory.start()
        self.memory_due = iteration + 1

    def look_at_memory(self) -> None:
        """Look at what the run takes of it, if it is time; `memory_due` says when to call this again."""
        self.memory_due += self.memory.look()

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
        if not self._handlers_have_names:
            found = [replace(one, advice=_NO_NAMES) if one.kind == "handler-bound" else one for one in found]
        straggler = [] if self.straggler is None else [self.straggler]
        watched = [*self.memory.findings(), *self.garbage.findings(), *self.cores.findings()]
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
        return {name: part.state_dict() for name, part in self._kept().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's seconds."""
        for name, part in self._kept().items():
            part.load_state_dict(state[name])

    def _kept(self) -> dict[str, Stateful]:
        return {"handlers": self.handlers, "step": self.step, "garbage": self.garbage, "cores": self.cores}
