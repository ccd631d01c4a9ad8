"""What share of the loop a handler takes if it is called less often: tried in the recipe's own loop."""

import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from ignite.engine import Engine, Events

from handlers.attached import replace_handlers
from handlers.handler_times import HandlerTime, described
from ignite_pipeline.data.loading import EndlessLoader
from ignite_pipeline.profiling.recipe import Enough, Recipe, rehearse
from ignite_pipeline.run.session import Run

_CALLS, _MOST_EPOCHS = 3, 10**6


def share_if_rarer(
    recipe: Recipe, options: Namespace, handler: str, *, once_in: int, most_s: float
) -> float | None:
    """Return the share of the loop that a handler takes if it is called ``once_in`` so many times.

    ``handler`` is its name, as a `HandlerTime` is written. None is returned if the recipe attaches no such
    handler to its trainer, or if it is not called twice more within ``most_s`` seconds.
    """
    return rehearse(recipe, options, partial(_Rarer, handler, once_in, most_s)).share


class _Rarer(Run):
    """A run that trains for a while, one of its handlers called less often."""

    share: float | None = None

    def __init__(self, handler: str, once_in: int, most_s: float, task: str, options: Any) -> None:
        super().__init__(task, options)
        self._handler, self._once_in, self._most_s = handler, once_in, most_s
        self._is_there, self._spent_s = False, 0.0
        self._calls: list[tuple[float, float]] = []  # after each, the seconds of the loop and of all calls
        self.timer.names = False  # its own names would time what is put in the handler's place

    def train(self, trainer: Engine, loader: EndlessLoader, *, epochs: int) -> None:
        """Train until the handler has been called three times, beyond the last epoch if need be."""
        replace_handlers(trainer, self._rarer)
        if not self._is_there:
            raise Enough
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._end, time.perf_counter() + self._most_s)
        disabled, trainer.logger.disabled = trainer.logger.disabled, True  # Ignite logs what ends a run
        try:
            trainer.run(loader, max_epochs=_MOST_EPOCHS, epoch_length=len(loader))
        except Enough:
            raise
        except Exception as error:
            if trainer.state.epoch <= epochs:
                raise
            raise Enough from error  # a schedule, say, that ends with the run
        finally:
            trainer.logger.disabled = disabled

    def _rarer(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        name, place, _ = described(handler)
        if str(HandlerTime("", name, place, 0.0)) != self._handler:
            return handler
        self._is_there, count = True, 0

        @wraps(handler)
        def rarer(*args: Any, **kwargs: Any) -> None:
            nonlocal count
            if count % self._once_in == 0:
                start = time.perf_counter()
                handler(*args, **kwargs)
                self._spent_s += time.perf_counter() - start
                self._calls.append((self.timer.loop_s(), self._spent_s))
            count += 1

        return rarer

    def _end(self, trainer: Engine, end: float) -> None:
        if len(self._calls) >= _CALLS:
            (start_s, before_s), (end_s, after_s) = self._calls[0], self._calls[-1]
            self.share = (after_s - before_s) / (end_s - start_s)
            raise Enough
        if time.perf_counter() > end:
            raise Enough
