"""Which of several processes the others wait for, and what for."""

from collections.abc import Mapping, Sequence
from statistics import median

from handlers.findings import Finding

_PARTS = {
    "fetch": "waits for data",
    "transfer": "moves data",
    "compute": "computes",
    "handlers": "handles events",
}
_LARGE_SHARE = 0.15


def straggler(seconds: Sequence[Mapping[str, float]]) -> Finding | None:
    """Return which process the others wait for, if any, from the seconds of each in its parts.

    It is named if the others wait for it for more than 15 % of the loop: if its own part of the loop, which
    is all but ``others``, is longer than the median of theirs by so much.

    >>> quick = {"fetch": 0.0, "transfer": 0.0, "compute": 4.0, "handlers": 0.0, "others": 6.0}
    >>> slow = {"fetch": 5.0, "transfer": 0.0, "compute": 4.5, "handlers": 0.0, "others": 0.5}
    >>> print(straggler([quick, slow]))
    straggler: process 1 waits for data for 50 % of the time, and the others for it
    """
    if len(seconds) < 2:
        return None
    own = [sum(parts[name] for name in _PARTS) for parts in seconds]
    slowest = max(range(len(own)), key=own.__getitem__)
    rest = [parts for rank, parts in enumerate(seconds) if rank != slowest]
    loop_s = own[slowest] + seconds[slowest]["others"]
    if not loop_s or own[slowest] - median(own[:slowest] + own[slowest + 1 :]) <= _LARGE_SHARE * loop_s:
        return None

    def excess(name: str) -> float:
        return seconds[slowest][name] - median(parts[name] for parts in rest)

    part = max(_PARTS, key=excess)
    share, culprit = seconds[slowest][part] / loop_s, f"process {slowest}"
    what = f"{culprit} {_PARTS[part]} for {100 * share:.0f} % of the time, and the others for it"
    return Finding("straggler", share, culprit, f"straggler: {what}")
