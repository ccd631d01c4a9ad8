"""A run directory that is new or resumed, and what it says when it ends."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from handlers import create_run, load_newest, read_config, update_config
from handlers.lock import lock_run
from handlers.record import refuse_existing_run
from ignite_pipeline.board.server import credentials, front_end


class Run:
    """A run directory with the options it was opened with, and the checkpoint to go on from, if any."""

    def __init__(self, task: str, options: argparse.Namespace) -> None:
        self.task, self.options = task, options
        self.resumed = options.resume is not None
        self.checkpoint: dict[str, Any] | None = None
        if options.visdom == "serve":
            front_end()
        if options.visdom != "off":
            credentials()
        if self.resumed:
            self.directory = Path(options.resume)
            lock_run(self.directory)
            if any(self.directory.glob("checkpoints/*.pt")):  # else it ended before there was one
                self.checkpoint = load_newest(self.directory / "checkpoints")
            if options.max_iterations is not None and options.max_iterations < self.iteration:
                raise ValueError(
                    f"--max-iterations {options.max_iterations} is less than the {self.iteration} of the run"
                )
            # Sums in another order are other bits: a run keeps the number of threads that it began with.
            torch.set_num_threads(read_config(self.directory)["threads"])
        else:
            stamp = time.strftime("%Y%m%d-%H%M%S")
            self.directory = Path(options.output or f"runs/{task}/{stamp}-{options.seed}")
            refuse_existing_run(self.directory)

    @property
    def iteration(self) -> int:
        """The iteration to go on from; 0 in a new run."""
        return 0 if self.checkpoint is None else self.checkpoint["engine"]["iteration"]

    def write_config(self, dataset: dict[str, Any]) -> None:
        """Make the directory and its ``config.json``, or note in it that the run is resumed."""
        options = {**vars(self.options), "resume": None, "output": os.path.abspath(self.directory)}
        if self.resumed:
            config = read_config(self.directory)
            for name in ("train", "val", "sha256"):
                then, now = config["dataset"].get(name), dataset[name]
                if then != now:
                    raise ValueError(
                        f"--resume {self.directory}: the data has changed, {name} was {then} and is {now}"
                    )
            began_on = config["options"]["device"]
            if options["device"] != began_on:
                _say(f"--device {options['device']}, not {began_on}: bits may differ from here on")
            config["options"] = options
            config.setdefault("legs", []).append(self._leg())
            update_config(self.directory, config)
            return
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock_run(self.directory)
            create_run(
                self.directory,
                {
                    "task": self.task,
                    "options": options,
                    "dataset": dataset,
                    "command_line": sys.argv,
                    "versions": _versions(),
                    "threads": torch.get_num_threads(),
                    "git_revision": _git_revision(),
                    "legs": [self._leg()],
                },
            )
        except OSError as error:
            raise ValueError(
                f"--output {self.directory} cannot be written: {error.strerror or error}"
            ) from error

    def _leg(self) -> dict[str, Any]:
        """Describe the part of the run that begins now."""
        return {
            "from_iteration": self.iteration,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "num_workers": self.options.num_workers,
            "device": self.options.device,
            "torch": torch.__version__,
        }

    def note_workers(self, num_workers: int, reason: str) -> None:
        """Note in ``config.json`` what ``--num-workers auto`` came to, and say so if workers help."""
        found = {"num_workers": num_workers, "reason": reason}
        if num_workers:
            _say(f"Loading with {num_workers} workers: {reason}")
        try:
            update_config(self.directory, {**read_config(self.directory), "auto_workers": found})
        except (OSError, ValueError) as error:
            _say(f"{self.directory}: config.json was not updated ({error})")

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Say at the end how the run went, or, after a signal, how to go on (exit status 130 or 143)."""
        try:
            yield
        except KeyboardInterrupt as interrupt:
            _say(f"interrupted; go on with --resume {self.directory}")
            sys.exit(getattr(interrupt, "status", 130))
        try:
            summary = json.loads((self.directory / "summary.json").read_text())
        except (OSError, ValueError) as error:
            _say(f"{self.directory}: done, but summary.json could not be written ({error})")
            return
        timing, best = summary["timing"], summary["best"]
        words = [
            f"{summary['iterations']} iterations in {timing['wall_s']:.0f} s",
            f"{summary['images_per_s']:,.1f} images/s",
            timing["verdict"],
            *(f"{name} {summary['final'][name]:.4f}" for name in [best and best["metric"]] if name),
            str(self.directory / "report.png"),
        ]
        print(" · ".join(words))


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("ignite_pipeline", "torch", "torchvision", "pytorch-ignite", "numpy", "pillow"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _git_revision() -> str | None:
    command = ["git", "-C", os.path.dirname(os.path.abspath(__file__)), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def say_notice(notice: str | None) -> None:
    """Print a notice that nobody can miss."""
    if notice:
        _say(f"\n{'!' * len(notice)}\n{notice}\n{'!' * len(notice)}\n")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
