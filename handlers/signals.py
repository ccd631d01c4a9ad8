"""Ending a run in good order when the system asks for it."""

import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

from ignite.engine import Engine, Events


class Interrupted(KeyboardInterrupt):
    """A signal ended the run after a step; ``status`` is the exit status that says so, 130 or 143."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


class StopOnSignal:
    """End the run after the step, or the epoch's evaluation, in which SIGTERM or SIGINT arrives.

    ``save`` is called with the engine, which is then terminated as by ``engine.terminate()``; `Interrupted`
    is raised as the context is left. A second signal has its usual effect, at once, and one that is ignored
    stays so. Enter it in the main thread. Until a signal comes, it costs an iteration nothing.

    >>> import os
    >>> trainer = Engine(lambda engine, batch: os.kill(os.getpid(), signal.SIGTERM))
    >>> try:
    ...     with StopOnSignal().attach(trainer):
    ...         state = trainer.run([0] * 10)
    ... except Interrupted as interrupt:
    ...     print(interrupt, interrupt.status, state.iteration)
    SIGTERM 143 1
    """

    def __init__(self, save: Callable[[Engine], object] = lambda engine: None) -> None:
        self.save = save
        self.received: int | None = None
        self._engine: Engine | None = None
        self._before: dict[int, Any] = {}

    def attach(self, engine: Engine) -> "StopOnSignal":
        """Remember the engine to stop and return self."""
        self._engine = engine
        return self

    def __enter__(self) -> "StopOnSignal":
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._restore()
        if self.received is not None and self._engine is not None:
            for event, handler in self._stops():
                if self._engine.has_event_handler(handler, event):
                    self._engine.remove_event_handler(handler, event)
        # Whatever else went wrong on the way out, such as workers that the signal ended too, it is why.
        if self.received is not None and not isinstance(error, KeyboardInterrupt):
            raise Interrupted(self.received) from error

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()
        if self._engine is not None:  # from here on, after whatever else is attached
            for event, handler in self._stops():
                self._engine.add_event_handler(event, handler)
        name = signal.Signals(number).name
        with suppress(OSError, ValueError):  # a terminal that is gone
            print(f"{name}: saving after this step; once more ends it at once", file=sys.stderr, flush=True)

    def _stops(self) -> tuple[tuple[Events, Callable[[Engine], None]], ...]:
        return (
            (Events.ITERATION_COMPLETED, self.stop_inside_an_epoch),
            (Events.EPOCH_COMPLETED, self.stop),
        )

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stop_inside_an_epoch(self, engine: Engine) -> None:
        """Save and end the run; after an epoch's last step, `stop` does."""
        if not (engine.state.epoch_length and engine.state.iteration % engine.state.epoch_length == 0):
            self.stop(engine)

    def stop(self, engine: Engine) -> None:
        """Save and end the run."""
        self.save(engine)
        engine.terminate()
