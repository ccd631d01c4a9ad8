"""One picture of a comparison: each run in the order of their starts, the parts of an iteration, a metric."""

import statistics
from pathlib import Path
from typing import Any

from handlers.plain_text import plain_text
from handlers.report import PART_STYLES
from ignite_pipeline.compare.comparison import Comparison
from ignite_pipeline.compare.iteration_times import total, why_untimed
from ignite_pipeline.compare.past_runs import in_order
from ignite_pipeline.compare.report import PART_NAMES, conclusion, of_unit
from ignite_pipeline.compare.time_taken import TimeTaken

COLORS = {"A": "#00798c", "B": "#d1495b"}


def draw(found: Comparison, path: Path) -> None:
    """Write a PNG with a panel each for the runs, where the time goes, and the best metric."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.8), dpi=100, layout="constrained")
    figure.suptitle(plain_text(conclusion(found.time)), fontsize=11, wrap=True)
    runs, parts, curves = figure.subplots(1, 3)
    _draw_runs(runs, found)
    _draw_parts(parts, found.time)
    _draw_curves(curves, found)
    figure.savefig(path, format="png")


def _draw_runs(axis: Any, found: Comparison) -> None:
    """Draw what an iteration took in each run, from the first that was begun to the last."""
    timed = [[run for run in side if why_untimed(run) is None] for side in (found.a, found.b)]
    order = in_order([*timed[0], *timed[1]])
    styles = (("o", "full"), ("s", "none"))
    for figure, (marker, fill) in zip(found.time.figures, styles, strict=False):
        for side, runs, seconds in zip("AB", timed, (figure.a, figure.b), strict=True):
            places = [order.index(run) + 1 for run in runs]
            times_ms = [1e3 * total(one) for one in seconds]
            label = f"{side}, {of_unit(figure.name, found.time.unit)}"
            axis.plot(places, times_ms, marker, color=COLORS[side], fillstyle=fill, label=label)
    axis.set(
        xlabel="run, in the order of their starts", ylabel=f"ms {of_unit('an iteration', found.time.unit)}"
    )
    axis.set_title("each run", fontsize=11, loc="left")
    axis.set_xticks(range(1, len(order) + 1, -(-len(order) // 12) or 1))
    low, high = axis.get_ylim()
    axis.set_ylim(low, high + 0.45 * (high - low))  # room for the legend
    axis.grid(alpha=0.3)
    if found.time.figures:
        axis.legend(fontsize=8, loc="upper left", ncols=2)


def _draw_parts(axis: Any, time: TimeTaken) -> None:
    """Draw the mean milliseconds of each part, those of the loop below."""
    bottom = [0.0, 0.0]
    figures = [*time.figures[-1:], *([time.beside] if time.beside is not None else [])]
    for figure in figures:
        for part in figure.parts():
            heights = [1e3 * statistics.fmean(one[part] for one in side) for side in (figure.a, figure.b)]
            axis.bar(
                ["A", "B"], heights, 0.5, bottom=bottom, label=PART_NAMES[part], color=PART_STYLES[part][1]
            )
            bottom = [below + height for below, height in zip(bottom, heights, strict=True)]
    axis.set_ylabel(f"ms {of_unit('an iteration', time.unit)}")
    axis.set_title("where the time went", fontsize=11, loc="left")
    axis.set_xlim(-0.6, 2.9)  # room for the legend
    if figures:
        handles, labels = axis.get_legend_handles_labels()
        axis.legend(handles[::-1], labels[::-1], fontsize=8, loc="upper right", frameon=False)


def _draw_curves(axis: Any, found: Comparison) -> None:
    """Draw the metric that decides which epoch is the best, over the epochs of each run."""
    names = {run.best["metric"] for run in (*found.a, *found.b) if run.best}
    name = min(names, default="")
    for side, runs in (("A", found.a), ("B", found.b)):
        for number, run in enumerate(runs):
            lines = [line for line in run.epochs if line.get(name) is not None]
            label = side if number == 0 else None
            epochs, values = [line["epoch"] for line in lines], [line[name] for line in lines]
            style = {"color": COLORS[side], "linestyle": "--" if side == "B" else "-"}
            axis.plot(epochs, values, marker=".", linewidth=1.2, alpha=0.8, label=label, **style)
    axis.set_xlabel("epoch")
    axis.set_title(plain_text(name or "no best metric"), fontsize=11, loc="left")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
