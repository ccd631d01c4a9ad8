"""A trained generator, applied to new images, measured, and given bad input."""

import csv
import json
import shutil

import pytest
import torch
import torchvision
from PIL import Image

import run_cifar2
from handlers.files import read_metrics
from ignite_pipeline.evaluate import __main__ as evaluate
from ignite_pipeline.predict import translate
from tests.support.pix2pix_runs import train


@pytest.fixture(scope="module")
def checkpoint(pairs, tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained") / "run"
    train(pairs, directory)
    return directory / "checkpoints" / "checkpoint_00000010.pt"


def test_translating_pairs_gives_what_validation_saw(checkpoint, pairs, tmp_path, capsys):
    translate.main([str(checkpoint), str(pairs / "val"), "--pairs", "--output", str(tmp_path / "out")])
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0] == f"{pairs / 'val' / '000.png'}\t{tmp_path / 'out' / '000.png'}"
    assert "3 were resized to 32x32, the network's size" in captured.err
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["000.png", "001.png", "002.png"]
    with Image.open(tmp_path / "out" / "000.png") as image:
        assert (image.size, image.mode) == ((32, 32), "RGB")
        ours = torch.tensor(list(image.tobytes()))
    again = tmp_path / "again"
    translate.main([str(checkpoint), str(pairs / "val" / "000.png"), "--pairs", "--output", str(again)])
    with Image.open(again / "000.png") as image:
        assert torch.equal(torch.tensor(list(image.tobytes())), ours)


def test_translations_of_pairs_are_measured_as_in_validation(checkpoint, pairs, tmp_path, capsys):
    where = [str(checkpoint), str(pairs / "val"), "--pairs"]
    translate.main([*where, "--output", str(tmp_path / "a"), "--format", "csv"])
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    translate.main([*where, "--output", str(tmp_path / "b"), "--format", "json"])
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    images = sorted((pairs / "val").iterdir())
    assert [row["file"] for row in rows] == [one["file"] for one in objects] == list(map(str, images))
    for row, one in zip(rows, objects, strict=True):
        assert (row["width"], row["height"], row["image_size"]) == ("40", "40", "32")
        assert row == {name: str(value) for name, value in one.items()} | {"output": row["output"]}
        for output in (row["output"], one["output"]):
            with Image.open(output) as image:
                assert image.size == (32, 32)
    # Generators of this size have no dropout, whose draws would differ.
    evaluate.main([str(checkpoint), str(pairs), "--output", str(tmp_path / "out")])
    whole = json.loads((tmp_path / "out" / "evaluation.json").read_text())["values"]
    means = {name: sum(one[name] for one in objects) / len(objects) for name in whole}
    assert means == pytest.approx(whole, rel=1e-5)


def test_images_without_a_target_have_a_row_without_distances(checkpoint, tmp_path, capsys):
    Image.effect_noise((50, 20), 50).save(tmp_path / "a, b.png")
    (tmp_path / "c.png").write_bytes(b"no image")
    with pytest.raises(SystemExit) as stop:
        translate.main([str(checkpoint), str(tmp_path), "--output", str(tmp_path / "out"), "--format", "csv"])
    assert stop.value.code == 2
    (row,) = csv.reader(capsys.readouterr().out.splitlines()[1:])
    assert row == [str(tmp_path / "a, b.png"), str(tmp_path / "out" / "a, b.png"), "50", "20", "32"]


def test_evaluating_a_checkpoint_gives_the_figures_of_the_run_to_the_last_bit(pairs, tmp_path):
    # Smaller generators have no dropout, whose draws have to be the same.
    train(pairs, tmp_path / "run", "--image-size", 64, "--epochs", 1, "--decay-epochs", 0, "--batch-size", 5)
    evaluate.main([str(tmp_path / "run"), str(pairs), "--output", str(tmp_path / "out")])
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())["values"]
    last = read_metrics(tmp_path / "run")[-1]
    assert found == {name: last[f"val/{name}"] for name in ("l1", "psnr", "ssim")}
    assert (tmp_path / "out" / "evaluation.png").stat().st_size > 1000


def test_a_pair_that_cannot_be_used_is_counted_and_the_rest_is_translated_and_measured(
    checkpoint, pairs, tmp_path, capsys
):
    (odd, damaged, whole) = sorted(shutil.copytree(pairs, tmp_path / "pairs").glob("val/*"))
    Image.new("RGB", (63, 32)).save(odd)
    damaged.write_bytes(b"no image")
    with pytest.raises(SystemExit) as stop:
        translate.main([str(checkpoint), str(odd.parent), "--pairs", "--output", str(tmp_path / "out")])
    assert stop.value.code == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == [whole.name]
    with pytest.raises(SystemExit) as stop:
        evaluate.main([str(checkpoint), str(tmp_path / "pairs"), "--output", str(tmp_path / "measured")])
    assert stop.value.code == 2
    found = json.loads((tmp_path / "measured" / "evaluation.json").read_text())
    assert (found["images"], found["unreadable"]) == (1, 2)
    error = capsys.readouterr().err
    assert error.count("its width of 63 does not halve into a pair") == error.count(f"{damaged}: not") == 2


