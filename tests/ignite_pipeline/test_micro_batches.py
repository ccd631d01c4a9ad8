"""A batch taken in parts trains as the whole batch does, whatever the loss and the model."""

import copy
import weakref
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from ignite_pipeline.compute import Compute
from ignite_pipeline.steps import accuracy, supervised_step
from tests.support.tiny_classifier import LOSS, batches, sgd, tiny_model, weights


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
