"""Which changes make a loop quicker: each is tried in turn with what there was before."""

import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from torch.utils.data import Dataset

from ignite_pipeline.profiling.tuning import FINAL_ROUNDS, WORTHWHILE, Setting, Step, loop_s

CONFIRMING_ROUNDS = 5


@dataclass(frozen=True)
class Change:
    """Something to change: in words, the context in which it is made, and the loader's setting with it."""

    words: str
    within: Callable[[], AbstractContextManager[object]] = nullcontext
    setting: Callable[[Setting], Setting] = lambda setting: setting


@dataclass(frozen=True)
class Tried:
    """A change that was tried: how much faster the loop was, each time in turn with what there was before.

    ``failed`` says why it cannot be had, if it cannot.
    """

    words: str
    speedups: Sequence[float]
    failed: str | None = None

    @property
    def speedup(self) -> float:
        """The median of the speed-ups; 0 where it failed."""
        return statistics.median(self.speedups) if self.speedups else 0.0

    @property
    def helps(self) -> bool:
        """Whether it won every time, and 3 % in the median."""
        return self.speedup >= WORTHWHILE and min(self.speedups) > 1


def try_changes(
    groups: Sequence[Sequence[Change]],
    loop_with_s: Callable[[Sequence[Change]], float],
    *,
    on_progress: Callable[[str], object] = lambda text: None,
) -> tuple[list[Tried], Tried | None]:
    """Try changes one by one; return all that were tried, and those to take together, confirmed, if any.

    ``loop_with_s`` returns the seconds a batch of the loop with some changes. Of each of the ``groups``, the
    best change that helps is kept while those of the next are tried. What is kept takes turns with nothing
    changed once more, since the best of many was lucky too.

    >>> seconds = {"bf16": 0.8, "one thread": 1.5}
    >>> tried, taken = try_changes(
    ...     [[Change("bf16")], [Change("one thread")]],
    ...     lambda changes: 1.0 if not changes else min(seconds[change.words] for change in changes),
    ... )
    >>> [(one.words, one.speedup) for one in tried], taken.words
    ([('bf16', 1.25), ('one thread', 1.0)], 'bf16')
    """
    kept: list[Change] = []
    tried: list[Tried] = []
    for group in groups:
        found = []
        for change in group:
            on_progress(f"trying {change.words}")
            found.append(_in_turns(kept, [*kept, change], loop_with_s, rounds=FINAL_ROUNDS))
        tried += [replace(one, words=change.words) for one, change in zip(found, group, strict=True)]
        best = max(range(len(group)), key=lambda place: found[place].speedup, default=None)
        if best is not None and found[best].helps:
            kept.append(group[best])
    if not kept:
        return tried, None
    on_progress("confirming " + " and ".join(change.words for change in kept))
    taken = _in_turns([], kept, loop_with_s, rounds=CONFIRMING_ROUNDS)
    return tried, taken if taken.speedup >= WORTHWHILE else None


def _in_turns(
    before: Sequence[Change],
    after: Sequence[Change],
    loop_with_s: Callable[[Sequence[Change]], float],
    *,
    rounds: int,
) -> Tried:
    words = " and ".join(change.words for change in after)
    try:
        return Tried(words, [loop_with_s(before) / loop_with_s(after) for _ in range(rounds)])
    except RuntimeError as error:  # what the device or the model does not have
        return Tried(words, [], failed=str(error).strip().splitlines()[0][:200])


def changed_loop_s(
    dataset: Dataset[Any], step: Step, setting: Setting, changes: Sequence[Change], *, seconds: float
) -> float:
    """Return the seconds a batch of the real loop with ``changes``."""
    with ExitStack() as stack:
        for change in changes:
            stack.enter_context(change.within())
            setting = change.setting(setting)
        return loop_s(dataset, step, setting, seconds=seconds)
