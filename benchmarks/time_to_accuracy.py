"""How soon a net tells airplanes from birds: the book's recipe in a plain loop, ours as the script runs it.

python benchmarks/time_to_accuracy.py --data-root DIR        # make bench
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from figures import spread
from ignite_pipeline.data.cifar2 import cifar2
from ignite_pipeline.models.classifiers import conv_net

SCRIPT = Path(__file__).parent.parent / "scripts" / "run_cifar2.py"
BOOK_TARGET = 0.89
# Accuracy to reach on average, and the options that do.
OURS = {
    0.89: ["--epochs", "1"],
    0.93: ["--epochs", "4"],
    0.95: [],
}


def book(data_root: str, seed: int) -> tuple[float, float]:
    """Train as chapters 7 and 8 of "Deep Learning with PyTorch" do; return best accuracy and seconds.

    The images are normalised once and kept in a list, as there. Evaluation does not count, and the first
    of the 100 epochs that reaches the target ends it: both in its favour.
    """
    torch.manual_seed(seed)
    data = cifar2(data_root)
    mean, std = (part.view(3, 1, 1) for part in data.train.channel_statistics())
    train, val = (
        [((x / 255 - mean) / std, y) for x, y in zip(split.images, split.targets.tolist(), strict=True)]
        for split in (data.train, data.val)
    )
    loader: DataLoader[Any] = DataLoader(cast(Any, train), batch_size=64, shuffle=True)
    val_loader: DataLoader[Any] = DataLoader(cast(Any, val), batch_size=500)
    model = conv_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    loss_fn = nn.CrossEntropyLoss()
    best = seconds = 0.0
    for _ in tqdm(range(100), desc="the book's epochs", leave=False):
        start = time.perf_counter()
        for images, labels in loader:
            loss = loss_fn(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds += time.perf_counter() - start
        with torch.no_grad():
            right = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in val_loader)
        best = max(best, right / len(val))
        if best >= BOOK_TARGET:
            break
    return best, seconds


def ours(data_root: str, seed: int, options: list[str]) -> tuple[float, float]:
    """Run the script; return the last accuracy and the seconds of everything from its first batch on."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(SCRIPT), "--data-root", data_root, "--output", f"{folder}/run"]
        command += ["--visdom", "off", "--seed", str(seed), *options]
        subprocess.run(command, check=True, capture_output=True)
        summary = json.loads(Path(folder, "run", "summary.json").read_text())
    return summary["final"]["val/accuracy"], summary["timing"]["wall_s"]


def main() -> None:
    """Train with each seed in turn; print means, and the share of the book's time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", default=os.environ.get("IGNITE_PIPELINE_CIFAR2"))
    parser.add_argument("--seeds", type=int, default=5, help="runs of each (default: %(default)s)")
    names = ["book", *map(str, OURS)]
    parser.add_argument(
        "--only", nargs="+", default=names, choices=names, help="train these alone (default: all)"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    if options.data_root is None:
        print("not measured: give --data-root, or set IGNITE_PIPELINE_CIFAR2, to a folder of CIFAR-10")
        return

    contenders: dict[str, Callable[[str, int], tuple[float, float]]] = {
        name: book if name == "book" else partial(ours, options=OURS[float(name)]) for name in options.only
    }
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for seed in tqdm(range(options.seeds), desc="seeds", leave=False):
        for name, train in tqdm(contenders.items(), desc="recipes", leave=False):
            runs[name].append(train(options.data_root, seed))
        if options.json:
            options.json.write_text(json.dumps(runs, indent=2) + "\n")

    print(f"{options.seeds} seeds; mean (least to largest)\n")
    print("| | goal | accuracy | seconds | of the book's time |\n|---|---|---|---|---|")
    for name, results in runs.items():
        accuracies, seconds = zip(*results, strict=True)
        target = BOOK_TARGET if name == "book" else float(name)
        what = "the book's loop" if name == "book" else " ".join(["ours", *OURS[target]])
        book_s = [seconds for _, seconds in runs.get("book", [])]
        share = f"1/{statistics.mean(book_s) / statistics.mean(seconds):.1f}" if book_s else "–"
        reached, taken = (
            spread(values, form, middle=statistics.mean)
            for values, form in ((accuracies, ".4f"), (seconds, ".1f"))
        )
        print(f"| {what} | {target} | {reached} | {taken} | {share} |")


if __name__ == "__main__":
    main()
