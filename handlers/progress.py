"""The line that tells how a run is going."""

import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any, TextIO

from ignite.engine import Engine, Events
from tqdm import tqdm

from handlers.attached import around_run
from handlers.every_seconds import EverySeconds
from handlers.timing import FetchComputeTimer
from handlers.training_metrics import scalars


class ProgressLine:
    """Show epoch, time to go, chosen metrics, speed, and the split of time, on standard error.

    On a terminal it is a ``tqdm`` bar over the whole run, redrawn at most ten times a second; elsewhere
    a plain line after every epoch, and every ``every_s`` seconds inside a long one. ``redraws`` decides
    otherwise: in a notebook, say, a bar is redrawn once a second. ``metrics`` maps
    the names of numbers that are published to those that are shown; ``batch_size`` turns iterations into
    images.

    Attach it after all that publish.
    """

    def __init__(
        self,
        *,
        metrics: dict[str, str],
        timer: FetchComputeTimer | None = None,
        batch_size: int | None = None,
        label: str = "",
        every_s: float = 30.0,
        stream: TextIO | None = None,
        redraws: bool | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.metrics, self.timer, self.batch_size, self.label = metrics, timer, batch_size, label
        self.stream: TextIO | None = stream or sys.stderr  # which a program without a terminal may lack
        self.clock = clock
        on_terminal = self.stream is not None and self.stream.isatty()
        self._redraws = on_terminal if redraws is None else redraws
        redraw_s = 0.1 if on_terminal else 1.0
        self._wait = EverySeconds(redraw_s if self._redraws else every_s, clock=clock)
        self._start_s = self._shown_s = 0.0
        self._start_iteration = 0
        self._bar: tqdm[Any] | None = None

    def attach(self, engine: Engine) -> "ProgressLine":
        """Register on the engine's events and return self."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED(event_filter=self._wait), self.show)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.show)
        around_run(engine, lambda: closing(self))
        return self

    def start(self, engine: Engine) -> None:
        """Begin the line at the iteration from which the run goes on."""
        self._start_s = self._shown_s = self._wait.restart()
        self._start_iteration = engine.state.iteration
        if self._redraws and self.stream is not None:
            self._bar = tqdm(
                total=_total(engine),
                initial=engine.state.iteration,
                file=self.stream,
                dynamic_ncols=True,
                bar_format="{desc} {percentage:3.0f}%|{bar:10}| {elapsed}<{remaining}{postfix}",
            )

    def show(self, engine: Engine) -> None:
        """Show where the run is."""
        self._shown_s = self._wait.restart()
        words = " · ".join(self._words(engine))
        if self._bar is None:
            line = f"{self._position(engine)} · {words} · {self._to_go(engine)}"
            if self.stream is not None:
                with suppress(OSError, ValueError):  # nobody reads it any more
                    print(line, file=self.stream, flush=True)
            return
        self._bar.set_description_str(self._position(engine), refresh=False)
        self._bar.set_postfix_str(words, refresh=False)
        self._bar.n = engine.state.iteration
        self._bar.refresh()

    def close(self) -> None:
        """End the line, however the run has ended."""
        if self._bar is not None:
            self._bar.close()

    def _position(self, engine: Engine) -> str:
        epochs = -(-_total(engine) // (engine.state.epoch_length or 1))
        return f"{self.label + ' · ' if self.label else ''}epoch {engine.state.epoch}/{epochs}"

    def _words(self, engine: Engine) -> list[str]:
        metrics = engine.state.metrics
        numbers = scalars({name: metrics[name] for name in self.metrics if name in metrics})
        words = [f"{shown} {numbers[name]:.4g}" for name, shown in self.metrics.items() if name in numbers]
        if self.timer is not None:
            if self.batch_size is not None:
                speed = self.timer.iterations_per_s() * self.batch_size
                words.append(f"{speed:,.0f} images/s" if speed >= 100 else f"{speed:.3g} images/s")
            words.append(self.timer.shares())
        return words

    def _to_go(self, engine: Engine) -> str:
        done = engine.state.iteration - self._start_iteration
        left = _total(engine) - engine.state.iteration
        return f"{tqdm.format_interval((self._shown_s - self._start_s) * left / max(done, 1))} to go"


def _total(engine: Engine) -> int:
    state = engine.state
    return state.max_iters or (state.max_epochs or 1) * (state.epoch_length or 1)
