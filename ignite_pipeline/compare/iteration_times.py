"""Two figures of a run: the seconds of a usual iteration, and of one with all that comes now and then."""

import math
import statistics
from collections.abc import Mapping

from handlers.charged_seconds import LOOP_PARTS
from ignite_pipeline.compare.past_runs import PastRun

LEAST_ITERATIONS = 20
Seconds = dict[str, float]


def usual_seconds(run: PastRun) -> Seconds | None:
    """Return the median seconds of each part of the loop, or None if the record has none.

    It minds least what else runs on the machine (on two shared cores it varied by 3.8 % from run to run, and
    the mean varied by 11.9 %, see benchmarks/comparing_runs.py), but sees nothing of what comes in fewer than
    half of the iterations.
    """
    medians = run.timing.get("median_s")
    if not isinstance(medians, dict):
        return None
    values = {part: medians.get(part) or 0.0 for part in LOOP_PARTS}
    return values if is_time(values) else None


def mean_seconds(run: PastRun) -> Seconds | None:
    """Return the mean seconds of each part of the loop in the quickest quarter of the epochs.

    What comes now and then comes in each epoch: a wait for every 50th batch, say, which medians leave out.
    Whatever else runs on a machine only ever makes a run slower, so that its quick times are those that come
    again: Chen and Revels 2016 (arXiv:1608.04295) take the quickest of all. A quarter, since the quickest of
    many is quicker than that of few. None if nothing was timed.
    """
    epochs = sorted(epoch_seconds(run), key=total)
    quickest = epochs[: -(-len(epochs) // 4)]
    if not quickest:
        return None
    return {part: statistics.fmean(one[part] for one in quickest) for part in LOOP_PARTS}


def epoch_seconds(run: PastRun) -> list[Seconds]:
    """Return the mean seconds an iteration of each part of the loop, in each epoch.

    Of three or more epochs the first is left out, in which much is done for the first time. A run without a
    whole epoch counts as one.
    """
    epochs, before = [], 0
    for line in run.epochs:
        iterations, before = line["iteration"] - before, line["iteration"]
        if iterations > 0:
            epochs.append({part: (line.get(f"time/{part}_s") or 0.0) / iterations for part in LOOP_PARTS})
    timed = [one for one in epochs if is_time(one)]
    if not timed:
        whole = {part: run.seconds(part) / (run.iterations or 1) for part in LOOP_PARTS}
        return [whole] if is_time(whole) else []
    return timed[1:] if len(timed) >= 3 else timed


def total(seconds: Mapping[str, float]) -> float:
    """Return the seconds of all parts."""
    return sum(seconds.values())


def is_time(seconds: Mapping[str, float]) -> bool:
    """Return whether these are seconds that something can have taken."""
    return all(type(one) in (int, float) and 0 <= one < math.inf for one in seconds.values()) and any(
        seconds.values()
    )


def why_untimed(run: PastRun) -> str | None:
    """Say why a run tells nothing about time, if it does not."""
    if not run.timing or not epoch_seconds(run):
        return "was not timed"
    if run.iterations < LEAST_ITERATIONS:
        return f"has {run.iterations} iterations, fewer than {LEAST_ITERATIONS}"
    return None


def batch_size(run: PastRun) -> int | None:
    """Return how many samples an iteration takes, as far as the record tells."""
    rate, loop_s = run.summary.get("images_per_s"), sum(map(run.seconds, LOOP_PARTS))
    if not isinstance(rate, int | float) or not run.iterations:
        return None
    return round(rate * loop_s / run.iterations) or None
