"""What a recipe gives to its run."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ignite.engine import Engine
from torch import nn
from torch.optim import Optimizer

from handlers.states import Stateful
from ignite_pipeline.signature import Signature


class Handler(Protocol):
    """Anything that attaches itself to an engine."""

    def attach(self, engine: Engine) -> Any:
        """Register on the engine's events."""


class Described(Protocol):
    """Data that can say what it is; ``notice`` in the description is told to the user."""

    def describe(self) -> dict[str, Any]:
        """Return ``name``, ``train`` and ``val`` (counts), ``sha256`` and, if there is one, ``notice``."""


Data = TypeVar("Data", bound=Described)


@dataclass(frozen=True)
class Best:
    """The metric that decides which checkpoint is the best, and whether more of it is better."""

    metric: str
    maximize: bool = True


@dataclass(frozen=True)
class Given:
    """What `Run.attach` is given beside the trainer, and what the run's own handlers ask of it."""

    save: Mapping[str, Stateful]
    missing: Collection[str] = ()
    measure: Sequence[Handler] = ()
    evaluate: Sequence[Handler] = ()
    reports: Sequence[Callable[[Path], object]] = ()
    best: Best | None = None
    show: Mapping[str, str] | None = None
    signature: Signature | None = None

    @property
    def models(self) -> list[nn.Module]:
        """The models among what is saved."""
        return [thing for thing in self.save.values() if isinstance(thing, nn.Module)]

    @property
    def optimizer(self) -> Optimizer | None:
        """The first optimizer among what is saved."""
        return next((thing for thing in self.save.values() if isinstance(thing, Optimizer)), None)

    @property
    def evaluators(self) -> list[Engine]:
        """The engines of the evaluations."""
        within = [getattr(handler, "evaluator", None) for handler in self.evaluate]
        return [evaluator for evaluator in within if isinstance(evaluator, Engine)]

    @property
    def score(self) -> str | None:
        """The metric that decides which checkpoint is the best."""
        return None if self.best is None else self.best.metric

    @property
    def maximize(self) -> bool:
        """Whether more of it is better."""
        return self.best is None or self.best.maximize
