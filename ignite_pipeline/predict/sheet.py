"""A picture of images with what was said of them."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

COLUMNS, MOST = 8, 64


def draw_sheet(images: Sequence[Tensor], captions: Sequence[str], path: Path, *, title: str = "") -> None:
    """Write a PNG of images ``(3, S, S)`` uint8 with a caption each, eight in a row."""
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.7 * columns, 0.5 + 2.0 * rows), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=9)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes:
        axis.set_axis_off()
    for axis, image, caption in zip(axes, images, captions, strict=False):
        axis.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set_title(caption, fontsize=7)
    figure.savefig(path, format="png")
