"""Is the setting that the search finds the best of them all, and is its speed-up what was predicted?

IGNITE_PIPELINE_CIFAR2=... IGNITE_PIPELINE_FACADES=... python benchmarks/setting_search.py
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import product
from typing import Any

from torch.utils.data import Dataset
from tqdm import tqdm

from ignite_pipeline.machine import available_cores
from ignite_pipeline.profiling.tuning import (
    Setting,
    Step,
    candidates,
    loop_s,
    paired_loops_s,
    recommend,
)
from pil_pipelines import cifar2, cifar2_step, facades, facades_step


def grid(batch_size: int) -> list[Setting]:
    """Return every combination of workers, queue and threads."""
    cores = available_cores()
    workers = range(1, 2 * cores + 1)
    threads = [None, *range(1, cores)]
    return [Setting(batch_size)] + [
        Setting(batch_size, num_workers=count, prefetch_factor=prefetch, threads=number)
        for count, prefetch, number in product(workers, (2, 4, 8), threads)
    ]


def compare(dataset: Dataset[Any], step: Step, batch_size: int, rounds: int, seconds: float) -> str:
    """Search, measure the whole grid, and return the comparison as a row of a table."""
    now = Setting(batch_size)
    start = time.perf_counter()
    best, predicted, _ = recommend(dataset, step, now, candidates(batch_size), seconds=seconds)
    search_s = time.perf_counter() - start

    times: dict[Setting, list[float]] = {setting: [] for setting in {now, best, *grid(batch_size)}}
    start = time.perf_counter()
    for _ in tqdm(range(rounds), desc="grid", leave=False):
        for setting, measured_s in times.items():
            measured_s.append(loop_s(dataset, step, setting, seconds=2 * seconds))
    grid_s = time.perf_counter() - start
    winner = min(times, key=lambda setting: statistics.median(times[setting]))
    # Again, in turn: the best of so many was lucky too.
    duel_s = paired_loops_s(dataset, step, (best, winner), rounds=rounds, seconds=2 * seconds)
    behind = statistics.median(ours / theirs for ours, theirs in duel_s) - 1 if best != winner else 0.0
    speedups = [ours / theirs for ours, theirs in zip(times[now], times[best], strict=True)]
    return (
        f"| {predicted:.2f} | {statistics.median(speedups):.2f} ({min(speedups):.2f} to {max(speedups):.2f}) "
        f"| {best} | {winner} | {behind:.1%} | {search_s:.0f} | {grid_s:.0f} |"
    )


def main() -> None:
    """Print a row for each of the two pipelines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    options = parser.parse_args()
    pipelines: dict[str, tuple[Callable[[], Dataset[Any]], Callable[[], Step], int]] = {
        "CIFAR2, conv net, batch 64": (cifar2, cifar2_step, 64),
        "façades at 64 pixels, pix2pix, batch 4": (facades, facades_step, 4),
    }
    print("| | predicted | confirmed | found | best of the grid | behind it | search, s | grid, s |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (dataset, step, batch_size) in pipelines.items():
        row = compare(dataset(), step(), batch_size, options.rounds, options.seconds)
        print(f"| {name} {row}", flush=True)


if __name__ == "__main__":
    main()
