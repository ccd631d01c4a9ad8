"""What a run does for any recipe: tiny ones, each with one thing that used to leak."""

import copy
import json
import random
import re
import subprocess
import sys
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping
from ignite.metrics import Accuracy, RunningAverage
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate
from torchvision.transforms import v2

from handlers import EvaluateEachEpoch, StepMeans, load_newest
from handlers.attached import held_objects
from ignite_pipeline.data.loading import endless_loader
from ignite_pipeline.run import Best, Parser, Run, launch
from ignite_pipeline.steps import supervised_step

from conftest import Clock
from runs import summary, untimed

LENGTH = 12


class Points(Dataset):
    """Points in the plane, jittered anew in every epoch, of two classes."""

    def __len__(self):
        return 4 * LENGTH

    def __getitem__(self, index):
        return torch.randn(2) + 2 * (index % 2) - 1, index % 2


class Recipe:
    """A recipe whose parts can be replaced; by default it is exact."""

    def __init__(self):
        self.run = self.trainer = None
        self.counts = Counter()

    def data(self):
        return Points()

    def loader(self, run):
        return run.train_loader(self.data(), batch_size=4)

    def step(self, run, model, optimizer):
        return supervised_step(model, optimizer, self.loss, compute=run.compute)

    def loss(self, y_pred, y):
        return nn.functional.cross_entropy(y_pred, y)

    def more(self, run, trainer, model):
        return {}

    def train(self, run: Run) -> None:
        self.run, loader = run, self.loader(run)
        model = run.place(nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 2)))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        self.trainer = Engine(self.step(run, model, optimizer))
        options = {"measure": [StepMeans(every_iters=5)], "save": {"model": model, "optimizer": optimizer}}
        run.attach(self.trainer, **{**options, **self.more(run, self.trainer, model)})
        run.train(self.trainer, loader, epochs=3)

    def __call__(self, directory, *options):
        """Run; return the summary, and what must not depend on how the run came there."""
        given = ["--visdom", "off", "--precision", "fp32", "--num-workers", "0", *map(str, options)]
        place = [] if "--resume" in given else ["--output", str(directory)]
        launch(self.train, Parser(), [*place, *given], task="points")
        return summary(directory), untimed(directory)


def outcome(summarised):
    return {name: summarised[name] for name in ("status", "final", "model_sha256")}


def assert_exact(make, tmp_path, *options, cuts=(17, 2 * LENGTH)):
    """A run that is cut inside an epoch or at its end ends, with other workers, as one that is not."""
    whole, lines = make()(tmp_path / "whole", *options)
    for cut in cuts:
        directory = tmp_path / f"cut{cut}"
        make()(directory, *options, "--max-iterations", cut)
        resumed, resumed_lines = make()(
            directory, "--resume", directory, "--num-workers", 2, "--max-iterations", 1000
        )
        assert outcome(resumed) == outcome(whole)
        assert resumed_lines == lines


def test_a_plain_recipe_with_dropout_is_exact(tmp_path):
    assert_exact(Recipe, tmp_path)


def test_mixup_in_collate_is_exact(tmp_path):
    mixup = v2.MixUp(num_classes=2)

    class WithMixUp(Recipe):
        def loader(self, run):
            return run.train_loader(self.data(), batch_size=4, collate_fn=mixed)

    def mixed(samples):
        x, y = default_collate(samples)
        x, y = mixup(x.view(4, 2, 1, 1), y)
        return x.flatten(1), y

    assert_exact(WithMixUp, tmp_path)


