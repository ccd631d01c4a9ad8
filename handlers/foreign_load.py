"""A core that is not ours: time in which the training thread could have run, and others did."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

from ignite.engine import Engine

from handlers.attached import around_run
from handlers.cpu_times import CpuReader, CpuTimes
from handlers.findings import Finding

_LARGE_SHARE = 0.15
_LEAST_S = 1.0  # the system counts in hundredths
_ADVICE = {
    "other processes": "end them, or give each job cores of its own, as with taskset",
    "our own workers and threads": "take fewer workers, or fewer threads with torch.set_num_threads",
    "a CPU quota": "take no more workers and threads than the quota (cpu.max) gives cores, or raise it",
    "the hypervisor": "move to a machine that is not shared: nothing inside of this one helps",
}
_UNREADABLE = (OSError, ValueError, IndexError, AttributeError)  # no Linux, or one without these counts


def lost_s(times: CpuTimes) -> dict[str, float]:
    """Return the seconds that the thread could have run and did not, by whom it lost them to.

    >>> lost = lost_s(CpuTimes(wall_s=9.0, ran_s=3.0, waited_s=6.0, tree_s=3.0, busy_s=9.0))
    >>> {culprit: seconds for culprit, seconds in lost.items() if seconds}
    {'other processes': 6.0}
    """
    others_s = max(0.0, times.busy_s - times.tree_s)
    own_s = max(0.0, times.tree_s - times.ran_s)
    of_others = others_s / (others_s + own_s) if others_s + own_s else 1.0
    throttled_s = min(times.throttled_s, times.waited_s)
    competing_s = times.waited_s - throttled_s
    wanted_s = times.busy_s + times.stolen_s
    stolen = times.stolen_s / wanted_s if wanted_s else 0.0
    return {
        "other processes": competing_s * of_others,
        "our own workers and threads": competing_s * (1 - of_others),
        "a CPU quota": throttled_s,
        "the hypervisor": (times.ran_s + times.waited_s) * stolen,
    }


class ForeignLoad:
    """Notice that the thread that runs an engine is kept from running for over 15 % of the wall time.

    Linux counts how long the thread was ready and had no core. That is charged to a quota for as long as
    one held the process's control group, and the rest to other processes and to our own workers and
    threads, in proportion to the time that they ran. What a hypervisor stole comes on top: the share of the
    time for which these cores were wanted. The counts are read when a run begins, when it ends and when
    somebody asks; nothing is done in an iteration. Where there are no such counts, as on macOS, nothing is
    found.

    Tried on a real core (see the tests): beside two busy processes, they are found; alone, nobody is.

    >>> load = ForeignLoad().attach(trainer := Engine(lambda engine, batch: None))
    >>> _ = trainer.run([0, 0])
    >>> load.findings()  # so short a run says nothing
    []
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.perf_counter,
        make_reader: Callable[[], CpuReader] = CpuReader,
    ) -> None:
        self.clock, self.make_reader = clock, make_reader
        self._before, self._began = CpuTimes(), CpuTimes()
        self._reader: CpuReader | None = None

    def attach(self, engine: Engine) -> "ForeignLoad":
        """Watch each run of the engine from now on, and return self."""
        around_run(engine, self.watching)
        return self

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the thread that runs what is inside."""
        with suppress(*_UNREADABLE):
            reader = self.make_reader()
            self._began = reader.times(self.clock())
            self._reader = reader
        try:
            yield
        finally:
            self._before, self._reader = self.times(), None

    def times(self) -> CpuTimes:
        """Return the seconds of all runs so far."""
        if self._reader is not None:
            with suppress(*_UNREADABLE):
                return self._before + (self._reader.times(self.clock()) - self._began)
        return self._before

    def findings(self) -> list[Finding]:
        """Return who keeps the training thread from running, if it is for over 15 % of the wall time."""
        times = self.times()
        lost = lost_s(times)
        share = min(1.0, sum(lost.values()) / (times.wall_s or 1.0))
        if times.wall_s < _LEAST_S or share <= _LARGE_SHARE:
            return []
        culprit = max(lost, key=lost.__getitem__)
        words = f"core shared: {culprit}, {100 * lost[culprit] / times.wall_s:.0f} %"
        return [Finding("core shared", share, culprit, words, _ADVICE[culprit])]

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds so far, for a checkpoint."""
        return {"times": asdict(self.times())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's seconds."""
        self._before = CpuTimes(**state["times"])
        if self._reader is not None:
            with suppress(*_UNREADABLE):
                self._began = self._reader.times(self.clock())
