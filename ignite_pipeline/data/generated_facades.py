"""Drawn façades: a map of labelled parts, and the same parts rendered like a photo."""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from ignite_pipeline.data.images import allocate, progress

LABELS = {
    "sky": (0, 0, 85),
    "wall": (0, 0, 255),
    "window": (0, 170, 255),
    "door": (170, 255, 85),
    "sill": (255, 85, 0),
}


def draw_facades(count: int, *, seed: int, side: int = 256) -> tuple[Tensor, Tensor]:
    """Draw ``count`` pairs, photo and labels, each uint8 ``(N, 3, side, side)``.

    Pair *i* depends on ``(seed, i)`` alone; at another side it is the same façade.

    >>> photos, labels = draw_facades(2, seed=0, side=64)
    >>> photos.shape, labels.shape
    (torch.Size([2, 3, 64, 64]), torch.Size([2, 3, 64, 64]))
    """
    photos, labels = (allocate((count, 3, side, side)) for _ in range(2))
    for index in progress(range(count), total=count, description="drawing façades"):
        pair = _draw(np.random.default_rng((seed, index)), side)
        for images, image in zip((photos, labels), pair, strict=True):
            images[index] = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return photos, labels


def _draw(rng: np.random.Generator, side: int) -> tuple[Image.Image, Image.Image]:
    wall = rng.uniform((120, 80, 50), (235, 200, 170))
    paint = {
        "sky": rng.uniform((150, 180, 210), (200, 225, 255)),
        "wall": wall,
        "window": rng.uniform((20, 30, 45), (80, 95, 115)),
        "door": rng.uniform((50, 25, 10), (120, 80, 50)),
        "sill": np.clip(wall + 45, 0, 255),
    }
    photo, labels = (Image.new("RGB", (side, side)) for _ in range(2))
    for name, (left, top, right, bottom) in _parts(rng):
        box = [round(edge * (side - 1)) for edge in (left, top, right, bottom)]
        ImageDraw.Draw(labels).rectangle(box, fill=LABELS[name])
        draw = ImageDraw.Draw(photo)
        draw.rectangle(box, fill=_colour(paint[name]))
        if name == "wall":
            _draw_bricks(draw, box, wall, side)
        elif name == "window":
            _draw_panes(draw, box, paint["sill"])
    light = np.linspace(rng.uniform(0.8, 1.0), rng.uniform(1.0, 1.2), side)[:, None, None]
    pixels = np.asarray(photo.filter(ImageFilter.GaussianBlur(side / 400)), np.float32) * light
    pixels += rng.normal(0, 4, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), labels


def _parts(rng: np.random.Generator) -> list[tuple[str, tuple[float, float, float, float]]]:
    """Return name and box (left, top, right, bottom in [0, 1]) of every part, those in front last."""
    roof, left, right = rng.uniform(0.03, 0.2), rng.uniform(0, 0.08), rng.uniform(0.92, 1)
    floors, columns = int(rng.integers(3, 6)), int(rng.integers(3, 6))
    height, width = (1 - roof) / floors, (right - left) / columns
    tall, wide = rng.uniform(0.45, 0.7), rng.uniform(0.4, 0.65)
    door = int(rng.integers(columns))
    parts = [("sky", (0.0, 0.0, 1.0, 1.0)), ("wall", (left, roof, right, 1.0))]
    for floor in range(floors):
        for column in range(columns):
            x, y = left + (column + (1 - wide) / 2) * width, roof + (floor + (1 - tall) / 2) * height
            if floor == floors - 1 and column == door:
                parts.append(("door", (x, y, x + wide * width, 1.0)))
                continue
            parts.append(("window", (x, y, x + wide * width, y + tall * height)))
            bottom = y + tall * height
            parts.append(("sill", (x - 0.01, bottom, x + wide * width + 0.01, bottom + 0.018)))
    return parts


def _draw_bricks(draw: ImageDraw.ImageDraw, box: list[int], wall: np.ndarray, side: int) -> None:
    left, top, right, bottom = box
    for y in range(top, bottom, max(side // 32, 3)):
        draw.line((left, y, right, y), fill=_colour(wall * 0.88))


def _draw_panes(draw: ImageDraw.ImageDraw, box: list[int], frame: np.ndarray) -> None:
    left, top, right, bottom = box
    draw.rectangle(box, outline=_colour(frame))
    draw.line(((left + right) // 2, top, (left + right) // 2, bottom), fill=_colour(frame))
    draw.line((left, (2 * top + bottom) // 3, right, (2 * top + bottom) // 3), fill=_colour(frame))


def _colour(rgb: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = np.clip(rgb, 0, 255).astype(int).tolist()
    return red, green, blue
