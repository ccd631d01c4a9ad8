"""The script as people run it: on image files, killed and resumed."""

import html
import json
import os
import shutil
import signal
import time

import pytest

import run_cifar2
from handlers.files import read_metrics
from tests.support.drawn import write_tree
from tests.support.runs import SMALL, summary, train, untimed


def test_a_run_leaves_everything_behind(undisturbed):
    found = summary(undisturbed)
    assert (found["status"], found["epochs"], found["iterations"]) == ("completed", 3, 96)
    assert {"train/loss", "train/accuracy", "train/lr", "val/accuracy", "val/loss"} == found["final"].keys()
    assert found["best"]["metric"] == "val/accuracy"
    assert found["dataset"]["name"] == "folder"
    assert (found["dataset"]["train"], found["dataset"]["val"]) == (64, 16)
    assert found["images_per_s"] > 0
    timing = found["timing"]
    loop = ("fetch_s", "transfer_s", "compute_s", "handlers_s")
    parts = (*loop, "evaluate_s", "checkpoint_s", "first_batch_s")
    assert timing["wall_s"] == pytest.approx(sum(timing[part] for part in parts))
    config = json.loads((undisturbed / "config.json").read_text())
    assert config["options"]["lr"] == run_cifar2.RECIPES["resnet"].lr
    assert config["options"]["device"] == "cpu"
    assert {"torch", "pytorch-ignite", "python"} <= config["versions"].keys()
    assert [line["iteration"] for line in read_metrics(undisturbed) if line["kind"] == "epoch"] == [
        32,
        64,
        96,
    ]
    (right, _), (_, right_too) = json.loads((undisturbed / "mistakes.json").read_text())["confusion"]
    assert (right + right_too) / 16 == found["final"]["val/accuracy"]
    assert (undisturbed / "report.png").stat().st_size > 10_000
    assert timing["diagnosis"] in html.unescape((undisturbed / "report.html").read_text())
    assert json.loads((undisturbed / "mistakes.json").read_text())["classes"] == ["airplane", "bird"]
    kept = [int(path.stem.split("_")[1]) for path in sorted((undisturbed / "checkpoints").iterdir())]
    newest_two_and_best = {*kept[-2:], 32 * found["best"]["epoch"]}
    assert (kept[-1], set(kept)) == (96, newest_two_and_best)
    assert not list(undisturbed.rglob("*.tmp"))


@pytest.mark.parametrize("options", [[], ["--num-workers", 2]])
def test_the_same_seed_gives_the_same_weights_with_any_number_of_workers(
    image_tree, undisturbed, tmp_path, options
):
    again = train(image_tree, tmp_path / "run", *options)
    assert again["model_sha256"] == summary(undisturbed)["model_sha256"]
    assert untimed(tmp_path / "run") == untimed(undisturbed)


def test_another_seed_gives_other_weights(image_tree, undisturbed, tmp_path):
    assert (
        train(image_tree, tmp_path / "run", "--seed", 1)["model_sha256"]
        != summary(undisturbed)["model_sha256"]
    )


@pytest.mark.parametrize("num_workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_a_run_killed_in_its_second_epoch_resumes_to_the_same_weights(
    image_tree, undisturbed, tmp_path, start_script, num_workers
):
    directory = tmp_path / "run"
    process = start_script("run_cifar2.py", "--data-root", image_tree, "--output", directory, *SMALL)
    in_second_epoch = [
        directory / "checkpoints" / f"checkpoint_{iteration:08d}.pt" for iteration in range(33, 64)
    ]
    while not any(path.exists() for path in in_second_epoch):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (directory / "summary.json").exists()
    run_cifar2.main(["--resume", str(directory), "--num-workers", str(num_workers)])
    found = summary(directory)
    assert (found["status"], found["iterations"]) == ("completed", 96)
    assert found["model_sha256"] == summary(undisturbed)["model_sha256"]
    assert untimed(directory) == untimed(undisturbed)


