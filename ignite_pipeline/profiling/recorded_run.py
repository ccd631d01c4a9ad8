"""A run as its directory tells of it: which recipe with which options, and where its time went."""

import copy
import json
import os
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

from handlers import read_config
from handlers.charged_seconds import LOOP_PARTS, PARTS
from handlers.diagnosis import diagnose
from handlers.errors import UnusableRun
from handlers.files import read_metrics, read_regular
from handlers.findings import Finding
from handlers.handler_times import HandlerTime
from ignite_pipeline.command_line import Parser, say
from ignite_pipeline.errors import BadInput
from ignite_pipeline.profiling.recipe import Parts, Recipe, parts_of_recipe
from ignite_pipeline.run.options import add_run_options, options_of_run
from ignite_pipeline.run.recipe_place import module_at
from ignite_pipeline.run.run_config import read_run_config
from ignite_pipeline.run.stored_options import flag


@dataclass(frozen=True)
class RecordedRun:
    """What a run's directory says; ``summary`` is empty where the run goes on, or was cut off."""

    directory: Path
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    findings: Sequence[Finding]

    @property
    def timing(self) -> Mapping[str, Any]:
        """Where the time went."""
        return self.summary.get("timing") or {}

    @property
    def handlers(self) -> list[HandlerTime]:
        """The seconds of its handlers, the largest first."""
        return [HandlerTime(**entry) for entry in self.timing.get("handlers", [])]

    @property
    def num_workers(self) -> int:
        """The number of workers that it loads with, as far as it has found out."""
        given = self.config["options"].get("num_workers", 0)
        return int(given if given != "auto" else self.config.get("auto_workers", {}).get("num_workers", 0))


def read_run(directory: Path) -> RecordedRun:
    """Return what a directory says of its run, which may go on; nothing is written, and nothing locked.

    Raises `UnusableRun` if there is none.
    """
    config = read_run_config(directory, task=read_config(directory).get("task") or "")
    summary = _summary(directory)
    entries = (summary.get("timing") or {}).get("findings", [])
    names = [field.name for field in fields(Finding)]
    findings = [Finding(**{name: entry.get(name) for name in names}) for entry in entries]
    return RecordedRun(directory, config, summary, findings or _findings_so_far(directory))


def _summary(directory: Path) -> Mapping[str, Any]:
    """Return how the run ended; nothing before it has."""
    if not os.path.lexists(path := directory / "summary.json"):
        return {}
    try:
        summary = json.loads(read_regular(path))
    except (OSError, ValueError) as error:
        raise UnusableRun(f"{path}: cannot be read ({error}); remove it") from None
    if not isinstance(summary, dict) or not isinstance(summary.get("timing") or {}, dict):
        raise UnusableRun(f"{path}: is no summary of a run; remove it")
    return summary


def _findings_so_far(directory: Path) -> list[Finding]:
    """Return what the epochs say that have ended: which part takes the time, but not who."""
    epochs = [line for line in read_metrics(directory) if line["kind"] == "epoch"]
    seconds = {part: sum(line.get(f"time/{part}_s") or 0.0 for line in epochs) for part in PARTS}
    loop_s = sum(seconds[part] for part in LOOP_PARTS)
    if not loop_s:
        return []
    return diagnose(
        iterations=epochs[-1]["iteration"], share=lambda part: seconds[part] / loop_s, seconds=seconds
    )


@contextmanager
def recipe_of_run(run: RecordedRun, tasks: Mapping[str, Recipe]) -> Iterator[Recipe]:
    """Import the recipe of a run from where it was, or take it from ``tasks``.

    Raises `BadInput` if it is not there any more, or is none any more.
    """
    place = run.config.get("recipe")
    if not isinstance(place, dict) or not os.path.isfile(str(place.get("file"))):
        if (task := run.config["task"]) not in tasks:
            raise BadInput(f"{run.directory}: {_lost(place)}; name it with --recipe MODULE")
        yield tasks[task]
        return
    with ExitStack() as stack:
        try:
            module = stack.enter_context(module_at(place))
            recipe = Recipe(getattr(module, place["function"]), _maker_of_parser(module))
        except (ImportError, SyntaxError, AttributeError, KeyError) as error:
            changed = f"its recipe {place['file']} has changed: {error}"
            raise BadInput(f"{run.directory}: {changed}; name it with --recipe MODULE") from error
        yield recipe


def _lost(place: Any) -> str:
    if isinstance(place, dict):
        return f"its recipe {place.get('file')} is not there any more"
    return "config.json does not say where its recipe is"


def _maker_of_parser(module: ModuleType) -> Callable[[], Parser]:
    """Return what makes the parser of a recipe's module: by custom it is called so, and may be one."""
    found = getattr(module, "parser", Parser)
    return found if callable(found) else lambda: copy.deepcopy(found)


def options_of(run: RecordedRun, recipe: Recipe, words: Sequence[str]) -> Namespace:
    """Return the options of a run's recipe as they were, but for those that ``words`` give anew."""
    parser = recipe.parser()
    add_run_options(parser)
    known = {action.dest for action in parser._actions}
    if unread := [name for name in run.config["options_as_text"] if name not in known]:
        raise BadInput(
            f"{run.directory}: {', '.join(map(flag, unread))} cannot be read back: the recipe's module needs"
            " a function parser() that makes its parser"
        )
    return options_of_run(parser, run.config, run.directory, words)


def parts_of_run(run: RecordedRun, recipe: Recipe, options: Namespace) -> Parts:
    """Return the parts of a run's recipe; raise `BadInput` if its data is not there, say if it is another."""
    try:
        parts = parts_of_recipe(recipe, options)
    except (BadInput, FileNotFoundError, NotADirectoryError) as error:
        moved = _paths_to_nowhere(options)
        if isinstance(error, BadInput) and not moved:
            raise
        anew = " and ".join(moved) or "the option that says where its data is"
        raise BadInput(f"{run.directory}: {error}; if that has moved, give {anew} anew") from error
    before, now = run.config["dataset"], parts.description or {}
    if any(before.get(name) != now.get(name) for name in ("train", "sha256")):
        say(f"{run.directory}: the data is not what the run had")
    return parts


def _paths_to_nowhere(options: Namespace) -> list[str]:
    """Return the options whose values are absolute paths where nothing is any more."""
    texts = {name: str(value) for name, value in vars(options).items() if name != "output"}
    return [flag(name) for name, text in texts.items() if os.path.isabs(text) and not os.path.exists(text)]
