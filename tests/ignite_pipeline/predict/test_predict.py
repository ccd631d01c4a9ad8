"""What a trained model predicts for images, from one file, is what validation counted."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from handlers.files import read_metrics
from ignite_pipeline.data.preprocessing import Preprocessing
from ignite_pipeline.predict.export import export_model
from ignite_pipeline.predict.sheet import write_sheet
from ignite_pipeline.predict.trained_models import best_checkpoint
from ignite_pipeline.signature import Signature
from tests.support.predicting import predicted
from tests.support.runs import summary, train

SIDE = Preprocessing(32, 32, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


@pytest.fixture(scope="module")
def unmirrored(image_tree, tmp_path_factory):
    """The directory of a run whose validation does not average over mirror images."""
    directory = tmp_path_factory.mktemp("unmirrored") / "run"
    train(image_tree, directory, "--model", "conv")
    return directory


def contents(*paths):
    return [path.read_bytes() for path in paths]


def share_right(lines):
    rows = [line.split("\t") for line in lines]
    return sum(Path(path).parent.name == name for path, name, _ in rows) / len(rows)


@pytest.mark.parametrize("run", ["undisturbed", "unmirrored"])
def test_validation_images_get_the_accuracy_of_the_run(run, request, image_tree, tmp_path, capfd):
    directory = request.getfixturevalue(run)
    capfd.readouterr()
    lines, _ = predicted(capfd, directory, image_tree / "val")
    assert len(lines) == 16
    assert share_right(lines) == summary(directory)["best"]["value"]
    # A checkpoint alone is enough: here that of the last epoch, which need not be the best.
    alone = shutil.copy(max(directory.glob("checkpoints/*.pt")), tmp_path / "alone.pt")
    lines, _ = predicted(capfd, alone, image_tree / "val")
    assert share_right(lines) == read_metrics(directory)[-1]["val/accuracy"]


def test_classes_probabilities_and_files_come_in_three_formats(undisturbed, image_tree, capfd):
    images = sorted((image_tree / "val" / "bird").glob("*.png"))[:3]
    lines, _ = predicted(capfd, undisturbed, *images)
    rows = list(csv.DictReader(predicted(capfd, undisturbed, *images, "--format", "csv")[0]))
    objects = [json.loads(line) for line in predicted(capfd, undisturbed, *images, "--format", "json")[0]]
    assert [row["file"] for row in rows] == [one["file"] for one in objects] == list(map(str, images))
    for line, row, one in zip(lines, rows, objects, strict=True):
        path, name, probability = line.split("\t")
        assert (path, name) == (row["file"], row["class"]) == (one["file"], one["class"])
        assert float(row["probability"]) == one["probability"] == max(one["probabilities"].values())
        assert float(probability) == pytest.approx(one["probability"], abs=5e-5)
        assert {name: float(row[name]) for name in ("airplane", "bird")} == one["probabilities"]
        assert sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-6)


def test_batches_of_another_size_say_the_same(undisturbed, image_tree, capfd):
    whole, _ = predicted(capfd, undisturbed, image_tree / "val")
    assert predicted(capfd, undisturbed, image_tree / "val", "--batch-size", 3)[0] == whole


def test_images_of_any_size_are_scaled_and_drawn(undisturbed, photographs, tmp_path, capfd):
    lines, _ = predicted(capfd, undisturbed, photographs / "test", "--output", tmp_path / "sheet.png")
    assert len(lines) == 22
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1000


def test_two_dollars_in_a_caption_are_no_mathematics(tmp_path):
    write_sheet(
        [torch.zeros(3, 8, 8, dtype=torch.uint8)],
        [r"5$ \no 6$"],
        tmp_path / "a.png",
        option="--output",
        title="$ \\x $",
    )
    assert (tmp_path / "a.png").exists()


def test_what_cannot_be_read_is_named_and_the_rest_is_predicted(undisturbed, image_tree, tmp_path, capfd):
    shutil.copy(next((image_tree / "val" / "bird").iterdir()), tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    lines, error = predicted(capfd, undisturbed, tmp_path, status=2)
    assert [line.split("\t")[0] for line in lines] == [str(tmp_path / "a.png")]
    assert f"{tmp_path / 'b.png'}: not a readable image" in error


def test_an_image_in_memory_is_scaled_as_one_in_a_file_is(tmp_path):
    preprocessing = Preprocessing(24, 28, (0.5,) * 3, (0.5,) * 3)
    pixels = torch.randint(256, (3, 8, 8), dtype=torch.uint8)
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    assert torch.equal(preprocessing.apply(pixels), preprocessing.read(tmp_path / "a.png"))


class Brightness(nn.Module):
    """Logits of dark and bright, that nobody but its recipe knows how to build."""

    def forward(self, x):
        mean = x.mean((1, 2, 3))
        return torch.stack([-mean, mean], 1)


def test_a_stranger_s_model_predicts_through_its_exported_program(tmp_path, capfd):
    for name, level in (("dark", 20), ("bright", 230)):
        Image.new("RGB", (50, 40), (level, level, level)).save(tmp_path / f"{name}.png")
    export_model(Brightness(), Signature("classes", SIDE, ("dark", "bright")), tmp_path / "model.pt2")
    lines, _ = predicted(capfd, tmp_path / "model.pt2", tmp_path)
    assert [line.split("\t")[1] for line in lines] == ["bright", "dark"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "name images to predict, or --export FILE"),
        (["--export", "{tmp}/model.pt", "--output", "sheet.png"], "--output: there are no images to draw"),
        (["nowhere.png"], "nowhere.png: no such file, and no pattern of files"),
        (["{tmp}/empty"], "{tmp}/empty: holds no image"),
        (["{image}", "--format", "xml"], "argument --format"),
        (["{image}", "--batch-size", "0"], "argument --batch-size"),
        (["{image}", "--device", "tpu"], "--device must be"),
        (["{image}", "--output", "{tmp}/no/sheet.png"], "--output {tmp}/no/sheet.png cannot be written"),
        (["--export", "{tmp}/model.h5"], "--export {tmp}/model.h5: must end in .pt2, .onnx, .pt"),
        (["--export", "{tmp}/no/model.pt"], "--export {tmp}/no/model.pt cannot be written"),
        (["{image}", "--output", "{image}"], "--output {image} would replace {image}"),
        (["{image}", "--export", "{image}"], "--export {image} would replace {image}"),
        (["--export", "{checkpoint}"], "--export {checkpoint} would replace {checkpoint}"),
        (["--export", "{tmp}/checkpoint_00000001.pt"], "the checkpoints of a run are called so"),
        (["--export", "{run}/config.pt"], "{run}/config.json gets the signature, but is no signature now"),
    ],
)
def test_bad_input_is_one_line(arguments, line, undisturbed, image_tree, tmp_path, capfd):
    (tmp_path / "empty").mkdir()
    image, run = next((image_tree / "val" / "bird").iterdir()), undisturbed
    names = {"tmp": tmp_path, "image": image, "run": run, "checkpoint": best_checkpoint(run)}
    before = contents(names["image"], names["checkpoint"], run / "config.json")
    given = [argument.format(**names) for argument in arguments]
    _, error = predicted(capfd, undisturbed, *given, status=2)
    assert line.format(**names) in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
    assert contents(names["image"], names["checkpoint"], run / "config.json") == before


def test_an_output_that_cannot_be_written_is_named_before_anything_is_computed(
    undisturbed, image_tree, tmp_path, capfd
):
    lines, error = predicted(
        capfd, undisturbed, image_tree / "val", "--output", tmp_path / "no" / "a.png", status=2
    )
    assert lines == []
    assert "a.png cannot be written: No such file" in error
