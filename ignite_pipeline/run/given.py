"""What a recipe gives to its run."""

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ignite.engine import Engine


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
