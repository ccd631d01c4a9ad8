"""A disk that is full: real files on a small file system."""

import os
import subprocess
from contextlib import suppress

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

import run_cifar2
from handlers import Checkpoints, RunRecord, load_newest, model_sha256
from handlers.files import read_metrics


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
    subprocess.run(["umount", "--lazy", str(disk)], check=True)  # this process may hold a lock there


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


def untimed_lines(directory):
    return [(line["kind"], line["iteration"]) for line in read_metrics(directory)]


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
    assert untimed_lines(small_disk / "run") == [("epoch", 5 * epoch) for epoch in range(1, 7)]
    assert not list(small_disk.rglob("*.tmp"))


def test_the_last_good_checkpoint_loads_and_the_run_says_that_its_end_is_not_saved(small_disk, caplog):
    with pytest.raises(RuntimeError, match=r"checkpoint_00000025\.pt was not saved .*No space left"):
        train(small_disk, full_at=3, free_at=None, epochs=5)
    assert restored(small_disk)[0] == 10
    assert not list(small_disk.rglob("*.tmp"))


def test_no_checkpoint_stands_without_its_lines(small_disk):
    disk = small_disk / "run"
    disk.mkdir()
    record = RunRecord(disk, report=False)
    trainer = Engine(lambda engine, batch: None)
    trainer.logger.disabled = True
    record.attach(trainer)
    Checkpoints(disk / "checkpoints", {}, before=record.sync).attach(trainer)
    hidden = disk / "metrics.jsonl.hidden"
    for event, there, elsewhere in (
        (Events.EPOCH_STARTED(once=2), disk / "metrics.jsonl", hidden),
        (Events.EPOCH_STARTED(once=4), hidden, disk / "metrics.jsonl"),
    ):
        trainer.add_event_handler(event, swap, there, elsewhere)
    saved = {}
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED,
        lambda: saved.update({trainer.state.epoch: load_newest(disk / "checkpoints")["engine"]["iteration"]}),
    )
    trainer.run([0] * 5, max_epochs=5)
    assert saved == {1: 5, 2: 5, 3: 5, 4: 20, 5: 25}
    assert untimed_lines(disk) == [("epoch", 5 * epoch) for epoch in range(1, 6)]


def swap(there, elsewhere):
    """Put a folder where the file was, or the file back."""
    if elsewhere.is_dir():
        elsewhere.rmdir()
        there.rename(elsewhere)
    else:
        there.rename(elsewhere)
        there.mkdir()


def test_a_full_disk_is_called_so_and_no_older_checkpoints_are_made_up(small_disk, caplog):
    model = nn.Linear(1000, 1000)  # more than there is room for
    trainer = Engine(lambda engine, batch: None)
    trainer.logger.disabled = True
    Checkpoints(small_disk / "checkpoints", {"model": model}).attach(trainer)
    with pytest.raises(
        RuntimeError, match=r"\[Errno 28\] No space left on device\); there is none before it"
    ):
        trainer.run([0])
    assert "enforce fail" not in caplog.text


def test_to_go_on_where_the_disk_is_full_is_refused_in_one_line(small_disk, image_tree, monkeypatch, capsys):
    small = ["--model", "conv", "--visdom", "off", "--epochs", "2", "--batch-size", "8"]
    options = [*small, "--max-iterations", "3", "--output", str(small_disk / "run")]
    run_cifar2.main(["--data-root", str(image_tree), *options])
    before = (small_disk / "run" / "config.json").read_bytes()
    with open(small_disk / "ballast", "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run_cifar2.main(["--resume", str(small_disk / "run"), "--max-iterations", "9"])
    assert ended.value.code == 2
    assert "cannot be written: No space left on device\n" in capsys.readouterr().err
    assert (small_disk / "run" / "config.json").read_bytes() == before
