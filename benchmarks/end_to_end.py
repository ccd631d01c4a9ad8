"""The whole of a training, from the start of its process to its end: ours, and what one would take instead.

python benchmarks/end_to_end.py --data-root DIR        # make bench

The work is the same for all: a model is trained on a folder tree of JPEG files, evaluated and saved after
each epoch, on the CPU. Model, memory format, optimizer, schedule, loss and batches are the same. Ours is
scripts/run_cifar2.py as it is; the others are in end_to_end_worker.py, where torchvision reads, crops and
flips. Each training is a process of its own. They take turns; the first round warms up, and only its memory
is kept: the most that /proc shows resident in the process, and private in its children, at once.

"Training" is the loop from the beginning of each epoch to its last step, without evaluation and checkpoints.
"Not the step" is what is left of it without the step: waiting for batches, and the framework.

What favours ours: images this small fit in memory, so ours decodes each once, before training begins, where
the others decode in every epoch: its images/s leave decoding out, its whole seconds do not. It crops, flips
and normalises a batch inside its step, which counts as the step; so do Lightning's bookkeeping around the
optimizer's closure, and two events of Ignite's.

What favours the others: the few epochs; means and deviations typed in, where ours measures them; workers that
stay from one epoch to the next; a fused optimizer and channels_last, with which no guide begins; for
Lightning a cheap logger, of CSV. Ours also measures accuracy in training, draws report.png and the images it
mistakes, saves before the first step, and reads each checkpoint back. Of checkpoints, ours keeps the newest
two and the best, Ignite two, Lightning one, the plain loop all.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tqdm import tqdm

from figures import spread
from run_cifar2 import RECIPES

SCRIPT = Path(__file__).parent.parent / "scripts" / "run_cifar2.py"
WORKER = Path(__file__).with_name("end_to_end_worker.py")
LOOK_EVERY_S = 0.05
MODELS = {"conv": "The book's convolutional net", "resnet": "The default residual net"}


@dataclass(frozen=True)
class Training:
    """What is trained, on what."""

    model: str
    epochs: int
    seed: int
    data_root: Path
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Figures:
    """What one training took."""

    whole_s: float
    images_per_s: float
    beside_step_us: float
    accuracy: float
    peak_mib: float | None


# Returns the command, and what reads {loop_s, step_s, steps, accuracy} when it has ended.
Contender = Callable[[Training, Path], tuple[list[str], Callable[[str], dict[str, float]]]]


def ours(training: Training, folder: Path) -> tuple[list[str], Callable[[str], dict[str, float]]]:
    """Run the script; its summary has the times."""
    options = ["--data-root", training.data_root, "--classes", *training.classes, "--model", training.model]
    options += ["--epochs", training.epochs, "--seed", training.seed, "--output", folder / "run"]
    options += ["--device", "cpu", "--visdom", "off"]

    def figures(printed: str) -> dict[str, float]:
        summary = json.loads((folder / "run" / "summary.json").read_text())
        timing = summary["timing"]
        return {
            "loop_s": timing["wall_s"] - timing["evaluate_s"] - timing["checkpoint_s"],
            "step_s": timing["compute_s"],
            "steps": summary["iterations"],
            "accuracy": summary["final"]["val/accuracy"],
        }

    return [sys.executable, str(SCRIPT), *map(str, options)], figures


def peer(framework: str, workers: int) -> Contender:
    """Return what trains with another framework."""

    def contender(training: Training, folder: Path) -> tuple[list[str], Callable[[str], dict[str, float]]]:
        options = ["--framework", framework, "--workers", workers, "--model", training.model]
        options += ["--recipe", json.dumps(asdict(RECIPES[training.model]))]
        options += ["--epochs", training.epochs, "--seed", training.seed]
        options += ["--data-root", training.data_root, "--directory", folder]
        return [sys.executable, str(WORKER), *map(str, options)], last_json

    return contender


def last_json(printed: str) -> dict[str, float]:
    """Return the last line that is an object in JSON."""
    figures: dict[str, float] = json.loads([line for line in printed.splitlines() if line[:1] == "{"][-1])
    return figures


def family(pid: int) -> list[int]:
    """Return a process and its children, their children, and so on."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended since
            continue
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


def memory_mib(pid: int) -> float:
    """Return the resident memory of a process, and what its children hold for themselves alone.

    What a child shares with its parent, as after a fork, counts once.
    """
    kib = 0
    for member in family(pid):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()[1:]
        except OSError:
            continue
        sizes = {name: int(size.split()[0]) for name, _, size in (line.partition(":") for line in lines)}
        kib += sizes["Rss"] if member == pid else sizes["Private_Clean"] + sizes["Private_Dirty"]
    return kib / 1024


