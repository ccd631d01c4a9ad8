"""What a run is bound by, and who it is that takes the time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from handlers.advice import advice_on
from handlers.findings import Finding
from handlers.handler_times import HandlerTime

LARGE_SHARE = 0.15
_ENOUGH_ITERATIONS = 20
_NEARLY_ALL = 0.9
_SLOW_PHASE_SHARE = 0.05
_KINDS = {
    "fetch": "data-bound",
    "handlers": "handler-bound",
    "transfer": "transfer-bound",
    "others": "exchange-bound",
    "evaluate": "evaluation-bound",
    "checkpoint": "checkpoint-bound",
}


def diagnose(
    *,
    iterations: int,
    share: Callable[[str], float],
    seconds: Mapping[str, float],
    handlers: Sequence[HandlerTime] = (),
    step: Mapping[str, float] | None = None,
    loading: Sequence[tuple[str, float]] = (),
) -> list[Finding]:
    """Return what a run is bound by, the largest first: the first is the verdict.

    ``share`` gives that of a part in the loop, ``seconds`` are those of all parts of the run. Waiting for
    data, transfers, handlers and other processes count where they take more than 15 % of the loop;
    evaluations and checkpoints where they take more than 15 % of the run. If none does, it is
    ``compute-bound`` where computing takes 90 % of the loop or more, and else ``balanced``; with fewer than
    20 iterations, ``too few iterations to say``.

    ``handlers``, ``step`` and ``loading`` (names and shares) tell who it is, the largest first. What would
    be gained by less of a handler, of evaluations or of checkpoints is in ``advice`` (see `advice_on`).

    >>> shares = {"fetch": 0.1, "handlers": 0.4, "transfer": 0.0, "others": 0.0, "compute": 0.5}
    >>> draw = HandlerTime("ITERATION_COMPLETED", "SampleGrids.draw", "samples.py:40", seconds=3.1)
    >>> found = diagnose(
    ...     iterations=100, share=shares.get, seconds={"handlers": 4.0, "compute": 6.0}, handlers=[draw]
    ... )
    >>> print(found[0].words, found[0].advice, sep="; ")
    handler-bound: SampleGrids.draw (samples.py:40), 31 %; call SampleGrids.draw (samples.py:40) once in 23
    times: it would take less than 2 % of the loop
    """
    if iterations < _ENOUGH_ITERATIONS:
        return [_finding("too few iterations to say")]
    in_loop = {part: share(part) for part in ("fetch", "handlers", "transfer", "others")}
    in_run_s = sum(value for part, value in seconds.items() if part != "first_batch") or 1.0
    in_run = {part: seconds.get(part, 0.0) / in_run_s for part in ("evaluate", "checkpoint")}
    loop_of_run = 1 - sum(in_run.values())
    weights = {**{part: value * loop_of_run for part, value in in_loop.items()}, **in_run}
    large = {part: value for part, value in {**in_loop, **in_run}.items() if value > LARGE_SHARE}
    found = []
    for part in sorted(large, key=lambda part: -weights[part]):
        if part == "fetch" and loading:
            name, of_loading = loading[0]
            words = f"data-bound: {name}, {of_loading:.0%} of loading".replace("%", " %")
            found.append(Finding("data-bound", large[part], name, words))
            continue
        of_part, culprit = 1.0, None
        if part == "handlers":
            culprit, of_part = largest_handler(handlers, seconds["handlers"])
        advice = advice_on(part, large[part] * of_part, culprit)
        found.append(replace(_finding(_KINDS[part], large[part], culprit, of_part), advice=advice))
    if not found:
        computing = share("compute")
        culprit, of_part = _largest(step or {})
        if computing >= _NEARLY_ALL:
            found.append(_finding("compute-bound", computing, culprit, of_part))
        else:
            found.append(_finding("balanced"))
    return found


def slow_phases(phases: Sequence[Mapping[str, Any]], seconds: Mapping[str, float]) -> list[Finding]:
    """Return what phases cost beside the steady state, from 5 % of the run on; see `IterationTimes.phases`.

    >>> slow = {"iterations": [1, 99], "steady": False, "iteration_s": {"fetch": 0.3, "compute": 0.1}}
    >>> usual = {"iterations": [100, 900], "steady": True, "iteration_s": {"fetch": 0.0, "compute": 0.1}}
    >>> print(*slow_phases([{**slow, "extra_s": 30.0}, {**usual, "extra_s": 0.0}], {"compute": 150.0}))
    slow phase: iterations 1 to 99 took 30 s more than as many others, for fetch
    """
    usual: Mapping[str, float] = next((phase["iteration_s"] for phase in phases if phase["steady"]), {})
    found = []
    for phase in phases:
        share = phase["extra_s"] / (sum(seconds.values()) or 1.0)
        if share > _SLOW_PHASE_SHARE:
            more = {part: value - usual[part] for part, value in phase["iteration_s"].items()}
            part, (first, last) = max(more, key=more.__getitem__), phase["iterations"]
            took = f"iterations {first} to {last} took {phase['extra_s']:.2g} s more than as many others"
            found.append(Finding("slow phase", share, part, f"slow phase: {took}, for {part}"))
    return found


def _finding(
    kind: str, share: float | None = None, culprit: str | None = None, of_part: float = 1.0
) -> Finding:
    if share is None:
        return Finding(kind, None, None, kind)
    if culprit is None:
        return Finding(kind, share, None, f"{kind}, {share:.0%}".replace("%", " %"))
    return Finding(kind, share, culprit, f"{kind}: {culprit}, {share * of_part:.0%}".replace("%", " %"))


def largest_handler(handlers: Sequence[HandlerTime], seconds: float) -> tuple[str | None, float]:
    """Return the name of the handler that took most of ``seconds``, and its share of them."""
    sums: dict[str, float] = {}
    for time in handlers:
        sums[str(time)] = sums.get(str(time), 0.0) + time.seconds
    return _largest(sums, seconds)


def _largest(sums: Mapping[str, float], whole: float | None = None) -> tuple[str | None, float]:
    if not sums or not sum(sums.values()):
        return None, 1.0
    name = max(sums, key=sums.__getitem__)
    return name, min(1.0, sums[name] / (whole or sum(sums.values())))
