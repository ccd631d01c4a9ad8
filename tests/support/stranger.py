"""Somebody with the recipe of docs/recipe.md in a folder of their own, and what their packages are."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
RECIPE = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "recipe.md").read_text(), re.DOTALL)[0]
# 32 iterations an epoch, a checkpoint after each: a signal lands inside training, and inside an epoch.
OPTIONS = ("--samples", 128, "--batch-size", 4, "--epochs", 3, "--checkpoint-every-s", 1e-9)
QUIET = ("--num-workers", 0, "--visdom", "off")
LANDS_AT = 34


def in_site_packages(requirements: Iterable[str]) -> set[Path]:
    """Return the entries of site-packages that these requirements, and theirs in turn, have put there."""
    wanted, known, entries = [Requirement(text) for text in requirements], set(), set()
    while wanted:
        one = wanted.pop()
        if str(one) in known:
            continue
        known.add(str(one))
        found: Distribution = distribution(one.name)
        names = {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}
        entries |= {Path(str(found.locate_file(name))) for name in names}
        wanted += [needed for needed in map(Requirement, found.requires or ()) if applies(needed, one.extras)]
    return entries


def applies(needed: Requirement, extras: Iterable[str] = ()) -> bool:
    return needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *extras))


def pip(*args: object, python: Path = Path(sys.executable)) -> None:
    # Isolated: a constraints.txt that a shell exports for `pip install` is not there.
    command = [sys.executable, "-m", "pip", "--python", str(python), "--isolated", "--quiet", *map(str, args)]
    subprocess.run(command, check=True)


class Stranger:
    """Somebody with a recipe in a folder of their own, who starts it there."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python, self.folder = python, folder
        (folder / "recipe.py").write_text(RECIPE)
        ours = ("PYTHON", "VISDOM", "IGNITE_PIPELINE", "GIT_")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
            "OMP_NUM_THREADS": "1",
        }

    def start(self, *args: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self.python), *map(str, args)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *args: object) -> tuple[int, str, str]:
        """Return exit status, standard output and standard error."""
        with self.start(*args) as process:
            output, error = process.communicate(timeout=120)
        return process.returncode, output, error

    def train(self, *args: object) -> None:
        status, _, error = self.run("recipe.py", *args)
        assert status == 0, error

    def end(self, number: signal.Signals, directory: Path) -> tuple[int, str]:
        """Train until a signal comes in the second epoch; return exit status and standard error."""
        with self.start("recipe.py", *OPTIONS, *QUIET, "--output", directory) as process:
            while newest_checkpoint(directory) < LANDS_AT and process.poll() is None:
                time.sleep(0.002)
            process.send_signal(number)
            _, error = process.communicate(timeout=120)
        return process.returncode, error


def newest_checkpoint(directory: Path) -> int:
    """Return the iteration of the newest checkpoint, or 0."""
    names = [path.stem for path in directory.glob("checkpoints/checkpoint_*.pt")]
    return max((int(name.removeprefix("checkpoint_")) for name in names), default=0)


def git(folder: Path, *args: str) -> str:
    # A hook, or rebase --exec, names its repository in the environment: that is not the one meant.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", *args]
    done = subprocess.run(command, cwd=folder, env=clean, check=True, capture_output=True, text=True)
    return done.stdout.strip()
