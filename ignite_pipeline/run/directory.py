"""The directory of a run: new or resumed, locked, with a ``config.json`` that says what was asked for."""

import argparse
import inspect
import os
import platform
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from handlers import create_run, load_checkpoint, read_config, update_config
from handlers.checkpoint_files import NAME, find_newest, set_aside
from handlers.errors import UnusableRun
from handlers.files import sync_folder
from handlers.lock import lock_run
from handlers.record import refuse_existing_run
from ignite_pipeline.command_line import say
from ignite_pipeline.errors import BadInput
from ignite_pipeline.run.circumstances import circumstances, differences
from ignite_pipeline.run.options import RESUMABLE
from ignite_pipeline.run.processes import Processes
from ignite_pipeline.run.recipe_place import place_of
from ignite_pipeline.run.restarted import job
from ignite_pipeline.run.run_config import read_run_config
from ignite_pipeline.run.stored_options import flag, kept_options, options_as_text, options_as_tuple


class RunDirectory:
    """A directory for a run of ``task``: that given by ``output``, one of its own, or the one to ``resume``.

    Nothing but the lock of a run that is resumed is written before `path` is asked for.
    """

    def __init__(
        self,
        task: str,
        *,
        output: str | None,
        resume: str | None,
        seed: int,
        resumable: Collection[str] = (),
        as_is: Collection[str] = (),
        processes: Processes | None = None,
    ) -> None:
        self.processes = Processes() if processes is None else processes
        self.task, self._resumable = task, {*RESUMABLE, *resumable, "output"}
        self._as_is = list(as_is)
        self.run = secrets.token_hex(8)
        self.resumed = resume is not None
        self._checkpoint: dict[str, Any] | None = None
        self.iteration = 0
        """The iteration to go on from; 0 in a new run."""
        self._path = Path(resume) if resume is not None else None
        self._wanted = Path(output) if output is not None else None
        self._default = f"runs/{task}/{time.strftime('%Y%m%d-%H%M%S')}-{seed}"
        self._made: list[Path] = []
        self._passed_over: dict[Path, str] = {}
        if self._path is not None:
            found = self.processes.from_main(partial(self._find_checkpoint, self._path))
            self.run, newest = found
            if newest is not None:
                self._checkpoint = load_checkpoint(newest)
                self.iteration = int(self._checkpoint["engine"]["iteration"])
        elif self._wanted is not None:
            self.processes.from_main(partial(refuse_existing_run, self._wanted))

    def _find_checkpoint(self, directory: Path) -> tuple[str, Path | None]:
        lock_run(directory)
        config = read_run_config(directory, task=self.task)
        newest, self._passed_over = find_newest(directory / "checkpoints", run=config["run"])
        if newest is None and self._passed_over:  # with neither, it ended before there was one
            reasons = "; ".join(self._passed_over.values())
            folder = directory / "checkpoints"
            raise UnusableRun(f"{folder}: holds no valid checkpoint to resume from: {reasons}")
        if newest is not None:
            self._require_same_options(newest, config["options"])
        return config["run"], newest

    def _require_same_options(self, newest: Path, options: Mapping[str, Any]) -> None:
        was = load_checkpoint(newest, lazily=True)["config"]["options"]
        for name in was.keys() - self._resumable:
            if was[name] != options.get(name):
                raise UnusableRun(
                    f"{newest} was trained with {flag(name)} {was[name]}, and config.json beside it says"
                    f" {options.get(name)}: put that right"
                )

    def take_checkpoint(self) -> dict[str, Any] | None:
        """Return the checkpoint to go on from, if there is one; it is kept no longer."""
        checkpoint, self._checkpoint = self._checkpoint, None
        return checkpoint

    @property
    def path(self) -> Path:
        """The directory, which is there from now on; two runs begun in the same second have two."""
        if self._path is None:
            self._path = self.processes.from_main(self._made_directory)
        return self._path

    def _made_directory(self) -> Path:
        path, count = self._wanted or Path(self._default), 1
        while not self._make(path):
            count += 1
            path = Path(f"{self._default}-{count}")
        return path

    def _make(self, path: Path) -> bool:
        """Make a directory; return False if it is a default one that somebody else has made."""
        missing = [folder for folder in (path, *path.parents) if not os.path.exists(folder)]
        try:
            path.mkdir(parents=True, exist_ok=self._wanted is not None)
        except FileExistsError as error:
            if self._wanted is None:
                return False
            raise BadInput(f"--output {path} cannot be written: it is a file") from error
        except OSError as error:
            raise BadInput(f"--output {path} cannot be written: {error.strerror or error}") from error
        try:
            for folder in reversed(missing):
                sync_folder(folder.parent)
        except OSError as error:
            raise BadInput(f"--output {path} cannot be written: {error.strerror or error}") from error
        self._made = missing
        return True

    @property
    def exists(self) -> bool:
        """Whether there is a run in it."""
        return self._path is not None and (self._path / "config.json").exists()

    def discard_if_empty(self) -> None:
        """Remove the directories that were made for a run which has come to nothing."""
        if not self.exists:
            for folder in self._made:
                try:
                    folder.rmdir()
                except OSError:  # somebody has put something there
                    return

    def begin(
        self,
        options: argparse.Namespace,
        dataset: Mapping[str, Any],
        notices: Sequence[str],
        *,
        recipe: Callable[..., object] | None,
    ) -> None:
        """Write ``config.json``, or note in it that the run is resumed: the main process does.

        Raises `BadInput` if a run that is resumed, or another process, has other data.
        """
        first, *others = self.processes.gather(dataset)
        for rank, other in enumerate(others, start=1):
            if difference := _difference(first, other):
                raise BadInput(f"the processes have different data: {difference} in process {rank}")
        self.processes.from_main(partial(self._begin, options, dataset, notices, recipe))

    def _begin(
        self,
        options: argparse.Namespace,
        dataset: Mapping[str, Any],
        notices: Sequence[str],
        recipe: Callable[..., object] | None,
    ) -> None:
        kept = {**kept_options(options), "resume": None, "output": os.path.abspath(self.path)}
        config = {
            "options": kept,
            "options_as_text": options_as_text(options),
            "options_as_tuple": options_as_tuple(options),
            "options_as_is": self._as_is,
            "dataset": dataset,
            "notices": notices,
            "recipe": place_of(recipe),
        }
        where = circumstances(torch.device(options.device))
        session = {
            "from_iteration": self.iteration,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "num_workers": options.num_workers,
            "processes": self.processes.count,
            **where,
        }
        try:
            if self.resumed:
                self._go_on(config, session, where)
                return
            lock_run(self.path)
            create_run(
                self.path,
                {
                    "task": self.task,
                    "run": self.run,
                    "job": job(),
                    **config,
                    "command_line": sys.argv,
                    "versions": _versions(),
                    "threads": torch.get_num_threads(),
                    "git_revision": git_revision(recipe),
                    "sessions": [session],
                },
            )
        except OSError as error:
            option = "--resume" if self.resumed else "--output"
            raise BadInput(f"{option} {self.path} cannot be written: {error.strerror or error}") from error

    def _go_on(self, config: Mapping[str, Any], session: Mapping[str, Any], where: Mapping[str, Any]) -> None:
        before = read_run_config(self.path, task=self.task)
        dataset = config["dataset"]
        _require_same_data(self.path, before["dataset"], dataset)
        for path in (*self.path.glob(".*.tmp"), *self.path.glob("checkpoints/.*.tmp")):
            with suppress(OSError):  # a folder, which is none of ours
                path.unlink()  # what a kill has left
        sessions = [*before["sessions"], session]
        update_config(self.path, {**before, **config, "job": job(), "sessions": sessions})
        if other := differences((before["sessions"] or [{}])[-1], where):
            say(f"{'; '.join(other)}: bits may differ from here on")
        for path, reason in self._passed_over.items():
            aside = set_aside(path) if NAME.fullmatch(path.name) else None
            say(f"{reason}; passed over{f', now {aside.name}' if aside else ''}")
        changed = [
            flag(name)
            for name, value in config["options"].items()
            if name not in {*RESUMABLE, "output"} and value != before["options"].get(name)
        ]
        if changed and dataset.get("sha256") is None:
            say(f"{', '.join(changed)} changed, and the data has no sha256: it is taken to be the same")

    def note(self, name: str, value: Any) -> None:
        """Add an entry to ``config.json``; if that cannot be done, it is said."""
        if not self.processes.is_main:
            return
        try:
            update_config(self.path, {**read_config(self.path), name: value})
        except (OSError, ValueError) as error:
            say(f"{self.path}: config.json was not updated ({error})")


def _require_same_data(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if difference := _difference(before, now):
        raise BadInput(
            f"--resume {path}: the data has changed, {difference}; put back what it was, or begin a new run"
        )


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    for name in ("train", "val", "sha256"):
        if before.get(name) != now.get(name):
            if name == "sha256":
                return "names, sizes, targets or contents (sha256) are others"
            return f"{name} was {before.get(name)} and is {now.get(name)}"
    return None


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("ignite_pipeline", "torch", "torchvision", "pytorch-ignite", "numpy", "pillow"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def git_revision(recipe: Callable[..., object] | None) -> str | None:
    """Return the revision of the repository that a function's file is in, if it is in one."""
    try:
        file = inspect.getfile(inspect.unwrap(recipe)) if recipe is not None else ""
    except TypeError:  # a partial, or an object that is called
        file = ""
    if not file:
        return None
    command = ["git", "-C", os.path.dirname(os.path.abspath(file)), "describe", "--always", "--dirty"]
    try:
        # Not that of a hook or an alias which calls this.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5, env=environment)
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
