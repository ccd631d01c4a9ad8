"""A picture of a run, drawn from its directory."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from handlers.files import read_metrics
from handlers.plain_text import plain_text
from handlers.report_pictures import pictures_of

PART_STYLES = {
    "fetch": ("waiting for data", "#d1495b"),
    "first_batch": ("first batch", "#edae49"),
    "transfer": ("moving to the device", "#a23b72"),
    "compute": ("computing", "#00798c"),
    "handlers": ("handlers", "#8d96a3"),
    "checkpoint": ("checkpoints", "#c9cba3"),
    "others": ("waiting for other processes", "#5c4d7d"),
    "evaluate": ("evaluating", "#66a182"),
}
TRAIN_COLOR, VAL_COLOR = "#8d96a3", "#00798c"
_MOST_NAMED = 12


def plot_report(directory: str | Path) -> Path:
    """Draw ``report.png`` from a run's directory: the curves, each epoch's time in parts, and what was made.

    Every metric of training or validation gets a panel; one of the same name in both, a common one, as all
    classes have of a metric for each. Below them come what `Mistakes` has written, and the newest samples.
    """
    # Half a second to import: only who draws pays for it. The Figure's own canvas needs no display.
    from matplotlib.figure import Figure

    directory = Path(directory)
    lines = read_metrics(directory)
    summary = json.loads((directory / "summary.json").read_text())
    epochs = [line for line in lines if line["kind"] == "epoch"]
    iterations = [line for line in lines if line["kind"] == "iteration"]
    published = list(dict.fromkeys(name for line in lines for name in line))
    names, labelled = _panel_names(published), [name for name in published if parts_of(name)[2]]

    columns = min(len(names) + 1, 4)
    rows = -(-(len(names) + 1) // columns)
    width, heights = 4.2 * columns, [3.2 * rows]
    pictures = pictures_of(directory)
    heights += [picture.height_in(width) for picture in pictures]
    figure = Figure(figsize=(width, 0.4 + sum(heights)), dpi=110, layout="constrained")
    figure.suptitle(plain_text(_title(directory, summary)), fontsize=10)
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, picture in zip(parts[1:], pictures, strict=True):
        picture.draw(part)
    axes = parts[0].subplots(rows, columns, squeeze=False).flatten()
    for axis, name in zip(axes, names, strict=False):
        _plot_curve(
            axis, iterations, f"train/{name}", label="training, recent mean", color=TRAIN_COLOR, alpha=0.5
        )
        _plot_curve(
            axis, epochs, f"train/{name}", label="training, epoch mean", color=TRAIN_COLOR, marker="."
        )
        _plot_curve(axis, epochs, f"val/{name}", label="validation", color=VAL_COLOR, marker=".")
        for whole in labelled:
            prefix, quantity, label = parts_of(whole)
            if quantity == name:
                where = "validation, " if prefix == "val" else "training, "
                _plot_curve(axis, epochs, whole, label=where + plain_text(label), marker=".")
        axis.set(xlabel="iteration", title=plain_text(name))
        axis.grid(alpha=0.3)
        if 0 < len(axis.lines) <= _MOST_NAMED:
            axis.legend(fontsize=7)
    _plot_time(axes[len(names)], epochs)
    for axis in axes[len(names) + 1 :]:
        axis.set_axis_off()
    path = directory / "report.png"
    figure.savefig(path)
    return path


def _panel_names(published: Sequence[str]) -> list[str]:
    names = [parts_of(name)[1] for name in published if name.startswith(("train/", "val/"))]
    return [name for name in dict.fromkeys(names) if name != "lr"]


def parts_of(name: str) -> tuple[str, str, str]:
    """Return where a metric is measured, what it is, and of what: the last may be empty.

    >>> parts_of("val/recall/bird"), parts_of("train/loss"), parts_of("score")
    (('val', 'recall', 'bird'), ('train', 'loss', ''), ('', 'score', ''))
    """
    prefix, _, rest = name.rpartition("/") if name.count("/") < 2 else name.partition("/")
    quantity, _, label = rest.partition("/")
    return prefix, quantity, label


def _plot_curve(axis: Any, lines: Sequence[dict[str, Any]], name: str, **style: Any) -> None:
    points = [(line["iteration"], line[name]) for line in lines if line.get(name) is not None]
    if points:
        alone = {"marker": "."} if len(points) == 1 else {}
        axis.plot(*zip(*points, strict=True), **{"linewidth": 1.2, **alone, **style})


def _plot_time(axis: Any, epochs: Sequence[dict[str, Any]]) -> None:
    bottom = [0.0] * len(epochs)
    for part, (label, color) in PART_STYLES.items():
        seconds = [line.get(f"time/{part}_s") or 0.0 for line in epochs]
        if not any(seconds):
            continue
        axis.bar(
            [line["epoch"] for line in epochs], seconds, bottom=bottom, label=label, color=color, width=0.85
        )
        bottom = [below + height for below, height in zip(bottom, seconds, strict=True)]
    axis.set(xlabel="epoch", title="where the time went", ylabel="seconds")
    axis.set_ylim(0, 1.45 * max(bottom, default=1.0) or 1.0)
    if axis.containers:
        axis.legend(fontsize=7, ncols=2, loc="upper center")


def _title(directory: Path, summary: dict[str, Any]) -> str:
    parts = [directory.name, summary["status"]]
    if best := summary.get("best"):
        parts.append(f"best {best['metric']} {best['value']:.4f} in epoch {best['epoch']}")
    if timing := summary.get("timing"):
        parts.append(f"{timing['wall_s']:.0f} s, {timing['diagnosis']}")
    if notice := (summary.get("dataset") or {}).get("notice"):
        parts.append(f"\n{notice}")
    return " · ".join(parts).replace(" · \n", "\n")
