"""The facts about each image file, gathered in one pass over all of them."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from ignite_pipeline.data.image_files import UnreadableImage, read_image
from ignite_pipeline.data.images import progress
from ignite_pipeline.look.found_files import FoundFiles
from ignite_pipeline.machine import available_cores

THUMBNAIL_SIDE = 32
_CHUNK, _WORTH_THREADS, _ORIENTATION = 64, 96 * 96, 274
_FORMATS_BY_SUFFIX = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".webp": "WEBP"}


class Facts(NamedTuple):
    """What one file is: its size in pixels is that of the image as it is shown, upright.

    The fingerprint is the same for the same pixels, and rarely for others. The thumbnail is 32 rows of 32
    grey bytes.
    """

    format: str
    mode: str
    width: int
    height: int
    turned: bool
    transparent: bool
    frames: bool
    misnamed: bool
    fingerprint: bytes
    thumbnail: bytes


@dataclass(frozen=True)
class Survey:
    """The `Facts` of files that can be read, by their place, why the others cannot, and the channels.

    ``thumbnails`` are ``(N, 32, 32)`` uint8, zero for files that cannot be read; ``mean`` and ``deviation``
    those of red, green and blue over all pixels, in [0, 1].
    """

    files: FoundFiles
    facts: dict[int, Facts]
    unreadable: dict[int, str]
    thumbnails: np.ndarray
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def name(self, index: int) -> str:
        """Return the name of a file under the root."""
        return self.files.names[index]

    def size(self, index: int) -> tuple[int, int]:
        """Return width and height, in pixels."""
        return self.facts[index].width, self.facts[index].height


def survey(files: FoundFiles, *, workers: int | None = None) -> Survey:
    """Decode each image once and keep its `Facts`; with a progress bar, and ``workers`` threads.

    By default they are as many as there are cores, and one for small images: their decoders hold the
    interpreter most of the time.
    """
    facts: dict[int, Facts] = {}
    unreadable: dict[int, str] = {}
    thumbnails = np.zeros((len(files), THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8)
    levels = np.zeros(768, np.int64)
    starts = range(0, len(files), _CHUNK)

    def of_chunk(start: int) -> tuple[list[Facts | str], np.ndarray]:
        return read_facts([files.root / name for name in files.names[start : start + _CHUNK]])

    workers = workers or (available_cores() if _worth_threads(files) else 1)
    with (
        ThreadPoolExecutor(workers) as pool,
        progress(total=len(files), description="looking at images") as bar,
    ):
        for start, (found, of_levels) in zip(starts, pool.map(of_chunk, starts), strict=True):
            levels += of_levels
            for index, one in enumerate(found, start):
                if isinstance(one, str):
                    unreadable[index] = one
                else:
                    thumbnails[index] = np.frombuffer(one.thumbnail, np.uint8).reshape(thumbnails.shape[1:])
                    facts[index] = one._replace(thumbnail=b"")
            bar.update(len(found))
    return Survey(files, facts, unreadable, thumbnails, *_statistics(levels))


def read_facts(paths: Sequence[Path]) -> tuple[list[Facts | str], np.ndarray]:
    """Return what each file is, or why it cannot be read, and how often each level of each channel occurs."""
    found: list[Facts | str] = []
    levels = np.zeros(768, np.int64)
    for path in paths:
        try:
            facts, of_levels = _read(path)
        except UnreadableImage as error:
            found.append(_reason(path, error))
        else:
            found.append(facts)
            levels += of_levels
    return found, levels


def _read(path: Path) -> tuple[Facts, np.ndarray]:
    image = read_image(path)
    with Image.open(path) as header:
        # To ask for the EXIF data of a PNG that has none in front of its pixels would decode them.
        has_exif = header.format != "PNG" or "exif" in header.info
        turned = has_exif and header.getexif().get(_ORIENTATION, 1) in range(2, 9)
        transparent = "transparency" in header.info or header.mode in ("RGBA", "LA", "PA", "RGBa", "La")
        # A JPEG with a second one for depth or a preview is an MPO, and what anybody sees is the first.
        frames = header.format != "MPO" and getattr(header, "is_animated", False)
        kind, mode = header.format or "?", header.mode
    expected = _FORMATS_BY_SUFFIX.get(path.suffix.lower())
    misnamed = expected is not None and kind.replace("MPO", "JPEG") != expected
    levels = np.array(image.histogram())
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    thumbnail = image.convert("L").resize(side, Image.Resampling.BILINEAR, reducing_gap=2.0).tobytes()
    fingerprint = hashlib.blake2b(levels.tobytes() + thumbnail, digest_size=16).digest()
    facts = Facts(kind, mode, *image.size, turned, transparent, frames, misnamed, fingerprint, thumbnail)
    return facts, levels


def _reason(path: Path, error: UnreadableImage) -> str:
    """Return in a few words why a file cannot be read."""
    cause = error.__cause__
    try:
        empty = os.path.isfile(path) and os.stat(path).st_size == 0
    except OSError:
        empty = False
    if empty:
        return "0 bytes"
    if isinstance(cause, UnidentifiedImageError):
        return "not an image, whatever its name says"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause)


def _worth_threads(files: FoundFiles) -> bool:
    """Return whether the images are large, as far as the headers of a few tell."""
    pixels = []
    for name in files.names[:: max(1, len(files) // 16)]:
        if not os.path.isfile(files.root / name):  # to open a FIFO may take for ever
            continue
        try:
            with Image.open(files.root / name) as image:
                pixels.append(image.width * image.height)
        except Exception:  # it is found and named when it is read
            continue
    return bool(pixels) and float(np.median(pixels)) >= _WORTH_THREADS


def _statistics(levels: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the means and deviations of three channels, of how often each of their 256 levels occurs."""
    shares = levels.reshape(3, 256) / max(1, levels[:256].sum())
    values = np.arange(256) / 255
    mean = shares @ values
    deviation = np.sqrt(np.maximum(0, shares @ values**2 - mean**2))
    return tuple(mean.tolist()), tuple(deviation.tolist())
