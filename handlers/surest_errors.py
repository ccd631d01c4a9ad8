"""The errors that a classifier was most confident of."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

MOST = 16


class SurestErrors:
    """Remember the `MOST` most confident errors of a classifier, the surest first.

    Equally sure ones come in the order of the images. What has no class among ``classes``, such as a target
    of -100, is no error. Nothing waits for the device before `found`.

    >>> errors = SurestErrors(["day", "night"])
    >>> errors.update(torch.tensor([0.9, 0.8]), torch.tensor([0, 1]), torch.tensor([0, 0]))
    >>> errors.update(torch.tensor([0.7]), torch.tensor([0]), torch.tensor([1]))
    >>> [(error["index"], error["true"], error["predicted"]) for error in errors.found()]
    [(1, 'day', 'night'), (2, 'night', 'day')]
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._confidence: Tensor | None = None  # in falling order
        self._errors: Tensor | None = None  # their index, true class and predicted class
        self._seen = 0

    def update(self, confidence: Tensor, predicted: Tensor, y: Tensor) -> None:
        """Take in a batch: probabilities of the predicted classes, these and the true ones, ``(B,)`` each."""
        indices = torch.arange(self._seen, self._seen + len(y), device=y.device)
        self._seen += len(y)
        is_error = (predicted != y) & have_names(predicted, y, len(self.classes))
        # What is no error ranks last: its row is dropped when the rows are read.
        confidence = torch.where(is_error, confidence.nan_to_num(-1.0), -1.0)
        errors = torch.stack([indices, y, predicted], 1)
        if self._confidence is not None and self._errors is not None:
            confidence = torch.cat([self._confidence, confidence])
            errors = torch.cat([self._errors, errors])
        kept = confidence.argsort(descending=True, stable=True)[:MOST]
        self._confidence, self._errors = confidence[kept], errors[kept]

    def found(self) -> list[dict[str, Any]]:
        """Return ``index`` of the image, ``true``, ``predicted`` and ``probability`` of each error."""
        if self._confidence is None or self._errors is None:
            return []
        rows = zip(self._confidence.tolist(), self._errors.tolist(), strict=True)
        return [
            {
                "index": index,
                "true": self.classes[true],
                "predicted": self.classes[predicted],
                "probability": probability,
            }
            for probability, (index, true, predicted) in rows
            if probability >= 0
        ]


def have_names(predicted: Tensor, y: Tensor, count: int) -> Tensor:
    """Return where both the predicted and the true class are among the ``count`` classes, ``(B,)``.

    >>> have_names(torch.tensor([0, 1, 2]), torch.tensor([1, -100, 0]), 2)
    tensor([ True, False, False])
    """
    return (y >= 0) & (y < count) & (predicted < count)
