"""How an epoch's time and memory grow with the data: 1,000 to 1,000,000 images of 32×32.

python benchmarks/scaling.py             # make bench

Sets above 256 MiB lie in a file that is mapped into memory, as those above 4 GiB do in training.
"""

import argparse
import statistics
import time
from itertools import islice
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from ignite_pipeline.data.batch_transforms import Normalize, RandomCrop
from ignite_pipeline.data.images import ImageTensors, allocate
from ignite_pipeline.data.loading import endless_loader

LIMIT_BYTES = 256 * 2**20
BATCH = 128


def own_memory_mib() -> float:
    """Return the memory that is this process's own, pages of mapped files left out."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon"))


def random_images(count: int) -> ImageTensors:
    """Return ``count`` images of random bytes, in memory or in a mapped file."""
    images = allocate((count, 3, 32, 32), memory_limit_bytes=LIMIT_BYTES)
    for part in images.split(10_000):
        part.copy_(torch.randint(256, part.shape, dtype=torch.uint8))
    return ImageTensors(images, torch.arange(count) % 2)


def main() -> None:
    """Feed epochs of each size; print microseconds an image and the memory beside the images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    augment = nn.Sequential(RandomCrop(padding=4, flip=0.5), Normalize([0.5] * 3, [0.25] * 3))
    print(f"epochs in batches of {BATCH}, cropped, flipped and normalised\n")
    print("| images | where | s an epoch | µs an image | own memory while feeding, MiB more |")
    print("|---|---|---|---|---|")
    for count in (1_000, 10_000, 100_000, 1_000_000):
        dataset = random_images(count)
        mapped = dataset.images.numel() > LIMIT_BYTES
        loader = endless_loader(dataset, batch_size=BATCH, seed=0)
        batches, before = iter(loader), own_memory_mib()
        seconds = []
        for _ in tqdm(range(options.rounds), desc=f"{count} images", leave=False):
            start = time.perf_counter()
            for x, _ in islice(batches, len(loader)):
                augment(x)
            seconds.append(time.perf_counter() - start)
        more, each = own_memory_mib() - before, [1e6 * s / len(loader) / BATCH for s in seconds]
        spread = f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"
        where = "mapped file" if mapped else "memory"
        print(
            f"| {count:,} | {where} | {statistics.median(seconds):.3g} | {spread} | {more:.0f} |", flush=True
        )


if __name__ == "__main__":
    main()
