"""What a run says of a recipe that would not resume exactly."""

import json
import random
from types import MappingProxyType

import numpy as np
import pytest
import torch
from ignite.engine import Events

from handlers import StepMeans
from ignite_pipeline.run import Parser, launch
from tests.support.points import Points, Recipe, assert_exact


def test_what_cannot_be_saved_is_named_and_left_out(tmp_path, capsys):
    class Unsavable:
        def attach(self, engine):
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.nothing)

        def nothing(self):
            pass

        def state_dict(self):
            return {"function": print}

        def load_state_dict(self, state):
            pass

    class WithUnsavable(Recipe):
        def more(self, run, trainer, model):
            return {"measure": [StepMeans(), Unsavable()]}

    found, _ = WithUnsavable()(tmp_path / "run")
    assert found["status"] == "completed"
    assert "Unsavable is not saved" in capsys.readouterr().err
    notices = json.loads((tmp_path / "run" / "config.json").read_text())["notices"]
    assert len(notices) == 1


def hide(step):
    """Hold a step where nobody looks for what it holds."""
    hidden = MappingProxyType({"step": step})
    return lambda engine, batch: hidden["step"](engine, batch)


def test_an_optimizer_that_is_not_saved_is_named(tmp_path, capsys):
    class Forgetful(Recipe):
        def step(self, run, model, optimizer):
            self.schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)  # knows it, and does not save it
            return hide(super().step(run, model, optimizer))

        def more(self, run, trainer, model):
            return {"save": {"model": model, "schedule": self.schedule}}

    Forgetful()(tmp_path / "run", "--max-iterations", 2)
    assert "SGD steps and is not saved" in capsys.readouterr().err


def test_a_model_that_is_not_saved_is_named(tmp_path, capsys):
    class Forgetful(Recipe):
        def step(self, run, model, optimizer):
            self.optimizer = optimizer
            return hide(super().step(run, model, optimizer))

        def more(self, run, trainer, model):
            return {"save": {"optimizer": self.optimizer}}

    Forgetful()(tmp_path / "run", "--max-iterations", 2)
    error = capsys.readouterr().err
    assert "SGD updates parameters of a model that is not saved" in error
    assert "steps and is not saved" not in error


@pytest.mark.parametrize("draw", [random.random, np.random.rand], ids=["random", "numpy"])
def test_a_step_that_draws_elsewhere_is_told_what_seeds_it_and_is_exact_then(tmp_path, capsys, draw):
    class Drawing(Recipe):
        def loss(self, y_pred, y):
            return super().loss(y_pred, y) * float(draw())

    Drawing()(tmp_path / "noticed", "--max-iterations", 2)
    error = capsys.readouterr().err
    assert error.count("the step draws from") == 1
    assert "--seed-everything" in error
    assert_exact(Drawing, tmp_path, "--seed-everything")
    assert "draws from" not in capsys.readouterr().err


def test_tensors_of_inference_mode_are_looked_at_and_end_no_run(tmp_path, caplog):
    class Probing(Recipe):
        def data(self):
            data = Points()
            with torch.inference_mode():
                data.features = torch.zeros(3)
            return data

    found, _ = Probing()(tmp_path / "run")
    assert found["status"] == "completed"
    assert not caplog.records


def test_what_cannot_be_looked_at_ends_no_run(tmp_path, caplog):
    class Odd(str):
        def __repr__(self):
            raise ValueError("not now")

    class WithOdd(Recipe):
        def data(self):
            data = Points()
            data.name = Odd("points")
            return data

    found, _ = WithOdd()(tmp_path / "run")
    assert found["status"] == "completed"
    (said,) = caplog.records
    assert said.getMessage() == "what a resumed run would lack could not be looked at"
    assert json.loads((tmp_path / "run" / "config.json").read_text())["notices"] == []


def test_a_quiet_recipe_is_told_nothing(tmp_path, capsys):
    Recipe()(tmp_path / "run")
    assert "!!!" not in capsys.readouterr().err


def test_data_with_random_state_of_its_own_is_named(tmp_path, capsys):
    class OwnGenerator(Points):
        def __init__(self):
            self.generator = np.random.default_rng(0)

        def __getitem__(self, index):
            return torch.tensor(self.generator.normal(size=2), dtype=torch.float32), index % 2

    class WithOwn(Recipe):
        data = OwnGenerator

    WithOwn()(tmp_path / "run", "--max-iterations", 2)
    assert "OwnGenerator keeps random state of its own" in capsys.readouterr().err


def test_data_from_elsewhere_that_cannot_be_compared_is_said(tmp_path, capsys):
    parser = Parser()
    parser.add_argument("--data-root", default="here")

    def start(*options):
        given = ["--visdom", "off", "--max-iterations", "2", *options]
        launch(Recipe().train, parser, given, task="points", resumable=["data_root"])

    start("--output", str(tmp_path / "run"))
    start("--resume", str(tmp_path / "run"))
    assert "no sha256" not in capsys.readouterr().err
    start("--resume", str(tmp_path / "run"), "--data-root", "there")
    assert "--data-root changed, and the data has no sha256" in capsys.readouterr().err
