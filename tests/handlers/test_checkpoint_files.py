"""Damaged files: each is seen, said in one line, and passed over for the one before."""

import logging
import os
import random
import shutil

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from handlers import Checkpoints, load_checkpoint, load_newest
from handlers.checkpoint_files import save_sealed

NEWEST = "checkpoint_00000020.pt"


@pytest.fixture
def saved(tmp_path):
    """A directory with checkpoints of iterations 15 and 20, and the weights of each."""
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.Adam(model.parameters())

    def step(engine, batch):
        optimizer.zero_grad()
        model(torch.randn(5, 3)).square().mean().backward()
        optimizer.step()

    trainer = Engine(step)
    Checkpoints(tmp_path, {"model": model, "optimizer": optimizer}).attach(trainer)
    trainer.run([0] * 5, max_epochs=4)
    return tmp_path


def truncated(data, rng):
    return data[: rng.randrange(len(data))]


def bit_flipped(data, rng):
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def overwritten(data, rng):
    length = rng.randrange(1, 4096)
    place = rng.randrange(max(1, len(data) - length))
    return data[:place] + rng.randbytes(length) + data[place + length :]


def replaced(data, rng):
    return rng.choice([b"", rng.randbytes(len(data)), b"\x89PNG" + rng.randbytes(100), data + b"\n"])


@pytest.mark.parametrize("damage", [truncated, bit_flipped, overwritten, replaced])
def test_seventy_five_damaged_files_are_recognised(saved, damage, caplog):
    data, rng = (saved / NEWEST).read_bytes(), random.Random(damage.__name__)
    before = load_checkpoint(saved / "checkpoint_00000015.pt")["objects"]["model"]
    for _ in range(75):
        (saved / NEWEST).write_bytes(damage(data, rng))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = load_newest(saved)
        assert found["engine"]["iteration"] == 15
        assert all(torch.equal(found["objects"]["model"][name], value) for name, value in before.items())
        (message,) = (record.getMessage() for record in caplog.records)
        assert NEWEST in message
        assert message.endswith("passed over")


class Attack:
    """Unpickled without care, it would leave a file."""

    def __reduce__(self):
        return open, ("executed", "w")


@pytest.mark.parametrize("content", [{"engine": {"iteration": 99}, "attack": Attack()}, {"weights": 1}, [3]])
def test_sealed_files_of_others_are_refused_and_not_executed(saved, content):
    save_sealed(saved / "zzz.pt", content)
    torch.save(content, saved / "zzzz.pt")
    for name in ("zzz.pt", "zzzz.pt"):
        with pytest.raises(ValueError, match=rf"{name}: not a checkpoint"):
            load_checkpoint(saved / name)
    assert load_newest(saved)["engine"]["iteration"] == 20
    assert not os.path.exists("executed")


def test_anybody_can_read_a_checkpoint(saved):
    assert torch.load(saved / NEWEST, weights_only=True)["engine"]["iteration"] == 20


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.pt: cannot be read"):
        load_checkpoint(tmp_path / "nowhere.pt")


def test_the_newest_is_found_by_content_not_by_name(saved):
    shutil.move(saved / NEWEST, saved / "a.pt")
    assert load_newest(saved)["engine"]["iteration"] == 20
