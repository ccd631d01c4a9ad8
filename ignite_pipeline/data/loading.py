"""The endless, position-keyed loader: which samples a step sees depends on its number and the seed alone."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset, default_collate, get_worker_info

from ignite_pipeline.seeding import ORDER_STREAM, REPLACE_STREAM, SAMPLE_STREAM, position_seed, seeded

Key = tuple[int, int]
_ATTEMPTS = 10


class PositionSampler(Sampler[list[Key]]):
    """Batches of keys ``(epoch, index)`` from any global iteration on, without end.

    The order of epoch *e* is a permutation drawn from ``(seed, e)``; with ``weights`` it is ``size``
    draws with replacement. ``len()`` is the number of batches in an epoch. With several processes,
    each ``rank`` takes its slice of every global batch.

    >>> sampler = PositionSampler(4, batch_size=2, seed=0)
    >>> batches = iter(sampler)
    >>> first_epoch = next(batches) + next(batches)
    >>> sorted(first_epoch)
    [(0, 0), (0, 1), (0, 2), (0, 3)]
    >>> next(batches) == next(iter(PositionSampler(4, batch_size=2, seed=0, start_iteration=2)))
    True
    """

    def __init__(
        self,
        size: int,
        *,
        batch_size: int,
        seed: int,
        start_iteration: int = 0,
        drop_last: bool = True,
        weights: Sequence[float] | Tensor | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < world_size:
            raise ValueError(f"batch_size must be at least {world_size}, one a process; got {batch_size}")
        if size < (batch_size if drop_last else 1):
            raise ValueError(f"batch_size={batch_size} is more than the {size} samples; take a smaller batch")
        if not drop_last and 0 < size % batch_size < world_size:
            raise ValueError(
                f"the last batch has {size % batch_size} samples for {world_size} processes; drop it"
            )
        if start_iteration < 0:
            raise ValueError(f"start_iteration must not be negative, got {start_iteration}")
        if weights is not None and len(weights) != size:
            raise ValueError(f"weights must hold one number for each of {size} samples, got {len(weights)}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be in [0, {world_size}), got {rank}")
        self.size, self.batch_size, self.seed, self.start_iteration = size, batch_size, seed, start_iteration
        self.drop_last, self.rank, self.world_size = drop_last, rank, world_size
        self.weights = None if weights is None else torch.as_tensor(weights, dtype=torch.float64)

    def __len__(self) -> int:
        return self.size // self.batch_size if self.drop_last else -(-self.size // self.batch_size)

    def order(self, epoch: int) -> Tensor:
        """Return the ``size`` indices of an epoch, in order, as int64."""
        generator = torch.Generator().manual_seed(position_seed(self.seed, ORDER_STREAM, epoch))
        if self.weights is None:
            return torch.randperm(self.size, generator=generator)
        return torch.multinomial(self.weights, self.size, replacement=True, generator=generator)

    def indices(self, iteration: int) -> list[int]:
        """Return the indices of the samples that an engine sees in that iteration, counted from 1."""
        epoch, batch = divmod(iteration - 1, len(self))
        indices = self.order(epoch)[batch * self.batch_size : (batch + 1) * self.batch_size]
        return indices[self.rank :: self.world_size].tolist()

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, first_batch = divmod(self.start_iteration, len(self))
        while True:
            order = self.order(epoch)
            for batch in range(first_batch, len(self)):
                indices = order[batch * self.batch_size : (batch + 1) * self.batch_size]
                yield [(epoch, index) for index in indices[self.rank :: self.world_size].tolist()]
            epoch, first_batch = epoch + 1, 0


class BadSample(RuntimeError):
    """A data set failed at an index, which the message names."""


class PositionKeyed(Dataset[Any]):
    """A map-style data set looked up by ``(epoch, index)``, whose random draws depend on that key alone.

    One with the attribute ``deterministic`` draws nothing, and is spared 70 µs a call for seeding. A sample
    that fails raises `BadSample`. With ``skip_bad``, one drawn from the position stands in for it,
    and its index is in `bad_indices`, from whichever process.
    """

    def __init__(self, dataset: Dataset[Any], *, seed: int, skip_bad: bool = False) -> None:
        self.dataset, self.seed = dataset, seed
        innermost = _innermost(dataset)
        # Every Subset has __getitems__, but it loops over samples where the data set inside has none.
        self._takes_batches = hasattr(innermost, "__getitems__")
        if skip_bad and self._takes_batches:
            raise ValueError("skip_bad needs a data set that is read sample by sample, without __getitems__")
        self._deterministic = getattr(innermost, "deterministic", False)
        # A byte for each sample, shared with the workers; None where a bad one stops everything.
        size = len(dataset)  # type: ignore[arg-type]
        self._bad = torch.zeros(size, dtype=torch.uint8).share_memory_() if skip_bad else None
        self._at_work: Tensor | None = None
        self._worker_id = 0

    @property
    def bad_indices(self) -> list[int]:
        """The indices of the samples that have been replaced so far, or were about to be."""
        return [] if self._bad is None else self._bad.nonzero().flatten().tolist()

    def expect_workers(self, count: int) -> None:
        """Make room for notes of what each worker is about to load."""
        self._at_work = torch.full((count,), -1).share_memory_()

    def at_work(self) -> list[int]:
        """Return the index that each worker has last begun to load."""
        return [] if self._at_work is None else [index for index in self._at_work.tolist() if index >= 0]

    def work_as(self, worker_id: int) -> None:
        """Note for that worker from now on: it is the process that calls."""
        self._worker_id = worker_id

    def _note(self, index: int) -> None:
        if self._at_work is not None:
            self._at_work[self._worker_id] = index

    def __getitem__(self, key: Key) -> Any:
        """Return the sample at ``key``, drawn under its own seed."""
        index, attempt = key[1], 0
        while True:
            self._note(index)
            try:
                with self._drawing_at(key):
                    return self.dataset[index]
            except Exception as error:
                attempt += 1
                if self._bad is None or attempt == _ATTEMPTS:
                    raise BadSample(f"sample {index} of the data set: {_in_words(error)}") from error
                self._bad[index] = 1
                index = position_seed(self.seed, REPLACE_STREAM, *key, attempt) % len(self._bad)

    def _drawing_at(self, key: Key) -> AbstractContextManager[None]:
        if self._deterministic:
            return nullcontext()
        return seeded(position_seed(self.seed, SAMPLE_STREAM, *key))

    def __getitems__(self, keys: list[Key]) -> Any:
        """Return a whole batch in one call where the data set can, else a list of samples."""
        if not self._takes_batches:
            return [self[key] for key in keys]
        indices = [index for _, index in keys]
        self._note(indices[0])
        try:
            with self._drawing_at(keys[0]):
                return self.dataset.__getitems__(indices)  # type: ignore[attr-defined]
        except Exception as error:
            raise BadSample(f"one of samples {indices} of the data set: {_in_words(error)}") from error


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _innermost(dataset: Dataset[Any]) -> Dataset[Any]:
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset


def _collate(samples: Any, collate_samples: Callable[[list[Any]], Any]) -> Any:
    return collate_samples(samples) if isinstance(samples, list) else samples


class EndlessLoader(DataLoader[Any]):
    """A DataLoader over a `PositionKeyed` data set that says which samples a worker died on."""

    dataset: PositionKeyed

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        if self.num_workers == 0:
            return super().__iter__()
        self.dataset.expect_workers(self.num_workers)
        return self._named(super().__iter__())

    def _named(self, batches: Iterator[Any]) -> Iterator[Any]:
        while True:
            try:
                batch = next(batches)
            except BadSample:
                raise
            except RuntimeError as error:
                if at_work := self.dataset.at_work():
                    raise RuntimeError(f"{error} (the workers were loading samples {at_work})") from error
                raise
            yield batch


def _begin_work(worker_id: int, *, then: Callable[[int], object] | None) -> None:
    """Leave the terminal's process group, so that Ctrl-C lets the parent finish its step with its workers."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    info: Any = get_worker_info()
    info.dataset.work_as(worker_id)
    if then is not None:
        then(worker_id)


