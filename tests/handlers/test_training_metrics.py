import math

import pytest
import torch
from ignite.engine import Engine, Events

from handlers import LearningRate, ModelNorms, StepMeans

VALUES = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def trainer(dtype=torch.float32):
    return Engine(
        lambda engine, batch: {"loss": torch.tensor(batch, dtype=dtype), "accuracy": torch.tensor(batch / 10)}
    )


def published(engine, event):
    seen = []
    engine.add_event_handler(event, lambda: seen.append(engine.state.metrics["train/loss"]))
    return seen


def test_windows_and_epochs_have_means_of_their_own():
    engine = trainer()
    StepMeans(every_iters=4).attach(engine)
    windows = published(engine, Events.ITERATION_COMPLETED(every=4))
    epochs = published(engine, Events.EPOCH_COMPLETED)
    engine.run(VALUES, max_epochs=2)
    assert windows == [2.5, (5 + 6 + 1 + 2) / 4, (3 + 4 + 5 + 6) / 4]
    assert epochs == [3.5, 3.5]
    assert engine.state.metrics["train/accuracy"] == pytest.approx(0.35)


def test_a_batch_that_was_skipped_is_in_no_mean():
    nan = math.nan
    engine = trainer()
    StepMeans(every_iters=2).attach(engine)
    windows = published(engine, Events.ITERATION_COMPLETED(every=2))
    epochs = published(engine, Events.EPOCH_COMPLETED)
    engine.run([1.0, nan, math.inf, nan, 3.0, 5.0])
    assert windows == [1.0, pytest.approx(nan, nan_ok=True), 4.0]
    assert epochs == [3.0]


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_resumed_run_publishes_the_same_bits(cut):
    def values():
        generator = torch.Generator().manual_seed(0)
        return torch.rand(6, generator=generator).tolist()

    def seen(engine):
        return published(engine, Events.ITERATION_COMPLETED(every=5)), published(
            engine, Events.EPOCH_COMPLETED
        )

    whole = trainer()
    StepMeans(every_iters=5).attach(whole)
    expected = seen(whole)
    whole.run(values(), max_epochs=2)

    first, second = trainer(), trainer()
    before, after = StepMeans(every_iters=5).attach(first), StepMeans(every_iters=5).attach(second)
    windows, epochs = seen(first)
    more_windows, more_epochs = seen(second)

    @first.on(Events.ITERATION_COMPLETED(once=cut))
    def checkpoint():
        if cut % 6:
            taken.append((before.state_dict(), first.state_dict()))
            first.terminate()

    @first.on(Events.EPOCH_COMPLETED)
    def checkpoint_epoch():
        taken.append((before.state_dict(), first.state_dict()))
        first.terminate()

    taken = []
    first.run(values(), max_epochs=2)
    after.load_state_dict(taken[0][0])
    second.load_state_dict(taken[0][1])
    offset = second.state.iteration % 6
    second.run(values()[offset:] + values(), max_epochs=2)
    assert (windows + more_windows, epochs + more_epochs) == expected


def test_an_early_end_publishes_the_epoch_so_far():
    engine = trainer()
    StepMeans(every_iters=100).attach(engine)
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=3), lambda: engine.terminate())
    engine.run(VALUES)
    assert engine.state.metrics["train/loss"] == 2.0


def test_the_rate_is_the_optimizers():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    engine = Engine(lambda engine, batch: optimizer.param_groups[0].update(lr=0.25))
    LearningRate(optimizer).attach(engine)
    assert engine.run([0]).metrics == {"train/lr": 0.25}


def test_a_bad_argument_is_named():
    with pytest.raises(ValueError, match="every_iters must be at least 1, got 0"):
        StepMeans(every_iters=0)


def test_norms_are_those_of_all_weights_and_gradients_together():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
    engine = Engine(lambda engine, batch: model(torch.ones(2, 3)).sum().backward())
    ModelNorms(model, every_iters=2).attach(engine)
    seen = []
    engine.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: seen.append("train/grad_norm" in engine.state.metrics)
    )
    engine.run([0, 0, 0])
    assert seen == [False, True, True]
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    gradients = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    torch.testing.assert_close(engine.state.metrics["train/weight_norm"], weights.norm())
    torch.testing.assert_close(engine.state.metrics["train/grad_norm"], gradients.norm())


def test_a_model_that_has_no_gradients_yet_has_norm_zero():
    engine = Engine(lambda engine, batch: None)
    ModelNorms(torch.nn.Linear(1, 1)).attach(engine)
    assert engine.run([0]).metrics["train/grad_norm"] == 0
