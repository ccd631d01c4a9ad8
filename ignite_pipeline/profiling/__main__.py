"""Find out whether a model waits for data, and which setting helps: measured, predicted, and confirmed.

python -m ignite_pipeline.profiling --recipe my_recipe --data-root photos
python -m ignite_pipeline.profiling --dataset-factory mine:dataset --step-factory mine:step --batch-size 64

A data-set factory is a function without arguments that returns a map-style data set; a step factory returns a
function of an Ignite engine and a batch.
"""

import argparse
import importlib
import inspect
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from tqdm import tqdm

from handlers import FetchComputeTimer
from handlers.errors import UnusableRun
from ignite_pipeline.command_line import Parser, exit_on_bad_input, make_folder, number
from ignite_pipeline.errors import BadInput
from ignite_pipeline.machine import keep_freed_memory
from ignite_pipeline.profiling.recipe import Parts, Recipe, parts_of_recipe
from ignite_pipeline.profiling.report import plot, report
from ignite_pipeline.profiling.smaller_decoding import size_wanted, try_smaller_decoding
from ignite_pipeline.profiling.transform_costs import quicker_orders, transform_costs, transforms_of
from ignite_pipeline.profiling.tuning import (
    Setting,
    Step,
    candidates,
    compute_s,
    flops_per_s,
    items_per_s,
    loop_or_loader_s,
    paired_loops_s,
    recommend,
)

ROUNDS = 5
PROG = "python -m ignite_pipeline.profiling"


def make_parser(tasks: Mapping[str, Recipe]) -> Parser:
    """Return the parser of the profiler's options."""
    parser = Parser(
        prog=PROG,
        epilog="Options that are not among these are the recipe's.",
        description="Measure data set, transforms, loader, step and loop; find a better setting.",
    )
    if tasks:
        parser.add_argument("--task", choices=tuple(tasks), help="one of ours")
    parser.add_argument("--recipe", metavar="MODULE", help="a recipe of your own: train(run) and parser()")
    parser.add_argument("--dataset-factory", metavar="MODULE:FUNCTION", help="a data set of your own")
    parser.add_argument("--step-factory", metavar="MODULE:FUNCTION", help="a step of your own")
    parser.add_argument(
        "--batch-size", type=number(int, least=1), help="(default: the recipe's; of a data set of yours, 64)"
    )
    parser.add_argument(
        "--num-workers", type=number(int, least=0), default=0, help="as you run it now (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds",
        type=number(float, above=0),
        default=0.5,
        help="for the shortest measurement; others take up to four times that (default: %(default)s)",
    )
    parser.add_argument("--output", metavar="DIR", default=".", help="of profile.json and profile.png")
    return parser


def imported(option: str, name: str) -> Any:
    """Return a module, found in the current directory too; raise `BadInput` if there is none."""
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
        sized = ["--batch-size", str(options.batch_size)] if options.batch_size else []
        return parts_of_recipe(recipe, [*of_recipe, *sized])
    dataset = made_by("--dataset-factory", options.dataset_factory)
    step = made_by("--step-factory", options.step_factory) if options.step_factory else None
    return Parts(dataset, step, options.batch_size or 64)


def recipe_of(options: argparse.Namespace, tasks: Mapping[str, Recipe]) -> Recipe | None:
    """Return the recipe that the options name, or None where they name factories."""
    task = getattr(options, "task", None)
    given = [name for name in (task, options.recipe, options.dataset_factory) if name is not None]
    if len(given) != 1:
        raise BadInput(f"give one of {'--task, ' if tasks else ''}--recipe and --dataset-factory")
    if task is not None:
        return tasks[task]
    if options.recipe is None:
        return None
    module = imported("--recipe", options.recipe)
    try:
        return Recipe(module.train, module.parser)
    except AttributeError as error:
        raise BadInput(f"--recipe {options.recipe}: {error}; it must have train(run) and parser()") from error


def verdict_of(dataset: Any, step: Step, setting: Setting, iterations: int) -> dict[str, Any]:
    """Run the loop under a timer and return its summary."""
    trainer = Engine(step)
    timer = FetchComputeTimer().attach(trainer)
    trainer.run(setting.loader(dataset), max_iters=iterations, epoch_length=iterations)
    return timer.summary()


