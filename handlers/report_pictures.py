"""What a run has left to look at beside its curves: its confusion matrix, and samples."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handlers.confusion_matrix import draw_confusion
from handlers.files import require_regular
from handlers.mistakes import MOST, PER_ROW

_MATRIX_SHARE = 0.3


@dataclass(frozen=True)
class Samples:
    """A picture from ``samples/``, as it is."""

    path: Path
    size: tuple[int, int]

    def height_in(self, width: float) -> float:
        """Return how high it becomes in a figure so wide, in inches."""
        return min(0.6 * width, 0.4 + width * self.size[1] / self.size[0])

    def draw(self, figure: Any) -> None:
        """Draw it."""
        figure.suptitle(f"{self.path.parent.name}/{self.path.name}", fontsize=9)
        _show(figure.subplots(), self.path)


@dataclass(frozen=True)
class ConfusionPicture:
    """The confusion matrix of the last evaluation, and its most confident errors."""

    classes: Sequence[str]
    confusion: Sequence[Sequence[int]]
    errors: Sequence[dict[str, Any]]
    picture: Path | None

    def height_in(self, width: float) -> float:
        """Return how high it becomes in a figure so wide, in inches."""
        return max(2.6, 0.9 + _MATRIX_SHARE * width)

    def draw(self, figure: Any) -> None:
        """Draw the matrix, and the images beside it."""
        matrix, images = figure.subplots(1, 2, width_ratios=[_MATRIX_SHARE, 1 - _MATRIX_SHARE])
        draw_confusion(matrix, self.confusion, self.classes)
        if self.picture is None:
            images.set_axis_off()
            return
        width, _ = _show(images, self.picture)
        images.set_title("the most confident errors", fontsize=9)
        side = width / PER_ROW
        for number, error in enumerate(self.errors[:MOST]):
            images.text(
                (number % PER_ROW + 0.05) * side,
                (number // PER_ROW + 0.05) * side,
                f"{error['true']:.12}, not {error['predicted']:.12} {error['probability']:.0%}",
                fontsize=5.5,
                va="top",
                bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.5},
            )


def _show(axis: Any, path: Path) -> tuple[int, int]:
    from PIL import Image

    axis.set_axis_off()
    with Image.open(path) as image:
        axis.imshow(image.convert("RGB"), interpolation="antialiased")
        return image.size


def pictures_of(directory: Path) -> list[Samples | ConfusionPicture]:
    """Return what there is to draw in a run's directory; what is damaged is left out."""
    from PIL import Image

    found: list[Samples | ConfusionPicture] = []
    try:
        content = json.loads((directory / "mistakes.json").read_text())
        picture = directory / "mistakes.png"
        errors = content["most_confident_errors"]
        shown = picture if picture.is_file() and errors else None
        found.append(ConfusionPicture(content["classes"], content["confusion"], errors, shown))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    newest = max(directory.glob("samples/*.png"), default=None)
    try:
        if newest is not None:
            require_regular(newest)
            with Image.open(newest) as image:
                found.append(Samples(newest, image.size))
    except (OSError, ValueError):
        pass
    return found
