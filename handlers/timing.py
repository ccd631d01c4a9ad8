"""Where the wall time of a run goes: waiting for data, computing, or handling events."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from operator import itemgetter
from typing import Any, ParamSpec, TypeVar

from ignite.engine import Engine, Events

from handlers.attached import put_first
from handlers.charged_seconds import LOOP_PARTS, ChargedSeconds
from handlers.culprits import Culprits
from handlers.device_time import DeviceTimeline, cuda_events
from handlers.findings import Finding
from handlers.handler_times import HandlerTimes
from handlers.step_parts import StepParts
from handlers.timing_statistics import IterationTimes

P = ParamSpec("P")
T = TypeVar("T")

_sums_of_loop = itemgetter(*LOOP_PARTS)


class FetchComputeTimer:
    """Split a run's wall time into parts that add up to it, in O(1) memory.

    - ``fetch``: from ``GET_BATCH_STARTED`` to ``GET_BATCH_COMPLETED``, waiting for the loader;
    - ``transfer``: what is wrapped in `timed` as such, moving the batch to the device;
    - ``compute``: the rest of the step function;
    - ``others``: what is wrapped in `timed` as such, adding up with other processes and waiting for them;
    - ``evaluate``: runs of the engines given to `watch`;
    - ``checkpoint``: what runs inside ``with timer.part("checkpoint")``, as `Checkpoints` does;
    - ``first_batch``: from a start to the first batch, in which workers start and caches are cold;
    - ``handlers``: all the rest, which is event handlers and the engine itself.

    It is called first, whatever was attached before it, and last before the fetch and the step, so that no
    handler is counted as one of these. At the end of an epoch it publishes the seconds that each part took in
    it as ``time/fetch_s`` and so on; what runs after the last measurement counts to the next epoch.

    With ``names``, each handler is timed by itself (see `HandlerTimes`), and a sample of the steps in parts
    (see `StepParts`), so that `findings` names what takes long. It also watches memory, Python's garbage
    collector, and who else runs on the cores (see `MemoryGrowth`, `GarbageCollection`, `ForeignLoad`).

    On CUDA, ``compute`` is the time in which the device was busy with the step, and ``fetch`` and
    ``handlers`` share the time in which it was idle as they shared the host's: what a loader takes
    while the device still computes costs nothing. That is read from events in the device's queue, a
    few iterations later; nothing waits for the device before the run ends. ``make_event`` stands in for them.

    >>> ticks = iter(range(100))
    >>> timer = FetchComputeTimer(clock=lambda: next(ticks), names=False)
    >>> trainer = Engine(lambda engine, batch: None)
    >>> _ = timer.attach(trainer)
    >>> _ = trainer.run([1, 2, 3])
    >>> {part: seconds for part, seconds in timer.seconds.items() if seconds}
    {'fetch': 2, 'compute': 3, 'handlers': 7, 'first_batch': 2}
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.perf_counter,
        make_event: Callable[[], Any] | None = None,
        names: bool = True,
    ) -> None:
        self.clock, self.make_event, self.names = clock, make_event, names
        self.times = IterationTimes(LOOP_PARTS)
        self.iterations = 0
        self.charged = ChargedSeconds(clock=clock)
        self._charge = self.charged.charge
        self._device_less_host: dict[str, float] = dict.fromkeys(LOOP_PARTS, 0)
        self._device: DeviceTimeline | None = None
        self._epoch_start = self._published = self.seconds
        self._inside, self._outside = "handlers", list[str]()
        self._awaits_first_batch = True
        last = (self._charge_handlers, self._start_fetch, self._start_step)
        handlers = HandlerTimes(clock=clock, own=self, last=last, from_inside=lambda: self.part("handlers"))
        self.culprits = Culprits(handlers, StepParts(clock=clock))
        self._handler_times, self._step_parts = self.culprits.handlers, self.culprits.step
        self.processes: list[dict[str, float]] = []  # the parts of each of several, if these are gathered

    def attach(self, engine: Engine) -> "FetchComputeTimer":
        """Register on the engine's events and return self."""
        for event, handler in (
            (Events.STARTED, self._start),
            (Events.EPOCH_STARTED, self._start_epoch),
            (Events.GET_BATCH_COMPLETED, self._end_fetch),
            (Events.ITERATION_COMPLETED, self._end_step),
            (Events.EPOCH_COMPLETED, self.publish),
            (Events.COMPLETED, self._end),
        ):
            engine.add_event_handler(event, handler)
            put_first(engine, event)
        if self.names:
            self.culprits.watch(engine)
        return self

    def watch(self, evaluator: Engine, trainer: Engine) -> "FetchComputeTimer":
        """Charge the runs of ``evaluator`` inside ``trainer``'s to evaluation, and return self."""

        @evaluator.on(Events.STARTED)
        def start_evaluation() -> None:
            self._charge_inside()
            self._outside.append(self._inside)
            self._inside = "evaluate"

        @evaluator.on(Events.COMPLETED)
        def end_evaluation() -> None:
            self._charge_elsewhere("evaluate")
            self._inside = self._outside.pop() if self._outside else "handlers"
            self.publish(trainer)

        return self

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Charge what runs inside to that part; what is the loop's, inside an evaluation, to that."""
        self._charge_inside()
        self._step_parts.pause()
        try:
            yield
        finally:
            self._charge_elsewhere("evaluate" if self._inside == "evaluate" and name in LOOP_PARTS else name)
            self._step_parts.go_on()

    def timed(self, name: str, function: Callable[P, T]) -> Callable[P, T]:
        """Return ``function``, its calls charged to that part."""

        @wraps(function)
        def charged(*args: P.args, **kwargs: P.kwargs) -> T:
            with self.part(name):
                return function(*args, **kwargs)

        return charged

    def _charge_inside(self) -> None:
        if self._inside == "evaluate":
            self._charge_elsewhere("evaluate")
        else:
            self._charge(self._inside)

    def _charge_elsewhere(self, part: str) -> None:
        self._handler_times.elsewhere_s[0] += self._charge(part)

    # Ignite calls a handler that does not ask for the engine in half the time.
    def _charge_handlers(self) -> None:
        self._charge("handlers")

    def _start(self, engine: Engine) -> None:
        # Registered now to come after everybody else's: their work is neither fetch nor step.
        for event, handler in (
            (Events.EPOCH_STARTED, self._charge_handlers),
            (Events.GET_BATCH_STARTED, self._start_fetch),
            (Events.ITERATION_STARTED, self._start_step),
        ):
            if not engine.has_event_handler(handler, event):
                engine.add_event_handler(event, handler)
        self._awaits_first_batch = True
        self.make_event = self.make_event or cuda_events()
        self._device = None if self.make_event is None else DeviceTimeline(self.make_event)
        if self.names:
            self.culprits.begin(engine, iteration=self.iterations, make_event=self.make_event)
        self._inside = "handlers"
        self._outside.clear()
        # The first iteration is left out: its batch was another part's, and its step finds nothing warm.
        self.times.begin()
        self.charged.start()

    def _start_epoch(self, engine: Engine) -> None:
        if self.names:
            self.culprits.memory.start_epoch(engine)
        state = engine.state
        if not (state.epoch_length and state.iteration % state.epoch_length):  # else it is resumed inside
            self._epoch_start = self._published

    def _start_fetch(self) -> None:
        if self._awaits_first_batch:  # the engine has just made the loader's iterator, and its workers
            self._charge("first_batch")
            self._inside = "first_batch"
            return
        self._charge("handlers")
        self._inside = "fetch"
        self._end_iteration()

    def _end_fetch(self) -> None:
        self._charge("first_batch" if self._awaits_first_batch else "fetch")
        self._inside = "handlers"
        self._awaits_first_batch = False

    def _start_step(self) -> None:
        self._charge("handlers")
        if self._awaits_first_batch:  # there is no data, and so no fetch to end the iteration before
            self._end_iteration()
        self._inside = "compute"
        if self._device is not None:
            self._device.start_step()
        if self.iterations == self._step_parts.due:
            self._step_parts.start()

    def _end_step(self) -> None:
        self._charge("compute")
        self._inside = "handlers"
        if self._step_parts.looks:
            self._step_parts.end()
        self.iterations += 1
        if self.iterations == self.culprits.memory_due:
            self.culprits.look_at_memory()
        if self._device is not None:
            self._device.end_step(self.charged.loop_since_last())
            self._read_device(self._device)

    def _end_iteration(self) -> None:
        if self._device is None:
            self.times.end(_sums_of_loop(self.charged.seconds))

    def _read_device(self, device: DeviceTimeline) -> None:
        for times, host in device.parts():
            self.times.add(times)
            for part, on_device, on_host in zip(LOOP_PARTS, times, host, strict=False):
                self._device_less_host[part] += on_device - on_host

    def _end(self) -> None:
        self._charge("handlers")
        self._end_iteration()
        if self._device is not None:
            self._device.wait()
            self._charge("handlers")
            self._read_device(self._device)
            # While the last steps were computed, the host has waited: in a handler, or here.
            since_last = self.charged.loop_since_last()
            waited_s = since_last[LOOP_PARTS.index("handlers")] if since_last else 0.0
            surplus_s = sum(self._device_less_host.values())
            self._device_less_host["handlers"] -= min(max(0.0, surplus_s), waited_s)

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds of each part so far."""
        less = self._device_less_host
        return {part: seconds + less.get(part, 0) for part, seconds in self.charged.seconds.items()}

    def publish(self, engine: Engine) -> None:
        """Publish the seconds of each part in this epoch so far as ``time/<part>_s``."""
        self._published = self.seconds
        for part, seconds in self._published.items():
            engine.state.metrics[f"time/{part}_s"] = seconds - self._epoch_start[part]

    def loop_s(self) -> float:
        """Return the seconds in the training loop: fetch, transfer, compute, handlers and others."""
        return float(sum(_sums_of_loop(self.seconds)))

    def iterations_per_s(self) -> float:
        """Return iterations a second of the training loop; 0 before the first."""
        return self.iterations / self.loop_s() if self.iterations else 0.0

    def shares(self) -> str:
        """Return the loop's split in words: ``data 5% · compute 90%``, and who takes much of it."""
        seconds, loop_s = self.seconds, self.loop_s() or 1.0
        words = f"data {seconds['fetch'] / loop_s:.0%} · compute {seconds['compute'] / loop_s:.0%}"
        return words + self.culprits.in_short(seconds, loop_s)

    def findings(self) -> list[Finding]:
        """Return what takes much of the time, and who it is, the largest first: the first is the verdict."""
        return self.culprits.findings(self.times, self.seconds, self.charged.seconds["handlers"])

    def summary(self) -> dict[str, Any]:
        """Return the parts in seconds, the verdict, and the speed-up that perfect loading would give.

        ``ceiling_speedup_95`` is the 95 % interval of ``ceiling_speedup``; ``median_s`` and ``p95_s`` are of
        the parts of an iteration, the first left out.
        """
        seconds, findings = self.seconds, self.findings()
        ceiling = self.times.speedup_without("fetch")
        return {
            **{f"{part}_s": value for part, value in seconds.items()},
            "wall_s": sum(seconds.values()),
            "verdict": findings[0].kind,
            "diagnosis": str(findings[0]),
            "findings": [vars(finding) for finding in findings],
            **self.culprits.describe(seconds, self.charged.seconds["handlers"]),
            "phases": self.times.phases(),
            "ceiling_speedup": ceiling and ceiling[0],
            "ceiling_speedup_95": ceiling and list(ceiling[1:]),
            **({"processes": self.processes} if self.processes else {}),
            "median_s": {part: self.times.quantile(part, 0.5) for part in LOOP_PARTS},
            "p95_s": {part: self.times.quantile(part, 0.95) for part in LOOP_PARTS},
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds and iterations so far, for a checkpoint."""
        return {
            "seconds": self.seconds,
            "epoch_start": dict(self._epoch_start),
            "published": dict(self._published),
            "iterations": self.iterations,
            "times": self.times.state_dict(),
            "culprits": self.culprits.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's seconds and iterations."""
        self.charged.load(state["seconds"])
        self._device_less_host = dict.fromkeys(LOOP_PARTS, 0)
        self._epoch_start, self._published = dict(state["epoch_start"]), dict(state["published"])
        self.iterations = state["iterations"]
        self.times.load_state_dict(state["times"])
        self.culprits.load_state_dict(state["culprits"])
