"""The loss of targets of each kind, and the metric that tells which model is the best at them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ignite.engine import Engine
from ignite.metrics import Accuracy, MeanAbsoluteError, Metric
from torch import nn


@dataclass(frozen=True)
class TargetKind:
    """What is learnt of an image, and how its metric is called wherever it is measured.

    ``loss`` makes a module of predictions, logits where there are classes or labels, and targets. ``metric``
    makes a metric of the output of `evaluation_step`, for ``attach``; ``update`` takes answers, not logits.
    """

    loss: Callable[..., nn.Module]
    metric_name: str
    metric: Callable[[], Metric]
    maximize: bool = True

    def score(self, evaluator: Engine) -> float:
        """Return what is higher for a better model: the metric, or what it falls short of 0."""
        value: float = evaluator.state.metrics[self.metric_name]
        return value if self.maximize else -value


_ALL_LABELS_RIGHT = partial(
    Accuracy, lambda output: ((output["y_pred"] > 0).int(), output["y"].int()), is_multilabel=True
)
TARGET_KINDS = {
    "classes": TargetKind(nn.CrossEntropyLoss, "accuracy", Accuracy),
    "labels": TargetKind(nn.BCEWithLogitsLoss, "all_labels_right", _ALL_LABELS_RIGHT),
    "numbers": TargetKind(nn.MSELoss, "mean_absolute_error", MeanAbsoluteError, maximize=False),
}
