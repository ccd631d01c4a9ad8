"""Batches of a loader that times each sample, or none, and whether two are the same."""

import itertools

import torch

from ignite_pipeline.data.loading import endless_loader

NEVER = 2**40


def started(dataset, *, every_samples=1, clock=None, **options):
    options = {"batch_size": 4, "seed": 3, **options}
    loader = endless_loader(dataset, **options)
    loader.dataset.costs.every_samples = every_samples
    if clock is not None:
        loader.dataset.costs.clock = clock
    return loader, iter(loader)


def batches(dataset, *, count=12, **options):
    return list(itertools.islice(started(dataset, **options)[1], count))


def same(a, b):
    if isinstance(a, torch.Tensor):
        return type(a) is type(b) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return len(a) == len(b) and all(map(same, a, b)) if isinstance(a, list | tuple) else a == b
