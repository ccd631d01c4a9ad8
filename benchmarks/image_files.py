"""How many images a second come from files: beside torchvision's ImageFolder, with the same transforms.

python benchmarks/image_files.py

The images are drawn façades with noise, saved as JPEG, so that anybody can repeat it. torchvision's reads
them anew in every epoch; ours does so too where it must not keep them.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from tqdm import tqdm

from feeding import Batches, classic, compare
from ignite_pipeline.data.generated_facades import draw_facades
from ignite_pipeline.data.image_folder import image_folder
from ignite_pipeline.data.loading import endless_loader
from ignite_pipeline.data.sample_transforms import Transformed


def write_images(root: Path, count: int, width: int, height: int) -> None:
    """Write so many JPEG files of two classes to train/ and val/."""
    noise = np.random.default_rng(0)
    photos, _ = draw_facades(20, seed=0, side=256)
    for number in tqdm(range(count), desc="drawing", leave=False):
        photo = Image.fromarray(photos[number % 20].permute(1, 2, 0).numpy()).resize((width, height))
        pixels = np.asarray(photo, np.int16) + noise.integers(-20, 21, (height, width, 3), np.int16)
        for split in ("train", "val") if number < 2 else ("train",):
            folder = root / split / "ab"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.jpg", quality=90)


def theirs(root: Path, transform: Any, workers: int, batch_size: int) -> Batches:
    """Return batches of torchvision's ImageFolder from PyTorch's loader."""
    as_tensor = v2.PILToTensor()
    return classic(ImageFolder(root / "train", v2.Compose([*transform, as_tensor])), batch_size, workers)


def ours(train: Any, transform: Any, workers: int, batch_size: int) -> Batches:
    """Return batches of the endless loader."""
    data = Transformed(train, v2.Compose(transform)) if transform else train
    return iter(endless_loader(data, batch_size=batch_size, seed=0, num_workers=workers))


def makers(
    root: Path, image_size: int | None, transform: list[Any], batch_size: int
) -> dict[str, Callable[[], Batches]]:
    """Return who is compared: torchvision's and ours, without workers and with two."""
    first = [] if image_size is None else [v2.Resize(image_size), v2.CenterCrop(image_size)]
    found: dict[str, Callable[[], Batches]] = {}
    storages = ("files",) if image_size is None else ("files", "memory")
    splits = {storage: image_folder(root, image_size=image_size, storage=storage) for storage in storages}
    if "memory" in splits:  # decoded once, as after the first epoch
        for index in tqdm(range(len(splits["memory"].train)), desc="first epoch", leave=False):
            splits["memory"].train[index]
    for workers in (0, 2):
        found[f"torchvision's ImageFolder, {workers} workers"] = partial(
            theirs, root, [*first, *transform], workers, batch_size
        )
        for storage, data in splits.items():
            found[f"ours from {storage}, {workers} workers"] = partial(
                ours, data.train, transform, workers, batch_size
            )
    return found


def main() -> None:
    """Print a table for photographs that are cut to squares, whole ones, and small pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument(
        "--count", type=int, default=1000, help="photographs; ten times as many small pictures"
    )
    options = parser.parse_args()
    size = options.batch_size
    crop = [v2.RandomResizedCrop(224, antialias=True), v2.RandomHorizontalFlip()]
    with tempfile.TemporaryDirectory() as folder:
        large, small = Path(folder, "large"), Path(folder, "small")
        write_images(large, options.count, 500, 375)
        write_images(small, 10 * options.count, 32, 32)
        print("Photographs of 500×375, cut to 256×256, then a random crop of 224×224 and a flip:\n")
        compare(makers(large, 256, crop, size), size, options)
        print("The same photographs, whole, then a random crop of 224×224 and a flip:\n")
        compare(makers(large, None, crop, size), size, options)
        print("Pictures of 32×32, a random crop after padding, and a flip:\n")
        small_crop = [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()]
        compare(makers(small, 32, small_crop, size), size, options)
        print("Pictures of 32×32, as they are:\n")
        compare(makers(small, 32, [], size), size, options)


if __name__ == "__main__":
    main()
