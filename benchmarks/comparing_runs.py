"""How often `python -m ignite_pipeline.compare` finds a planted regression, and one that is none.

python benchmarks/comparing_runs.py                    # 20 repetitions of three runs a side: 20 minutes
python benchmarks/comparing_runs.py --repetitions 5 --keep DIR

Runs are real ones of a tiny recipe, three a side, in turn: without a regression, without one again, and with
3 %, 10 % and 50 % more time in a usual iteration, planted as a busy loop of a fixed number of turns, so that
what else runs on the machine slows it down as it does the step. All in one repetition are compared to the
same three. All run in one process: what differs from process to process is not in these figures.
"""

import argparse
import contextlib
import io
import math
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from ignite.metrics import Accuracy
from torch import nn
from torch.utils.data import TensorDataset
from tqdm import tqdm

from handlers import EvaluateEachEpoch
from handlers.charged_seconds import LOOP_PARTS
from ignite_pipeline.compare.comparison import Comparison, compare
from ignite_pipeline.compare.iteration_times import mean_seconds, total, usual_seconds
from ignite_pipeline.compare.past_runs import PastRun, read_run
from ignite_pipeline.run import Best, Parser, Run, launch
from ignite_pipeline.steps import evaluation_step, supervised_step

RUNS_A_SIDE, EPOCHS, ITERATIONS, BATCH_SIZE = 3, 10, 40, 32
UNCHANGED = "unchanged"
PLANTED = {UNCHANGED: 0.0, "none": 0.0, "3 %": 0.03, "10 %": 0.1, "50 %": 0.5}
CALIBRATION_TURNS = 100_000


def busy(turns: int) -> None:
    """Do a fixed amount of nothing."""
    for _ in range(turns):
        pass


def train(run: Run) -> None:
    """Train a small net on random images, with a busy loop of ``--turns`` in each step."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(ITERATIONS * BATCH_SIZE, 3, 16, 16, generator=generator)
    data = TensorDataset(images, images.mean((1, 2, 3)).gt(0.5).long())
    loader = run.train_loader(data, batch_size=BATCH_SIZE)
    features = (nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 16, 3), nn.ReLU())
    model = run.place(nn.Sequential(*features, nn.Flatten(), nn.Linear(400, 2)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = supervised_step(model, optimizer, nn.CrossEntropyLoss(), compute=run.compute)

    def slowed(engine: Engine, batch: Any) -> Any:
        busy(run.options.turns)
        return step(engine, batch)

    trainer, evaluator = Engine(slowed), Engine(evaluation_step(model, compute=run.compute))
    Accuracy().attach(evaluator, "accuracy")
    run.attach(
        trainer,
        evaluate=[EvaluateEachEpoch(evaluator, run.evaluation_loader(data, batch_size=256))],
        save={"model": model, "optimizer": optimizer},
        best=Best("val/accuracy"),
    )
    run.train(trainer, loader, epochs=EPOCHS)


def parser() -> Parser:
    """Return the parser of the recipe's options."""
    parser = Parser(description="A small net on random images.")
    parser.add_argument("--turns", type=int, default=0)
    return parser


def do_run(output: Path, turns: int) -> None:
    """Do a run in this process, silently."""
    arguments = ["--output", str(output), "--turns", str(turns), "--visdom", "off", "--num-workers", "0"]
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        launch(train, parser(), arguments, task="tiny")


def turns_for_all_of_it(folder: Path) -> float:
    """Return how many turns of the busy loop take as long as a usual iteration."""
    do_run(folder / "warm-up", 0)
    found: dict[int, list[float]] = {0: [], CALIBRATION_TURNS: []}
    for number in range(5):
        for turns, seconds in found.items():
            path = folder / f"{number}-{turns}"
            do_run(path, turns)
            seconds.append(total(usual_seconds(read_run(path)) or {}))
    without, with_turns = map(min, found.values())  # those that nothing disturbed
    return CALIBRATION_TURNS * without / (with_turns - without)


def repetition(folder: Path, turns: float) -> dict[str, list[PastRun]]:
    """Do three runs of each side, in turn."""
    runs: dict[str, list[PastRun]] = {name: [] for name in PLANTED}
    for number in range(RUNS_A_SIDE):
        for name, share in PLANTED.items():
            path = folder / f"{name} {number}"
            do_run(path, round(share * turns))
            runs[name].append(read_run(path))
    return runs


def whole_mean(run: PastRun) -> float:
    """Return the mean seconds of all iterations."""
    return sum(run.seconds(part) for part in LOOP_PARTS) / run.iterations


def variation(sides: Sequence[Sequence[float]]) -> float:
    """Return the standard deviation from run to run on one side, as a share."""
    return math.sqrt(statistics.fmean(statistics.variance(map(math.log, side)) for side in sides))


def report(repetitions: Sequence[dict[str, list[PastRun]]]) -> None:
    """Print what was found of what was planted, and how much each figure of a run varies."""
    count = len(repetitions)
    print(f"{count} repetitions of {RUNS_A_SIDE} runs a side, {EPOCHS} epochs of {ITERATIONS} iterations\n")
    print("| planted | measured, median (least to largest) | slower | faster | no difference |")
    print("|---|---|---|---|---|")
    for name in list(PLANTED)[1:]:
        found = [compare(runs[UNCHANGED], runs[name]) for runs in repetitions]
        ratios = sorted(usual_ratio(one) for one in found)
        verdicts = [one.time.verdict for one in found]
        counts = [
            f"{verdicts.count(verdict)} of {count}" for verdict in ("slower", "faster", "no difference")
        ]
        spread = f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        print(f"| {name} | {spread} | {' | '.join(counts)} |")
    figures = {
        "a usual iteration: medians": lambda run: total(usual_seconds(run) or {}),
        "all told: mean of the quickest quarter of the epochs": lambda run: total(mean_seconds(run) or {}),
        "mean of all iterations": whole_mean,
    }
    print("\n| the figure of a run | varies from run to run by |\n|---|---|")
    for name, figure in figures.items():
        sides = [[figure(run) for run in side] for runs in repetitions for side in runs.values()]
        print(f"| {name} | {variation(sides):.1%} |")


def usual_ratio(found: Comparison) -> float:
    """Return how many times as long a usual iteration takes."""
    return found.time.figures[0].ratio.value


def main(argv: Sequence[str] | None = None) -> None:
    """Measure as the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--repetitions", type=int, default=20, help="of all comparisons (default: %(default)s)"
    )
    parser.add_argument(
        "--keep", metavar="DIR", help="a new folder for the runs, which are removed otherwise"
    )
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.keep or temporary)
        turns = turns_for_all_of_it(folder / "calibration")
        numbers = tqdm(range(options.repetitions), desc="repetitions", leave=False)
        report([repetition(folder / str(number), turns) for number in numbers])


if __name__ == "__main__":
    main()
