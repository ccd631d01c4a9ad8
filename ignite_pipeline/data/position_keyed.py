"""A data set whose random draws depend on where in the run they are made, and on nothing else."""

from collections.abc import Callable, Sized
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, Subset, default_collate

from ignite_pipeline.data.loading_costs import LoadingCosts
from ignite_pipeline.data.position_sampler import BatchKey, IterationKey
from ignite_pipeline.errors import BadInput
from ignite_pipeline.replicas import Replicated
from ignite_pipeline.seeding import (
    BATCH_STREAM,
    COLLATE_STREAM,
    OF_TRANSFORMS,
    REPLACE_STREAM,
    SAMPLE_STREAM,
    position_seed,
    seeded,
)

_ATTEMPTS = 10
_LONGEST_REASON = 500
LEAVE_OUT = "leave out"
_NONE: Any = object()
Collate = Callable[[list[Any]], Any]


class BadSample(RuntimeError):
    """A data set failed at an index, which the message names."""


class UnreadableSample(BadSample):
    """It failed for what it has read, a file, say, and not for a defect of its own."""


class Unread(NamedTuple):
    """What stands for a batch of which no sample could be read, and why not the last of them."""

    reason: str


class PositionKeyed(Dataset[Any]):
    """A map-style data set that is asked for whole batches, by `BatchKey`.

    What torch, ``random`` and ``numpy.random`` draw is a function of ``(seed, epoch, index)`` in a sample,
    and of ``(seed, iteration, replica)`` in ``collate_fn`` and in the data set's own ``__getitems__``. A data
    set with the attribute ``deterministic`` draws nothing, and is spared the 20 µs of seeding for a sample.
    A sample that fails raises `BadSample`. With ``skip_bad``, one drawn from the position stands in for it
    or, if it is "leave out", none, and `Unread` for a batch without any; its index is in `bad_indices`, from
    whichever process.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        *,
        seed: int,
        collate_fn: Collate = default_collate,
        skip_bad: bool | str = False,
    ) -> None:
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
            raise TypeError(
                f"{type(dataset).__name__} has no positions: a run that resumes exactly needs a map-style"
                " data set, with __getitem__(index) and __len__; for shards take one with random access,"
                " such as Hugging Face datasets (not streaming), array_record or LMDB; one that streams but"
                " can be indexed, such as litdata's, needs a data set of yours that returns its [index]"
            )
        self.dataset, self.seed, self.collate_fn = dataset, seed, collate_fn
        self._takes_batches = takes_batches(dataset)
        if skip_bad and self._takes_batches:
            raise ValueError("skip_bad needs a data set that is read sample by sample, without __getitems__")
        # What a subclass of Subset does is its own affair.
        self._deterministic = getattr(_innermost(dataset, plain=True), "deterministic", False)
        # A byte for each sample; None where a bad one stops everything.
        size = size_of(dataset)
        self._bad = torch.zeros(size, dtype=torch.uint8) if skip_bad else None
        self.leaves_out = skip_bad == LEAVE_OUT
        self._at_work: Tensor | None = None
        self._reason = torch.empty(0, dtype=torch.uint8)
        self._worker_id = 0
        self._last_error = ""
        self.costs = LoadingCosts()

    @property
    def draws(self) -> bool:
        """Whether anything here may draw at random: not where the data set says that it draws nothing."""
        return not self._deterministic or self.collate_fn is not default_collate

    @property
    def bad_indices(self) -> list[int]:
        """The indices of the samples that have been replaced so far, or were about to be."""
        return [] if self._bad is None else self._bad.nonzero().flatten().tolist()

    def go_on_noting(self, other: "PositionKeyed") -> None:
        """Note bad samples where another has noted those before."""
        if self._bad is not None and other._bad is not None:
            self._bad = other._bad

    def expect_workers(self, count: int) -> None:
        """Share with workers what they note: bad samples, those that they load, and why one of them ends."""
        if self._bad is not None:
            self._bad.share_memory_()
        self._at_work = torch.full((count,), -1).share_memory_()
        self._reason = torch.zeros(_LONGEST_REASON, dtype=torch.uint8).share_memory_()

    def at_work(self) -> list[int]:
        """Return the index that each worker has last begun to load."""
        return [] if self._at_work is None else [index for index in self._at_work.tolist() if index >= 0]

    def note_reason(self, text: str) -> None:
        """Note, in a worker, why it ends."""
        content = torch.tensor(list(text.encode()[:_LONGEST_REASON]), dtype=torch.uint8)
        self._reason[: len(content)] = content

    @property
    def reason(self) -> str:
        """Why a worker has ended, if it could tell."""
        return bytes(self._reason.tolist()).rstrip(b"\0").decode(errors="replace")

    def work_as(self, worker_id: int) -> None:
        """Note for that worker from now on: it is the process that calls."""
        self._worker_id = worker_id
        self.costs.work_as(worker_id)

    def _note(self, index: int) -> None:
        if self._at_work is not None:
            self._at_work[self._worker_id] = index

    def __getitems__(self, key: IterationKey) -> Any:
        """Return the batch of that key, collated, or those of several keys as `Replicated`."""
        if not isinstance(key, BatchKey):
            return Replicated([self.__getitems__(one) for one in key])
        timed = self.costs.timed_of(key.indices, key.iteration, key.replica)
        if not self._takes_batches:
            with nullcontext() if self._deterministic else OF_TRANSFORMS.kept():
                found = [self._sample(key.epoch, index, index in timed) for index in key.indices]
            samples = [sample for sample in found if sample is not _NONE]
            return self._collated(samples, key, bool(timed)) if samples else Unread(self._last_error)
        self._note(key.indices[0])
        try:
            seed = position_seed(self.seed, BATCH_STREAM, key.iteration, key.replica)
            with nullcontext() if self._deterministic else seeded(seed):
                read = cast(Any, self.dataset).__getitems__
                batch = self.costs.read_batch(read, key.indices) if timed else read(key.indices)
        except Exception as error:
            raise _bad_sample(f"one of samples {key.indices}", error) from error
        return self._collated(batch, key, bool(timed)) if isinstance(batch, list) else batch

    def _collated(self, samples: list[Any], key: BatchKey, is_timed: bool) -> Any:
        collate = partial(self.costs.collate, self.collate_fn) if is_timed else self.collate_fn
        if self.collate_fn is default_collate:  # it draws nothing
            return collate(samples)
        with seeded(position_seed(self.seed, COLLATE_STREAM, key.iteration, key.replica)):
            return collate(samples)

    def _sample(self, epoch: int, position: int, is_timed: bool) -> Any:
        index, attempt = position, 0
        while True:
            self._note(index)
            try:
                if not self._deterministic:
                    OF_TRANSFORMS.seed(position_seed(self.seed, SAMPLE_STREAM, epoch, position))
                return self.costs.read(self.dataset, index) if is_timed else self.dataset[index]
            except Exception as error:
                attempt += 1
                if self._bad is None or attempt == _ATTEMPTS:
                    raise _bad_sample(f"sample {index}", error) from error
                self._bad[index], self._last_error = 1, str(error)
                if self.leaves_out:
                    return _NONE
                index = position_seed(self.seed, REPLACE_STREAM, epoch, position, attempt) % len(self._bad)


def size_of(dataset: Dataset[Any]) -> int:
    """Return the length of a map-style data set, which torch does not declare to have one."""
    return len(cast(Sized, dataset))


def takes_batches(dataset: Dataset[Any]) -> bool:
    """Return whether a data set gives whole batches, with ``__getitems__`` of its own."""
    # Every Subset has it, but loops over samples where the data set inside has none.
    return hasattr(_innermost(dataset), "__getitems__")


def _bad_sample(which: str, error: Exception) -> BadSample:
    kind = UnreadableSample if isinstance(error, OSError | BadInput) else BadSample
    return kind(f"{which} of the data set: {type(error).__name__}: {error}")


def _innermost(dataset: Dataset[Any], *, plain: bool = False) -> Dataset[Any]:
    """Return what is inside of a `Subset`, and of those in it; with ``plain``, not of its subclasses."""
    while isinstance(dataset, Subset) and (not plain or type(dataset) is Subset):
        dataset = dataset.dataset
    return dataset
