"""Recipes of other people's making, each one file: killed in earnest, and gone on with."""

import importlib
from pathlib import Path

import pytest

from handlers import load_newest
from handlers.files import read_metrics
from tests import recipes
from tests.support.killing import run_recipe
from tests.support.runs import outcome

FOLDER = Path(recipes.__path__[0])
RECIPES = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_that_is_killed_and_resumed_ends_as_if_nothing_had_happened(tmp_path, name):
    assert len((FOLDER / f"{name}.py").read_text().splitlines()) <= 60
    train = importlib.import_module(f"tests.recipes.{name}").train
    run_recipe(train, tmp_path / "whole")
    run_recipe(train, tmp_path / "killed", kill_at=17)
    assert load_newest(tmp_path / "killed" / "checkpoints")["engine"]["iteration"] == 16
    run_recipe(train, tmp_path / "killed", "--num-workers", 2, kill_at=29)
    run_recipe(train, tmp_path / "killed")
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


def test_a_recall_for_each_label_is_recorded_by_its_name(tmp_path):
    run_recipe(importlib.import_module("tests.recipes.multi_label").train, tmp_path / "run")
    last = read_metrics(tmp_path / "run")[-1]
    assert {"val/recall/bright", "val/recall/tall", "val/recall/rare"} <= last.keys()


def test_a_frozen_backbone_keeps_its_statistics(tmp_path):
    train = importlib.import_module("tests.recipes.frozen_backbone").train
    run_recipe(train, tmp_path / "run", "--max-iterations", 24)
    frozen = load_newest(tmp_path / "run" / "checkpoints")["objects"]["model"]
    assert frozen["0.1.num_batches_tracked"] == 0
    run_recipe(train, tmp_path / "run", "--max-iterations", 36)
    thawed = load_newest(tmp_path / "run" / "checkpoints")["objects"]["model"]
    assert thawed["0.1.num_batches_tracked"] == 12
