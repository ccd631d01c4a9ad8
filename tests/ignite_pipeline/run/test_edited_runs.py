"""Run directories that somebody or something has had a hand in."""

import json
import os
import shutil
from itertools import product
from pathlib import Path

import pytest
import torch

import run_cifar2
from handlers import load_newest
from handlers.checkpoint_files import save_sealed
from handlers.files import read_metrics
from tests.support.runs import outcome, summary, train


@pytest.fixture(scope="module")
def expected(image_tree, tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole") / "run"
    train(image_tree, directory)
    return outcome(directory)


@pytest.fixture(scope="module")
def begun(image_tree, tmp_path_factory):
    directory = tmp_path_factory.mktemp("begun") / "run"
    train(image_tree, directory, "--max-iterations", 70)
    return directory


@pytest.fixture
def run(begun, tmp_path):
    """A run that has trained 70 of 96 iterations, with checkpoints of 69 and 70."""
    return Path(shutil.copytree(begun, tmp_path / "run"))


def resume(directory, capsys, *options):
    """Go on to the end; return what was said."""
    run_cifar2.main(["--resume", str(directory), "--max-iterations", "96", *options])
    return capsys.readouterr().err


def refused(directory, capsys, *options):
    """Return the one line with which a run is refused."""
    before = {path: path.lstat().st_mtime_ns for path in directory.rglob("*") if path.name != ".lock"}
    with pytest.raises(SystemExit) as ended:
        resume(directory, capsys, *options)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert before == {path: path.lstat().st_mtime_ns for path in before}
    return error


def edit(directory, **values):
    config = json.loads((directory / "config.json").read_text())
    for place, value in values.items():
        *path, name = place.split("__")
        within = config
        for key in path:
            within = within[key]
        within[name] = value
    (directory / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("threads", "two", "threads two"),
        ("threads", 0, "threads 0"),
        ("threads", 10**9, "threads 1000000000"),
        ("threads", True, "threads True"),
        ("options", [], "options []"),
        ("options", None, "options None"),
        ("options_as_text", 5, "options_as_text 5"),
        ("dataset", "x", "dataset x"),
        ("dataset__sha256", "x", "sha256"),
        ("sessions", 5, "sessions 5"),
        ("sessions", [5], "sessions 5"),
        ("sessions", [{"from_iteration": "1"}], "sessions"),
        ("run", 7, "run 7"),
        ("run", "other", "a checkpoint of another run"),
        ("task", "pix2pix", "not that of a cifar2 run"),
        ("task", [], "not that of a cifar2 run"),
        ("options__epochs", "3", "--epochs 3"),
        ("options__epochs", -3, "--epochs -3"),
        ("options__epochs", 3.5, "--epochs 3.5"),
        ("options__batch_size", 4, "--batch-size 2"),
        ("options__batch_size", 0, "--batch-size 0"),
        ("options__batch_size", [2], "--batch-size [2]"),
        ("options__batch_size", 10**400, "--batch-size"),
        ("options__seed", 1, "--seed 0"),
        ("options__model", "giant", "--model giant"),
        ("options__model", {}, "--model {}"),
        ("options__lr", "high", "--lr high"),
        ("options__lr", float("nan"), "--lr nan"),
        ("options__classes", "bird", "--classes bird"),
        ("options__classes", [1, 2], "--classes [1, 2]"),
        ("options__num_workers", 10**6, "--num-workers 1000000"),
        ("options__num_workers", -1, "--num-workers -1"),
        ("options__visdom", 7, "--visdom 7"),
        ("options__device", "toaster", "--device"),
        ("options__device", 0, "--device 0"),
        ("options__log_norms", "yes", "--log-norms yes"),
        ("options__checkpoint_every_s", -1, "--checkpoint-every-s -1"),
        ("options__data_root", 5, "--data-root 5"),
    ],
)
def test_an_edited_config_is_refused_in_one_line(run, capsys, place, value, said):
    edit(run, **{place: value})
    assert said in refused(run, capsys)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"5", b"null", b"[" * 100_000, b"\xff\xfe{}", b"{}", b'{"task": "cifar2"}', b"\0" * 99],
)
def test_a_config_of_something_else_is_refused_in_one_line(run, capsys, content):
    (run / "config.json").write_bytes(content)
    assert "config.json" in refused(run, capsys)


def folder(path):
    path.unlink(missing_ok=True)
    path.mkdir()
    (path / "something").touch()


