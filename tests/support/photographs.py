"""Photographs of all sizes and modes, as people have them, made from pictures of 32x32 pixels."""

import random
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from ignite_pipeline.data.generated import draw_airplanes_and_birds

# How a picture is written, by the ending of its file.
Writer = Callable[[Image.Image, Path], None]


def _rotated(image: Image.Image, path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # turn it clockwise to look at it
    image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)


def _transparent(image: Image.Image, path: Path) -> None:
    image = image.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(path)


def _sixteen_bits(image: Image.Image, path: Path) -> None:
    grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(path)


WRITERS: list[tuple[str, Writer]] = [
    (".jpg", lambda image, path: image.save(path, quality=90)),
    (".jpg", _rotated),
    (".jpg", lambda image, path: image.convert("CMYK").save(path)),
    (".jpeg", lambda image, path: image.convert("L").save(path)),
    (".png", lambda image, path: image.save(path)),
    (".png", _transparent),
    (".png", lambda image, path: image.convert("P", palette=Image.Palette.ADAPTIVE).save(path)),
    (".png", _sixteen_bits),
    (".tif", _sixteen_bits),
    (".webp", lambda image, path: image.save(path)),
    (".bmp", lambda image, path: image.save(path)),
]


def write_photographs(root: Path, counts: dict[str, int], pictures: Path | None, *, seed: int = 0) -> Path:
    """Write so many photographs to each folder of ``root``, of 20 to 400 pixels a side.

    They are scaled from the JPEGs in folders of the same names under ``pictures``, or from drawn ones.
    """
    draw = random.Random(seed)
    for name, count in counts.items():
        folder = root / name
        folder.mkdir(parents=True)
        for number, image in enumerate(islice(_images(name, pictures), count)):
            suffix, write = WRITERS[number % len(WRITERS)]
            size = draw.randint(20, 400), draw.randint(20, 400)
            write(image.resize(size, Image.Resampling.BICUBIC), folder / f"{number:04d}{suffix}")
    return root


def _images(name: str, pictures: Path | None) -> Iterator[Image.Image]:
    if pictures is not None:
        yield from map(Image.open, sorted((pictures / name).glob("*.jpg")))
    drawn = draw_airplanes_and_birds(400, seed=sum(name.encode()))
    for image in drawn.images[drawn.targets == name.endswith("bird")]:
        yield Image.fromarray(image.permute(1, 2, 0).numpy())