def main(argv: Sequence[str] | None = None, tasks: Mapping[str, Recipe] = MappingProxyType({})) -> None:
    """Measure from the inside out: samples, transforms, step, loader, loop.

    ``tasks`` are recipes that ``--task`` names.
    """
    with exit_on_bad_input(PROG, UnusableRun):
        parser = make_parser(tasks)
        options, of_recipe = parser.parse_known_args(argv)
        recipe = recipe_of(options, tasks)
        if recipe is None and of_recipe:
            parser.error(f"unrecognized arguments: {' '.join(of_recipe)}")
        keep_freed_memory()
        parts = parts_of(options, recipe, of_recipe)
        dataset: Any = parts.dataset
        step, batch_size = parts.step, parts.batch_size
        now = Setting(batch_size, num_workers=options.num_workers, collate_fn=parts.collate_fn)
        if len(dataset) < batch_size:
            raise BadInput(f"--batch-size {batch_size} is more than the {len(dataset)} samples")
        output = Path(options.output)
        make_folder(output, option="--output")
    profile: dict[str, Any] = {"batch_size": batch_size, "samples": len(dataset)}
    bar = tqdm(total=5, bar_format="{desc} {bar:20} {n_fmt}/{total_fmt} {elapsed}", file=sys.stderr)

    def on_progress(text: str) -> None:
        bar.set_description_str(text)

    on_progress("data set alone")
    profile["items_per_s"] = items_per_s(dataset, seconds=2 * options.seconds)
    bar.update()
    on_progress("transforms")
    profile.update(measured_transforms(dataset, options.seconds))
    bar.update()
    if step is None:
        step_s = 0.0
    else:
        on_progress("step alone")
        batch = next(iter(now.loader(dataset)))
        step_s = profile["step_s"] = compute_s(step, batch, seconds=2 * options.seconds)
        profile["flops_per_s"], profile["matrix_product_flops_per_s"] = flops_per_s(step, batch, step_s)
    bar.update()
    on_device = torch.cuda.is_initialized()
    settings = [
        replace(one, collate_fn=parts.collate_fn) for one in candidates(batch_size, on_device=on_device)
    ]
    best, speedup, found = recommend(
        dataset, step, now, settings, seconds=options.seconds, on_progress=on_progress
    )
    profile["settings"] = [{**vars(one), "setting": str(one.setting)} for one in found]
    profile["recommended"], profile["predicted_speedup"] = str(best), speedup
    loops_s = {one.setting: one.loop_s for one in found}
    bar.update()
    profile["batch_sizes"] = {
        size: size / loop_or_loader_s(dataset, step, replace(best, batch_size=size), seconds=options.seconds)
        for size in (batch_size // 2, batch_size, 2 * batch_size, 4 * batch_size)
        if 1 <= size <= len(dataset)
    }
    if step is not None:
        on_progress("the loop as it is")
        iterations = max(40, round(2 * options.seconds / loops_s[now]))
        profile["now"] = verdict_of(dataset, step, now, iterations)
        if best != now:
            on_progress(f"confirming {best}")
            profile["confirmed"] = confirmed(dataset, step, now, best, 2 * options.seconds)
    bar.update()
    bar.close()
    (output / "profile.json").write_text(json.dumps(profile, indent=2) + "\n")
    plot(profile, output / "profile.png")
    print("\n".join(report(profile, now, best)))


def measured_transforms(dataset: Any, seconds: float) -> dict[str, Any]:
    """Return the costs of the data set's transforms, quicker orders, and what caching would give."""
    transforms = transforms_of(dataset)
    if not transforms:
        return {"transforms": [], "reorderings": []}
    kept = dataset.transform
    dataset.transform = None
    try:
        count = min(32, len(dataset))
        raw = [dataset[index] for index in range(count)]
        raw_per_s = items_per_s(dataset, seconds=seconds)
    finally:
        dataset.transform = kept
    samples = [sample[0] if isinstance(sample, tuple | list) else sample for sample in raw]
    costs = transform_costs(transforms, samples, seconds=2 * seconds)
    transforms_s = sum(cost.ms for cost in costs) / 1000
    wanted = size_wanted(transforms, samples[0])
    smaller = None if wanted is None else try_smaller_decoding(dataset, wanted)
    decoded_bytes = sum(np.asarray(sample).nbytes for sample in samples) / count * len(dataset)
    return {
        "transforms": [vars(cost) for cost in costs],
        "reorderings": [vars(order) for order in quicker_orders(transforms, samples)[:3]],
        "smaller_decoding": smaller and vars(smaller),
        "cache": {
            "read_and_decode_ms": 1000 / raw_per_s,
            "decoded_gb": decoded_bytes / 1e9,
            "free_gb": os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9,
            "speedup_of_samples": (1 / raw_per_s + transforms_s) / transforms_s,
        },
    }


def confirmed(dataset: Any, step: Step, now: Setting, best: Setting, seconds: float) -> dict[str, Any]:
    """Run the real loop with both settings in turn; return its seconds a batch and the speed-ups."""
    pairs_s = paired_loops_s(dataset, step, (now, best), rounds=ROUNDS, seconds=seconds)
    speedups = [before / after for before, after in pairs_s]
    return {"pairs_s": pairs_s, "speedup": statistics.median(speedups), "speedups": speedups}


if __name__ == "__main__":
    main()
