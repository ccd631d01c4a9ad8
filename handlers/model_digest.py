"""A model without its wrappers, and the digest of its weights."""

import hashlib
from typing import Any

import torch
from torch import Tensor, nn


def unwrapped(thing: Any) -> Any:
    """Return the model inside ``torch.compile`` and data parallelism, whose names are the plain ones."""
    while True:
        if isinstance(thing, nn.DataParallel | nn.parallel.DistributedDataParallel):
            thing = thing.module
        elif isinstance(thing, nn.Module) and hasattr(thing, "_orig_mod"):
            thing = thing._orig_mod
        else:
            return thing


def _feed_tensor(hasher: Any, tensor: Tensor) -> None:
    hasher.update(f"{tensor.dtype} {tuple(tensor.shape)};".encode())
    dense = tensor if tensor.layout is torch.strided else tensor.to_dense()
    flat = dense.detach().cpu().contiguous().view(-1)
    hasher.update(flat.view(torch.uint8).numpy().data)


def model_sha256(*models: nn.Module) -> str:
    """Return the SHA-256 over the parameters and buffers of models, each in name order.

    Name, dtype, shape and bytes count: two runs trained the same model if and only if these agree.

    >>> model = nn.Linear(2, 2)
    >>> before = model_sha256(model)
    >>> _ = nn.init.constant_(model.bias, 3.0)
    >>> before == model_sha256(model)
    False
    """
    hasher = hashlib.sha256()
    for model in map(unwrapped, models):
        tensors = [*model.named_parameters(), *model.named_buffers()]
        for name, tensor in sorted(tensors, key=lambda item: item[0]):
            hasher.update(f"{name} ".encode())
            _feed_tensor(hasher, tensor)
    return hasher.hexdigest()
