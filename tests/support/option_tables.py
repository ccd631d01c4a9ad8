"""The options of the scripts as tables, for docs/options.md."""

import argparse
import re
from collections.abc import Iterable

import run_cifar2
import run_finetune
import run_pix2pix
from ignite_pipeline.board import __main__ as board
from ignite_pipeline.command_line import Parser
from ignite_pipeline.compare import __main__ as compare
from ignite_pipeline.evaluate import __main__ as evaluate
from ignite_pipeline.look import __main__ as look
from ignite_pipeline.predict import __main__ as predict
from ignite_pipeline.predict import translate
from ignite_pipeline.profiling.__main__ import make_parser
from ignite_pipeline.run.options import add_run_options
from profile_data import TASKS

OF_RECIPES = {"run_cifar2": run_cifar2, "run_finetune": run_finetune, "run_pix2pix": run_pix2pix}


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each script, with the options of every run where it has these."""
    of_recipes = {name: script.parser() for name, script in OF_RECIPES.items()}
    for parser in of_recipes.values():
        add_run_options(parser)
    return {
        **of_recipes,
        "predict": predict.parser(),
        "translate": translate.parser(),
        "evaluate": evaluate.parser(),
        "look": look.parser(),
        "profile_data": make_parser(TASKS),
        "compare_runs": compare.parser(),
        "serve_visdom": board.parser(),
    }


def tables() -> dict[str, str]:
    """Return the Markdown of each table."""
    of_every_run = Parser()
    add_run_options(of_every_run)
    shared = {action.option_strings[-1]: action for action in options_of(of_every_run)}
    found = {"every run": table(shared.values())}
    for name, parser in parsers().items():
        own = [action for action in options_of(parser) if action.option_strings[-1] not in shared]
        if name in OF_RECIPES:
            found[name] = table(own) + other_defaults(options_of(parser), shared)
        else:
            found[name] = table(
                action for action in options_of(parser) if "--config" not in action.option_strings
            )
    return found


def options_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.option_strings and action.dest != "help"]


def other_defaults(actions: Iterable[argparse.Action], shared: dict[str, argparse.Action]) -> str:
    """Return a line about options of every run that have another default here, or nothing."""
    names = {action.option_strings[-1]: default_of(action) for action in actions}
    others = [
        f"`{name}` is {names[name]}" for name, action in shared.items() if names[name] != default_of(action)
    ]
    return f"\nBy default, {' and '.join(others)} here.\n" if others else ""


def table(actions: Iterable[argparse.Action]) -> str:
    lines = ["| option | default | what it does |", "|---|---|---|"]
    return "\n".join(lines + [row(action) for action in actions]) + "\n"


def row(action: argparse.Action) -> str:
    name = action.option_strings[-1]
    return f"| `{name}{value_of(action)}` | {default_of(action)} | {words_of(action)} |"


def value_of(action: argparse.Action) -> str:
    """Return what follows the option: its choices, the name of its value, or nothing."""
    if action.nargs == 0:
        return ""
    if action.choices is not None:
        return f" {'/'.join(map(str, action.choices))}"
    metavar = str(action.metavar or "N").replace("%%", "%").strip("{}").replace(",", "/")
    return f" {metavar}{' ...' if action.nargs == '+' else ''}"


def expanded(action: argparse.Action) -> str:
    return argparse.HelpFormatter("")._expand_help(action)


def words_of(action: argparse.Action) -> str:
    return re.sub(r"\s*\(default: .*\)$", "", expanded(action))


def default_of(action: argparse.Action) -> str:
    """Return the default as the help says it, or as it is."""
    if stated := re.search(r"\(default: (.*)\)$", expanded(action)):
        return stated[1]
    if action.required:
        return "required"
    if action.default in (None, False, [], argparse.SUPPRESS):
        return "off" if action.nargs == 0 else "–"
    return str(action.default)
