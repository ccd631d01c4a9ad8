"""Runs that have ended, as their directories tell of them."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from handlers.errors import UnusableRun
from handlers.files import read_metrics, read_regular
from handlers.record import read_config
from ignite_pipeline.errors import BadInput

_CONFIG = {"task": str, "options": dict, "dataset": dict, "sessions": list}
_SUMMARY = {"status": str, "iterations": int, "final": dict}


class Unfinished(UnusableRun):
    """A run that has no ``summary.json``: it goes on, or was killed."""


@dataclass(frozen=True)
class PastRun:
    """A run that has ended: what ``config.json`` and ``summary.json`` say, and the lines of its epochs."""

    path: Path
    config: dict[str, Any]
    summary: dict[str, Any]
    epochs: list[dict[str, Any]]

    @property
    def task(self) -> str:
        """The recipe's name."""
        return str(self.config["task"])

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """What ``config.json`` says of each part of the run between a start and an end."""
        return list(self.config["sessions"])

    @cached_property
    def started(self) -> datetime | None:
        """When it was begun, to the second."""
        try:
            return datetime.strptime(self.sessions[0]["started"], "%Y-%m-%dT%H:%M:%S%z")
        except (IndexError, KeyError, TypeError, ValueError):
            return None

    @property
    def iterations(self) -> int:
        """How many it has made."""
        return int(self.summary["iterations"])

    @property
    def is_completed(self) -> bool:
        """Whether it went on to its end."""
        return bool(self.summary["status"] == "completed")

    @property
    def best(self) -> dict[str, Any] | None:
        """The best metric's name, value, epoch, and whether more is better."""
        best = self.summary.get("best")
        return best if isinstance(best, dict) and _is_number(best.get("value")) else None

    @property
    def final(self) -> dict[str, float]:
        """The metrics at the end that are numbers."""
        return {name: value for name, value in self.summary["final"].items() if _is_number(value)}

    @property
    def timing(self) -> dict[str, Any]:
        """Seconds of each part, ``wall_s`` and the verdict; empty if it was not timed."""
        timing = self.summary.get("timing")
        return timing if isinstance(timing, dict) and _is_number(timing.get("wall_s")) else {}

    def seconds(self, part: str) -> float:
        """Return the seconds of a part of the whole run; 0 if there is no such part."""
        value = self.timing.get(f"{part}_s")
        return float(value) if isinstance(value, int | float) else 0.0

    def how_it_went(self) -> str | None:
        """Say in words what a reader should know: it was resumed, failed or was interrupted."""
        resumed = [f"resumed at iteration {session.get('from_iteration')}" for session in self.sessions[1:]]
        ended = []
        if not self.is_completed:
            reason = f": {self.summary['reason']}" if "reason" in self.summary else ""
            ended = [f"{self.summary['status']} at iteration {self.iterations}{reason}"]
        return ", ".join([*resumed, *ended]) or None


def read_run(directory: Path) -> PastRun:
    """Return a run; raise `UnusableRun` for what is none or is damaged, `Unfinished` for one that goes on."""
    config = read_config(directory)
    path = directory / "summary.json"
    if not os.path.lexists(path):
        raise Unfinished(f"{directory}: has no summary.json, the run goes on or was killed")
    try:
        summary = json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError) as error:
        raise UnusableRun(f"{path}: cannot be read ({error})") from error
    for content, file, shapes in ((config, "config.json", _CONFIG), (summary, "summary.json", _SUMMARY)):
        for name, kind in shapes.items():
            if not isinstance(content, dict) or type(content.get(name)) is not kind:
                raise UnusableRun(f"{directory}: {file} is damaged: no {name} in it")
    if not all(isinstance(session, dict) for session in config["sessions"]):
        raise UnusableRun(f"{directory}: config.json is damaged: sessions")
    try:
        epochs = [line for line in read_metrics(directory) if line["kind"] == "epoch"]
    except OSError as error:
        raise UnusableRun(f"{directory}/metrics.jsonl: cannot be read ({error})") from error
    return PastRun(directory, config, summary, epochs)


def in_order(runs: Sequence[PastRun]) -> list[PastRun]:
    """Return runs in the order of their starts, those of unknown start first."""
    return sorted(runs, key=lambda run: run.started.timestamp() if run.started else 0.0)


def run_directories(root: Path) -> list[Path]:
    """Return ``root`` if it is a run directory, else those below it; raise `BadInput` if there is none."""
    if not os.path.isdir(root):
        raise BadInput(f"{root}: {'is no folder' if os.path.lexists(root) else 'no such folder'}")
    found = sorted(_below(root))
    if not found:
        raise BadInput(f"{root}: holds no run (a folder with config.json and summary.json)")
    return found


def _below(root: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise BadInput(f"{error.filename}: cannot be read ({error.strerror})")

    for folder, folders, files in os.walk(root, onerror=refuse):
        if "config.json" in files and _is_run(Path(folder)):
            folders.clear()
            yield Path(folder)


def _is_run(folder: Path) -> bool:
    """Tell a run from a folder in which some other program keeps a config.json."""
    return any(os.path.exists(folder / name) for name in ("summary.json", "metrics.jsonl", "checkpoints"))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
