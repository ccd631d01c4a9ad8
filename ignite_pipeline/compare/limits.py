"""What B may be slower or worse by, and whether it is more."""

import argparse
import math

from ignite_pipeline.compare.comparison import Comparison
from ignite_pipeline.compare.metrics import worse_by
from ignite_pipeline.compare.report import in_words
from ignite_pipeline.compare.time_taken import TimeTaken
from ignite_pipeline.errors import BadInput


def share(text: str) -> float:
    """Return a share that is written in percent; raise ``ArgumentTypeError`` for anything else.

    >>> share("5%")
    0.05
    """
    try:
        value = float(text.removesuffix("%")) / 100 if text.endswith("%") else -1.0
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a share in percent such as 5%, got {text!r}")
    return value


def exceeded(
    found: Comparison, *, max_slower: float | None = None, max_worse: float | None = None
) -> list[str]:
    """Return a line for each limit that B exceeds.

    It does if an iteration is slower beyond noise and by more than the share ``max_slower``, or if the mean
    of the best metric is worse by more than ``max_worse``. `BadInput` is raised where that cannot be told.
    """
    lines = []
    if max_slower is not None:
        lines += _slower(found.time, max_slower)
    if max_worse is not None:
        completed = [[run for run in side if run.is_completed] for side in (found.a, found.b)]
        name, loss = worse_by(*completed)
        if loss > max_worse and not math.isclose(loss, max_worse):  # 0.9 - 0.895 is more than 0.005
            lines.append(f"worse: the best {name} of B is worse by {loss:.4g}, more than {max_worse:g}")
    return lines


def _slower(time: TimeTaken, most: float) -> list[str]:
    if time.why_no_verdict is not None:
        raise BadInput(f"--max-slower: no verdict on time: {time.why_no_verdict}")
    figures = [one for one in time.figures if one.sign > 0 and one.ratio.value > 1 + most]
    if not figures:
        return []
    worst = max(figures, key=lambda figure: figure.ratio.value)
    return [f"slower: {in_words(worst, time.unit)}; at most {1 + most:g} times was asked for"]
