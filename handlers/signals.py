"""Ending a run in good order when the system asks for it."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from ignite.engine import Engine, Events

from handlers.agreement import Agreement
from handlers.checkpointing import Checkpoints
from handlers.stuck import StuckWatch, say, waits_for_data, whereabouts

_NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
# Told to end, interrupted, connection lost, a scheduler's warnings, and its limit of computing time.
ENDING = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
# Of these, what a person sends: again, after a second, means at once.
_INSISTENT = (signal.SIGTERM, signal.SIGINT)
_INSISTS_AFTER_S = 1.0
# How long the main thread may take to notice that it is not waited for any more.
_NOTICE_S = 5.0
# How long it may take then to save and to write down how it went: what hangs may be the device.
_LAST_WORDS_S = 60.0

Handle = Callable[[int, FrameType | None], object]


class Interrupted(KeyboardInterrupt):
    """A signal ended the run; ``status`` is the exit status that says so: 130 for SIGINT, 143 for SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


@contextmanager
def raising_on_signals(*, patience_s: float = 30.0) -> Iterator[None]:
    """Raise `Interrupted` at a signal of `ENDING`, for whatever happens before there is anything to save.

    If that does not end the context within ``patience_s``, the process exits.
    """
    before = _install(_raise)
    watch = StuckWatch([], signals=before.keys(), on_stuck=_exit, patience_s=patience_s)
    if before:
        watch.start()
    try:
        yield
    finally:
        watch.close()
        _restore(before)


def _wish(number: int) -> str:
    return f"end by signal {int(number)}"


# What an `Agreement` has to know.
WISHES = ("save", *map(_wish, ENDING))


def _exit(number: int, still_s: float) -> None:
    say(f"{signal.Signals(number).name}: ending at once, for nothing has answered")
    os._exit(128 + number)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


def _install(handle: Handle) -> dict[int, Any]:
    """Handle the signals of `ENDING`; return what handled them before. Who ignores one goes on to do so."""
    before: dict[int, Any] = {}
    if threading.current_thread() is not threading.main_thread():
        return before  # where no signal is handled
    for number in ENDING:
        now = signal.getsignal(number)
        is_free = now in (signal.SIG_DFL, signal.default_int_handler, _raise)
        if is_free or (number in _INSISTENT and now not in (signal.SIG_IGN, None)):
            before[number] = signal.signal(number, handle)
    return before


def _restore(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)


