"""The handlers that every run has, and the order in which they and those of a recipe are attached."""

import argparse
from functools import partial

from ignite.engine import Engine, Events

from handlers import Checkpoints, FetchComputeTimer, ModelNorms, ProgressLine, RunRecord, StopOnNonFinite
from handlers.attached import put_first
from ignite_pipeline.compute import Compute
from ignite_pipeline.notebook import in_notebook
from ignite_pipeline.run.directory import RunDirectory
from ignite_pipeline.run.given import Given, Handler
from ignite_pipeline.run.loaders import Loaders, loading_costs
from ignite_pipeline.run.notices import Notices
from ignite_pipeline.run.several import Several
from ignite_pipeline.run.stored_options import kept_options
from ignite_pipeline.run.unsaved_state import UnsavedState
from ignite_pipeline.seeding import ReseedEachIteration


class OwnHandlers:
    """The handlers of a run, made for what its recipe has ``given``.

    Ignite calls what is attached to an event in the order in which it was attached. `attach` and
    `attach_last` are all of that order; between the two, a recipe may attach what it likes.
    """

    def __init__(
        self,
        given: Given,
        options: argparse.Namespace,
        *,
        timer: FetchComputeTimer,
        compute: Compute,
        directory: RunDirectory,
        loaders: Loaders,
        several: Several,
        notices: Notices,
    ) -> None:
        if loaders.training is None or loaders.description is None:
            raise RuntimeError("call run.train_loader before run.attach")
        if "compute" in given.save:
            raise ValueError("save['compute'] is the run's own: take another name")
        self.given, self.options, self.timer, self.compute = given, options, timer, compute
        self.directory, self.path, self.several = directory, directory.path, several
        self.batches, self.description = loaders.training.batch_sampler, loaders.description
        self.evaluators = given.evaluators
        self.workers = loaders.auto_workers()
        self.guard = self._guard()
        self.record = self._record()
        self.checkpoints = self._checkpoints()
        self.line = self._line()
        self.unsaved = UnsavedState(
            lambda: self.checkpoints.objects.values(),
            on_unsaved=notices.add,
            watch_randomness=not options.seed_everything,
        )
        self._is_training = False

    def attach(self, trainer: Engine) -> "OwnHandlers":
        """Attach what comes before the recipe's evaluations, and these; return self."""
        options, given = self.options, self.given
        self.several.share(given.evaluate, self.compute.device)
        self.timer.culprits.loading = partial(loading_costs, trainer)
        for evaluator in self.evaluators:
            self.timer.watch(evaluator, trainer)
        seed, everything = options.seed, options.seed_everything
        first: list[Handler | None] = [
            self.timer,
            ReseedEachIteration(seed, device=self.compute.device, everything=everything),
            *given.measure,
            self.workers,
            ModelNorms(given.models[0]) if options.log_norms and given.models else None,
            self.guard,
        ]
        for handler in first:
            if handler is not None:
                handler.attach(trainer)
        put_first(trainer, Events.ITERATION_STARTED)  # nobody draws before the step's seed
        # Before the evaluation of an early end, which a run that is not cut there never makes.
        trainer.add_event_handler(Events.TERMINATE, self._save_early_end)
        for handler in given.evaluate:
            handler.attach(trainer)
        return self

    def attach_last(self, trainer: Engine) -> None:
        """Attach what comes after all that the recipe has attached: nothing is published after the record."""
        self._is_training = True
        last: list[Handler] = [self.record, self.checkpoints, self.unsaved]
        for handler in (*last, self.line) if self.several.processes.is_main else last:
            handler.attach(trainer)

    def _save_early_end(self, engine: Engine) -> None:
        if self._is_training:  # else a search for a learning rate has ended
            self.checkpoints.save(engine)

    def _guard(self) -> StopOnNonFinite:
        is_main = self.several.processes.is_main
        return StopOnNonFinite(
            allowed_in_a_row=self.options.skip_non_finite,
            path=self.path / "non_finite.jsonl" if is_main else None,
            samples_of=self.batches.indices,
            optimizer=self.given.optimizer,
        )

    def _record(self) -> RunRecord:
        return RunRecord(
            self.path,
            timer=self.timer,
            batch_size=self.batches.batch_size,
            models=tuple(self.given.models),
            dataset=self.description,
            best=self.given.score,
            maximize=self.given.maximize,
            saved_iteration=lambda: self.checkpoints.saved_iteration,
            writes=self.several.processes.is_main,
            reports=self.given.reports,
        )

    def _checkpoints(self) -> Checkpoints:
        given, signature = self.given, self.given.signature
        return Checkpoints(
            self.path / "checkpoints",
            given.save,
            every_s=self.options.checkpoint_every_s,
            timer=self.timer,
            background=self.options.save_in_background,
            score=given.score,
            maximize=given.maximize,
            before=self._sync,
            agreement=self.several.agreement,
            writes=self.several.processes.is_main,
            verify=partial(self.several.verify, given=(*given.save, "compute")),
            config={
                "task": self.directory.task,
                "run": self.directory.run,
                "options": kept_options(self.options),
                "dataset": self.description,
                "signature": None if signature is None else signature.as_json(),
            },
        )

    def _sync(self) -> None:
        self.record.sync()
        self.guard.sync()

    def _line(self) -> ProgressLine:
        return ProgressLine(
            metrics=dict(self.given.show or {}),
            timer=self.timer,
            batch_size=self.batches.batch_size,
            label="GENERATED data" if self.description["name"] == "generated" else "",
            redraws=True if in_notebook() else None,
        )
