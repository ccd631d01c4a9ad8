"""The targets of image files from a table: classes, several labels for each, or numbers."""

import re
from pathlib import Path

import torch
from torch import Tensor

from ignite_pipeline.command_line import say
from ignite_pipeline.data.csv_table import SPLIT, Table, read_table
from ignite_pipeline.data.labelled_files import FileNames, LabelledFiles
from ignite_pipeline.errors import BadInput

KINDS = ("classes", "labels", "numbers")
_LARGEST = torch.finfo(torch.float32).max
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def read_targets(
    path: str | Path, root: str | Path, *, kind: str = "auto", classes: tuple[str, ...] | None = None
) -> tuple[LabelledFiles, LabelledFiles | None, LabelledFiles | None]:
    """Return the files that a CSV table names and, if it has a column ``split``, those of val and of test.

    The first are then those of train. Where no row says val, those of test stand in for it.

    See `read_table`. All columns but those of files and splits hold the target. ``kind`` is

    - ``"classes"``: one column with the name of a class;
    - ``"labels"``: several columns of 0 and 1, or one with names between ``|``, of which any may be there;
    - ``"numbers"``: one or more columns of numbers;
    - ``"auto"``: what the values look like, and whole numbers in one column for classes; it is said.

    With the ``classes`` of a model, targets are among these, whether the table has each of them or not.

    Raises `BadInput` with the file and the line of what cannot be used.
    """
    if kind not in ("auto", *KINDS):
        raise BadInput(f"kind must be auto, {', '.join(KINDS)}; got {kind!r}")
    table, root = read_table(path, root), Path(root)
    guessed = kind == "auto"
    kind = _kind_of(table) if guessed else kind
    if kind == "classes" and len(table.columns) > 1:
        raise BadInput(
            f"{path}: a class is one column, but there are {', '.join(table.columns)}; labels are 0 or 1"
        )
    for place, row in enumerate(table.rows):
        empty = [name for name in table.columns if row[name] == ""]
        if empty and not (kind == "labels" and len(table.columns) == 1):
            raise table.wrong(place, f"{row[table.file]} has no value in {', '.join(empty)}")
    targets, found = _TARGETS[kind](table)
    if classes is None:
        classes = found
        if kind != "numbers" and len(classes) < 2:
            raise BadInput(f"{path}: needs two or more {kind}, has {', '.join(classes) or 'none'}")
        if kind == "classes" and len(classes) == len(table.rows) > 2:
            raise BadInput(f"{path}: each of its {len(classes)} files has a class of its own")
    elif found != classes:
        may_lack = kind == "classes" or (kind == "labels" and len(table.columns) == 1)
        if set(found) - set(classes) or not (may_lack or len(found) == len(classes)):
            raise BadInput(f"{path}: has {', '.join(found)}, the model {', '.join(classes)}")
        targets = _among(classes, targets, found)
    if guessed:
        say(f"{path}: {', '.join(table.columns)} taken for {kind}")
    files = LabelledFiles(root, FileNames(table.column(table.file)), targets, classes, kind)
    return _split(table, files) if SPLIT in table.rows[0] else (files, None, None)


def _among(classes: tuple[str, ...], targets: Tensor, found: tuple[str, ...]) -> Tensor:
    """Return targets for some of ``classes``, in the order in which they were ``found``, for all of them."""
    indices = torch.tensor([classes.index(name) for name in found], dtype=torch.int64)
    if targets.ndim == 1:
        return indices[targets]
    return torch.zeros(len(targets), len(classes)).index_copy(1, indices, targets)


def _split(table: Table, files: LabelledFiles) -> tuple[LabelledFiles, LabelledFiles, LabelledFiles | None]:
    sides: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for place, word in enumerate(table.column(SPLIT)):
        side = _SPLITS.get(word.lower())
        if side is None:
            raise table.wrong(place, f"split must be train, val or test, got {word!r}")
        sides[side].append(place)
    test = sides.pop("test")
    if not sides["val"]:
        sides["val"], test = test, []
    if empty := [name for name, places in sides.items() if not places]:
        raise BadInput(f"{table.path}: its column split leaves no image for {empty[0]}")
    return files.chosen(sides["train"]), files.chosen(sides["val"]), files.chosen(test) if test else None


def _kind_of(table: Table) -> str:
    several = len(table.columns) > 1
    values = [row[name] for row in table.rows for name in table.columns]
    if not several and any("|" in value for value in values):
        return "labels"
    numbers = [_number(value) for value in values]
    flags = sum(number in (0, 1) for number in numbers)
    if several and (flags == len(values) or (flags > 0.9 * len(values) and None not in numbers)):
        return "labels"  # the few that are neither 0 nor 1 are named as they are read
    whole = [re.fullmatch(r"[+-]?\d+", value) is not None for value in values]
    if None not in numbers:
        return "classes" if all(whole) and not several else "numbers"
    for column, name in enumerate(table.columns):
        _require_numbers(
            table, name, numbers[column :: len(table.columns)], whole[column :: len(table.columns)]
        )
    return "classes"


def _require_numbers(table: Table, name: str, numbers: list[float | None], whole: list[bool]) -> None:
    """Raise `BadInput` if a column holds numbers, and a few that are none, which would make all classes."""
    alone = len(table.columns) == 1
    others = [place for place, number in enumerate(numbers) if number is None and not whole[place]]
    may_be_names = alone and len(others) + sum(whole) == len(numbers)  # 0 to 9 and a to f, say
    if 0 < len(others) <= len(numbers) / (10 if may_be_names else 2):
        place, otherwise = others[0], "; or say --kind classes" if alone else ""
        got = table.rows[place][name][:50]
        raise table.wrong(place, f"{name} must be a number, as in others, got {got!r}{otherwise}")


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    if "_" in text:  # a number in Python, a name in a table
        return None
    return number if abs(number) <= _LARGEST else None


def _classes(table: Table) -> tuple[Tensor, tuple[str, ...]]:
    values = table.column(table.columns[0])
    # Numbers in their order, without computing what may have thousands of digits.
    in_order = sorted(set(values), key=lambda name: (len(name) if name.isdecimal() else -1, name))
    place_of = {name: place for place, name in enumerate(in_order)}
    return torch.tensor([place_of[value] for value in values]), tuple(in_order)


def _labels(table: Table) -> tuple[Tensor, tuple[str, ...]]:
    columns = table.columns
    if len(columns) == 1:
        each = [{name.strip() for name in value.split("|")} - {""} for value in table.column(columns[0])]
        classes = sorted(set().union(*each))
        return torch.tensor([[float(name in names) for name in classes] for names in each]), tuple(classes)
    for place, row in enumerate(table.rows):
        if wrong := [name for name in columns if _number(row[name]) not in (0, 1)]:
            raise table.wrong(
                place, f"{wrong[0]} must be 0 or 1, got {row[wrong[0]]!r}; or say --kind numbers"
            )
    return torch.tensor([[float(row[name]) for name in columns] for row in table.rows]), tuple(columns)


def _numbers(table: Table) -> tuple[Tensor, tuple[str, ...]]:
    values = [[_number(row[name]) for name in table.columns] for row in table.rows]
    for place, of_row in enumerate(values):
        if None in of_row:
            column = table.columns[of_row.index(None)]
            raise table.wrong(place, f"{column} must be a number, got {table.rows[place][column]!r}")
    return torch.tensor(values, dtype=torch.float32), tuple(table.columns)


_TARGETS = {"classes": _classes, "labels": _labels, "numbers": _numbers}
