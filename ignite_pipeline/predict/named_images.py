"""The image files that a command line names."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ignite_pipeline.data.image_files import entries
from ignite_pipeline.data.known_files import IMAGE_SUFFIXES
from ignite_pipeline.errors import BadInput


def find_images(names: Sequence[str]) -> list[Path]:
    """Return the images that files, folders and patterns such as ``'photos/**/*.jpg'`` name, each once.

    They come in the order of ``names``, those of a folder, with all below it, in the order of their paths.
    What is called like an image is among them, whatever it is: whoever reads it says what is wrong with it.
    `BadInput` is raised for a name that leads to no image, and for a folder that cannot be read.
    """
    found: dict[Path, None] = {}
    for name in names:
        named = [Path(name)] if os.path.lexists(name) else _matching(name)
        paths = [
            image for path in named for image in (sorted(_below(path)) if os.path.isdir(path) else [path])
        ]
        if not paths:
            what = "holds no image" if named else "no such file, and no pattern of files"
            raise BadInput(f"{name}: {what} ({', '.join(IMAGE_SUFFIXES)})")
        found.update(dict.fromkeys(paths))
    return list(found)


def _matching(pattern: str) -> list[Path]:
    # A folder that is there means itself, even if its name looks like a pattern.
    folder = next((path for path in Path(pattern).parents if os.path.isdir(path)), Path())
    rest = Path(pattern).relative_to(folder)
    return sorted(map(Path, glob.glob(os.path.join(glob.escape(str(folder)), rest), recursive=True)))


def _below(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    here = os.path.realpath(folder)
    if here in above:  # a link to where we come from
        return
    for path in (folder / entry.name for entry in entries(folder)):
        if os.path.isdir(path):
            yield from _below(path, (*above, here))
        elif path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            yield path
