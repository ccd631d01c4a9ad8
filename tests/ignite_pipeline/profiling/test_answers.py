"""Runs of a small recipe in which something takes long: what is tried about it, and what that gave."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine
from torch.utils.data import TensorDataset

import profile_data
from handlers import FetchComputeTimer
from handlers.files import read_metrics
from handlers.findings import Finding
from ignite_pipeline.profiling import __main__ as profiler
from ignite_pipeline.profiling import answers, changes, rarer_handler, tuning
from ignite_pipeline.profiling.recipe import Parts
from ignite_pipeline.profiling.report import report_of_run
from ignite_pipeline.run import launch, session
from tests.support import planted_recipe
from tests.support.clocks import Clock

QUIET = ["--visdom", "off", "--precision", "fp32", "--num-workers", "0", "--checkpoint-every-s", "100"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A recipe in a folder of a stranger's."""
    folder = tmp_path_factory.mktemp("stranger")
    shutil.copy(planted_recipe.__file__, folder)
    (folder / "data").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("planted_recipe")
    del sys.modules["planted_recipe"]


@pytest.fixture
def trained(recipe, tmp_path, capfd):
    """Train, one thing slow; return the run's directory and what was said."""

    def train(*options):
        root = ["--data-root", str(Path(recipe.__file__).parent / "data")]
        argv = ["--output", str(tmp_path / "run"), *QUIET, *root, *options]
        launch(recipe.train, recipe.parser(), argv, task="planted")
        return tmp_path / "run", capfd.readouterr().err

    return train


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch):
    """A disk that writes at once: else a busy one makes a short run checkpoint-bound."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture(autouse=True)
def _quick_search(monkeypatch):
    """A machine on which each worker makes a loop quicker by a known amount."""

    def seconds(dataset, step_or_setting, *rest, **options):
        setting = rest[0] if rest else step_or_setting
        return 0.02 / (1 + setting.num_workers)

    monkeypatch.setattr(tuning, "loop_s", seconds)
    monkeypatch.setattr(tuning, "loader_s", seconds)


@pytest.fixture
def clock(recipe, monkeypatch):
    """The clock of runs, and of loops that are tried: it goes on by what the recipe spends, and no more."""
    clock = Clock()

    def loop_s(dataset, step, setting, *, seconds):
        start, batches = clock(), setting.batches(dataset)
        for _ in range(3):
            step(Engine(step), next(batches))
        return (clock() - start) / 3

    monkeypatch.setattr(recipe, "spend", clock.spend)
    monkeypatch.setattr(session, "FetchComputeTimer", partial(FetchComputeTimer, clock=clock))
    monkeypatch.setattr(rarer_handler, "time", SimpleNamespace(perf_counter=clock))
    monkeypatch.setattr(changes, "loop_s", loop_s)
    return clock


def profile(directory, *options):
    profiler.main(["--run", str(directory), "--seconds", "0.01", *options])
    return json.loads((directory / "profile.json").read_text())


def answer_to(profile, kind):
    (answer,) = (answer for answer in profile["answers"] if answer["kind"] == kind)
    return answer


def test_waiting_for_data_gets_a_search_with_the_run_s_own_recipe(trained, capfd):
    directory, said = trained("--read-s", "0.002")
    assert f"next: python -m ignite_pipeline.profiling --run {directory}" in said
    found = profile(directory)
    assert "data-bound" in {finding["kind"] for finding in found["findings"]}
    assert (found["batch_size"], found["samples"]) == (8, 240)
    assert found["items_per_s"] < 500  # each takes 2 ms, an option of the run's
    workers = max(one.num_workers for one in tuning.candidates(8))
    assert found["confirmed"]["speedup"] == pytest.approx(1 + workers)
    lines = capfd.readouterr().out.splitlines()
    assert any(line.startswith("the run") and "data-bound" in line for line in lines)
    assert any(line.startswith("confirmed") for line in lines)
    assert (directory / "profile.png").stat().st_size > 5000


@pytest.mark.usefixtures("clock")
def test_computing_gets_what_was_quicker_here_together(trained, capfd):
    directory, said = trained("--compute-s", "0.03")
    assert "next:" not in said
    answer = answer_to(profile(directory), "compute-bound")
    tried = {one["words"]: one for one in answer["tried"]}
    assert {"--precision bf16", "model.to(memory_format=torch.channels_last)"} < tried.keys()
    assert any(words.startswith("torch.set_num_threads") for words in tried) or os.cpu_count() == 1
    taken = answer["taken"]
    assert taken["words"] == "--precision bf16 and model.to(memory_format=torch.channels_last)"
    assert taken["speedups"] == pytest.approx([4] * 5)
    out = capfd.readouterr().out
    assert f"take             {taken['words']}" in out
    assert "another precision is another training" in out
    assert "perfect loading  would give" in out
    assert (directory / "profile.png").stat().st_size > 5000


def test_where_nothing_is_quicker_it_is_said_with_the_ceiling(trained, monkeypatch, capfd):
    directory, _ = trained("--compute-s", "0.03")
    monkeypatch.setattr("ignite_pipeline.profiling.changes.loop_s", lambda *args, **options: 0.01)
    assert answer_to(profile(directory), "compute-bound")["taken"] is None
    out = capfd.readouterr().out
    assert "keep             what the run has: nothing that was tried is quicker here" in out
    assert "perfect loading  would give 1.0" in out


def test_a_slow_way_to_the_device_without_a_gpu_is_counted_in_bytes_and_not_tried(trained):
    directory, said = trained("--move-s", "0.01")
    assert f"next: python -m ignite_pipeline.profiling --run {directory}" in said
    answer = answer_to(profile(directory), "transfer-bound")
    assert not answer["tried"]
    assert answer["words"][-1] == "not tried: there is no GPU to move a batch to"


def test_a_quicker_way_to_a_gpu_is_taken(monkeypatch):
    small = changes.Tried("images as uint8, of the transfer alone", [3.9, 4.0, 4.1])
    monkeypatch.setattr(answers, "try_uint8", lambda batch, compute: small)
    gpu = SimpleNamespace(device=torch.device("cuda"))
    parts = Parts(TensorDataset(torch.zeros(4, 3, 8, 8)), lambda engine, batch: None, 2, compute=gpu)
    now = SimpleNamespace(pin_memory=True, batches=tuning.Setting(2).batches)
    subject = SimpleNamespace(parts=parts, now=now, step=parts.step, seconds=0.01, on_progress=print)
    answer = answers.answer(Finding("transfer-bound", 0.5, None, "", None), subject)
    assert answer.taken is small
    lines = report_of_run(SimpleNamespace(findings=[], timing={}), [answer])
    in_turns = "4.00x (3.90 to 4.10), 3 runs of each in turn"
    assert lines[-1] == f"take             images as uint8, of the transfer alone: {in_turns}"


@pytest.mark.usefixtures("clock")
def test_a_slow_handler_is_called_less_often_and_takes_what_was_computed(trained):
    directory, said = trained("--compute-s", "0.004", "--draw-s", "0.008")
    answer = answer_to(profile(directory, "--seconds", "0.5"), "handler-bound")
    advice, tried = answer["words"]
    assert advice.startswith("call Draw.draw (planted_recipe.py:")
    assert f"next: {advice}" in said
    # 8 ms in 51 times 8 ms, and itself; in the run it was called every other time.
    assert tried.endswith("once in 51 times: 1.9 % of the loop")


def test_a_handler_that_cannot_be_tried_soon_is_computed(trained):
    directory, _ = trained("--draw-s", "0.02")
    (words,) = answer_to(profile(directory, "--seconds", "0.0001"), "handler-bound")["words"]
    assert words.endswith("(computed)")


def test_a_slow_evaluation_gets_what_half_of_it_would_be(trained):
    directory, said = trained("--evaluate-s", "0.5")
    (words,) = answer_to(profile(directory), "evaluation-bound")["words"]
    assert words.startswith("evaluate half as often, or half of the data: it would take")
    assert f"next: {words.removesuffix(' (computed)')}" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--save-s", "0.5"], "most are those of each epoch's end: --save-in-background"),
        (
            ["--save-s", "0.03", "--checkpoint-every-s", "0.001"],
            "--checkpoint-every-s 0.002 saves half as often",
        ),
    ],
)
def test_slow_checkpoints_get_the_option_that_changes_them(trained, options, words):
    directory, _ = trained(*options)
    advice, option = answer_to(profile(directory), "checkpoint-bound")["words"]
    assert advice.startswith("save half as often: it would take")
    assert option == words


def test_a_run_that_goes_on_is_profiled_by_its_epochs_and_left_as_it_is(trained, capfd):
    directory, _ = trained("--move-s", "0.01")
    (directory / "summary.json").unlink()
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert answer_to(profile(directory), "transfer-bound")
    after = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before
    assert {path.name for path in after.keys() - before.keys()} == {"profile.json"}
    assert "has not ended" in capfd.readouterr().err
    assert read_metrics(directory)


def test_a_run_that_goes_on_gets_no_option_that_depends_on_its_epochs(trained):
    directory, _ = trained("--save-s", "0.5", "--epochs", "3")
    (directory / "summary.json").unlink()
    (advice,) = answer_to(profile(directory), "checkpoint-bound")["words"]
    assert advice.startswith("save half as often")


def test_options_beside_a_run_stand_in_for_its_own(trained, tmp_path):
    directory, _ = trained("--draw-s", "0.004")
    output = tmp_path / "elsewhere"
    profiler.main(["--run", str(directory), "--draw-s", "0", "--seconds", "0.01", "--output", str(output)])
    answer = answer_to(json.loads((output / "profile.json").read_text()), "handler-bound")
    assert answer["words"][0].endswith("(computed)")  # there is no such handler to try
    assert not (directory / "profile.json").exists()


@pytest.mark.slow
def test_a_script_s_run_is_profiled_from_another_folder(recipe, tmp_path):
    folder = Path(recipe.__file__).parent
    command = [sys.executable, "planted_recipe.py", "--output", tmp_path / "run", "--evaluate-s", "0.5"]
    command += ["--data-root", folder / "data", *QUIET]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    profile_data.main(["--run", str(tmp_path / "run"), "--seconds", "0.01"])
    found = json.loads((tmp_path / "run" / "profile.json").read_text())
    assert answer_to(found, "evaluation-bound")


def edited(directory, **entries):
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


@pytest.mark.parametrize(
    ("entries", "options", "words"),
    [
        ({"recipe": None}, [], "config.json does not say where its recipe is; name it with --recipe MODULE"),
        ({"recipe": {"file": "/gone/mine.py"}}, [], "its recipe /gone/mine.py is not there any more"),
        ({}, ["--lr", "1"], "unrecognized arguments: --lr 1"),
        ({}, ["--dataset-factory", "a:b"], "--run has a recipe: leave out --dataset-factory"),
        ({}, ["--data-root", "/nowhere"], "if that has moved, give --data-root anew"),
        ({}, ["--batch-size", "8"], "unrecognized arguments: --batch-size 8"),
        ({"task": None}, [], "is not that of a"),
    ],
)
def test_bad_input_is_one_line(trained, entries, options, words, capfd):
    directory, _ = trained()
    edited(directory, **entries)
    with pytest.raises(SystemExit) as exit_:
        profile(directory, *options)
    assert exit_.value.code == 2
    error = capfd.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_recipe_that_has_changed_is_named(trained, recipe, capfd):
    directory, _ = trained()
    place = json.loads((directory / "config.json").read_text())["recipe"]
    assert place == {"module": "planted_recipe", "file": recipe.__file__, "function": "train"}
    edited(directory, recipe={**place, "function": "trained"})
    with pytest.raises(SystemExit):
        profile(directory)
    assert "has changed: module 'planted_recipe' has no attribute 'trained'" in capfd.readouterr().err


def test_what_is_no_run_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        profiler.main(["--run", str(tmp_path)])
    assert exit_.value.code == 2
    assert "not a run directory" in capsys.readouterr().err
