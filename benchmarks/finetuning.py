"""What trained weights are worth when labels are few: a backbone that saw none, beside random weights.

PYTHONPATH=scripts python benchmarks/finetuning.py --data-root DIR        # make bench

The backbone learns by how much an image was rotated (Gidaris et al., arXiv 1803.07728), on one half of the
images. From the other half come 200 labels, others for every seed, and the images by which learning rates are
chosen. With --folder, what is there already is not trained again.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import random
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from PIL import Image
from torch import nn
from torchvision.transforms import v2
from tqdm import tqdm

import run_finetune
from figures import spread

CLASSES = ("airplane", "bird")
LABELS = 100  # of each class
COPIES = 5  # of each image in an epoch: evaluating 1,000 images after every 200 would take most of the time
FOR_CHOICE = 500  # of each class
FOR_ROTATIONS = 100  # of each class: how well the backbone does, on images that it has not seen
RATE_SEEDS = 2
COMMON = ["--image-size", "32", "--num-workers", "0", "--precision", "fp32", "--visdom", "off"]
BACKBONE = ["--weights", "none", "--batch-size", "64", "--lr", "2e-3", "--layer-decay", "1"]
BACKBONE += ["--warmup-epochs", "0.1"]
Table = dict[str, dict[str, float]]
Results = dict[str, list[Any]]


@dataclass(frozen=True)
class Variant:
    """A way to begin and to train: its options, and the rates to choose from."""

    words: tuple[str, ...]
    rates: tuple[str, ...] = ("1e-3", "2e-3", "4e-3")
    rate_of: str | None = None
    longer: int = 1


RANDOM = "random weights"
VARIANTS = {
    RANDOM: Variant(("--weights", "none", "--layer-decay", "1")),
    "the backbone, fine-tuned": Variant(("--weights", "BACKBONE")),
    "the same, its head alone in the first quarter": Variant(
        ("--weights", "BACKBONE", "--freeze-epochs", "1"), rate_of="the backbone, fine-tuned"
    ),
    "the backbone, frozen": Variant(
        ("--weights", "BACKBONE", "--freeze", "all"), rates=("3e-3", "1e-2", "3e-2")
    ),
    "random weights, twice the epochs": Variant(
        ("--weights", "none", "--layer-decay", "1"), rate_of=RANDOM, longer=2
    ),
}


def halves(data_root: Path, name: str, seed: int) -> tuple[list[Path], list[Path]]:
    """Return the images of a class that a backbone sees, without their labels, and the others."""
    images = sorted((data_root / "train" / name).iterdir())
    random.Random(f"{seed} {name}").shuffle(images)
    return images[: len(images) // 2], images[len(images) // 2 :]


def make_rotations(data_root: Path, folder: Path, seed: int) -> None:
    """Write rotated images of one half, those of some of them for validation."""
    for name in CLASSES:
        seen, _ = halves(data_root, name, seed)
        write_rotated(seen[FOR_ROTATIONS:], folder / "train", prefix=name)
        write_rotated(seen[:FOR_ROTATIONS], folder / "val", prefix=name)


def make_labels(data_root: Path, folder: Path, seed: int, backbone: int) -> None:
    """Link images of the other half: labelled ones, to be validated in ``choice`` or in ``test``."""
    for name in CLASSES:
        _, images = halves(data_root, name, backbone)
        images = images[(seed - backbone) * LABELS :]  # other labels for each seed of one backbone
        for use in ("choice", "test"):
            link(images[:LABELS], folder / use / "train" / name, copies=COPIES)
        link(images[LABELS:][:FOR_CHOICE], folder / "choice" / "val" / name)
        link(sorted((data_root / "test" / name).iterdir()), folder / "test" / "val" / name)


def made(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return a folder that is made whole, or was."""
    if not folder.exists():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        make(part)
        part.rename(folder)
    return folder


def write_rotated(paths: Iterable[Path], folder: Path, *, prefix: str) -> None:
    """Write four files for each image, without loss; the class of each is its angle in degrees."""
    for angle in (0, 90, 180, 270):
        (folder / str(angle)).mkdir(parents=True, exist_ok=True)
    for path in paths:
        with Image.open(path) as image:
            for angle in (0, 90, 180, 270):
                image.rotate(angle, expand=True).save(folder / str(angle) / f"{prefix}_{path.stem}.png")


