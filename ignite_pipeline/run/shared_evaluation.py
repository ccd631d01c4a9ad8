"""An evaluation that several processes share: each takes batches in turn, all see all outputs in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from torch import Tensor

from handlers.attached import as_if_alone, attached_objects, replace_step, step_of
from ignite_pipeline.data.loading import EvaluationLoader, readable
from ignite_pipeline.data.position_keyed import Unread
from ignite_pipeline.nested import map_leaves
from ignite_pipeline.run.processes import Processes
from ignite_pipeline.seeding import EVALUATION_STREAM, Generators, position_seed

_NOT_MINE: Any = object()


class InTurn:
    """The batches of an evaluation, ``total`` of them, for one of several processes.

    Its own, those of ``loader``, come when its turn is; in place of those of the others stands a mark.
    Batches of which no sample can be read are left out by all, see `EvaluationLoader`: ``turn`` lists the
    processes that have another in this round.
    """

    def __init__(self, loader: EvaluationLoader, *, total: int, processes: Processes) -> None:
        self.loader, self.total, self.processes = loader, total, processes
        self.dataset = loader.dataset
        self.turn: list[int] = []

    def __len__(self) -> int:
        if self.dataset.leaves_out:
            raise TypeError("it has no length: batches of which nothing can be read are left out")
        return self.total

    def __iter__(self) -> Iterator[Any]:
        return readable(self._all())

    def _all(self) -> Iterator[Any]:
        # All at the same time: own batches come at the beginning of each round.
        own, rank = self.loader.all_batches(), self.processes.rank
        for first in range(0, self.total, self.processes.count):
            ranks = range(min(self.processes.count, self.total - first))
            mine = next(own) if rank in ranks else _NOT_MINE
            self.turn = list(ranks)
            if self.dataset.leaves_out:
                unread = self.processes.gather(mine if isinstance(mine, Unread) else None)
                self.turn = [other for other in ranks if unread[other] is None]
                if not self.turn:
                    yield unread[0]
            for place in range(len(self.turn)):
                yield mine if place == 0 and rank in self.turn else _NOT_MINE


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
            output = computed(engine, batch, engine.state.iteration + loader.turn.index(processes.rank))
        outputs = processes.gather(map_leaves(_on_host, output))
        ready.extend(map_leaves(lambda leaf: _on_device(leaf, device), outputs[rank]) for rank in loader.turn)
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
