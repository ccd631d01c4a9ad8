"""Has anything become much slower? Three ratios to peers, measured in this process, in half a minute.

python benchmarks/quick.py               # make quick-bench

Ends with status 1 if a ratio is more than one and a half times what it was when it was written down.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn
from tqdm import tqdm

import feeding
import overhead
import pix2pix_step
from figures import spread
from ignite_pipeline.data.batch_transforms import Normalize, RandomCrop
from ignite_pipeline.data.generated import draw_airplanes_and_birds

ROUNDS = 5
TOLERATED = 1.5
ITERATIONS, RUNS = 5_000, 3


def overhead_ratio() -> Callable[[], float]:
    """Return what measures an iteration with every default handler over one of bare Ignite.

    The least of some runs of each: what else the machine does can only add to microseconds.
    """

    def measure() -> float:
        ours = [overhead.every_default_handler(ITERATIONS) for _ in range(RUNS)]
        return min(ours) / min(overhead.ignite(ITERATIONS) for _ in range(RUNS))

    return measure


def feeding_ratio() -> Callable[[], float]:
    """Return what measures the time of our augmented batches over that of torchvision's style."""
    images = draw_airplanes_and_birds(1_000, seed=0)
    classical = feeding.TorchvisionStyle(images)
    augment = nn.Sequential(RandomCrop(padding=4, flip=0.5), Normalize(feeding.MEAN, feeding.STD))

    def measure() -> float:
        theirs = feeding.images_per_s(feeding.classic(classical, 64, 0), 64, 0.5)
        return theirs / feeding.images_per_s(feeding.ours(images, 64, augment), 64, 0.5)

    return measure


def pix2pix_ratio() -> Callable[[], float]:
    """Return what measures our step of pix2pix at 64 pixels over the plain one."""
    pair = torch.rand(4, 3, 64, 64) * 2 - 1, torch.rand(4, 3, 64, 64) * 2 - 1
    steps = [make(64) for make in (lambda side: pix2pix_step.our_step(side, "fp32"), pix2pix_step.plain_step)]

    def seconds(step: Callable[[pix2pix_step.Pair], object]) -> float:
        start = time.perf_counter()
        for _ in range(2):
            step(pair)
        return time.perf_counter() - start

    for step in steps:
        seconds(step)
    return lambda: seconds(steps[0]) / seconds(steps[1])


# What each was on two cores of an Intel Xeon with torch 2.15 and Ignite 0.5.5.
USUAL: dict[str, tuple[Callable[[], Callable[[], float]], float]] = {
    "every default handler / bare Ignite": (overhead_ratio, 2.74),
    "our batches / torchvision style": (feeding_ratio, 0.054),
    "our pix2pix step / the plain one": (pix2pix_ratio, 0.62),
}


def main() -> None:
    """Print each ratio beside its limit."""
    torch.set_num_threads(1)  # threads wait for each other where another process holds a core: not our doing
    slow = []
    print("| | ratio | limit |\n|---|---|---|")
    for name, (prepare, usual) in USUAL.items():
        measure = prepare()
        ratios = [measure() for _ in tqdm(range(ROUNDS), desc=name, leave=False)]
        print(f"| {name} | {spread(ratios, '.3g')} | {TOLERATED * usual:.3g} |", flush=True)
        if statistics.median(ratios) > TOLERATED * usual:
            slow.append(name)
    if slow:
        sys.exit(f"took half as long again as it did, or more: {', '.join(slow)}")


if __name__ == "__main__":
    main()
