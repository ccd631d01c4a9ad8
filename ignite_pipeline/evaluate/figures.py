"""How good predictions are: Ignite's metrics over all of them, calibration, and the worst errors."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from ignite.metrics import (
    Accuracy,
    ConfusionMatrix,
    Loss,
    MeanAbsoluteError,
    Metric,
    Precision,
    Recall,
    RootMeanSquaredError,
)
from torch import Tensor, nn

BINS = 15
WORST = 16


@dataclass(frozen=True)
class Calibration:
    """Of images in bins of equal width by the probability of the class that was given: how sure, how right.

    ``error`` is the expected calibration error: the mean of the differences, each bin counting as many times
    as it has images (Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599, section 2).
    """

    counts: list[int]
    confidence: list[float]
    accuracy: list[float]
    error: float


@dataclass(frozen=True)
class WrongAnswer:
    """An image that was taken for something else, and how sure that was."""

    name: str
    place: int
    truth: str
    answer: str
    probability: float


@dataclass(frozen=True)
class Figures:
    """What was measured on N images, by name; and of one class out of several, what a picture shows.

    The recall of what no image shows is None, and so is the precision of what was never the answer.
    """

    images: int
    values: dict[str, float | None]
    confusion: list[list[int]] | None = None
    calibration: Calibration | None = None
    worst: Sequence[WrongAnswer] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


def measured(metrics: Mapping[str, Metric], y_pred: Tensor, y: Tensor) -> dict[str, Any]:
    """Return what Ignite's metrics say of all predictions at once."""
    values = {}
    for name, metric in metrics.items():
        metric.reset()
        metric.update((y_pred, y))
        values[name] = metric.compute()
    return values


def of_classes(log_probabilities: Tensor, y: Tensor, classes: Sequence[str], names: Sequence[str]) -> Figures:
    """Return the figures of log-probabilities ``(N, K)`` for classes ``(N,)``.

    The loss is the mean negative log-likelihood, which is the cross-entropy of the logits.

    >>> y_pred = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]]).log()
    >>> figures = of_classes(y_pred, torch.tensor([0, 1, 1]), ["day", "night"], ["a", "b", "c"])
    >>> figures.values["accuracy"], figures.confusion, figures.worst[0].name
    (0.6666666666666666, [[1, 0], [1, 1]], 'b')
    """
    found = measured(
        {
            "accuracy": Accuracy(),
            "loss": Loss(nn.functional.nll_loss),
            "precision": Precision(average=False),
            "recall": Recall(average=False),
            "confusion": ConfusionMatrix(len(classes)),
        },
        log_probabilities,
        y,
    )
    values: dict[str, float | None] = {"accuracy": float(found["accuracy"]), "loss": float(found["loss"])}
    confidence, answers = log_probabilities.exp().max(1)
    counts = (torch.bincount(given, minlength=len(classes)) for given in (answers, y))
    values |= _of_each(found, classes, *counts)
    calibration = _calibration(confidence, answers == y)
    values["calibration_error"] = calibration.error
    worst = _worst(confidence, answers, y, classes, names)
    return Figures(len(y), values, found["confusion"].int().tolist(), calibration, worst)


def _calibration(confidence: Tensor, is_right: Tensor) -> Calibration:
    bins = (confidence * BINS).long().clamp(0, BINS - 1)
    counts = torch.bincount(bins, minlength=BINS)
    sums = [
        torch.bincount(bins, weights=values.double(), minlength=BINS) for values in (confidence, is_right)
    ]
    error = (sums[0] - sums[1]).abs().sum() / counts.sum()
    mean_confidence, accuracy = ((total / counts.clamp_min(1)).tolist() for total in sums)
    return Calibration(counts.tolist(), mean_confidence, accuracy, error.item())


def _worst(
    confidence: Tensor, answers: Tensor, y: Tensor, classes: Sequence[str], names: Sequence[str]
) -> list[WrongAnswer]:
    wrong = (answers != y).nonzero().flatten()
    surest = wrong[confidence[wrong].argsort(descending=True, stable=True)][:WORST].tolist()
    return [
        WrongAnswer(
            names[place],
            place,
            classes[int(y[place])],
            classes[int(answers[place])],
            confidence[place].item(),
        )
        for place in surest
    ]


def of_labels(probabilities: Tensor, y: Tensor, labels: Sequence[str]) -> Figures:
    """Return the figures of probabilities ``(N, K)`` for labels ``(N, K)`` of 0 and 1: taken for 1 above 0.5.

    ``all_labels_right`` is the share of images of which every label is right.
    """
    found = measured(
        {
            "all_labels_right": Accuracy(is_multilabel=True),
            "precision": Precision(average=False, is_multilabel=True),
            "recall": Recall(average=False, is_multilabel=True),
        },
        (probabilities > 0.5).int(),
        y.int(),
    )
    values: dict[str, float | None] = {"all_labels_right": float(found["all_labels_right"])}
    values["loss"] = nn.functional.binary_cross_entropy(probabilities, y).item()
    values |= _of_each(found, labels, (probabilities > 0.5).sum(0), y.sum(0))
    return Figures(len(y), values)


def _of_each(
    found: Mapping[str, Tensor], names: Sequence[str], answered: Tensor, shown: Tensor
) -> dict[str, float | None]:
    return {
        f"{quantity}/{name}": value if count else None
        for quantity, counts in (("precision", answered), ("recall", shown))
        for name, value, count in zip(names, found[quantity].tolist(), counts.tolist(), strict=True)
    }


def of_numbers(y_pred: Tensor, y: Tensor) -> Figures:
    """Return the figures of numbers ``(N, K)``."""
    metrics = {"mean_absolute_error": MeanAbsoluteError(), "root_mean_squared_error": RootMeanSquaredError()}
    return Figures(len(y), {name: float(value) for name, value in measured(metrics, y_pred, y).items()})
