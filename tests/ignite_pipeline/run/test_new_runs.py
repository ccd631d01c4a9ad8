"""A loss that is not finite is said, and the next run knows nothing of it."""

import copy
import logging

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.handlers import FastaiLRFinder
from torch import nn

from handlers import StepMeans, StopOnNonFinite
from ignite_pipeline.compute import Compute
from ignite_pipeline.seeding import ReseedEachIteration
from ignite_pipeline.steps import supervised_step

LENGTH = 20
generator = torch.Generator().manual_seed(0)
CLEAN = [
    (torch.randn(4, 3, generator=generator), torch.randint(2, (4,), generator=generator))
    for _ in range(LENGTH)
]
SPOILT = [(CLEAN[0][0] * torch.nan, CLEAN[0][1]), *CLEAN[1:]]


def parts(**options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    step = supervised_step(model, optimizer, nn.functional.cross_entropy, compute=Compute(**options))
    trainer = Engine(step)
    ReseedEachIteration(0).attach(trainer)
    return model, optimizer, trainer


def warnings_in(caplog):
    return [record.message for record in caplog.records if "not finite" in record.message]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "the weights stay what they were before it, until a new run begins"),
        ({"skip_non_finite": True}, "its step was left out"),
        ({"precision": "fp16"}, "its step was left out"),
    ],
    ids=["stop", "skip", "fp16"],
)
@pytest.mark.parametrize("length", [7, LENGTH, 1000])
def test_it_is_said_once_and_within_50_iterations(caplog, options, said, length):
    _, _, trainer = parts(**options)
    said_at = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: said_at.append(len(warnings_in(caplog))))
    data = (SPOILT[0] if iteration == 7 else CLEAN[0] for iteration in range(1, 1001))
    trainer.run(data, max_epochs=1000 // length, epoch_length=length)
    assert warnings_in(caplog)[0].endswith(said)
    assert len(warnings_in(caplog)) == 1
    assert said_at.index(1) + 1 <= 7 + 50


def test_it_is_said_again_of_every_window_with_a_step_that_was_left_out(caplog):
    _, _, trainer = parts(skip_non_finite=True)
    data = [(SPOILT if iteration in (7, 8, 120) else CLEAN)[0] for iteration in range(1, 201)]
    trainer.run(data)
    assert [message.split(":")[0] for message in warnings_in(caplog)] == [
        "a loss was not finite by iteration 51",
        "a loss was not finite by iteration 151",
    ]


def test_it_is_said_at_the_end_of_a_short_run(caplog):
    _, _, trainer = parts()
    trainer.run(SPOILT)
    assert len(warnings_in(caplog)) == 1


def test_a_guard_says_it_instead(caplog):
    _, _, trainer = parts()
    StopOnNonFinite().attach(trainer)
    caplog.set_level(logging.WARNING, "ignite_pipeline")
    with pytest.raises(FloatingPointError):
        trainer.run(SPOILT * 10)
    assert not [record for record in caplog.records if record.name.startswith("ignite_pipeline")]


@pytest.mark.parametrize("guarded", [False, True])
def test_a_new_run_starts_free_of_it(guarded):
    model, _, trainer = parts()
    if guarded:
        StopOnNonFinite().attach(trainer)
    means = StepMeans().attach(trainer)
    before = copy.deepcopy(model.state_dict())
    trainer.logger.disabled = True
    try:
        trainer.run(SPOILT)
    except FloatingPointError:
        trainer.state.max_epochs = None  # as Ignite asks for, to begin anew
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    undisturbed, _, other = parts()
    StepMeans().attach(other)
    other.run(CLEAN)
    trainer.run(CLEAN)
    torch.testing.assert_close(model.state_dict(), undisturbed.state_dict(), rtol=0, atol=0)
    assert trainer.state.metrics == other.state.metrics
    assert means.state_dict()["window"]


def find(model, optimizer, trainer):
    """Search for a learning rate until the loss is beyond all numbers."""
    finder = FastaiLRFinder()
    with finder.attach(
        trainer,
        {"model": model, "optimizer": optimizer},
        output_transform=lambda output: output["loss"],
        num_iter=2 * LENGTH,
        end_lr=1e20,
        diverge_th=1e30,
    ) as searching:
        searching.run(CLEAN)
    assert max(finder.get_results()["lr"]) > 1e10


@pytest.mark.filterwarnings("ignore:Run completed without loss diverging:UserWarning")
@pytest.mark.parametrize("when", [["before"], ["between"], ["before", "between", "after"]], ids=str)
def test_a_search_for_a_learning_rate_leaves_no_trace(when):
    results = []
    for searches in ([], when):
        model, optimizer, trainer = parts()
        StepMeans(every_iters=15).attach(trainer)
        metrics = []
        if "before" in searches:
            find(model, optimizer, trainer)
        trainer.run(CLEAN, max_epochs=2)
        metrics.append(dict(trainer.state.metrics))
        if "between" in searches:
            find(model, optimizer, trainer)
        trainer.run(CLEAN, max_epochs=4)
        metrics.append(dict(trainer.state.metrics))
        if "after" in searches:
            find(model, optimizer, trainer)
        results.append((copy.deepcopy(model.state_dict()), metrics))
    torch.testing.assert_close(results[1][0], results[0][0], rtol=0, atol=0)
    assert results[1][1] == results[0][1]