def test_metrics_and_handlers_of_ignite_are_saved_without_being_named(tmp_path):
    class WithIgnite(Recipe):
        def more(self, run, trainer, model):
            trainer.add_event_handler(Events.ITERATION_COMPLETED(every=2), self.count)
            RunningAverage(output_transform=lambda output: output["loss"]).attach(trainer, "train/average")
            evaluator = Engine(lambda engine, batch: (model(batch[0]).detach(), batch[1]))
            Accuracy().attach(evaluator, "accuracy")
            stopping = EarlyStopping(2, lambda engine: -engine.state.metrics["accuracy"], trainer)
            evaluator.add_event_handler(Events.COMPLETED, stopping)
            self.stopping = stopping
            validation = run.evaluation_loader(Points(), batch_size=8)
            return {"evaluate": [EvaluateEachEpoch(evaluator, validation)], "best": Best("val/accuracy")}

        def count(self):
            self.counts["steps"] += 1

    recipe = WithIgnite()
    recipe(tmp_path / "run", "--max-iterations", 17)
    payload = torch.load(next((tmp_path / "run").glob("checkpoints/*17.pt")), weights_only=True)
    assert {"RunningAverage", "EarlyStopping", "StepMeans", "FetchComputeTimer"} <= payload["objects"].keys()
    assert "Accuracy" not in payload["objects"]
    assert_exact(WithIgnite, tmp_path)


def test_a_metric_that_an_epoch_resets_goes_on_in_the_middle_of_one(tmp_path):
    class WithAccuracy(Recipe):
        def step(self, run, model, optimizer):
            train = super().step(run, model, optimizer)

            def step(engine, batch):
                self.seen = (model(batch[0]).detach(), batch[1])
                return train(engine, batch)

            return step

        def more(self, run, trainer, model):
            Accuracy(output_transform=lambda output: self.seen).attach(trainer, "train/accuracy")
            return {}

    assert_exact(WithAccuracy, tmp_path)


def test_a_handler_attached_after_the_run_s_own_acts_before_the_checkpoint(tmp_path):
    class Late(Recipe):
        def train(self, run):
            loader = self.loader(run)
            model = run.place(nn.Linear(2, 2))
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            trainer = Engine(self.step(run, model, optimizer))

            # Before the run attaches anything: draws all the same after the step's seed.
            trainer.add_event_handler(Events.ITERATION_STARTED, lambda: model.bias.data.add_(torch.rand(2)))
            run.attach(trainer, measure=[StepMeans()], save={"model": model, "optimizer": optimizer})

            @trainer.on(Events.EPOCH_COMPLETED)
            def decay():
                optimizer.param_groups[0]["lr"] *= 0.5

            run.train(trainer, loader, epochs=3)

    assert_exact(Late, tmp_path)


@pytest.mark.parametrize("rate", [np.float64(0.5), np.float32(0.5)], ids=["float64", "float32"])
def test_numbers_of_numpy_in_a_state_are_saved_as_python_s(tmp_path, rate):
    class Cosine(Recipe):
        def more(self, run, trainer, model):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda iteration: rate)
            return {"save": {"model": model, "optimizer": optimizer, "schedule": schedule}}

    found, _ = Cosine()(tmp_path / "run", "--max-iterations", 3)
    assert found["status"] == "completed"


@pytest.mark.parametrize(
    "output",
    [
        lambda loss: loss.item(),
        lambda loss: loss,
        lambda loss: None,
        lambda loss: {"loss": 0.5},
        lambda loss: {},
    ],
    ids=["float", "tensor", "nothing", "dict of floats", "empty dict"],
)
def test_a_step_may_return_what_ignite_s_do(tmp_path, output):
    class Other(Recipe):
        def step(self, run, model, optimizer):
            train = super().step(run, model, optimizer)
            return lambda engine, batch: output(train(engine, batch)["loss"])

    assert_exact(Other, tmp_path)


def test_another_loader_than_the_run_s_is_refused(tmp_path):
    class Two(Recipe):
        def loader(self, run):
            first = super().loader(run)
            super().loader(run)
            return first

    class Plain(Recipe):
        def loader(self, run):
            super().loader(run)
            return DataLoader(Points(), batch_size=4, shuffle=True)

    with pytest.raises(ValueError, match=r"takes the loader that run.train_loader returned last"):
        Two()(tmp_path / "run")
    with pytest.raises(TypeError, match=r"takes what run\.train_loader returns, got DataLoader"):
        Plain()(tmp_path / "run")


