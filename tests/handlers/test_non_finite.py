"""A loss that is not finite: what is stopped, what is skipped, and what is put down."""

import json

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from handlers import Checkpoints, StopOnNonFinite, load_newest, model_sha256
from ignite_pipeline.compute import Compute
from ignite_pipeline.data.loading import endless_loader
from ignite_pipeline.steps import supervised_step

BAD = 137


class Planted(torch.utils.data.Dataset):
    """Numbers, of which those of one batch are not."""

    def __init__(self, bad=()):
        self.bad = bad

    def __len__(self):
        return 800

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        x = torch.randn(3, generator=generator)
        return x * (torch.nan if index in self.bad else 1), torch.tensor(index % 2)


def train(directory, *, iterations, bad=(), skip=0, every_s=None):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda iteration: 1 / (1 + iteration))
    compute = Compute(skip_non_finite=skip > 0)
    loader = endless_loader(Planted(bad), batch_size=4, seed=0)
    trainer = Engine(
        supervised_step(model, optimizer, nn.functional.cross_entropy, schedule=schedule, compute=compute)
    )
    StopOnNonFinite(
        allowed_in_a_row=skip,
        path=directory / "non_finite.jsonl",
        samples_of=loader.batch_sampler.indices,
        optimizer=optimizer,
    ).attach(trainer)
    objects = {"model": model, "optimizer": optimizer, "compute": compute}
    Checkpoints(directory, objects, every_s=every_s).attach(trainer)
    try:
        trainer.run(loader, max_iters=iterations, epoch_length=len(loader))
    finally:
        lines = directory / "non_finite.jsonl"
        records = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
        result = model_sha256(model), records
        train.last = result
    return result


def samples_of(*iterations):
    sampler = endless_loader(Planted(), batch_size=4, seed=0).batch_sampler
    return [index for iteration in iterations for index in sampler.indices(iteration)]


def test_a_learning_rate_that_is_a_tensor_is_put_down_as_a_number(tmp_path):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=torch.tensor(0.5))
    trainer = Engine(lambda engine, batch: torch.tensor(batch))
    StopOnNonFinite(path=tmp_path / "lines", optimizer=optimizer).attach(trainer)
    with pytest.raises(FloatingPointError):
        trainer.run([torch.nan])
    assert json.loads((tmp_path / "lines").read_text())["lr"] == 0.5


@pytest.mark.parametrize("every_s", [None, 1e-9])
def test_weights_in_memory_and_on_disk_are_those_of_the_iteration_before(tmp_path, every_s):
    (tmp_path / "clean").mkdir()
    before, _ = train(tmp_path / "clean", iterations=BAD - 1)
    (tmp_path / "bad").mkdir()
    with pytest.raises(FloatingPointError, match=f"loss is nan at iteration {BAD}; a lower learning rate"):
        train(tmp_path / "bad", iterations=180, bad=samples_of(BAD), every_s=every_s)
    digest, (record,) = train.last
    assert digest == before
    saved = load_newest(tmp_path / "bad")
    assert saved["engine"]["iteration"] == (0 if every_s is None else BAD - 1)
    if every_s is not None:
        model = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2))
        model.load_state_dict(saved["objects"]["model"])
        assert model_sha256(model) == before
    assert record["iteration"] == BAD
    assert record["epoch"] == 1
    assert record["samples"] == samples_of(BAD)
    assert record["losses"] == {"loss": "nan"}
    assert record["lr"] == pytest.approx(0.1 / BAD)


def test_batches_are_skipped_up_to_so_many_in_a_row(tmp_path):
    _, records = train(tmp_path, iterations=100, bad=samples_of(20, 50, 51), skip=2)
    assert [record["iteration"] for record in records] == [20, 50, 51]
    with pytest.raises(FloatingPointError, match="at iteration 52"):
        train(tmp_path / "..", iterations=100, bad=samples_of(20, 50, 51, 52), skip=2)


def test_lines_are_neither_doubled_nor_lost_by_a_resume(tmp_path):
    losses = [1.0, torch.nan, torch.inf, 1.0, torch.nan, 1.0, 1.0, 1.0]

    def guard_and_trainer():
        trainer = Engine(lambda engine, batch: {"loss": torch.tensor(losses[engine.state.iteration - 1])})
        guard = StopOnNonFinite(every_iters=4, allowed_in_a_row=2, path=tmp_path / "non_finite.jsonl")
        return guard.attach(trainer), trainer

    guard, trainer = guard_and_trainer()
    trainer.run([0] * 8, max_iters=3, epoch_length=8)  # a window is cut here; ...
    state, position = guard.state_dict(), trainer.state_dict()
    guard, trainer = guard_and_trainer()
    trainer.run([0] * 8, max_iters=6, epoch_length=8)  # ... this leg is killed later, and lost
    guard, trainer = guard_and_trainer()
    guard.load_state_dict(state)
    trainer.load_state_dict({**position, "max_iters": 8})
    trainer.run([0] * 8, epoch_length=8)
    lines = [json.loads(line) for line in (tmp_path / "non_finite.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [2, 3, 5]


def test_a_window_that_is_cut_by_a_checkpoint_is_looked_at_after_it():
    trainer = Engine(lambda engine, batch: {"loss": torch.tensor(torch.nan)})
    first = StopOnNonFinite(allowed_in_a_row=9).attach(trainer)
    taken = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda: taken.append(first.state_dict()))
    trainer.run([0, 0])
    second = StopOnNonFinite(allowed_in_a_row=1)
    second.load_state_dict(taken[0])
    with pytest.raises(FloatingPointError, match="loss is nan at iteration 2"):
        second.check(trainer)


def test_a_run_of_them_is_counted_across_windows():
    losses = [1.0, float("inf"), float("nan"), 1.0, float("nan"), float("inf"), float("nan")]
    trainer = Engine(lambda engine, batch: {"loss": torch.tensor(batch)})
    StopOnNonFinite(every_iters=2, allowed_in_a_row=2).attach(trainer)
    with pytest.raises(FloatingPointError, match="loss is nan at iteration 7"):
        trainer.run(losses)


def test_the_guard_looks_at_an_early_end():
    trainer = Engine(lambda engine, batch: {"loss": torch.tensor(torch.inf)})
    StopOnNonFinite().attach(trainer)
    with pytest.raises(FloatingPointError, match="loss is inf at iteration 1"):
        trainer.run([0] * 10, max_iters=3)


@pytest.mark.parametrize(("option", "value"), [("every_iters", 0), ("allowed_in_a_row", -1)])
def test_a_bad_argument_is_named(option, value):
    with pytest.raises(ValueError, match=f"{option} must .* got {value}"):
        StopOnNonFinite(**{option: value})
