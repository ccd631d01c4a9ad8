"""Files that hold no model that can predict, or a foreign one: each is named in one line."""

import os
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from handlers.checkpoint_files import load_checkpoint, save_sealed
from ignite_pipeline.data.preprocessing import Preprocessing
from ignite_pipeline.errors import BadInput
from ignite_pipeline.predict.trained_models import best_checkpoint, load_trained
from ignite_pipeline.signature import Signature
from tests.support.points import Recipe
from tests.support.predicting import predicted

SIDE = Preprocessing(32, 32, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("was_executed",)


def test_nothing_in_a_checkpoint_is_executed(undisturbed, image_tree, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    save_sealed(tmp_path / "evil.pt", {"engine": {"iteration": 1}, "config": RunsCode()})
    _, error = predicted(capfd, "evil.pt", image_tree / "val", status=2)
    assert "evil.pt: not a checkpoint" in error
    assert not Path("was_executed").exists()


SIGNED = {
    "outputs": [["a"], ["a", "b", "c"], [1, 2], 5],
    "weights": [["a"], "nothing"],
    "arguments": [5, {"num_classes": -3}, {"num_classes": 10**13}, {"num_classes": 3}, {"size": 2}],
    "model": [7, "pix2pix/generator"],
    "mirror": ["no"],
    "mode": ["off"],
    "kind": ["image", "sounds"],
    "preprocessing": [
        {},
        {"image_size": "x"},
        {"image_size": 0},
        {"image_size": 2, "resize_size": 2},
        {"resize_size": -1},
        {"resize_size": 16},
        {"mean": ["x", 0, 0]},
        {"mean": [0.5]},
        {"std": [0, 0, 0]},
    ],
}


@pytest.fixture
def damage(undisturbed, tmp_path):
    """Return a function that edits a checkpoint, and returns the whole file that it makes of it."""
    content = load_checkpoint(best_checkpoint(undisturbed))

    def damaged(edit):
        edit(content)
        save_sealed(tmp_path / "damaged.pt", content)
        return tmp_path / "damaged.pt"

    return damaged


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in SIGNED for value in SIGNED[name]])
def test_a_foreign_signature_is_one_line(name, value, damage):
    def edit(content):
        signature = content["config"]["signature"]
        signature[name] = {**signature[name], **value} if name == "preprocessing" and value else value

    path = damage(edit)
    with pytest.raises(BadInput, match=re.escape(str(path))):
        load_trained(path, device="cpu")


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content.update(config=[1]),
        lambda content: content["config"].update(options=[1]),
        lambda content: content["config"]["options"].update(seed="one"),
        lambda content: content["config"]["options"].update(precision=["fp32"]),
        lambda content: content.update(objects=[1]),
    ],
)
def test_a_foreign_checkpoint_is_one_line(edit, damage):
    path = damage(edit)
    with pytest.raises(BadInput, match=re.escape(str(path))):
        load_trained(path, device="cpu")


@pytest.mark.parametrize(
    ("signature", "line"),
    [
        (None, "its recipe gave no signature to run.attach"),
        (Signature("classes", SIDE, ("dark", "bright")), "give the exported program"),
        (
            Signature("classes", SIDE, ("a", "b"), model="classifiers/gone"),
            "gone cannot be built",
        ),
        (Signature("classes", SIDE, ("a", "b"), model="os/system"), "'os/system' is none of"),
    ],
)
def test_a_checkpoint_that_cannot_predict_says_so(signature, line, tmp_path, capfd):
    class Signed(Recipe):
        def more(self, run, trainer, model):
            return {"signature": signature}

    Signed()(tmp_path / "run", "--max-iterations", 1)
    image = tmp_path / "a.png"
    Image.new("RGB", (32, 32)).save(image)
    _, error = predicted(capfd, tmp_path / "run", image, status=2)
    assert str(best_checkpoint(tmp_path / "run")) in error
    assert line in error


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("nowhere.pt", "cannot be read"),
        ("nowhere.pt2", "cannot be read"),
        ("text.pt2", "cannot be read"),
        ("other.pt2", "not a program that was exported here"),
        ("fifo.pt2", "cannot be read (not a regular file)"),
        ("text.pt", "not a checkpoint, or cut off"),
        ("weights.pt", "ONNX or weights alone are for other programs; give the checkpoint, or"),
        ("model.onnx", "ONNX or weights alone are for other programs; give the checkpoint"),
        ("folder.pt", "a folder without checkpoints; give a run's directory or a checkpoint"),
    ],
)
def test_what_is_no_model_is_one_line(name, line, image_tree, tmp_path, capfd):
    for text in ("text.pt2", "text.pt", "model.onnx"):
        (tmp_path / text).write_text("text")
    for weights in ("other.pt2", "weights.pt"):
        torch.save({"weights": torch.zeros(2)}, tmp_path / weights)
    os.mkfifo(tmp_path / "fifo.pt2")
    (tmp_path / "folder.pt").mkdir()
    _, error = predicted(capfd, tmp_path / name, image_tree / "val", status=2)
    assert f"{tmp_path / name}: {line}" in error
    assert error.count("\n") == 1
