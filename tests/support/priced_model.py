"""A model and an optimizer whose parts take known times."""

import torch
from torch import nn


class Slow(torch.autograd.Function):
    """The identity, and what it takes each way."""

    @staticmethod
    def forward(ctx, x, clock, forward_s, backward_s):
        ctx.clock, ctx.backward_s = clock, backward_s
        clock.spend(forward_s)
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        ctx.clock.spend(ctx.backward_s)
        return grad, None, None, None


class Model(nn.Module):
    def __init__(self, clock, forward_s, backward_s):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.prices = (clock, forward_s, backward_s)

    def forward(self, x):
        return Slow.apply(self.weight * x, *self.prices) ** 2


class PricedSGD(torch.optim.SGD):
    price = (None, 0.0)

    def step(self, closure=None):
        clock, seconds = self.price
        clock.spend(seconds)
        return super().step(closure)
