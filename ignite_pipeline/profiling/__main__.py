"""Find out whether a model waits for data, and which setting helps: measured, predicted, and confirmed.

python -m ignite_pipeline.profiling --recipe my_recipe --data-root photos
python -m ignite_pipeline.profiling --dataset-factory mine:dataset --step-factory mine:step --batch-size 64
python -m ignite_pipeline.profiling --run runs/rings/20260101-120000-0

A data-set factory is a function without arguments that returns a map-style data set; a step factory returns a
function of an Ignite engine and a batch. Of a run, it takes the recipe, the options and the data, and tries
what suits that which takes the run's time.
"""

import argparse
import importlib
import inspect
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from tqdm import tqdm

from handlers.errors import UnusableRun
from ignite_pipeline.command_line import Parser, exit_on_bad_input, make_folder, number, say
from ignite_pipeline.data.position_keyed import size_of
from ignite_pipeline.errors import BadInput
from ignite_pipeline.machine import keep_freed_memory
from ignite_pipeline.output_files import write_output
from ignite_pipeline.profiling.answers import Subject, answer, wants_search
from ignite_pipeline.profiling.loop_profile import profile_loop
from ignite_pipeline.profiling.recipe import Parts, Recipe, options_given, parts_of_recipe
from ignite_pipeline.profiling.recorded_run import (
    RecordedRun,
    options_of,
    parts_of_run,
    read_run,
    recipe_of_run,
)
from ignite_pipeline.profiling.report import plot, plot_tried, report, report_of_run
from ignite_pipeline.profiling.tuning import Setting
from ignite_pipeline.standard_streams import print_answer

PROG = "python -m ignite_pipeline.profiling"


