import pytest
import torch
from torch import nn

from ignite_pipeline.models.classifiers import CLASSIFIERS, residual_net


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("num_classes", [2, 5])
def test_images_become_logits_and_every_parameter_learns(name, num_classes):
    model = CLASSIFIERS[name](num_classes)
    logits = model(torch.randn(4, 3, 32, 32))
    assert logits.shape == (4, num_classes)
    nn.functional.cross_entropy(logits, torch.zeros(4, dtype=torch.long)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize(("name", "parameters"), [("fully-connected", 1_574_402), ("conv", 18_090)])
def test_the_books_nets_have_the_books_size(name, parameters):
    assert sum(p.numel() for p in CLASSIFIERS[name](2).parameters()) == parameters


def test_width_scales_the_residual_net():
    assert residual_net(width=4)[-1].in_features * 2 == residual_net(width=8)[-1].in_features
