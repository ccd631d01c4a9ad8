import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Average

from handlers import EvaluateEachEpoch


@pytest.fixture
def evaluator():
    engine = Engine(lambda engine, batch: batch)
    Average().attach(engine, "mean")
    return engine


def test_it_runs_after_every_epoch_and_publishes_under_its_prefix(evaluator):
    trainer = Engine(lambda engine, batch: None)
    EvaluateEachEpoch(evaluator, [1.0, 2.0], prefix="test/").attach(trainer)
    seen = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: seen.append(dict(trainer.state.metrics)))
    trainer.run([0] * 3, max_epochs=2)
    assert seen == [{"test/mean": 1.5}] * 2


@pytest.mark.parametrize("event", [Events.ITERATION_COMPLETED(once=2), Events.EPOCH_COMPLETED(once=1)])
def test_the_last_weights_are_evaluated_once_at_an_early_end(evaluator, event):
    trainer = Engine(lambda engine, batch: None)
    EvaluateEachEpoch(evaluator, [1.0]).attach(trainer)
    runs = []
    evaluator.add_event_handler(Events.COMPLETED, lambda: runs.append(trainer.state.iteration))
    trainer.add_event_handler(event, lambda: trainer.terminate())
    trainer.run([0] * 3, max_epochs=2)
    assert len(runs) == 1


def test_evaluation_does_not_disturb_the_trainers_place(evaluator):
    trainer = Engine(lambda engine, batch: seen.append(batch))
    seen = []
    EvaluateEachEpoch(evaluator, [1.0]).attach(trainer)
    trainer.run(iter(range(6)), max_epochs=2, epoch_length=3)
    assert seen == list(range(6))


def test_a_second_run_is_evaluated_too(evaluator):
    trainer = Engine(lambda engine, batch: None)
    EvaluateEachEpoch(evaluator, [1.0]).attach(trainer)
    runs = []
    evaluator.add_event_handler(Events.COMPLETED, lambda: runs.append(1))
    for _ in range(2):
        trainer.run([0] * 3)
    assert len(runs) == 2


CLASSES = ("airplane", "bird", "cat")


@pytest.mark.parametrize(
    "vector", [torch.tensor([0.5, 1.0, 0.0]), np.array([0.5, 1.0, 0.0]), [0.5, 1.0, 0.0]], ids=type
)
@pytest.mark.parametrize(
    ("classes", "names"), [(CLASSES, CLASSES), ((), "012"), (("a", "b"), "012")], ids=str
)
def test_a_metric_for_each_class_is_published_by_name(vector, classes, names):
    trainer, evaluator = Engine(lambda engine, batch: None), Engine(lambda engine, batch: batch)
    evaluator.add_event_handler(Events.COMPLETED, lambda: evaluator.state.metrics.update(recall=vector))
    EvaluateEachEpoch(evaluator, [1.0], classes=classes).attach(trainer)
    metrics = trainer.run([0]).metrics
    assert metrics == dict(zip([f"val/recall/{name}" for name in names], [0.5, 1.0, 0.0], strict=True))


def test_a_matrix_and_other_things_are_published_as_they_are():
    trainer, evaluator = Engine(lambda engine, batch: None), Engine(lambda engine, batch: batch)
    matrix = torch.eye(2)
    evaluator.add_event_handler(Events.COMPLETED, lambda: evaluator.state.metrics.update(m=matrix, s="words"))
    EvaluateEachEpoch(evaluator, [1.0], classes=("a", "b")).attach(trainer)
    assert trainer.run([0]).metrics == {"val/m": matrix, "val/s": "words"}


def test_classes_of_one_name_are_refused(evaluator):
    with pytest.raises(ValueError, match="classes must differ, got a, b, a"):
        EvaluateEachEpoch(evaluator, [1.0], classes=("a", "b", "a"))
