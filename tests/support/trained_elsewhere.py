"""Models that others have trained, and whether a model of ours has their weights."""

import torch
import torchvision

from ignite_pipeline.models.pretrained import head_of


def trained_elsewhere(name="squeezenet1_1", **options):
    """A model of a thousand classes, all of whose entries are other than those of a new one."""
    model = torchvision.models.get_model(name, num_classes=1000, **options)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.add_(1)
    return model


def assert_loaded(model, state, name):
    """All but the head is that of the weights."""
    own = model.state_dict()
    body = [entry for entry in own if entry not in head_of(name)]
    assert body
    assert all(torch.equal(own[entry], state[entry]) for entry in body)
