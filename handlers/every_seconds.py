"""A filter for events, by time."""

import time
from collections.abc import Callable

from ignite.engine import Engine


class EverySeconds:
    """Let a handler be called once ``seconds`` have passed since `restart`, which it calls when it has acted.

    >>> from ignite.engine import Events
    >>> trainer, wait = Engine(lambda engine, batch: None), EverySeconds(60)
    >>> when = Events.ITERATION_COMPLETED(event_filter=wait)
    >>> _ = trainer.add_event_handler(when, lambda: print("a minute"))
    >>> _ = trainer.run([0])
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds, self.clock = seconds, clock
        self.restart()

    def restart(self) -> float:
        """Count from now on; return the time that it is."""
        now = self.clock()
        self.due_s = now + self.seconds
        return now

    def is_over(self) -> bool:
        """Return whether they have passed."""
        return self.clock() >= self.due_s

    def __call__(self, engine: Engine, event: int) -> bool:
        """Return whether they have passed, as Ignite asks it."""
        return self.is_over()
