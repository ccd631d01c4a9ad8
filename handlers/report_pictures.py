"""What a run has left to look at beside its curves: its confusion matrix, and samples."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handlers.confusion_matrix import draw_confusion
from handlers.files import require_regular
from handlers.mistakes import PER_ROW, read_mistakes
from handlers.plain_text import plain_text
from handlers.surest_errors import MOST

_MATRIX_SHARE = 0.3


@dataclass(frozen=True)
class Samples:
    """A picture from ``samples/``, as it is."""

    path: Path
    image: Any

    def height_in(self, width: float) -> float:
        """Return how high it becomes in a figure so wide, in inches."""
        return min(0.6 * width, 0.4 + width * float(self.image.height / self.image.width))

    def draw(self, figure: Any) -> None:
        """Draw it."""
        figure.suptitle(plain_text(f"{self.path.parent.name}/{self.path.name}"), fontsize=9)
        _show(figure.subplots(), self.image)


@dataclass(frozen=True)
class ConfusionPicture:
    """The confusion matrix of the last evaluation, and its most confident errors."""

    classes: Sequence[str]
    confusion: Sequence[Sequence[int]]
    errors: Sequence[dict[str, Any]]
    images: Any

    def height_in(self, width: float) -> float:
        """Return how high it becomes in a figure so wide, in inches."""
        return max(2.6, 0.9 + _MATRIX_SHARE * width)

    def draw(self, figure: Any) -> None:
        """Draw the matrix, and the images beside it."""
        matrix, images = figure.subplots(1, 2, width_ratios=[_MATRIX_SHARE, 1 - _MATRIX_SHARE])
        draw_confusion(matrix, self.confusion, self.classes)
        if self.images is None:
            images.set_axis_off()
            return
        _show(images, self.images)
        images.set_title("the most confident errors", fontsize=9)
        side = self.images.width / PER_ROW
        for number, error in enumerate(self.errors[:MOST]):
            images.text(
                (number % PER_ROW + 0.05) * side,
                (number // PER_ROW + 0.05) * side,
                plain_text(f"{error['true']:.12}, not {error['predicted']:.12} {error['probability']:.0%}"),
                fontsize=5.5,
                va="top",
                bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.5},
            )


def _show(axis: Any, image: Any) -> None:
    axis.set_axis_off()
    axis.imshow(image, interpolation="antialiased")


def pictures_of(directory: Path) -> list[Samples | ConfusionPicture]:
    """Return what there is to draw in a run's directory; what is damaged is left out."""
    pictures: list[Samples | ConfusionPicture] = []
    if (found := read_mistakes(directory)) is not None:
        errors = found["most_confident_errors"]
        images = _decoded(directory / "mistakes.png") if errors else None
        pictures.append(ConfusionPicture(found["classes"], found["confusion"], errors, images))
    newest = None
    with suppress(OSError):  # there are none
        newest = newest_sample(directory)
    if newest is not None and (image := _decoded(newest)) is not None:
        pictures.append(Samples(newest, image))
    return pictures


def newest_sample(directory: Path) -> Path | None:
    """Return the newest image of ``samples/`` in a run directory, or None; ``OSError`` if it is no folder.

    By name: the times of files do not survive a copy of the directory.
    """
    paths = (path for path in (directory / "samples").iterdir() if path.suffix == ".png")
    return max(paths, key=lambda path: (len(path.name), path.name), default=None)


def _decoded(path: Path) -> Any:
    """Return an image with all its pixels, or None."""
    from PIL import Image

    try:
        require_regular(path)
        with Image.open(path) as image:
            return image.convert("RGB")
    except Exception:  # Pillow has many for what is damaged, and the curves are worth more
        return None
