"""What cannot be saved, or is missing from a checkpoint, is said and hurts no run."""

import itertools
from types import MappingProxyType

import pytest
import torch
from ignite.engine import Events
from ignite.handlers import EarlyStopping, EMAHandler
from torch import nn

from handlers import load_newest
from tests.support.points import Points, Recipe


class Odd(nn.Module):
    """A module with a state that no checkpoint holds."""

    def get_extra_state(self):
        return {1, 2}.__iter__()

    def set_extra_state(self, state):
        pass


class Shy:
    """An object whose state cannot be taken yet."""

    def state_dict(self):
        raise RuntimeError("not started yet")

    def load_state_dict(self, state):
        pass


class Unfilled(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("history", torch.full((5,), torch.nan))


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (Odd(), "thing is not saved"),
        (Shy(), "thing is not saved, a resumed run begins it anew: not started"),
        (Unfilled(), ""),
    ],
    ids=["odd", "shy", "unfilled"],
)
def test_what_is_found_hurts_no_run(tmp_path, capsys, thing, said):
    class Holding(Recipe):
        def more(self, run, trainer, model):
            trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: type(thing))
            return {}

    found, _ = Holding()(tmp_path / "run", "--max-iterations", 14)
    assert found["status"] == "completed"
    assert said in capsys.readouterr().err
    assert load_newest(tmp_path / "run" / "checkpoints")["engine"]["iteration"] == 14


def counting(self, optimizer, model, cell):
    count = 0

    def step(engine, batch):
        nonlocal count
        count += 1
        return cell(engine, batch)

    return step


def in_a_list(self, optimizer, model, train):
    scale = [1.0]

    def step(engine, batch):
        scale[0] *= 0.9
        return train(engine, (batch[0] * scale[0], batch[1]))

    return step


def accumulating(self, optimizer, model, train):
    def step(engine, batch):
        self.loss(model(batch[0]), batch[1]).backward()
        if engine.state.iteration % 3 == 0:
            optimizer.step()
            optimizer.zero_grad()

    return step


def iterating(self, optimizer, model, train):
    numbers = itertools.cycle([0.5, 1.0])
    return lambda engine, batch: train(engine, (batch[0] * next(numbers), batch[1]))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (counting, "count changes and is not saved"),
        (in_a_list, "scale.0 changes and is not saved"),
        (accumulating, "gradients are kept from one iteration to the next"),
        (iterating, "numbers begins anew in a resumed run, as every iterator"),
    ],
)
def test_what_cannot_be_saved_is_said(tmp_path, capsys, make, said):
    class Noticed(Recipe):
        def step(self, run, model, optimizer):
            return make(self, optimizer, model, super().step(run, model, optimizer))

    Noticed()(tmp_path / "run", "--max-iterations", 14)
    assert capsys.readouterr().err.count(said) == 1


def test_a_data_set_that_a_handler_changes_is_named(tmp_path, capsys):
    class Scaled(Points):
        scale = 1.0

        def __init__(self):
            self.scale = 1.0

    class Curriculum(Recipe):
        def data(self):
            self.dataset = Scaled()
            return self.dataset

        def more(self, run, trainer, model):
            trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: setattr(self.dataset, "scale", 0.5))
            return {}

    Curriculum()(tmp_path / "run")
    assert "Scaled.scale changes and is not saved" in capsys.readouterr().err


def test_an_optimizer_that_steps_in_a_later_epoch_is_noticed_in_it(tmp_path, capsys):
    class Later(Recipe):
        def step(self, run, model, optimizer):
            other = MappingProxyType({"it": torch.optim.Adam(model.parameters(), lr=0.01)})
            train = super().step(run, model, optimizer)

            def step(engine, batch):
                output = train(engine, batch)
                if engine.state.epoch > 1:
                    other["it"].step()
                return output

            return step

    Later()(tmp_path / "run")
    assert capsys.readouterr().err.count("Adam steps and is not saved") == 1


def test_what_a_resumed_run_would_not_find_is_said(tmp_path, capsys):
    class Thawing(Recipe):
        def more(self, run, trainer, model):
            optimizer = torch.optim.SGD(model[3].parameters(), lr=0.1)

            def thaw():
                optimizer.add_param_group({"params": model[0].parameters()})

            trainer.add_event_handler(Events.ITERATION_COMPLETED(once=9), thaw)
            trainer.add_event_handler(Events.ITERATION_COMPLETED(once=18), lambda: trainer.terminate_epoch())
            return {"save": {"model": model, "head": optimizer}}

    Thawing()(tmp_path / "run")
    said = capsys.readouterr().err
    assert said.count("SGD was given parameters as it ran") == 1
    assert said.count("an epoch has ended early") == 1


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_odd_tensors_in_a_model_hurt_no_run(tmp_path):
    class Odd(Recipe):
        def more(self, run, trainer, model):
            model.register_buffer("adjacency", torch.eye(3).to_sparse())
            model.register_buffer("small", torch.zeros(3).to(torch.float8_e4m3fn))
            return {}

    assert Odd()(tmp_path / "run", "--max-iterations", 2)[0]["status"] == "completed"


def test_a_handler_that_is_new_may_be_missing_from_a_checkpoint(tmp_path, capsys):
    class Grown(Recipe):
        missing = ("EMAHandler.ema_model", "EarlyStopping")

        def more(self, run, trainer, model):
            EMAHandler(model).attach(trainer)
            stopping = EarlyStopping(100, lambda engine: 0.0, trainer)
            trainer.add_event_handler(Events.EPOCH_COMPLETED, stopping)
            return {"missing": self.missing}

    class Unaware(Grown):
        missing = ()

    directory = tmp_path / "run"
    Recipe()(directory, "--max-iterations", 5)
    with pytest.raises(SystemExit):
        Unaware()(directory, "--resume", directory, "--max-iterations", 9)
    said = capsys.readouterr().err
    assert (
        "the checkpoint lacks EMAHandler.ema_model, EarlyStopping; if that is new, name it in missing="
        in said
    )
    assert Grown()(directory, "--resume", directory, "--max-iterations", 9)[0]["iterations"] == 9


def test_a_first_loss_that_is_not_finite_ends_in_the_guard_s_words(tmp_path):
    class Bad(Recipe):
        def loss(self, y_pred, y):
            return super().loss(y_pred, y) * torch.nan

    with pytest.raises(FloatingPointError, match="loss is nan at iteration 1"):
        Bad()(tmp_path / "run")