def test_options_for_workers_may_be_given_where_there_are_none(tmp_path):
    class Prefetching(Recipe):
        def loader(self, run):
            return run.train_loader(self.data(), batch_size=4, prefetch_factor=4, persistent_workers=True)

    assert_exact(Prefetching, tmp_path, cuts=(17,))


def test_a_best_metric_that_is_nan_at_the_end_does_not_end_the_run_badly(tmp_path, capsys):
    class Fading(Recipe):
        def more(self, run, trainer, model):
            @trainer.on(Events.EPOCH_COMPLETED)
            def score(engine):
                engine.state.metrics["val/f1"] = 0.5 if engine.state.epoch == 1 else float("nan")

            return {"best": Best("val/f1")}

    Fading()(tmp_path / "run")
    assert "best val/f1 0.5000 in epoch 1" in capsys.readouterr().out


def test_a_parser_may_be_launched_twice_and_must_train(tmp_path):
    parser = Parser()
    for number in range(2):
        options = ["--visdom", "off", "--max-iterations", "1", "--output", str(tmp_path / str(number))]
        launch(Recipe().train, parser, options, task="points")
    with pytest.raises(RuntimeError, match=r"without run\.train"):
        launch(lambda run: None, parser, ["--output", str(tmp_path / "none")], task="points")
    with pytest.raises(ValueError, match="resumable must name options of the recipe, got data-root"):
        launch(Recipe().train, parser, [], task="points", resumable=["data-root"])


def test_what_cannot_be_saved_is_named_and_left_out(tmp_path, capsys):
    class Unsavable:
        def attach(self, engine):
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.nothing)

        def nothing(self):
            pass

        def state_dict(self):
            return {"function": print}

        def load_state_dict(self, state):
            pass

    class WithUnsavable(Recipe):
        def more(self, run, trainer, model):
            return {"measure": [StepMeans(), Unsavable()]}

    found, _ = WithUnsavable()(tmp_path / "run")
    assert found["status"] == "completed"
    assert "Unsavable is not saved" in capsys.readouterr().err
    notices = json.loads((tmp_path / "run" / "config.json").read_text())["notices"]
    assert len(notices) == 1


def test_an_object_to_save_must_have_a_state(tmp_path):
    class WithNumber(Recipe):
        def more(self, run, trainer, model):
            return {"save": {"number": 3}}

    with pytest.raises(TypeError, match=r"save\['number'\] must have state_dict"):
        WithNumber()(tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Buffer:
    """Keep the loss of some iterations and use it in later ones, as an image buffer does with images."""

    def __init__(self):
        self.kept = torch.zeros(3)

    def exchange(self, loss):
        place = int(torch.randint(3, ()))
        before, self.kept[place] = self.kept[place].clone(), loss.detach()
        return loss + before * loss

    def state_dict(self):
        return {"kept": self.kept.clone()}

    def load_state_dict(self, state):
        self.kept = state["kept"].clone()


@pytest.mark.parametrize("named", [True, False], ids=["named", "forgotten"])
def test_what_a_step_of_one_s_own_holds_is_saved_named_or_not(tmp_path, named):
    class OwnStep(Recipe):
        def step(self, run, model, optimizer):
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
            buffer, average = Buffer(), copy.deepcopy(model).requires_grad_(False)
            self.given = {"schedule": schedule, "buffer": buffer, "average": average, "optimizer": optimizer}

            def follow():
                for mean, parameter in zip(average.parameters(), model.parameters(), strict=True):
                    mean.lerp_(parameter.detach(), 0.1)

            def step(engine, batch):
                x, y = batch
                optimizer.zero_grad()
                loss = buffer.exchange(self.loss(model(x) + average(x), y))
                loss.backward()
                optimizer.step()
                schedule.step()
                follow()
                return loss.item()

            return step

        def more(self, run, trainer, model):
            return {"save": {"model": model, **(self.given if named else {})}}

    assert_exact(OwnStep, tmp_path)
    payload = load_newest(tmp_path / "whole" / "checkpoints")
    assert {"schedule", "buffer", "average", "optimizer"} <= payload["objects"].keys()


@pytest.mark.parametrize("attach", ["method", "closure", "argument", "partial"])
def test_what_a_handler_of_one_s_own_holds_is_saved(tmp_path, attach):
    class OwnHandler(Recipe):
        def __init__(self):
            super().__init__()
            self.inner = None

        def more(self, run, trainer, model):
            optimizer = next(thing for name, thing in held_objects(trainer) if name == "optimizer")
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
            if attach == "method":
                self.inner = schedule
                trainer.add_event_handler(Events.ITERATION_COMPLETED, self.step_schedule)
            elif attach == "closure":
                trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: schedule.step())
            elif attach == "argument":
                trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine, it: it.step(), schedule)
            else:
                step = partial(lambda engine, it: it.step(), it=schedule)
                trainer.add_event_handler(Events.ITERATION_COMPLETED(every=2), step)
            return {}

        def step_schedule(self):
            self.inner.step()

    assert_exact(OwnHandler, tmp_path, cuts=(17,))


