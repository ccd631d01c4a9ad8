"""Muon: orthogonal steps for convolutions, SGD's for all else."""

import copy
import math

import pytest
import torch
from torch import nn

from ignite_pipeline.models.classifiers import residual_net
from ignite_pipeline.muon import Muon, muon_groups, orthogonal


def gradients(parameters, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def steps(optimizer, seeds):
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for seed in seeds:
        gradients(parameters, seed)
        optimizer.step()
    return [parameter.detach().clone() for parameter in parameters]


def weights(*shapes):
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in shapes]


def convolution(weight, **options):
    return Muon([{"params": [weight], "orthogonal": True, **options}], lr=0.1)


def test_a_weight_of_zeros_learns_as_any_other():
    weight = nn.Parameter(torch.zeros(4, 3, 3, 3))
    optimizer = convolution(weight)
    first, second = (step[0] for step in (steps(optimizer, [0]), steps(optimizer, [1])))
    torch.testing.assert_close(
        torch.linalg.svdvals(first.flatten(1)), torch.full((4,), 0.1), rtol=0.4, atol=0
    )
    assert second.isfinite().all()


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (6, 6)])
def test_singular_values_come_close_to_one(shape):
    (matrix,) = weights(shape)
    values = torch.linalg.svdvals(orthogonal(matrix.detach(), rounds=6))
    assert values.min() > 0.6
    assert values.max() < 1.3


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon to compare with")
@pytest.mark.parametrize("shape", [(8, 20), (20, 8)])
def test_a_matrix_is_made_what_torch_makes_of_it(shape):
    (ours,) = weights(shape)
    theirs = nn.Parameter(torch.zeros(shape))
    optimizer = torch.optim.Muon([theirs], lr=1.0, weight_decay=0.0)
    gradients([ours, theirs], seed=3)
    optimizer.step()
    made = -orthogonal(theirs.grad, rounds=5) * math.sqrt(max(1, shape[0] / shape[1]))
    torch.testing.assert_close(made, theirs.detach(), atol=0.03, rtol=0)  # theirs is in bfloat16


def test_a_convolution_keeps_its_norm_but_for_the_step():
    (weight,) = weights((8, 4, 3, 3))
    steps(convolution(weight), [1])
    gradients([weight], seed=2)
    convolution(weight, lr=0.0).step()
    assert weight.norm().item() == pytest.approx(math.sqrt(8))


def test_all_other_groups_are_those_of_sgd():
    ours, theirs = weights((5,), (3, 2)), weights((5,), (3, 2))
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    found = steps(Muon(ours, **options), range(4))
    expected = steps(torch.optim.SGD(theirs, nesterov=True, **options), range(4))
    torch.testing.assert_close(found, expected)


def test_a_loss_that_is_not_finite_changes_nothing():
    parameters = weights((4, 2, 3, 3), (4,))
    optimizer = Muon([{"params": parameters[:1], "orthogonal": True}, {"params": parameters[1:]}], lr=0.1)
    before, state = steps(optimizer, [1]), copy.deepcopy(optimizer.state_dict()["state"])
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, torch.nan)
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    assert all(map(torch.equal, before, parameters))
    torch.testing.assert_close(optimizer.state_dict()["state"], state, rtol=0, atol=0)


def test_a_closure_is_called_before_the_step_as_other_frameworks_do():
    (weight,) = weights((2, 3))
    before, optimizer = weight.detach().clone(), convolution(weight)

    def closure():
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == pytest.approx(before.square().sum().item())
    assert not torch.equal(weight, before)


def test_it_goes_on_from_a_checkpoint_with_the_same_bits():
    (whole,), (part,) = weights((4, 2, 3, 3)), weights((4, 2, 3, 3))
    expected = steps(convolution(whole), range(4))
    first = convolution(part)
    steps(first, range(2))
    resumed = convolution(part)
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    assert all(map(torch.equal, steps(resumed, range(2, 4)), expected))


def test_a_model_s_convolutions_are_orthogonal_and_what_is_frozen_is_left_out():
    model = residual_net()
    others, convolutions = muon_groups(model, lr=0.1, weight_decay=0.3)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    assert [weight.ndim for weight in convolutions["params"]] == [4] * 6
    assert {id(w) for group in (convolutions, others) for w in group["params"]} == {id(w) for w in trained}


def test_a_bad_argument_is_named():
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        Muon(weights((2, 2)), lr=0.1, rounds=0)