@pytest.mark.parametrize("cut", [20, 32, 55])
def test_a_run_cut_short_goes_on_as_if_it_had_not_been(image_tree, undisturbed, tmp_path, cut):
    directory = tmp_path / "run"
    found = train(image_tree, directory, "--max-iterations", cut)
    assert (found["iterations"], found["epochs"]) == (cut, cut // 32)
    assert "val/accuracy" in found["final"]
    run_cifar2.main(["--resume", str(directory), "--max-iterations", "1000"])
    assert summary(directory)["model_sha256"] == summary(undisturbed)["model_sha256"]
    assert untimed(directory) == untimed(undisturbed)


def test_resuming_a_run_that_is_done_changes_nothing_but_writes_its_summary_again(undisturbed, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(undisturbed, directory)
    before = summary(directory)
    (directory / "summary.json").unlink()
    run_cifar2.main(["--resume", str(directory)])
    after = summary(directory)
    assert {name: after[name] for name in ("status", "iterations", "best", "final", "model_sha256")} == {
        name: before[name] for name in ("status", "iterations", "best", "final", "model_sha256")
    }
    assert untimed(directory) == untimed(undisturbed)


def test_a_run_that_ended_before_its_first_checkpoint_begins_again(undisturbed, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(undisturbed, directory)
    shutil.rmtree(directory / "checkpoints")
    run_cifar2.main(["--resume", str(directory)])
    assert summary(directory)["model_sha256"] == summary(undisturbed)["model_sha256"]
    assert untimed(directory) == untimed(undisturbed)


def test_the_data_may_have_moved_but_not_changed(image_tree, undisturbed, tmp_path, capsys):
    directory, moved = tmp_path / "run", tmp_path / "moved"
    shutil.copytree(undisturbed, directory)
    shutil.copytree(image_tree, moved)
    run_cifar2.main(["--resume", str(directory), "--data-root", str(moved)])
    assert json.loads((directory / "config.json").read_text())["options"]["data_root"] == str(moved)
    shutil.copy(moved / "train" / "bird" / "001.png", moved / "train" / "bird" / "003.png")
    with pytest.raises(SystemExit) as exit_:
        run_cifar2.main(["--resume", str(directory), "--data-root", str(moved)])
    assert exit_.value.code == 2
    assert (
        "the data has changed, names, sizes, targets or contents (sha256) are others"
        in capsys.readouterr().err
    )


def test_more_epochs_may_be_asked_for(undisturbed, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(undisturbed, directory)
    run_cifar2.main(["--resume", str(directory), "--epochs", "4"])
    assert summary(directory)["epochs"] == 4
    assert json.loads((directory / "config.json").read_text())["options"]["epochs"] == 4


@pytest.mark.parametrize("num_workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_ctrl_c_saves_and_says_how_to_go_on(image_tree, tmp_path, start_script, num_workers):
    directory = tmp_path / "run"
    options = ["--data-root", image_tree, "--output", directory, *SMALL, "--epochs", 100_000]
    process = start_script("run_cifar2.py", *options, "--num-workers", num_workers)
    while len(list(directory.glob("checkpoints/*.pt"))) < 2:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert f"interrupted; go on with --resume {directory}" in error
    assert "Traceback" not in error
    assert summary(directory)["status"] == "interrupted"


def test_a_diverging_run_fails_and_says_so(image_tree, tmp_path):
    with pytest.raises(FloatingPointError, match="loss is"):
        train(image_tree, tmp_path / "run", "--lr", "1e30", "--max-iterations", 4)
    assert summary(tmp_path / "run")["status"] == "failed"


def test_every_model_and_more_classes_train(tmp_path):
    root = write_tree(tmp_path / "images", {"train": 12, "val": 4})
    shutil.copytree(root / "train" / "bird", root / "train" / "cat")
    shutil.copytree(root / "val" / "bird", root / "val" / "cat")
    for model in run_cifar2.RECIPES:
        found = train(
            root,
            tmp_path / model,
            "--model",
            model,
            "--classes",
            "cat",
            "airplane",
            "bird",
            "--max-iterations",
            2,
        )
        assert found["dataset"]["classes"] == ["cat", "airplane", "bird"]


def test_generated_data_cannot_be_missed(tmp_path, capsys):
    directory = tmp_path / "run"
    run_cifar2.main(
        ["--dataset", "generated", "--epochs", "1", "--max-iterations", "2", "--output", str(directory)]
    )
    assert "GENERATED drawings, not on real images" in capsys.readouterr().err
    for name in ("config.json", "summary.json"):
        assert "GENERATED" in json.loads((directory / name).read_text())["dataset"]["notice"]


def test_images_that_cannot_be_read_are_skipped_and_counted_if_one_asks_for_it(image_tree, tmp_path, capsys):
    root = tmp_path / "images"
    shutil.copytree(image_tree, root)
    (root / "train" / "bird" / "001.png").write_bytes(b"rotten")
    found = train(root, tmp_path / "run", "--on-bad-sample", "skip", "--max-iterations", 2)
    assert found["dataset"]["train"] == 63
    assert "bird/001.png: not a readable image" in found["dataset"]["unreadable"][0]
    assert "1 images could not be read and are left out" in capsys.readouterr().err
    run_cifar2.main(["--resume", str(tmp_path / "run"), "--max-iterations", "4"])
    sessions = summary(tmp_path / "run")["sessions"]
    assert [(session["from_iteration"], session["to_iteration"]) for session in sessions] == [(0, 2), (2, 4)]


def test_help_shows_groups_and_defaults(capsys):
    with pytest.raises(SystemExit):
        run_cifar2.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for expected in ("data:", "model and recipe:", "the run:", "--checkpoint-every-s", "(default: 60.0)"):
        assert expected in text
    assert "conv 100" in text


@pytest.mark.slow
def test_the_real_images_are_learnt_in_three_epochs(real_cifar2, tmp_path):
    directory = tmp_path / "run"
    run_cifar2.main(["--data-root", str(real_cifar2), "--epochs", "3", "--output", str(directory)])
    assert summary(directory)["final"]["val/accuracy"] > 0.8
