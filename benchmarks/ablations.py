"""What each idea of the default recipe for CIFAR2 is worth: accuracy and time without it.

python benchmarks/ablations.py --data-root DIR        # make bench
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from tqdm import tqdm

import run_cifar2
from figures import spread
from ignite_pipeline.models import classifiers
from ignite_pipeline.models.classifiers import GlobalMaxPool, Whitening, fit_whitening, residual_net

RECIPE = run_cifar2.RECIPES["resnet"]


def recipe(**changes: Any) -> Callable[[], AbstractContextManager[object]]:
    """Return what changes the recipe, while it is entered."""
    return partial(patch.dict, run_cifar2.RECIPES, {"resnet": replace(RECIPE, **changes)})


def net(**options: Any) -> Callable[[], AbstractContextManager[object]]:
    """Return what changes the net."""
    changed = partial(residual_net, **options)
    return partial(patch.dict, classifiers.CLASSIFIERS, {"resnet": changed})


def adjusted(adjust: Callable[[nn.Module], None]) -> Callable[[], AbstractContextManager[object]]:
    """Return what lets each module of the net be adjusted, once it is made."""

    def make(classes: int) -> nn.Module:
        return residual_net(classes).apply(adjust)

    return partial(patch.dict, classifiers.CLASSIFIERS, {"resnet": make})


def begin_as_identity(module: nn.Module) -> None:
    """Let a convolution hand its input on at first, with other filters for the channels that it adds."""
    if isinstance(module, nn.Conv2d) and not isinstance(module, Whitening):
        nn.init.dirac_(module.weight.data[: module.in_channels])


def forget_sooner(module: nn.Module) -> None:
    """Let the running statistics be those of fewer batches."""
    if isinstance(module, nn.BatchNorm2d):
        module.momentum = 0.4


def use_gelu(module: nn.Module) -> None:
    """Take GELU for ReLU."""
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU):
            setattr(module, name, nn.GELU())


def part(name: str, replacement: object) -> Callable[[], AbstractContextManager[object]]:
    """Return what puts another part in the net."""
    return partial(patch.object, classifiers, name, replacement)


def trained_from_chance(model: nn.Sequential, images: object) -> None:
    """Stand in for ``fit_whitening``: leave the first layer at random weights, and train it."""
    model[0].weight.requires_grad_(True)


def without_biases(model: nn.Sequential, images: torch.Tensor) -> None:
    """Stand in for ``fit_whitening``: train no biases of the first layer, nor what leads to them."""
    fit_whitening(model, images)
    model[0].requires_grad_(False)


class AllComponents(Whitening):
    """Filter by weak components of the patches too."""

    def __init__(self) -> None:
        super().__init__(components=12)


VARIANTS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "the recipe": contextlib.nullcontext,
    "first layer trained from random weights": partial(
        patch.object, run_cifar2, "fit_whitening", trained_from_chance
    ),
    "first layer without biases": partial(patch.object, run_cifar2, "fit_whitening", without_biases),
    "all 12 components of the patches": part("Whitening", AllComponents),
    "features before the last layer not scaled": part("GlobalMaxPool", lambda scale: GlobalMaxPool()),
    "no residual": part("Residual", nn.Sequential),
    "half the width": net(width=16),
    "twice the width": net(width=64),
    "no crops, flips and mirror images": recipe(augment=False),
    "no label smoothing": recipe(label_smoothing=0.0),
    "no weight decay": recipe(weight_decay=0.0),
    "a constant learning rate": recipe(warmup=None),
    "all by SGD": recipe(muon_share=None),
    "all by SGD, batches of 64, a longer rise": recipe(muon_share=None, batch_size=64, warmup=0.25),
    "batches of 64": recipe(batch_size=64),
    "more label smoothing, 0.15": recipe(label_smoothing=0.15),
    "convolutions begin as the identity": adjusted(begin_as_identity),
    "batch norm with momentum 0.4": adjusted(forget_sooner),
    "GELU for ReLU": adjusted(use_gelu),
}


def train(options: argparse.Namespace, seed: int) -> tuple[float, float]:
    """Train in this process; return the last accuracy, and seconds with evaluation."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        arguments = ["--data-root", options.data_root, "--output", f"{folder}/run", "--visdom", "off"]
        arguments += ["--seed", str(seed), "--epochs", str(options.epochs)]
        with contextlib.redirect_stdout(io.StringIO()):
            run_cifar2.main(arguments)
        summary = json.loads(Path(folder, "run", "summary.json").read_text())
    return summary["final"]["val/accuracy"], summary["timing"]["wall_s"]


def main() -> None:
    """Train each variant with each seed; print accuracies, what each loses, and seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", default=os.environ.get("IGNITE_PIPELINE_CIFAR2"))
    parser.add_argument("--epochs", type=int, default=6, help="of each (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each (default: %(default)s)")
    options = parser.parse_args()
    if options.data_root is None:
        print("not measured: give --data-root, or set IGNITE_PIPELINE_CIFAR2, to a folder of CIFAR-10")
        return

    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    for seed in tqdm(range(options.seeds), desc="seeds", leave=False):
        for name, changed in tqdm(VARIANTS.items(), desc="variants", leave=False):
            with changed():
                runs[name].append(train(options, seed))
    whole = statistics.mean(accuracy for accuracy, _ in runs["the recipe"])
    print(f"{options.epochs} epochs, {options.seeds} seeds; mean (least to largest)\n")
    print("| | accuracy | less than the recipe | seconds |\n|---|---|---|---|")
    for name, results in runs.items():
        accuracies, seconds = zip(*results, strict=True)
        reached = spread(accuracies, ".4f", middle=statistics.mean)
        taken = spread(seconds, ".1f", middle=statistics.mean)
        print(f"| {name} | {reached} | {whole - statistics.mean(accuracies):+.4f} | {taken} |")


if __name__ == "__main__":
    main()
