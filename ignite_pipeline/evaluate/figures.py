"""How good predictions are: Ignite's metrics over all of them, calibration, and the most confident errors."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from ignite.metrics import ConfusionMatrix, Loss, Metric, Precision, Recall, RootMeanSquaredError
from torch import Tensor, nn

from handlers.surest_errors import SurestErrors
from ignite_pipeline.target_kinds import TARGET_KINDS

BINS = 15


@dataclass(frozen=True)
class Calibration:
    """Images in bins of equal width by the probability of the predicted class: its mean, and the accuracy.

    ``error`` is the expected calibration error: the mean of the differences, each bin counting as many times
    as it has images (Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599, section 2).
    """

    counts: list[int]
    confidence: list[float]
    accuracy: list[float]
    error: float


@dataclass(frozen=True)
class Misclassified:
    """A misclassified image, and the probability of the class that was predicted."""

    name: str
    index: int
    true: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class Figures:
    """What was measured on N images, by name; and of one class out of several, what a picture shows.

    The recall of what no image shows is None, and so is the precision of what was never predicted.
    """

    images: int
    values: dict[str, float | None]
    confusion: list[list[int]] | None = None
    calibration: Calibration | None = None
    most_confident_errors: Sequence[Misclassified] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


def measured(kind: str, others: Mapping[str, Metric], y_pred: Tensor, y: Tensor) -> dict[str, Any]:
    """Return what a kind's own metric, by which a run knows its best model, and others say of all at once."""
    own, values = TARGET_KINDS[kind], {}
    for name, metric in {own.metric_name: own.metric(), **others}.items():
        metric.reset()
        metric.update((y_pred, y))
        values[name] = metric.compute()
    return values


def of_classes(log_probabilities: Tensor, y: Tensor, classes: Sequence[str], names: Sequence[str]) -> Figures:
    """Return the figures of log-probabilities ``(N, K)`` for classes ``(N,)``.

    The loss is the mean negative log-likelihood, which is the cross-entropy of the logits.

    >>> y_pred = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]]).log()
    >>> figures = of_classes(y_pred, torch.tensor([0, 1, 1]), ["day", "night"], ["a", "b", "c"])
    >>> figures.values["accuracy"], figures.confusion, figures.most_confident_errors[0].name
    (0.6666666666666666, [[1, 0], [1, 1]], 'b')
    """
    found = measured(
        "classes",
        {
            "loss": Loss(nn.functional.nll_loss),
            "precision": Precision(average=False),
            "recall": Recall(average=False),
            "confusion": ConfusionMatrix(len(classes)),
        },
        log_probabilities,
        y,
    )
    values: dict[str, float | None] = {"accuracy": float(found["accuracy"]), "loss": float(found["loss"])}
    confidence, predicted = log_probabilities.exp().max(1)
    counts = (torch.bincount(given, minlength=len(classes)) for given in (predicted, y))
    values |= _of_each(found, classes, *counts)
    calibration = _calibration(confidence, predicted == y)
    values["calibration_error"] = calibration.error
    errors = SurestErrors(classes)
    errors.update(confidence, predicted, y)
    most_confident = [Misclassified(names[error["index"]], **error) for error in errors.found()]
    return Figures(len(y), values, found["confusion"].int().tolist(), calibration, most_confident)


def _calibration(confidence: Tensor, is_right: Tensor) -> Calibration:
    bins = (confidence * BINS).long().clamp(0, BINS - 1)
    counts = torch.bincount(bins, minlength=BINS)
    sums = [
        torch.bincount(bins, weights=values.double(), minlength=BINS) for values in (confidence, is_right)
    ]
    error = (sums[0] - sums[1]).abs().sum() / counts.sum()
    mean_confidence, accuracy = ((total / counts.clamp_min(1)).tolist() for total in sums)
    return Calibration(counts.tolist(), mean_confidence, accuracy, error.item())


def of_labels(probabilities: Tensor, y: Tensor, labels: Sequence[str]) -> Figures:
    """Return the figures of probabilities ``(N, K)`` for labels ``(N, K)`` of 0 and 1; above 0.5 is 1.

    ``subset_accuracy`` is the share of images of which every label is right.
    """
    found = measured(
        "labels",
        {
            "precision": Precision(average=False, is_multilabel=True),
            "recall": Recall(average=False, is_multilabel=True),
        },
        (probabilities > 0.5).int(),
        y.int(),
    )
    values: dict[str, float | None] = {"subset_accuracy": float(found["subset_accuracy"])}
    values["loss"] = nn.functional.binary_cross_entropy(probabilities, y).item()
    values |= _of_each(found, labels, (probabilities > 0.5).sum(0), y.sum(0))
    return Figures(len(y), values)


def _of_each(
    found: Mapping[str, Tensor], names: Sequence[str], predicted: Tensor, shown: Tensor
) -> dict[str, float | None]:
    return {
        f"{quantity}/{name}": value if count else None
        for quantity, counts in (("precision", predicted), ("recall", shown))
        for name, value, count in zip(names, found[quantity].tolist(), counts.tolist(), strict=True)
    }


def of_numbers(y_pred: Tensor, y: Tensor, names: Sequence[str]) -> Figures:
    """Return the figures of numbers ``(N, K)``: over all of them and, of several, for each name.

    >>> figures = of_numbers(torch.tensor([[1.0, 5.0]]), torch.tensor([[1.0, 2.0]]), ["age", "height"])
    >>> [figures.values[f"mean_absolute_error{of}"] for of in ("", "/age", "/height")]
    [1.5, 0.0, 3.0]
    """
    # Flat, for Ignite's sum of squares would be divided by N, not by N times K.
    parts = {"": (y_pred.flatten(), y.flatten())}
    if len(names) > 1:
        parts |= {f"/{name}": (y_pred[:, column], y[:, column]) for column, name in enumerate(names)}
    values: dict[str, float | None] = {
        f"{quantity}{part}": float(value)
        for part, numbers in parts.items()
        for quantity, value in measured(
            "numbers", {"root_mean_squared_error": RootMeanSquaredError()}, *numbers
        ).items()
    }
    return Figures(len(y), values)
