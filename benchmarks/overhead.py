"""What a framework adds to an iteration: the same step under a plain loop, Ignite, ours and others.

python benchmarks/overhead.py            # make bench

"Ours, every default handler" is a recipe, run by `launch`. Everybody has a loader that costs next to nothing.
Our own loader costs more than Ignite does, so where it is used, bare Ignite is measured with it too, and the
difference of the two is that of the handlers alone.
"""

import argparse
import contextlib
import io
import json
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from ignite.engine import Engine
from ignite.handlers import BasicTimeProfiler
from torch import nn
from torch.utils.data import Dataset
from tqdm import tqdm

from figures import spread
from handlers import FetchComputeTimer, LearningRate, StepMeans
from ignite_pipeline.data.loading import EndlessLoader, endless_loader
from ignite_pipeline.run import Parser, Run, launch

WARM_UP = 500
NOBODY = "http://localhost:1"  # where no server listens
BARE, BARE_LOADED = "Ignite, bare", "Ignite, bare, our loader"
OURS, OURS_LOADED = "ours, every default handler", "our handlers, our loader"
BASES = {OURS_LOADED: BARE_LOADED}  # what is compared with something else than bare Ignite


class Batches:
    """An endless loader that costs next to nothing."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.count))


class Nothing(Dataset[None]):
    """A data set that hands over nothing: what is left is the loader's own cost."""

    deterministic = True

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitems__(self, indices: list[int]) -> None:
        """Return a batch."""


class Costless(EndlessLoader):
    """An endless loader that loads nothing: it hands over numbers, as `Batches` does."""

    def __iter__(self) -> Any:
        return iter(range(len(self)))


class Terminal(io.StringIO):
    """Takes what a progress bar draws."""

    def isatty(self) -> bool:
        """Ask for the bar, not for plain lines."""
        return True


class EmptyStep:
    """Return the same output every time; note when the warm-up ends and when the last iteration begins.

    A step that takes ``busy_s`` keeps the processor busy so long.
    """

    busy_s = 0.0

    def __init__(self, iterations: int) -> None:
        self.marks, self.calls = {WARM_UP: 0.0, iterations: 0.0}, 0
        self.output = {"loss": torch.tensor(1.0), "accuracy": torch.tensor(0.5)}

    def __call__(self, engine: object, batch: object) -> dict[str, torch.Tensor]:
        """Count, and return the output."""
        self.calls += 1
        if self.calls in self.marks:
            self.marks[self.calls] = time.perf_counter()
        if self.busy_s:
            end = time.perf_counter() + self.busy_s
            while time.perf_counter() < end:
                pass
        return self.output

    def microseconds(self) -> float:
        """Return the time from one call to the next."""
        (first, start), (last, end) = self.marks.items()
        return (end - start) / (last - first) * 1e6


def plain_loop(iterations: int) -> float:
    """Time a for loop."""
    step = EmptyStep(iterations)
    for batch in Batches(iterations):
        step(None, batch)
    return step.microseconds()


def our_loader(iterations: int) -> EndlessLoader:
    """Return the loader that a run has, of so many batches an epoch."""
    return endless_loader(Nothing(iterations), batch_size=1, seed=0)


def ignite(
    iterations: int,
    attach: Callable[[Engine], object] = lambda trainer: None,
    loader: Callable[[int], Iterable[Any]] = Batches,
) -> float:
    """Time an Engine with what ``attach`` attaches: nothing, unless it is given."""
    step = EmptyStep(iterations)
    trainer = Engine(step)
    attach(trainer)
    trainer.run(loader(iterations), max_epochs=1)
    return step.microseconds()


def every_default_handler(iterations: int, *, costless: bool = True) -> float:
    """Time a recipe: everything that `Run` attaches, but for the evaluation after an epoch."""
    step, terminal = EmptyStep(iterations), Terminal()

    def recipe(run: Run) -> None:
        loader = run.train_loader(Nothing(iterations), batch_size=1)
        model = run.place(nn.Linear(2, 2))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=True)
        trainer = Engine(step)
        run.attach(
            trainer,
            measure=[StepMeans(), LearningRate(optimizer)],
            save={"model": model, "optimizer": optimizer},
            show={"train/loss": "loss", "train/accuracy": "accuracy"},
        )
        if costless:
            loader = Costless(loader.dataset, batch_sampler=cast(Any, loader.batch_sampler))
        run.train(trainer, loader, epochs=1)

    with tempfile.TemporaryDirectory() as folder:
        arguments = ["--output", f"{folder}/run", "--num-workers", "0", "--visdom", NOBODY, "--device", "cpu"]
        try:
            with contextlib.redirect_stderr(terminal), contextlib.redirect_stdout(terminal):
                launch(recipe, Parser(), arguments, task="overhead")
        except SystemExit as end:
            raise RuntimeError(terminal.getvalue()) from end
    return step.microseconds()


