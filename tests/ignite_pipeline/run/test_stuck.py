"""Runs that do not come to their next step, and end all the same when they are told to."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from handlers import load_newest
from tests.support.runs import summary

# Stuck from the third iteration on, in a way that Python ends, or that no signal ends.
RECIPE = """
import ctypes, os, sys, time
from functools import partial
import torch
from ignite.engine import Engine, Events
from ignite_pipeline.run import Parser, launch, session

where, how = sys.argv.pop(1), sys.argv.pop(1)
session.StopOnSignal = partial(session.StopOnSignal, patience_s=2, quiet_s=1)

def wait():
    open("stuck", "w").close()
    if how == "in Python":
        time.sleep(1000)
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)

class Points(torch.utils.data.Dataset):
    def __len__(self):
        return 20
    def __getitem__(self, index):
        if where == "data" and self.count == 8:
            wait()
        self.count += 1
        return torch.zeros(2)
    count = 0

def train(run):
    model = torch.nn.Linear(2, 1)
    def step(engine, batch):
        if where == "step" and engine.state.iteration == 3:
            wait()
        return {"loss": torch.zeros(())}
    trainer = Engine(step)
    if where == "handler":
        trainer.add_event_handler(Events.EPOCH_COMPLETED, wait)
    loader = run.train_loader(Points(), batch_size=4)
    run.attach(trainer, save={"model": model})
    run.train(trainer, loader, epochs=3)

launch(train, Parser(), task="stuck")
"""


def start(folder: Path, where: str, how: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RECIPE, where, how, "--visdom", "off", "--output", "run", *options]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 60
    while not (folder / "stuck").exists():
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.02)
    return process


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "how", "workers", "saved", "said"),
    [
        ("data", "in C", "0", 2, "waiting for the data of iteration 3: saving"),
        ("data", "in Python", "1", 2, "waiting for the data of iteration 3: saving"),
        ("step", "in C", "0", 0, "inside the step of iteration 3: ending; newest checkpoint: /"),
        ("step", "in Python", "0", 0, "inside the step of iteration 3: ending; newest checkpoint: /"),
        ("handler", "in C", "0", 0, "handling EPOCH_COMPLETED of iteration 5: ending; newest checkpoint: /"),
    ],
)
def test_a_run_that_is_stuck_ends_when_it_is_told_to(tmp_path, where, how, workers, saved, said):
    process = start(tmp_path, where, how, "--num-workers", workers)
    while "nothing has moved for" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143, error
    assert re.search(r"^SIGTERM: nothing has moved for \d+ s, " + said, error, re.MULTILINE)
    assert "Traceback" not in error
    ended = summary(tmp_path / "run")
    assert (ended["status"], ended["saved_iteration"]) == ("interrupted", saved)
    assert load_newest(tmp_path / "run" / "checkpoints")["engine"]["iteration"] == saved


def test_no_worker_outlives_its_parent(tmp_path):
    process = start(tmp_path, "data", "in C", "--num-workers", "2")
    workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    os.kill(int(workers.stdout.split()[1]), signal.SIGSTOP)
    process.kill()
    process.communicate(timeout=10)
    limit = time.monotonic() + 5
    while any(map(is_running, workers.stdout.split())):
        assert time.monotonic() < limit
        time.sleep(0.05)


def is_running(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False
