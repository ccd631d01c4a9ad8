"""A clock that tests set, also in processes that import little."""


class Clock:
    """A clock that stands still but for what is spent on it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        self.now += seconds


class TickingClock:
    """Each reading is one second after the one before."""

    def __init__(self) -> None:
        self.now = -1

    def __call__(self) -> int:
        self.now += 1
        return self.now
