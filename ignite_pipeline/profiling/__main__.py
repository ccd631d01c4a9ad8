"""Find out whether a model waits for data, and which setting mends it: measured, predicted, and confirmed.

python -m ignite_pipeline.profiling --task cifar2 --data-root cifar2
python -m ignite_pipeline.profiling --dataset-factory mine:dataset --step-factory mine:step --batch-size 64

A data-set factory is a function without arguments that returns a map-style data set; a step factory returns a
function of an Ignite engine and a batch.
"""

import argparse
import importlib
import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from torch import nn
from tqdm import tqdm

from handlers import FetchComputeTimer
from ignite_pipeline.adversarial import LOSSES
from ignite_pipeline.data.batch_transforms import Normalize, RandomCrop, SplitPair
from ignite_pipeline.data.cifar2 import cifar2
from ignite_pipeline.data.paired import paired_images
from ignite_pipeline.machine import keep_freed_memory
from ignite_pipeline.models.classifiers import residual_net
from ignite_pipeline.models.pix2pix import PatchDiscriminator, UNetGenerator
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
from ignite_pipeline.run.options import Parser, bad_input_exits, number
from ignite_pipeline.steps import gan_step, supervised_step

ROUNDS = 5


def parser() -> argparse.ArgumentParser:
    """Return the parser of this script's options."""
    parser = Parser(description="Measure data set, transforms, loader, step and loop; find a better setting.")
    parser.add_argument("--task", choices=("cifar2", "pix2pix"), help="one of ours")
    parser.add_argument("--data-root", metavar="DIR", help="the data of the task (default: drawn)")
    parser.add_argument("--dataset-factory", metavar="MODULE:FUNCTION", help="a data set of your own")
    parser.add_argument("--step-factory", metavar="MODULE:FUNCTION", help="a step of your own")
    parser.add_argument(
        "--batch-size", type=number(int, least=1), help="(default: 64; of the tasks, 128 and 1)"
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


def cifar2_parts(root: str | None) -> tuple[Any, Step]:
    """Return the images and the step of run_cifar2.py."""
    data = cifar2(root, dataset="auto" if root else "generated").train
    model = residual_net(2).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    transform = nn.Sequential(RandomCrop(padding=4, flip=0.5), Normalize(*data.channel_statistics()))
    return data, supervised_step(model, optimizer, nn.functional.cross_entropy, transform=transform)


def pix2pix_parts(root: str | None) -> tuple[Any, Step]:
    """Return the pairs and the step of run_pix2pix.py, at 256 pixels."""
    data = paired_images(
        root, direction="BtoA", image_size=256, dataset="auto" if root else "generated"
    ).train
    networks = UNetGenerator(image_size=256), PatchDiscriminator(6)
    optimizers = [torch.optim.Adam(network.parameters(), lr=2e-4, fused=True) for network in networks]
    transform = nn.Sequential(RandomCrop(0, size=256, flip=0.5), SplitPair())
    return data, gan_step(*networks, *optimizers, adversarial_loss=LOSSES["vanilla"], transform=transform)


def made_by(option: str, name: str) -> Any:
    """Return what the function ``module:function`` makes; raise ``ValueError`` if there is none."""
    module, _, function = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(f"{option} {name}: {error}; it must name a function without arguments") from error
    finally:
        sys.path.pop(0)


def parts_of(options: argparse.Namespace) -> tuple[Any, Step | None, int]:
    """Return the data set, the step, and the batch size that the options ask for."""
    if (options.task is None) == (options.dataset_factory is None):
        raise ValueError("give either --task or --dataset-factory")
    if options.task == "cifar2":
        return *cifar2_parts(options.data_root), options.batch_size or 128
    if options.task == "pix2pix":
        return *pix2pix_parts(options.data_root), options.batch_size or 1
    dataset = made_by("--dataset-factory", options.dataset_factory)
    step = made_by("--step-factory", options.step_factory) if options.step_factory else None
    return dataset, step, options.batch_size or 64


def verdict_of(dataset: Any, step: Step, setting: Setting, iterations: int) -> dict[str, Any]:
    """Run the loop under a timer and return its summary."""
    trainer = Engine(step)
    timer = FetchComputeTimer().attach(trainer)
    trainer.run(setting.loader(dataset), max_iters=iterations, epoch_length=iterations)
    return timer.summary()


def main(argv: Sequence[str] | None = None) -> None:
    """Measure from the inside out: samples, transforms, step, loader, loop."""
    with bad_input_exits():
        options = parser().parse_args(argv)
        keep_freed_memory()
        dataset, step, batch_size = parts_of(options)
        now = Setting(batch_size, num_workers=options.num_workers)
        if len(dataset) < batch_size:
            raise ValueError(f"--batch-size {batch_size} is more than the {len(dataset)} samples")
        output = Path(options.output)
        output.mkdir(parents=True, exist_ok=True)
    profile: dict[str, Any] = {"batch_size": batch_size, "samples": len(dataset)}
    bar = tqdm(total=5, bar_format="{desc} {bar:20} {n_fmt}/{total_fmt} {elapsed}", file=sys.stderr)

    def told(text: str) -> None:
        bar.set_description_str(text)

    told("data set alone")
    profile["items_per_s"] = items_per_s(dataset, seconds=2 * options.seconds)
    bar.update()
    told("transforms")
    profile.update(measured_transforms(dataset, options.seconds))
    bar.update()
    if step is None:
        step_s = 0.0
    else:
        told("step alone")
        batch = next(iter(now.loader(dataset)))
        step_s = profile["step_s"] = compute_s(step, batch, seconds=2 * options.seconds)
        profile["flops_per_s"], profile["matrix_product_flops_per_s"] = flops_per_s(step, batch, step_s)
    bar.update()
    settings = candidates(batch_size, on_device=torch.cuda.is_initialized())
    best, speedup, found = recommend(dataset, step, now, settings, seconds=options.seconds, told=told)
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
        told("the loop as it is")
        iterations = max(40, round(2 * options.seconds / loops_s[now]))
        profile["now"] = verdict_of(dataset, step, now, iterations)
        if best != now:
            told(f"confirming {best}")
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