def link(paths: Iterable[Path], folder: Path, *, copies: int = 1) -> None:
    """Link images into a folder, each so many times."""
    folder.mkdir(parents=True)
    for path in paths:
        for copy in range(copies):
            (folder / f"{path.stem}_{copy}{path.suffix}").symlink_to(path.resolve())


def crop_alone(options: argparse.Namespace) -> nn.Module:
    """Stand in for the recipe's augmentation, whose flip would turn 90 degrees into 270."""
    return nn.Sequential(v2.RandomCrop(options.image_size))


def trained(directory: Path, words: Sequence[str], *, augment: Callable[..., nn.Module] | None = None) -> Any:
    """Run the recipe, or go on with the run in ``directory``, unless it is done; return its summary."""
    summary = directory / "summary.json"
    if not summary.exists() or json.loads(summary.read_text())["status"] != "completed":
        begun = (directory / "config.json").exists()
        where = ["--resume", str(directory)] if begun else [*COMMON, *words, "--output", str(directory)]
        errors = io.StringIO()
        with contextlib.ExitStack() as quiet:
            quiet.enter_context(contextlib.redirect_stdout(io.StringIO()))
            quiet.enter_context(contextlib.redirect_stderr(errors))
            if augment is not None:
                quiet.enter_context(patch.object(run_finetune, "augmentation_of_images", augment))
            try:
                run_finetune.main(where)
            except SystemExit as end:
                raise RuntimeError(f"run_finetune.py {' '.join(where)}: {errors.getvalue()}") from end
        for checkpoint in sorted((directory / "checkpoints").iterdir())[:-1]:
            checkpoint.unlink()
    return json.loads(summary.read_text())


def train_backbone(data_root: Path, folder: Path, seed: int, epochs: int) -> Any:
    """Learn rotations; return the summary, and leave a checkpoint."""
    images = made(folder / "rotations", partial(make_rotations, data_root, seed=seed))
    words = ["--data-root", str(images), "--epochs", str(epochs), "--seed", str(seed), *BACKBONE]
    return trained(folder / "run", words, augment=crop_alone)


@dataclass(frozen=True)
class Setting:
    """What all variants have in common: the folder of each seed, that of its backbone, and the budget."""

    folders: Sequence[Path]
    backbones: Sequence[Path]
    epochs: int

    def train(self, name: str, seed: int, rate: str, use: str) -> Any:
        """Train on the labels of a seed; return the summary, with the accuracy on ``choice`` or ``test``."""
        variant, folder, backbone = VARIANTS[name], self.folders[seed], self.backbones[seed]
        images = folder / "labels" / use
        words = ["--data-root", str(images), "--lr", rate, "--epochs", str(self.epochs * variant.longer)]
        for word in variant.words:
            words.append(word if word != "BACKBONE" else str(next((backbone / "run/checkpoints").iterdir())))
        directory = folder / f"{use}_{list(VARIANTS).index(name)}_{rate}"
        summary = trained(directory, [*words, "--seed", str(seed)])
        for checkpoint in (directory / "checkpoints").iterdir():
            checkpoint.unlink()
        return summary


def compare(pool: Executor, setting: Setting, names: Sequence[str]) -> tuple[Table, dict[str, str], Results]:
    """Return how each rate does on images that are not tested on, the best ones, and how these do."""
    seeds = range(len(setting.folders))
    choice = {
        name: {
            rate: [pool.submit(setting.train, name, seed, rate, "choice") for seed in seeds[:RATE_SEEDS]]
            for rate in VARIANTS[name].rates
        }
        for name in names
        if VARIANTS[name].rate_of is None
    }
    table = {
        name: {rate: statistics.mean(accuracy(job.result()) for job in jobs) for rate, jobs in rates.items()}
        for name, rates in tqdm(choice.items(), desc="learning rates", leave=False)
    }
    best = {name: max(rates, key=lambda rate: rates[rate]) for name, rates in table.items()}
    best = {name: best[VARIANTS[name].rate_of or name] for name in names}
    test = {
        name: [pool.submit(setting.train, name, seed, best[name], "test") for seed in seeds] for name in names
    }
    waiting = tqdm(test.items(), desc="variants", leave=False)
    return table, best, {name: [job.result() for job in jobs] for name, jobs in waiting}


def accuracy(summary: Mapping[str, Any]) -> float:
    """Return the accuracy after the last epoch."""
    return float(summary["final"]["val/accuracy"])