@pytest.mark.parametrize("option", [["--targets", "table.csv"], ["--batch-size", "7"]])
def test_options_that_say_nothing_to_a_generator_are_refused(checkpoint, pairs, tmp_path, option, capsys):
    with pytest.raises(SystemExit) as stop:
        evaluate.main([str(checkpoint), str(pairs), "--output", str(tmp_path / "out"), *option])
    assert stop.value.code == 2
    assert (
        f"{option[0]} has no meaning for {checkpoint}, one that translates images" in capsys.readouterr().err
    )


@pytest.mark.slow
def test_weights_of_inception_in_a_file_give_a_fid(checkpoint, pairs, tmp_path, capsys):
    torch.manual_seed(0)
    state = torchvision.models.inception_v3(weights=None, init_weights=False).state_dict()
    torch.save(state, tmp_path / "inception.pth")
    where = [str(checkpoint.parents[1]), str(pairs), "--output", str(tmp_path / "out")]
    seen = []

    def look(module, inputs):
        if isinstance(module, torchvision.models.Inception3):
            seen.append(inputs[0])

    with torch.nn.modules.module.register_module_forward_pre_hook(look):
        evaluate.main([*where, "--inception", str(tmp_path / "inception.pth")])
    values = torch.cat(seen)
    assert values.shape[1:] == (3, 299, 299)
    assert -1 <= values.min() < 0 < values.max() <= 1  # as in the training of those weights
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())["values"]
    assert found["fid"] == pytest.approx(0, abs=1e-3)  # random features of few images tell nothing apart
    assert "the FID of 3 images" in capsys.readouterr().err
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(SystemExit):
        evaluate.main([*where, "--inception", str(tmp_path / "other.pth")])
    assert "other.pth: weights of another model than inception_v3" in capsys.readouterr().err


def test_single_images_of_the_networks_size_are_not_resized(checkpoint, tmp_path, capsys):
    for name in ("a", "b"):
        Image.effect_noise((32, 32), 50).save(tmp_path / f"{name}.jpg")
    inputs = [str(tmp_path / f"{name}.jpg") for name in ("a", "b")]
    translate.main([str(checkpoint), *inputs, "--output", str(tmp_path / "out")])
    assert "resized" not in capsys.readouterr().err
    assert (tmp_path / "out" / "a.png").read_bytes() != (tmp_path / "out" / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["{tmp}/nowhere.pt", "{val}"], "{tmp}/nowhere.pt: cannot be read (No such file"),
        (["{tmp}/text.pt", "{val}"], "{tmp}/text.pt: not a checkpoint, or cut off"),
        (["{tmp}/other.pt", "{val}"], "{tmp}/other.pt: ONNX or weights alone are for other"),
        (["{checkpoint}", "{tmp}/nowhere"], "{tmp}/nowhere: no such file"),
        (["{checkpoint}", "{tmp}/empty"], "{tmp}/empty: holds no image"),
        (["{checkpoint}", "{tmp}/text.pt"], "{tmp}/text.pt: not a readable image"),
        (["{checkpoint}", "{val}", "{tmp}/taken/000.png"], "would both be written to"),
        (["{checkpoint}", "{val}", "--output", "{tmp}/taken"], "--output: {tmp}/taken/000.png exists"),
        (["{checkpoint}", "{val}", "--output", "{tmp}/text.pt/out"], "Not a directory"),
        (["{checkpoint}", "{val}", "--sheet", "{val}/000.png"], "--sheet {val}/000.png would replace"),
        (
            ["{checkpoint}", "{val}", "--sheet", "{tmp}/out/000.png"],
            "--sheet {tmp}/out/000.png would replace",
        ),
        (
            ["{checkpoint}", "{val}", "--sheet", "{tmp}/no/sheet.png"],
            "sheet.png cannot be written: No such file",
        ),
    ],
)
def test_bad_input_to_translate_gets_one_line(checkpoint, pairs, tmp_path, capsys, arguments, line):
    (tmp_path / "text.pt").write_text("text")
    torch.save({"weights": torch.zeros(2)}, tmp_path / "other.pt")
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "000.png").touch()
    names = {"tmp": tmp_path, "val": pairs / "val", "checkpoint": checkpoint}
    with pytest.raises(SystemExit) as stop:
        translate.main(["--output", str(tmp_path / "out"), *(text.format(**names) for text in arguments)])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert line.format(**names) in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("out/*"))


def test_a_checkpoint_of_another_task_is_refused(image_tree, pairs, tmp_path, capsys):
    options = [
        "--epochs",
        "1",
        "--batch-size",
        "32",
        "--max-iterations",
        "1",
        "--output",
        str(tmp_path / "cifar2"),
    ]
    run_cifar2.main(["--data-root", str(image_tree), *options])
    other = tmp_path / "cifar2" / "checkpoints" / "checkpoint_00000001.pt"
    capsys.readouterr()
    with pytest.raises(SystemExit):
        translate.main([str(other), str(pairs / "val"), "--output", str(tmp_path / "out")])
    assert "translates no images; use python -m ignite_pipeline.predict" in capsys.readouterr().err
