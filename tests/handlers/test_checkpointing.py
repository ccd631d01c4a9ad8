"""Checkpoints: which are saved and kept, in the background too, and what is restored from them."""

import copy
import threading
from functools import partial

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Average
from torch import nn

from handlers import Checkpoints, load_best, load_checkpoint, load_newest, model_sha256
from handlers.checkpoint_files import save_sealed
from tests.support.checkpointed import files, names, train
from tests.support.clocks import Clock


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_the_newest_stay(tmp_path, model):
    train(tmp_path, model, keep=2)
    assert names(tmp_path) == files(15, 20)


@pytest.mark.parametrize(
    ("scores", "maximize", "kept"),
    [
        ((0.1, 0.9, 0.2, 0.3), True, (10, 20)),
        ((0.1, 0.9, 0.2, 0.3), False, (5, 20)),
        ((float("nan"), 0.2, 0.1, 0.1), True, (10, 20)),
        ((0.5, 0.5, 0.5, 0.5), True, (5, 20)),
    ],
)
def test_the_best_stays_and_nan_is_never_best(tmp_path, model, scores, maximize, kept):
    train(tmp_path, model, keep=1, scores=scores, maximize=maximize)
    assert names(tmp_path) == files(*kept)


def test_a_score_that_is_never_published_is_said_once(tmp_path, model, caplog):
    trainer = Engine(lambda engine, batch: None)
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED,
        lambda: trainer.state.metrics.update({"val/accuracy": 0.5, "recall": torch.ones(2), "time/x_s": 1}),
    )
    Checkpoints(tmp_path, {"model": model}, score="recall").attach(trainer)
    trainer.run([0], max_epochs=3)
    (said,) = (record.getMessage() for record in caplog.records)
    there = "val/accuracy, recall/0, recall/1"
    assert said == f"recall is no metric, so no checkpoint is the best; there are {there}"
    assert load_newest(tmp_path)["best"] is None


def test_every_run_can_be_resumed_from_its_start(tmp_path, model):
    trainer = Engine(lambda engine, batch: 1 / 0)
    Checkpoints(tmp_path, {"model": model}).attach(trainer)
    with pytest.raises(ZeroDivisionError):
        trainer.run([0])
    assert load_newest(tmp_path)["engine"]["iteration"] == 0


def test_saves_inside_an_epoch_leave_its_last_iteration_to_the_end_of_the_epoch(tmp_path, model):
    seconds = iter(range(1000))
    saved = []
    trainer = Engine(lambda engine, batch: None)
    checkpoints = Checkpoints(tmp_path, {"model": model}, every_s=3, clock=lambda: next(seconds))
    checkpoints.attach(trainer)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: saved.append(load_newest(tmp_path)["engine"]["iteration"])
    )
    trainer.run([0] * 6, max_epochs=2)
    assert saved == [0, 0, 3, 3, 3, 3, 6, 6, 9, 9, 9, 9]


def test_restoring_puts_everything_back(tmp_path, model):
    checkpoints = train(tmp_path, model, scores=(0.1, 0.9, 0.2, 0.3))
    before = model_sha256(model)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    resumed = Engine(lambda engine, batch: None)
    again = Checkpoints(tmp_path, {"model": model}, score="score").attach(resumed)
    again.restore(resumed, load_newest(tmp_path))
    assert model_sha256(model) == before
    assert again._best == checkpoints._best == (0.9, 10)
    assert (resumed.state.iteration, resumed.state.epoch) == (20, 4)
    assert resumed.state.metrics == {"score": 0.3}


def test_a_checkpoint_of_another_model_is_refused(tmp_path, model):
    train(tmp_path, model)
    engine = Engine(lambda engine, batch: None)
    with pytest.raises(ValueError, match="the checkpoint's model does not fit this run's"):
        Checkpoints(tmp_path, {"model": nn.Linear(1, 1)}).restore(engine, load_newest(tmp_path))


def test_a_damaged_later_file_does_not_push_valid_ones_out(tmp_path, model):
    checkpoints = train(tmp_path, model, epochs=2)
    (tmp_path / files(500)[0]).write_bytes(b"damaged")
    trainer = Engine(lambda engine, batch: None)
    checkpoints.attach(trainer)
    trainer.load_state_dict({"iteration": 10, "epoch_length": 5, "max_epochs": 3})
    trainer.run([0] * 5, max_epochs=3)
    assert names(tmp_path) == [*files(10, 15), "checkpoint_00000500.pt.aside"]


