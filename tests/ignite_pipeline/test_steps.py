import copy
import weakref
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import NamedTuple

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from ignite_pipeline.compute import Compute
from ignite_pipeline.devices import resolve_precision
from ignite_pipeline.steps import accuracy, evaluation_step, supervised_step

LOSS = nn.functional.cross_entropy


def tiny_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def batches(count, size=10):
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 6, generator=generator), torch.randint(3, (size,), generator=generator))
        for _ in range(count)
    ]


def sgd(model, fused=True, **options):
    return torch.optim.SGD(model.parameters(), **{"lr": 0.1, "momentum": 0.9, "fused": fused, **options})


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()]).clone()


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


@pytest.mark.parametrize("micro_batches", [2, 3, 10])
def test_micro_batches_give_the_gradient_of_the_whole_batch(micro_batches):
    whole, split = tiny_model(), tiny_model()
    measures = {"accuracy": accuracy}
    expected = Engine(supervised_step(whole, sgd(whole), LOSS, metrics=measures)).run(batches(4)).output
    compute = Compute(micro_batches=micro_batches)
    step = supervised_step(split, sgd(split), LOSS, metrics=measures, compute=compute)
    output = Engine(step).run(batches(4)).output
    torch.testing.assert_close(weights(split), weights(whole))
    torch.testing.assert_close(output, expected)


def test_a_last_batch_smaller_than_the_number_of_micro_batches_still_counts():
    whole, split = tiny_model(), tiny_model()
    Engine(supervised_step(whole, sgd(whole), LOSS)).run(batches(1, size=2))
    compute = Compute(micro_batches=4)
    Engine(supervised_step(split, sgd(split), LOSS, compute=compute)).run(batches(1, size=2))
    torch.testing.assert_close(weights(split), weights(whole))


def contrast(y_pred, y):
    """A loss that a part of a batch says nothing about: each row against all others."""
    return LOSS(y_pred @ y_pred.T, torch.arange(len(y)))


@pytest.mark.parametrize(
    "loss_fn",
    [
        nn.CrossEntropyLoss(weight=torch.tensor([0.1, 1.0, 5.0])),
        partial(LOSS, weight=torch.tensor([0.1, 1.0, 5.0]), label_smoothing=0.1),
        nn.CrossEntropyLoss(ignore_index=1),
        nn.CrossEntropyLoss(reduction="sum"),
        contrast,
    ],
    ids=["weights", "function with weights", "ignored targets", "sum", "contrast"],
)
def test_micro_batches_are_right_for_any_loss(loss_fn):
    whole, split = tiny_model(), tiny_model()
    results = []
    for model, compute in ((whole, Compute()), (split, Compute(micro_batches=3))):
        step = supervised_step(model, sgd(model, lr=0.01), loss_fn, compute=compute)
        results.append(Engine(step).run(batches(4)).output)
    torch.testing.assert_close(results[1], results[0])
    torch.testing.assert_close(weights(split), weights(whole))


def test_micro_batches_draw_and_count_statistics_once():
    x, y = batches(1)[0]
    ours = nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(0.5), tiny_model())
    written = copy.deepcopy(ours)
    torch.manual_seed(0)
    Engine(supervised_step(ours, sgd(ours), LOSS, compute=Compute(micro_batches=2))).run([(x, y)])
    torch.manual_seed(0)
    optimizer = sgd(written)
    LOSS(torch.cat([written(part) for part in x.chunk(2)]), y).backward()
    optimizer.step()
    assert ours[0].num_batches_tracked == 2
    torch.testing.assert_close(ours.state_dict(), written.state_dict(), rtol=0, atol=0)


class Counted(nn.Module):
    """Count how many of its outputs are in memory at once."""

    def __init__(self):
        super().__init__()
        self.outputs, self.most = weakref.WeakSet(), 0

    def forward(self, x):
        output = x.exp()
        self.outputs.add(output)
        self.most = max(self.most, len(self.outputs))
        return output.exp()


@pytest.mark.parametrize(("micro_batches", "rows"), [(1, 10), (5, 2)])
def test_micro_batches_are_in_memory_one_at_a_time(micro_batches, rows):
    counted, seen = Counted(), []
    model = nn.Sequential(nn.Linear(6, 3), counted)
    model.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    step = supervised_step(model, sgd(model), LOSS, compute=Compute(micro_batches=micro_batches))
    Engine(step).run(batches(1))
    assert (max(seen), counted.most) == (rows, 1)


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


@dataclass
class Output:
    logits: torch.Tensor
    extra: torch.Tensor


class Protected(dict):
    """A dict as that of Hugging Face's models: it refuses ``update``."""

    def update(self, *args, **kwargs):
        raise RuntimeError("You cannot use update")


class Tempered(nn.Module):
    """A model that takes more than one tensor, one without rows and a list among them."""

    def __init__(self, make):
        super().__init__()
        self.model, self.make = tiny_model(), make

    def forward(self, x):
        rows, temperature, lengths = x
        logits = self.model(rows) / temperature * torch.tensor(lengths).view(-1, 1)
        return self.make(logits, logits**2)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("make", "loss"),
    [
        (Output, lambda out, y: LOSS(out.logits, y) + out.extra.mean()),
        (
            lambda *both: Protected(zip("ab", both, strict=True)),
            lambda out, y: LOSS(out["a"], y) + out["b"].mean(),
        ),
        (lambda *both: [*both, None, "words"], lambda out, y: LOSS(out[0], y) + out[1].mean()),
    ],
    ids=["dataclass", "dict", "list"],
)
def test_micro_batches_cut_and_join_whatever_a_model_takes_and_returns(make, loss, precision):
    x, y = batches(1)[0]
    batch, found = ((x, torch.tensor(2.0), list(range(1, 11))), y), []
    for micro_batches in (1, 3):
        model = Tempered(make)
        compute = Compute(precision=precision, micro_batches=micro_batches)
        found.append(Engine(supervised_step(model, sgd(model), loss, compute=compute)).run([batch]).output)
    torch.testing.assert_close(found[1], found[0], rtol=2e-2 if precision == "bf16" else 1e-5, atol=1e-6)


def test_what_cannot_be_joined_is_refused_by_name():
    class Sampled(nn.Linear):
        def forward(self, x):
            return torch.distributions.Normal(super().forward(x), 1.0)

    model = Sampled(6, 3)
    step = supervised_step(
        model, sgd(model), lambda out, y: out.mean.mean(), compute=Compute(micro_batches=2)
    )
    with pytest.raises(TypeError, match="with a row for each sample, got Normal"):
        step(Engine(step), batches(1)[0])


def test_what_has_no_row_for_each_sample_is_refused():
    class Recurrent(nn.LSTM):
        def forward(self, x):
            return super().forward(x.unsqueeze(1))

    model = Recurrent(6, 3, 2, batch_first=True)
    step = supervised_step(model, sgd(model), lambda out, y: out[0].mean(), compute=Compute(micro_batches=2))
    with pytest.raises(TypeError, match=r"with a row for each sample, got Tensor of \(2, 5, 3\)"):
        step(Engine(step), batches(1)[0])


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


def test_micro_batches_repeat_what_depends_on_buffers():
    x, y = batches(1)[0]
    found = []
    for compute in (Compute(micro_batches=2), None):
        torch.manual_seed(0)
        model = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(6, 3)))
        if compute is not None:
            Engine(supervised_step(model, sgd(model), LOSS, compute=compute)).run([(x, y)])
        else:
            model.train()
            LOSS(torch.cat([model(part) for part in x.chunk(2)]), y).backward()
        found.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


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
