"""Image files: which a folder holds, and each read as RGB, the way up that a viewer shows it."""

import os
import stat
from contextlib import suppress
from operator import attrgetter
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from ignite_pipeline.command_line import say
from ignite_pipeline.data.known_files import IMAGE_SUFFIXES
from ignite_pipeline.errors import BadInput

# What in a JPEG may tell which way is up; to look costs a tenth of the time for a small one.
_ORIENTING = {"exif", "xmp"}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder, in the order of names; raise `BadInput` if it cannot be read."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=attrgetter("name"))
    except OSError as error:
        raise _no_folder(folder, error) from error


def subfolders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, but hidden ones, in order; raise as `entries` does."""
    try:
        return [entry.name for entry in entries(folder) if not entry.name.startswith(".") and entry.is_dir()]
    except OSError as error:
        raise _no_folder(folder, error) from error


def _no_folder(folder: Path, error: OSError) -> BadInput:
    if isinstance(error, FileNotFoundError):
        return BadInput(f"{folder}: no such folder; give one that holds images")
    return BadInput(f"{folder}: cannot be read as a folder ({error.strerror})")


def image_files(folder: Path) -> list[Path]:
    """Return the images of a folder in the order of their names; raise `BadInput` if there is none.

    What is called like one and is no file, such as a FIFO, is said and left out; what is hidden is no image.
    """
    files = []
    for entry in entries(folder):
        if not entry.name.startswith(".") and os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
            if os.path.isfile(entry) or not os.path.exists(entry):
                files.append(folder / entry.name)
            else:
                say(f"{entry.path}: not a regular file, left out")
    if not files:
        raise BadInput(f"{folder}: holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return files


class UnreadableImage(BadInput):
    """An image file is damaged, or not such as it must be; the message names it."""


def read_image(path: str | Path, *, least_side: int | None = None) -> Image.Image:
    """Return a file's image as RGB, the way up that a viewer shows it.

    What is transparent is laid on white, and 16 bits of grey become 8. A JPEG is decoded at a half, a quarter
    or an eighth of its size, which takes less time, if both sides keep ``least_side`` pixels.
    `UnreadableImage` is raised with the path for a file that cannot be read to its end, and for pixels of a
    range that nobody knows: floats, and integers of 32 bits.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # to open it might wait for ever
            raise ValueError("not a regular file")
        with Image.open(path) as image:
            if least_side is not None and min(image.size) >= 2 * least_side:
                image.draft(None, (least_side, least_side))
            rgb = _as_rgb(image)
            may_be_turned = image.format != "JPEG" or not _ORIENTING.isdisjoint(image.info)
            return _upright(rgb, image) if may_be_turned else rgb
    except Exception as error:  # Pillow's decoders raise whatever they stumble over
        raise UnreadableImage(f"{path}: not a readable image ({error}); replace or remove it") from error


def _upright(rgb: Image.Image, image: Image.Image) -> Image.Image:
    """Turn what has been read of an image as its EXIF data say; those that make no sense turn nothing."""
    turn = None
    with suppress(Exception):  # Pillow's parser raises whatever it stumbles over
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return rgb if turn is None else rgb.transpose(turn)


def read_square(path: str | Path, side: int) -> Image.Image:
    """Return the middle of a file's image, scaled to ``side`` by ``side`` pixels; see `read_image`."""
    return middle_square(read_image(path, least_side=2 * side), side)


def middle_square(image: Image.Image, side: int) -> Image.Image:
    """Return the middle of an image, scaled to ``side`` by ``side`` pixels."""
    return (
        image if image.size == (side, side) else ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
    )


def _as_rgb(image: Image.Image) -> Image.Image:
    image.load()  # before its file is closed
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F" or image.mode.startswith("I"):
        pixels = np.asarray(image)
        # 16 bits are mode I in a PGM and, where Pillow is old, in a PNG.
        if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
            raise ValueError(f"its pixels are {pixels.dtype} of an unknown range, save it with 8 or 16 bits")
        return Image.fromarray(((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
