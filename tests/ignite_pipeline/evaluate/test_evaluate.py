"""A trained model on images with known answers: every figure, counted by hand."""

import json
import shutil

import pytest
import torch
from PIL import Image
from torch import nn

from ignite_pipeline.data.preprocessing import Preprocessing
from ignite_pipeline.evaluate import __main__ as evaluate
from ignite_pipeline.evaluate.figures import of_classes, of_labels, of_numbers
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
    assert len(found["worst"]) == min(16 - right, 16)
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
    assert [(wrong.name, wrong.truth, wrong.answer) for wrong in figures.worst] == [
        ("3", "b", "a"),
        ("5", "b", "a"),
    ]


def test_labels_and_numbers_have_figures_of_their_own():
    probabilities, y = torch.tensor([[0.9, 0.2], [0.6, 0.7]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    found = of_labels(probabilities, y, ["red", "round"]).values
    assert found["all_labels_right"] == 0.5
    assert (found["precision/red"], found["recall/red"], found["precision/round"]) == (0.5, 1, 1)
    found = of_numbers(torch.tensor([[1.0], [4.0]]), torch.tensor([[2.0], [1.0]])).values
    assert found == {"mean_absolute_error": 2, "root_mean_squared_error": pytest.approx(5**0.5)}


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
        (["{val}", "--output", "{val}/out"], "give another --output"),
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