def make_parser(tasks: Mapping[str, Recipe]) -> Parser:
    """Return the parser of the profiler's options."""
    parser = Parser(
        prog=PROG,
        epilog="Options that are not among these are the recipe's; beside --run, instead of the run's.",
        description="Measure data set, transforms, loader, step and loop; find a better setting.",
    )
    if tasks:
        parser.add_argument("--task", choices=tuple(tasks), help="a recipe of ours")
    parser.add_argument(
        "--run", metavar="DIR", help="a run, which may still train: its recipe, options and data"
    )
    parser.add_argument("--recipe", metavar="MODULE", help="a recipe of your own: train(run) and parser()")
    parser.add_argument("--dataset-factory", metavar="MODULE:FUNCTION", help="a data set of your own")
    parser.add_argument("--step-factory", metavar="MODULE:FUNCTION", help="a step of your own")
    parser.add_argument(
        "--batch-size",
        type=number(int, least=1),
        help="samples in a step (default: the recipe's; of a data set of yours, 64)",
    )
    parser.add_argument(
        "--num-workers", type=number(int, least=0), help="as many as you use now (default: the run's, or 0)"
    )
    parser.add_argument(
        "--seconds",
        type=number(float, above=0),
        default=0.5,
        help="length of the shortest measurement; others take up to four times that (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="folder of profile.json and profile.png (default: the run's, or this one)",
    )
    return parser


def imported(option: str, name: str) -> Any:
    """Return a module, found in the current directory too; raise `BadInput` if there is none."""
    if not name or name.startswith(".") or "/" in name:
        raise BadInput(f"{option} {name}: must be the name of a module: my_module, not ./my_module.py")
    sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BadInput(f"{option} {name}: {error}") from error
    finally:
        sys.path.pop(0)


def made_by(option: str, name: str) -> Any:
    """Return what the function ``module:function`` makes; raise `BadInput` if there is none."""
    module, _, function = name.partition(":")
    try:
        make = getattr(imported(option, module), function)
        inspect.signature(make).bind()
    except (AttributeError, TypeError) as error:
        raise BadInput(f"{option} {name}: {error}; it must name a function without arguments") from error
    return make()


def parts_of(options: argparse.Namespace, recipe: Recipe | None, of_recipe: Sequence[str]) -> Parts:
    """Return the data set, the step and the loader's options that are asked for."""
    if recipe is not None:
        return parts_of_recipe(recipe, options_given(recipe, of_recipe))
    dataset = made_by("--dataset-factory", options.dataset_factory)
    step = made_by("--step-factory", options.step_factory) if options.step_factory else None
    return Parts(dataset, step, options.batch_size or 64)


def recipe_of(options: argparse.Namespace, tasks: Mapping[str, Recipe]) -> Recipe | None:
    """Return the recipe that the options name, or None where they name factories, or a run alone."""
    task = getattr(options, "task", None)
    given = [name for name in (task, options.recipe, options.dataset_factory) if name is not None]
    if len(given) != 1 and not (options.run and not given):
        raise BadInput(f"give one of {'--task, ' if tasks else ''}--recipe and --dataset-factory, or --run")
    if options.run and options.dataset_factory:
        raise BadInput("--run has a recipe: leave out --dataset-factory")
    if options.step_factory and not options.dataset_factory:
        raise BadInput("--step-factory goes with --dataset-factory: a recipe has its own step")
    if task is not None:
        return tasks[task]
    if options.recipe is None:
        return None
    module = imported("--recipe", options.recipe)
    try:
        return Recipe(module.train, module.parser)
    except AttributeError as error:
        raise BadInput(f"--recipe {options.recipe}: {error}; it must have train(run) and parser()") from error


def subject_of(
    options: argparse.Namespace, run: RecordedRun, recipe: Recipe, of_recipe: Sequence[str]
) -> Subject:
    """Return the run that is asked about, its recipe taken apart with the options that the run had."""
    if not run.summary:
        say(f"{run.directory} has not ended: if it still trains, it and these figures slow each other down")
    torch.set_num_threads(run.config["threads"])
    run_options = options_of(run, recipe, of_recipe)
    if options.num_workers is None:
        options.num_workers = run.num_workers
    parts = parts_of_run(run, recipe, run_options)
    return Subject(run, recipe, run_options, parts, setting_of(options, parts), options.seconds)


def setting_of(options: argparse.Namespace, parts: Parts) -> Setting:
    """Return how the loader works now."""
    size: int = size_of(parts.dataset)
    if size < parts.batch_size:
        raise BadInput(f"--batch-size {parts.batch_size} is more than the {size} samples")
    return Setting(
        parts.batch_size,
        num_workers=options.num_workers or 0,
        pin_memory=parts.pin_memory,
        collate_fn=parts.collate_fn,
    )


def folder_for_output(options: argparse.Namespace) -> Path:
    """Return where to write; raise `BadInput` if that cannot be done."""
    output = Path(options.output or options.run or ".")
    make_folder(output, option="--output")
    return output


def answered(subject: Subject, output: Path) -> tuple[dict[str, Any], list[str]]:
    """Return what was tried about all that takes a run's time, but for the search, and that in words."""
    with tqdm(bar_format="{desc} {elapsed}", file=sys.stderr, leave=False) as bar:
        subject = replace(subject, on_progress=bar.set_description_str)
        found = [finding for finding in subject.run.findings if not wants_search([finding])]
        answers = [answer(finding, subject) for finding in found]
    if any(one.speedups for given in answers for one in given.tried):
        write_output(output / "profile.png", partial(plot_tried, answers), option="--output")
    profile = {
        "run": str(subject.run.directory),
        "findings": [vars(finding) for finding in subject.run.findings],
        "answers": [asdict(given) for given in answers],
    }
    return profile, report_of_run(subject.run, answers)


def main(argv: Sequence[str] | None = None, tasks: Mapping[str, Recipe] = MappingProxyType({})) -> None:
    """Measure from the inside out: samples, transforms, step, loader, loop. Of a run, try what suits it.

    ``tasks`` are recipes that ``--task`` names, and those of runs that do not say where theirs is.
    """
    with exit_on_bad_input(PROG, UnusableRun), ExitStack() as importable:
        parser = make_parser(tasks)
        options, of_recipe = parser.parse_known_args(argv)
        recipe = recipe_of(options, tasks)
        run = read_run(Path(options.run)) if options.run else None
        if run is not None and recipe is None:
            recipe = importable.enter_context(recipe_of_run(run, tasks))
        if recipe is not None and options.batch_size:
            of_recipe += ["--batch-size", str(options.batch_size)]
        elif recipe is None and of_recipe:
            parser.error(f"unrecognized arguments: {' '.join(of_recipe)}")
        output = folder_for_output(options)
        keep_freed_memory()
        subject = None
        if run is not None and recipe is not None:
            subject = subject_of(options, run, recipe, of_recipe)
            parts, now = subject.parts, subject.now
        else:
            parts = parts_of(options, recipe, of_recipe)
            now = setting_of(options, parts)
        profile, lines = answered(subject, output) if subject is not None else ({}, [])
        if subject is None or wants_search(subject.run.findings):
            bar = tqdm(total=5, bar_format="{desc} {bar:20} {n_fmt}/{total_fmt} {elapsed}", file=sys.stderr)
            with bar:
                found, best = profile_loop(parts, now, seconds=options.seconds, bar=bar)
            profile.update(found)
            write_output(output / "profile.png", partial(plot, profile), option="--output")
            lines += report(profile, now, best)
        text = json.dumps(profile, indent=2) + "\n"
        write_output(output / "profile.json", lambda path: path.write_text(text), option="--output")
        print_answer("\n".join(lines))


if __name__ == "__main__":
    main()
