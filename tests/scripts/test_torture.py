"""Runs that are killed again and again, at random moments, end as if nothing had happened.

`make torture KILLS=50` kills more often, and with another seed each time.
"""

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

import run_cifar2
import run_pix2pix
from handlers import load_newest
from tests.support.drawn import write_pairs
from tests.support.runs import outcome, summary

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("TORTURE_KILLS", "4"))
SEED = int(os.environ.get("TORTURE_SEED", "0"))

CIFAR2 = ["--epochs", "12", "--batch-size", "2", "--precision", "fp32", "--checkpoint-every-s", "0.05"]
PIX2PIX = ["--image-size", "32", "--epochs", "2", "--decay-epochs", "1", "--checkpoint-every-s", "0.05"]


@pytest.fixture(scope="module")
def cifar2_run(image_tree, tmp_path_factory):
    """The script, its options, and what an undisturbed run comes to."""
    options = ["--data-root", str(image_tree), *CIFAR2]
    directory = tmp_path_factory.mktemp("cifar2") / "run"
    run_cifar2.main([*options, "--output", str(directory)])
    return "run_cifar2.py", options, outcome(directory)


@pytest.fixture(scope="module")
def pix2pix_run(tmp_path_factory):
    """The same of the other script."""
    root = tmp_path_factory.mktemp("pairs")
    write_pairs(root, {"train": 5, "val": 2}, side=40)
    options = ["--data-root", str(root), *PIX2PIX]
    directory = tmp_path_factory.mktemp("pix2pix") / "run"
    run_pix2pix.main([*options, "--output", str(directory)])
    return "run_pix2pix.py", options, outcome(directory)


class Torture:
    """Train runs to their ends, with legs of random length and with random workers."""

    def __init__(self, start_script, script, options, expected, folder, rng):
        self.start_script, self.script, self.options, self.expected = start_script, script, options, expected
        self.folder, self.rng = folder, rng
        self.hits, self.runs = 0, 0
        self.begin()

    def begin(self) -> None:
        self.runs += 1
        self.directory = self.folder / f"run{self.runs}"

    def start(self) -> subprocess.Popen[str]:
        # A run that was killed before it had a directory is begun again.
        begun = (self.directory / "config.json").exists()
        options = ["--resume", self.directory] if begun else [*self.options, "--output", self.directory]
        if self.rng.random() < 0.5:
            options.append("--save-in-background")
        return self.start_script(self.script, *options, "--num-workers", self.rng.choice([0, 1, 2]))

    def wait_for_a_moment(self, process: subprocess.Popen[str]) -> None:
        """Wait for a moment since the start, in the course of training, or inside a save."""
        kind = self.rng.choice(["start", "work", "work", "save"])
        limit = time.monotonic() + (self.rng.uniform(0, 8) if kind == "start" else 60)
        saved = set(self.directory.glob("checkpoints/*.pt"))
        while process.poll() is None and time.monotonic() < limit:
            if kind == "save" and any(self.directory.glob("checkpoints/.*.tmp")):
                return
            if kind == "work" and set(self.directory.glob("checkpoints/*.pt")) - saved:
                time.sleep(self.rng.uniform(0, 1.5))
                return
            time.sleep(0.0005)

    def hit(self, number: signal.Signals) -> None:
        """Send a signal to a leg at a random moment, or see a run to its end."""
        process = self.start()
        self.wait_for_a_moment(process)
        alive = process.poll() is None
        self.send(process, number)
        _, error = process.communicate(timeout=120)
        if process.returncode == 0:
            self.compare()
            self.begin()
            return
        assert alive, error
        self.hits += 1
        self.after(process.returncode, error)

    def send(self, process: subprocess.Popen[str], number: signal.Signals) -> None:
        process.send_signal(number)

    def after(self, returncode: int, error: str) -> None:
        assert returncode == -signal.SIGKILL, error

    def finish(self) -> None:
        process = self.start()
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        self.compare()

    def compare(self) -> None:
        assert outcome(self.directory) == self.expected
        assert not list(self.directory.rglob("*.tmp"))


class Terminations(Torture):
    """Signals that are answered in good order, once the modules are imported; some to all processes."""

    def start(self) -> subprocess.Popen[str]:
        (self.directory / "summary.json").unlink(missing_ok=True)
        return super().start()

    def send(self, process: subprocess.Popen[str], number: signal.Signals) -> None:
        self.number = self.rng.choice([number, signal.SIGHUP, signal.SIGUSR1])
        if self.rng.random() < 0.5:
            workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, check=False)
            for worker in map(int, workers.stdout.split()):
                with suppress(ProcessLookupError):
                    os.kill(worker, self.number)
            time.sleep(self.rng.uniform(0, 0.2))
        process.send_signal(self.number)

    def after(self, returncode: int, error: str) -> None:
        if returncode == -self.number:
            return  # it had not yet imported its modules
        assert returncode == 128 + self.number, error
        assert "Traceback" not in error
        if (self.directory / "summary.json").exists():  # else it had not begun to train
            ended = summary(self.directory)
            assert ended["status"] in ("interrupted", "completed")
            newest = load_newest(self.directory / "checkpoints")["engine"]["iteration"]
            assert ended["saved_iteration"] == newest
            assert ended["iterations"] == newest


@pytest.mark.parametrize(
    ("torture", "number", "share"),
    [(Torture, signal.SIGKILL, 1.0), (Terminations, signal.SIGTERM, 0.5)],
)
@pytest.mark.parametrize("script", ["cifar2", "pix2pix"])
def test_a_run_ends_the_same_however_often_it_is_ended(
    request, start_script, tmp_path: Path, script, torture, number, share
):
    wanted = round(KILLS * share * (1 if script == "cifar2" else 0.5))
    rng = random.Random(f"{SEED} {script} {number}")
    ordeal = torture(start_script, *request.getfixturevalue(f"{script}_run"), tmp_path, rng)
    while ordeal.hits < wanted:
        ordeal.hit(number)
    ordeal.finish()
    print(f"{script}: {ordeal.hits} times {number.name}, {ordeal.runs} runs, all as if undisturbed")
