"""A save that fails is told, costs no older checkpoint, and stops no run in its course."""

import errno
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from handlers import Checkpoints
from handlers.checkpoint_files import save_sealed
from tests.support.checkpointed import files, names, resume, train


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_a_file_that_reads_back_wrong_never_takes_its_place(tmp_path, model, monkeypatch, caplog):
    train(tmp_path, model, epochs=1)
    _, run = resume(tmp_path, model, epochs=3)

    def save_and_rot(path, content):
        save_sealed(path, content)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    monkeypatch.setattr("handlers.checkpointing.save_sealed", save_and_rot)
    with pytest.raises(RuntimeError, match=r"00015\.pt was not saved .*does not match"):
        run()
    assert names(tmp_path) == files(0, 5)
    said = [record.message for record in caplog.records if record.name == "handlers.checkpointing"]
    assert len(said) == 2
    assert all("was not saved" in line for line in said)


def test_a_best_that_could_not_be_saved_does_not_push_out_the_one_before(tmp_path, model, monkeypatch):
    def save_but_the_second(path, content):
        if content["engine"]["iteration"] == 10:
            raise OSError("no")
        save_sealed(path, content)

    monkeypatch.setattr("handlers.checkpointing.save_sealed", save_but_the_second)
    train(tmp_path, model, keep=1, scores=(0.9, 0.95, 0.5, 0.4))
    assert names(tmp_path) == files(5, 20)


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("state", [lambda: open, lambda: Path("weights")], ids=["unpicklable", "unsafe"])
def test_a_state_that_would_not_load_is_a_failed_save(tmp_path, model, background, state):
    class Odd:
        def state_dict(self):
            return {"odd": state()}

    trainer = Engine(lambda engine, batch: None)
    train(tmp_path, model, epochs=1)
    Checkpoints(tmp_path / "odd", {"model": Odd()}, background=background).attach(trainer)
    with pytest.raises(RuntimeError, match="was not saved"):
        trainer.run([0] * 5)
    assert trainer.state.iteration == 5
    assert not list((tmp_path / "odd").glob("*.pt"))


def test_what_cannot_be_removed_does_not_make_a_save_fail(tmp_path, model, monkeypatch, caplog):
    def refuse(self, missing_ok=False):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    train(tmp_path, model, keep=1, epochs=2)
    assert names(tmp_path) == files(0, 5, 10)
    assert "checkpoint_00000005.pt could not be removed" in caplog.text


def test_nan_is_never_saved(tmp_path, model):
    train(tmp_path, model, epochs=1)
    trainer, run = resume(tmp_path, model, epochs=2)
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda: model[1].running_mean.fill_(torch.nan))
    with pytest.raises(RuntimeError, match="it holds values that are not a number"):
        run()
    assert names(tmp_path) == files(0, 5)


@pytest.mark.parametrize("where", ["write", "fsync", "rename"])
def test_a_failed_save_costs_no_older_file_and_does_not_stop_the_run(
    tmp_path, model, monkeypatch, caplog, where
):
    checkpoints = train(tmp_path, model, epochs=1, keep=1)
    assert names(tmp_path) == files(5)

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    target = {"write": "torch.save", "fsync": "os.fsync", "rename": "os.replace"}[where]
    trainer = Engine(lambda engine, batch: None)
    checkpoints.attach(trainer)
    trainer.load_state_dict({"iteration": 5, "epoch_length": 5, "max_epochs": 2})
    with monkeypatch.context() as patch:
        patch.setattr(target, fail)
        with pytest.raises(RuntimeError, match=r"checkpoint_00000010\.pt was not saved"):
            trainer.run([0] * 5, max_epochs=2)
    assert trainer.state.epoch == 2
    assert names(tmp_path) == files(5)
    assert "was not saved ([Errno 28] No space left on device)" in caplog.text
    checkpoints.save(trainer)
    assert names(tmp_path) == files(10)
