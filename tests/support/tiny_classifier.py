"""A classifier of two layers, batches that it can be trained on, and its weights as one vector."""

import torch
from torch import nn

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
