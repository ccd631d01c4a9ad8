"""What a run survives: killed, resumed, short of disk, given bad numbers; ours, Ignite's own, Lightning.

python benchmarks/survival.py

Each run is a process of its own (survival_worker.py) that trains a small model with dropout on samples with
random noise, saves every ten iterations, and meets its fate in the middle of an epoch.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from survival_worker import FATE_AT, FRAMEWORKS

WORKER = Path(__file__).with_name("survival_worker.py")


def run(framework: str, directory: Path, fate: str = "", **options: Any) -> dict[str, Any]:
    """Train in a child; return its digest, if it lived."""
    command = [sys.executable, WORKER, "--framework", framework, "--directory", directory, "--fate", fate]
    command += ["--workers", options.get("workers", 0), "--keep", options.get("keep", 2)]
    command += ["--resume"] * options.get("resume", False)
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=120)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return {"status": done.returncode, **(json.loads(lines[-1]) if lines else {})}


def saved(directory: Path) -> list[Path]:
    """Return the checkpoints that a run has left, the newest first."""
    paths = [path for path in directory.iterdir() if path.suffix in (".pt", ".ckpt") and path.stat().st_size]
    return sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)


def killed(framework: str, folder: Path, *, before: int = 0, after: int = 0) -> str:
    """Kill in the middle of an epoch, resume, compare with a run that was not killed."""
    undisturbed = run(framework, folder / "a", workers=before)
    run(framework, folder / "b", "SIGKILL", workers=before)
    resumed = run(framework, folder / "b", workers=after, resume=True)
    if resumed.get("error"):
        return f"no: {resumed['error'].split(':')[0]}"
    return "yes" if resumed.get("digest") == undisturbed["digest"] else "no: other weights"


def truncated(framework: str, folder: Path) -> str:
    """Cut the newest checkpoint off, and resume."""
    undisturbed = run(framework, folder / "a")
    run(framework, folder / "b", "SIGKILL")
    newest = saved(folder / "b")[0]
    newest.write_bytes(newest.read_bytes()[:1000])
    resumed = run(framework, folder / "b", resume=True)
    if resumed.get("error"):
        return f"no: {resumed['error'].split(':')[0]}"
    return "yes" if resumed.get("digest") == undisturbed["digest"] else "goes on, to other weights"


def full(framework: str, folder: Path) -> str:
    """Let saves fail with one checkpoint kept; is there still one that loads, and did training go on?"""
    undisturbed = run(framework, folder / "a")
    ended = run(framework, folder / "b", "full", keep=1)
    went_on = ended.get("digest") == undisturbed["digest"]
    kept = any(_loads(path) for path in saved(folder / "b"))
    words = (
        "training goes on" if went_on else "training ends",
        "a checkpoint is left" if kept else "none is left",
    )
    return f"{'yes' if went_on and kept else 'no'}: {', '.join(words)}"


def _loads(path: Path) -> bool:
    try:
        torch.load(path, weights_only=False)
    except Exception:  # a damaged file makes the unpickler raise anything
        return False
    return True


def not_a_number(framework: str, folder: Path) -> str:
    """Make a loss NaN; are the weights in memory those of the iteration before?"""
    ended = run(framework, folder / "b", "nan")
    return "yes" if ended["digest"] == ended["before"] else "no: other weights, or NaN"


def terminated(framework: str, folder: Path) -> str:
    """Send SIGTERM; is the state of that iteration on the disk?"""
    run(framework, folder / "b", "SIGTERM")
    iterations = []
    for path in saved(folder / "b"):
        content = torch.load(path, weights_only=False)
        engine = content.get("engine") or content.get("trainer") or {}
        iterations.append(content.get("global_step") or engine["iteration"])
    return "yes" if max(iterations) >= FATE_AT else f"no: saved {max(iterations)}, ended after {FATE_AT}"


SCENARIOS: dict[str, Callable[[str, Path], str]] = {
    "killed in mid-epoch, the same weights after resuming": killed,
    "the same, with two workers": partial(killed, before=2, after=2),
    "the same, with two workers before and none after": partial(killed, before=2, after=0),
    "the newest checkpoint is cut off, the same weights after resuming": truncated,
    "no space for a save, one checkpoint kept": full,
    "a loss is NaN, the weights are those before it": not_a_number,
    "SIGTERM, its iteration is saved": terminated,
}


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    print(f"| | {' | '.join(FRAMEWORKS)} |\n|---|{'---|' * len(FRAMEWORKS)}")
    for words, scenario in SCENARIOS.items():
        cells = []
        for framework in FRAMEWORKS:
            with tempfile.TemporaryDirectory() as folder:
                cells.append(scenario(framework, Path(folder)))
        print(f"| {words} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
