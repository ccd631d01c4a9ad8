"""What data, transforms, step, loader and loop cost, and which setting of the loader helps: all measured."""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from tqdm import tqdm

from handlers import FetchComputeTimer
from ignite_pipeline.errors import BadInput
from ignite_pipeline.machine import available_memory_bytes
from ignite_pipeline.profiling.changes import CONFIRMING_ROUNDS
from ignite_pipeline.profiling.recipe import Parts
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


def profile_loop(
    parts: Parts, now: Setting, *, seconds: float, bar: "tqdm[Any]"
) -> tuple[dict[str, Any], Setting]:
    """Return what was measured, from the inside out, and the setting to take instead of ``now``."""
    dataset: Any = parts.dataset
    step, batch_size = parts.step, parts.batch_size
    profile: dict[str, Any] = {"batch_size": batch_size, "samples": len(dataset)}
    bar.set_description_str("data set alone")
    profile["items_per_s"] = items_per_s(dataset, seconds=2 * seconds)
    bar.update()
    bar.set_description_str("transforms")
    profile.update(measured_transforms(dataset, seconds))
    bar.update()
    if step is not None:
        bar.set_description_str("step alone")
        batch = next(iter(now.loader(dataset)))
        step_s = profile["step_s"] = compute_s(step, batch, seconds=2 * seconds)
        profile["flops_per_s"], profile["matrix_product_flops_per_s"] = flops_per_s(step, batch, step_s)
    bar.update()
    on_device = torch.cuda.is_initialized()
    settings = [
        replace(one, collate_fn=parts.collate_fn) for one in candidates(batch_size, on_device=on_device)
    ]
    best, speedup, found = recommend(
        dataset, step, now, settings, seconds=seconds, on_progress=bar.set_description_str
    )
    profile["settings"] = [{**vars(one), "setting": str(one.setting)} for one in found]
    profile["recommended"], profile["predicted_speedup"] = str(best), speedup
    loops_s = {one.setting: one.loop_s for one in found}
    bar.update()
    profile["batch_sizes"] = rates_by_size(dataset, step, best, seconds)
    if step is not None:
        bar.set_description_str("the loop as it is")
        iterations = max(40, round(2 * seconds / loops_s[now]))
        profile["now"] = verdict_of(dataset, step, now, iterations)
        if best != now:
            bar.set_description_str(f"confirming {best}")
            profile["confirmed"] = confirmed(dataset, step, now, best, 2 * seconds)
    bar.update()
    return profile, best


def rates_by_size(dataset: Any, step: Step | None, setting: Setting, seconds: float) -> dict[int, float]:
    """Return samples a second by batch size: half, the same, twice and four times, if the step takes them."""
    rates = {}
    for size in (setting.batch_size // 2, *(setting.batch_size * times for times in (1, 2, 4))):
        if 1 <= size <= len(dataset):
            changed = replace(setting, batch_size=size)
            try:
                rates[size] = size / loop_or_loader_s(dataset, step, changed, seconds=seconds)
            except BadInput:
                raise
            except (RuntimeError, ValueError):  # too much for the memory, or too few for batch norm
                continue
    return rates


def verdict_of(dataset: Any, step: Step, setting: Setting, iterations: int) -> dict[str, Any]:
    """Run the loop under a timer and return its summary."""
    trainer = Engine(step)
    timer = FetchComputeTimer().attach(trainer)
    trainer.run(setting.loader(dataset), max_iters=iterations, epoch_length=iterations)
    return timer.summary()


def measured_transforms(dataset: Any, seconds: float) -> dict[str, Any]:
    """Return the costs of the data set's transforms, quicker orders, and what caching would give."""
    transforms = transforms_of(dataset)
    if not transforms:
        return {"transforms": [], "reorderings": []}
    count = min(32, len(dataset))
    with _untransformed(dataset):
        raw = [dataset[index] for index in range(count)]
        raw_per_s = items_per_s(dataset, seconds=seconds)
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
            "free_gb": available_memory_bytes() / 1e9,
            "speedup_of_samples": (1 / raw_per_s + transforms_s) / transforms_s,
        },
    }


@contextmanager
def _untransformed(dataset: Any) -> Iterator[None]:
    """Take the transform away for a ``with`` block.

    Some of torchvision's data sets call ``transforms``, which holds ``transform``, too.
    """
    transform, both = dataset.transform, getattr(dataset, "transforms", None)
    names = ["transform", *(["transforms"] if getattr(both, "transform", None) is transform else [])]
    try:
        for name in names:
            setattr(dataset, name, None)
        yield
    finally:
        dataset.transform = transform
        if "transforms" in names:
            dataset.transforms = both


def confirmed(dataset: Any, step: Step, now: Setting, best: Setting, seconds: float) -> dict[str, Any]:
    """Run the real loop with both settings in turn; return its seconds a batch and the speed-ups."""
    pairs_s = paired_loops_s(dataset, step, (now, best), rounds=CONFIRMING_ROUNDS, seconds=seconds)
    speedups = [before / after for before, after in pairs_s]
    return {"pairs_s": pairs_s, "speedup": statistics.median(speedups), "speedups": speedups}
