"""The image files that a command line names, and their pixels."""

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from ignite_pipeline.command_line import say
from ignite_pipeline.data.images import UnreadableImage
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
            raise BadInput(f"{name}: {what} ({', '.join(IMG_EXTENSIONS)})")
        found.update(dict.fromkeys(paths))
    return list(found)


def _below(folder: Path) -> list[Path]:
    paths = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return sorted(path for path in paths if path.suffix.lower() in IMG_EXTENSIONS and path.is_file())


@dataclass(frozen=True)
class Batch:
    """Images ``(B, 3, S, S)`` uint8 of as many files; none where none of them could be read."""

    paths: list[Path]
    images: Tensor
    unreadable: int


def read_in_batches(
    paths: Sequence[Path], read: Callable[[Path], Tensor], *, batch_size: int
) -> Iterator[Batch]:
    """Read images ``(3, S, S)`` on all cores, while those before are worked on; yield batches of them.

    Images that cannot be read are said and left out.
    """

    def try_to_read(path: Path) -> Tensor | None:
        try:
            return read(path)
        except UnreadableImage as error:
            say(str(error))
            return None

    with ThreadPoolExecutor() as pool:
        chunks = [paths[start : start + batch_size] for start in range(0, len(paths), batch_size)]
        reading = [pool.map(try_to_read, chunk) for chunk in chunks[:1]]
        for number, chunk in enumerate(chunks):
            reading += [pool.map(try_to_read, later) for later in chunks[number + 1 : number + 2]]
            images = dict(zip(chunk, reading.pop(0), strict=True))
            readable = {path: image for path, image in images.items() if image is not None}
            stacked = torch.stack(list(readable.values())) if readable else torch.empty(0)
            yield Batch(list(readable), stacked, len(images) - len(readable))
