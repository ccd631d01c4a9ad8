"""A CSV table that names files: its rows with the lines on which they stand, for messages."""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

from ignite_pipeline.data.known_files import IMAGE_SUFFIXES
from ignite_pipeline.errors import BadInput

_FILE_COLUMNS = ("file", "filename", "file_name", "path", "image")
SPLIT = "split"


@dataclass(frozen=True)
class Table:
    """Rows by the names of their columns, the line of each, the column of files, and those of targets."""

    path: Path
    rows: list[dict[str, str]]
    lines: list[int]
    file: str
    columns: list[str]

    def wrong(self, place: int, what: str) -> BadInput:
        """Return the error that says what is wrong with the row at ``place``."""
        return BadInput(f"{self.path}, line {self.lines[place]}: {what}")

    def column(self, name: str) -> list[str]:
        """Return the values of a column."""
        return [row[name] for row in self.rows]


def read_table(path: str | Path, root: str | Path) -> Table:
    """Read a CSV table in UTF-8 whose files lie below ``root``; the first line names its columns.

    The column of files is called ``file``, ``filename``, ``path`` or ``image``, or is the first; ``split`` is
    none of targets. Raises `BadInput` with the line of what cannot be used.
    """
    path = Path(path)
    names, rows, lines = _rows(path)
    _require_header(path, names)
    file = next((name for name in names if name.lower() in _FILE_COLUMNS), names[0])
    columns = [name for name in names if name not in (file, SPLIT)]
    if not columns:
        raise BadInput(f"{path}: has no column of targets beside {file}")
    if not rows:
        raise BadInput(f"{path}: has no row below its first line")
    table = Table(path, rows, lines, file, columns)
    _require_files(table, root)
    return table


def _rows(path: Path) -> tuple[list[str], list[dict[str, str]], list[int]]:
    rows: list[dict[str, str]] = []
    lines: list[int] = []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="", strict=True)
            names = [name.strip() for name in reader.fieldnames or ()]
            names = [SPLIT if name.lower() == SPLIT else name for name in names]
            reader.fieldnames = names
            for row in reader:
                if None in row:
                    raise BadInput(f"{path}, line {reader.line_num}: has more values than columns")
                rows.append({name: value.strip() for name, value in row.items()})
                lines.append(reader.line_num)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not in UTF-8 ({error.reason}); save it as CSV UTF-8") from error
    except csv.Error as error:
        raise BadInput(f"{path}: not a CSV table ({error})") from error
    return names, rows, lines


def _require_header(path: Path, names: list[str]) -> None:
    if any("\0" in name for name in names):  # UTF-16 without a mark
        raise BadInput(f"{path}: not in UTF-8 (bytes of 0); save it as CSV UTF-8")
    separators = [mark for mark in (";", "\t") if len(names) == 1 and mark in names[0]]
    if separators:
        mark = {";": "semicolons", "\t": "tabs"}[separators[0]]
        raise BadInput(f"{path}: has {mark} between its columns; save it with commas")
    if len(names) < 2:
        raise BadInput(f"{path}: needs a first line that names a column of files and others of targets")
    if "" in names:
        to_do = "name it or, if pandas has written it, use index=False"
        raise BadInput(f"{path}: column {names.index('') + 1} has no name; {to_do}")
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadInput(f"{path}: two columns are called {twice[0]}")
    if image := [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]:
        raise BadInput(f"{path}: its first line must name the columns, such as file,kind; it has {image[0]}")


def _require_files(table: Table, root: str | Path) -> None:
    seen: dict[str, int] = {}
    for place, name in enumerate(table.column(table.file)):
        normal = os.path.normpath(name)
        if not name:
            raise table.wrong(place, f"{table.file} is empty")
        if os.path.isabs(name) or normal.split(os.sep)[0] == os.pardir:
            raise table.wrong(place, f"{name} must be a name below {root}")
        if not os.path.isfile(os.path.join(root, name)):
            raise table.wrong(place, f"no file {os.path.join(root, name)[:300]}")
        if not name.lower().endswith(IMAGE_SUFFIXES):
            raise table.wrong(place, f"{name} is no image ({', '.join(IMAGE_SUFFIXES)})")
        if seen.setdefault(normal, place) != place:
            first = table.lines[seen[normal]]
            raise table.wrong(
                place, f"names a file twice, {name}, as line {first} does; several labels go between | in one"
            )
