"""Which of two sides takes longer an iteration, in which part, and whether that is more than noise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ignite_pipeline.compare.intervals import Estimate, difference, ratio
from ignite_pipeline.compare.iteration_times import (
    Seconds,
    batch_size,
    epoch_seconds,
    mean_seconds,
    total,
    usual_seconds,
)
from ignite_pipeline.compare.past_runs import PastRun, in_order

LEAST_RUNS = 3
_BESIDE_THE_LOOP = ("evaluate", "checkpoint", "first_batch")
FIGURES: dict[str, Callable[[PastRun], Seconds | None]] = {
    "a usual iteration": usual_seconds,
    "an iteration, all told": mean_seconds,
}


@dataclass(frozen=True)
class Figure:
    """The seconds of an iteration (or of a sample) in each run of two sides, in parts."""

    name: str
    a: list[Seconds]
    b: list[Seconds]

    @property
    def ratio(self) -> Estimate:
        """How many times as long B takes as A."""
        return ratio([total(one) for one in self.a], [total(one) for one in self.b])

    @property
    def sign(self) -> int:
        """1 if B is slower beyond noise, -1 if it is faster, 0 if neither can be told."""
        low, high = self.ratio.interval or (0.0, 2.0)
        return (low > 1) - (high < 1)

    def parts(self) -> list[str]:
        """Return the parts that took any time."""
        runs = [*self.a, *self.b]
        return [part for part in runs[0] if any(one[part] for one in runs)]

    def total_difference(self) -> Estimate:
        """Return how many seconds all parts take longer in B."""
        return difference([total(one) for one in self.a], [total(one) for one in self.b])

    def difference(self, part: str) -> Estimate:
        """Return how many seconds a part takes longer in B."""
        return difference([one[part] for one in self.a], [one[part] for one in self.b])

    def changed_most(self) -> str:
        """Return the part that has changed most in the direction of the whole."""
        sign = 1 if self.ratio.value >= 1 else -1
        return max(self.a[0], key=lambda part: sign * self.difference(part).value)


@dataclass(frozen=True)
class TimeTaken:
    """What two sides take: in the loop, and beside it, spread over the iterations; in seconds a ``unit``.

    ``why_no_verdict`` tells why nothing is said to be slower or faster; ``within`` is, where each side has
    one run, the ratio of the epochs of the two, which says nothing of what varies from run to run.
    """

    unit: str
    figures: list[Figure] = field(default_factory=list)
    beside: Figure | None = None
    within: Estimate | None = None
    why_no_verdict: str | None = None

    @property
    def verdict(self) -> str | None:
        """``slower`` or ``faster``, which is B, ``no difference``, or None without a verdict."""
        if self.why_no_verdict is not None:
            return None
        signs = {figure.sign for figure in self.figures}
        return "slower" if 1 in signs else "faster" if -1 in signs else "no difference"

    @property
    def deciding(self) -> Figure:
        """The figure that the verdict comes from: the one that differs most in its direction."""
        sign = -1 if self.verdict == "faster" else 1
        return max(self.figures, key=lambda figure: (sign * figure.sign, sign * figure.ratio.value))


def time_taken(a: Sequence[PastRun], b: Sequence[PastRun]) -> TimeTaken:
    """Compare the time of runs that are timed."""
    if not a or not b:
        return TimeTaken("iteration", why_no_verdict=f"no run of {'B' if a else 'A'} tells about time")
    sizes = {batch_size(run) for run in (*a, *b)}
    # Batches of another size are other iterations: a sample is what both have.
    unit = "sample" if len(sizes) > 1 and None not in sizes else "iteration"

    def scaled(run: PastRun, seconds: Seconds) -> Seconds:
        size = (batch_size(run) or 1) if unit == "sample" else 1
        return {part: value / size for part, value in seconds.items()}

    def figure(name: str, of: Callable[[PastRun], Seconds | None]) -> Figure:
        found = [[(run, of(run)) for run in side] for side in (a, b)]
        return Figure(name, *([scaled(run, one) for run, one in side if one is not None] for side in found))

    figures = [figure(name, of) for name, of in FIGURES.items()]
    within = None
    if len(a) == len(b) == 1:
        of_epochs = [[total(scaled(run, one)) for one in epoch_seconds(run)] for run in (*a, *b)]
        within = ratio(*of_epochs)
    return TimeTaken(
        unit=unit,
        # A figure that some runs lack would be one of other runs.
        figures=[one for one in figures if (len(one.a), len(one.b)) == (len(a), len(b))],
        beside=figure("beside the loop", _beside),
        within=within,
        why_no_verdict=_why_no_verdict(a, b),
    )


def _beside(run: PastRun) -> Seconds:
    return {part: run.seconds(part) / run.iterations for part in _BESIDE_THE_LOOP}


def _why_no_verdict(a: Sequence[PastRun], b: Sequence[PastRun]) -> str | None:
    if min(len(a), len(b)) < LEAST_RUNS:
        return f"it takes {LEAST_RUNS} runs a side, and there are {len(a)} and {len(b)}"
    if any(run.started is None for run in (*a, *b)):
        return "config.json of some does not say when they were begun"
    of_a = {run.path for run in a}
    order = "".join("A" if run.path in of_a else "B" for run in in_order([*a, *b]))
    changes = sum(one != next_one for one, next_one in pairwise(order))
    if changes < min(len(a), len(b)):
        return f"the runs must take turns, A B A B, and were made in the order {' '.join(order)}"
    return None
