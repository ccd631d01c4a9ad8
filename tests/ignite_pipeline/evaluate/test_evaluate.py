"""A trained model on labelled images: every figure, counted by hand."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from ignite_pipeline.data.images import ImageTensors
from ignite_pipeline.data.preprocessing import Preprocessing
from ignite_pipeline.errors import BadInput
from ignite_pipeline.evaluate import __main__ as evaluate
from ignite_pipeline.evaluate.figures import of_classes, of_labels, of_numbers
from ignite_pipeline.evaluate.labelled_data import LabelledData, find_labelled
from ignite_pipeline.predict.export import export_model
from ignite_pipeline.signature import Signature
from tests.support.runs import summary


def measure(*arguments):
    evaluate.main([str(argument) for argument in arguments])
    output = arguments[arguments.index("--output") + 1]
    return json.loads((output / "evaluation.json").read_text())


@pytest.mark.parametrize("below", ["", "val"])
def test_the_validation_images_give_what_the_run_gave(below, undisturbed, image_tree, tmp_path, capsys):
    found = measure(undisturbed, image_tree / below, "--output", tmp_path / "out")
    assert found["values"]["accuracy"] == summary(undisturbed)["best"]["value"]
    assert found["images"] == 16
    assert sum(map(sum, found["confusion"])) == 16
    right = sum(found["confusion"][place][place] for place in range(2))
    assert right / 16 == found["values"]["accuracy"]
    assert found["values"]["recall/bird"] == pytest.approx(found["confusion"][1][1] / 8)
    assert len(found["most_confident_errors"]) == min(16 - right, 16)
    with Image.open(tmp_path / "out" / "evaluation.png") as picture:
        assert picture.width > 1000
    said = capsys.readouterr().out
    assert f"accuracy                 {found['values']['accuracy']:.4f}" in said
    assert "airplane" in said


def test_a_program_gives_the_same_figures(undisturbed, image_tree, tmp_path):
    from ignite_pipeline.predict.__main__ import main as predict

    predict([str(undisturbed), "--export", str(tmp_path / "model.pt2")])
    whole = measure(undisturbed, image_tree, "--output", tmp_path / "whole")
    exported = measure(tmp_path / "model.pt2", image_tree, "--output", tmp_path / "exported")
    assert exported["confusion"] == whole["confusion"]
    assert exported["values"] == pytest.approx(whole["values"], abs=1e-5)


def test_folders_of_other_classes_are_said_and_left_out(undisturbed, image_tree, tmp_path, capsys):
    data = shutil.copytree(image_tree / "val", tmp_path / "data")
    shutil.copytree(data / "bird", data / "aardvark")
    found = measure(undisturbed, data, "--output", tmp_path / "out")
    assert found["images"] == 16
    assert "the model does not know aardvark: left out" in capsys.readouterr().err


def test_another_checkpoint_is_measured_into_another_folder(
    undisturbed, image_tree, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    checkpoints = sorted((undisturbed / "checkpoints").glob("*.pt"))[:2]
    for checkpoint in checkpoints:
        evaluate.main([str(checkpoint), str(image_tree / "val")])
        folder = Path("evaluation", undisturbed.name, checkpoint.stem, "val")
        assert json.loads((folder / "evaluation.json").read_text())["model"] == str(checkpoint)
    assert len(list(tmp_path.rglob("evaluation.json"))) == len(checkpoints) == 2


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_computed(
    undisturbed, image_tree, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(evaluate, "evaluate_images", None)
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        evaluate.main([str(undisturbed), str(image_tree), "--output", str(tmp_path / "file" / "out")])
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "table", "targets"),
    [
        ("classes", "file,is\n0.png,c\n1.png,a\n", [2, 0]),
        ("classes", "file,is\n0.png,b\n1.png,b\n", [1, 1]),
        ("labels", "file,is\n0.png,c|a\n1.png,\n", [[1, 0, 1], [0, 0, 0]]),
        ("labels", "file,c,b,a\n0.png,1,0,0\n1.png,0,1,1\n", [[0, 0, 1], [1, 1, 0]]),
        ("numbers", "file,b,c,a\n0.png,2,3,1\n1.png,5,6,4\n", [[1, 2, 3], [4, 5, 6]]),
        ("classes", "file,is\n0.png,d\n1.png,a\n", "has a, d, the model a, b, c"),
        ("labels", "file,a,b\n0.png,1,0\n1.png,0,1\n", "has a, b, the model a, b, c"),
        ("numbers", "file,a,b\n0.png,1,0\n1.png,0,1\n", "has a, b, the model a, b, c"),
    ],
)
def test_targets_of_a_table_are_among_the_model_s(kind, table, targets, tmp_path):
    for number in range(2):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    (tmp_path / "table.csv").write_text(table)
    signature = Signature(kind, Preprocessing(8, 8, (0.0,) * 3, (1.0,) * 3), ("a", "b", "c"))
    if isinstance(targets, str):
        with pytest.raises(BadInput, match=targets):
            find_labelled(tmp_path, signature, targets=tmp_path / "table.csv")
    else:
        assert find_labelled(tmp_path, signature, targets=tmp_path / "table.csv").targets.tolist() == targets


def test_what_no_image_shows_has_no_recall_and_is_named(undisturbed, image_tree, tmp_path, capsys):
    data = shutil.copytree(image_tree / "val", tmp_path / "data")
    shutil.rmtree(data / "bird")
    found = measure(undisturbed, data, "--output", tmp_path / "out")
    assert found["values"]["recall/bird"] is None
    assert found["values"]["recall/airplane"] == found["values"]["accuracy"]
    assert "no image shows bird" in capsys.readouterr().out


def test_what_is_not_defined_is_none():
    y_pred, y = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.2, 0.2]]), torch.tensor([0, 1])
    values = of_classes(y_pred.log(), y, ["a", "b", "c"], ["", ""]).values
    assert [values[f"precision/{name}"] for name in "abc"] == [0.5, None, None]
    assert [values[f"recall/{name}"] for name in "abc"] == [1, 0, None]
    values = of_labels(torch.tensor([[0.9, 0.1]]), torch.tensor([[0.0, 0.0]]), ["a", "b"]).values
    assert [values[f"{kind}/{name}"] for kind in ("precision", "recall") for name in "ab"] == [
        0,
        None,
        None,
        None,
    ]


def test_unreadable_images_are_counted(undisturbed, image_tree, tmp_path, capsys):
    data = shutil.copytree(image_tree / "val", tmp_path / "data")
    min((data / "bird").iterdir()).write_bytes(b"no image")
    with pytest.raises(SystemExit) as stop:
        measure(undisturbed, data, "--output", tmp_path / "out")
    assert stop.value.code == 2
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (found["images"], found["unreadable"]) == (15, 1)
    assert ".png: not a readable image" in capsys.readouterr().err


def test_cross_entropy_of_logits_is_the_negative_log_likelihood_of_log_softmax():
    torch.manual_seed(0)
    logits, y = torch.randn(500, 7, dtype=torch.float64) * 5, torch.randint(7, (500,))
    classes, names = [str(place) for place in range(7)], [""] * 500
    found = of_classes(logits.log_softmax(1), y, classes, names).values["loss"]
    assert found == pytest.approx(nn.functional.cross_entropy(logits, y).item(), rel=1e-6)


def test_calibration_is_the_mean_distance_of_how_sure_and_how_right():
    sure, unsure = [0.9, 0.1], [0.6, 0.4]
    y_pred = torch.tensor([sure, sure, sure, sure, unsure, unsure]).log()
    y = torch.tensor([0, 0, 0, 1, 0, 1])  # of those at 0.9, 3 of 4 are right; at 0.6, 1 of 2
    figures = of_classes(y_pred, y, ["a", "b"], [f"{place}" for place in range(6)])
    assert figures.calibration.error == pytest.approx((4 * 0.15 + 2 * 0.1) / 6, abs=1e-6)
    assert [(wrong.name, wrong.true, wrong.predicted) for wrong in figures.most_confident_errors] == [
        ("3", "b", "a"),
        ("5", "b", "a"),
    ]


def test_labels_and_numbers_have_figures_of_their_own():
    probabilities, y = torch.tensor([[0.9, 0.2], [0.6, 0.7]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    found = of_labels(probabilities, y, ["red", "round"]).values
    assert found["subset_accuracy"] == 0.5
    assert (found["precision/red"], found["recall/red"], found["precision/round"]) == (0.5, 1, 1)
    found = of_numbers(torch.tensor([[1.0], [4.0]]), torch.tensor([[2.0], [1.0]]), ["age"]).values
    assert found == {"mean_absolute_error": 2, "root_mean_squared_error": pytest.approx(5**0.5)}


def test_several_numbers_are_averaged_over_all_and_measured_one_by_one():
    y_pred, y = torch.tensor([[1.0, 5.0], [1.0, 3.0]]), torch.tensor([[1.0, 1.0], [1.0, 5.0]])
    assert of_numbers(y_pred, y, ["age", "height"]).values == {
        "mean_absolute_error": 1.5,
        "root_mean_squared_error": pytest.approx(5**0.5),
        "mean_absolute_error/age": 0,
        "root_mean_squared_error/age": 0,
        "mean_absolute_error/height": 3,
        "root_mean_squared_error/height": pytest.approx(10**0.5),
    }


def test_images_in_memory_are_scaled_to_what_the_model_takes():
    signature = Signature("classes", Preprocessing(48, 56, (0.0,) * 3, (1.0,) * 3), ("a", "b"))
    white = ImageTensors(torch.full((1, 3, 32, 32), 255, dtype=torch.uint8), torch.tensor([0]))
    data = LabelledData(["white"], white, white.targets)
    image = evaluate.read(SimpleNamespace(signature=signature), data, 0)
    assert image.shape == (3, 48, 48)
    assert (image == 255).all()


class Brightness(nn.Module):
    def forward(self, x):
        return x.mean((1, 2, 3)).unsqueeze(1) * 2


def test_numbers_of_a_table_are_measured(tmp_path):
    for name, level in (("dark", 51), ("bright", 204)):
        Image.new("RGB", (16, 16), (level,) * 3).save(tmp_path / f"{name}.png")
    (tmp_path / "table.csv").write_text("file,twice\ndark.png,0.4\nbright.png,1.5\n")
    preprocessing = Preprocessing(16, 16, (0.0,) * 3, (1.0,) * 3)
    export_model(Brightness(), Signature("numbers", preprocessing, ("twice",)), tmp_path / "model.pt2")
    arguments = [tmp_path / "model.pt2", tmp_path, "--targets", tmp_path / "table.csv"]
    found = measure(*arguments, "--output", tmp_path.parent / f"{tmp_path.name}-out")
    assert found["values"]["mean_absolute_error"] == pytest.approx(0.05, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["{tmp}/nowhere"], "{tmp}/nowhere: no such folder"),
        (["{tmp}/empty"], "holds no folder of the model's classes, airplane, bird"),
        (["{val}", "--output", "{val}/out"], "{val}/out would lie in DATA {val}, where"),
        (["{val}", "--inception", "{tmp}/no.pt"], "--inception has no meaning for"),
        (["{val}", "--output", "{tmp}/file/out"], "--output {tmp}/file/out cannot be written"),
    ],
)
def test_bad_input_is_one_line(arguments, line, undisturbed, image_tree, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    names = {"tmp": tmp_path, "val": image_tree / "val"}
    with pytest.raises(SystemExit) as stop:
        evaluate.main([str(undisturbed), *(text.format(**names) for text in arguments)])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert line.format(**names) in error
    assert error.count("\n") == 1