def train(contender: Contender, training: Training, *, look: bool) -> Figures:
    """Train in a process; ``look`` at its memory twenty times a second, which takes time of its own."""
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryFile("w+") as output:
        command, figures_of = contender(training, Path(name))
        peak = 0.0
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            while look and process.poll() is None:
                peak = max(peak, memory_mib(process.pid))
                time.sleep(LOOK_EVERY_S)
            process.wait()
        finally:
            process.kill()  # a Ctrl-C here ends it too
        whole_s = time.perf_counter() - start
        output.seek(0)
        printed = output.read()
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{printed[-2000:]}")
        it = figures_of(printed)
    return Figures(
        whole_s=whole_s,
        images_per_s=it["steps"] * RECIPES[training.model].batch_size / it["loop_s"],
        beside_step_us=(it["loop_s"] - it["step_s"]) / it["steps"] * 1e6,
        accuracy=it["accuracy"],
        peak_mib=peak or None,
    )


def contenders() -> dict[str, Contender]:
    """Return what is measured; other frameworks only where they are installed."""
    found: dict[str, Contender] = {"ours": ours}
    peers = {
        "plain": ("torch", "plain PyTorch {}"),
        "lightning": ("lightning", "Lightning {}"),
        "ignite": ("pytorch-ignite", "Ignite {}, as in its examples"),
    }
    for framework, (package, name) in peers.items():
        try:
            title = name.format(version(package).split("+")[0])
        except PackageNotFoundError:
            print(f"{package} is not installed, so it is not measured: pip install '.[bench]'\n")
            continue
        for workers in (0, 2):
            found[f"{title}, {workers} workers" if workers else title] = peer(framework, workers)
    return found


def table(runs: dict[str, list[Figures]]) -> str:
    """Return the table of a model; the first round gives the memory, the others all else."""
    lines = [
        "| | s, whole | times ours, in pairs | training, images/s | µs an iteration that are not the step"
        " | peak memory, MiB | validation accuracy |",
        "|---|---|---|---|---|---|---|",
    ]

    def column(figures: Sequence[Figures], name: str, form: str) -> str:
        return spread([getattr(it, name) for it in figures], form)

    for name, (first, *rounds) in runs.items():
        pairs = [it.whole_s / beside.whole_s for it, beside in zip(rounds, runs["ours"][1:], strict=True)]
        cells = [
            name,
            column(rounds, "whole_s", ".1f"),
            "–" if name == "ours" else spread(pairs, ".2f"),
            column(rounds, "images_per_s", ",.0f"),
            column(rounds, "beside_step_us", ",.0f"),
            "–" if first.peak_mib is None else f"{first.peak_mib:,.0f}",
            column(rounds, "accuracy", ".3f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data-root",
        type=Path,
        default=os.environ.get("IGNITE_PIPELINE_CIFAR2"),
        help="a folder tree: train/<class>/ and val/<class>/ or test/<class>/",
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--epochs", type=int, default=3, help="of each training (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="trainings of each that count (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


def main() -> None:
    """Train with each in turn; print a table for each model."""
    options = parse()
    root = options.data_root
    if root is None or not (root / "train").is_dir():
        print("not measured: give --data-root, or set IGNITE_PIPELINE_CIFAR2, to a folder tree of images")
        return
    classes = tuple(sorted(path.name for path in (root / "train").iterdir() if path.is_dir()))
    count = sum(1 for name in classes for _ in (root / "train" / name).iterdir())
    measured = contenders()
    print(f"Python {platform.python_version()}; epochs: {options.epochs}, of {count:,} JPEG files, by CPU;")
    print(f"rounds in turn: {options.rounds}, after one that warms up and in which memory is looked at\n")
    figures: dict[str, dict[str, list[Figures]]] = {}
    for model in options.models:
        runs = figures[model] = {name: [] for name in measured}
        for seed in tqdm(range(1 + options.rounds), desc=f"rounds, {model}", leave=False):
            training = Training(model, options.epochs, seed, root, classes)
            for name, contender in tqdm(measured.items(), desc="frameworks", leave=False):
                runs[name].append(train(contender, training, look=seed == 0))
        print(f"{MODELS[model]}:\n\n{table(runs)}\n", flush=True)
    if options.json:
        plain = {
            model: {name: [asdict(it) for it in each] for name, each in runs.items()}
            for model, runs in figures.items()
        }
        options.json.write_text(json.dumps(plain, indent=2) + "\n")


if __name__ == "__main__":
    main()
