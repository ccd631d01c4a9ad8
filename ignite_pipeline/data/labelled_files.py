"""Which image files there are, and what each of them shows: from folders, or from a table."""

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import overload

import numpy as np
import torch
from torch import Tensor

from ignite_pipeline.command_line import say
from ignite_pipeline.data.image_files import subfolders
from ignite_pipeline.data.known_files import IMAGE_SUFFIXES
from ignite_pipeline.errors import BadInput

VALIDATION_NAMES = ("val", "valid", "validation", "test")
_WORDS_FOR_SPLITS = {"train", "training", "trainset", *VALIDATION_NAMES, "testing", "testset", "dev", "eval"}
_WRITTEN = ("look.json", "config.json", "checkpoints")
_SAMPLED_FILES = 256


class FileNames(Sequence[str]):
    """Names in one array: worker processes share it, where a list would be copied as they read it.

    >>> names = FileNames(["a.png", "b/c.png"])
    >>> len(names), names[1], list(names[1:])
    (2, 'b/c.png', ['b/c.png'])
    """

    def __init__(self, names: Iterable[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._characters = np.frombuffer(b"".join(encoded), np.uint8)
        self._ends = np.cumsum([0, *map(len, encoded)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[str]:
        characters, ends = self._characters.tobytes(), self._ends.tolist()
        for start, end in pairwise(ends):
            yield os.fsdecode(characters[start:end])

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> "FileNames": ...

    def __getitem__(self, index: int | slice) -> "str | FileNames":
        """Return one name, or those of a slice."""
        if isinstance(index, slice):
            return FileNames(self[place] for place in range(*index.indices(len(self))))
        place = range(len(self))[index]
        return os.fsdecode(self._characters[self._ends[place] : self._ends[place + 1]].tobytes())


@dataclass(frozen=True)
class LabelledFiles:
    """Image files by their names under ``root``, and the target of each.

    ``targets`` are ``(N,)`` int64, places among ``classes``, where ``kind`` is "classes"; ``(N, K)`` float32
    where it is "labels" (1 for each class that an image shows) or "numbers".
    """

    root: Path
    names: FileNames
    targets: Tensor
    classes: tuple[str, ...]
    kind: str = "classes"

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> str:
        """Return the path of one of the files."""
        return os.path.join(self.root, self.names[index])

    def chosen(self, places: Sequence[int]) -> "LabelledFiles":
        """Return those at ``places``."""
        names = FileNames(self.names[place] for place in places)
        return LabelledFiles(self.root, names, self.targets[torch.tensor(places)], self.classes, self.kind)

    def sha256(self, *, contents: str = "sampled") -> str:
        """Return the digest of names, sizes and targets, and of the ``contents`` of 256 files or of "all".

        Which 256 is decided by their names. A million files take seconds, all contents as long as to read
        them. Times take no part: a copy of the data is the same data.
        """
        hasher = hashlib.sha256(repr((self.kind, self.classes)).encode())
        hasher.update(self.targets.numpy().tobytes())
        numbers = np.empty(len(self), np.uint64)
        root = os.path.join(self.root, "")
        for place, name in enumerate(self.names):
            numbers[place] = _number_of(name)
            hasher.update(b"%s\0%d\0" % (os.fsencode(name), _size_of(root + name)))
        places = np.argsort(numbers, kind="stable")[: None if contents == "all" else _SAMPLED_FILES]
        for place in sorted(places.tolist()):
            try:
                hasher.update(Path(self.path(place)).read_bytes())
            except OSError as error:
                raise _unreadable(self.path(place), error) from error
        return hasher.hexdigest()


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> BadInput:
    return BadInput(f"{path}: cannot be read ({error.strerror})")


def find_split(root: Path) -> tuple[Path, Path] | None:
    """Return the folders of training and validation in ``root``; None where its folders are classes."""
    there = subfolders(root)
    if "train" not in there:
        require_no_splits(root)
        return None
    val = next((root / name for name in VALIDATION_NAMES if name in there), None)
    if val is None:
        raise BadInput(
            f"{root}: has train/, but neither val/ nor test/; add one, or give {root / 'train'} to split it"
        )
    return root / "train", val


def require_no_splits(root: Path) -> None:
    """Raise `BadInput` if the folders of ``root`` are called like splits, and would pass for classes."""
    names = subfolders(root)
    if len(names) > 1 and {name.casefold() for name in names} <= _WORDS_FOR_SPLITS:
        raise BadInput(f"{root}: {', '.join(names)} look like splits, not classes; call them train and val")


def class_folders(root: Path, classes: Sequence[str] | None = None) -> LabelledFiles:
    """Return the images in the folders of ``root``, each a class, at any depth in it.

    With ``classes``, the folders have to be among them. Hidden files are left out.

    Raises `BadInput` for less than two classes, for one without an image, and for one that holds a run.
    """
    found = subfolders(root)
    if classes is None:
        classes = found
        if len(classes) < 2:
            has = f"only {classes[0]}" if classes else "none"
            raise BadInput(f"{root}: needs a folder for each of two or more classes, has {has}")
    elif unknown := [name for name in found if name not in classes]:
        raise BadInput(f"{root / unknown[0]}: training has no such class, but {', '.join(classes)}")
    names: list[str] = []
    targets: list[int] = []
    for target, name in enumerate(classes):
        if name not in found:
            continue
        of_class = sorted(_images_below(root, name))
        if not of_class:
            raise BadInput(
                f"{root / name}: holds no image ({', '.join(IMAGE_SUFFIXES)}); add some, or remove it"
            )
        names += of_class
        targets += [target] * len(of_class)
    if not names:
        raise BadInput(f"{root}: holds no folder of a class, such as {classes[0]}/")
    return LabelledFiles(root, FileNames(names), torch.tensor(targets), tuple(classes))


def holds_output(folder: str | Path) -> bool:
    """Return whether a run, or what was seen of other images, has been written to a folder."""
    is_there = {name: os.path.exists(os.path.join(folder, name)) for name in _WRITTEN}
    return is_there["look.json"] or (is_there["config.json"] and is_there["checkpoints"])


def _images_below(root: Path, folder: str) -> Iterator[str]:
    if holds_output(root / folder):
        raise BadInput(f"{root / folder}: holds a run, or what look has written, and no class; move it away")
    try:
        with os.scandir(root / folder) as found:
            for entry in found:
                if entry.name.startswith("."):
                    continue
                name = f"{folder}/{entry.name}"
                if entry.is_dir():
                    yield from _images_below(root, name)
                elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                    if not entry.is_file() and os.path.exists(entry.path):  # to open a FIFO may take for ever
                        say(f"{entry.path}: not a regular file, left out")
                    else:
                        yield name
    except OSError as error:
        raise BadInput(f"{root / folder}: cannot be read as a folder ({error.strerror})") from error


def split_by_name(files: LabelledFiles, val_share: float) -> tuple[LabelledFiles, LabelledFiles]:
    """Return files for training, and about ``val_share`` of all for validation.

    A hash of its name decides about each file: it stays on its side when others are added or removed.

    >>> names = [f"photo_{number}.jpg" for number in range(1000)]
    >>> files = LabelledFiles(Path(), FileNames(names), torch.zeros(1000), ("a", "b"))
    >>> [len(part) for part in split_by_name(files, 0.2)]
    [781, 219]
    """
    if not 0 < val_share < 1:
        raise BadInput(f"val_share must be between 0 and 1, got {val_share}")
    limit = int(val_share * 2**64)
    sides: tuple[list[int], list[int]] = ([], [])
    for place, name in enumerate(files.names):
        sides[_number_of(name) < limit].append(place)
    for side, what in zip(sides, ("training", "validation"), strict=True):
        if not side:
            raise BadInput(f"{files.root}: of {len(files)} images, none is left for {what}; add some")
    train, val = (files.chosen(side) for side in sides)
    return train, val


def _number_of(name: str) -> int:
    """Return 64 bits that a name decides, however its accents are written."""
    content = os.fsencode(name if name.isascii() else unicodedata.normalize("NFC", name))
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


def missing_classes(files: LabelledFiles) -> list[str]:
    """Return the names of the classes that no file shows."""
    if files.kind == "numbers":
        return []
    if files.kind == "classes":
        counts = torch.bincount(files.targets, minlength=len(files.classes))
    else:
        counts = files.targets.sum(0)
    return [name for name, count in zip(files.classes, counts.tolist(), strict=True) if not count]
