"""What the order of an epoch costs: ours, worked out place by place, beside torch's, drawn whole.

python benchmarks/order.py               # make bench

Each hands out batches of indices as lists. The first batch is one from the middle of an epoch: what it takes
is what resuming there costs. An epoch of ours is timed over 10 million indices at most: none costs more than
another. Times are those of one thread on the processor, which other processes do not disturb: nothing here
waits. Memory is the most that is held at a time, beside the weights: the growth of a process of its own or
what tracemalloc counts (NumPy and Python), whichever is more.
"""

import argparse
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, RandomSampler, Sampler, WeightedRandomSampler
from tqdm import tqdm

from ignite_pipeline.data.position_sampler import BatchKey, PositionSampler

BATCH = 64
MOST_TIMED = 10**7  # indices of an epoch
ROUNDS = 5

Batches = Iterator[list[int]]


def ours(size: int, first: int, weights: Tensor | None = None) -> Batches:
    """Yield batches as the endless loader asks for them, from batch ``first`` of an epoch on."""
    sampler = PositionSampler(size, batch_size=BATCH, seed=0, start_iteration=first, weights=weights)
    return (key.indices for key in sampler if isinstance(key, BatchKey))


def randperm(size: int, first: int) -> Batches:
    """Yield the parts of a permutation: the least that an order which is drawn whole can cost."""
    order = torch.randperm(size, generator=torch.Generator().manual_seed(0))
    return parts(order, first)


def parts(order: Tensor, first: int) -> Batches:
    """Yield the batches of an order; not by ``split``, which makes all of its parts at once."""
    return (order[start : start + BATCH].tolist() for start in range(first * BATCH, len(order), BATCH))


def multinomial(size: int, first: int, weights: Tensor) -> Batches:
    """Yield the parts of as many draws with replacement as there are weights."""
    generator = torch.Generator().manual_seed(0)
    order = torch.multinomial(weights, size, replacement=True, generator=generator)
    return parts(order, first)


def skipped(sampler: Sampler[int], first: int) -> Batches:
    """Yield what torch's DataLoader asks its sampler for; resuming skips the batches before."""
    return islice(BatchSampler(sampler, BATCH, drop_last=True), first, None)


def random_sampler(size: int, first: int) -> Batches:
    """Yield batches of ``DataLoader(shuffle=True)``."""
    generator = torch.Generator().manual_seed(0)
    return skipped(RandomSampler(range(size), generator=generator), first)


def weighted_sampler(size: int, first: int, weights: Tensor) -> Batches:
    """Yield batches of torch's sampler for weights."""
    generator = torch.Generator().manual_seed(0)
    return skipped(WeightedRandomSampler(cast(Any, weights), size, generator=generator), first)


CONTENDERS: dict[str, Callable[..., Batches]] = {
    "ours": ours,
    "torch.randperm": randperm,
    "torch's RandomSampler": random_sampler,
    "ours, a weight each": ours,
    "torch.multinomial": multinomial,
    "torch's WeightedRandomSampler": weighted_sampler,
}
WEIGHTED = tuple(CONTENDERS)[3:]
# How often each is measured; torch.multinomial takes 2**24 weights at most.
ROWS: dict[int, dict[str, int]] = {
    **{size: dict.fromkeys(CONTENDERS, ROUNDS) for size in (10**4, 10**6, 10**7)},
    10**8: {"ours": ROUNDS, "torch.randperm": 1},
    10**9: {"ours": ROUNDS},
}


def prepared(name: str, size: int) -> Callable[[int], Batches]:
    """Return what takes the first batch; weights are there before anything is measured."""
    if name not in WEIGHTED:
        return partial(CONTENDERS[name], size)
    weights = torch.rand(size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return partial(CONTENDERS[name], size, weights=weights)


def first_batch_ms(batches_from: Callable[[int], Batches], size: int) -> float:
    """Return how long the batch in the middle of an epoch takes."""
    start = time.process_time()
    next(batches_from(size // BATCH // 2))
    return 1e3 * (time.process_time() - start)


def ns_an_index(batches_from: Callable[[int], Batches], size: int, most: int) -> float:
    """Return how long an index takes on average, over a whole epoch or ``most`` of its indices.

    Short epochs are drawn several times.
    """
    count, times = min(size, most) // BATCH, max(1, 10**5 // size)
    start = time.process_time()
    for _ in range(times):
        for _ in islice(batches_from(0), count):
            pass
    return 1e9 * (time.process_time() - start) / (times * count * BATCH)


def peak_mib(name: str, size: int) -> float:
    """Return the most memory that the batches take, measured in a process of its own."""
    command = [sys.executable, __file__, "--memory-of", name, "--size", str(size)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak_mib_here(name: str, size: int) -> float:
    """Return the most memory that a resume and the batches after it take in this process."""

    def use(size: int, batches_from: Callable[[int], Batches]) -> None:
        for _ in islice(batches_from(size // BATCH // 2), min(size // 2, 10**5) // BATCH):
            pass

    use(10**4, prepared(name, 10**4))  # what is imported and compiled on first use is not the order's
    batches_from = prepared(name, size)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew at what is held now
    before = memory_kib("VmHWM")
    use(size, batches_from)
    grown = 1024 * (memory_kib("VmHWM") - before)
    tracemalloc.start()
    use(size, batches_from)
    return max(grown, tracemalloc.get_traced_memory()[1]) / 2**20


def memory_kib(name: str) -> int:
    """Return an entry of this process's status."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(name))


def main() -> None:
    """Measure the contenders of each size in turn; print the medians and their spread."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=list(ROWS), help="samples in an epoch (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="at most (default: %(default)s)")
    parser.add_argument("--most", type=int, default=MOST_TIMED, help="indices of an epoch to time")
    parser.add_argument("--memory-of", choices=tuple(CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(peak_mib_here(options.memory_of, options.size))
        return

    torch.set_num_threads(1)
    print(f"batches of {BATCH} indices; median (least to largest) of {options.rounds} rounds\n")
    print("| indices | | first batch, ms | an epoch, ns an index | peak memory, MiB |\n|---|---|---|---|---|")
    for size in options.sizes:
        for name in ROWS[size]:
            first_batch_ms(prepared(name, 10**4), 10**4)  # not what is imported on first use
        makers = {name: prepared(name, size) for name in ROWS[size]}
        first: dict[str, list[float]] = {name: [] for name in makers}
        each: dict[str, list[float]] = {name: [] for name in makers}
        for number in tqdm(range(options.rounds), desc=f"{size:,} indices", leave=False):
            for name, batches_from in makers.items():
                if number < ROWS[size][name]:
                    first[name].append(first_batch_ms(batches_from, size))
                    most = options.most if name == "ours" else size
                    each[name].append(ns_an_index(batches_from, size, most))
        makers.clear()  # the weights leave the memory to the processes
        for name in first:
            times = f"{spread(first[name])} | {spread(each[name])}"
            print(f"| {size:,} | {name} | {times} | {short(peak_mib(name, size))} |", flush=True)


def spread(values: list[float]) -> str:
    """Return median, least and largest."""
    return f"{short(statistics.median(values))} ({short(min(values))} to {short(max(values))})"


def short(value: float) -> str:
    """Return a number to three digits."""
    return f"{float(f'{value:.3g}'):,g}"


if __name__ == "__main__":
    main()
