"""How many worker processes a loader should have, found while training goes on."""

import time
from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import Any

from ignite.engine import Engine, Events

from ignite_pipeline.data.loading import EndlessLoader
from ignite_pipeline.machine import available_cores

# What a setting has to gain to be worth its processes: less is noise.
WORTHWHILE = 1.05
_LEAST_ITERATIONS = 5

Trials = Generator[int, tuple[float, float], tuple[int, str]]


class AutoWorkers:
    """Give a running engine the loader with as many workers as make it fastest.

    The engine starts with a loader that has no workers. After ``window_s`` of training with it, nothing more
    happens if waiting for data took less than 5 % of them. Else 1, 2, 4, ... workers are tried, each for a
    window of training, for as long as doubling them gains 5 %, and the best has to beat none again. Trying
    takes at most 2 % of the run's ``iterations`` and ``budget_s``, and wastes none of them: every batch is
    trained on once. That is exact because ``make_loader(num_workers=..., start_iteration=...)``, such as a
    partial of `endless_loader`, yields the same batches whatever the workers.

    Workers that fail, then or later, are done without. ``on_decision(num_workers, reason)`` is called with
    the answer. Attach it after what waits for the device.

    >>> from functools import partial
    >>> from ignite_pipeline.data.loading import endless_loader
    >>> make_loader = partial(endless_loader, range(1000), batch_size=4, seed=0)
    >>> trainer = Engine(lambda engine, batch: time.sleep(0.005))
    >>> answers = []
    >>> _ = AutoWorkers(
    ...     make_loader,
    ...     iterations=50,
    ...     window_s=0.05,
    ...     on_decision=lambda workers, why: answers.append(workers),
    ... ).attach(trainer)
    >>> _ = trainer.run(make_loader(num_workers=0), max_iters=50, epoch_length=250)
    >>> answers
    [0]
    """

    def __init__(
        self,
        make_loader: Callable[..., Iterable[Any]],
        *,
        iterations: int,
        max_workers: int | None = None,
        window_s: float = 1.0,
        budget_s: float = 15.0,
        on_decision: Callable[[int, str], object] = lambda num_workers, reason: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.make_loader, self.iterations, self.on_decision, self.clock = (
            make_loader,
            iterations,
            on_decision,
            clock,
        )
        self.max_workers = available_cores() if max_workers is None else max_workers
        self.window_s, self.budget_s = window_s, budget_s
        self._trials = self._search()
        self._num_workers = next(self._trials)
        self._begin_window(warm_up=_warm_up(0))
        self._fetch_start = self._fetch_end = 0.0
        self._handlers = (
            (Events.GET_BATCH_STARTED, self._start_fetch),
            (Events.GET_BATCH_COMPLETED, self._end_fetch),
            (Events.ITERATION_COMPLETED, self._end_iteration),
        )

    def attach(self, engine: Engine) -> "AutoWorkers":
        """Register on the engine's events and return self."""
        for event, handler in self._handlers:
            engine.add_event_handler(event, handler)
        return self

    def _search(self) -> Trials:
        """Yield workers to try, take seconds an iteration and the share of fetching, return the best."""
        none_s, share = yield 0
        if share < 1 - 1 / WORTHWHILE:
            return 0, f"waiting for data took {share:.1%} of the time without workers"
        budget_s = min(self.budget_s, 0.02 * self.iterations * none_s)
        self.window_s = min(self.window_s, budget_s / 8)
        end = self.clock() + budget_s
        best, best_s, count = 0, none_s, 1
        while count <= self.max_workers:
            window_s = max(self.window_s, _LEAST_ITERATIONS * none_s) + _warm_up(count) * none_s
            if self.clock() + 3 * window_s > end:  # a trial, and two windows to confirm the best
                break
            seconds, _ = yield count
            if best_s / seconds < WORTHWHILE:
                break
            best, best_s, count = count, seconds, 2 * count
        if best:
            again_none_s, _ = yield 0
            again_s, _ = yield best
            gains = none_s / best_s, again_none_s / again_s
            if min(gains) >= WORTHWHILE:
                return best, f"{min(gains):.2f} to {max(gains):.2f} times as fast as without workers"
        return 0, f"waiting for data took {share:.0%} of the time, but workers were not found to help"

    def _begin_window(self, *, warm_up: int) -> None:
        self._warm_up, self._count = warm_up, 0
        self._fetch_s = self._all_s = 0.0

    def _start_fetch(self, engine: Engine) -> None:
        self._fetch_start = self.clock()

    def _end_fetch(self, engine: Engine) -> None:
        self._fetch_end = self.clock()

    def _end_iteration(self, engine: Engine) -> None:
        if self._warm_up:
            self._warm_up -= 1
            return
        self._count += 1
        self._fetch_s += self._fetch_end - self._fetch_start
        self._all_s += self.clock() - self._fetch_start
        if self._count < _LEAST_ITERATIONS or self._all_s < self.window_s:
            return
        try:
            num_workers = self._trials.send((self._all_s / self._count, self._fetch_s / self._all_s))
            self._change(engine, num_workers)
        except StopIteration as end:
            num_workers, reason = end.value
            self._decide(engine, num_workers, reason)
            self._change(engine, num_workers)
        except Exception as error:  # no memory for them, or a data set that cannot be sent to them
            self._decide(engine, self._num_workers, f"{num_workers} workers could not be started: {error}")

    def _change(self, engine: Engine, num_workers: int) -> None:
        if num_workers != self._num_workers:
            start = engine.state.iteration
            loader = self._made(engine, num_workers=num_workers, start_iteration=start)
            if num_workers and isinstance(loader, EndlessLoader):
                loader.otherwise = partial(self._go_on_without, engine, start)
            engine.set_data(loader)
            self._num_workers = num_workers
        self._begin_window(warm_up=_warm_up(num_workers))

    def _made(self, engine: Engine, **options: int) -> Iterable[Any]:
        before, loader = engine.state.dataloader, self.make_loader(**options)
        if isinstance(before, EndlessLoader) and isinstance(loader, EndlessLoader):
            loader.dataset.go_on_noting(before.dataset)
        return loader

    def _go_on_without(self, engine: Engine, start: int, given: int, failure: Exception) -> Iterable[Any]:
        """Return the batches that workers which have failed would have loaded, loaded without any."""
        self._num_workers = 0
        self._decide(engine, 0, str(failure))
        loader = self._made(engine, num_workers=0, start_iteration=start + given)
        engine.state.dataloader = loader
        return loader

    def _decide(self, engine: Engine, num_workers: int, reason: str) -> None:
        for event, handler in self._handlers:
            if engine.has_event_handler(handler, event):
                engine.remove_event_handler(handler, event)
        self.on_decision(num_workers, reason)


def _warm_up(num_workers: int) -> int:
    return 2 + 2 * num_workers
