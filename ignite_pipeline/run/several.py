"""What a run does about several processes, and replicas; where there is one of each, nothing."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from typing import Any, cast

import torch
from ignite.engine import Engine, Events
from torch.utils.data import DataLoader

from handlers import EvaluateEachEpoch, FetchComputeTimer
from handlers.held import held_objects
from handlers.signals import WISHES
from handlers.states import Stateful
from ignite_pipeline.data.loading import EvaluationLoader
from ignite_pipeline.replicas import Replicas
from ignite_pipeline.run.divergence import require_equal
from ignite_pipeline.run.exchange import Exchange
from ignite_pipeline.run.generator_states import GeneratorState
from ignite_pipeline.run.given import Handler
from ignite_pipeline.run.processes import Processes
from ignite_pipeline.run.shared_evaluation import InTurn, count_alone, share_evaluation
from ignite_pipeline.run.stragglers import straggler
from ignite_pipeline.seeding import Generators

_END = "end"


class Several:
    """The part of a `Run` that knows of ``processes``, and of the ``replicas`` that they compute."""

    def __init__(
        self,
        processes: Processes,
        replicas: int,
        *,
        seed: int,
        generators: Generators,
        timer: FetchComputeTimer,
    ) -> None:
        self.processes, self.seed, self.generators, self.timer = processes, seed, generators, timer
        self.local = processes.local(replicas)
        self.agreement = Exchange(processes, [*WISHES, _END], timed=timer) if processes.are_several else None
        self.replicas: Replicas | None = None
        if replicas > 1:
            self.replicas = Replicas(
                replicas, seed=seed, generators=generators, local=self.local, between=self.agreement
            )
        self._in_turn: dict[DataLoader[Any], InTurn] = {}
        self._ends = False

    def evaluation_loader(self, make: Callable[..., EvaluationLoader]) -> EvaluationLoader:
        """Return the whole of what ``make`` makes, and keep this process's part of it for `share`."""
        whole = make()
        if self.processes.are_several:
            part = make(part=slice(self.processes.rank, None, self.processes.count))
            total = len(cast(Sized, whole.batch_sampler))
            self._in_turn[whole] = InTurn(part, total=total, processes=self.processes)
        return whole

    def share(self, handlers: Iterable[Handler], device: torch.device) -> None:
        """Let evaluations among the handlers be the same for any number of processes, and shared by them.

        What they draw is decided by the seed and the number of the batch: `evaluate` can draw it again.
        """
        shared: list[Engine] = []
        for handler in handlers:
            if isinstance(handler, EvaluateEachEpoch):
                if isinstance(handler.loader, DataLoader):
                    handler.loader = self._in_turn.get(handler.loader, handler.loader)
                if handler.evaluator not in shared:
                    shared.append(handler.evaluator)
        for evaluator in shared:
            share_evaluation(
                evaluator, processes=self.processes, generators=self.generators, seed=self.seed, device=device
            )

    def count_once(self, trainer: Engine, evaluators: Iterable[Engine]) -> None:
        """Let metrics, which see the outputs of all processes, not be added up over them."""
        if self.processes.are_several:
            held = [thing for _, thing in held_objects(trainer) if isinstance(thing, Engine)]
            count_alone({id(engine): engine for engine in (trainer, *evaluators, *held)}.values())

    def notice_generators(self, objects: Mapping[str, Stateful], on_notice: Callable[[str], object]) -> None:
        """Tell of generators that know of no replicas."""
        for name, thing in objects.items():
            if self.replicas is not None and isinstance(thing, GeneratorState):
                on_notice(
                    f"{name} draws for as many replicas as a process computes, so that the bits depend on the"
                    " number of processes: draw from torch's default generator"
                )

    def verify(self, objects: Mapping[str, Stateful], *, given: Iterable[str]) -> None:
        """Raise `Diverged` if the processes do not hold the same."""
        if self.processes.are_several:
            require_equal(objects, self.processes, given=set(given))

    @contextmanager
    def together(self, trainer: Engine) -> Iterator[None]:
        """Let all end together, and find out who waits for whom, while the trainer runs inside."""
        if self.replicas is None:
            yield
            return
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._end_later)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._end_with_all)
        if self.processes.are_several:
            trainer.add_event_handler(Events.EPOCH_COMPLETED | Events.COMPLETED, self._compare_times)
        with self.replicas.refusing_other_updates():
            yield

    def _end_later(self, engine: Engine) -> None:
        # Whatever terminates the trainer inside an epoch may know it in one process only, such as a limit of
        # time; an iteration later all know.
        agreement = self.agreement
        if self._ends if agreement is None else agreement.is_agreed(_END):
            self._ends = False
            engine.terminate()
        elif engine.should_terminate:
            engine.should_terminate, self._ends = False, True
            if agreement is not None:
                agreement.ask(_END)

    def _end_with_all(self, engine: Engine) -> None:
        if any(self.processes.gather(bool(self._ends or engine.should_terminate))):
            self._ends = False
            engine.terminate()

    def _compare_times(self) -> None:
        seconds = self.processes.gather(self.timer.seconds)
        self.timer.processes, self.timer.culprits.straggler = seconds, straggler(seconds)