class StopOnSignal:
    """End the run after the step, or the epoch's evaluation, in which a signal of `ENDING` arrives.

    ``checkpoints`` save, and the engine is terminated as by ``engine.terminate()``; `Interrupted` is raised
    as the context is left. If nothing moves for ``patience_s`` after the signal, neither the engine nor those
    in ``watch``, a run that waits for data is saved and ended where it waits, and any other is ended as it
    is, with its newest checkpoint named; if the main thread does not come to that, the process exits, after
    ``before_exit(error)``. What fails while a run waits for data is saved, too.

    SIGTERM or SIGINT once more, a second later, ends it at once; a signal that is ignored stays so. Whatever
    is done in the context once the engine has ended is not interrupted. Without a signal it costs an
    iteration nothing, and says so if nothing moves for ``quiet_s``.

    Where several processes train together, an ``agreement`` lets them end after the same iteration, whichever
    the signal has reached; none saves on its own.

    >>> trainer = Engine(lambda engine, batch: os.kill(os.getpid(), signal.SIGTERM))
    >>> try:
    ...     with StopOnSignal().attach(trainer):
    ...         state = trainer.run([0] * 10)
    ... except Interrupted as interrupt:
    ...     print(interrupt, interrupt.status, state.iteration)
    SIGTERM 143 1
    """

    def __init__(
        self,
        checkpoints: Checkpoints | None = None,
        *,
        watch: Sequence[Engine] = (),
        before_exit: Callable[[BaseException], object] = lambda error: None,
        patience_s: float = 30.0,
        quiet_s: float = 60.0,
        agreement: Agreement | None = None,
    ) -> None:
        self.checkpoints, self.watch, self.before_exit = checkpoints, watch, before_exit
        self.agreement = agreement
        self.patience_s, self.quiet_s = patience_s, quiet_s
        self.received: int | None = None
        self._received_s = 0.0
        self._is_overdue = False
        self._noticed = threading.Event()
        self._engine: Engine | None = None
        self._watch: StuckWatch | None = None
        self._before: dict[int, Any] = {}

    def attach(self, engine: Engine) -> "StopOnSignal":
        """Remember the engine to stop and return self."""
        self._engine = engine
        if self.agreement is not None:
            for event, handler in self._stops():
                engine.add_event_handler(event, handler)
        return self

    def __enter__(self) -> "StopOnSignal":
        self._before = _install(self._receive)
        if self._engine is not None and self._before:
            self._watch = StuckWatch(
                [self._engine, *self.watch],
                signals=self._before.keys(),
                is_busy=lambda: self.checkpoints is not None and self.checkpoints.is_saving,
                on_quiet=self._say_where,
                on_stuck=self._end_stuck_run,
                quiet_s=self.quiet_s,
                patience_s=self.patience_s,
            )
            self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._watch is not None:
            self._watch.close()
        _restore(self._before)
        self._conclude(error)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Raise `Interrupted` at the end of the block already; signals are held until the context is left."""
        try:
            yield
        except BaseException as error:
            self._conclude(error)
            raise
        self._conclude(None)

    def _conclude(self, error: BaseException | None) -> None:
        if self._engine is not None:
            for event, handler in self._stops():
                if self._engine.has_event_handler(handler, event):
                    self._engine.remove_event_handler(handler, event)
            if self.checkpoints is not None:
                self.checkpoints.wait()
            if error is not None and waits_for_data(self._engine):
                self._save_between_steps(self._engine)
        # Whatever else went wrong on the way out, such as workers that the signal ended too, it is why.
        if self.received is not None and not isinstance(error, KeyboardInterrupt):
            raise Interrupted(self.received) from error

    def _save_between_steps(self, engine: Engine) -> None:
        # At an epoch's end it has been saved, before what the next has begun with.
        length = engine.state.epoch_length
        if self.agreement is not None:
            return
        if self.checkpoints is not None and not (length and engine.state.iteration % length == 0):
            self.checkpoints.save(engine)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._is_overdue:
            self._noticed.set()
            raise Interrupted(self.received or number)
        if self.received is not None:
            # Whoever ends a group of processes may send the same signal twice.
            if number in _INSISTENT and time.monotonic() - self._received_s >= _INSISTS_AFTER_S:
                raise Interrupted(number)
            return
        self.received, self._received_s = number, time.monotonic()
        if self.agreement is not None:
            self.agreement.ask(_wish(number))
        elif self._engine is not None:  # from here on, after whatever else is attached
            for event, handler in self._stops():
                self._engine.add_event_handler(event, handler)
        say(f"{signal.Signals(number).name}: saving after this step; once more ends it at once")

    def _stops(self) -> tuple[tuple[Events, Callable[[Engine], None]], ...]:
        return (
            (Events.ITERATION_COMPLETED, self.stop_inside_an_epoch),
            (Events.EPOCH_COMPLETED, self.stop),
        )

    def stop_inside_an_epoch(self, engine: Engine) -> None:
        """Save and end the run; after an epoch's last step, `stop` does."""
        if not (engine.state.epoch_length and engine.state.iteration % engine.state.epoch_length == 0):
            self.stop(engine)

    def stop(self, engine: Engine) -> None:
        """Save and end the run; of several processes, if all know."""
        if self.agreement is not None:
            agreed = [number for number in ENDING if self.agreement.is_agreed(_wish(number))]
            if not agreed:
                return
            self.received = agreed[0]
        if self.checkpoints is not None:
            self.checkpoints.save(engine)
        engine.terminate()

    def _say_where(self, still_s: float) -> None:
        if self._engine is not None:
            say(f"nothing has moved for {still_s:.0f} s: {whereabouts(self._engine)}")

    def _end_stuck_run(self, number: int, still_s: float) -> None:
        """End a run that does not come to its next step, from the thread that watches it."""
        engine = self._engine
        if engine is None:
            return
        newest = None if self.checkpoints is None else self.checkpoints.newest
        saves = waits_for_data(engine) and self.agreement is None
        kept = "saving" if saves else f"ending; newest checkpoint: {newest}"
        name = signal.Signals(number).name
        say(f"{name}: nothing has moved for {still_s:.0f} s, {whereabouts(engine)}: {kept}")
        self._is_overdue, self.received = True, self.received or number
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, number)
            if self._noticed.wait(_NOTICE_S):
                return
        # The main thread is inside something that no signal ends. If it comes back, it goes no further.
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self._receive, number, None)
        limit = threading.Timer(_LAST_WORDS_S, os._exit, [128 + number])
        limit.daemon = True
        limit.start()
        if waits_for_data(engine):
            self._save_between_steps(engine)
        self.before_exit(Interrupted(number))
        os._exit(128 + number)
