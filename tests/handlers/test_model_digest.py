import copy

import torch
from torch import nn

from handlers import model_sha256


def test_the_digest_of_a_model_sees_names_types_shapes_and_buffers():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    digests = {model_sha256(model)}
    model[1].running_mean += 1
    digests.add(model_sha256(model))
    digests.add(model_sha256(nn.Sequential(model)))
    digests.add(model_sha256(model.double()))
    assert len(digests) == 4
    convolution = nn.Conv2d(3, 4, 3)
    other_layout = copy.deepcopy(convolution).to(memory_format=torch.channels_last)
    assert convolution.weight.stride() != other_layout.weight.stride()
    assert model_sha256(convolution) == model_sha256(other_layout)
