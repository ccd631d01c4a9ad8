"""How many augmented images a second a loader feeds: 32×32 images, and pairs of 256×256.

python benchmarks/feeding.py             # make bench

The images are drawn, so that anybody can repeat it; what is fed is the same for all.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T
from tqdm import tqdm

from figures import spread
from ignite_pipeline.data.batch_transforms import Normalize, RandomCrop, SplitPair
from ignite_pipeline.data.generated import draw_airplanes_and_birds
from ignite_pipeline.data.generated_facades import draw_facades
from ignite_pipeline.data.images import ImageTensors
from ignite_pipeline.data.loading import endless_loader
from ignite_pipeline.data.paired import PairTensors, paired_images

MEAN, STD = (0.4915, 0.4823, 0.4468), (0.2470, 0.2435, 0.2616)
Batches = Iterator[Any]


class TorchvisionStyle(Dataset[Any]):
    """Images as torchvision's CIFAR10 has them: an array, a Pillow image, and transforms one by one."""

    def __init__(self, images: ImageTensors) -> None:
        self.arrays = images.images.permute(0, 2, 3, 1).numpy()
        self.targets = images.targets.tolist()
        self.transform = T.Compose(
            [T.RandomCrop(32, padding=4), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize(MEAN, STD)]
        )

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.arrays[index])), self.targets[index]


class PillowPairs(Dataset[Any]):
    """Pairs side by side in JPEG files: opened, scaled to 286, cut to 256, flipped, one by one."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.jpg"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = Image.open(self.files[index]).convert("RGB")
        half = image.width // 2
        sides = [image.crop((0, 0, half, image.height)), image.crop((half, 0, image.width, image.height))]
        x, y = (int(torch.randint(31, ())) for _ in range(2))
        flip = bool(torch.rand(()) < 0.5)
        tensors = []
        for side in sides:
            side = side.resize((286, 286), Image.Resampling.BICUBIC).crop((x, y, x + 256, y + 256))
            side = side.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else side
            tensors.append(T.functional.to_tensor(side) * 2 - 1)
        return tensors[1], tensors[0]


def classic(dataset: Dataset[Any], batch_size: int, num_workers: int) -> Batches:
    """Return batches from PyTorch's loader, epoch after epoch."""
    return cycle_epochs(
        DataLoader(dataset, batch_size, shuffle=True, drop_last=True, num_workers=num_workers)
    )


def cycle_epochs(loader: DataLoader[Any]) -> Batches:
    """Return an endless iterator over epochs."""
    while True:
        yield from loader


def ours(dataset: Dataset[Any], batch_size: int, transform: nn.Module, num_workers: int = 0) -> Batches:
    """Return batches from the endless loader, augmented whole."""
    for batch in endless_loader(dataset, batch_size=batch_size, seed=0, num_workers=num_workers):
        yield (transform(batch[0]), batch[1]) if isinstance(batch, tuple) else transform(batch)


def gathered(images: Tensor, batch_size: int, convert: Callable[[Tensor], Any]) -> Batches:
    """Return batches that are gathered and converted, and nothing else: what memory allows."""
    for rows in cycle(torch.randperm(len(images)).split(batch_size)[:-1]):
        yield convert(images.index_select(0, rows))


def images_per_s(batches: Batches, batch_size: int, seconds: float) -> float:
    """Return the rate, once workers have begun."""
    for _ in range(20):
        next(batches)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        next(batches)
        count += 1
    return count * batch_size / (time.perf_counter() - start)


def compare(makers: dict[str, Callable[[], Batches]], batch_size: int, options: argparse.Namespace) -> None:
    """Measure each in turn, several times; print rates and their ratios to the first."""
    rates: dict[str, list[float]] = {name: [] for name in makers}
    for _ in tqdm(range(options.rounds), desc="rounds", leave=False):
        for name, make in makers.items():
            rates[name].append(images_per_s(make(), batch_size, options.seconds))
    first = next(iter(rates.values()))
    print("| | a second | times the first, in pairs |\n|---|---|---|")
    for name, measured in rates.items():
        ratios = [rate / base for rate, base in zip(measured, first, strict=True)]
        print(f"| {name} | {spread(measured, ',.0f')} | {spread(ratios, '.1f')} |")
    print()


def main() -> None:
    """Print a table for images and one for pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()
    size = options.batch_size

    drawn = draw_airplanes_and_birds(10_000, seed=0)
    images = ImageTensors(drawn.images, drawn.targets)
    classical = TorchvisionStyle(images)
    normalize = Normalize(MEAN, STD)
    augment = nn.Sequential(RandomCrop(padding=4, flip=0.5), normalize)
    print(f"32×32 images, batches of {size}: crop with padding 4, flip, normalise\n")
    compare(
        {
            "torchvision style, in this process": lambda: classic(classical, size, 0),
            "torchvision style, 2 workers": lambda: classic(classical, size, 2),
            "ours": lambda: ours(images, size, augment),
            "gather and convert alone, no augmentation": lambda: gathered(images.images, size, Tensor.float),
        },
        size,
        options,
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for split, count in (("train", 100), ("val", 4)):
            (root / split).mkdir()
            photos, labels = draw_facades(count, seed=0, side=256)
            for index, pair in enumerate(torch.cat([photos, labels], dim=3)):
                Image.fromarray(pair.permute(1, 2, 0).numpy()).save(root / split / f"{index:03d}.jpg")
        pairs: PairTensors = paired_images(root).train
        pillow = PillowPairs(root / "train")
        crop = nn.Sequential(RandomCrop(0, size=256, flip=0.5), SplitPair())
        print("pairs of 256×256, batches of 4: scaled to 286, cut to 256, flipped\n")
        compare(
            {
                "Pillow, in this process": lambda: classic(pillow, 4, 0),
                "Pillow, 2 workers": lambda: classic(pillow, 4, 2),
                "ours": lambda: ours(pairs, 4, crop),
            },
            4,
            options,
        )


if __name__ == "__main__":
    main()
