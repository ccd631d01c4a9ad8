"""Where the wall time of a run goes: waiting for data, computing, or handling events."""

import time
from collections.abc import Callable
from typing import Any

import torch
from ignite.engine import Engine, Events

PARTS = ("fetch", "compute", "handlers", "evaluate", "first_batch")
_ENOUGH_ITERATIONS = 20
_LARGE_SHARE = 0.15


class FetchComputeTimer:
    """Split a run's wall time into parts that add up to it, in O(1) memory.

    - ``fetch``: from ``GET_BATCH_STARTED`` to ``GET_BATCH_COMPLETED``, waiting for the loader;
    - ``compute``: the step function;
    - ``evaluate``: runs of the engines given to `watch`;
    - ``first_batch``: from a start to the first batch, in which workers start and caches are cold;
    - ``handlers``: all the rest, which is event handlers and the engine itself.

    Attach it before all other handlers, so that theirs are not counted as the step. At the end of an
    epoch it publishes the seconds that each part took in it as ``time/fetch_s`` and so on; what runs
    after the last measurement counts to the next epoch. The times are the host's: on a GPU, kernels
    that still run when the step returns are charged to whatever waits for them.

    >>> ticks = iter(range(100))
    >>> timer = FetchComputeTimer(clock=lambda: next(ticks))
    >>> trainer = Engine(lambda engine, batch: None)
    >>> _ = timer.attach(trainer)
    >>> _ = trainer.run([1, 2, 3])
    >>> timer.seconds
    {'fetch': 2, 'compute': 3, 'handlers': 7, 'evaluate': 0, 'first_batch': 2}
    """

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.seconds: dict[str, float] = dict.fromkeys(PARTS, 0)
        self.iterations = 0
        self._epoch_start = dict(self.seconds)
        self._mark = 0.0
        self._awaits_first_batch = True

    def attach(self, engine: Engine) -> "FetchComputeTimer":
        """Register on the engine's events and return self."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self._end_fetch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._end_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.publish)
        engine.add_event_handler(Events.COMPLETED, self._charge_handlers)
        return self

    def watch(self, evaluator: Engine, trainer: Engine) -> "FetchComputeTimer":
        """Charge the runs of ``evaluator`` inside ``trainer``'s to evaluation, and return self."""
        evaluator.add_event_handler(Events.STARTED, self._charge_handlers)

        @evaluator.on(Events.COMPLETED)
        def end_evaluation() -> None:
            self._charge("evaluate")
            self.publish(trainer)

        return self

    def _charge(self, part: str) -> None:
        now = self.clock()
        self.seconds[part] += now - self._mark
        self._mark = now

    def _charge_handlers(self, engine: Engine) -> None:
        self._charge("handlers")

    def _start(self, engine: Engine) -> None:
        # Registered now to come after everybody else's: their work is neither fetch nor step.
        for event, handler in (
            (Events.EPOCH_STARTED, self._charge_handlers),
            (Events.GET_BATCH_STARTED, self._start_fetch),
            (Events.ITERATION_STARTED, self._charge_handlers),
        ):
            if not engine.has_event_handler(handler, event):
                engine.add_event_handler(event, handler)
        self._awaits_first_batch = True
        self._mark = self.clock()

    def _start_epoch(self, engine: Engine) -> None:
        resumed_inside = engine.state.epoch_length and engine.state.iteration % engine.state.epoch_length
        if not resumed_inside:
            self._epoch_start = dict(self.seconds)

    def _start_fetch(self, engine: Engine) -> None:
        # The engine has just made the loader's iterator, and with it the workers.
        self._charge("first_batch" if self._awaits_first_batch else "handlers")

    def _end_fetch(self, engine: Engine) -> None:
        self._charge("first_batch" if self._awaits_first_batch else "fetch")
        self._awaits_first_batch = False

    def _end_step(self, engine: Engine) -> None:
        self._charge("compute")
        self.iterations += 1

    def publish(self, engine: Engine) -> None:
        """Publish the seconds of each part in this epoch so far as ``time/<part>_s``."""
        for part in PARTS:
            engine.state.metrics[f"time/{part}_s"] = self.seconds[part] - self._epoch_start[part]

    def loop_s(self) -> float:
        """Return the seconds in the training loop: fetch, compute and handlers."""
        return self.seconds["fetch"] + self.seconds["compute"] + self.seconds["handlers"]

    def iterations_per_s(self) -> float:
        """Return iterations a second of the training loop; 0 before the first."""
        return self.iterations / self.loop_s() if self.iterations else 0.0

    def shares(self) -> str:
        """Return the loop's split in words.

        >>> timer = FetchComputeTimer()
        >>> timer.seconds.update(fetch=1.0, compute=18.0, handlers=1.0)
        >>> timer.shares()
        'data 5% · compute 90%'
        """
        loop_s = self.loop_s() or 1.0
        return f"data {self.seconds['fetch'] / loop_s:.0%} · compute {self.seconds['compute'] / loop_s:.0%}"

    def verdict(self) -> str:
        """Say what the loop is bound by.

        ``data-bound`` or ``handler-bound`` if that takes more than 15 % of the loop (the larger of
        them if both do), else ``compute-bound``; below 20 iterations, ``too few iterations to say``. There is
        none where a GPU is in use: it computes after the step has returned.
        """
        if torch.cuda.is_initialized():
            return "no verdict on a GPU: host times only"
        if self.iterations < _ENOUGH_ITERATIONS:
            return "too few iterations to say"
        waits = {"data-bound": self.seconds["fetch"], "handler-bound": self.seconds["handlers"]}
        largest = max(waits, key=waits.__getitem__)
        return largest if waits[largest] > _LARGE_SHARE * self.loop_s() else "compute-bound"

    def summary(self) -> dict[str, Any]:
        """Return the parts in seconds, the verdict, and the speed-up that perfect loading would give."""
        loop_s = self.loop_s()
        busy_s = loop_s - self.seconds["fetch"]
        return {
            **{f"{part}_s": seconds for part, seconds in self.seconds.items()},
            "wall_s": sum(self.seconds.values()),
            "verdict": self.verdict(),
            "ceiling_speedup": loop_s / busy_s if busy_s else None,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds and iterations so far, for a checkpoint."""
        return {
            "seconds": dict(self.seconds),
            "epoch_start": dict(self._epoch_start),
            "iterations": self.iterations,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's seconds and iterations."""
        self.seconds, self.iterations = dict(state["seconds"]), state["iterations"]
        self._epoch_start = dict(state["epoch_start"])
