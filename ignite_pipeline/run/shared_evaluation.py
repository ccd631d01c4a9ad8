"""An evaluation that several processes share: each takes batches in turn, all see all outputs in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from torch import Tensor

from handlers.attached import as_if_alone, attached_objects, replace_step, step_of
from ignite_pipeline.nested import map_leaves
from ignite_pipeline.run.processes import Processes
from ignite_pipeline.seeding import EVALUATION_STREAM, Generators, position_seed

_NOT_MINE: Any = object()


class InTurn:
    """The batches of an evaluation, ``total`` of them, for one of several processes.

    Its own, those of ``loader``, come when its turn is; in place of those of the others stands a mark.
    """

    def __init__(self, loader: Iterable[Any], *, total: int, processes: Processes) -> None:
        self.loader, self.total, self.processes = loader, total, processes
        self.dataset = getattr(loader, "dataset", None)

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[Any]:
        # All at the same time: own batches come at the beginning of each round.
        own, count = iter(self.loader), self.processes.count
        for number in range(self.total):
            mine = number % count == 0 and number + self.processes.rank < self.total
            yield next(own) if mine else _NOT_MINE


def share_evaluation(
    evaluator: Engine, *, processes: Processes, generators: Generators, seed: int, device: torch.device
) -> None:
    """Let ``evaluator`` compute the batches of an `InTurn` once, and give their outputs to all, in order.

    Each batch is computed under a seed of its number, whoever does so. Other loaders are evaluated as a whole
    by every process.
    """
    alone = step_of(evaluator)
    ready: deque[Any] = deque()

    def computed(engine: Engine, batch: Any, number: int) -> Any:
        with generators.seeded(position_seed(seed, EVALUATION_STREAM, number)):
            return alone(engine, batch)

    def step(engine: Engine, batch: Any) -> Any:
        loader = engine.state.dataloader
        if not isinstance(loader, InTurn):
            return computed(engine, batch, engine.state.iteration)
        engine.state.batch = None  # that of an output may be another process's
        if ready:
            return ready.popleft()
        output = None
        if batch is not _NOT_MINE:
            output = computed(engine, batch, engine.state.iteration + processes.rank)
        rest = loader.total - (engine.state.iteration - 1)
        outputs = processes.gather(map_leaves(_on_host, output))[:rest]
        ready.extend(map_leaves(lambda leaf: _on_device(leaf, device), output) for output in outputs)
        return ready.popleft()

    evaluator.add_event_handler(Events.STARTED, lambda: ready.clear())
    replace_step(evaluator, step)


def _on_host(leaf: Any) -> Any:
    return leaf.detach().cpu() if isinstance(leaf, Tensor) else leaf


def _on_device(leaf: Any, device: torch.device) -> Any:
    return leaf.to(device) if isinstance(leaf, Tensor) else leaf


def count_alone(engines: Iterable[Engine]) -> None:
    """Let the metrics of engines, which see the outputs of all processes, count them once."""
    for engine in engines:
        for thing in attached_objects(engine):
            if isinstance(thing, Metric):
                for name in ("update", "compute", "state_dict", "load_state_dict"):
                    method: Callable[..., Any] = getattr(thing, name)
                    setattr(thing, name, as_if_alone(method))