def main() -> None:
    """Train backbones, choose rates, train each variant with each seed; print accuracies and differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", default=os.environ.get("IGNITE_PIPELINE_CIFAR2"))
    parser.add_argument("--seeds", type=int, default=5, help="runs of each (default: %(default)s)")
    parser.add_argument("--backbones", choices=("one", "each"), default="one", help="for all seeds, or each")
    parser.add_argument(
        "--backbone-epochs", type=int, default=5, help="of training each backbone (default: %(default)s)"
    )
    parser.add_argument("--epochs", type=int, default=4, help=f"{COPIES} passes each (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="at a time (default: cores)")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary one)")
    options = parser.parse_args()
    if options.data_root is None:
        print("not measured: give --data-root, or set IGNITE_PIPELINE_CIFAR2, to a folder of CIFAR-10")
        return

    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started
    with contextlib.ExitStack() as stack:
        root = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        context = multiprocessing.get_context("spawn")
        pool = stack.enter_context(ProcessPoolExecutor(options.processes, mp_context=context))
        measure(pool, Path(options.data_root), root.resolve(), options)


def measure(pool: Executor, data_root: Path, root: Path, options: argparse.Namespace) -> None:
    """Do what `main` says, in ``root``."""
    root /= f"{options.backbones}_{options.backbone_epochs}_{options.epochs}"
    count = options.seeds if options.backbones == "each" else 1
    backbones = [root / "backbones" / str(number) for number in range(count)]
    jobs = [
        pool.submit(train_backbone, data_root, folder, seed, options.backbone_epochs)
        for seed, folder in enumerate(backbones)
    ]
    folders = [root / "seeds" / str(seed) for seed in range(options.seeds)]
    backbone_of = [backbones[seed % count] for seed in range(options.seeds)]
    for seed, folder in enumerate(folders):
        made(folder / "labels", partial(make_labels, data_root, seed=seed, backbone=seed % count))
    setting = Setting(folders, backbone_of, options.epochs)
    without = [name for name, variant in VARIANTS.items() if "BACKBONE" not in variant.words]
    tables, rates, found = compare(pool, setting, without)  # while the backbone is trained
    learnt = [job.result() for job in tqdm(jobs, desc="backbones", leave=False)]
    more = compare(pool, setting, [name for name in VARIANTS if name not in without])
    tables, rates, found = {**tables, **more[0]}, {**rates, **more[1]}, {**found, **more[2]}
    describe(options, learnt, tables)
    print(
        f"\n{LABELS * len(CLASSES)} labels, {options.epochs * COPIES} passes over them, batches of 32;"
        f" {found[RANDOM][0]['dataset']['val']:,} test images:\n"
    )
    print("| | rate | accuracy | over random weights, in pairs | seconds |\n|---|---|---|---|---|")
    base = [accuracy(summary) for summary in found[RANDOM]]
    for name in VARIANTS:
        values = [accuracy(summary) for summary in found[name]]
        gains = [value - other for value, other in zip(values, base, strict=True)]
        gain = "–" if name == RANDOM else spread(gains, "+.3f")
        seconds = spread([summary["timing"]["wall_s"] for summary in found[name]], ".0f")
        print(f"| {name} | {rates[name]} | {spread(values, '.3f')} | {gain} | {seconds} |")


def describe(options: argparse.Namespace, backbones: Sequence[Any], tables: Table) -> None:
    """Print how well rotations were learnt, and how the rates did."""
    which = "One backbone" if len(backbones) == 1 else "A backbone for each seed"
    print(
        f"ResNet-18, 32 pixels, {options.seeds} seeds, {options.processes} runs of one thread at a time;"
        " medians (least to largest).\n\n"
        f"{which}: {options.backbone_epochs} epochs of {backbones[0]['dataset']['train']:,} rotated images"
        f" without labels, in {spread([it['timing']['wall_s'] for it in backbones], '.0f')} s at"
        f" {spread([it['images_per_s'] for it in backbones], '.0f')} images/s. Right are"
        f" {spread([accuracy(it) for it in backbones], '.3f')} of four angles.\n\n"
        f"Rates, chosen by {len(CLASSES) * FOR_CHOICE:,} other images of the labelled half; mean of"
        f" {min(RATE_SEEDS, options.seeds)} seed(s):\n\n| | rate: accuracy |\n|---|---|"
    )
    for name, table in tables.items():
        print(f"| {name} | {', '.join(f'{rate}: {value:.3f}' for rate, value in table.items())} |")


if __name__ == "__main__":
    main()
