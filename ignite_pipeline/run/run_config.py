"""What must be in a run directory for the run to go on, told apart from what somebody has made of it."""

import os
from pathlib import Path
from typing import Any

from handlers import read_config
from handlers.errors import UnusableRun
from handlers.files import require_regular

_SHAPES: dict[str, type] = {
    "run": str,
    "options": dict,
    "options_as_text": list,
    "options_as_tuple": list,
    "options_as_is": list,
    "dataset": dict,
    "threads": int,
    "sessions": list,
}
_FILES = (
    "config.json",
    "metrics.jsonl",
    "non_finite.jsonl",
    "summary.json",
    "report.png",
    "report.html",
    "mistakes.json",
    "mistakes.png",
)
_FOLDERS = ("checkpoints", "samples")
_MOST_THREADS = 1024


def read_run_config(directory: Path, *, task: str) -> dict[str, Any]:
    """Return what ``config.json`` says; raise `UnusableRun` for what is damaged, or of another task."""
    for path in filter(os.path.lexists, map(directory.joinpath, _FILES)):
        try:
            require_regular(path)
            with open(path, "rb") as file:
                file.read(1)
        except OSError as error:
            raise UnusableRun(f"{path}: cannot be used ({error.strerror}); remove it") from None
    for path in filter(os.path.lexists, map(directory.joinpath, _FOLDERS)):
        if not path.is_dir():
            raise UnusableRun(f"{path}: is not a folder; remove it")
    config = read_config(directory)
    if config.get("task") != task:
        raise UnusableRun(f"{directory}: config.json is not that of a {task} run")
    for name, kind in _SHAPES.items():
        if type(config.get(name)) is not kind:
            raise UnusableRun(f"{directory}: config.json is damaged: {name} {config.get(name)!s:.40}")
    if not 1 <= config["threads"] <= _MOST_THREADS:
        raise UnusableRun(f"{directory}: config.json is damaged: threads {config['threads']}")
    for session in config["sessions"]:
        if not isinstance(session, dict) or type(session.get("from_iteration")) is not int:
            raise UnusableRun(f"{directory}: config.json is damaged: sessions {session!s:.40}")
    return config
