"""A run: what a recipe asks for its loaders, its place on a device, and its handlers in their order."""

import json
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import torch
from ignite.engine import Engine
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from handlers import FetchComputeTimer, StopOnSignal, read_config
from handlers.attached import step_of
from handlers.states import Stateful
from ignite_pipeline.command_line import say, say_loudly
from ignite_pipeline.compute import Compute
from ignite_pipeline.data.loading import EndlessLoader, endless_loader
from ignite_pipeline.devices import make_current, resolve_device, resolve_precision, to_device
from ignite_pipeline.errors import BadInput
from ignite_pipeline.machine import keep_freed_memory
from ignite_pipeline.run.correctable import correctable
from ignite_pipeline.run.directory import RunDirectory
from ignite_pipeline.run.given import Best, Data, Given, Handler
from ignite_pipeline.run.learning_rate_search import search_learning_rate
from ignite_pipeline.run.live_board import drawing, require_board, showing
from ignite_pipeline.run.loaders import Loaders
from ignite_pipeline.run.model_summary import as_text, summarize
from ignite_pipeline.run.notices import Notices
from ignite_pipeline.run.outcome import say_bad_samples, say_how_it_went
from ignite_pipeline.run.own_handlers import OwnHandlers
from ignite_pipeline.run.processes import Processes
from ignite_pipeline.run.saved_objects import objects_to_save
from ignite_pipeline.run.several import Several
from ignite_pipeline.run.until import run_until
from ignite_pipeline.seeding import Generators, make_deterministic, require_position
from ignite_pipeline.signature import Signature

Module = TypeVar("Module", bound=nn.Module)


