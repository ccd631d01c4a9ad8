"""Options in a file: TOML of one's own, or the ``config.json`` that a run has left."""

import argparse
import difflib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite_pipeline.errors import BadInput

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# What in a config.json is of that run alone.
_OF_ONE_RUN = ("output", "resume")


def words_in(path: str, parser: argparse.ArgumentParser) -> list[str]:
    """Return the options in a file as they would be written on the command line of ``parser``.

    TOML has an option a line, ``batch-size = 64`` or ``batch_size = 64``; a flag is true or false, several
    values are a list, and tables are headings. Of a run's ``config.json``, the options that it was begun with
    are taken, all but where it lies. `BadInput` names the file and the line or the option that is wrong.
    """
    content = _read(path)
    if path.endswith(".json"):
        options = content.get("options") if isinstance(content, dict) else None
        if not isinstance(options, dict):
            raise BadInput(f"--config {path}: not the config.json of a run: it has no options")
        kept = {name: value for name, value in options.items() if name not in _OF_ONE_RUN}
        content = {name: value for name, value in kept.items() if value is not None}
    actions = {name: action for action in parser._actions for name in action.option_strings}
    words = []
    for name, value in _flat(content):
        option = "--" + name.replace("_", "-")
        if option not in actions or name in ("help", "config", "resume"):
            near = difflib.get_close_matches(option, actions)
            instead = f"; is {near[0][2:]} meant?" if near and near[0] != option else ""
            raise BadInput(f"--config {path}: {name} is no option that a file can give{instead}")
        words += _as_words(path, option, value, actions[option])
    return words


def _read(path: str) -> Any:
    try:
        content = Path(path).read_bytes()
        return json.loads(content) if path.endswith(".json") else tomllib.loads(content.decode())
    except OSError as error:
        raise BadInput(f"--config {path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:  # JSON, TOML and UTF-8 have their own kinds of it
        raise BadInput(f"--config {path}: {error}; it must be TOML, or the config.json of a run") from error


def _flat(content: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return names and values, those in tables too."""
    pairs = []
    for name, value in content.items():
        pairs += _flat(value) if isinstance(value, dict) else [(name, value)]
    return pairs


def _as_words(path: str, option: str, value: Any, action: argparse.Action) -> list[str]:
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise BadInput(f"--config {path}: {option[2:]} must be true or false, got {value!r}")
        return [option] if value else []
    values = value if isinstance(value, list) else [value]
    if any(isinstance(one, bool) or not isinstance(one, str | int | float) for one in values):
        raise BadInput(f"--config {path}: {option[2:]} must be a text or a number, got {value!r}")
    if len(values) == 1:  # a value may begin with a dash
        return [f"{option}={values[0]}"]
    return [option, *map(str, values)]
