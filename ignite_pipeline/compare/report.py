"""A comparison as lines of text and as JSON."""

import statistics
from collections.abc import Sequence
from typing import Any

from handlers.report import PART_STYLES
from ignite_pipeline.compare.comparison import Comparison
from ignite_pipeline.compare.intervals import LEVEL, Estimate
from ignite_pipeline.compare.iteration_times import total, why_untimed
from ignite_pipeline.compare.metrics import Metric
from ignite_pipeline.compare.past_runs import PastRun
from ignite_pipeline.compare.time_taken import Figure, TimeTaken

PART_NAMES = {part: name for part, (name, _) in PART_STYLES.items()}
_WIDEST = 34
_LEVEL = f"{LEVEL:.0%}".replace("%", " %")


def as_text(found: Comparison) -> list[str]:
    """Return lines to print."""
    lines = [f"{found.a[0].task}: {_sides(found)}", ""]
    rows = [[f"{one.kind} {one.name}", short(one.a), short(one.b)] for one in found.differences]
    lines += table(["what differs", "A", "B"], rows) if rows else ["nothing differs that was recorded"]
    if found.metrics:
        heads = ["metric, mean (least to largest)", "A", "B", f"B - A ({_LEVEL})"]
        lines += ["", *table(heads, [_metric_row(one) for one in found.metrics])]
    if found.time.figures:
        lines += ["", *_time_table(found.time)]
    lines += ["", *found.notes] if found.notes else []
    return [*lines, "", conclusion(found.time)]


def conclusion(time: TimeTaken) -> str:
    """Say in a sentence or two whether B is slower, and in what."""
    if time.verdict is None:
        words = f"No verdict on time: {time.why_no_verdict}."
        if time.within is not None:
            words += f" Within these two runs, from epoch to epoch, B / A is {_ratio(time.within)}."
        return words
    if time.verdict == "no difference":
        each = " and ".join(f"{_ratio(one.ratio)} for {of_unit(one.name, time.unit)}" for one in time.figures)
        return f"Neither slower nor faster beyond noise: B / A is {each} ({_LEVEL})."
    return f"{time.verdict.capitalize()}: {in_words(time.deciding, time.unit)}."


def in_words(figure: Figure, unit: str) -> str:
    """Say by how much B takes longer or shorter, and in which part most of all."""
    part = figure.changed_most()
    change_ms = 1e3 * figure.difference(part).value
    return (
        f"{of_unit(figure.name, unit)} takes {_ratio(figure.ratio)} times as long in B ({_LEVEL}),"
        f" most of all in {PART_NAMES[part]}, {change_ms:+.3g} ms"
    )


def as_json(found: Comparison, lines: Sequence[str]) -> dict[str, Any]:
    """Return all that was found; ``lines`` are those of the limits that B exceeds."""
    time = found.time
    return {
        "task": found.a[0].task,
        "runs": {side: [_run(run) for run in runs] for side, runs in (("a", found.a), ("b", found.b))},
        "differences": [one._asdict() for one in found.differences],
        "metrics": [{**one._asdict(), "difference": one.difference._asdict()} for one in found.metrics],
        "time": {
            "verdict": time.verdict,
            "why_no_verdict": time.why_no_verdict,
            "unit": time.unit,
            "level": LEVEL,
            "figures": [{**_figure(one), "ratio": one.ratio._asdict()} for one in time.figures],
            "beside_the_loop": time.beside and _figure(time.beside),
            "ratio_within_the_runs": time.within and time.within._asdict(),
        },
        "notes": found.notes,
        "exceeded": list(lines),
    }


def of_unit(name: str, unit: str) -> str:
    """Return a figure's name, of samples where iterations are not alike.

    >>> of_unit("an iteration, all told", "sample")
    'a sample, all told'
    """
    if unit == "iteration":
        return name
    return name.replace("an iteration", f"a {unit}").replace("iteration", unit)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of columns, the first to the left and the others to the right.

    >>> table(["run", "s"], [["a", "1.5"]])
    ['run    s', 'a    1.5']
    """
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (heads, *rows)
    ]


def short(values: Sequence[str]) -> str:
    """Return values in one line that fits into a column."""
    text = "".join(one if one.isprintable() else "?" for one in ", ".join(values))
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST // 2]}…{text[1 - _WIDEST // 2 :]}"


def _sides(found: Comparison) -> str:
    words = []
    for side, runs in (("A", found.a), ("B", found.b)):
        more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
        words.append(f"{side} {runs[0].path}{more}")
    return ", ".join(words)


def _metric_row(metric: Metric) -> list[str]:
    return [metric.name, _spread(metric.a), _spread(metric.b), _signed(metric.difference, ".4f")]


def _time_table(time: TimeTaken) -> list[str]:
    *_, all_told = time.figures
    rows = [_part_row(all_told, part) for part in all_told.parts()]
    for figure in time.figures:
        means = [_ms(statistics.fmean(map(total, side))) for side in (figure.a, figure.b)]
        name = of_unit(figure.name, time.unit)
        rows.append([name, *means, _signed(figure.total_difference(), ".3f", 1e3), _ratio(figure.ratio)])
    if time.beside is not None:
        rows += [_part_row(time.beside, part) for part in time.beside.parts()]
    unit = of_unit("an iteration", time.unit)
    return table([f"ms {unit}", "A", "B", f"B - A ({_LEVEL})", f"B / A ({_LEVEL})"], rows)


def _part_row(figure: Figure, part: str) -> list[str]:
    means = [_ms(statistics.fmean(one[part] for one in side)) for side in (figure.a, figure.b)]
    return [PART_NAMES[part], *means, _signed(figure.difference(part), ".3f", 1e3), ""]


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.3f}"


def _spread(values: Sequence[float]) -> str:
    mean = f"{statistics.fmean(values):.4f}"
    return mean if min(values) == max(values) else f"{mean} ({min(values):.4f} to {max(values):.4f})"


def _signed(estimate: Estimate, form: str, scale: float = 1.0) -> str:
    text = f"{scale * estimate.value:+{form}}"
    if estimate.interval is None or estimate.low == estimate.high:
        return text
    return f"{text} ({' to '.join(f'{scale * end:+{form}}' for end in estimate.interval)})"


def _ratio(estimate: Estimate) -> str:
    text = f"{estimate.value:.3f}"
    if estimate.interval is None:
        return text
    return f"{text} ({' to '.join(f'{end:.3f}' for end in estimate.interval)})"


def _run(run: PastRun) -> dict[str, Any]:
    return {
        "path": str(run.path),
        "started": run.started and run.started.isoformat(),
        "status": run.summary["status"],
        "iterations": run.iterations,
        "verdict": run.timing.get("verdict"),
        "is_timed": why_untimed(run) is None,
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "name": figure.name,
        "a_s": [total(one) for one in figure.a],
        "b_s": [total(one) for one in figure.b],
        "difference_s": figure.total_difference()._asdict(),
        "parts_difference_s": {part: figure.difference(part)._asdict() for part in figure.parts()},
    }
