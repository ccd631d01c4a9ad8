"""Comparing runs: what differs is named, worse is told, and bad input gets one line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import compare_runs as script
import run_cifar2
from ignite_pipeline.compare.__main__ import main
from tests.support.compared_runs import OPTIONS, STEADY, copy, edit, status_of, times
from tests.support.runs import train


def test_two_runs_get_what_differs_and_no_verdict_on_time(real, tmp_path, capsys):
    assert status_of(real / "low", real / "high", "--json", tmp_path / "found.json") == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert [(one["kind"], one["name"], one["a"], one["b"]) for one in found["differences"]] == [
        ("option", "--lr", ["0.01"], ["0.05"])
    ]
    assert found["time"]["verdict"] is None
    assert found["time"]["why_no_verdict"] == "it takes 3 runs a side, and there are 1 and 1"
    inside = found["time"]["ratio_within_the_runs"]
    assert inside["low"] < inside["value"] < inside["high"]
    text = capsys.readouterr().out
    assert "No verdict on time: it takes 3 runs a side" in text
    assert "Within these two runs, from epoch to epoch, B / A is " in text


def test_metrics_are_the_best_and_the_last_of_each_run(real, tmp_path):
    status_of(real / "low", real / "high", "--json", tmp_path / "found.json")
    metrics = {one["name"]: one for one in json.loads((tmp_path / "found.json").read_text())["metrics"]}
    low, high = (json.loads((real / name / "summary.json").read_text()) for name in ("low", "high"))
    best = metrics["best val/accuracy"]
    assert (best["a"], best["b"]) == ([low["best"]["value"]], [high["best"]["value"]])
    loss = metrics["val/loss"]["difference"]
    assert loss["value"] == pytest.approx(high["final"]["val/loss"] - low["final"]["val/loss"])
    assert loss["low"] is None


@pytest.mark.parametrize(("maximize", "status"), [(True, 3), (False, 0)])
def test_worse_is_what_the_run_says_is_worse(real, tmp_path, capsys, maximize, status):
    for name, value in (("a", 0.9), ("b", 0.89)):
        run = copy(real / "low", tmp_path / name)
        edit(
            run / "summary.json",
            lambda one, value=value: one["best"].update(value=value, maximize=maximize),
        )
    assert status_of(tmp_path / "a", tmp_path / "b", "--max-worse", "0.005") == status
    line = "worse: the best val/accuracy of B is worse by 0.01, more than 0.005\n"
    assert capsys.readouterr().err == line * (status == 3)
    assert status_of(tmp_path / "a", tmp_path / "b", "--max-worse", "0.01") == 0


def test_seeds_that_vary_alike_are_no_difference(sides, tmp_path, capsys):
    a, b = sides(a=STEADY, b=STEADY)
    for side in (a, b):
        for number in range(3):
            path = Path(side) / str(number) / "config.json"
            edit(path, lambda config, number=number: config["options"].update(seed=number))
    status_of(a, b)
    assert "nothing differs that was recorded" in capsys.readouterr().out


def test_data_code_and_machine_that_differ_are_named(sides, capsys):
    a, b = sides(a=STEADY, b=STEADY)

    def change(config):
        config["dataset"]["sha256"] = ["0123", "4567"]
        config["git_revision"] = "another"
        config["versions"]["torch"] = "1.0"
        config["sessions"][0]["processor"] = "abacus"

    for number in range(3):
        edit(Path(b) / str(number) / "config.json", change)
    status_of(a, b)
    text = capsys.readouterr().out
    for name in ("data sha256", "code git revision", "code torch", "machine processor"):
        assert f"\n{name} " in text
    assert '["0123", "4567"]' in text


def test_runs_that_say_less_are_left_out_of_what_they_cannot_tell(sides, capsys):
    a, b = map(Path, sides(a=STEADY, b=STEADY))
    (a / "0" / "summary.json").unlink()
    edit(a / "1" / "summary.json", lambda one: one.update(timing=None))
    edit(a / "2" / "summary.json", lambda one: one.update(iterations=12))
    edit(b / "0" / "summary.json", lambda one: one.update(status="failed", reason="ValueError: no"))
    edit(b / "0" / "summary.json", lambda one: one["best"].update(value=0.0))
    status_of(a, b)
    lines = capsys.readouterr().out.splitlines()
    assert f"A: left out: {a / '0'}: has no summary.json, the run goes on or was killed" in lines
    assert f"A: {a / '1'} was not timed: its time is left out" in lines
    assert f"A: {a / '2'} has 12 iterations, fewer than 20: its time is left out" in lines
    assert f"B: {b / '0'} failed at iteration 96: ValueError: no" in lines
    assert "No verdict on time: no run of A tells about time." in lines
    (best,) = [line for line in lines if line.startswith("best val/accuracy")]
    assert "to" not in best  # that of the run that failed is not among them


def test_a_resumed_run_is_said_to_be_one(real, image_tree, tmp_path, capsys):
    train(image_tree, tmp_path / "run", *OPTIONS, "--lr", 0.01, "--max-iterations", 40)
    run_cifar2.main(["--resume", str(tmp_path / "run"), "--max-iterations", "96"])
    capsys.readouterr()
    assert status_of(real / "low", tmp_path / "run") == 0
    assert f"B: {tmp_path / 'run'} resumed at iteration 40" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "give two run directories or folders of runs"),
        (["{a}"], "give two run directories or folders of runs"),
        (["{a}", "{b}", "--a", "{a}"], "give two run directories or folders of runs"),
        (["{a}", "{tmp}/nowhere"], "{tmp}/nowhere: no such folder"),
        (["{a}", "{tmp}/file"], "{tmp}/file: is no folder"),
        (["{a}", "{tmp}/empty"], "{tmp}/empty: holds no run"),
        (["{a}", "{a}"], "{a}: is on both sides"),
        (["{a}", "{tmp}/damaged"], "{tmp}/damaged/summary.json: cannot be read"),
        (["{a}", "{tmp}/edited"], "{tmp}/edited: summary.json is damaged: no iterations in it"),
        (["{a}", "{tmp}/goes on"], "{tmp}/goes on: has no summary.json, the run goes on or was killed"),
        (["{a}", "{tmp}/other"], "these are runs of different tasks, cifar2 and pix2pix"),
        (["{a}", "{b}", "--max-slower", "5"], "argument --max-slower: must be a share in percent such as 5%"),
        (["{a}", "{b}", "--max-slower", "5%"], "--max-slower: no verdict on time: it takes 3 runs a side"),
        (["{a}", "{b}", "--max-worse", "-1"], "argument --max-worse: must be a number at least 0"),
        (["{a}", "{tmp}/old", "--max-worse", "0"], "{tmp}/old does not say whether more val/accuracy is"),
        (["{a}", "{tmp}/no best", "--max-worse", "0"], "--max-worse needs a best metric"),
        (["{a}", "{tmp}/failed", "--max-worse", "0"], "--max-worse needs a run of B that was completed"),
        (["{a}", "{b}", "--json", "{tmp}/empty"], "--json {tmp}/empty cannot be written"),
        (["{a}", "{b}", "--picture", "{tmp}/file/x"], "--picture {tmp}/file/x cannot be written"),
        (["{a}", "{b}", "--sort", "run"], "--sort and --reverse are for --table FOLDER"),
        (["--table", "{tmp}/empty"], "{tmp}/empty: holds no run"),
        (["--table", ""], "argument --table: must name a file or a folder, got ''"),
        (["", "{b}"], "argument DIR: must name a file or a folder, got ''"),
        (["{tmp}/" + 300 * "x", "{b}"], "x: no such folder"),
        (["{a}", "{tmp}/no file"], "{tmp}/no file/metrics.jsonl: cannot be read"),
        (["--table", "{tmp}/damaged"], "{tmp}/damaged/summary.json: cannot be read"),
        (["--table", "{a}", "--sort", "beauty"], "--sort beauty: no run has it; there are run, task, start"),
        (["--table", "{a}", "--max-slower", "5%"], "--table takes --sort, --reverse and --json alone"),
    ],
)
def test_bad_input_gets_one_line(real, tmp_path, capsys, arguments, line):
    def made(name, change):
        edit(copy(real / "low", tmp_path / name) / "summary.json", change)

    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (copy(real / "low", tmp_path / "damaged") / "summary.json").write_text("{")
    (copy(real / "low", tmp_path / "goes on") / "summary.json").unlink()
    (copy(real / "low", tmp_path / "no file") / "metrics.jsonl").unlink()
    (tmp_path / "no file" / "metrics.jsonl").mkdir()
    made("edited", lambda one: one.update(iterations="many"))
    made("old", lambda one: one["best"].pop("maximize"))
    made("no best", lambda one: one.update(best=None))
    made("failed", lambda one: one.update(status="failed"))
    edit(copy(real / "low", tmp_path / "other") / "config.json", lambda one: one.update(task="pix2pix"))
    names = {"tmp": tmp_path, "a": real / "low", "b": real / "high"}
    assert status_of(*(text.format(**names) for text in arguments)) == 2
    error = capsys.readouterr().err
    assert line.format(**names) in error
    assert error.count("\n") == 1


def test_runs_may_be_named_one_by_one(sides, capsys):
    a, b = map(Path, sides(a=STEADY, b=times(1.1)))
    of_a, of_b = ([side / str(number) for number in range(3)] for side in (a, b))
    assert status_of("--a", *of_a, "--b", *of_b, "--max-slower", "5%") == 3


def test_a_table_of_all_runs_is_sorted_by_what_one_asks_for(real, tmp_path, capsys):
    for name, loss, begun_s in (("one", 0.3, 2), ("deep/two", 0.1, 1), ("three", 0.2, 3)):
        run = copy(real / "low", tmp_path / name, begun_s=begun_s)
        edit(run / "summary.json", lambda one, loss=loss: one["final"].update({"val/loss": loss}))
    (copy(real / "low", tmp_path / "damaged") / "summary.json").write_text("[]")

    def order(*options):
        assert status_of("--table", tmp_path, *options) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[-1].startswith(f"left out: {tmp_path / 'damaged'}")
        return [line.split()[0] for line in lines[1:-1]]

    assert order() == ["deep/two", "one", "three"]
    assert order("--sort", "val/loss") == ["one", "three", "deep/two"]
    assert order("--sort", "val/loss", "--reverse") == ["deep/two", "three", "one"]
    assert order("--sort", "run", "--reverse") == ["three", "one", "deep/two"]
    status_of("--table", tmp_path, "--sort", "val/loss", "--json", tmp_path / "all.json")
    rows = json.loads((tmp_path / "all.json").read_text())["runs"]
    assert [row["val/loss"] for row in rows] == [0.3, 0.2, 0.1]
    assert "val/loss" in capsys.readouterr().out.splitlines()[0]


def test_the_picture_is_one_of_three_panels(sides, tmp_path):
    a, b = sides(a=STEADY, b=times(1.1))
    assert status_of(a, b, "--picture", tmp_path / "compared.png") == 0
    with Image.open(tmp_path / "compared.png") as picture:
        assert picture.width == 1500
        assert np.asarray(picture.convert("L")).std() > 20


def test_the_script_is_the_module():
    assert script.main is main
