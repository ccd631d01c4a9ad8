"""Learning rates over a run, as functions of the iteration.

A schedule multiplies the rate of every parameter group, and steps once an iteration. Its rates are computed
from the iteration alone, not from the rate before, as torch's ``CosineAnnealingLR`` does: they do not gather
rounding errors, are the same after a resume, and stay at 0 once they are there.
"""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def rise_and_fall(optimizer: Optimizer, iterations: int, *, warmup: float) -> LambdaLR:
    """Return a schedule of straight lines: up to the optimizer's rates, then down to 0 after ``iterations``.

    ``warmup`` is the share of the iterations in which they rise (Page, "How to train your ResNet", 2018).

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    >>> schedule = rise_and_fall(optimizer, 8, warmup=0.25)
    >>> [round(schedule.lr_lambdas[0](iteration), 2) for iteration in range(9)]
    [0.5, 1.0, 1.0, 0.83, 0.67, 0.5, 0.33, 0.17, 0.0]
    """
    if not 0 < warmup < 1:
        raise ValueError(f"warmup must be above 0 and below 1, got {warmup}")
    rise = warmup * _at_least_one(iterations)

    def factor(iteration: int) -> float:
        return max(0.0, min((iteration + 1) / rise, (iterations - iteration) / (iterations - rise)))

    return LambdaLR(optimizer, factor)


def warmup_and_cosine(optimizer: Optimizer, iterations: int, *, warmup_iterations: int) -> LambdaLR:
    """Return a schedule that rises in a straight line, then falls along half a cosine to 0.

    The optimizer's rates are those of the first iteration after the ``warmup_iterations`` (Goyal et al.,
    arXiv 1706.02677, section 2.2; Loshchilov and Hutter, arXiv 1608.03983, without restarts).

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    >>> schedule = warmup_and_cosine(optimizer, 7, warmup_iterations=3)
    >>> [round(schedule.lr_lambdas[0](iteration), 2) for iteration in range(8)]
    [0.25, 0.5, 0.75, 1.0, 0.85, 0.5, 0.15, 0.0]
    """
    if not 0 <= warmup_iterations < _at_least_one(iterations):
        raise ValueError(
            f"warmup_iterations must be at least 0 and less than the {iterations} iterations, got"
            f" {warmup_iterations}"
        )

    def factor(iteration: int) -> float:
        if iteration < warmup_iterations:
            return (iteration + 1) / (warmup_iterations + 1)
        fallen = min(1.0, (iteration - warmup_iterations) / (iterations - warmup_iterations))
        return (1 + math.cos(math.pi * fallen)) / 2

    return LambdaLR(optimizer, factor)


def _at_least_one(iterations: int) -> int:
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    return iterations
