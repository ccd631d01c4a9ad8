"""A step trains as the loop written out, and a bad batch leaves no trace in the model."""

import copy
from operator import itemgetter
from typing import NamedTuple

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from ignite_pipeline.compute import Compute
from ignite_pipeline.devices import resolve_precision
from ignite_pipeline.steps import accuracy, evaluation_step, supervised_step
from tests.support.tiny_classifier import LOSS, batches, sgd, tiny_model, weights


def test_equals_the_loop_written_out():
    model, data = tiny_model(), batches(5)
    written = copy.deepcopy(model)
    optimizer = sgd(written)
    for x, y in data:
        loss = LOSS(written(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    state = Engine(supervised_step(model, sgd(model), LOSS, metrics={"accuracy": accuracy})).run(data)
    assert torch.equal(weights(model), weights(written))
    assert torch.equal(state.output["loss"], loss.detach())
    assert not state.output["loss"].requires_grad


class Point(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


class Both(nn.Module):
    """A model whose input and output are dicts."""

    def __init__(self):
        super().__init__()
        self.model = tiny_model()

    def forward(self, x):
        return {"logits": self.model(x["left"] + x["right"]), "names": ("a", x["left"])}


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_batches_may_be_dicts_and_named_tuples(micro_batches):
    data, results = batches(3), []
    for wrap, unpack in (
        (lambda x, y: (x, y), None),
        (Point, None),
        (lambda x, y: {"x": x, "y": y, "file": ["a.png"], "note": None}, itemgetter("x", "y")),
    ):
        model = tiny_model()
        compute = Compute(micro_batches=micro_batches)
        step = supervised_step(model, sgd(model), LOSS, unpack=unpack, compute=compute)
        Engine(step).run([wrap(*batch) for batch in data])
        evaluator = Engine(evaluation_step(model, unpack=unpack))
        results += [weights(model), evaluator.run([wrap(*data[0])]).output["y_pred"]]
    assert all(torch.equal(*pair) for pair in zip(results[2:], results[:-2], strict=True))
    plain, both = tiny_model(), Both()
    Engine(supervised_step(plain, sgd(plain), LOSS, compute=Compute(micro_batches=micro_batches))).run(data)
    step = supervised_step(
        both,
        sgd(both),
        lambda y_pred, y: LOSS(y_pred["logits"], y),
        unpack=lambda batch: ({"left": batch["x"], "right": torch.zeros(1).expand(10, 6)}, batch["y"]),
        compute=Compute(micro_batches=micro_batches),
    )
    Engine(step).run([{"x": x, "y": y} for x, y in data])
    torch.testing.assert_close(weights(both), weights(plain))


class Counting(nn.Module):
    """A model that puts another tensor in the place of its buffer."""

    def __init__(self):
        super().__init__()
        self.model = tiny_model()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x):
        self.mean = self.mean + x.mean().detach()
        return self.model(x) + 0 * self.mean


def test_buffers_that_are_replaced_are_kept_too():
    x, y = batches(1)[0]
    model = Counting()
    Engine(supervised_step(model, sgd(model), LOSS, compute=Compute(micro_batches=2))).run([(x, y)])
    torch.testing.assert_close(model.mean, x[:5].mean() + x[5:].mean())
    skipping = Counting()
    step = supervised_step(skipping, sgd(skipping), LOSS, compute=Compute(skip_non_finite=True))
    Engine(step).run([(x * torch.nan, y)])
    assert skipping.mean == 0


def test_a_batch_that_is_no_pair_is_told_how_to_become_one():
    model = tiny_model()
    step = supervised_step(model, sgd(model), LOSS)
    x, y = batches(1)[0]
    with pytest.raises(ValueError, match="got dict with image, label: give the step unpack, such as"):
        step(Engine(step), {"image": x, "label": y})
    with pytest.raises(ValueError, match="got tuple: give the step unpack"):
        step(Engine(step), (x, y, y))


def test_a_model_in_double_precision_stays_in_it():
    model = tiny_model().double()
    x, y = batches(1)[0]
    output = Engine(supervised_step(model, sgd(model), LOSS)).run([(x.double(), y)]).output
    assert output["loss"].dtype == torch.float64


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("place", [0, 1])
def test_a_batch_that_is_skipped_leaves_no_trace(bad, fused, clip_norm, place):
    clean = batches(2)
    x, y = clean[0]
    spoilt = [*clean[:place], (x * bad, y), *clean[place:]]
    results = []
    for part in (spoilt, clean):
        model = nn.Sequential(nn.BatchNorm1d(x.shape[1]), tiny_model())
        compute = Compute(skip_non_finite=True)
        step = supervised_step(model, sgd(model, fused), LOSS, clip_norm=clip_norm, compute=compute)
        Engine(step).run(part)
        results.append(weights(model))
        buffers = list(model.buffers())
        assert all(buffer.isfinite().all() for buffer in buffers)
        results.append(torch.cat([buffer.flatten() for buffer in buffers]))
    assert torch.equal(results[0], results[2])
    assert torch.equal(results[1], results[3])


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("place", [0, 1])
def test_a_loss_that_is_not_finite_ends_all_updates(fused, place):
    clean = batches(3)
    x, y = clean[0]
    results = []
    for part in ([*clean[:place], (x * torch.nan, y), *clean[place:]], clean[:place]):
        model = tiny_model()
        compute = Compute()
        step = supervised_step(model, sgd(model, fused), LOSS, compute=compute)
        if part:
            Engine(step).run(part)
        results.append(weights(model))
    assert torch.equal(*results)


def test_a_state_whose_updates_have_ended_is_not_saved():
    compute, model = Compute(), tiny_model()
    step = supervised_step(model, sgd(model), LOSS, compute=compute)
    engine = Engine(step)
    x, y = batches(1)[0]
    step(engine, (x, y))
    compute.state_dict()
    step(engine, (x * torch.nan, y))
    with pytest.raises(ValueError, match="a loss was not finite"):
        compute.state_dict()


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
def test_a_fused_adam_keeps_its_weights_too(optimizer):
    model = tiny_model()
    before = weights(model)
    x, y = batches(1)[0]
    Engine(supervised_step(model, optimizer(model.parameters(), fused=True), LOSS)).run([(x * torch.nan, y)])
    assert torch.equal(weights(model), before)


def test_clipping_bounds_the_update():
    model = tiny_model()
    before = weights(model)
    optimizer = sgd(model, lr=1.0, momentum=0.0)
    Engine(supervised_step(model, optimizer, LOSS, clip_norm=1e-3)).run(batches(1))
    torch.testing.assert_close((weights(model) - before).norm(), torch.tensor(1e-3), rtol=1e-3, atol=0)


def test_the_schedule_steps_once_an_iteration():
    model = tiny_model()
    optimizer = sgd(model)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda iteration: 1 / (1 + iteration))
    compute = Compute(micro_batches=2)
    Engine(supervised_step(model, optimizer, LOSS, schedule=schedule, compute=compute)).run(batches(3))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / 4)


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_half_precision_trains(name):
    model, compute = tiny_model(), Compute(precision=name)
    step = supervised_step(model, sgd(model), LOSS, compute=compute)
    x, y = batches(1, size=64)[0]
    losses = []
    trainer = Engine(lambda engine, batch: losses.append(step(engine, batch)["loss"].item()))
    trainer.run([(x, y)] * 200)
    assert losses[-1] < 0.6 * losses[0]
    assert all(p.dtype == torch.float32 for p in model.parameters())
    restored = Compute(precision=name)
    restored.load_state_dict(compute.state_dict())
    assert restored.state_dict() == compute.state_dict()


