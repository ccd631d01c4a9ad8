"""Wall time in parts: what has passed since the last charge is charged to one of them."""

from collections.abc import Callable, Mapping

LOOP_PARTS = ("fetch", "transfer", "compute", "handlers", "others")
PARTS = (*LOOP_PARTS, "evaluate", "checkpoint", "first_batch")


class ChargedSeconds:
    """The seconds of each of ``PARTS``; nothing counts before `start`.

    >>> ticks = iter(range(100))
    >>> charged = ChargedSeconds(clock=lambda: next(ticks))
    >>> charged.start()
    >>> charged.charge("fetch"), charged.charge("compute"), charged.charge("fetch")
    (1, 1, 1)
    >>> charged.seconds["fetch"]
    2
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.seconds: dict[str, float] = dict.fromkeys(PARTS, 0)
        self._mark = 0.0
        self._started = False
        self._before: tuple[float, ...] | None = None

    def start(self) -> None:
        """Count from now on, and take the next `loop_since_last` for the first."""
        self._mark, self._started, self._before = self.clock(), True, None

    def charge(self, part: str) -> float:
        """Charge to ``part`` what has passed since the last charge, and return it."""
        now = self.clock()
        seconds = now - self._mark
        self._mark = now
        if not self._started:  # there is nothing that it could be a part of
            return 0.0
        self.seconds[part] += seconds
        return seconds

    def loop_since_last(self) -> tuple[float, ...] | None:
        """Return the seconds in each of ``LOOP_PARTS`` since the last call, then those outside of them.

        None is returned by the first call after a start.
        """
        sums, before = self.seconds, self._before
        self._before = now = (
            sums["fetch"], sums["transfer"], sums["compute"], sums["handlers"], sums["others"], self._mark
        )  # fmt: skip
        if before is None:
            return None
        fetch, transfer, compute = now[0] - before[0], now[1] - before[1], now[2] - before[2]
        handlers, others = now[3] - before[3], now[4] - before[4]
        in_loop = fetch + transfer + compute + handlers + others
        return fetch, transfer, compute, handlers, others, now[5] - before[5] - in_loop

    def load(self, seconds: Mapping[str, float]) -> None:
        """Go on from these seconds."""
        self.seconds.update(seconds)
