"""Wall time in parts: what has passed since the last charge is charged to one of them."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter, sub


class ChargedSeconds:
    """The seconds of each of ``parts``; nothing counts before `start`.

    >>> ticks = iter(range(100))
    >>> charged = ChargedSeconds(("fetch", "compute"), clock=lambda: next(ticks))
    >>> charged.start()
    >>> charged.charge("fetch"), charged.charge("compute"), charged.charge("fetch")
    (1, 1, 1)
    >>> charged.seconds
    {'fetch': 2, 'compute': 1}
    """

    def __init__(
        self, parts: Sequence[str], *, clock: Callable[[], float], differences_of: Sequence[str] = ()
    ) -> None:
        self.clock = clock
        self.seconds: dict[str, float] = dict.fromkeys(parts, 0)
        self._read = itemgetter(*(differences_of or parts))
        self._mark = 0.0
        self._started = False
        self._before: tuple[float, ...] | None = None

    def start(self) -> None:
        """Count from now on, and take the next `since_last` for the first."""
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

    def since_last(self) -> tuple[float, ...] | None:
        """Return the seconds in each of ``differences_of`` since the last call, then those in none of them.

        None is returned by the first call after a start.
        """
        before = self._before
        self._before = now = (*self._read(self.seconds), self._mark)
        if before is None:
            return None
        *in_parts, passed = map(sub, now, before)
        return (*in_parts, passed - sum(in_parts))

    def load(self, seconds: Mapping[str, float]) -> None:
        """Go on from these seconds."""
        self.seconds.update(seconds)