def fifo(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def endless(path):
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def loop(path):
    path.unlink(missing_ok=True)
    path.symlink_to(path.name)


def unreadable(path):
    path.unlink(missing_ok=True)
    path.symlink_to("/proc/self/mem")  # whose first page gives an input/output error


@pytest.mark.parametrize(
    ("name", "make"),
    [
        *product(("config.json", "metrics.jsonl", "summary.json"), (folder, fifo, endless, loop)),
        ("config.json", unreadable),
        ("metrics.jsonl", unreadable),
        ("mistakes.json", fifo),
        ("report.html", folder),
    ],
)
def test_what_is_no_file_is_refused_by_name(run, capsys, name, make):
    make(run / name)
    assert name in refused(run, capsys)


@pytest.mark.parametrize("make", [Path.touch, fifo, endless, loop, lambda path: path.symlink_to("nowhere")])
@pytest.mark.parametrize("name", ["checkpoints", "samples"])
def test_what_is_no_folder_is_refused_by_name(run, capsys, name, make):
    shutil.rmtree(run / name, ignore_errors=True)
    make(run / name)
    assert f"{name}: is not a folder" in refused(run, capsys)


NO_RECORDS = [
    b"\xff\xfe\xfd",
    b"5",
    b"{}",
    b"[]",
    b"null",
    b'{"kind": "epoch", "epoch": 1, "iteration": null}',
    b'{"kind": "epoch", "epoch": 1, "iteration": "7"}',
    b'{"kind": "epoch", "epoch": 1, "iteration": true}',
    b'{"kind": "epoch", "epoch": 1, "iteration": -7}',
    b'{"kind": "epoch", "epoch": 1, "iteration": 1e3}',
    b'{"kind": "epoch", "epoch": 1, "iteration": ' + b"9" * 5000 + b"}",
    b'{"kind": 5, "epoch": 1, "iteration": 7}',
    b'{"kind": "epoch", "iteration": 7}',
    b'{"kind": "epoch", "epoch": 1, "iteration": 7, "time/fetch_s": "abc"}',
    b'{"kind": "epoch", "epoch": 1, "iteration": 7, "val/loss": [1]}',
    b"[" * 100_000,
    b"\0" * 1000,
    b'{"kind": "epoch", "epoch": 1, "iter',
]


def test_lines_that_are_no_records_are_named_and_left_out(run, capsys, expected, caplog):
    whole = (run / "metrics.jsonl").read_bytes()
    damaged = b"\n".join([*NO_RECORDS, whole.rstrip(), *NO_RECORDS])
    (run / "metrics.jsonl").write_bytes(damaged)
    (run / "non_finite.jsonl").write_bytes(b"\x80\n5\n{}\n")
    resume(run, capsys)
    assert outcome(run) == expected
    assert "metrics.jsonl: lines 1, 2, 3, 4, 5, ..., no records, are left out" in caplog.text
    assert "non_finite.jsonl: lines 1, 2, 3, no records, are left out" in caplog.text
    assert (run / "metrics.jsonl.damaged").read_bytes() == damaged
    assert (run / "non_finite.jsonl").read_bytes() == b""


def test_a_number_that_is_not_finite_is_none(tmp_path):
    line = '{"kind": "epoch", "epoch": 1, "iteration": 7, "a": NaN, "b": 1e999, "c": %s, "d": 2}\n'
    (tmp_path / "metrics.jsonl").write_text(line % ("9" * 400))
    (line,) = read_metrics(tmp_path)
    assert [line[name] for name in "abcd"] == [None, None, None, 2]


@pytest.mark.parametrize(
    ("make", "iteration"),
    [(folder, 70), (fifo, 71), (endless, 70), (loop, 71), (unreadable, 70), (Path.touch, 71)],
)
def test_what_is_no_checkpoint_is_named_and_passed_over(run, capsys, expected, make, iteration):
    name = f"checkpoint_{iteration:08d}.pt"
    (run / "checkpoints" / name).unlink(missing_ok=True)
    make(run / "checkpoints" / name)
    said = resume(run, capsys)
    assert f"{name}: " in said
    assert f"passed over, now {name}.aside" in said
    assert outcome(run) == expected
    assert load_newest(run / "checkpoints")["engine"]["iteration"] == 96
    assert os.path.lexists(run / "checkpoints" / f"{name}.aside")


def test_a_checkpoint_of_another_run_is_named_and_passed_over(run, capsys, expected, image_tree, tmp_path):
    other = tmp_path / "other"
    train(image_tree, other, "--seed", 1, "--max-iterations", 80)
    shutil.copy(other / "checkpoints" / "checkpoint_00000080.pt", run / "checkpoints")
    said = resume(run, capsys)
    assert "checkpoint_00000080.pt: a checkpoint of another run; passed over" in said
    assert outcome(run) == expected


def test_a_checkpoint_that_is_called_like_another_is_passed_over(run, capsys, expected):
    shutil.copy(
        run / "checkpoints" / "checkpoint_00000069.pt", run / "checkpoints" / "checkpoint_00000080.pt"
    )
    said = resume(run, capsys)
    assert "checkpoint_00000080.pt: holds iteration 69, not that of its name; passed over, now" in said
    assert outcome(run) == expected


@pytest.mark.parametrize(
    "content", [{}, [], {"engine": {"iteration": "80"}}, {"engine": {"iteration": 80}, "config": {"run": []}}]
)
def test_a_sealed_file_of_somebody_elses_is_passed_over(run, capsys, expected, content):
    save_sealed(run / "checkpoints" / "checkpoint_00000080.pt", content)
    torch.save(content, run / "checkpoints" / "model.pt")
    said = resume(run, capsys)
    assert said.count("; passed over") == 2
    assert (run / "checkpoints" / "model.pt").exists()
    assert outcome(run) == expected


def test_without_any_checkpoint_of_its_own_a_run_is_refused(run, capsys):
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert "holds no valid checkpoint to resume from: " in refused(run, capsys)


@pytest.mark.parametrize("make", [folder, fifo, Path.touch])
def test_what_a_kill_has_left_is_in_nobodys_way(run, capsys, expected, make):
    for name in (".config.json.tmp", ".summary.json.tmp", "checkpoints/.checkpoint_00000071.pt.tmp"):
        make(run / name)
    resume(run, capsys)
    assert outcome(run) == expected
    assert summary(run)["status"] == "completed"
