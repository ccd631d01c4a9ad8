"""Small runs of pix2pix."""

from pathlib import Path
from typing import Any

import run_pix2pix
from tests.support.runs import summary

SMALL = ["--image-size", "32", "--epochs", "1", "--decay-epochs", "1", "--checkpoint-every-s", "0.001"]


def train(root: Path, output: Path, *options: object) -> dict[str, Any]:
    """Train on a folder of pairs; return the summary."""
    run_pix2pix.main(["--data-root", str(root), "--output", str(output), *SMALL, *map(str, options)])
    return summary(output)
