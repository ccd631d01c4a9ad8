"""The loaders that a run hands out: at its position, under its seed, and this process's part of them."""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from ignite.engine import Engine
from torch.utils.data import Dataset

from ignite_pipeline.command_line import say
from ignite_pipeline.data.loading import EndlessLoader, EvaluationLoader, endless_loader, evaluation_loader
from ignite_pipeline.data.own_randomness import keeps_random_state
from ignite_pipeline.data.position_keyed import takes_batches
from ignite_pipeline.machine import available_cores
from ignite_pipeline.run.auto_workers import AutoWorkers
from ignite_pipeline.run.directory import RunDirectory
from ignite_pipeline.run.notices import Notices
from ignite_pipeline.run.outcome import description_of
from ignite_pipeline.run.several import Several


class Loaders:
    """What makes a run's loaders, as its options say; `training` is the one for training that it made last.

    `description` is what the run keeps of its data: that which the data gives, or else one of its own.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        *,
        device: torch.device,
        directory: RunDirectory,
        several: Several,
        notices: Notices,
    ) -> None:
        self.options, self.device, self.directory = options, device, directory
        self.several, self.notices = several, notices
        self.training: EndlessLoader | None = None
        self.description: dict[str, Any] | None = None
        self._make: Callable[..., EndlessLoader] | None = None

    def train_loader(self, dataset: Dataset[Any], *, batch_size: int, **options: Any) -> EndlessLoader:
        """Return the loader of `Run.train_loader`."""
        if "num_workers" in options:
            raise TypeError("num_workers is an option of every run: --num-workers")
        self._make = partial(
            endless_loader,
            dataset,
            batch_size=batch_size,
            seed=self.options.seed,
            **{
                "pin_memory": self.device.type == "cuda",
                "skip_bad": self._skips_bad(dataset),
                "replicas": self.options.replicas,
                "local": self.several.local,
                **options,
            },
        )
        num_workers = 0 if self.options.num_workers == "auto" else self.options.num_workers
        loader = self._make(num_workers=num_workers, start_iteration=self.directory.iteration)
        if keeps_random_state(loader.dataset, loader.batch_sampler):
            self.notices.add(
                f"{type(dataset).__name__} keeps random state of its own (a generator, or samples once"
                " drawn): other workers or a resume give other batches; let it draw from torch, random or"
                " numpy.random"
            )
        if self.description is None:
            self.description = description_of(dataset)
        self.training = loader
        return loader

    def evaluation_loader(
        self, dataset: Dataset[Any], *, batch_size: int, **options: Any
    ) -> EvaluationLoader:
        """Return the loader of `Run.evaluation_loader`."""
        own = {"seed": self.options.seed, "skip_bad": self._skips_bad(dataset)}
        make = partial(evaluation_loader, dataset, batch_size=batch_size, **{**own, **options})
        return self.several.evaluation_loader(make)

    def _skips_bad(self, dataset: Dataset[Any]) -> bool:
        return self.options.on_bad_sample == "skip" and not takes_batches(dataset)

    def require_last(self, loader: object) -> None:
        """Raise ``TypeError`` or ``ValueError`` for a loader of other data than `training` has."""
        if not isinstance(loader, EndlessLoader) or self.training is None:
            raise TypeError(f"run.train takes what run.train_loader returns, got {type(loader).__name__}")
        if loader.dataset.dataset is not self.training.dataset.dataset:
            raise ValueError("run.train takes the loader that run.train_loader returned last")

    def auto_workers(self) -> AutoWorkers | None:
        """Return what tries workers, if it is to; whoever attaches it knows for how many ``iterations``."""
        if self.options.num_workers != "auto" or self._make is None:
            return None
        return AutoWorkers(
            self._make,
            iterations=0,
            max_workers=available_cores() // self.several.processes.on_this_machine,
            on_decision=self._note_workers,
        )

    def _note_workers(self, num_workers: int, reason: str) -> None:
        if num_workers:
            say(f"Loading with {num_workers} workers: {reason}")
        self.directory.note("auto_workers", {"num_workers": num_workers, "reason": reason})


def loading_costs(trainer: Engine) -> list[tuple[str, float]]:
    """Return what each part of loading has taken of the whole, by name, of a run as it goes on."""
    loader = trainer.state.dataloader  # which may be another than at the start: workers are tried
    return [(cost.name, cost.share) for cost in loader.costs()] if isinstance(loader, EndlessLoader) else []
