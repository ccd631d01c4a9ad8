"""The data set, the step and the loader's options of a recipe, taken from the recipe itself."""

import tempfile
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ignite.engine import Engine
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import Dataset, default_collate

from handlers.attached import step_of
from handlers.held import held_objects
from ignite_pipeline.command_line import Parser
from ignite_pipeline.compute import Compute
from ignite_pipeline.data.loading import EndlessLoader
from ignite_pipeline.data.position_keyed import Collate
from ignite_pipeline.errors import BadInput
from ignite_pipeline.profiling.tuning import Step
from ignite_pipeline.run.options import add_run_options
from ignite_pipeline.run.session import Run

AnyRun = TypeVar("AnyRun", bound=Run)


@dataclass(frozen=True)
class Recipe:
    """A recipe: the function that `launch` calls, and what makes its parser."""

    train: Callable[[Run], None]
    parser: Callable[[], Parser]


@dataclass(frozen=True)
class Parts:
    """What there is to profile."""

    dataset: Dataset[Any]
    step: Step | None
    batch_size: int
    collate_fn: Collate = default_collate
    pin_memory: bool = False
    compute: Compute | None = None
    description: Mapping[str, Any] | None = None


class Enough(Exception):
    """A run is over that has told all: what the recipe would do afterwards is done with a trained model."""


class _Rehearsal(Run):
    """A run that trains nothing, and tells what it would have trained."""

    parts: Parts | None = None

    def attach(self, *args: Any, **kwargs: Any) -> None:
        """Attach nothing."""

    def train(self, trainer: Engine, loader: EndlessLoader, *, epochs: int) -> None:
        """Take the recipe apart; its schedules stand still, since more steps may be made than they have."""
        for _, thing in held_objects(trainer):
            if isinstance(thing, LRScheduler):
                thing.step = lambda *args, **kwargs: None  # type: ignore[method-assign]  # in this rehearsal
        keyed, batch_size = loader.dataset, loader.batch_sampler.batch_size
        step, pins = step_of(trainer), loader.pin_memory
        self.parts = Parts(
            keyed.dataset, step, batch_size, keyed.collate_fn, pins, self.compute, self._loaders.description
        )
        raise Enough


def options_given(recipe: Recipe, argv: Sequence[str]) -> Namespace:
    """Return the options of a recipe, as these arguments give them."""
    parser = recipe.parser()
    add_run_options(parser)
    return parser.parse_args(argv)


def parts_of_recipe(recipe: Recipe, options: Namespace) -> Parts:
    """Return the parts of a recipe as these options make it; nothing is trained, and nothing is kept."""
    rehearsal = rehearse(recipe, options, _Rehearsal)
    if rehearsal.parts is None:
        raise BadInput("the recipe never calls run.train")
    return rehearsal.parts


def rehearse(recipe: Recipe, options: Namespace, make_run: Callable[[str, Namespace], AnyRun]) -> AnyRun:
    """Call a recipe with a run that keeps nothing, of one process, until it raises `Enough`; return it."""
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder) / "run")
        own = {"output": output, "resume": None, "visdom": "off", "replicas": 1, "max_iterations": None}
        run = make_run("profiling", Namespace(**{**vars(options), **own}))
        with run, suppress(Enough):
            recipe.train(run)
    return run
