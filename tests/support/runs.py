"""Small runs, and what their directories say but for what may differ from run to run."""

import json
from pathlib import Path
from typing import Any

import run_cifar2
from handlers.files import read_metrics

SCRIPTS = Path(run_cifar2.__file__).parent
# 32 iterations an epoch, so that windows of 50 lie across its end.
SMALL = ["--epochs", "3", "--batch-size", "2", "--checkpoint-every-s", "1e-9", "--precision", "fp32"]


def train(root: Path, output: Path, *options: object) -> dict[str, Any]:
    """Train on a tree of images; return the summary."""
    run_cifar2.main(["--data-root", str(root), "--output", str(output), *SMALL, *map(str, options)])
    return summary(output)


def summary(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "summary.json").read_text())


def untimed(directory: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl without seconds."""
    return [
        {name: value for name, value in line.items() if not name.startswith("time/")}
        for line in read_metrics(directory)
    ]


def outcome(directory: Path) -> tuple[str, list[dict[str, Any]], dict[str, bytes]]:
    """Return what must not depend on workers, kills and resumes: weights, metrics and samples."""
    samples = {path.name: path.read_bytes() for path in directory.glob("samples/*.png")}
    return summary(directory)["model_sha256"], untimed(directory), samples
