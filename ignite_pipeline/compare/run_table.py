"""All runs under a folder, a line each, sorted by what one asks for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from handlers.errors import UnusableRun
from ignite_pipeline.compare.iteration_times import mean_seconds, total
from ignite_pipeline.compare.past_runs import PastRun, read_run, run_directories
from ignite_pipeline.errors import BadInput

Row = dict[str, Any]
COLUMNS = (
    "run",
    "task",
    "start",
    "status",
    "iterations",
    "best",
    "iteration_ms",
    "images_per_s",
    "wall_s",
    "verdict",
)


def find_rows(folder: Path) -> tuple[list[Row], list[str]]:
    """Return a row for each run under ``folder``, and what is wrong with those that cannot be read."""
    rows, unusable = [], []
    for directory in run_directories(folder):
        try:
            run = read_run(directory)
        except UnusableRun as error:
            unusable.append(f"left out: {error}")
        else:
            rows.append(row_of(run, folder))
    return rows, unusable


def row_of(run: PastRun, folder: Path) -> Row:
    """Return what a table says of a run: `COLUMNS`, then its last metrics, and the best under its name."""
    seconds = mean_seconds(run)
    best = run.best
    return {
        "run": str(run.path.relative_to(folder)) if run.path != folder else run.path.name,
        "task": run.task,
        "start": run.started and run.started.isoformat(sep=" "),
        "status": run.summary["status"] + (", resumed" if len(run.sessions) > 1 else ""),
        "iterations": run.iterations,
        "best": best and best["value"],
        "iteration_ms": seconds and 1e3 * total(seconds),
        "images_per_s": run.summary.get("images_per_s"),
        "wall_s": run.timing.get("wall_s"),
        "verdict": run.timing.get("verdict"),
        **run.final,
        **({best["metric"]: best["value"]} if best else {}),
    }


def sorted_by(rows: Sequence[Row], name: str, *, reverse: bool = False) -> list[Row]:
    """Return rows in the order of a column: numbers from the largest, words from the first letter.

    Rows without a value are last. `BadInput` is raised for a column that no row has.
    """
    known = list(dict.fromkeys(column for row in rows for column in row))
    if name not in known:
        raise BadInput(f"--sort {name}: no run has it; there are {', '.join(known)}")
    having = [row for row in rows if row.get(name) is not None]
    numbers = all(isinstance(row[name], int | float) for row in having)
    having.sort(key=lambda row: row[name] if numbers else str(row[name]), reverse=numbers != reverse)
    return [*having, *(row for row in rows if row.get(name) is None)]


def cells(rows: Sequence[Row], name: str) -> tuple[list[str], list[list[str]]]:
    """Return the heads and the cells of a table: `COLUMNS`, and the one that it is sorted by."""
    heads = [*COLUMNS, *([name] if name not in COLUMNS else [])]
    return heads, [[_cell(head, row.get(head)) for head in heads] for row in rows]


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    digits = {"wall_s": 1, "images_per_s": 1, "iteration_ms": 3}.get(name, 4)
    return f"{value:,.{digits}f}"