def test_a_run_that_would_overwrite_a_later_checkpoint_is_refused(tmp_path, model):
    train(tmp_path, model, epochs=2)
    with pytest.raises(ValueError, match="holds a checkpoint of iteration 5: restore it, or save elsewhere"):
        train(tmp_path, model)
    assert names(tmp_path) == files(5, 10)


def test_what_a_kill_left_is_cleared_away(tmp_path, model):
    (tmp_path / ".checkpoint_00000003.pt.tmp").write_bytes(b"half")
    train(tmp_path, model, epochs=1, keep=1)
    assert names(tmp_path) == files(5)


def test_saves_that_take_longer_than_the_time_between_them_leave_time_to_train(tmp_path, model, monkeypatch):
    clock, saved = Clock(), []

    def save_slowly(path, content):
        clock.spend(5)
        saved.append(content["engine"]["iteration"])
        save_sealed(path, content)

    monkeypatch.setattr("handlers.checkpointing.save_sealed", save_slowly)
    trainer = Engine(lambda engine, batch: clock.spend(1))
    Checkpoints(tmp_path, {"model": model}, every_s=3, clock=clock).attach(trainer)
    trainer.run([0] * 10, max_epochs=1)
    assert saved == [0, 3, 6, 9, 10]


@pytest.mark.parametrize("epochs", [1, 4])
def test_saving_in_the_background_saves_the_same(tmp_path, model, epochs):
    start = copy.deepcopy(model.state_dict())
    contents = []
    for background in (False, True):
        model.load_state_dict(start)
        directory = tmp_path / str(background)
        torch.manual_seed(1)
        train(directory, model, epochs=epochs, background=background)
        contents.append({path.name: repr(load_checkpoint(path)) for path in directory.iterdir()})
    assert contents[0] == contents[1]


def test_what_is_saved_in_the_background_is_the_moment_it_was_saved_at(tmp_path, model, monkeypatch):
    go_on = threading.Event()

    def wait_and_save(path, content):
        assert go_on.wait(10)
        save_sealed(path, content)

    monkeypatch.setattr("handlers.checkpointing.save_sealed", wait_and_save)
    trainer = Engine(lambda engine, batch: None)
    checkpoints = Checkpoints(tmp_path, {"model": model}, background=True).attach(trainer)
    before = model[0].weight.detach().clone()
    checkpoints.save(trainer)
    nn.init.zeros_(model[0].weight)
    go_on.set()
    checkpoints.wait()
    assert torch.equal(load_newest(tmp_path)["objects"]["model"]["0.weight"], before)


def test_a_save_is_not_waited_for_while_one_is_being_written(tmp_path, model, monkeypatch):
    go_on, iterations = threading.Event(), []

    def wait_and_save(path, content):
        assert go_on.wait(10)
        iterations.append(content["engine"]["iteration"])
        save_sealed(path, content)

    monkeypatch.setattr("handlers.checkpointing.save_sealed", wait_and_save)
    trainer = Engine(lambda engine, batch: go_on.set() if engine.state.iteration == 5 else None)
    Checkpoints(tmp_path, {"model": model}, background=True, every_s=1e-9).attach(trainer)
    trainer.run([0] * 10, max_epochs=1)
    assert iterations[0] == 0
    assert set(iterations[1:]) <= {5, 6, 7, 8, 9, 10}
    assert iterations[-1] == 10


def test_a_metric_that_is_no_number_is_left_out(tmp_path, model):
    trainer = Engine(lambda engine, batch: engine.state.metrics.update(confusion=torch.eye(2), loss=1.0))
    Checkpoints(tmp_path, {"model": model}).attach(trainer)
    trainer.run([0])
    assert load_newest(tmp_path)["metrics"] == {"loss": 1.0}


def test_a_compiled_model_saves_the_names_of_the_plain_one(tmp_path, model):
    compiled = torch.compile(model, backend="eager")
    train(tmp_path, compiled, epochs=1)
    assert load_newest(tmp_path)["objects"]["model"].keys() == model.state_dict().keys()
    assert model_sha256(compiled) == model_sha256(model)


def test_nothing_to_resume_from_is_said(tmp_path):
    with pytest.raises(ValueError, match="holds no valid checkpoint to resume from"):
        load_newest(tmp_path)


def test_a_checkpoint_of_other_objects_is_refused(tmp_path, model):
    train(tmp_path, model)
    engine = Engine(lambda engine, batch: None)
    with pytest.raises(ValueError, match="lacks optimizer; if that is new, name it in missing="):
        Checkpoints(tmp_path, {"model": model, "optimizer": model}).restore(engine, load_newest(tmp_path))
    with pytest.raises(ValueError, match="holds model, which this run lacks"):
        Checkpoints(tmp_path, {}).restore(engine, load_newest(tmp_path))


