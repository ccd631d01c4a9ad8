"""What a run's record says about its data, and how it went."""

import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from ignite_pipeline.command_line import say
from ignite_pipeline.data.position_keyed import PositionKeyed, size_of
from ignite_pipeline.notebook import show_picture
from ignite_pipeline.run.processes import Processes


def description_of(dataset: Dataset[Any]) -> dict[str, Any]:
    """Return what a record keeps of data that does not describe itself; a method ``sha256`` is asked."""
    digest = getattr(dataset, "sha256", None)
    return {
        "name": type(dataset).__name__,
        "train": size_of(dataset),
        "sha256": digest() if callable(digest) else None,
    }


def say_bad_samples(loaders: Iterable[Any], processes: Processes, *, what: str) -> None:
    """Say which samples of loaders could not be read, if there are any, and ``what`` was done about them."""
    keyed = [getattr(loader, "dataset", None) for loader in loaders]
    own = [index for data in keyed if isinstance(data, PositionKeyed) for index in data.bad_indices]
    bad = sorted({index for indices in processes.gather(own) for index in indices})
    if bad:
        shown = ", ".join(map(str, bad[:10])) + (", ..." if len(bad) > 10 else "")
        say(f"{len(bad)} samples could not be read, and {what}: {shown}")


def say_how_it_went(directory: Path) -> None:
    """Print a line from the run's summary on standard output."""
    try:
        summary = json.loads((directory / "summary.json").read_text())
    except (OSError, ValueError) as error:
        say(f"{directory}: done, but summary.json could not be written ({error})")
        return
    timing, best = summary["timing"], summary["best"]
    words = [
        f"{summary['iterations']} iterations in {timing['wall_s']:.0f} s",
        f"{summary['images_per_s']:,.1f} images/s",
        timing["diagnosis"],
        *([f"best {best['metric']} {best['value']:.4f} in epoch {best['epoch']}"] if best else []),
        str(directory / "report.png"),
    ]
    print(" · ".join(words))
    show_picture(directory / "report.png")
    for finding in timing["findings"][1:]:
        say(f"also {finding['words']}")
    if step := _next_step(timing["findings"][0], directory):
        say(f"next: {step}")


def _next_step(finding: Mapping[str, Any], directory: Path) -> str | None:
    """Return what to do about the verdict. That a run computes most of its time is as it should be."""
    if finding["advice"] is None and finding["kind"] in ("data-bound", "transfer-bound"):
        return f"python -m ignite_pipeline.profiling --run {shlex.quote(str(directory))}"
    advice: str | None = finding["advice"]
    return advice
