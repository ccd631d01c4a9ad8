"""A device without enough memory ends a run in a line that helps."""

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from handlers import EvaluateEachEpoch, load_newest
from tests.support.points import Recipe


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
    assert "of 16, nor do smaller parts fit: take smaller batches" in capsys.readouterr().err


class Varied(Recipe):
    """A recipe whose training needs too much memory, or whose evaluation does."""

    def __init__(self, *, most=16, evaluated=16, norm=False, by_hand=False):
        super().__init__()
        self.most, self.evaluated, self.norm, self.by_hand = most, evaluated, norm, by_hand

    def train(self, run):
        error = torch.OutOfMemoryError("CUDA out of memory")
        loader = run.train_loader(self.data(), batch_size=16)
        model = nn.Sequential(Hungry(self.most, error), nn.BatchNorm1d(2) if self.norm else nn.Identity())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def step(engine, batch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
            optimizer.step()

        trainer = Engine(step if self.by_hand else self.step(run, model, optimizer))
        evaluator = Engine(lambda engine, batch: Hungry(self.evaluated, error)(batch[0]))
        validation = run.evaluation_loader(self.data(), batch_size=24)
        evaluate = [EvaluateEachEpoch(evaluator, validation)] if self.evaluated < 16 else []
        run.attach(trainer, evaluate=evaluate, save={"model": model, "optimizer": optimizer})
        run.train(trainer, loader, epochs=2)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (Varied(most=1, norm=True), "with batches of 16, nor do smaller parts fit: take smaller batches"),
        (
            Varied(most=5, by_hand=True),
            "with batches of 16: take smaller batches (--micro-batches needs a step",
        ),
        (Varied(evaluated=10), "with an evaluation: take smaller ones there, or go on with --resume"),
    ],
    ids=["batch norm of one row", "a step by hand", "an evaluation"],
)
def test_what_is_said_fits_the_case(tmp_path, capsys, recipe, said):
    with pytest.raises(SystemExit) as stopped:
        recipe(tmp_path / "run")
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
