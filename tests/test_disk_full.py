"""A disk that is full: real files on a small file system."""

import os
import subprocess
from contextlib import suppress

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from handlers import Checkpoints, RunRecord, load_newest, model_sha256


@pytest.fixture
def small_disk(tmp_path):
    """A file system of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def train(disk, *, full_at, free_at, epochs):
    """Train for some epochs; the disk is full from one to another."""
    torch.manual_seed(0)
    model = nn.Linear(100, 1000)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(engine, batch):
        optimizer.zero_grad()
        model(torch.ones(1, 100)).square().mean().backward()
        optimizer.step()

    trainer = Engine(step)
    trainer.logger.disabled = True
    ballast = disk / "ballast"

    @trainer.on(Events.EPOCH_STARTED)
    def fill_or_free():
        if trainer.state.epoch == full_at:
            with open(ballast, "wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(os.urandom(4096))
        elif trainer.state.epoch == free_at:
            ballast.unlink()

    digests = {0: model_sha256(model)}
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: digests.update({trainer.state.iteration: model_sha256(model)})
    )
    with RunRecord(disk / "run", report=False).attach(trainer) as record:
        record.directory.mkdir()
        Checkpoints(disk / "run" / "checkpoints", {"model": model}).attach(trainer)
        trainer.run([0] * 5, max_epochs=epochs)
    return digests


def restored(disk):
    saved = load_newest(disk / "run" / "checkpoints")
    model = nn.Linear(100, 1000)
    model.load_state_dict(saved["objects"]["model"])
    return saved["engine"]["iteration"], model_sha256(model)


def test_training_goes_on_and_the_next_save_succeeds(small_disk, caplog):
    digests = train(small_disk, full_at=3, free_at=5, epochs=6)
    assert caplog.text.count("was not saved ([Errno 28] No space left on device)") == 2
    assert len(set(digests.values())) == 7
    assert restored(small_disk) == (30, digests[30])
    assert not list(small_disk.rglob("*.tmp"))


def test_the_last_good_checkpoint_loads_and_the_run_says_that_its_end_is_not_saved(small_disk, caplog):
    with pytest.raises(RuntimeError, match=r"checkpoint_00000025\.pt was not saved .*No space left"):
        train(small_disk, full_at=3, free_at=None, epochs=5)
    assert restored(small_disk)[0] == 10
    assert not list(small_disk.rglob("*.tmp"))
