"""Replicas in one process: their sums, their randomness, their buffers, and what is refused."""

import copy

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from ignite_pipeline.compute import Compute
from ignite_pipeline.errors import BadInput
from ignite_pipeline.flat_vector import FlatVector
from ignite_pipeline.replicas import Replicas, Replicated, TreeSum
from ignite_pipeline.seeding import Generators
from ignite_pipeline.steps import supervised_step


def replicas(count, **options):
    return Replicas(count, seed=0, generators=Generators(), **options)


class Recorded:
    """Stands in for the other processes: what they bring is what ``other`` has, in turn."""

    spare = 0

    def __init__(self, other):
        self.other = iter(other)

    def add_up(self, vector):
        vector += next(self.other)


def test_a_sum_along_the_tree_is_that_of_any_number_of_processes():
    vectors = list(torch.randn(16, 1000) * 10.0 ** torch.randint(-6, 6, (16, 1000)))

    def total(vectors):
        sums = TreeSum()
        for vector in vectors:
            sums.add(vector.clone())
        return sums.total

    whole = total(vectors)
    for processes in (2, 4, 8, 16):
        share = 16 // processes
        parts = [total(vectors[first : first + share]) for first in range(0, 16, share)]
        assert torch.equal(total(parts), whole)
    assert not torch.equal(sum(vectors[1:], vectors[0].clone()), whole)


def test_a_thousand_terms_are_summed_with_eleven_in_memory():
    sums, most = TreeSum(), 0
    for number in range(1024):
        sums.add(torch.tensor(float(number)))
        most = max(most, len(sums._sums))
    assert sums.total == 1023 * 512
    assert most <= 10
    sums.add(torch.tensor(0.0))
    with pytest.raises(ValueError, match="power of two, got 1025"):
        _ = sums.total


