"""What to do about each thing that takes the time of a run: tried here, or computed, which is then said."""

import math
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from handlers.advice import SMALL_SHARE, times_less_often
from handlers.diagnosis import largest_handler
from handlers.findings import Finding
from ignite_pipeline.profiling.changes import (
    Change,
    Tried,
    changed_loop_s,
    try_changes,
)
from ignite_pipeline.profiling.on_the_way import bytes_on_the_way, try_uint8
from ignite_pipeline.profiling.rarer_handler import share_if_rarer
from ignite_pipeline.profiling.recipe import Parts, Recipe
from ignite_pipeline.profiling.recorded_run import RecordedRun
from ignite_pipeline.profiling.step_changes import memory_formats, pinning, precisions, thread_counts
from ignite_pipeline.profiling.tuning import Setting, Step, compute_s, flops_per_s

# What a confirmation may take, in times of the shortest measurement.
_MOST_TIMES = 40
# Where the run's own loop is slower than the one tried, a handler has to be rarer than was computed.
_MOST_PERIODS = 3
_SEARCHED = ("data-bound", "too few iterations to say")


@dataclass(frozen=True)
class Subject:
    """A run, its recipe, the recipe taken apart, and how long to measure."""

    run: RecordedRun
    recipe: Recipe
    options: Namespace
    parts: Parts
    now: Setting
    seconds: float
    on_progress: Callable[[str], object] = lambda text: None

    @property
    def step(self) -> Step:
        """The recipe's step."""
        assert self.parts.step is not None  # a recipe has one
        return self.parts.step


@dataclass(frozen=True)
class Answer:
    """What was tried about a kind of finding, which of it to take, and all else that there is to say."""

    kind: str
    words: Sequence[str]
    tried: Sequence[Tried] = ()
    taken: Tried | None = None


def wants_search(findings: Sequence[Finding]) -> bool:
    """Return whether to search for the loader's setting: a run waits for data, or nothing is known yet."""
    return not findings or any(finding.kind in _SEARCHED for finding in findings)


def answer(finding: Finding, subject: Subject) -> Answer:
    """Return what to do about a finding.

    For waiting for data there is the search of `recommend`, which is not made here.
    """
    answers = {
        "compute-bound": _quicker_computing,
        "transfer-bound": _quicker_transfer,
        "handler-bound": _rarer_handler,
        "checkpoint-bound": _rarer_checkpoints,
    }
    return answers.get(finding.kind, _advised)(finding, subject)


def _advised(finding: Finding, subject: Subject) -> Answer:
    return Answer(finding.kind, [f"{finding.advice} (computed)"] if finding.advice else [])


def _quicker_computing(finding: Finding, subject: Subject) -> Answer:
    """Try number formats, layouts and threads."""
    step, now, compute = subject.step, subject.now, subject.parts.compute
    subject.on_progress("step alone")
    batch = next(now.batches(subject.parts.dataset))
    step_s = compute_s(step, batch, seconds=2 * subject.seconds)
    flops, most = flops_per_s(step, batch, step_s)
    of_most = f"{flops / 1e9:,.1f} GFLOP/s, {flops / most:.0%} of a float32 matrix product's"
    groups = [memory_formats(step)]
    if compute is not None:
        groups = [precisions(compute), *groups, thread_counts(compute)]
    tried, taken = _tried(groups, subject)
    words = [f"step alone: {step_s * 1000:.2f} ms a batch, {of_most}"]
    if taken is not None and "--precision" in taken.words:
        words.append("another precision is another training: compare what it learns")
    return Answer(finding.kind, words, tried, taken)


def _quicker_transfer(finding: Finding, subject: Subject) -> Answer:
    """Try pinned memory and, for images that are sent as floats, uint8."""
    compute = subject.parts.compute
    batch = next(subject.now.batches(subject.parts.dataset))
    now_bytes, small_bytes = bytes_on_the_way(batch)
    saves = small_bytes < now_bytes
    words = [
        f"a batch has {now_bytes:,} bytes; "
        + (f"with images as uint8, {small_bytes:,}" if saves else "no images in floats, to send as uint8")
    ]
    if compute is None or compute.device.type != "cuda":
        return Answer(finding.kind, [*words, "not tried: there is no GPU to move a batch to"])
    tried, taken = _tried([pinning(subject.now)], subject)
    if saves:
        small = try_uint8(batch, compute)
        tried = [*tried, small]
        if taken is None:
            taken = small if small.helps else None
        elif small.helps:
            words.append(f"{small.words}, would help as well: {small.speedup:.2f}x")
    return Answer(finding.kind, words, tried, taken)


def _tried(groups: Sequence[Sequence[Change]], subject: Subject) -> tuple[list[Tried], Tried | None]:
    loop_with_s = partial(
        changed_loop_s, subject.parts.dataset, subject.step, subject.now, seconds=2 * subject.seconds
    )
    return try_changes(groups, loop_with_s, on_progress=subject.on_progress)


def _rarer_handler(finding: Finding, subject: Subject) -> Answer:
    """Call the handler less often in the recipe's own loop, where that is soon done."""
    run, advice = subject.run, finding.advice
    if finding.culprit is None or finding.share is None or advice is None:
        return Answer(finding.kind, ["summary.json will say which handler it is, once the run has ended"])
    _, of_handlers = largest_handler(run.handlers, run.timing["handlers_s"])
    once_in = times_less_often(finding.share * of_handlers)
    options = Namespace(**{**vars(subject.options), "num_workers": subject.now.num_workers})
    most_s = _MOST_TIMES * subject.seconds
    tried: list[str] = []
    for _ in range(_MOST_PERIODS):
        subject.on_progress(f"{finding.culprit} once in {once_in:,} times")
        share = share_if_rarer(subject.recipe, options, finding.culprit, once_in=once_in, most_s=most_s)
        if share is None:
            break
        tried.append(f"once in {once_in:,} times: {100 * share:.1f} %")
        if share < SMALL_SHARE:
            break
        once_in = math.ceil(once_in * share / SMALL_SHARE)
    if not tried:
        return _advised(finding, subject)
    return Answer(finding.kind, [advice, f"tried: {finding.culprit} {', '.join(tried)} of the loop"])


def _rarer_checkpoints(finding: Finding, subject: Subject) -> Answer:
    """Say which option it is: that for inside an epoch changes nothing where epochs are short.

    How long they are, a run tells at its end.
    """
    words, every_s = _advised(finding, subject).words, subject.options.checkpoint_every_s
    if not subject.run.summary:
        return Answer(finding.kind, words)
    epochs = subject.run.summary.get("epochs") or 1
    if subject.run.timing.get("wall_s", 0.0) / epochs > 2 * every_s:
        option = f"--checkpoint-every-s {2 * every_s:g} saves half as often"
    else:
        option = "most are those of each epoch's end: --save-in-background"
    return Answer(finding.kind, [*words, option])
