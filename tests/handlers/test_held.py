"""What a step or a handler holds is saved, whatever it is."""

import copy
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping
from ignite.handlers.param_scheduler import ReduceLROnPlateauScheduler
from ignite.metrics import EpochMetric
from torch import nn

from handlers import EvaluateEachEpoch, load_newest
from tests.support.points import Points, Recipe, assert_exact


class Scale:
    """A step with a state of its own, which changes as it is called."""

    def __init__(self, step):
        self.inner, self.scale = step, 1.0

    def __call__(self, engine, batch):
        self.scale *= 0.95
        return self.inner(engine, (batch[0] * self.scale, batch[1]))

    step = __call__

    def state_dict(self):
        return {"scale": self.scale}

    def load_state_dict(self, state):
        self.scale = state["scale"]


class Lightning(nn.Module):
    """A module whose method is the step, and that holds its schedule."""

    def __init__(self, step, optimizer):
        super().__init__()
        self.inner = step
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)

    def step(self, engine, batch):
        output = self.inner(engine, batch)
        self.schedule.step()
        return output


@pytest.mark.parametrize("kind", ["object", "method", "closure over a method", "method of a module"])
def test_the_state_of_a_step_itself_is_saved(tmp_path, kind):
    class OwnStep(Recipe):
        def step(self, run, model, optimizer):
            step = super().step(run, model, optimizer)
            if kind == "method of a module":
                return Lightning(step, optimizer).step
            scaled = Scale(step)
            method = scaled.step
            return {"object": scaled, "method": method}.get(kind, lambda engine, batch: method(engine, batch))

    assert_exact(OwnStep, tmp_path, cuts=(17,))


GENERATORS = {
    "torch": (lambda: torch.Generator().manual_seed(0), lambda it: torch.rand((), generator=it).item()),
    "numpy": (lambda: np.random.default_rng(0), lambda it: it.random()),
    "numpy, another": (lambda: np.random.Generator(np.random.MT19937(0)), lambda it: it.random()),
    "numpy, old": (lambda: np.random.RandomState(0), lambda it: it.rand()),
    "random": (lambda: random.Random(0), lambda it: it.random()),
}


@pytest.mark.parametrize("kind", GENERATORS)
def test_a_generator_that_a_step_holds_goes_on(tmp_path, kind):
    make, draw = GENERATORS[kind]

    class Drawing(Recipe):
        def step(self, run, model, optimizer):
            generator, train = make(), super().step(run, model, optimizer)
            return lambda engine, batch: train(engine, (batch[0] * draw(generator), batch[1]))

    assert_exact(Drawing, tmp_path, cuts=(17,))


def test_what_somebody_puts_on_the_engine_s_state_goes_on_even_if_a_start_sets_it_anew(tmp_path):
    class Noted(Recipe):
        def more(self, run, trainer, model):
            def begin():
                trainer.state.noise, trainer.state.seen = 1.0, [0]

            def decay():
                trainer.state.noise *= 0.9
                trainer.state.seen.append(len(trainer.state.seen))
                model[0].bias.data.add_(trainer.state.noise * 0.01 + len(trainer.state.seen) * 0.001)

            trainer.add_event_handler(Events.STARTED, begin)
            trainer.add_event_handler(Events.ITERATION_COMPLETED, decay)
            return {}

    assert_exact(Noted, tmp_path, cuts=(17,))


def test_a_metric_of_an_evaluator_that_a_handler_looks_at_is_not_saved(tmp_path):
    class Looking(Recipe):
        def more(self, run, trainer, model):
            metric = EpochMetric(lambda y_pred, y: float((y_pred.argmax(1) == y).float().mean()))
            evaluator = Engine(lambda engine, batch: (model(batch[0]).detach(), batch[1]))
            metric.attach(evaluator, "score")
            trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: type(metric))
            return {"evaluate": [EvaluateEachEpoch(evaluator, run.evaluation_loader(Points(), batch_size=8))]}

    assert_exact(Looking, tmp_path, cuts=(17,))


def test_parts_of_a_saved_model_are_saved_once(tmp_path):
    class Parts(Recipe):
        def more(self, run, trainer, model):
            first = model[0]
            trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: first.requires_grad_(True))
            return {}

    Parts()(tmp_path / "run", "--max-iterations", 2)
    assert "first" not in load_newest(tmp_path / "run" / "checkpoints")["objects"]


def test_a_state_with_functions_may_be_named_too(tmp_path):
    class Named(Recipe):
        def more(self, run, trainer, model):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            plateau = ReduceLROnPlateauScheduler(optimizer, metric_name="loss", trainer=trainer)
            return {"save": {"model": model, "plateau": plateau}}

    assert Named()(tmp_path / "run", "--max-iterations", 2)[0]["status"] == "completed"


def average_in(make):
    """Keep an average of the weights, which changes them, where ``make`` puts it."""

    class Averaging(Recipe):
        def more(self, run, trainer, model):
            trainer.add_event_handler(Events.ITERATION_COMPLETED, make(copy.deepcopy(model), model))
            return {}

    return Averaging


def follow(average, model):
    with torch.no_grad():
        for mean, parameter in zip(average.parameters(), model.parameters(), strict=True):
            mean.lerp_(parameter, 0.1)
            parameter.lerp_(mean, 0.05)


def in_namespace(average, model):
    nets = SimpleNamespace(average=average)
    return lambda: follow(nets.average, model)


def in_dicts(average, model):
    nets = {"nets": [{"average": average}]}
    return lambda: follow(nets["nets"][0]["average"], model)


def as_default(average, model):
    def update(engine, average=average):
        follow(average, model)

    return update


def in_a_function(average, model):
    functions = {"update": lambda: follow(average, model)}
    return lambda: functions["update"]()


@pytest.mark.parametrize("make", [in_namespace, in_dicts, as_default, in_a_function])
def test_what_is_held_further_inside_is_saved(tmp_path, make):
    assert_exact(average_in(make), tmp_path, cuts=(17,))


def test_a_handler_of_an_evaluator_that_is_run_by_hand_is_saved(tmp_path):
    class ByHand(Recipe):
        def more(self, run, trainer, model):
            evaluator = Engine(lambda engine, batch: None)
            stopping = EarlyStopping(2, lambda engine: -trainer.state.epoch, trainer)
            evaluator.add_event_handler(Events.COMPLETED, stopping)
            trainer.add_event_handler(Events.ITERATION_COMPLETED(every=8), lambda: evaluator.run([0]))
            return {}

    assert_exact(ByHand, tmp_path, cuts=(17,))


@pytest.mark.parametrize("event", [Events.STARTED, Events.EPOCH_STARTED])
def test_what_a_start_changes_is_changed_once(tmp_path, event):
    class Starting(Recipe):
        def more(self, run, trainer, model):
            trainer.add_event_handler(event, lambda: model[0].weight.data.mul_(0.5))
            return {}

    assert_exact(Starting, tmp_path)


def test_an_engine_of_one_s_own_has_its_attributes_saved(tmp_path):
    class Own(Recipe):
        def step(self, run, model, optimizer):
            train, average = super().step(run, model, optimizer), copy.deepcopy(model)

            class Averaged(Engine):
                def __init__(self):
                    super().__init__(self.go)
                    self.average = average

                def go(self, engine, batch):
                    output = train(engine, batch)
                    follow(self.average, model)
                    return output

            return Averaged().go

    assert_exact(Own, tmp_path, cuts=(17,))
