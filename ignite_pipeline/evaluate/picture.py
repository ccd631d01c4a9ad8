"""One picture of an evaluation: the confusion matrix, the calibration, and the most confident errors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from handlers.confusion_matrix import draw_confusion
from handlers.plain_text import plain_text
from ignite_pipeline.evaluate.figures import BINS, Calibration, Figures
from ignite_pipeline.predict.sheet import COLUMNS, draw_images


def draw(
    figures: Figures, classes: Sequence[str], images: Sequence[Tensor], path: Path, *, title: str
) -> None:
    """Write a PNG; ``images`` ``(3, S, S)`` uint8 are those of ``figures.most_confident_errors``."""
    from matplotlib.figure import Figure

    assert figures.confusion is not None
    assert figures.calibration is not None
    rows = -(-len(images) // COLUMNS)
    figure = Figure(figsize=(13, 4.6 + 1.9 * rows), dpi=100, layout="constrained")
    figure.suptitle(plain_text(title), fontsize=11)
    parts = figure.subfigures(
        1 + bool(rows), 1, squeeze=False, height_ratios=[4.4] + [1.9 * rows] * bool(rows)
    )
    matrix, reliability = parts[0, 0].subplots(1, 2)
    draw_confusion(matrix, figures.confusion, classes)
    _draw_calibration(reliability, figures.calibration)
    if rows:
        parts[1, 0].suptitle("the most confident errors", fontsize=10)
        captions = [
            f"{error.true}, not {error.predicted} ({error.probability:.0%})"
            for error in figures.most_confident_errors
        ]
        draw_images(parts[1, 0].subplots(rows, COLUMNS, squeeze=False).flatten(), images, captions)
    figure.savefig(path, format="png")


def _draw_calibration(axis: Any, calibration: Calibration) -> None:
    centers = [(number + 0.5) / BINS for number in range(BINS)]
    filled = [number for number in range(BINS) if calibration.counts[number]]
    axis.bar(
        [centers[number] for number in filled],
        [calibration.accuracy[number] for number in filled],
        width=0.9 / BINS,
        color="#00798c",
        label="accuracy",
    )
    axis.plot([0, 1], [0, 1], color="#8d96a3", linestyle="--", label="perfectly calibrated")
    for number in filled:
        height = calibration.accuracy[number]
        axis.text(
            centers[number], height, str(calibration.counts[number]), ha="center", va="bottom", fontsize=7
        )
    axis.set(xlim=(0, 1), ylim=(0, 1.08), xlabel="probability of the predicted class", ylabel="accuracy")
    axis.set_title(f"expected calibration error {calibration.error:.1%} (images above the bars)")
    axis.legend(fontsize=8, loc="upper left")