def lightning_switched_off(iterations: int) -> float:
    """Time a Lightning Trainer without logger, checkpoints, progress bar and model summary."""
    import lightning

    step = EmptyStep(iterations)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.layer = nn.Linear(2, 2)

        def training_step(self, batch: object, batch_idx: int) -> None:
            step(None, batch)

        def configure_optimizers(self) -> None:
            return None

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Module(), Batches(iterations))
    return step.microseconds()


def torchtnt_switched_off(iterations: int) -> float:
    """Time torchtnt's train loop without callbacks."""
    from torchtnt.framework.state import State
    from torchtnt.framework.train import train
    from torchtnt.framework.unit import TrainUnit

    step = EmptyStep(iterations)

    class Unit(TrainUnit[int]):
        def train_step(self, state: State, data: int) -> None:
            step(None, data)

    train(Unit(), Batches(iterations), max_epochs=1)
    return step.microseconds()


def accelerate_loop(iterations: int) -> float:
    """Time a loop as Accelerate's guide writes it."""
    from accelerate import Accelerator

    step = EmptyStep(iterations)
    accelerator = Accelerator(cpu=True)
    model = accelerator.prepare(nn.Linear(2, 2))
    for batch in Batches(iterations):
        with accelerator.accumulate(model):
            step(None, batch)
    return step.microseconds()


def attach_timer(trainer: Engine, *, names: bool = True) -> None:
    """Attach our timer."""
    FetchComputeTimer(names=names).attach(trainer)


def contenders() -> dict[str, Callable[[int], float]]:
    """Return what is measured; other frameworks only where they are installed."""
    found: dict[str, Callable[[int], float]] = {
        "plain loop": plain_loop,
        BARE: ignite,
        "ours, the timer alone": partial(ignite, attach=partial(attach_timer, names=False)),
        "ours, the timer, with names": partial(ignite, attach=attach_timer),
        "Ignite's BasicTimeProfiler": partial(
            ignite, attach=lambda trainer: BasicTimeProfiler().attach(trainer)
        ),
        OURS: every_default_handler,
        BARE_LOADED: partial(ignite, loader=our_loader),
        OURS_LOADED: partial(every_default_handler, costless=False),
    }
    peers = (
        ("lightning", "Lightning {}, switched off", lightning_switched_off),
        ("torchtnt", "torchtnt {}, no callbacks", torchtnt_switched_off),
        ("accelerate", "Accelerate {}, accumulate()", accelerate_loop),
    )
    for package, name, measure in peers:
        try:
            found[name.format(version(package))] = measure
        except ModuleNotFoundError:
            print(f"{package} is not installed, so it is not measured: pip install '.[bench]'")
    return found


def main() -> None:
    """Run the contenders in turn, print their medians and spread, write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=20_000, help="per run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()

    warnings.filterwarnings("ignore")
    measured, figures = contenders(), {}
    versions = f"torch {torch.__version__}, Ignite {version('pytorch-ignite')}"
    print(f"Python {platform.python_version()}, {versions}, {platform.machine()};")
    print(f"{options.rounds} runs of {options.iterations:,} iterations each, in turn; median (min to max)\n")
    for step_us in (0, 100):
        EmptyStep.busy_s = step_us * 1e-6
        times: dict[str, list[float]] = {name: [] for name in measured}
        for _ in tqdm(range(options.rounds), desc=f"rounds, {step_us} µs", leave=False):
            for name, measure in measured.items():
                times[name].append(measure(options.iterations))
        figures[step_us] = times
        what = f"a step of {step_us} µs" if step_us else "an empty step"
        print(f"| {what:32} | µs an iteration | µs over bare Ignite, in pairs |\n|---|---|---|")
        for name, ours in times.items():
            over = [a - b for a, b in zip(ours, times[BASES.get(name, BARE)], strict=True)]
            print(f"| {name:32} | {spread(ours, '.1f')} | {spread(over, '.1f') if name != BARE else '–'} |")
        print()
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