def test_a_first_step_that_fp16_skips_leaves_no_rubbish_in_the_momentum():
    model, compute = tiny_model(), Compute(precision="fp16")
    optimizer = sgd(model)
    before = weights(model)
    step = supervised_step(model, optimizer, lambda p, y: LOSS(p, y) * 1e4, compute=compute)
    Engine(step).run(batches(1))
    assert torch.equal(weights(model), before)
    assert all((state["momentum_buffer"] == 0).all() for state in optimizer.state.values())


def test_auto_precision_is_one_of_the_others():
    assert resolve_precision("auto", "cpu") in ("fp32", "bf16")
    with pytest.raises(ValueError, match="precision must be auto, fp32, bf16 or fp16, got 'int8'"):
        Compute(precision="int8")


def test_modes_are_set_only_when_they_must_change():
    model = nn.Sequential(nn.Linear(6, 3), nn.Dropout())
    trainer = Engine(supervised_step(model, sgd(model), LOSS))
    evaluator = Engine(evaluation_step(model))
    for engine, training in [(evaluator, False), (trainer, True), (evaluator, False)]:
        engine.run(batches(1))
        assert model[1].training is training


def test_mirror_averages_the_logits_of_an_image_and_its_mirror_image():
    model = nn.Flatten()
    x, y = torch.randn(3, 1, 2, 4), torch.zeros(3)
    output = Engine(evaluation_step(model, mirror=True)).run([(x, y)]).output
    torch.testing.assert_close(output["y_pred"], (x.flatten(1) + x.flip(3).flatten(1)) / 2)


def test_a_bad_argument_is_named():
    model = tiny_model()
    with pytest.raises(ValueError, match="clip_norm must be positive or None, got 0"):
        supervised_step(model, sgd(model), LOSS, clip_norm=0.0)
    with pytest.raises(ValueError, match="micro_batches must be at least 1, got 0"):
        Compute(micro_batches=0)
