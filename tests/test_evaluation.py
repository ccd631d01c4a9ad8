import pytest
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
