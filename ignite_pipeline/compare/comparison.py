"""Two sides of runs, and all that is to be said of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ignite_pipeline.compare.differences import Difference, differences
from ignite_pipeline.compare.iteration_times import why_untimed
from ignite_pipeline.compare.metrics import Metric, metrics
from ignite_pipeline.compare.past_runs import PastRun, Unfinished, read_run, run_directories
from ignite_pipeline.compare.time_taken import TimeTaken, time_taken
from ignite_pipeline.errors import BadInput


@dataclass(frozen=True)
class Comparison:
    """What differs, the metrics, the time, and ``notes``: what a reader should know of some of the runs."""

    a: list[PastRun]
    b: list[PastRun]
    differences: list[Difference]
    metrics: list[Metric]
    time: TimeTaken
    notes: list[str]


def find_runs(side: str, places: Sequence[Path]) -> tuple[list[PastRun], list[str]]:
    """Return the runs in ``places``, each a run directory or a folder of some, and which are left out.

    `BadInput` is raised if there is none, `UnusableRun` for one that is damaged.
    """
    runs, unfinished = [], []
    for directory in dict.fromkeys(path for place in places for path in run_directories(place)):
        try:
            runs.append(read_run(directory))
        except Unfinished as error:
            unfinished.append(f"{side}: left out: {error}")
    if not runs:
        raise BadInput(unfinished[0].replace(": left out", ""))
    return runs, unfinished


def compare(a: Sequence[PastRun], b: Sequence[PastRun], *, notes: Sequence[str] = ()) -> Comparison:
    """Compare runs; raise `BadInput` if they are of several tasks, or one is on both sides.

    Metrics are compared of runs that were completed, time of those that tell about it: ``notes`` goes on with
    which do not.
    """
    tasks = dict.fromkeys(run.task for run in (*a, *b))
    if len(tasks) > 1:
        raise BadInput(
            f"these are runs of different tasks, {' and '.join(tasks)}: there is nothing to compare"
        )
    if both := {run.path.resolve() for run in a} & {run.path.resolve() for run in b}:
        raise BadInput(f"{min(both)}: is on both sides")
    said = list(notes)
    for side, runs in (("A", a), ("B", b)):
        for run in runs:
            if how := run.how_it_went():
                said.append(f"{side}: {run.path} {how}")
            if why := why_untimed(run):
                said.append(f"{side}: {run.path} {why}: its time is left out")
    completed = [[run for run in side if run.is_completed] for side in (a, b)]
    timed = [[run for run in side if why_untimed(run) is None] for side in (a, b)]
    for side, runs in zip("AB", completed, strict=True):
        if not runs:
            said.append(f"{side}: no run was completed, so that no metrics are compared")
    return Comparison(list(a), list(b), differences(a, b), metrics(*completed), time_taken(*timed), said)