def hide(step):
    """Hold a step where nobody looks for what it holds."""
    hidden = [[step]]
    return lambda engine, batch: hidden[0][0](engine, batch)


def test_an_optimizer_that_is_not_saved_is_named(tmp_path, capsys):
    class Forgetful(Recipe):
        def step(self, run, model, optimizer):
            self.schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)  # knows it, and does not save it
            return hide(super().step(run, model, optimizer))

        def more(self, run, trainer, model):
            return {"save": {"model": model, "schedule": self.schedule}}

    Forgetful()(tmp_path / "run", "--max-iterations", 2)
    assert "SGD steps and is not saved" in capsys.readouterr().err


def test_a_model_that_is_not_saved_is_named(tmp_path, capsys):
    class Forgetful(Recipe):
        def step(self, run, model, optimizer):
            self.optimizer = optimizer
            return hide(super().step(run, model, optimizer))

        def more(self, run, trainer, model):
            return {"save": {"optimizer": self.optimizer}}

    Forgetful()(tmp_path / "run", "--max-iterations", 2)
    error = capsys.readouterr().err
    assert "SGD updates parameters of a model that is not saved" in error
    assert "steps and is not saved" not in error


@pytest.mark.parametrize("draw", [random.random, np.random.rand], ids=["random", "numpy"])
def test_a_step_that_draws_elsewhere_is_told_what_seeds_it_and_is_exact_then(tmp_path, capsys, draw):
    class Drawing(Recipe):
        def loss(self, y_pred, y):
            return super().loss(y_pred, y) * float(draw())

    Drawing()(tmp_path / "noticed", "--max-iterations", 2)
    error = capsys.readouterr().err
    assert error.count("the step draws from") == 1
    assert "--seed-everything" in error
    assert_exact(Drawing, tmp_path, "--seed-everything")
    assert "draws from" not in capsys.readouterr().err


def test_a_quiet_recipe_is_told_nothing(tmp_path, capsys):
    Recipe()(tmp_path / "run")
    assert "!!!" not in capsys.readouterr().err


def test_data_with_random_state_of_its_own_is_named(tmp_path, capsys):
    class OwnGenerator(Points):
        def __init__(self):
            self.generator = np.random.default_rng(0)

        def __getitem__(self, index):
            return torch.tensor(self.generator.normal(size=2), dtype=torch.float32), index % 2

    class WithOwn(Recipe):
        data = OwnGenerator

    WithOwn()(tmp_path / "run", "--max-iterations", 2)
    assert "OwnGenerator keeps random state of its own" in capsys.readouterr().err


def test_a_trainer_that_starts_with_a_loader_elsewhere_is_refused(tmp_path):
    class Elsewhere(Recipe):
        def loader(self, run):
            data = self.data()
            run.train_loader(data, batch_size=4)
            return endless_loader(data, batch_size=4, seed=0)

    Recipe()(tmp_path / "run", "--max-iterations", 17)
    with pytest.raises(ValueError, match="the loader begins after iteration 0 and the trainer is at 17"):
        Elsewhere()(tmp_path / "run", "--resume", tmp_path / "run", "--max-iterations", 1000)


