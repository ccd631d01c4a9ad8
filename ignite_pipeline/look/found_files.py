"""Which images a folder holds, their splits and classes, and which files nobody would read."""

import errno
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ignite_pipeline.data.image_files import subfolders
from ignite_pipeline.data.known_files import IMAGE_SUFFIXES
from ignite_pipeline.data.labelled_files import (
    VALIDATION_NAMES,
    LabelledFiles,
    holds_output,
    require_no_splits,
)
from ignite_pipeline.data.targets_csv import read_targets
from ignite_pipeline.errors import BadInput

# What holds an image and is passed over by image_folder and paired_images.
OTHER_IMAGES = (".gif", ".heic", ".heif", ".avif", ".jfif", ".jp2", ".jxl", ".tga", ".dng", ".psd", ".svg")
_SPLIT_NAMES = ("train", *VALIDATION_NAMES)
_SIDE_OF_PAIRS = re.compile(f"({'|'.join(_SPLIT_NAMES)})([AB])")


@dataclass(frozen=True)
class FoundFiles:
    """Images by their ``names`` under ``root``, with the split and the label of each ("" for none).

    ``classes`` has those without an image, too; it is empty where labels are "numbers". ``skipped`` counts
    files by the reason why nobody reads them.
    """

    root: Path
    names: Sequence[str]
    splits: Sequence[str]
    labels: Sequence[str]
    classes: tuple[str, ...] = ()
    kind: str = "classes"
    skipped: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.names)

    def classes_of(self, index: int) -> tuple[str, ...]:
        """Return the classes that the label of a file names: one, several, or none."""
        label = self.labels[index]
        if self.kind == "labels":
            return tuple(label.split("|")) if label else ()
        return (label,) if self.classes and label else ()


def find_files(root: str | Path, *, targets: str | Path | None = None, kind: str = "auto") -> FoundFiles:
    """Return the images of ``root``, whichever way they are arranged.

    ``train/`` beside ``val/``, ``test/`` and their like are splits, and so are ``trainA/``, ``trainB/`` and
    theirs; else all is one. The folders of a split are its classes, unless all its images lie directly in it.
    A table of ``targets`` is read by `read_targets`, with its ``kind``, instead. Folders that hold
    what a run or this tool has written are passed over.

    Raises `BadInput` for what is no folder, for a table that cannot be used, and where there is no image.
    """
    root = Path(root)
    there = set(subfolders(root))
    skipped: Counter[str] = Counter()
    if targets is not None:
        return _in_table(root, targets, kind)
    found: list[tuple[str, str, str]] = []
    classes: set[str] = set()
    for folder, split, side in _parts_of(root, there):
        below = list(_images_below(root / folder, "", skipped))
        grouped = any("/" in name for name in below)
        if folder or side or grouped:
            classes |= {name for name in subfolders(root / folder) if not holds_output(root / folder / name)}
        for name in below:
            label = side or (name.split("/")[0] if "/" in name else "")
            if grouped and not label:
                skipped["images beside the folders of classes"] += 1
            else:
                found.append((f"{folder}/{name}" if folder else name, split, label))
    if not found:
        passed_over = [reason for reason in skipped if reason.startswith("folders")]
        but = f", but {'; '.join(passed_over)}" if passed_over else ""
        raise BadInput(f"{root}: holds no image ({', '.join(IMAGE_SUFFIXES)}){but}")
    if "train" in there:
        for other in sorted(there - set(_SPLIT_NAMES)):
            count = sum(1 for _ in _images_below(root / other, "", Counter()))
            if count:
                skipped[f"images in {other}/, which is no split"] += count
    found.sort()
    names, splits, labels = (list(column) for column in zip(*found, strict=True))
    if not any(labels):
        classes = set()
    in_order = tuple(sorted(classes | set(labels) - {""}))
    return FoundFiles(root, names, splits, labels, in_order, skipped=skipped)


def _parts_of(root: Path, there: set[str]) -> list[tuple[str, str, str]]:
    """Return the folders to look into, with the split and the side (A or B) that each of them is."""
    if "train" in there:
        return [(name, name, "") for name in _SPLIT_NAMES if name in there]
    if "trainA" in there:
        matches = [match for name in sorted(there) if (match := _SIDE_OF_PAIRS.fullmatch(name))]
        return [(match[0], match[1], match[2]) for match in matches]
    require_no_splits(root)
    return [("", "", "")]


def _in_table(root: Path, table: str | Path, kind: str) -> FoundFiles:
    files, val, test = read_targets(table, root, kind=kind)
    rows = [
        (name, split, label)
        for split, of_split in (("" if val is None else "train", files), ("val", val), ("test", test))
        if of_split is not None
        for name, label in zip(of_split.names, _labels(of_split), strict=True)
    ]
    skipped: Counter[str] = Counter()
    listed = {os.path.normpath(name) for name, _, _ in rows}
    unlisted = sum(name not in listed for name in _images_below(root, "", skipped))
    if unlisted:
        skipped["images that the table does not name"] = unlisted
    names, splits, labels = (list(column) for column in zip(*sorted(rows), strict=True))
    classes = () if files.kind == "numbers" else files.classes
    return FoundFiles(root, names, splits, labels, classes, files.kind, skipped)


def _labels(files: LabelledFiles) -> list[str]:
    targets = files.targets.tolist()
    if files.kind == "classes":
        return [files.classes[target] for target in targets]
    if files.kind == "labels":
        return [
            "|".join(name for name, there in zip(files.classes, row, strict=True) if there) for row in targets
        ]
    return [", ".join(f"{value:g}" for value in row) for row in targets]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise BadInput(f"{entry.path}: cannot be read ({error.strerror})") from error


def _images_below(
    folder: Path, prefix: str, skipped: Counter[str], above: tuple[Path, ...] = ()
) -> Iterator[str]:
    """Yield the names of images at any depth; count the others. A link to a folder above is not followed."""
    here = folder.resolve()
    if here in above:
        return
    if prefix and holds_output(folder):
        skipped["folders that a run or look has written"] += 1
        return
    try:
        inside = list(os.scandir(folder))
    except OSError as error:
        skipped[f"folders that cannot be read ({error.strerror})"] += 1
        return
    for entry in inside:
        name = f"{prefix}{entry.name}"
        suffix = os.path.splitext(entry.name)[1].lower()
        if entry.name.startswith("."):
            skipped["hidden"] += 1
        elif _is_folder(entry):
            yield from _images_below(folder / entry.name, f"{name}/", skipped, (*above, here))
        elif suffix in IMAGE_SUFFIXES:
            yield name
        else:
            skipped[suffix or "no suffix"] += 1
