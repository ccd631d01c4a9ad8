"""A run: what a recipe asks for its loaders, its place on a device, and its handlers in their order."""

import json
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from handlers import (
    Checkpoints,
    FetchComputeTimer,
    ModelNorms,
    ProgressLine,
    RunRecord,
    StopOnNonFinite,
    StopOnSignal,
    read_config,
)
from handlers.attached import put_first, step_of
from handlers.states import Stateful
from ignite_pipeline.command_line import say, say_loudly
from ignite_pipeline.compute import Compute
from ignite_pipeline.data.loading import EndlessLoader, endless_loader, evaluation_loader
from ignite_pipeline.data.own_randomness import keeps_random_state
from ignite_pipeline.data.position_keyed import takes_batches
from ignite_pipeline.devices import resolve_device, resolve_precision, to_device
from ignite_pipeline.errors import BadInput
from ignite_pipeline.machine import available_cores, keep_freed_memory
from ignite_pipeline.notebook import in_notebook
from ignite_pipeline.run.auto_workers import AutoWorkers
from ignite_pipeline.run.correctable import correctable
from ignite_pipeline.run.directory import RunDirectory
from ignite_pipeline.run.given import Best, Data, Handler
from ignite_pipeline.run.learning_rate_search import search_learning_rate
from ignite_pipeline.run.live_board import drawing, require_board, showing
from ignite_pipeline.run.model_summary import as_text, summarize
from ignite_pipeline.run.notices import Notices
from ignite_pipeline.run.outcome import description_of, say_bad_samples, say_how_it_went
from ignite_pipeline.run.processes import Processes
from ignite_pipeline.run.saved_objects import objects_to_save
from ignite_pipeline.run.several import Several
from ignite_pipeline.run.stored_options import kept_options
from ignite_pipeline.run.unsaved_state import UnsavedState
from ignite_pipeline.run.until import run_until
from ignite_pipeline.seeding import (
    Generators,
    ReseedEachIteration,
    make_deterministic,
    require_position,
)
from ignite_pipeline.signature import Signature

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class _Attached:
    save: Mapping[str, Stateful]
    record: RunRecord
    checkpoints: Checkpoints
    unsaved: UnsavedState
    line: ProgressLine
    workers: AutoWorkers | None
    evaluators: Sequence[Engine]
    missing: Collection[str]


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
        self.is_done = False
        self._description: dict[str, Any] | None = None
        self._make_loader: Callable[..., EndlessLoader] | None = None
        self._loader: EndlessLoader | None = None
        self._attached: _Attached | None = None
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
        self._description = json.loads(json.dumps(data.describe(), default=str))  # as it is read back
        return data

    def train_loader(self, dataset: Dataset[Any], *, batch_size: int, **options: Any) -> EndlessLoader:
        """Return the endless loader of the run, at its position; ``options`` are those of `endless_loader`.

        ``--num-workers`` and ``--on-bad-sample`` decide about workers and samples that cannot be read. A data
        set that keeps random state of its own is named in a notice.
        """
        if "num_workers" in options:
            raise TypeError("num_workers is an option of every run: --num-workers")
        self._make_loader = partial(
            endless_loader,
            dataset,
            batch_size=batch_size,
            seed=self.options.seed,
            **{
                "pin_memory": self.device.type == "cuda",
                "skip_bad": self.options.on_bad_sample == "skip" and not takes_batches(dataset),
                "replicas": self.options.replicas,
                "local": self._several.local,
                **options,
            },
        )
        num_workers = 0 if self.options.num_workers == "auto" else self.options.num_workers
        loader = self._make_loader(num_workers=num_workers, start_iteration=self.iteration)
        if keeps_random_state(loader.dataset, loader.batch_sampler):
            self._notices.add(
                f"{type(dataset).__name__} keeps random state of its own (a generator, or samples once"
                " drawn): other workers or a resume give other batches; let it draw from torch, random or"
                " numpy.random"
            )
        if self._description is None:
            self._description = description_of(dataset)
        self._loader = loader
        return loader

    def evaluation_loader(self, dataset: Dataset[Any], *, batch_size: int, **options: Any) -> DataLoader[Any]:
        """Return a loader that goes once over every sample, in order, under the run's seed.

        `EvaluateEachEpoch` shares its batches among processes.
        """
        skip_bad = self.options.on_bad_sample == "skip" and not takes_batches(dataset)
        own = {"seed": self.options.seed, "skip_bad": skip_bad}
        make = partial(evaluation_loader, dataset, batch_size=batch_size, **{**own, **options})
        return self._several.evaluation_loader(make)

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
        checkpoints, and what they lack; the progress line.

        Checkpoints hold ``save`` and whatever else has a ``state_dict`` and is attached, or held by the step
        or a handler (see `objects_to_save`); ``missing`` names what is new since a checkpoint that lacks it.
        ``best`` decides which checkpoint stays for good; ``show`` names the metrics on the progress line. Of
        several models in ``save``, the first has its norms recorded with ``--log-norms``. With a
        ``signature``, a checkpoint alone is enough to predict. ``reports`` are called with the run
        directory at the end, to leave there what its report shows: `Mistakes.write`, say.
        """
        if self._loader is None or self._description is None:
            raise RuntimeError("call run.train_loader before run.attach")
        if "compute" in save:
            raise ValueError("save['compute'] is the run's own: take another name")
        options, timer, directory = self.options, self.timer, self.directory
        batch_size = self._loader.batch_sampler.batch_size
        models = [thing for thing in save.values() if isinstance(thing, nn.Module)]
        within = [getattr(handler, "evaluator", None) for handler in evaluate]
        evaluators = [evaluator for evaluator in within if isinstance(evaluator, Engine)]
        workers = None
        if options.num_workers == "auto" and self._make_loader is not None:
            workers = AutoWorkers(
                self._make_loader,
                iterations=0,
                max_workers=available_cores() // self.processes.on_this_machine,
                on_decision=self._note_workers,
            )
        guard = StopOnNonFinite(
            allowed_in_a_row=options.skip_non_finite,
            path=directory / "non_finite.jsonl" if self.processes.is_main else None,
            samples_of=self._loader.batch_sampler.indices,
            optimizer=next((thing for thing in save.values() if isinstance(thing, Optimizer)), None),
        )
        score, maximize = (best.metric, best.maximize) if best is not None else (None, True)
        record = RunRecord(
            directory,
            timer=timer,
            batch_size=batch_size,
            models=tuple(models),
            dataset=self._description,
            best=score,
            maximize=maximize,
            saved_iteration=lambda: checkpoints.saved_iteration,
            writes=self.processes.is_main,
            reports=reports,
        )

        def sync() -> None:
            record.sync()
            guard.sync()

        checkpoints = Checkpoints(
            directory / "checkpoints",
            save,
            every_s=options.checkpoint_every_s,
            timer=timer,
            background=options.save_in_background,
            score=score,
            maximize=maximize,
            before=sync,
            agreement=self._several.agreement,
            writes=self.processes.is_main,
            verify=partial(self._several.verify, given=(*save, "compute")),
            config={
                "task": self.task,
                "run": self._directory.run,
                "options": kept_options(options),
                "dataset": self._description,
                "signature": None if signature is None else signature.as_json(),
            },
        )
        line = ProgressLine(
            metrics=dict(show or {}),
            timer=timer,
            batch_size=batch_size,
            label="GENERATED data" if self._description["name"] == "generated" else "",
            redraws=True if in_notebook() else None,
        )
        self._several.share(evaluate, self.device)
        timer.culprits.loading = lambda: _loading_costs(trainer)
        for evaluator in evaluators:
            timer.watch(evaluator, trainer)
        in_order: list[Handler | None] = [
            timer,
            ReseedEachIteration(options.seed, device=self.device, everything=options.seed_everything),
            *measure,
            workers,
            ModelNorms(models[0]) if options.log_norms and models else None,
            guard,
        ]
        for handler in in_order:
            if handler is not None:
                handler.attach(trainer)
        put_first(trainer, Events.ITERATION_STARTED)  # nobody draws before the step's seed
        # Before the evaluation of an early end, which a run that is not cut there never makes.
        trainer.add_event_handler(Events.TERMINATE, self._save_early_end, checkpoints)
        for handler in evaluate:
            handler.attach(trainer)
        unsaved = UnsavedState(
            lambda: checkpoints.objects.values(),
            on_unsaved=self._notices.add,
            watch_randomness=not options.seed_everything,
        )
        self._attached = _Attached(save, record, checkpoints, unsaved, line, workers, evaluators, missing)

    def search_learning_rate(
        self, trainer: Engine, dataset: Dataset[Any], *, optimizer: Optimizer, save: Mapping[str, Stateful]
    ) -> None:
        """Draw ``learning_rates.png`` instead of training, see `search_learning_rate`; before `attach`."""
        if self._loader is None or self._attached is not None:
            raise RuntimeError("call run.search_learning_rate after run.train_loader and before run.attach")
        if self.processes.count > 1 or self._directory.resumed:
            raise BadInput("--find-lr is for one process, and for a new run")
        batch_size, replicas = self._loader.batch_sampler.batch_size, self.options.replicas
        loader = endless_loader(dataset, batch_size=batch_size, seed=self.options.seed, replicas=replicas)
        path = self.directory / "learning_rates.png"
        rate = search_learning_rate(trainer, loader, optimizer=optimizer, save=save, path=path)
        say(f"{path}: the loss falls fastest at {'no rate' if rate is None else f'--lr {rate:.2g}'}")
        self.is_done = True

    def train(self, trainer: Engine, loader: EndlessLoader, *, epochs: int) -> None:
        """Train up to ``epochs`` or ``--max-iterations``, from where the run is, and say how it went."""
        if self._attached is None:
            raise RuntimeError("call run.attach before run.train")
        if not isinstance(loader, EndlessLoader) or self._loader is None:
            raise TypeError(f"run.train takes what run.train_loader returns, got {type(loader).__name__}")
        if loader.dataset.dataset is not self._loader.dataset.dataset:
            raise ValueError("run.train takes the loader that run.train_loader returned last")
        self.is_done = True
        attached = self._attached
        if self.options.summary:
            self._summarize(trainer, loader)
            return
        record, checkpoints, unsaved = attached.record, attached.checkpoints, attached.unsaved
        is_main = self.processes.is_main
        last: list[Handler] = [record, checkpoints, unsaved]
        for handler in (*last, attached.line) if is_main else last:
            handler.attach(trainer)
        iterations = epochs * len(loader)
        if self.options.max_iterations is not None:
            iterations = min(iterations, self.options.max_iterations)
        if attached.workers is not None:
            attached.workers.iterations = iterations - self.iteration
        self._several.count_once(trainer, attached.evaluators)
        saved = {**attached.save, "compute": self.compute}
        checkpoints.objects = objects_to_save(
            saved, trainer, attached.evaluators, on_unsavable=self._notices.add
        )
        self._several.notice_generators(checkpoints.objects, self._notices.add)
        if self._directory.checkpoint is not None:
            checkpoints.restore(trainer, self._directory.checkpoint, missing=attached.missing)
        else:
            trainer.state.metrics.clear()  # those of a search for a learning rate
        require_position(loader, trainer.state.iteration)
        self._directory.begin(self.options, self._description or {}, self._notices.texts, recipe=self._recipe)
        say_loudly((self._description or {}).get("notice"))
        self._notices.begin()
        board = showing(trainer, self.directory, self.options.visdom if is_main else None, about=self._about)
        asks, start = self.options.tensorboard and is_main, self.iteration
        curves = drawing(record, self.directory / "tensorboard", asks, from_iteration=start)
        stop = StopOnSignal(
            checkpoints,
            watch=attached.evaluators,
            # Without the digest: to read the weights might be to wait for what is stuck.
            before_exit=partial(record.end, "interrupted", digest=False),
            agreement=self._several.agreement,
        )
        with self._several.together(trainer), stop.attach(trainer):  # around all that writes down how it went
            size = loader.batch_sampler.batch_size
            in_one_line = correctable(
                trainer,
                self.compute,
                batch_size=size,
                directory=self.directory,
                skips=self.options.on_bad_sample == "skip",
            )
            with in_one_line, closing(unsaved), record, board, curves, stop.interrupting():
                if trainer.state.iteration < iterations:
                    run_until(iterations, trainer, loader)
            evaluated = [engine.state.dataloader for engine in attached.evaluators]
            say_bad_samples([trainer.state.dataloader], self.processes, what="others stood in for them")
            say_bad_samples(evaluated, self.processes, what="validation left them out")
            if is_main:
                say_how_it_went(self.directory)

    def _summarize(self, trainer: Engine, loader: EndlessLoader) -> None:
        if self.processes.count > 1:
            raise BadInput("--summary is for one process")
        if self.options.micro_batches > 1:  # of what is computed once more, nothing is seen
            raise BadInput(
                "--summary is for whole batches: give --micro-batches 1 and, to see a part's, a smaller batch"
            )
        save = self._attached.save if self._attached is not None else {}
        models, cost = summarize(step_of(trainer), next(iter(loader)), save)
        print(as_text(models, cost, loader.batch_sampler.batch_size))

    def _save_early_end(self, engine: Engine, checkpoints: Checkpoints) -> None:
        if self.is_done:  # else a search for a learning rate has ended
            checkpoints.save(engine)

    def _about(self) -> str:
        notice = (self._description or {}).get("notice")
        found = map(str, self.timer.findings())
        lines = (str(self.directory), notice, *self._notices.texts, *found, self.timer.shares())
        return "\n".join(line for line in lines if line)

    def _note_workers(self, num_workers: int, reason: str) -> None:
        if num_workers:
            say(f"Loading with {num_workers} workers: {reason}")
        self._directory.note("auto_workers", {"num_workers": num_workers, "reason": reason})

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._directory.discard_if_empty()
        if isinstance(error, KeyboardInterrupt) and self._directory.exists:
            say(f"interrupted; go on with --resume {self.directory}")


def _loading_costs(trainer: Engine) -> list[tuple[str, float]]:
    loader = trainer.state.dataloader  # which may be another than at the start: workers are tried
    return [(cost.name, cost.share) for cost in loader.costs()] if isinstance(loader, EndlessLoader) else []
