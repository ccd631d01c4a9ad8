"""Drawn stand-ins for real data, so that every command runs with no data and no network."""

import numpy as np
import torch
from PIL import Image, ImageDraw

from ignite_pipeline.data.images import ImageTensors, progress

# Outlines in a frame where the body lies along x from -1 to 1. Straight, swept and thin ...
_AIRPLANE = [
    np.array([(-1, 0.1), (0.8, 0.13), (1, 0), (0.8, -0.13), (-1, -0.1)]),
    np.array([(0.3, 0), (-0.25, 0.9), (-0.5, 0.9), (-0.2, 0), (-0.5, -0.9), (-0.25, -0.9)]),
    np.array([(-0.75, 0), (-0.95, 0.35), (-1.1, 0.35), (-1, 0), (-1.1, -0.35), (-0.95, -0.35)]),
]
# ... against round and plump: ellipses become polygons, the wings are bent.
_ROUND = np.linspace(0, 2 * np.pi, 14, endpoint=False)
_BIRD = [
    np.stack([0.6 * np.cos(_ROUND), 0.25 * np.sin(_ROUND)], 1),
    np.stack([0.65 + 0.2 * np.cos(_ROUND), 0.18 * np.sin(_ROUND)], 1),
    np.array([(0.8, 0.07), (1.05, 0), (0.8, -0.07)]),
    np.array([(0.3, 0), (0.25, 0.5), (-0.1, 0.95), (-0.15, 0.55), (-0.35, 0.35), (-0.3, 0)]),
    np.array([(0.3, 0), (0.25, -0.5), (-0.1, -0.95), (-0.15, -0.55), (-0.35, -0.35), (-0.3, 0)]),
    np.array([(-0.5, 0), (-1, 0.25), (-0.95, 0), (-1, -0.25)]),
]


def draw_airplanes_and_birds(count: int, *, seed: int, side: int = 32) -> ImageTensors:
    """Draw ``count`` images ``(3, side, side)``, half airplanes (target 0), half birds (target 1).

    Image *i* depends on ``(seed, i)`` alone. Pose, size, colours, clutter, blur and noise vary so much
    that a small net errs on several in a hundred.

    >>> x, y = draw_airplanes_and_birds(4, seed=0).__getitems__([0, 3])
    >>> x.shape, y.tolist()
    (torch.Size([2, 3, 32, 32]), [0, 1])
    """
    images = np.empty((count, side, side, 3), np.uint8)
    for index in progress(range(count), total=count, description="drawing images"):
        images[index] = _draw(np.random.default_rng((seed, index)), side, bird=bool(index % 2))
    return ImageTensors(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.arange(count) % 2)


def _draw(rng: np.random.Generator, side: int, *, bird: bool) -> np.ndarray:
    size = 2 * side
    # Airplanes fly in blue more often than birds do: a little can be told from colours alone.
    blue = rng.random() < (0.3 if bird else 0.7)
    sky = rng.uniform((60, 110, 150), (160, 190, 240)) if blue else rng.uniform(60, 200, 3)
    image = Image.new("RGB", (size, size), _colour(sky))
    draw = ImageDraw.Draw(image)
    horizon = rng.uniform(0.4, 1.3) * size
    draw.rectangle((0, horizon, size, 2 * size), fill=_colour(sky + rng.normal(0, 35, 3)))
    for _ in range(rng.integers(2, 7)):
        _draw_clutter(draw, rng, sky, size)
    paint = sky + rng.choice([-1, 1]) * rng.uniform(35, 110) + rng.normal(0, 18, 3)
    angle, scale = rng.normal(0, 0.5) + rng.choice([0, np.pi]), size * rng.uniform(0.3, 0.5)
    squeeze = rng.uniform(0.6, 1, 2)
    centre = rng.uniform(0.35, 0.65, 2) * size
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * scale
    for part in _BIRD if bird else _AIRPLANE:
        points = (part + rng.normal(0, 0.05, part.shape)) * squeeze @ turn + centre
        draw.polygon([tuple(point) for point in points.tolist()], fill=_colour(paint + rng.normal(0, 12, 3)))
    if rng.random() < 0.5:
        _draw_clutter(draw, rng, sky, size)
    noise = rng.uniform(3, 14) * rng.standard_normal((side, side, 3), np.float32)
    pixels: np.ndarray = (np.asarray(image.reduce(2)) + noise).clip(0, 255).astype(np.uint8)
    return pixels


def _draw_clutter(draw: ImageDraw.ImageDraw, rng: np.random.Generator, sky: np.ndarray, size: int) -> None:
    fill = _colour(sky + rng.normal(0, 40, 3))
    (x, y), (width, height) = rng.uniform(-0.1, 1.1, 2) * size, rng.uniform(0.05, 0.4, 2) * size
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    kind = rng.integers(3)
    if kind == 0:
        draw.ellipse(box, fill=fill)
    elif kind == 1:
        draw.rectangle(box, fill=fill)
    else:
        draw.line(box, fill=fill, width=int(rng.integers(1, 5)))


def _colour(rgb: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = (int(min(max(value, 0.0), 255.0)) for value in rgb.tolist())
    return red, green, blue
