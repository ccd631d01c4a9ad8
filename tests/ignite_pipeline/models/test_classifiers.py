import pytest
import torch
from torch import nn

from ignite_pipeline.models.classifiers import CLASSIFIERS, Whitening, fit_whitening, residual_net


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("num_classes", [2, 5])
def test_images_become_logits_and_every_parameter_learns(name, num_classes):
    model = CLASSIFIERS[name](num_classes)
    logits = model(torch.randn(4, 3, 32, 32))
    assert logits.shape == (4, num_classes)
    nn.functional.cross_entropy(logits, torch.zeros(4, dtype=torch.long)).backward()
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learning)


@pytest.mark.parametrize(("name", "parameters"), [("fully-connected", 1_574_402), ("conv", 18_090)])
def test_the_books_nets_have_the_books_size(name, parameters):
    assert sum(p.numel() for p in CLASSIFIERS[name](2).parameters()) == parameters


def test_width_scales_the_residual_net():
    assert residual_net(width=4)[-1].in_features * 2 == residual_net(width=8)[-1].in_features


def test_whitened_patches_have_unit_variance_and_are_not_correlated():
    torch.manual_seed(0)
    images = nn.functional.avg_pool2d(torch.randn(50, 3, 34, 34), 3, 1)  # neighbours are alike
    layer = Whitening(components=4)
    fit_whitening(nn.Sequential(layer), images)
    features = layer(images).transpose(0, 1).flatten(1)
    assert torch.allclose(features[:4] @ features[:4].T / features.shape[1], torch.eye(4), atol=0.01)
    assert torch.equal(features[:4], -features[4:])


def test_the_strongest_components_are_taken_and_training_leaves_them_alone():
    images = torch.randn(20, 1, 8, 8) + 10 * torch.randn(20, 1, 1, 1)
    layer = Whitening(channels=1, components=1)
    layer.fit(images)
    assert layer.weight[0].flatten().var() < 1e-4 * layer.weight[0].mean() ** 2  # the mean of a patch
    layer(images).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is not None
