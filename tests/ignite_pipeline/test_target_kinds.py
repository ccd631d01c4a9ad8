"""A run and an evaluation of its model measure the same, whatever the targets are."""

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from ignite_pipeline.data.targets_csv import KINDS
from ignite_pipeline.evaluate.figures import of_classes, of_labels, of_numbers
from ignite_pipeline.steps import evaluation_step
from ignite_pipeline.target_kinds import TARGET_KINDS

# Two of five images are wrong; labels count as right only if all of an image's are. One of two numbers is 0.5
# too small, the other 1.5 too large.
LOGITS = torch.tensor([[2.0, -1.0], [1.0, -3.0], [-2.0, 1.0], [4.0, 3.0], [-1.0, -2.0]])
CLASSES = torch.tensor([0, 0, 1, 1, 1])
LABELS = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
NUMBERS = LOGITS + torch.tensor([0.5, -1.5])
NAMES = ["day", "night"]
CASES = {
    "classes": (LOGITS, CLASSES, 0.6, of_classes(LOGITS.log_softmax(1), CLASSES, NAMES, list("abcde"))),
    "labels": (LOGITS, LABELS, 0.6, of_labels(LOGITS.sigmoid(), LABELS, NAMES)),
    "numbers": (LOGITS, NUMBERS, 1.0, of_numbers(LOGITS, NUMBERS, ["age", "height"])),
}


def test_there_is_something_to_learn_of_every_kind_that_a_table_holds():
    assert tuple(TARGET_KINDS) == KINDS == tuple(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_run_s_metric_is_the_figure_of_the_same_name(name):
    kind, (y_pred, y, value, figures) = TARGET_KINDS[name], CASES[name]
    evaluator = Engine(evaluation_step(nn.Identity()))
    kind.metric().attach(evaluator, kind.metric_name)
    evaluator.run(zip(y_pred.split(2), y.split(2), strict=True))
    assert evaluator.state.metrics[kind.metric_name] == figures.values[kind.metric_name] == value
    assert kind.score(evaluator) == (value if kind.maximize else -value)
    assert kind.loss()(y_pred, y).isfinite()
