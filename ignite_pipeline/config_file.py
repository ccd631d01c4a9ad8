"""Options in a file: TOML, or the ``config.json`` of a run."""

import argparse
import copy
import difflib
import json
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from ignite_pipeline.errors import BadInput

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# These belong to the run that wrote a config.json, and to no other.
_OF_ONE_RUN = ("output", "resume")


def words_in(path: str, parser: argparse.ArgumentParser) -> list[str]:
    """Return the options in a file as they would be written on the command line of ``parser``.

    TOML has an option a line, ``batch-size = 64`` or ``batch_size = 64``; a flag is true or false, several
    values are a list, and tables are headings. Of a run's ``config.json``, the options that it was begun with
    are taken, except for its directory. `BadInput` names the file and the line or the option that is wrong.
    """
    content = _read(path)
    if path.endswith(".json"):
        options = content.get("options") if isinstance(content, dict) else None
        if not isinstance(options, dict):
            raise BadInput(f"--config {path}: not the config.json of a run: it has no options")
        kept = {name: value for name, value in options.items() if name not in _OF_ONE_RUN}
        content = {name: value for name, value in kept.items() if value is not None}
    actions = {name: action for action in parser._actions for name in action.option_strings}
    checks = _FileParser(prog=path, add_help=False, allow_abbrev=False)
    given: set[argparse.Action] = set()
    words = []
    for name, value in _flat(content):
        option = "--" + name.replace("_", "-")
        if option not in actions or name in ("help", "config", "resume"):
            near = difflib.get_close_matches(option, actions)
            instead = f"; is {near[0][2:]} meant?" if near and near[0] != option else ""
            raise BadInput(f"--config {path}: {name} is no option that a file can give{instead}")
        if (action := actions[option]) in given:
            raise BadInput(f"--config {path}: {name} is given twice")
        given.add(action)
        checks._add_action(copy.copy(action))
        words += _as_words(path, option, value, action)
    checks.parse_args(words)
    return words


class _FileParser(argparse.ArgumentParser):
    """A parser of the options in the file ``prog``, to name it in what is wrong with one."""

    def error(self, message: str) -> NoReturn:
        """Raise `BadInput`."""
        raise BadInput(f"--config {self.prog}: {message}")


def _read(path: str) -> Any:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # to open a FIFO might wait for ever
            raise ValueError("not a regular file")
        content = Path(path).read_bytes()
        return json.loads(content) if path.endswith(".json") else tomllib.loads(content.decode())
    except OSError as error:
        raise BadInput(f"--config {path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:  # JSON, TOML and UTF-8 have their own kinds of the first
        raise BadInput(f"--config {path}: {error}; it must be TOML, or the config.json of a run") from error


def _flat(content: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return names and values, including those in tables."""
    pairs, tables = [], [content]
    while tables:
        for name, value in tables.pop(0).items():
            if isinstance(value, dict):
                tables.append(value)
            else:
                pairs.append((name, value))
    return pairs


def _as_words(path: str, option: str, value: Any, action: argparse.Action) -> list[str]:
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise BadInput(f"--config {path}: {option[2:]} must be true or false, got {value!r}")
        return [option] if value else []
    values = value if isinstance(value, list) else [value]
    if any(isinstance(one, bool) or not isinstance(one, str | int | float) for one in values):
        raise BadInput(f"--config {path}: {option[2:]} must be a text or a number, got {value!r}")
    if len(values) == 1:  # which may begin with a dash
        return [f"{option}={values[0]}"]
    if dashed := [one for one in values if isinstance(one, str) and one.startswith("-")]:
        raise BadInput(
            f"--config {path}: {option[2:]} must list texts that do not begin with a dash, got {dashed[0]!r}"
        )
    return [option, *map(str, values)]
