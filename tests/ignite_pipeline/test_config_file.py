"""Options from files: as on the command line, before what is given there."""

import argparse
import json
import os

import pytest

import run_cifar2
import run_finetune
from ignite_pipeline.board.__main__ import main as board
from ignite_pipeline.command_line import Parser, number
from ignite_pipeline.evaluate.__main__ import main as evaluate
from ignite_pipeline.look.__main__ import main as look
from ignite_pipeline.predict.__main__ import main as predict
from tests.support.runs import summary, train


def parser():
    parser = Parser(prog="train")
    parser.add_argument("--epochs", type=number(int, least=1), default=3)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--classes", nargs="+", default=["a", "b"])
    parser.add_argument("--log-norms", action="store_true")
    parser.add_argument("--data-root")
    return parser


@pytest.fixture
def read(tmp_path):
    """Parse a command line beside a file of that content."""

    def read(content, *words, name="run.toml"):
        (tmp_path / name).write_text(content)
        return parser().parse_args(["--config", str(tmp_path / name), *words])

    return read


def test_a_file_gives_what_the_command_line_would(read):
    content = 'epochs = 5\nlog-norms = true\n[data]\nbatch_size = 16\nclasses = ["x", "y", "z"]\nlr = -1e-3\n'
    given = ["--epochs", "5", "--log-norms", "--batch-size", "16", "--classes", "x", "y", "z", "--lr=-1e-3"]
    assert read(content) == parser().parse_args(given)


def test_what_is_given_counts_before_the_file_and_the_file_before_the_default(read):
    options = read("epochs = 5\nbatch-size = 16\nlog_norms = false\n", "--epochs", "7")
    assert (options.epochs, options.batch_size, options.lr, options.log_norms) == (7, 16, 0.1, False)
    assert "config" not in vars(options)


def test_a_value_that_looks_like_an_option_is_one_value(read):
    assert read('data-root = "--epochs"\n').data_root == "--epochs"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("epoch = 5", "epoch is no option that a file can give; is epochs meant?"),
        ("epochs = 0", "run.toml: argument --epochs: must be a whole number at least 1, got 0"),
        ("epochs = ", "it must be TOML"),
        ("epochs = true", "epochs must be a text or a number, got True"),
        ("epochs = 1979-05-27", "epochs must be a text or a number"),
        ("log-norms = 1", "log-norms must be true or false, got 1"),
        ('config = "other.toml"', "config is no option that a file can give"),
        ("help = true", "help is no option that a file can give"),
        ("\x00", "it must be TOML"),
        ("epochs = 1\n[more]\nepochs = 2", "run.toml: epochs is given twice"),
        ("batch-size = 1\nbatch_size = 2", "run.toml: batch_size is given twice"),
        ("classes = []", "run.toml: argument --classes: expected at least one argument"),
        (
            'classes = ["x", "-y"]',
            "run.toml: classes must list texts that do not begin with a dash, got '-y'",
        ),
        ('classes = ["x", "--log-norms"]', "run.toml: classes must list texts that do not begin with a dash"),
        ("epochs = [1, 2]", "run.toml: unrecognized arguments: 2"),
        ("lr = " + "[" * 100_000, "run.toml: "),
    ],
)
def test_a_mistake_is_one_line_that_names_the_option_or_the_file(read, content, line, capsys):
    with pytest.raises(SystemExit) as stop:
        read(content)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("gone.toml", None, "gone.toml: cannot be read (No such file"),
        ("list.json", "[1]", "list.json: not the config.json of a run"),
        ("other.json", "{}", "other.json: not the config.json of a run"),
        ("cut.json", '{"options": ', "cut.json: "),
        ("deep.json", '{"a":' * 100_000, "deep.json: "),
    ],
)
def test_a_file_that_is_none_is_named(name, content, line, tmp_path, capsys):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(SystemExit):
        parser().parse_args(["--config", str(tmp_path / name)])
    assert line in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--config="], "argument --config: must name a file or a folder, got ''"),
        (["--config"], "argument --config: expected one argument"),
        (["--config", "a.toml", "--config", "b.toml"], "--config may be given once"),
    ],
)
def test_one_file_is_given(words, line, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(words)
    assert line in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs")
def test_a_fifo_is_not_waited_for(tmp_path, capsys):
    os.mkfifo(tmp_path / "run.toml")
    with pytest.raises(SystemExit):
        parser().parse_args(["--config", str(tmp_path / "run.toml")])
    assert "run.toml: not a regular file" in capsys.readouterr().err


def test_a_run_s_own_config_begins_another_of_the_same_weights(undisturbed, image_tree, tmp_path):
    again = tmp_path / "again"
    train(image_tree, again, "--config", undisturbed / "config.json")
    assert summary(again)["model_sha256"] == summary(undisturbed)["model_sha256"]
    kept = [json.loads((place / "config.json").read_text())["options"] for place in (undisturbed, again)]
    assert {**kept[0], "output": None} == {**kept[1], "output": None}


@pytest.mark.parametrize("main", [run_cifar2.main, run_finetune.main, predict, evaluate, look, board])
def test_every_script_reads_one(main, tmp_path, capsys):
    (tmp_path / "run.toml").write_text("nonsense = 1\n")
    with pytest.raises(SystemExit) as stop:
        main(["--config", str(tmp_path / "run.toml")])
    assert stop.value.code == 2
    assert "run.toml: nonsense is no option that a file can give" in capsys.readouterr().err


def test_a_namespace_may_be_given(read):
    assert parser().parse_args(["--lr", "2"], argparse.Namespace(extra=1)).extra == 1
