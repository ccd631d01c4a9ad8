"""The errors that a classifier was most confident of."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

MOST = 16


class SurestErrors:
    """Remember the `MOST` most confident errors of a classifier, the surest first.

    Equally sure ones come in the order of the images. Nothing waits for the device before `found`.

    >>> errors = SurestErrors(["day", "night"])
    >>> errors.update(torch.tensor([0.9, 0.8]), torch.tensor([0, 1]), torch.tensor([0, 0]))
    >>> errors.update(torch.tensor([0.7]), torch.tensor([0]), torch.tensor([1]))
    >>> [(error["index"], error["truth"], error["predicted"]) for error in errors.found()]
    [(1, 'day', 'night'), (2, 'night', 'day')]
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._rows: Tensor | None = None  # of probability, index, truth, predicted
        self._seen = 0

    def update(self, confidence: Tensor, predicted: Tensor, y: Tensor) -> None:
        """Take in a batch: probabilities of the predicted classes, these and the true ones, ``(B,)`` each."""
        indices = torch.arange(self._seen, self._seen + len(y), device=y.device)
        # What is right ranks last: its row is dropped when the rows are read.
        wrongness = torch.where(predicted != y, confidence, -1.0)
        rows = torch.stack([wrongness.double(), indices.double(), y.double(), predicted.double()], 1)
        rows = rows if self._rows is None else torch.cat([self._rows, rows])
        self._rows = rows[rows[:, 0].argsort(descending=True, stable=True)[:MOST]]
        self._seen += len(y)

    def found(self) -> list[dict[str, Any]]:
        """Return ``index`` of the image, ``truth``, ``predicted`` and ``probability`` of each error."""
        return [
            {
                "index": int(index),
                "truth": self.classes[int(truth)],
                "predicted": self.classes[int(predicted)],
                "probability": probability,
            }
            for probability, index, truth, predicted in ([] if self._rows is None else self._rows.tolist())
            if probability >= 0
        ]
