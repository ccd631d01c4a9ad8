"""What is frozen stays as it is, whoever calls what."""

import copy

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from ignite_pipeline.compute import Compute
from ignite_pipeline.gan_steps import translation_step
from ignite_pipeline.model_modes import TrainingMode, inference_mode_of
from ignite_pipeline.steps import evaluation_step, supervised_step

BATCHES = [(torch.randn(8, 4) + 3, torch.arange(8) % 2) for _ in range(3)]


def fine_tuned():
    """A backbone with statistics of its own and dropout, and a head that is trained on it."""
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.BatchNorm1d(4, affine=False)
    )
    head = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(4), nn.Linear(4, 2))
    return nn.Sequential(backbone.requires_grad_(False), head)


def step_for(model):
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    return supervised_step(model, optimizer, nn.functional.cross_entropy)


def modes(model):
    return {name: module.training for name, module in model.named_modules()}


TRAINED = {
    "": True,
    "0": False,
    **{f"0.{part}": False for part in range(4)},
    "1": True,
    **{f"1.{part}": True for part in range(3)},
}


@pytest.mark.parametrize(
    "disturb",
    [
        lambda model: None,
        lambda model: model.train(),
        lambda model: model.eval(),
        lambda model: model[0].eval(),
        lambda model: model[0][1].train(),
        lambda model: model[1][1].eval(),
        lambda model: Engine(evaluation_step(model)).run(BATCHES),
        lambda model: Engine(translation_step(model)).run(BATCHES),
    ],
    ids=[
        "nobody",
        "train",
        "eval",
        "eval of the backbone",
        "train of a part",
        "eval of a part",
        "an evaluation",
        "a translation",
    ],
)
def test_a_frozen_backbone_does_not_drift(disturb):
    model = fine_tuned()
    before = copy.deepcopy(model[0].state_dict())
    trainer = Engine(step_for(model))
    for epochs in (1, 2):
        disturb(model)
        trainer.run(BATCHES, max_epochs=epochs)
        assert modes(model) == TRAINED
    torch.testing.assert_close(model[0].state_dict(), before, rtol=0, atol=0)
    assert model[1][1].num_batches_tracked == 6


def test_what_is_frozen_or_thawed_on_the_way_changes_at_once():
    model = fine_tuned()
    mode = TrainingMode(model)
    mode.enter()
    model[0][0].requires_grad_(True)
    mode.enter()
    assert modes(model) == {**TRAINED, "0": True, "0.0": True, "0.2": True, "0.3": True}
    model.requires_grad_(False)
    mode.enter()
    assert not any(modes(model).values())


def test_a_model_that_is_all_frozen_or_has_no_parameters():
    for model, training in ((nn.BatchNorm1d(2).requires_grad_(False), False), (nn.Dropout(), True)):
        Compute().begin(Engine(lambda engine, batch: None), model)
        assert model.training is training


def test_a_model_with_a_mode_of_its_own_is_asked():
    class Stubborn(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.linear = nn.BatchNorm1d(2), nn.Linear(2, 2)

        def train(self, mode=True):
            super().train(mode)
            self.norm.eval()
            return self

    model = Stubborn()
    TrainingMode(model).enter()
    assert (model.linear.training, model.norm.training) == (True, False)


def test_every_part_gets_its_own_mode_back():
    model = fine_tuned()
    TrainingMode(model).enter()
    for mode in ("train", "eval"):
        with inference_mode_of(model, mode):
            assert set(modes(model).values()) == {mode == "train"}
            model(BATCHES[0][0])
        assert modes(model) == TRAINED
