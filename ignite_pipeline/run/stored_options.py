"""Options as a run's ``config.json`` keeps them, and as they are when it is resumed."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handlers.errors import UnusableRun


def kept_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options as JSON can hold them: a path, say, as text."""
    return {name: _plain(value) for name, value in vars(options).items()}


def stored_options(parser: argparse.ArgumentParser, config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the options in a run's ``config.json``, each of the type that its parser gives it.

    `UnusableRun` is raised for a value that the parser would not take.
    """
    actions = {action.dest: action for action in parser._actions}
    texts, tuples = config["options_as_text"], config["options_as_tuple"]
    options = {}
    for name, value in config["options"].items():
        action = actions.get(name)
        try:
            if action is None or name in config["options_as_is"]:
                read = _read(value, action and action.type) if name in texts else value
            else:
                read = _taken(action, value, is_text=name in texts)
        except (ValueError, TypeError, argparse.ArgumentTypeError) as error:
            raise UnusableRun(f"{path}: {flag(name)} {value} in config.json {error}; put it right") from None
        options[name] = tuple(read) if name in tuples and isinstance(read, list) else read
    return options


def options_as_is(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[str]:
    """Return the names of the options whose values the parser would not take as ``config.json`` has them.

    Such are a count, and what a type makes of another text: a list, say, or a share of a percentage.
    """
    actions, texts, names = {action.dest: action for action in parser._actions}, options_as_text(options), []
    for name, value in vars(options).items():
        if name in actions:
            try:
                _taken(actions[name], _plain(value), is_text=name in texts)
            except (ValueError, TypeError, argparse.ArgumentTypeError):
                names.append(name)
    return names


def _taken(action: argparse.Action, value: Any, *, is_text: bool) -> Any:
    """Return what the parser makes of a value from JSON; raise ``ValueError`` if it would not take it."""
    if value == _plain(action.default) and type(value) is type(_plain(action.default)):
        return _read(value, action.type) if is_text else action.default
    if action.nargs == 0:  # a flag
        if value != action.const or type(value) is not type(action.const):
            raise ValueError(f"is neither {action.default} nor {action.const}")
        return value
    if action.nargs in (None, "?") and not isinstance(action, argparse._AppendAction):
        return _one(action, value, is_text=is_text)
    if not isinstance(value, list):
        raise ValueError("is no list")
    return [_one(action, one, is_text=is_text) if not isinstance(one, list) else one for one in value]


def _one(action: argparse.Action, value: Any, *, is_text: bool) -> Any:
    if isinstance(value, list | dict | bool) or value is None:
        raise ValueError("is no value of it")
    if not callable(action.type):
        read: Any = value
        if not isinstance(value, str):
            raise ValueError("is no text")
    else:
        read = action.type(str(value))
        if not is_text and (read != value or isinstance(read, str) != isinstance(value, str)):
            raise ValueError("is no value of it")
    if action.choices is not None and read not in action.choices:
        raise ValueError(f"is none of {', '.join(map(str, action.choices))}")
    return read


def options_as_text(options: argparse.Namespace) -> list[str]:
    """Return the names of the options that JSON can hold as text only."""
    return [name for name, value in vars(options).items() if _plain(value) != _listed(value)]


def options_as_tuple(options: argparse.Namespace) -> list[str]:
    """Return the names of the options that JSON would make lists of."""
    return [name for name, value in vars(options).items() if isinstance(value, tuple)]


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _listed(value: Any) -> Any:
    return [_listed(one) for one in value] if isinstance(value, list | tuple) else value


def _read(value: Any, read: Any) -> Any:
    if isinstance(value, list):
        return [_read(one, read) for one in value]
    return read(value) if isinstance(value, str) and callable(read) else value


def require_readable(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Raise ``TypeError`` if an option would not come back from ``config.json`` as it is."""
    types = {action.dest: action.type for action in parser._actions}
    for name in options_as_text(options):
        value = getattr(options, name)
        try:
            same = _read(_plain(value), types.get(name)) == _listed(value)
        except (ValueError, TypeError, argparse.ArgumentTypeError):
            same = False
        if not same:
            raise TypeError(
                f"{flag(name)} cannot be kept for --resume: its type must read str({value!r}) back as it was"
            )


def flag(name: str) -> str:
    """Return the option of that name as it is written on the command line."""
    return "--" + name.replace("_", "-")
