"""Which images are the same: pixel for pixel, or copies that were scaled or compressed anew."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ignite_pipeline.data.image_files import UnreadableImage, read_image
from ignite_pipeline.data.images import progress
from ignite_pipeline.look.found_files import FoundFiles
from ignite_pipeline.look.hamming import near_pairs
from ignite_pipeline.look.survey import THUMBNAIL_SIDE, Survey
from ignite_pipeline.machine import available_cores


@dataclass(frozen=True)
class Agreement:
    """From which shortest side on to compare how many pixels a side, and which correlations to ask for.

    ``most_difference`` is a root mean square of grey levels.
    """

    from_side: int
    pixels: int
    least: float
    least_in_centre: float
    most_difference: float = 255.0


# The least that copies reach, at quality 50 to 95 or scaled to 30 % to 300 %: at 32 pixels 0.993 (facades,
# 500 images), at 16 pixels 0.980 and at 8 pixels, if scaled to half at least, 0.983 (cifar2, 1,375 images
# of 32 x 32). 8 x 8 pixels could agree by chance: then levels have to be near, too, and those of copies are.
AGREEMENTS = (Agreement(64, 32, 0.99, 0.95), Agreement(24, 16, 0.975, 0.9), Agreement(0, 8, 0.97, 0.9, 12.0))
LEAST_DETAIL = 3.0
_AT_ONCE = 4096


@dataclass(frozen=True)
class Group:
    """Places of files that show the same; whether they lie in several splits, and under several labels."""

    members: tuple[int, ...]
    leak: bool
    conflict: bool


@dataclass(frozen=True)
class NearImages:
    """Groups of nearly the same images, and how they were found.

    ``false_alarms`` counts the pairs that the hash took for the same and the thumbnails did not, ``plain``
    the images that have too little detail to be told apart: they were compared pixel for pixel only.
    """

    groups: list[Group]
    false_alarms: int
    plain: int


def exact_groups(survey: Survey) -> list[Group]:
    """Return the groups of images that have the same pixels, upright and as RGB.

    Only images with the same size, thumbnail and histogram are read again, for the SHA-256 of their pixels.
    """
    suspects: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    for index, one in survey.facts.items():
        suspects[one.width, one.height, one.fingerprint].append(index)
    again = [index for same in suspects.values() if len(same) > 1 for index in same]
    groups: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    with (
        ThreadPoolExecutor(available_cores()) as pool,
        progress(total=len(again), description="comparing equal ones") as bar,
    ):
        digests = pool.map(pixels_sha256, [survey.files.root / survey.name(index) for index in again])
        for index, digest in zip(again, digests, strict=True):
            if digest is not None:
                groups[survey.size(index), digest].append(index)
            bar.update()
    return _described((members for members in groups.values() if len(members) > 1), survey.files)


def pixels_sha256(path: Path) -> str | None:
    """Return the digest of an image's RGB bytes, upright; None if it can no longer be read."""
    try:
        return hashlib.sha256(read_image(path).tobytes()).hexdigest()
    except UnreadableImage:
        return None


def near_groups(survey: Survey, exact: Sequence[Group]) -> NearImages:
    """Return the groups of images that are the same but for compression, scale, or colours.

    Candidates are all pairs within 7 bits of `perceptual_hashes`; `correlations` of their thumbnails confirm
    them. A group holds whatever is confirmed to be like one of it, and all that is equal to these.
    """
    equal = {index: group.members for group in exact for index in group.members}
    shown = np.array([index for index in survey.facts if equal.get(index, (index,))[0] == index], int)
    detail = _detail(survey.thumbnails)[shown]
    plain = int((detail < LEAST_DETAIL).sum())
    shown = shown[detail >= LEAST_DETAIL]
    sides = np.array([min(survey.size(index)) for index in shown])
    together = _Together(len(shown))
    false_alarms = 0
    for i, j in near_pairs(perceptual_hashes(survey.thumbnails[shown]), together.group):
        for start in range(0, len(i), _AT_ONCE):
            a, b = together.apart(i[start : start + _AT_ONCE], j[start : start + _AT_ONCE])
            same = alike(
                survey.thumbnails[shown[a]], survey.thumbnails[shown[b]], np.minimum(sides[a], sides[b])
            )
            false_alarms += int((~same).sum())
            together.join(a[same], b[same])
    groups = (
        sorted(k for index in shown[members] for k in equal.get(int(index), (int(index),)))
        for members in together.groups()
    )
    return NearImages(_described(groups, survey.files), false_alarms, plain)


def perceptual_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """Return a 64-bit hash ``(N,)`` uint64 of each grey thumbnail ``(N, 32, 32)``.

    Each bit tells whether one of the 64 lowest frequencies of the cosine transform is positive: pHash
    (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, section 3.2.1), in
    the order of a JPEG's zigzag instead of a square. What is nearly nothing, such as all odd frequencies of a
    symmetric image, counts as not positive, or noise would decide about it.
    """
    side = THUMBNAIL_SIDE
    places = [(row, column) for row in range(11) for column in range(11) if row + column]
    rows, columns = zip(*sorted(places, key=lambda place: (sum(place), place))[:64], strict=True)
    angles = np.pi * np.arange(11)[:, None] * (2 * np.arange(side) + 1) / (2 * side)
    cosines = np.cos(angles).astype(np.float32)
    cosines[0] /= np.sqrt(2)
    hashes = np.empty(len(thumbnails), np.uint64)
    for start in range(0, len(thumbnails), _AT_ONCE):
        low = cosines @ thumbnails[start : start + _AT_ONCE].astype(np.float32) @ cosines.T
        low = low[:, rows, columns]
        bits = low > 0.02 * np.linalg.norm(low, axis=1, keepdims=True)
        packed = np.packbits(np.ascontiguousarray(bits), axis=1)
        hashes[start : start + _AT_ONCE] = packed.view(np.uint64)[:, 0]
    return hashes


