"""The targets of image files from a table: classes, several labels for each, or numbers."""

import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ignite_pipeline.data.labelled_files import FileNames, LabelledFiles
from ignite_pipeline.errors import BadInput

KINDS = ("classes", "labels", "numbers")
_FILE_COLUMNS = ("file", "filename", "file_name", "path", "image")
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "val"}
Row = dict[str, str]


def read_targets(
    table: str | Path, root: str | Path, *, kind: str = "auto"
) -> tuple[LabelledFiles, LabelledFiles | None]:
    """Return the files that a CSV table names, and those whose column ``split`` says val, if there is one.

    The first line names the columns. The file is in the one called ``file``, ``filename``, ``path`` or
    ``image``, else in the first, and is looked for under ``root``; the others hold its target. ``kind`` is

    - ``"classes"``: one column with the name of a class;
    - ``"labels"``: several columns of 0 and 1, or one with names between ``|``, of which any may be there;
    - ``"numbers"``: one or more columns of numbers;
    - ``"auto"``: what the values look like, and whole numbers in one column for classes.

    Raises `BadInput` with the file and the line of what cannot be used.
    """
    table, root = Path(table), Path(root)
    if kind not in ("auto", *KINDS):
        raise BadInput(f"kind must be auto, {', '.join(KINDS)}; got {kind!r}")
    file, columns, rows = _read(table)
    kind = _kind_of(rows, columns) if kind == "auto" else kind
    if kind == "classes" and len(columns) > 1:
        raise BadInput(f"{table}: a class is one column, but there are {', '.join(columns)}")
    for line, row in enumerate(rows, start=2):
        if not (root / row[file]).is_file():
            raise BadInput(f"{table}, line {line}: no file {root / row[file]}")
        if any(row[name] == "" for name in columns) and not (kind == "labels" and len(columns) == 1):
            raise BadInput(f"{table}, line {line}: {row[file]} has no value for each of {', '.join(columns)}")
    targets, classes = _TARGETS[kind](rows, columns, table)
    if kind != "numbers" and len(classes) < 2:
        raise BadInput(f"{table}: needs two or more {kind}, has {', '.join(classes) or 'none'}")
    files = LabelledFiles(root, FileNames(row[file] for row in rows), targets, classes, kind)
    if "split" not in rows[0]:
        return files, None
    sides: dict[str, list[int]] = {"train": [], "val": []}
    for line, row in enumerate(rows, start=2):
        side = _SPLITS.get(row["split"].lower())
        if side is None:
            raise BadInput(f"{table}, line {line}: split must be train or val, got {row['split']!r}")
        sides[side].append(line - 2)
    if empty := [name for name, places in sides.items() if not places]:
        raise BadInput(f"{table}: its column split leaves no image for {empty[0]}")
    return files.chosen(sides["train"]), files.chosen(sides["val"])


def _read(table: Path) -> tuple[str, list[str], list[Row]]:
    """Return the column of files, those of targets, and the rows."""
    try:
        with open(table, newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, restval="", strict=True)
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            rows: list[Row] = []
            for row in reader:
                if None in row:
                    raise BadInput(f"{table}, line {reader.line_num}: has more values than columns")
                rows.append({name: value.strip() for name, value in row.items()})
    except OSError as error:
        raise BadInput(f"{table}: cannot be read ({error.strerror})") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadInput(f"{table}: not a CSV table ({error})") from error
    if not rows or len(set(names)) < max(2, len(names)):
        raise BadInput(
            f"{table}: needs a first line that names a column of files and others of targets, and rows"
        )
    file = next((name for name in names if name.lower() in _FILE_COLUMNS), names[0])
    columns = [name for name in names if name not in (file, "split")]
    if not columns:
        raise BadInput(f"{table}: has no column of targets beside {file}")
    if len({os.path.normpath(row[file]) for row in rows}) < len(rows):
        raise BadInput(f"{table}: names a file twice; several labels go between | in one line")
    return file, columns, rows


def _kind_of(rows: Sequence[Row], columns: Sequence[str]) -> str:
    values = {row[name] for row in rows for name in columns}
    if len(columns) > 1 and values <= {"0", "1"}:
        return "labels"
    if len(columns) == 1 and any("|" in value for value in values):
        return "labels"
    numbers = [_number(value) for value in values]
    if None in numbers or (len(columns) == 1 and all(value.lstrip("+-").isdigit() for value in values)):
        return "classes"
    return "numbers"


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _classes(rows: Sequence[Row], columns: Sequence[str], table: Path) -> tuple[Tensor, tuple[str, ...]]:
    found = {row[columns[0]] for row in rows}
    in_order = sorted(found, key=lambda name: (int(name) if name.isdecimal() else -1, name))
    place_of = {name: place for place, name in enumerate(in_order)}
    return torch.tensor([place_of[row[columns[0]]] for row in rows]), tuple(in_order)


def _labels(rows: Sequence[Row], columns: Sequence[str], table: Path) -> tuple[Tensor, tuple[str, ...]]:
    if len(columns) == 1:
        each = [{name.strip() for name in row[columns[0]].split("|")} - {""} for row in rows]
        classes = sorted(set().union(*each))
        return torch.tensor([[float(name in names) for name in classes] for names in each]), tuple(classes)
    for line, row in enumerate(rows, start=2):
        if wrong := [name for name in columns if row[name] not in ("0", "1")]:
            raise BadInput(f"{table}, line {line}: {wrong[0]} must be 0 or 1, got {row[wrong[0]]!r}")
    return torch.tensor([[float(row[name]) for name in columns] for row in rows]), tuple(columns)


def _numbers(rows: Sequence[Row], columns: Sequence[str], table: Path) -> tuple[Tensor, tuple[str, ...]]:
    values = [[_number(row[name]) for name in columns] for row in rows]
    for line, of_row in enumerate(values, start=2):
        if None in of_row:
            column = columns[of_row.index(None)]
            raise BadInput(f"{table}, line {line}: {column} must be a number, got {rows[line - 2][column]!r}")
    return torch.tensor(values, dtype=torch.float32), tuple(columns)


_TARGETS = {"classes": _classes, "labels": _labels, "numbers": _numbers}