def test_a_metric_of_ignite_s_may_be_among_the_objects(tmp_path, model):
    trainer = Engine(lambda engine, batch: batch)
    metric = Average()
    metric.attach(trainer, "mean")
    Checkpoints(tmp_path, {"model": model, "metric": metric}).attach(trainer)
    trainer.run([1.0, 3.0])
    restored = Average()
    Checkpoints(tmp_path, {"model": model, "metric": restored}).restore(trainer, load_newest(tmp_path))
    assert restored.compute() == 2


def test_an_object_that_is_new_may_be_missing(tmp_path, model):
    train(tmp_path, model)
    wanted, other, new = model_sha256(model), copy.deepcopy(model), nn.Linear(2, 2)
    nn.init.zeros_(other[0].weight)
    before = model_sha256(new)
    engine = Engine(lambda engine, batch: None)
    checkpoints = Checkpoints(tmp_path, {"average": new, "model": other})
    checkpoints.restore(engine, load_newest(tmp_path), missing=["average"])
    assert (model_sha256(other), model_sha256(new), engine.state.iteration) == (wanted, before, 20)
    with pytest.raises(ValueError, match="missing must name objects of this run, got averages"):
        checkpoints.restore(engine, load_newest(tmp_path), missing=["averages"])


def test_a_checkpoint_of_an_older_version_is_said_to_be_one(tmp_path, model):
    train(tmp_path, model)
    payload = load_newest(tmp_path)
    del payload["frozen"]
    with pytest.raises(ValueError, match="is of an older version"):
        Checkpoints(tmp_path, {"model": model}).restore(Engine(lambda engine, batch: None), payload)


def test_the_best_is_loaded_by_its_score(tmp_path, model):
    train(tmp_path, model, keep=1, scores=(0.1, 0.9, 0.2, 0.3))
    assert load_best(tmp_path)["engine"]["iteration"] == 10
    assert load_best(tmp_path)["metrics"] == {"score": 0.9}
    train(tmp_path / "unscored", model)
    with pytest.raises(ValueError, match="unscored: no checkpoint has a score; take the newest"):
        load_best(tmp_path / "unscored")
    (tmp_path / files(10)[0]).unlink()
    with pytest.raises(ValueError, match=r"checkpoint_00000010.pt: cannot be read"):
        load_best(tmp_path)


@pytest.mark.parametrize(("option", "value"), [("keep", 0), ("every_s", 0)])
def test_a_bad_argument_is_named(tmp_path, option, value):
    with pytest.raises(ValueError, match=f"{option} must be .* got {value}"):
        Checkpoints(tmp_path, {}, **{option: value})


@pytest.mark.parametrize("kind", [torch.optim.Adam, partial(torch.optim.SGD, momentum=0.9)])
def test_a_run_goes_on_alike_with_its_model_in_another_order_in_memory(tmp_path, kind):
    weights = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        model = nn.Conv2d(3, 4, 2).to(memory_format=memory_format)
        optimizer = kind(model.parameters(), lr=0.1, fused=True)

        def step(engine, batch, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            model(batch).square().mean().backward()
            optimizer.step()

        trainer = Engine(step)
        folder = tmp_path / str(memory_format)
        checkpoints = Checkpoints(folder, {"model": model, "optimizer": optimizer}, keep=4)
        checkpoints.attach(trainer)
        if memory_format == torch.channels_last:
            checkpoints.restore(
                trainer, load_checkpoint(tmp_path / str(torch.contiguous_format) / files(3)[0])
            )
        torch.manual_seed(1)
        trainer.run([torch.randn(2, 3, 4, 4) for _ in range(3)], max_epochs=3)
        weights.append(model.weight.detach())
    torch.testing.assert_close(weights[1], weights[0])


class Counting(torch.optim.SGD):
    def step(self, closure=None):
        self.state["steps"] = self.state.get("steps", 0) + 1
        super().step(closure)


def test_what_an_optimizer_keeps_of_no_parameter_is_put_back(tmp_path, model):
    optimizer = Counting(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(5, 3)).sum().backward()
    trainer = Engine(lambda engine, batch: optimizer.step())
    Checkpoints(tmp_path, {"optimizer": optimizer}).attach(trainer)
    trainer.run([0] * 3)
    again = Counting(model.parameters(), lr=0.1, momentum=0.9)
    resumed = Engine(lambda engine, batch: None)
    Checkpoints(tmp_path, {"optimizer": again}).attach(resumed).restore(resumed, load_newest(tmp_path))
    assert again.state["steps"] == 3