def alike(a: np.ndarray, b: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Return which thumbnails ``(N, 32, 32)`` show the same; no image has a side below ``sides``.

    Compared at the detail that both have: see `AGREEMENTS`. The centres have to agree by themselves, as any
    two pictures between the same black bars are alike as a whole.
    """
    same = np.zeros(len(a), bool)
    left = np.ones(len(a), bool)
    for one in AGREEMENTS:
        chosen = left & (sides >= one.from_side)
        left &= ~chosen
        of_a, of_b = (_shrunk(x[chosen], one.pixels) for x in (a, b))
        same[chosen] = correlations(of_a, of_b) >= one.least
        same[chosen] &= _in_centre(of_a, of_b) >= one.least_in_centre
        same[chosen] &= np.sqrt(np.square(of_a - of_b).mean((1, 2))) <= one.most_difference
    return same


def correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return how far images ``(N, S, S)`` agree, in [-1, 1], whatever their brightness and contrast.

    An even gradient is taken off first: any two pictures of a sky would agree on that.
    """
    a, b = _without_gradient(a), _without_gradient(b)
    products = np.sqrt(np.square(a).sum((1, 2)) * np.square(b).sum((1, 2)))
    return np.asarray((a * b).sum((1, 2)) / np.maximum(products, 1e-6))


def _in_centre(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the correlations of the middle halves of the sides; 1 where neither has detail there."""
    edge = a.shape[1] // 4
    a, b = (x[:, edge:-edge, edge:-edge] for x in (a, b))
    plain = np.maximum(*(_without_gradient(x).std((1, 2)) for x in (a, b))) < LEAST_DETAIL
    return np.where(plain, 1.0, correlations(a, b))


def _shrunk(images: np.ndarray, side: int) -> np.ndarray:
    """Return images scaled to ``side`` pixels a side, as Pillow does with `BILINEAR`."""
    size = images.shape[1]
    factor = size / side
    distances = np.abs((np.arange(side)[:, None] + 0.5) * factor - np.arange(size) - 0.5)
    weights = np.maximum(0, 1 - distances / factor).astype(np.float32)
    weights /= weights.sum(1, keepdims=True)
    return np.asarray(weights @ images.astype(np.float32) @ weights.T)


def _without_gradient(images: np.ndarray) -> np.ndarray:
    ramp = np.linspace(-1, 1, images.shape[1], dtype=np.float32)
    ramp /= np.sqrt(np.square(ramp).sum() * len(ramp))
    across = (images * ramp).sum((1, 2), keepdims=True) * ramp
    down = (images * ramp[:, None]).sum((1, 2), keepdims=True) * ramp[:, None]
    return np.asarray(images - images.mean((1, 2), keepdims=True) - across - down)


def _detail(thumbnails: np.ndarray) -> np.ndarray:
    """Return how far each deviates from an even gradient, in levels of 255."""
    parts = [
        _without_gradient(_shrunk(thumbnails[start : start + _AT_ONCE], 16)).std((1, 2))
        for start in range(0, len(thumbnails), _AT_ONCE)
    ]
    return np.concatenate(parts)


def _described(groups: Iterable[Sequence[int]], files: FoundFiles) -> list[Group]:
    # An image in no folder of a class contradicts none; in a table of labels, to have none is a label, too.
    no_class = {""} if files.kind == "classes" else set()
    return [
        Group(
            tuple(sorted(members, key=lambda index: (files.splits[index] != "train", index))),
            leak=len({files.splits[index] for index in members}) > 1,
            conflict=len({files.labels[index] for index in members} - no_class) > 1,
        )
        for members in groups
    ]


class _Together:
    """Which of N things have been joined, directly or through others."""

    def __init__(self, count: int) -> None:
        self.group = np.arange(count)
        self.members: dict[int, list[int]] = {}

    def apart(self, i: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the pairs that are not together yet."""
        still = self.group[i] != self.group[j]
        return i[still], j[still]

    def join(self, i: np.ndarray, j: np.ndarray) -> None:
        """Put each pair, and what is with either, together; the smaller group moves."""
        for a, b in zip(self.group[i].tolist(), self.group[j].tolist(), strict=True):
            a, b = int(self.group[a]), int(self.group[b])
            if a == b:
                continue
            of_a, of_b = self.members.pop(a, [a]), self.members.pop(b, [b])
            if len(of_a) < len(of_b):
                a, of_a, of_b = b, of_b, of_a
            self.group[of_b] = a
            self.members[a] = of_a + of_b

    def groups(self) -> list[list[int]]:
        """Return the groups of two or more."""
        return sorted(sorted(members) for members in self.members.values())
