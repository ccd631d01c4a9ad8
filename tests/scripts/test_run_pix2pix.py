"""Pix2pix as people train it: killed, resumed, and given bad input."""

import shutil
import signal
import time

import pytest
from PIL import Image

import run_pix2pix
from handlers.files import read_metrics
from ignite_pipeline.predict.trained_models import best_checkpoint
from tests.support.pix2pix_runs import SMALL, train
from tests.support.runs import outcome, summary


@pytest.fixture(scope="module")
def undisturbed(pairs, tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed") / "run"
    train(pairs, directory)
    return directory


def test_a_run_leaves_everything_behind(undisturbed):
    found = summary(undisturbed)
    assert (found["status"], found["epochs"], found["iterations"]) == ("completed", 2, 10)
    assert {"train/loss_d", "train/loss_g_adversarial", "train/loss_g_reconstruction"} < found["final"].keys()
    assert {"val/l1", "val/psnr", "val/ssim"} < found["final"].keys()
    assert found["best"] is None  # L1 prefers a blur
    assert best_checkpoint(undisturbed).name == "checkpoint_00000010.pt"
    assert sorted(path.name for path in (undisturbed / "samples").iterdir()) == [
        "epoch_0001.png",
        "epoch_0002.png",
    ]
    with Image.open(undisturbed / "samples" / "epoch_0002.png") as image:
        assert image.size == (3 * 34 + 2, 3 * 34 + 2)
    rates = [line["train/lr"] for line in read_metrics(undisturbed)]
    assert rates == pytest.approx([1e-4, 0.0], abs=1e-9)


@pytest.mark.slow
def test_two_workers_change_nothing(pairs, undisturbed, tmp_path):
    train(pairs, tmp_path / "run", "--num-workers", 2)
    assert outcome(tmp_path / "run") == outcome(undisturbed)


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights_and_samples(pairs, undisturbed, tmp_path, start_script):
    directory = tmp_path / "run"
    process = start_script("run_pix2pix.py", "--data-root", pairs, "--output", directory, *SMALL)
    in_second_epoch = [
        directory / "checkpoints" / f"checkpoint_{iteration:08d}.pt" for iteration in (6, 7, 8)
    ]
    while not any(path.exists() for path in in_second_epoch):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run_pix2pix.main(["--resume", str(directory), "--num-workers", "1"])
    assert outcome(directory) == outcome(undisturbed)


@pytest.mark.parametrize("gan_loss", ["least-squares", "wasserstein"])
def test_other_recipes_train(pairs, tmp_path, gan_loss):
    options = ["--gan-loss", gan_loss, "--norm", "instance", "--inference", "eval", "--precision", "bf16"]
    found = train(
        pairs, tmp_path / "run", *options, "--direction", "AtoB", "--batch-size", 2, "--max-iterations", 2
    )
    assert all(value is not None for value in found["final"].values())


def test_without_the_distance_there_is_no_loss_of_it(pairs, tmp_path):
    found = train(pairs, tmp_path / "run", "--lambda-l1", 0, "--max-iterations", 5, "--log-norms")
    assert "train/loss_g_reconstruction" not in found["final"]
    assert found["final"]["train/grad_norm"] > 0


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--data-root", "{tmp}/nowhere"], "{tmp}/nowhere: no such folder"),
        (["--data-root", "{tmp}/odd"], "{tmp}/odd/train/001.png: its width of 63 does not halve into a pair"),
        (["--dataset", "folder"], "argument --dataset: invalid choice: 'folder'"),
        (["--direction", "AtoC"], "argument --direction: invalid choice: 'AtoC'"),
        (["--image-size", "100"], "argument --image-size: invalid choice: 100"),
        (["--epochs", "0"], "argument --epochs: must be a whole number at least 1, got 0"),
        (["--decay-epochs", "-1"], "argument --decay-epochs: must be a whole number at least 0, got -1"),
        (["--batch-size", "9"], "batch_size=9 is more than the 5 samples"),
        (["--lambda-l1", "-1"], "argument --lambda-l1: must be a number at least 0, got -1"),
        (["--lr", "0"], "argument --lr: must be a number above 0, got 0"),
        (["--gan-loss", "none"], "argument --gan-loss: invalid choice: 'none'"),
        (["--norm", "layer"], "argument --norm: invalid choice: 'layer'"),
    ],
)
def test_bad_input_to_training_gets_one_line_and_writes_nothing(pairs, tmp_path, capsys, options, line):
    shutil.copytree(pairs, tmp_path / "odd")
    Image.new("RGB", (63, 32)).save(tmp_path / "odd" / "train" / "001.png")
    before = sorted(tmp_path.rglob("*"))
    given = [text.format(tmp=tmp_path) for text in options]
    with pytest.raises(SystemExit) as stop:
        run_pix2pix.main(["--data-root", str(pairs), "--output", str(tmp_path / "run"), *SMALL, *given])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert line.format(tmp=tmp_path) in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_real_facades_train(real_facades, tmp_path):
    found = train(real_facades, tmp_path / "run", "--max-iterations", 4)
    assert (found["dataset"]["train"], found["dataset"]["val"], found["iterations"]) == (400, 100, 4)
