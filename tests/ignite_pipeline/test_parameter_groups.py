"""Rates and weight decay by layer."""

import pytest
import torch
from torch import nn

from ignite_pipeline.models import pretrained
from ignite_pipeline.models.classifiers import residual_net
from ignite_pipeline.models.pretrained import classifier_names, head_of
from ignite_pipeline.parameter_groups import layer_wise


def by_name(model, groups):
    """The rate and the weight decay of every parameter, each of which is in one group."""
    options = {}
    for group in groups:
        for parameter in group["params"]:
            assert id(parameter) not in options
            options[id(parameter)] = (group["lr"], group["weight_decay"])
    found = {name: options.pop(id(parameter)) for name, parameter in model.named_parameters()}
    assert not options
    return found


def depths(model, head):
    """The depth of every parameter under the head."""
    groups = layer_wise(model, lr=1.0, decay=0.5, weight_decay=0.1, head=head)
    return {name: -int(torch.tensor(lr).log2()) for name, (lr, _) in by_name(model, groups).items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", classifier_names())
def test_rates_fall_from_the_head_to_the_first_layer_of_every_classifier(name):
    model = pretrained._sketch(name, 2)
    found = depths(model, head_of(name))
    in_order = list(found.values())
    assert in_order == sorted(in_order, reverse=True)
    assert sorted(set(in_order)) == list(range(in_order[0] + 1))
    assert 5 <= in_order[0] < 100
    assert {entry for entry, depth in found.items() if depth == 0} == set(head_of(name))


def test_the_layers_of_a_residual_net():
    found = depths(pretrained._sketch("resnet18", 2), head_of("resnet18"))
    assert found["fc.weight"] == 0
    assert found["layer4.1.conv1.weight"] == found["layer4.1.bn2.bias"] == 1
    assert found["layer4.0.downsample.0.weight"] == 2
    assert found["layer1.0.conv1.weight"] == 8
    assert found["conv1.weight"] == found["bn1.weight"] == 9


def test_the_layers_of_a_vision_transformer():
    found = depths(pretrained._sketch("vit_b_16", 2), head_of("vit_b_16"))
    assert found["heads.head.bias"] == 0
    assert found["encoder.ln.weight"] == 1
    assert found["encoder.layers.encoder_layer_11.mlp.0.weight"] == 1
    assert found["encoder.layers.encoder_layer_0.ln_1.weight"] == 12
    assert found["conv_proj.weight"] == found["class_token"] == 13


def test_a_model_of_our_own_that_is_wrapped():
    model = residual_net()
    plain = depths(model, ["6.weight", "6.bias"])
    wrapped = nn.ModuleDict({"all": model})
    found = depths(wrapped, ["all.6.weight", "all.6.bias"])
    assert list(found.values()) == list(plain.values())


def test_norms_and_biases_have_no_weight_decay():
    model = residual_net()
    decays = by_name(model, layer_wise(model, lr=0.1, decay=0.7, weight_decay=0.05))
    for name, parameter in model.named_parameters():
        assert decays[name][1] == (0.05 if parameter.ndim > 1 else 0.0), name


def test_without_decay_there_is_one_rate_and_the_head_comes_first():
    model = residual_net()
    groups = layer_wise(model, lr=0.1, decay=1.0, weight_decay=0.0, head=["6.weight", "6.bias"])
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.1, 0.0)]
    assert groups[0]["params"][0] is model[6].weight


def test_parameters_that_are_shared_or_frozen_are_in_once():
    first, last = nn.Linear(4, 4), nn.Linear(4, 4)
    last.weight = first.weight
    model = nn.Sequential(first.requires_grad_(False), last)
    groups = layer_wise(model, lr=0.1, decay=0.5, weight_decay=0.1, head=["1.bias"])
    assert sum(len(group["params"]) for group in groups) == 3
    torch.optim.AdamW(groups, fused=True)


def test_a_model_without_parts():
    found = depths(nn.Linear(2, 2), ["weight"])
    assert found == {"weight": 0, "bias": 1}


@pytest.mark.parametrize("decay", [0.0, 1.5, -1.0])
def test_a_decay_is_a_share(decay):
    with pytest.raises(ValueError, match="decay must be above 0 and at most 1"):
        layer_wise(nn.Linear(1, 1), lr=0.1, decay=decay, weight_decay=0.0)


def test_a_head_is_of_the_model():
    with pytest.raises(ValueError, match=r"head must name parameters of the model, got 'fc\.weight'"):
        layer_wise(nn.Linear(1, 1), lr=0.1, decay=0.5, weight_decay=0.0, head=["weight", "fc.weight"])
