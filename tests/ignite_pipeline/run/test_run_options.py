"""Options of anybody's recipe: kept with the run, and back when it is resumed, each of its own type."""

import argparse
import json
from enum import Enum
from pathlib import Path

import pytest

from ignite_pipeline.run import Parser, number
from ignite_pipeline.run.options import add_run_options, parse_options
from ignite_pipeline.run.stored_options import (
    kept_options,
    options_as_is,
    options_as_text,
    options_as_tuple,
    stored_options,
)


class Colour(Enum):
    RED = "red"


def colour(text):
    try:
        return Colour(text.removeprefix("Colour.").lower())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parser():
    parser = Parser(prog="recipe.py")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--extra", type=Path, nargs="*", default=[])
    parser.add_argument("--rates", type=float, nargs=2, default=[0.1, 0.2])
    parser.add_argument("--colour", type=colour, default=Colour.RED)
    parser.add_argument("--epochs", type=number(int, least=1), default=3)
    parser.add_argument("--mixup", action="store_true")
    parser.add_argument("--betas", type=lambda text: tuple(map(float, text.split(","))), default=(0.5, 0.9))
    parser.add_argument("--policy", default="none")
    parser.set_defaults(precision="fp32", checkpoint_every_s=600.0)
    add_run_options(parser)
    return parser


GIVEN = ["photos", "--labels", "a.csv", "--extra", "b", "c", "--seed", "7"]


def keep(directory, options):
    """Write what a run keeps of its options."""
    directory.mkdir()
    config = {
        "task": "mine",
        "run": "1",
        "options": kept_options(options),
        "options_as_text": options_as_text(options),
        "options_as_tuple": options_as_tuple(options),
        "options_as_is": options_as_is(parser(), options),
        "dataset": {},
        "threads": 1,
        "sessions": [],
    }
    (directory / "config.json").write_text(json.dumps(config))


@pytest.fixture
def run(tmp_path):
    keep(tmp_path / "run", parse_options(parser(), GIVEN, task="mine"))
    return str(tmp_path / "run")


def test_a_recipe_has_its_own_defaults_for_the_options_of_every_run():
    options = parse_options(parser(), GIVEN, task="mine")
    assert (options.precision, options.checkpoint_every_s, options.seed) == ("fp32", 600.0, 7)


def test_resumed_options_are_those_of_the_run_each_of_its_type(run):
    options = parse_options(parser(), ["--resume", run], task="mine")
    first = parse_options(parser(), GIVEN, task="mine")
    assert vars(options) == {**vars(first), "resume": run}
    assert options.photos == Path("photos")
    assert options.extra == [Path("b"), Path("c")]
    assert options.colour is Colour.RED
    assert options.betas == (0.5, 0.9)


@pytest.mark.parametrize(
    "again",
    [
        ["photos"],
        ["--labels", "a.csv"],
        ["--extra", "b", "c"],
        ["--rates", "0.1", "0.2"],
        ["--epochs", "9"],
        ["--betas", "0.5,0.9"],
    ],
)
def test_what_agrees_with_the_run_may_be_given_again(run, again):
    parse_options(parser(), ["--resume", run, *again], task="mine")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (["--labels", "b.csv"], "--labels b.csv contradicts the run"),
        (["elsewhere"], "--photos elsewhere contradicts the run"),
        (["--extra", "b"], "--extra"),
        (["--rates", "1", "2"], "--rates [1.0, 2.0] contradicts"),
        (["--mixup"], "--mixup True contradicts the run"),
        (["--betas", "0.5,0.99"], "--betas (0.5, 0.99) contradicts"),
        (["--policy", "auto"], "--policy auto contradicts the run"),
        (["--seed", "8"], "--seed 8 contradicts the run"),
        (["--epochs", "2"], "--epochs 2 is less than the run's 3"),
    ],
)
def test_what_contradicts_the_run_is_refused(run, other, words):
    with pytest.raises(ValueError, match=r"contradicts|less than") as refused:
        parse_options(parser(), ["--resume", run, *other], task="mine")
    assert words in str(refused.value)


def test_an_option_may_be_said_to_be_free(run):
    options = parse_options(
        parser(), ["--resume", run, "--labels", "b.csv"], task="mine", resumable=["labels"]
    )
    assert options.labels == Path("b.csv")


def test_the_run_of_another_recipe_is_refused(run):
    with pytest.raises(ValueError, match=r"config\.json is not that of a other run"):
        parse_options(parser(), ["--resume", run], task="other")


def test_a_value_that_would_not_come_back_is_refused_at_the_start():
    recipe = Parser()
    recipe.add_argument("--shape", type=lambda text: {"text": text}, default=None)
    add_run_options(recipe)
    with pytest.raises(TypeError, match="--shape cannot be kept for --resume"):
        parse_options(recipe, ["--shape", "x"], task="mine")


def test_options_that_are_newer_than_the_run_have_their_defaults(run):
    newer = parser()
    newer.add_argument("--smoothing", type=float, default=0.5)
    assert parse_options(newer, ["--resume", run], task="mine").smoothing == 0.5


def test_help_is_that_of_the_recipe_even_beside_resume(run, capsys):
    with pytest.raises(SystemExit) as exit_:
        parse_options(parser(), ["--resume", run, "--help"], task="mine")
    assert exit_.value.code == 0
    assert "default: 600.0" in capsys.readouterr().out


def percent(text):
    return float(text) / 100


def truth(text):
    return {"yes": True, "no": False}[text]


@pytest.mark.parametrize(
    ("options", "words", "value"),
    [
        ({"action": "count"}, ["--it", "--it"], 2),
        ({"action": argparse.BooleanOptionalAction, "default": False}, ["--it"], True),
        ({"action": "store_const", "const": "much"}, ["--it"], "much"),
        ({"action": "append_const", "const": 3}, ["--it", "--it"], [3, 3]),
        ({"action": "append", "type": int}, ["--it", "1", "--it", "2"], [1, 2]),
        ({"type": percent}, ["--it", "25"], 0.25),
        ({"type": truth}, ["--it", "yes"], True),
        ({"type": lambda text: int(text, 16)}, ["--it", "ff"], 255),
        ({"type": lambda text: [int(word) for word in text.split(",")]}, ["--it", "1,2"], [1, 2]),
        ({"nargs": "+", "type": percent}, ["--it", "25", "50"], [0.25, 0.5]),
    ],
)
def test_values_that_are_not_what_was_written_come_back(options, words, value):
    parser = Parser()
    parser.add_argument("--it", **options)
    given = parser.parse_args(words)
    assert given.it == value
    config = {
        "options": kept_options(given),
        "options_as_text": options_as_text(given),
        "options_as_tuple": options_as_tuple(given),
        "options_as_is": options_as_is(parser, given),
    }
    assert stored_options(parser, json.loads(json.dumps(config)), Path())["it"] == value
