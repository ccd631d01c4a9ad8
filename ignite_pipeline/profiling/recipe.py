"""The data set, the step and the batch size of a recipe, taken from the recipe itself."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ignite.engine import Engine
from torch.utils.data import Dataset, default_collate

from handlers.attached import step_of
from ignite_pipeline.command_line import Parser
from ignite_pipeline.data.loading import EndlessLoader
from ignite_pipeline.data.position_keyed import Collate
from ignite_pipeline.errors import BadInput
from ignite_pipeline.profiling.tuning import Step
from ignite_pipeline.run.options import add_run_options
from ignite_pipeline.run.session import Run


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


class _Enough(Exception):
    """The recipe has told all."""


class _Rehearsal(Run):
    """A run that trains nothing, and tells what it would have trained."""

    parts: Parts | None = None

    def attach(self, *args: Any, **kwargs: Any) -> None:
        """Attach nothing."""

    def train(self, trainer: Engine, loader: EndlessLoader, *, epochs: int) -> None:
        """Take the recipe apart."""
        keyed, sampler = loader.dataset, loader.batch_sampler
        self.parts = Parts(keyed.dataset, step_of(trainer), sampler.batch_size, keyed.collate_fn)
        raise _Enough  # what a recipe does afterwards is done with a trained model


def parts_of_recipe(recipe: Recipe, argv: Sequence[str]) -> Parts:
    """Return the parts of a recipe as these arguments make it; nothing is trained, and nothing is kept."""
    parser = recipe.parser()
    add_run_options(parser)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run"
        options = parser.parse_args([*argv, "--output", str(output), "--visdom", "off"])
        rehearsal = _Rehearsal("profiling", options)
        with rehearsal, suppress(_Enough):
            recipe.train(rehearsal)
    if rehearsal.parts is None:
        raise BadInput("the recipe never calls run.train")
    return rehearsal.parts
