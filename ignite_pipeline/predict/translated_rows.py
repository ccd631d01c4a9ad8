"""What is said of each translated image: a line, a row of a table, or a JSON object."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ignite_pipeline.predict.rows import csv_line, in_tabs

COLUMNS = ("file", "output", "width", "height", "image_size")
DISTANCES = ("l1", "psnr", "ssim")


@dataclass(frozen=True)
class Translated:
    """An image, the file of its translation, and the sizes of both in pixels.

    ``distances`` say how near the translation is to the other half of a pair.
    """

    path: Path
    output: Path
    size: tuple[int, int]
    image_size: int
    distances: dict[str, float] | None = None

    @property
    def named(self) -> dict[str, object]:
        """All that is known, by the names of the columns."""
        values = (str(self.path), str(self.output), *self.size, self.image_size)
        return {**dict(zip(COLUMNS, values, strict=True)), **(self.distances or {})}


def as_line(translated: Translated) -> str:
    """Return both files, with a tab between."""
    return in_tabs(translated.path, translated.output)


def as_json_line(translated: Translated) -> str:
    """Return a JSON object with all that is known.

    >>> as_json_line(Translated(Path("a.png"), Path("out/a.png"), (40, 30), 32))
    '{"file": "a.png", "output": "out/a.png", "width": 40, "height": 30, "image_size": 32}'
    """
    return json.dumps(translated.named)


def as_csv_line(translated: Translated) -> str:
    """Return all that is known, in the order of the header."""
    return csv_line(translated.named.values())


def csv_header(*, measured: bool) -> str:
    """Return the names of the columns.

    >>> csv_header(measured=True)
    'file,output,width,height,image_size,l1,psnr,ssim'
    """
    return csv_line(COLUMNS + DISTANCES * measured)


FORMATS: dict[str, Callable[[Translated], str]] = {
    "text": as_line,
    "csv": as_csv_line,
    "json": as_json_line,
}