@pytest.mark.parametrize("kind", ["iterable", "no positions"])
def test_data_without_positions_is_refused_in_words_that_help(tmp_path, kind):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(range(8))

    class Streaming(Recipe):
        def data(self):
            return Stream() if kind == "iterable" else DataLoader(Points())

    with pytest.raises(TypeError, match=r"has no positions: .* needs a map-style data set"):
        Streaming()(tmp_path / "run")


def test_the_timer_is_right_whatever_was_attached_before_it(tmp_path):
    clock = Clock()

    class SlowHandler(Recipe):
        def more(self, run, trainer, model):  # before run.attach
            run.timer.clock = clock
            trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: clock.spend(5))
            return {}

    found, _ = SlowHandler()(tmp_path / "run")
    assert found["timing"]["handlers_s"] == 5 * 3 * LENGTH
    assert found["timing"]["compute_s"] == 0
    assert found["timing"]["verdict"] == "handler-bound"


DEADLY = """
import os, signal, sys, torch
from ignite.engine import Engine
from ignite_pipeline.run import Parser, launch

class Deadly(torch.utils.data.Dataset):
    def __len__(self):
        return 48
    def __getitem__(self, index):
        if index == 7 and torch.utils.data.get_worker_info():
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(2)

def train(run):
    trainer = Engine(lambda engine, batch: {"loss": torch.zeros(())})
    loader = run.train_loader(Deadly(), batch_size=4)
    run.attach(trainer, save={})
    run.train(trainer, loader, epochs=3)

launch(train, Parser(), task="deadly")
"""


def test_a_worker_that_is_killed_is_named_with_its_sample(tmp_path):
    # In a process of its own: what a dead worker leaves unclosed in torch would fail this one's tests.
    command = [sys.executable, "-c", DEADLY, "--num-workers", "1", "--visdom", "off", "--output", "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search(
        r"RuntimeError: a worker died \(.*\); the workers were loading samples \[7\]", done.stderr
    )
    assert summary(tmp_path / "run")["status"] == "failed"


def test_data_from_elsewhere_that_cannot_be_compared_is_said(tmp_path, capsys):
    parser = Parser()
    parser.add_argument("--data-root", default="here")

    def start(*options):
        given = ["--visdom", "off", "--max-iterations", "2", *options]
        launch(Recipe().train, parser, given, task="points", resumable=["data_root"])

    start("--output", str(tmp_path / "run"))
    start("--resume", str(tmp_path / "run"))
    assert "no sha256" not in capsys.readouterr().err
    start("--resume", str(tmp_path / "run"), "--data-root", "there")
    assert "--data-root changed, and the data has no sha256" in capsys.readouterr().err


def test_samples_that_cannot_be_read_are_replaced_by_position_if_one_asks_for_it(tmp_path, capsys):
    class Rotten(Points):
        def __getitem__(self, index):
            if index in (3, 30):
                raise OSError("rotten")
            return super().__getitem__(index)

    class WithRotten(Recipe):
        data = Rotten

    with pytest.raises(RuntimeError, match=r"sample 30? of the data set: OSError: rotten"):
        WithRotten()(tmp_path / "stopped")
    assert_exact(WithRotten, tmp_path, "--on-bad-sample", "skip")
    words = "2 samples could not be read, and others stood in for them: 3, 30"
    assert capsys.readouterr().err.count(words) == 5


def test_a_defect_keeps_its_traceback_and_what_a_user_can_correct_does_not(tmp_path, capsys):
    class Defect(Recipe):
        def data(self):
            raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        Defect()(tmp_path / "run")

    class TooLarge(Recipe):
        def loader(self, run):
            return run.train_loader(self.data(), batch_size=1000)

    with pytest.raises(SystemExit) as exit_:
        TooLarge()(tmp_path / "run")
    assert exit_.value.code == 2
    assert capsys.readouterr().err.endswith(
        "error: batch_size=1000 is more than the 48 samples; take a smaller batch\n"
    )
    assert not list(tmp_path.iterdir())


