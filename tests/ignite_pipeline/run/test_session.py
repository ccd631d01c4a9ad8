"""What a run does for any recipe, and what it refuses."""

import re
import subprocess
import sys
import time

import pytest
from ignite.engine import Events
from torch.utils.data import DataLoader, IterableDataset

from ignite_pipeline.data.loading import endless_loader
from ignite_pipeline.run import Best, Parser, launch
from tests.support.clocks import Clock
from tests.support.points import LENGTH, Points, Recipe, assert_exact
from tests.support.runs import summary


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


def test_an_object_to_save_must_have_a_state(tmp_path):
    class WithNumber(Recipe):
        def more(self, run, trainer, model):
            return {"save": {"number": 3}}

    with pytest.raises(TypeError, match=r"save\['number'\] must have state_dict"):
        WithNumber()(tmp_path / "run")
    assert not (tmp_path / "run").exists()


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
            run.timer.charged.clock = clock
            trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: clock.spend(5))
            return {}

    found, _ = SlowHandler()(tmp_path / "run")
    assert found["timing"]["handlers_s"] == 5 * 3 * LENGTH
    assert found["timing"]["compute_s"] == 0
    assert found["timing"]["verdict"] == "handler-bound"


def test_a_slow_handler_is_named_in_every_epoch(tmp_path):
    clock = Clock()

    def draw(engine):
        clock.spend(2)

    class SlowHandler(Recipe):
        def more(self, run, trainer, model):
            run.timer.charged.clock = run.timer.culprits.handlers.clock = clock
            trainer.add_event_handler(Events.ITERATION_COMPLETED, draw)
            return {}

    found, _ = SlowHandler()(tmp_path / "run")
    (drawn,) = [handler for handler in found["timing"]["handlers"] if handler["name"].endswith("draw")]
    assert drawn["seconds"] == 2 * 3 * LENGTH
    assert found["timing"]["findings"][0]["culprit"].startswith("draw (test_session.py:")


class SlowTransform(Points):
    def __init__(self):
        super().__init__()
        self.transform = self.blur

    def blur(self, point):
        time.sleep(0.01)
        return point

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return self.transform(x), y


@pytest.mark.parametrize("workers", ["0", "1"])
def test_the_transform_that_makes_loading_slow_is_named(tmp_path, workers):
    class Slow(Recipe):
        def data(self):
            return SlowTransform()

    found, _ = Slow()(tmp_path / "run", "--num-workers", workers)
    assert found["timing"]["verdict"] == "data-bound"
    assert found["timing"]["diagnosis"].startswith("data-bound: blur, 9")


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
    assert done.returncode == 2
    assert re.search(r"error: a worker died while samples \[7\] were loaded \(SIGKILL\)", done.stderr)
    ended = summary(tmp_path / "run")
    assert (ended["status"], ended["saved_iteration"]) == ("failed", ended["iterations"])


def test_samples_that_cannot_be_read_are_replaced_by_position_if_one_asks_for_it(tmp_path, capsys):
    class Rotten(Points):
        def __getitem__(self, index):
            if index in (3, 30):
                raise OSError("rotten")
            return super().__getitem__(index)

    class WithRotten(Recipe):
        data = Rotten

    for workers in ("0", "1"):
        with pytest.raises(SystemExit) as ended:
            WithRotten()(tmp_path / workers, "--num-workers", workers)
        assert ended.value.code == 2
        assert re.fullmatch(
            r".*error: sample 30? of the data set: OSError: rotten; fix it, or --on-bad-sample skip\n",
            capsys.readouterr().err,
        )
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