class Run:
    """One run of a recipe: `launch` makes it, the recipe's ``train`` asks it for what follows, in this order.

    `use_data`, `train_loader` and `evaluation_loader`; `place`, for what computes; `compute`, for steps;
    `attach`, once; `train`. Random draws while models are built come from ``--seed``.
    """

    def __init__(
        self,
        task: str,
        options: Any,
        *,
        recipe: Callable[..., object] | None = None,
        resumable: Collection[str] = (),
        as_is: Collection[str] = (),
        processes: Processes | None = None,
    ) -> None:
        self.task, self.options, self._recipe = task, options, recipe
        self.processes = Processes() if processes is None else processes
        make_deterministic()
        keep_freed_memory()
        self.device = resolve_device(options.device)
        if self.processes.are_several and self.device.index is not None:
            raise BadInput(f"--device {self.device}: each process has a device of its own; give cuda or cpu")
        make_current(self.device)
        options.device, options.precision = (
            str(self.device),
            resolve_precision(options.precision, self.device),
        )
        require_board(options.visdom, tensorboard=options.tensorboard)
        self._directory = RunDirectory(
            task,
            output=options.output,
            resume=options.resume,
            seed=options.seed,
            resumable=resumable,
            as_is=as_is,
            processes=self.processes,
        )
        options.replicas = options.replicas or 1
        if options.max_iterations is not None and options.max_iterations < self.iteration:
            raise BadInput(
                f"--max-iterations {options.max_iterations} is less than the {self.iteration} of the run"
            )
        if self._directory.resumed:
            # Sums in another order are other bits: a run keeps the number of threads that it began with.
            torch.set_num_threads(read_config(self.directory)["threads"])
        self.timer = FetchComputeTimer()
        self._several = Several(
            self.processes,
            options.replicas,
            seed=options.seed,
            generators=Generators(self.device, everything=options.seed_everything),
            timer=self.timer,
        )
        self.compute = Compute(
            self.device,
            precision=options.precision,
            skip_non_finite=options.skip_non_finite > 0,
            micro_batches=options.micro_batches,
            transfer=self.timer.timed("transfer", to_device(self.device)),
            replicas=self._several.replicas,
        )
        self._notices = Notices(self._directory)
        self._loaders = Loaders(
            options,
            device=self.device,
            directory=self._directory,
            several=self._several,
            notices=self._notices,
        )
        self.is_done = False
        self._own: OwnHandlers | None = None
        torch.manual_seed(options.seed)
        random.seed(options.seed)
        np.random.seed(options.seed % 2**32)

    @property
    def directory(self) -> Path:
        """The run directory, which is there once it has been asked for."""
        return self._directory.path

    @property
    def iteration(self) -> int:
        """The iteration that the run goes on from; 0 in a new one."""
        return self._directory.iteration

    def use_data(self, data: Data) -> Data:
        """Keep the description of ``data`` with the run, for ``--resume`` to compare; return ``data``."""
        description = json.loads(json.dumps(data.describe(), default=str))  # as it is read back
        self._loaders.description = description
        return data

    def train_loader(self, dataset: Dataset[Any], *, batch_size: int, **options: Any) -> EndlessLoader:
        """Return the endless loader of the run, at its position; ``options`` are those of `endless_loader`.

        ``--num-workers`` and ``--on-bad-sample`` decide about workers and samples that cannot be read. A data
        set that keeps random state of its own is named in a notice.
        """
        return self._loaders.train_loader(dataset, batch_size=batch_size, **options)

    def evaluation_loader(self, dataset: Dataset[Any], *, batch_size: int, **options: Any) -> DataLoader[Any]:
        """Return a loader that goes once over every sample, in order, under the run's seed.

        `EvaluateEachEpoch` shares its batches among processes.
        """
        return self._loaders.evaluation_loader(dataset, batch_size=batch_size, **options)

    def place(self, module: Module, **options: Any) -> Module:
        """Move a model or a transform to the run's device; ``options`` are those of ``Module.to``."""
        return module.to(self.device, **options)

    def attach(
        self,
        trainer: Engine,
        *,
        save: Mapping[str, Stateful],
        missing: Collection[str] = (),
        measure: Sequence[Handler] = (),
        evaluate: Sequence[Handler] = (),
        reports: Sequence[Callable[[Path], object]] = (),
        best: Best | None = None,
        show: Mapping[str, str] | None = None,
        signature: Signature | None = None,
    ) -> None:
        """Attach the run's own handlers and those given, in the order in which things have to happen.

        Timing comes first; then the step's seed; ``measure``; trying workers; norms; the guard against
        losses that are not finite; ``evaluate``; whatever else is attached before `train`; the record;
        checkpoints, and what they lack; the progress line. `OwnHandlers` does so.

        Checkpoints hold ``save`` and whatever else has a ``state_dict`` and is attached, or held by the step
        or a handler (see `objects_to_save`); ``missing`` names what is new since a checkpoint that lacks it.
        ``best`` decides which checkpoint stays for good; ``show`` names the metrics on the progress line. Of
        several models in ``save``, the first has its norms recorded with ``--log-norms``. With a
        ``signature``, a checkpoint alone is enough to predict. ``reports`` are called with the run
        directory at the end, to leave there what its report shows: `Mistakes.write`, say.
        """
        own = OwnHandlers(
            Given(save, missing, measure, evaluate, reports, best, show, signature),
            self.options,
            timer=self.timer,
            compute=self.compute,
            directory=self._directory,
            loaders=self._loaders,
            several=self._several,
            notices=self._notices,
        )
        self._own = own.attach(trainer)

    def search_learning_rate(
        self, trainer: Engine, dataset: Dataset[Any], *, optimizer: Optimizer, save: Mapping[str, Stateful]
    ) -> None:
        """Draw ``learning_rates.png`` instead of training, see `search_learning_rate`; before `attach`."""
        training = self._loaders.training
        if training is None or self._own is not None:
            raise RuntimeError("call run.search_learning_rate after run.train_loader and before run.attach")
        if self.processes.count > 1 or self._directory.resumed:
            raise BadInput("--find-lr is for one process, and for a new run")
        batch_size, replicas = training.batch_sampler.batch_size, self.options.replicas
        loader = endless_loader(dataset, batch_size=batch_size, seed=self.options.seed, replicas=replicas)
        path = self.directory / "learning_rates.png"
        rate = search_learning_rate(trainer, loader, optimizer=optimizer, save=save, path=path)
        say(f"{path}: the loss falls fastest at {'no rate' if rate is None else f'--lr {rate:.2g}'}")
        self.is_done = True

    def train(self, trainer: Engine, loader: EndlessLoader, *, epochs: int) -> None:
        """Train up to ``epochs`` or ``--max-iterations``, from where the run is, and say how it went."""
        if self._own is None:
            raise RuntimeError("call run.attach before run.train")
        self._loaders.require_last(loader)
        self.is_done = True
        if self.options.summary:
            self._summarize(self._own, trainer, loader)
            return
        iterations = epochs * len(loader)
        if self.options.max_iterations is not None:
            iterations = min(iterations, self.options.max_iterations)
        self._begin(self._own, trainer, loader, iterations)
        self._run_trainer(self._own, trainer, loader, iterations)

    def _summarize(self, own: OwnHandlers, trainer: Engine, loader: EndlessLoader) -> None:
        if self.processes.count > 1:
            raise BadInput("--summary is for one process")
        if self.options.micro_batches > 1:  # of what is computed once more, nothing is seen
            raise BadInput("--summary is for whole batches: give --micro-batches 1 and a part's --batch-size")
        models, cost = summarize(step_of(trainer), next(iter(loader)), own.given.save)
        print(as_text(models, cost, loader.batch_sampler.batch_size))

    def _begin(self, own: OwnHandlers, trainer: Engine, loader: EndlessLoader, iterations: int) -> None:
        """Put back what the checkpoint holds, if the run is resumed, and write down that it goes on."""
        own.attach_last(trainer)
        if own.workers is not None:
            own.workers.iterations = iterations - self.iteration
        self._several.count_once(trainer, own.evaluators)
        # Now that all is attached: among that, too, whatever has a state is saved.
        saved = {**own.given.save, "compute": self.compute}
        objects = objects_to_save(saved, trainer, own.evaluators, on_unsavable=self._notices.add)
        own.checkpoints.objects = objects
        self._several.notice_generators(objects, self._notices.add)
        if (checkpoint := self._directory.take_checkpoint()) is not None:
            own.checkpoints.restore(trainer, checkpoint, missing=own.given.missing)
        else:
            trainer.state.metrics.clear()  # those of a search for a learning rate
        require_position(loader, trainer.state.iteration)
        description = self._loaders.description or {}
        self._directory.begin(self.options, description, self._notices.texts, recipe=self._recipe)
        say_loudly(description.get("notice"))
        self._notices.begin()

    def _run_trainer(self, own: OwnHandlers, trainer: Engine, loader: EndlessLoader, iterations: int) -> None:
        """Run the trainer inside all that records, shows and saves, whatever ends it; say how it went."""
        directory, is_main = self.directory, self.processes.is_main
        board = showing(trainer, directory, self.options.visdom if is_main else None, about=self._about)
        asks, start = self.options.tensorboard and is_main, self.iteration
        curves = drawing(own.record, directory / "tensorboard", asks, from_iteration=start)
        in_one_line = correctable(
            trainer,
            self.compute,
            batch_size=loader.batch_sampler.batch_size,
            directory=directory,
            skips=self.options.on_bad_sample == "skip",
        )
        stop = StopOnSignal(
            own.checkpoints,
            watch=own.evaluators,
            # Without the digest: to read the weights might be to wait for what is stuck.
            before_exit=partial(own.record.end, "interrupted", digest=False),
            agreement=self._several.agreement,
        )
        with self._several.together(trainer), stop.attach(trainer):  # around all that writes down how it went
            with in_one_line, closing(own.unsaved), own.record, board, curves, stop.interrupting():
                if trainer.state.iteration < iterations:
                    run_until(iterations, trainer, loader)
            evaluated = [engine.state.dataloader for engine in own.evaluators]
            say_bad_samples([trainer.state.dataloader], self.processes, what="others stood in for them")
            say_bad_samples(evaluated, self.processes, what="validation left them out")
            if is_main:
                say_how_it_went(directory)

    def _about(self) -> str:
        notice = (self._loaders.description or {}).get("notice")
        found = map(str, self.timer.findings())
        lines = (str(self.directory), notice, *self._notices.texts, *found, self.timer.shares())
        return "\n".join(line for line in lines if line)

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._directory.discard_if_empty()
        if isinstance(error, KeyboardInterrupt) and self._directory.exists:
            say(f"interrupted; go on with --resume {self.directory}")