def test_two_runs_begun_in_the_same_second_have_two_directories(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda *args: "20261121-120000")
    for _ in range(3):
        launch(Recipe().train, Parser(), ["--visdom", "off", "--max-iterations", "1"], task="points")
    names = sorted(path.name for path in (tmp_path / "runs" / "points").iterdir())
    assert names == ["20261121-120000-0", "20261121-120000-0-2", "20261121-120000-0-3"]


def test_several_processes_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit) as exit_:
        Recipe()(tmp_path / "run")
    assert exit_.value.code == 2
    assert "WORLD_SIZE is 2" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


class Hungry(nn.Module):
    """A model that needs more memory than there is for more than so many samples at a time."""

    def __init__(self, most, error):
        super().__init__()
        self.linear, self.most, self.error = nn.Linear(2, 2), most, error

    def forward(self, x):
        if len(x) > self.most:
            raise self.error
        return self.linear(x)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["GPU", "processor"],
)
def test_out_of_memory_ends_in_a_line_that_says_what_fits_and_the_run_goes_on_with_it(
    tmp_path, capsys, error
):
    class Large(Recipe):
        most = 16

        def train(self, run):
            loader = run.train_loader(self.data(), batch_size=16)
            model = Hungry(self.most, error)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            trainer = Engine(self.step(run, model, optimizer))
            run.attach(trainer, save={"model": model, "optimizer": optimizer})
            run.train(trainer, loader, epochs=2)

    class TooLarge(Large):
        most = 5

    directory = tmp_path / "run"
    Large()(directory, "--max-iterations", 2)
    before = load_newest(directory / "checkpoints")["objects"]["model"]
    with pytest.raises(SystemExit) as stopped:
        TooLarge()(directory, "--resume", directory, "--max-iterations", 6)
    assert stopped.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "out of memory on cpu with batches of 16: 4 at a time fit, go on with" in line
    torch.testing.assert_close(
        load_newest(directory / "checkpoints")["objects"]["model"], before, rtol=0, atol=0
    )
    options = line.split("go on with ")[1].split()
    assert options == ["--resume", str(directory), "--micro-batches", "4"]
    found, _ = TooLarge()(directory, *options, "--max-iterations", 6)
    assert (found["status"], found["iterations"]) == ("completed", 6)

    class FarTooLarge(Large):
        most = 0

    with pytest.raises(SystemExit):
        FarTooLarge()(tmp_path / "other")
    assert "of 16, nor does one at a time fit: take smaller batches" in capsys.readouterr().err


def test_micro_batches_are_exact(tmp_path):
    assert_exact(Recipe, tmp_path, "--micro-batches", 2)


def test_an_object_that_is_new_since_the_checkpoint_may_be_missing_from_it(tmp_path, capsys):
    class Grown(Recipe):
        missing = ("EarlyStopping",)

        def more(self, run, trainer, model):
            stopping = EarlyStopping(100, lambda engine: 0.0, trainer)
            trainer.add_event_handler(Events.EPOCH_COMPLETED, stopping)
            return {"missing": self.missing}

    class Unaware(Grown):
        missing = ()

    directory = tmp_path / "run"
    Recipe()(directory, "--max-iterations", 5)
    with pytest.raises(SystemExit):
        Unaware()(directory, "--resume", directory, "--max-iterations", 9)
    assert (
        "the checkpoint lacks EarlyStopping; if that is new, name it in missing=" in capsys.readouterr().err
    )
    assert Grown()(directory, "--resume", directory, "--max-iterations", 9)[0]["iterations"] == 9


@pytest.mark.parametrize(("iterations", "epochs"), [(24, 2), (25, 3)])
def test_handlers_may_ask_for_the_epochs(tmp_path, iterations, epochs):
    seen = []

    class Asking(Recipe):
        def more(self, run, trainer, model):
            trainer.add_event_handler(Events.STARTED, lambda: seen.append(trainer.state.max_epochs))
            return {}

    assert Asking()(tmp_path / "run", "--max-iterations", 17)[0]["iterations"] == 17
    options = ("--resume", tmp_path / "run", "--max-iterations", iterations)
    assert Asking()(tmp_path / "run", *options)[0]["iterations"] == iterations
    assert seen == [2, epochs]