def endless_loader(
    dataset: Dataset[Any],
    *,
    batch_size: int,
    seed: int,
    start_iteration: int = 0,
    num_workers: int = 0,
    drop_last: bool = True,
    weights: Sequence[float] | Tensor | None = None,
    rank: int = 0,
    world_size: int = 1,
    collate_fn: Callable[[list[Any]], Any] = default_collate,
    skip_bad: bool = False,
    worker_init_fn: Callable[[int], object] | None = None,
    **dataloader_options: Any,
) -> EndlessLoader:
    """Return a DataLoader that walks over epochs without end, from ``start_iteration`` on.

    Give it to ``trainer.run(loader, max_epochs=..., epoch_length=len(loader))``: one ``iter()`` serves
    the whole run, so workers live through it and fetch the next epoch while this one is evaluated.
    To resume, build it again with ``start_iteration=trainer.state.iteration``.

    ``dataset`` is any map-style data set. Its ``__getitem__`` may draw from torch, ``random`` or
    ``numpy.random``: the draws are a function of ``(seed, epoch, index)``. If it has
    ``__getitems__(indices)``, that is called once a batch instead, under one seed for the batch; it
    may return a list of samples, which ``collate_fn`` joins, or a batch that is complete (anything
    but a list). A sample that fails raises `BadSample` with its index or, with ``skip_bad``, is replaced by
    one drawn from its position (see `PositionKeyed`). ``batch_size`` counts the samples of all
    ``world_size`` processes together. Other options go to ``torch.utils.data.DataLoader``.

    >>> loader = endless_loader(range(10), batch_size=4, seed=0)
    >>> len(loader), next(iter(loader)).shape
    (2, torch.Size([4]))
    """
    sampler = PositionSampler(
        len(dataset),  # type: ignore[arg-type]
        batch_size=batch_size,
        seed=seed,
        start_iteration=start_iteration,
        drop_last=drop_last,
        weights=weights,
        rank=rank,
        world_size=world_size,
    )
    return EndlessLoader(
        PositionKeyed(dataset, seed=seed, skip_bad=skip_bad),
        batch_sampler=sampler,
        num_workers=num_workers,
        worker_init_fn=partial(_begin_work, then=worker_init_fn) if num_workers else None,
        collate_fn=partial(_collate, collate_samples=collate_fn),
        **dataloader_options,
    )


def ordered_loader(dataset: Dataset[Any], *, batch_size: int, **dataloader_options: Any) -> DataLoader[Any]:
    """Return a DataLoader that goes once over every sample, in order: for evaluation.

    >>> [batch.tolist() for batch in ordered_loader(range(5), batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """
    collate_fn = partial(_collate, collate_samples=dataloader_options.pop("collate_fn", default_collate))
    return DataLoader(dataset, batch_size=batch_size, collate_fn=collate_fn, **dataloader_options)
