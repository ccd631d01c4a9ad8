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
    >>> [(error["place"], error["truth"], error["answer"]) for error in errors.found()]
    [(1, 'day', 'night'), (2, 'night', 'day')]
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._rows: Tensor | None = None  # of probability, place, truth, answer
        self._seen = 0

    def update(self, confidence: Tensor, answers: Tensor, y: Tensor) -> None:
        """Take in a batch: probabilities of the answers, answers and true classes, ``(B,)`` each."""
        places = torch.arange(self._seen, self._seen + len(y), device=y.device)
        # What is right ranks last: its row is dropped when the rows are read.
        wrongness = torch.where(answers != y, confidence, -1.0)
        rows = torch.stack([wrongness.double(), places.double(), y.double(), answers.double()], 1)
        rows = rows if self._rows is None else torch.cat([self._rows, rows])
        self._rows = rows[rows[:, 0].argsort(descending=True, stable=True)[:MOST]]
        self._seen += len(y)

    def found(self) -> list[dict[str, Any]]:
        """Return ``place`` among the images, ``truth``, ``answer`` and ``probability`` of each error."""
        return [
            {
                "place": int(place),
                "truth": self.classes[int(truth)],
                "answer": self.classes[int(answer)],
                "probability": probability,
            }
            for probability, place, truth, answer in ([] if self._rows is None else self._rows.tolist())
            if probability >= 0
        ]
