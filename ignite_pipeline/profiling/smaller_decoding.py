"""What it would give to decode JPEG files at a fraction of their size, where they are scaled down anyway."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ignite_pipeline.seeding import seeded

_WORTHWHILE = 1.05
_WHOLE_RANGE = 0.85 * 255


@dataclass(frozen=True)
class SmallerDecoding:
    """The size in pixels to ask for, the speed-up of whole samples, and how far their values move.

    ``difference`` is the mean absolute difference as a share of the values' range.
    """

    size: tuple[int, int]
    speedup: float
    difference: float


@contextmanager
def drafting(size: tuple[int, int]) -> Iterator[None]:
    """Let ``PIL.Image.open`` decode JPEG files at 1/2, 1/4 or 1/8 of their size, but not below ``size``.

    That is what ``Image.draft`` does; images of other formats are opened as ever.
    """
    open_image = Image.open

    def open_small(*args: Any, **kwargs: Any) -> Image.Image:
        image = open_image(*args, **kwargs)
        image.draft(None, size)
        return image

    Image.open = open_small  # type: ignore[assignment]  # whatever it is given goes to the one that was there
    try:
        yield
    finally:
        Image.open = open_image


def size_wanted(transforms: Sequence[Callable[[Any], Any]], image: Any) -> tuple[int, int] | None:
    """Return the first size that the transforms scale an image to, if it is at most half its own.

    A cut is told from a scale by a picture that goes from black to white from edge to edge.

    >>> size_wanted([lambda image: image.resize((30, 20))], Image.new("RGB", (64, 64)))
    (30, 20)
    >>> size_wanted([lambda image: image.crop((0, 0, 30, 20))], Image.new("RGB", (64, 64)))
    """
    if not isinstance(image, Image.Image):
        return None
    down = Image.linear_gradient("L")
    across = down.transpose(Image.Transpose.ROTATE_90)
    probe: Any = Image.merge("RGB", (down, across, down)).resize(image.size)
    with seeded(0):
        for transform in transforms:
            probe = transform(probe)
            if not isinstance(probe, Image.Image) or probe.mode != "RGB":
                return None
            extrema: Any = probe.getextrema()
            if any(high - low < _WHOLE_RANGE for low, high in extrema):
                return None
            if max(probe.width / image.width, probe.height / image.height) <= 0.5:
                return probe.size
    return None


def try_smaller_decoding(
    dataset: Any,
    size: tuple[int, int],
    *,
    rounds: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> SmallerDecoding | None:
    """Time 16 samples as they are and decoded smaller, in turn, ``rounds`` times; return what that gives.

    None is returned unless it wins every time, and 5 % in the median; and where the values are the same,
    since nothing was then decoded smaller.
    """
    indices = range(min(16, len(dataset)))

    def samples() -> tuple[float, list[np.ndarray]]:
        start = clock()
        values = []
        for index in indices:
            with seeded(index):
                values.append(_first_array(dataset[index]))
        return clock() - start, values

    speedups = []
    for _ in range(rounds):
        before_s, before = samples()
        with drafting(size):
            after_s, after = samples()
        speedups.append(before_s / after_s)
    speedup = float(np.median(speedups))
    wins = speedup >= _WORTHWHILE and min(speedups) > 1
    if not wins or any(a.shape != b.shape for a, b in zip(before, after, strict=True)):
        return None
    a, b = (np.stack(values).astype(np.float64) for values in (before, after))
    if np.array_equal(a, b):
        return None
    return SmallerDecoding(size, speedup, float(np.abs(a - b).mean() / (np.ptp(a) or 1.0)))


def _first_array(sample: Any) -> np.ndarray:
    return np.asarray(sample[0] if isinstance(sample, tuple | list) else sample)
