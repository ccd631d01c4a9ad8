"""The image files that a command line names."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from ignite_pipeline.data.known_files import IMAGE_SUFFIXES
from ignite_pipeline.errors import BadInput


def find_images(names: Sequence[str]) -> list[Path]:
    """Return the images that files, folders and patterns such as ``'photos/**/*.jpg'`` name, each once.

    They come in the order of ``names``, those of a folder, with all below it, in the order of their paths.
    `BadInput` is raised for a name that leads to no image.
    """
    found: dict[Path, None] = {}
    for name in names:
        paths = _below(Path(name)) if os.path.isdir(name) else [Path(name)]
        if not os.path.lexists(name):
            paths = sorted(map(Path, glob.glob(name, recursive=True)))
            paths = [path for path in paths if not path.is_dir()]
        if not paths:
            what = "holds no image" if os.path.isdir(name) else "no such file, and no pattern of files"
            raise BadInput(f"{name}: {what} ({', '.join(IMAGE_SUFFIXES)})")
        found.update(dict.fromkeys(paths))
    return list(found)


def _below(folder: Path) -> list[Path]:
    paths = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return sorted(path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
