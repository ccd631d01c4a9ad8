"""Pairs of images, to learn to translate one into the other: side by side in a file, or in two folders."""

import hashlib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ignite_pipeline.data.generated_facades import draw_facades
from ignite_pipeline.data.image_files import UnreadableImage, image_files, read_image
from ignite_pipeline.data.images import ImageSplits, count_unreadable, stack_images
from ignite_pipeline.errors import BadInput

DIRECTIONS = ("AtoB", "BtoA")
GENERATED_COUNTS = {"train": 200, "val": 20}


class PairTensors(Dataset[Tensor]):
    """Pairs ``(N, 6, H, W)`` uint8: the three channels of the source, then those of the target."""

    deterministic = True

    def __init__(self, pairs: Tensor) -> None:
        if pairs.dtype != torch.uint8 or pairs.ndim != 4 or pairs.shape[1] % 2:
            raise TypeError(f"pairs must be uint8 (N, 2 * C, H, W), got {pairs.dtype} {tuple(pairs.shape)}")
        self.pairs = pairs.contiguous()

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Tensor:
        """Return one pair ``(6, H, W)``."""
        return self.pairs[index].clone()  # a transform may write into it

    def __getitems__(self, indices: Sequence[int]) -> Tensor:
        """Return pairs ``(B, 6, H, W)``, complete: nothing is left to collate."""
        return self.pairs.index_select(0, torch.tensor(indices))

    def sha256(self) -> str:
        """Return the digest of all pairs, to tell whether data has changed."""
        return hashlib.sha256(self.pairs.numpy().data).hexdigest()


def paired_images(
    root: str | Path | None = None,
    *,
    direction: str = "BtoA",
    image_size: int = 256,
    load_size: int | None = None,
    dataset: str = "auto",
    skip_bad: bool = False,
) -> ImageSplits:
    """Load pairs (A, B) and put the source of ``direction`` first.

    ``root`` holds either ``train/`` and ``val/`` (or ``test/``) with A and B side by side in each file, A on
    the left; or ``trainA/``, ``trainB/`` and ``valA/``, ``valB/`` (or ``testA/``, ``testB/``) with the same
    file names. Each image is decoded once: for training scaled to ``load_size`` squared, to cut windows from
    (286 where ``image_size`` is 256), for validation to ``image_size``. ``dataset`` is "paired", "generated"
    (drawn façades: A the photo, B the labels) or "auto", which draws only if there is no ``root``.

    Raises `BadInput` where files are missing, do not halve, do not match or cannot be read. With
    ``skip_bad``, pairs that cannot be read are left out, and the notice counts them.

    >>> data = paired_images(image_size=32)
    >>> data.train.pairs.shape, data.val.pairs.shape
    (torch.Size([200, 6, 36, 36]), torch.Size([20, 6, 32, 32]))
    """
    if direction not in DIRECTIONS:
        raise BadInput(f"direction must be AtoB or BtoA, got {direction!r}")
    load_size = load_size or round(image_size * 286 / 256)
    if load_size < image_size:
        raise BadInput(f"load_size must be at least image_size={image_size}, got {load_size}")
    sizes = {"train": load_size, "val": image_size}
    if dataset not in ("auto", "paired", "generated"):
        raise BadInput(f"dataset must be auto, paired or generated, got {dataset!r}")
    if dataset == "generated" or (dataset == "auto" and root is None):
        train, val = (
            draw_facades(GENERATED_COUNTS[split], seed=seed, side=sizes[split])
            for seed, split in enumerate(("train", "val"))
        )
        notice = "training on GENERATED drawings of façades, not on real images"
        return ImageSplits(
            "generated", None, _directed(*train, direction), _directed(*val, direction), notice
        )
    if root is None:
        raise BadInput("dataset='paired' needs a root: the folder that holds the pairs")
    train_items, val_items = _find_pairs(Path(root))
    unreadable: dict[_Files, str] | None = {} if skip_bad else None
    train_pairs, val_pairs = (
        stack_images(
            items,
            partial(_read_pair, size=sizes[split], direction=direction),
            description=f"decoding {split} pairs",
            unreadable=unreadable,
        )
        for split, items in (("train", train_items), ("val", val_items))
    )
    messages = tuple((unreadable or {}).values())
    pairs = PairTensors(train_pairs), PairTensors(val_pairs)
    return ImageSplits("paired", str(root), *pairs, count_unreadable(messages), unreadable=messages)


def validation_pairs(
    root: str | Path, *, direction: str, image_size: int
) -> tuple[PairTensors, tuple[str, ...]]:
    """Load the validation pairs that `paired_images` loads from ``root``, and no others.

    Those that cannot be read are left out, and a message is returned for each.
    """
    _, items = _find_pairs(Path(root))
    read = partial(_read_pair, size=image_size, direction=direction)
    unreadable: dict[_Files, str] = {}
    pairs = stack_images(items, read, description="decoding pairs", unreadable=unreadable)
    return PairTensors(pairs), tuple(unreadable.values())


def _directed(a: Tensor, b: Tensor, direction: str) -> PairTensors:
    return PairTensors(torch.cat([a, b] if direction == "AtoB" else [b, a], dim=1))


# The file of A and that of B; one and the same where they stand side by side.
_Files = tuple[Path, Path]


def _find_pairs(root: Path) -> tuple[list[_Files], list[_Files]]:
    if not os.path.isdir(root):
        raise BadInput(f"{root}: no such folder; give the one that holds train/ and val/")
    for name in ("val", "test"):
        if os.path.isdir(root / "train") and os.path.isdir(root / name):
            train, val = (image_files(root / split) for split in ("train", name))
            return [(path, path) for path in train], [(path, path) for path in val]
        if os.path.isdir(root / "trainA") and os.path.isdir(root / f"{name}A"):
            return _matched(root, "train"), _matched(root, name)
    raise BadInput(
        f"{root}: holds neither train/ and val/ (pairs side by side) nor trainA/, trainB/, valA/ and valB/"
    )


def _matched(root: Path, split: str) -> list[_Files]:
    a, b = (_by_stem(image_files(root / f"{split}{side}")) for side in "AB")
    if alone := sorted(a.keys() ^ b.keys()):
        where = a.get(alone[0]) or b[alone[0]]
        raise BadInput(f"{where}: no image of that name in the other folder ({len(alone)} such files)")
    return [(a[name], b[name]) for name in sorted(a)]


def _by_stem(files: Sequence[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files:
        if (other := found.setdefault(path.stem, path)) is not path:
            raise BadInput(f"{path}: has the name of {other.name}; a pair has one image in each folder")
    return found


def _read_pair(files: _Files, *, size: int, direction: str) -> np.ndarray:
    if files[0] == files[1]:
        a, b = split_pair(read_image(files[0]), files[0])
    else:
        a, b = read_image(files[0]), read_image(files[1])
        if a.size != b.size:
            raise UnreadableImage(
                f"{files[1]}: is {b.width}x{b.height}, but {files[0]} is {a.width}x{a.height}"
            )
    pair = [np.asarray(image.resize((size, size), Image.Resampling.BICUBIC)) for image in (a, b)]
    return np.concatenate(pair if direction == "AtoB" else pair[::-1], axis=2)


def split_pair(image: Image.Image, path: Path) -> tuple[Image.Image, Image.Image]:
    """Return the left and the right half; raise `UnreadableImage` if the width is odd."""
    half, rest = divmod(image.width, 2)
    if rest:
        raise UnreadableImage(f"{path}: its width of {image.width} does not halve into a pair")
    return image.crop((0, 0, half, image.height)), image.crop((half, 0, image.width, image.height))
