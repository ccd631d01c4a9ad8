"""A picture of images with captions."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from handlers.plain_text import plain_text
from ignite_pipeline.output_files import write_output

COLUMNS, MOST = 8, 64


def write_sheet(
    images: Sequence[Tensor],
    captions: Sequence[str],
    path: Path,
    *,
    option: str,
    title: str,
    columns: int = COLUMNS,
) -> None:
    """Write a PNG of images ``(3, S, S)`` uint8 in rows, with captions as far as there are any.

    `BadInput` is raised naming the option if it cannot be written.
    """
    from matplotlib.figure import Figure

    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(max(5, 1.7 * columns), 0.5 + 2.0 * rows), dpi=100, layout="constrained")
    figure.suptitle(plain_text(title), fontsize=9)
    draw_images(figure.subplots(rows, columns, squeeze=False).flatten(), images, captions)
    write_output(path, lambda place: figure.savefig(place, format="png"), option=option)


def draw_images(axes: Collection[Any], images: Sequence[Tensor], captions: Sequence[str]) -> None:
    """Draw images ``(3, S, S)`` uint8 on the first of the axes, with captions as far as there are any."""
    for axis in axes:
        axis.set_axis_off()
    for axis, image in zip(axes, images, strict=False):
        axis.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
    for axis, caption in zip(axes, captions, strict=False):
        axis.set_title(plain_text(caption), fontsize=7)
