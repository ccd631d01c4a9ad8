"""Bad options, files and run directories: one line, exit status 2, and nothing written or lost."""

import json
import shutil

import pytest

import run_cifar2
from tests.support.runs import SMALL


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--data-root", "{tmp}/nowhere"], "{tmp}/nowhere: no such folder"),
        (["--data-root", "{tmp}/empty"], "{tmp}/empty: holds neither cifar-10-batches-py/"),
        (["--classes", "airplane", "cat"], "no class cat; there are airplane, bird"),
        (["--classes", "airplane"], "classes must name at least two, got airplane"),
        (["--data-root", "{tmp}/damaged"], "{tmp}/damaged/train/bird/001.png: not a readable image"),
        (["--output", "{tmp}/file/run"], "--output {tmp}/file/run cannot be written: Not a directory"),
        (["--data-root", ""], "argument --data-root: must name a file or a folder, got ''"),
        (["--output", ""], "argument --output: must name a file or a folder, got ''"),
        (["--resume", ""], "argument --resume: must name a file or a folder, got ''"),
        (["--output", "{tmp}/taken"], "{tmp}/taken already holds a run"),
        (["--batch-size", "1000"], "batch_size=1000 is more than the 64 samples"),
        (["--device", "cuda:99"], "--device cuda:99 is not there"),
        (["--device", "meta"], "--device must be auto, cpu, cuda, cuda:N or mps, got meta"),
        (["--model", "vgg"], "argument --model: invalid choice: 'vgg'"),
        (["--epochs", "0"], "argument --epochs: must be a whole number at least 1, got 0"),
        (["--epochs", "2.5"], "argument --epochs: must be a whole number at least 1, got '2.5'"),
        (["--batch-size", "0"], "argument --batch-size: must be a whole number at least 1, got 0"),
        (["--lr", "0"], "argument --lr: must be a number above 0, got 0"),
        (["--lr", "nan"], "argument --lr: must be a number above 0, got nan"),
        (["--lr", "inf"], "argument --lr: must be a number above 0, got inf"),
        (["--weight-decay", "-1"], "argument --weight-decay: must be a number at least 0, got -1"),
        (
            ["--label-smoothing", "1"],
            "argument --label-smoothing: must be a number at least 0 and below 1, got 1",
        ),
        (
            ["--seed", "-1"],
            "argument --seed: must be a whole number at least 0 and below 9223372036854775808, got -1",
        ),
        (
            ["--seed", str(2**63)],
            "argument --seed: must be a whole number at least 0 and below 9223372036854775808",
        ),
        (["--num-workers", "-1"], "argument --num-workers: must be a whole number at least 0, got -1"),
        (["--max-iterations", "0"], "argument --max-iterations: must be a whole number at least 1, got 0"),
        (["--checkpoint-every-s", "0"], "argument --checkpoint-every-s: must be a number above 0, got 0"),
    ],
)
def test_bad_input_gets_one_line_and_writes_nothing(image_tree, tmp_path, capsys, options, line):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "config.json").touch()
    shutil.copytree(image_tree, tmp_path / "damaged")
    damaged = tmp_path / "damaged" / "train" / "bird" / "001.png"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    before = sorted(tmp_path.rglob("*"))
    given = [text.format(tmp=tmp_path) for text in options]
    defaults = ["--data-root", str(image_tree), "--output", str(tmp_path / "run"), *SMALL]
    with pytest.raises(SystemExit) as stop:
        run_cifar2.main([*defaults, *given])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert line.format(tmp=tmp_path) in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--lr", "0.5"], "--lr 0.5 contradicts the run in {run}, which has 0.3"),
        (["--seed", "1"], "--seed 1 contradicts the run"),
        (["--model", "conv"], "--model conv contradicts the run"),
        (["--classes", "bird", "airplane"], "--classes ['bird', 'airplane'] contradicts the run"),
        (["--output", "{run}2"], "--output {run}2 contradicts the run"),
        (["--precision", "bf16"], "--precision bf16 contradicts the run in {run}, which has fp32"),
        (["--dataset", "generated"], "--dataset generated contradicts the run in {run}, which has folder"),
        (["--max-iterations", "5"], "--max-iterations 5 is less than the 96 of the run"),
        (["--epochs", "2"], "--epochs 2 is less than the run's 3"),
    ],
)
def test_options_that_contradict_the_run_are_refused(undisturbed, tmp_path, capsys, options, line):
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as stop:
        run_cifar2.main(["--resume", str(run), *(text.format(run=run) for text in options)])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert line.format(run=run) in error
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_options_that_agree_with_the_run_are_not(undisturbed, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    run_cifar2.main(
        ["--resume", str(run), "--epochs", "3", "--lr", "0.3", "--device", "auto", "--precision", "auto"]
    )


@pytest.mark.parametrize(
    "what",
    ["nothing there", "no config", "only a damaged checkpoint", "data", "another task"],
)
def test_a_directory_that_cannot_be_resumed_is_named(undisturbed, image_tree, tmp_path, capsys, what):
    run = tmp_path / "run"
    message = "run: not a run directory, config.json is missing or damaged"
    if what != "nothing there":
        shutil.copytree(undisturbed, run)
    if what == "no config":
        (run / "config.json").unlink()
    if what == "only a damaged checkpoint":
        for path in (run / "checkpoints").iterdir():
            path.write_bytes(b"damaged")
        message = "checkpoints: holds no valid checkpoint to resume from"
    if what == "data":
        config = json.loads((run / "config.json").read_text())
        config["dataset"]["sha256"] = "before"
        (run / "config.json").write_text(json.dumps(config))
        message = "run: the data has changed, names, sizes, targets or contents (sha256) are others; put back"
    if what == "another task":
        (run / "config.json").write_text('{"task": "pix2pix"}')
        message = "run: config.json is not that of a cifar2 run"
    with pytest.raises(SystemExit) as stop:
        run_cifar2.main(["--resume", str(run)])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
