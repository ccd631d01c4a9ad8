"""Classes of different sizes: drawn as often as each other, or weighted in the loss."""

import torch
from torch import Tensor

from ignite_pipeline.errors import BadInput


def sample_weights(targets: Tensor) -> Tensor:
    """Return a weight for each of targets ``(N,)``, float64 ``(N,)``: every class is drawn equally often.

    They are for ``endless_loader(..., weights=...)``, which draws with replacement.

    >>> sample_weights(torch.tensor([0, 0, 0, 1])).tolist()
    [0.3333333333333333, 0.3333333333333333, 0.3333333333333333, 1.0]
    """
    return (1 / torch.bincount(targets).double())[targets]


def class_weights(targets: Tensor, num_classes: int) -> Tensor:
    """Return a weight for each class, float32 ``(K,)``: N / (K * count), as scikit-learn's "balanced".

    They are for ``CrossEntropyLoss(weight=...)``. Raises `BadInput` for a class without a target.

    >>> class_weights(torch.tensor([0, 0, 0, 1]), 2)
    tensor([0.6667, 2.0000])
    """
    counts = torch.bincount(targets, minlength=num_classes)
    if not counts.all():
        missing = int(counts.argmin())
        raise BadInput(f"class {missing} has no sample to train on, and so no weight in a balanced loss")
    return len(targets) / (num_classes * counts.float())