def train(model, compute, batch, *, iterations=3, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    step = supervised_step(model, optimizer, nn.functional.mse_loss, compute=compute, **options)
    return Engine(step).run([batch] * iterations).output


def test_the_mean_over_replicas_is_the_update_of_the_whole_batch():
    x, y = torch.randn(8, 4), torch.randn(8, 2)
    whole = nn.Linear(4, 2)
    cut = copy.deepcopy(whole)
    outputs = [
        train(whole, Compute(), (x, y)),
        train(cut, Compute(replicas=replicas(4)), Replicated([(x[i::4], y[i::4]) for i in range(4)])),
    ]
    torch.testing.assert_close(outputs[0], outputs[1])
    torch.testing.assert_close(whole.weight, cut.weight)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gradients_come_back_in_the_layout_of_their_parameters(memory_format):
    model = nn.Conv2d(3, 4, 3).to(memory_format=memory_format)
    x = torch.randn(2, 3, 5, 5).to(memory_format=memory_format)
    model(x).square().sum().backward()
    before = model.weight.grad.clone()
    layout = FlatVector(list(model.parameters()), [])
    vector = layout.packed([], spare=0, is_first=True)
    assert model.weight.grad is None
    assert layout.unpacked(vector, like=[], count=1) == []
    assert torch.equal(model.weight.grad, before)
    assert model.weight.grad.stride() == model.weight.stride()


def test_a_parameter_without_a_gradient_anywhere_is_left_alone():
    model = nn.ModuleDict({"used": nn.Linear(2, 2), "unused": nn.Linear(2, 2), "once": nn.Linear(2, 2)})
    before = copy.deepcopy(model)
    seen = []

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = model

        def forward(self, x):
            seen.append(1)
            y = self.parts["used"](x)
            return y + self.parts["once"](x) if len(seen) % 2 else y

    batch = Replicated([(torch.randn(4, 2), torch.randn(4, 2)) for _ in range(2)])
    train(Net(), Compute(replicas=replicas(2)), batch)
    assert torch.equal(model["unused"].weight, before["unused"].weight)
    assert not torch.equal(model["once"].weight, before["once"].weight)


def test_buffers_are_the_means_of_those_of_the_replicas_and_counts_those_of_the_first():
    model = nn.Sequential(nn.BatchNorm1d(2, momentum=1.0), nn.Linear(2, 1))
    batches = [(torch.full((4, 2), float(i)) + torch.randn(4, 2), torch.zeros(4, 1)) for i in range(4)]
    train(model, Compute(replicas=replicas(4)), Replicated(batches), iterations=1)
    means = torch.stack([x.mean(0) for x, _ in batches])
    torch.testing.assert_close(model[0].running_mean, means.mean(0))
    assert model[0].num_batches_tracked == 1


def test_a_buffer_that_holds_the_largest_number_stays_as_it_is():
    model = nn.Linear(2, 2)
    largest = torch.full((2,), torch.finfo(torch.float32).max)
    model.register_buffer("mask", largest.clone())
    batch = Replicated([(torch.ones(2, 2), torch.ones(2, 2))] * 4)
    train(model, Compute(replicas=replicas(4)), batch)
    assert torch.equal(model.mask, largest)


def test_outputs_are_numbers():
    parameter = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    compute = Compute(replicas=replicas(2))
    compute.begin(Engine(lambda engine, batch: None))
    with pytest.raises(ValueError, match=r"got y_pred of shape \(2,\)"):
        compute.update(optimizer, lambda part: (parameter.sum(), {"y_pred": parameter}), [1, 2])


def test_sparse_gradients_are_refused():
    table = nn.Embedding(3, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(TypeError, match="gradients must be dense"):
        FlatVector(list(table.parameters()), []).packed([], spare=0, is_first=True)


def test_every_replica_draws_its_own_and_what_comes_after_the_step_is_not_moved():
    drawn = []

    def noisy(x):
        drawn.append(torch.rand(3))
        return x

    torch.manual_seed(1)
    before = torch.get_rng_state()
    batch = Replicated([(torch.ones(2, 2), torch.ones(2, 2)) for _ in range(4)])
    train(nn.Linear(2, 2), Compute(replicas=replicas(4)), batch, iterations=2, transform=noisy)
    assert len({tuple(numbers.tolist()) for numbers in drawn}) == 8
    first = drawn[4:]
    drawn.clear()
    torch.set_rng_state(before)
    alone = replicas(4, local=range(2, 3), between=Recorded([torch.zeros(1)] * 9))
    compute = Compute(replicas=alone)
    step_batch = (torch.ones(2, 2), torch.ones(2, 2))
    train(nn.Linear(2, 2), compute, step_batch, iterations=2, transform=noisy)
    assert torch.equal(drawn[1], first[2])


def test_a_batch_of_several_replicas_is_not_taken_for_one():
    batch = Replicated([(torch.ones(1), torch.ones(1))] * 2)
    for take in (list, len, lambda batch: batch[0]):
        with pytest.raises(BadInput, match=r"compute\.parts\(batch\)"):
            take(batch)


def test_only_the_update_of_the_replicas_lets_an_optimizer_step():
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    cut = replicas(2)
    model(torch.ones(1)).backward()
    with cut.refusing_other_updates():
        with pytest.raises(BadInput, match=r"--replicas 2: SGD steps on the gradients of one replica"):
            optimizer.step()
        train(model, Compute(replicas=cut), Replicated([(torch.ones(1, 1), torch.ones(1, 1))] * 2))
    optimizer.step()


@pytest.mark.parametrize("count", [0, 3, 6])
def test_the_number_of_replicas_is_a_power_of_two(count):
    with pytest.raises(ValueError, match=f"count must be a power of two, got {count}"):
        replicas(count)


def test_parts_are_those_of_the_replicas():
    compute = Compute(replicas=replicas(2))
    engine = Engine(lambda engine, batch: None)
    compute.begin(engine)
    with pytest.raises(ValueError, match="parts must be those of 2 replicas, got 1"):
        compute.each(str, [1])
    with pytest.raises(ValueError, match="parts must be those of one replica, got 2"):
        Compute().update(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1), lambda part: None, [1, 2])


def test_float64_and_float16_gradients_share_a_vector():
    parameters = [nn.Parameter(torch.ones(2, dtype=kind)) for kind in (torch.float64, torch.float16)]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 3)
    layout = FlatVector(parameters, [])
    vector = layout.packed([torch.tensor(5)], spare=0, is_first=True)
    assert vector.dtype == torch.float64
    (number,) = layout.unpacked(vector.div_(2), like=[torch.tensor(0.0)], count=2)
    assert number == 2.5
    assert [parameter.grad.dtype for parameter in parameters] == [torch.float64, torch.float16]
    assert all((parameter.grad == 1.5).all() for parameter in parameters)
