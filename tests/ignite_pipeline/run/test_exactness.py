"""Recipes that are cut and resumed end as those that are not: each with one thing that used to leak."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping
from ignite.metrics import Accuracy, RunningAverage
from torch import nn
from torch.utils.data import default_collate
from torchvision.transforms import v2

from handlers import EvaluateEachEpoch, StepMeans, load_newest
from handlers.held import held_objects
from ignite_pipeline.run import Best
from tests.support.points import Points, Recipe, assert_exact


def test_a_plain_recipe_with_dropout_is_exact(tmp_path):
    assert_exact(Recipe, tmp_path)


def test_mixup_in_collate_is_exact(tmp_path):
    mixup = v2.MixUp(num_classes=2)

    class WithMixUp(Recipe):
        def loader(self, run):
            return run.train_loader(self.data(), batch_size=4, collate_fn=mixed)

    def mixed(samples):
        x, y = default_collate(samples)
        x, y = mixup(x.view(4, 2, 1, 1), y)
        return x.flatten(1), y

    assert_exact(WithMixUp, tmp_path)


def test_metrics_and_handlers_of_ignite_are_saved_without_being_named(tmp_path):
    class WithIgnite(Recipe):
        def more(self, run, trainer, model):
            trainer.add_event_handler(Events.ITERATION_COMPLETED(every=2), self.count)
            RunningAverage(output_transform=lambda output: output["loss"]).attach(trainer, "train/average")
            evaluator = Engine(lambda engine, batch: (model(batch[0]).detach(), batch[1]))
            Accuracy().attach(evaluator, "accuracy")
            stopping = EarlyStopping(2, lambda engine: -engine.state.metrics["accuracy"], trainer)
            evaluator.add_event_handler(Events.COMPLETED, stopping)
            self.stopping = stopping
            validation = run.evaluation_loader(Points(), batch_size=8)
            return {"evaluate": [EvaluateEachEpoch(evaluator, validation)], "best": Best("val/accuracy")}

        def count(self):
            self.counts["steps"] += 1

    recipe = WithIgnite()
    recipe(tmp_path / "run", "--max-iterations", 17)
    payload = torch.load(next((tmp_path / "run").glob("checkpoints/*17.pt")), weights_only=True)
    assert {"RunningAverage", "EarlyStopping", "StepMeans", "FetchComputeTimer"} <= payload["objects"].keys()
    assert "Accuracy" not in payload["objects"]
    assert_exact(WithIgnite, tmp_path)


def test_a_metric_that_an_epoch_resets_goes_on_in_the_middle_of_one(tmp_path):
    class WithAccuracy(Recipe):
        def step(self, run, model, optimizer):
            train = super().step(run, model, optimizer)

            def step(engine, batch):
                self.seen = (model(batch[0]).detach(), batch[1])
                return train(engine, batch)

            return step

        def more(self, run, trainer, model):
            Accuracy(output_transform=lambda output: self.seen).attach(trainer, "train/accuracy")
            return {}

    assert_exact(WithAccuracy, tmp_path)


def test_a_handler_attached_after_the_run_s_own_acts_before_the_checkpoint(tmp_path):
    class Late(Recipe):
        def train(self, run):
            loader = self.loader(run)
            model = run.place(nn.Linear(2, 2))
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            trainer = Engine(self.step(run, model, optimizer))

            # Before the run attaches anything: draws all the same after the step's seed.
            trainer.add_event_handler(Events.ITERATION_STARTED, lambda: model.bias.data.add_(torch.rand(2)))
            run.attach(trainer, measure=[StepMeans()], save={"model": model, "optimizer": optimizer})

            @trainer.on(Events.EPOCH_COMPLETED)
            def decay():
                optimizer.param_groups[0]["lr"] *= 0.5

            run.train(trainer, loader, epochs=3)

    assert_exact(Late, tmp_path)


@pytest.mark.parametrize("rate", [np.float64(0.5), np.float32(0.5)], ids=["float64", "float32"])
def test_numbers_of_numpy_in_a_state_are_saved_as_python_s(tmp_path, rate):
    class Cosine(Recipe):
        def more(self, run, trainer, model):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda iteration: rate)
            return {"save": {"model": model, "optimizer": optimizer, "schedule": schedule}}

    found, _ = Cosine()(tmp_path / "run", "--max-iterations", 3)
    assert found["status"] == "completed"


@pytest.mark.parametrize(
    "output",
    [
        lambda loss: loss.item(),
        lambda loss: loss,
        lambda loss: None,
        lambda loss: {"loss": 0.5},
        lambda loss: {},
    ],
    ids=["float", "tensor", "nothing", "dict of floats", "empty dict"],
)
def test_a_step_may_return_what_ignite_s_do(tmp_path, output):
    class Other(Recipe):
        def step(self, run, model, optimizer):
            train = super().step(run, model, optimizer)
            return lambda engine, batch: output(train(engine, batch)["loss"])

    assert_exact(Other, tmp_path)


class Buffer:
    """Keep the loss of some iterations and use it in later ones, as an image buffer does with images."""

    def __init__(self):
        self.kept = torch.zeros(3)

    def exchange(self, loss):
        place = int(torch.randint(3, ()))
        before, self.kept[place] = self.kept[place].clone(), loss.detach()
        return loss + before * loss

    def state_dict(self):
        return {"kept": self.kept.clone()}

    def load_state_dict(self, state):
        self.kept = state["kept"].clone()


@pytest.mark.parametrize("named", [True, False], ids=["named", "forgotten"])
def test_what_a_step_of_one_s_own_holds_is_saved_named_or_not(tmp_path, named):
    class OwnStep(Recipe):
        def step(self, run, model, optimizer):
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
            buffer, average = Buffer(), copy.deepcopy(model).requires_grad_(False)
            self.given = {"schedule": schedule, "buffer": buffer, "average": average, "optimizer": optimizer}

            def follow():
                for mean, parameter in zip(average.parameters(), model.parameters(), strict=True):
                    mean.lerp_(parameter.detach(), 0.1)

            def step(engine, batch):
                x, y = batch
                optimizer.zero_grad()
                loss = buffer.exchange(self.loss(model(x) + average(x), y))
                loss.backward()
                optimizer.step()
                schedule.step()
                follow()
                return loss.item()

            return step

        def more(self, run, trainer, model):
            return {"save": {"model": model, **(self.given if named else {})}}

    assert_exact(OwnStep, tmp_path)
    payload = load_newest(tmp_path / "whole" / "checkpoints")
    assert {"schedule", "buffer", "average", "optimizer"} <= payload["objects"].keys()


@pytest.mark.parametrize("attach", ["method", "closure", "argument", "partial"])
def test_what_a_handler_of_one_s_own_holds_is_saved(tmp_path, attach):
    class OwnHandler(Recipe):
        def __init__(self):
            super().__init__()
            self.inner = None

        def more(self, run, trainer, model):
            optimizer = next(thing for name, thing in held_objects(trainer) if name == "optimizer")
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
            if attach == "method":
                self.inner = schedule
                trainer.add_event_handler(Events.ITERATION_COMPLETED, self.step_schedule)
            elif attach == "closure":
                trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: schedule.step())
            elif attach == "argument":
                trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine, it: it.step(), schedule)
            else:
                step = partial(lambda engine, it: it.step(), it=schedule)
                trainer.add_event_handler(Events.ITERATION_COMPLETED(every=2), step)
            return {}

        def step_schedule(self):
            self.inner.step()

    assert_exact(OwnHandler, tmp_path, cuts=(17,))


def test_micro_batches_are_exact(tmp_path):
    assert_exact(Recipe, tmp_path, "--micro-batches", 2)
