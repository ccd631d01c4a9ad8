"""The loss of targets of each kind, and the metric that tells which model is the best at them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import itemgetter

from ignite.engine import Engine
from ignite.metrics import Accuracy, Loss, Metric
from torch import nn


@dataclass(frozen=True)
class TargetKind:
    """What is learnt of an image, and how its metric is called wherever it is measured.

    ``loss`` makes a module of predictions, logits where there are classes or labels, and targets. ``metric``
    makes a metric of the output of `evaluation_step`, for ``attach``. Its ``update`` takes predictions
    and targets; those of labels are 0 or 1.
    """

    loss: Callable[..., nn.Module]
    metric_name: str
    metric: Callable[..., Metric]
    maximize: bool = True

    def score(self, evaluator: Engine) -> float:
        """Return what is higher for a better model: the metric, or what it falls short of 0."""
        value: float = evaluator.state.metrics[self.metric_name]
        return value if self.maximize else -value


_SUBSET_ACCURACY = partial(
    Accuracy, lambda output: ((output["y_pred"] > 0).int(), output["y"].int()), is_multilabel=True
)
# Of all K numbers of all N images: Ignite's MeanAbsoluteError would divide their sum by N alone.
_MEAN_ABSOLUTE_ERROR = partial(Loss, nn.functional.l1_loss, itemgetter("y_pred", "y"))
TARGET_KINDS = {
    "classes": TargetKind(nn.CrossEntropyLoss, "accuracy", Accuracy),
    "labels": TargetKind(nn.BCEWithLogitsLoss, "subset_accuracy", _SUBSET_ACCURACY),
    "numbers": TargetKind(nn.MSELoss, "mean_absolute_error", _MEAN_ABSOLUTE_ERROR, maximize=False),
}
