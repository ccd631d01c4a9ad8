"""What two sides have come to: their best and last metrics."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from ignite_pipeline.compare.intervals import Estimate, difference
from ignite_pipeline.compare.past_runs import PastRun
from ignite_pipeline.errors import BadInput


class Metric(NamedTuple):
    """A metric in each run of two sides."""

    name: str
    a: list[float]
    b: list[float]

    @property
    def difference(self) -> Estimate:
        """By how much its mean is larger in B."""
        return difference(self.a, self.b)


def metrics(a: Sequence[PastRun], b: Sequence[PastRun]) -> list[Metric]:
    """Return the best metric, if all have the same, and every last one that some run of each side has."""
    if not a or not b:
        return []
    found = []
    bests = [[run.best for run in side] for side in (a, b)]
    names = {best and best["metric"] for side in bests for best in side}
    if len(names) == 1 and None not in names:
        values = ([best["value"] for best in side if best] for side in bests)
        found.append(Metric(f"best {names.pop()}", *values))
    for name in dict.fromkeys(name for run in a for name in run.final):
        values = ([run.final[name] for run in side if name in run.final] for side in (a, b))
        metric = Metric(name, *values)
        if metric.b:
            found.append(metric)
    return found


def worse_by(a: Sequence[PastRun], b: Sequence[PastRun]) -> tuple[str, float]:
    """Return the best metric's name, and by how much its mean is worse in B; negative if it is better.

    `BadInput` is raised where runs have no best metric, different ones, or do not say which way is better.
    """
    asked = set()
    for side, runs in (("A", a), ("B", b)):
        if not runs:
            raise BadInput(f"--max-worse needs a run of {side} that was completed")
        for run in runs:
            if run.best is None:
                raise BadInput(f"--max-worse needs a best metric, and {run.path} has none")
            if not isinstance(run.best.get("maximize"), bool):
                raise BadInput(
                    f"--max-worse: {run.path} does not say whether more {run.best['metric']} is better (an"
                    " earlier version wrote it)"
                )
            asked.add((str(run.best["metric"]), run.best["maximize"]))
    if len(asked) > 1:
        raise BadInput(
            f"--max-worse needs one best metric, got {' and '.join(sorted(str(name) for name, _ in asked))}"
        )
    ((name, maximize),) = asked
    means = [statistics.fmean(run.best["value"] for run in runs if run.best) for runs in (a, b)]
    return name, (means[0] - means[1]) if maximize else (means[1] - means[0])
