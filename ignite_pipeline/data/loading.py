"""The endless, position-keyed loader: which samples a step sees depends on its number and the seed alone.

("Infinite" is the word that others use for a loader without end.)
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, cast

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from ignite_pipeline.data.from_workers import Otherwise, batches_from_workers
from ignite_pipeline.data.loading_costs import LoadingCost
from ignite_pipeline.data.position_keyed import (
    LEAVE_OUT,
    Collate,
    PositionKeyed,
    Unread,
    UnreadableSample,
    size_of,
)
from ignite_pipeline.data.position_sampler import BatchKey, PositionSampler
from ignite_pipeline.data.worker_process import begin_work
from ignite_pipeline.seeding import EVALUATION_STREAM, position_seed


class _Loader(DataLoader[Any]):
    """A DataLoader over a `PositionKeyed` data set that says what has become of its workers.

    ``otherwise``, if set, is what goes on after so many batches, where workers have failed.
    """

    dataset: PositionKeyed
    otherwise: Otherwise | None = None

    def __iter__(self) -> Any:
        begin = super().__iter__
        if not self.num_workers:
            return begin()
        return batches_from_workers(
            begin, self.dataset, num_workers=self.num_workers, otherwise=self.otherwise
        )


class EndlessLoader(_Loader):
    """The endless loader of a run: it knows where in the run it begins."""

    batch_sampler: PositionSampler  # type: ignore[assignment]  # torch's stubs want lists

    @property
    def start_iteration(self) -> int:
        """The iteration after which its first batch comes; an engine must start with it there."""
        return self.batch_sampler.start_iteration

    def __iter__(self) -> Any:
        self.dataset.costs.begin(self.dataset.dataset, workers=self.num_workers)
        return super().__iter__()

    def costs(self) -> list[LoadingCost]:
        """Return what each part of loading takes, the largest first, as far as it has gone.

        A part is "reading" (all that a data set does but its transforms), a transform by its name, or
        "collating". One sample in 64 is timed, in whichever process reads it; workers may be at work.
        """
        return self.dataset.costs.found()


class EvaluationLoader(_Loader):
    """A loader that goes once over every sample, or over those that can be read.

    In the second case it has no length: batches of which nothing can be read are left out.
    `UnreadableSample` is raised where this is so for all.
    """

    def __len__(self) -> int:
        if self.dataset.leaves_out:
            raise TypeError("it has no length: batches of which nothing can be read are left out")
        return super().__len__()

    def __iter__(self) -> Any:
        batches = self.all_batches()
        return readable(batches) if self.dataset.leaves_out else batches

    def all_batches(self) -> Any:
        """Return what goes over all batches, `Unread` among them."""
        return super().__iter__()


def readable(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches that are not `Unread`; raise `UnreadableSample` if all are.

    >>> list(readable([1, Unread("a.jpg: not a readable image"), 2]))
    [1, 2]
    """
    unread, anything = None, False
    for batch in batches:
        if isinstance(batch, Unread):
            unread = batch
        else:
            anything = True
            yield batch
    if unread is not None and not anything:
        raise UnreadableSample(f"no sample for evaluation can be read: {unread.reason}")


def _drop_options_of_workers(options: dict[str, Any]) -> None:
    # torch refuses them without workers, and whoever finds out about workers gives them always.
    for name in ("prefetch_factor", "persistent_workers", "multiprocessing_context", "timeout"):
        options.pop(name, None)


def _as_it_is(batch: Any) -> Any:
    return batch


def endless_loader(
    dataset: Dataset[Any],
    *,
    batch_size: int,
    seed: int,
    start_iteration: int = 0,
    num_workers: int = 0,
    drop_last: bool = True,
    weights: Sequence[float] | Tensor | None = None,
    window: int | None = None,
    neighbours: int | None = None,
    replicas: int = 1,
    local: range | None = None,
    collate_fn: Collate = default_collate,
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
    ``__getitems__(indices)``, that is called once a batch instead, under one seed for the batch; it may
    return a list of samples, which ``collate_fn`` joins, or a batch that is complete (anything but a list).
    ``collate_fn`` may draw too, MixUp, say: it runs under a seed of ``(seed, iteration)``. A sample that
    fails raises `BadSample` with its index or, with ``skip_bad``, is replaced by one drawn from its
    position (see `PositionKeyed`).

    ``weights``, one for each sample, draw some more often than others. Where neighbours are cheap to read
    together, ``window=4096, neighbours=64`` shuffles runs of 64 samples, and the samples of 64 runs among
    each other (see `Windowed`). ``ValueError`` is raised for both at once.

    ``batch_size`` counts the samples of all ``replicas`` together; if more than one of them is ``local``, a
    batch is `Replicated`. Other options go to ``torch.utils.data.DataLoader``: give it
    ``multiprocessing_context="forkserver"`` for data of a library whose threads a fork loses (array_record).
    ``TypeError`` is raised for an ``IterableDataset``, and for a sampler: it draws from a generator of its
    own.

    >>> loader = endless_loader(range(10), batch_size=4, seed=0)
    >>> len(loader), next(iter(loader)).shape
    (2, torch.Size([4]))
    """
    for name in ("shuffle", "sampler", "batch_sampler"):
        if name in dataloader_options:
            raise TypeError(
                f"endless_loader takes no {name}: it shuffles by position, from seed; weights=... draws some"
                " samples more often than others, torch.utils.data.Subset leaves some out"
            )
    if num_workers == 0:
        _drop_options_of_workers(dataloader_options)
    keyed = PositionKeyed(dataset, seed=seed, collate_fn=collate_fn, skip_bad=skip_bad)
    sampler = PositionSampler(
        size_of(dataset),
        batch_size=batch_size,
        seed=seed,
        start_iteration=start_iteration,
        drop_last=drop_last,
        weights=weights,
        window=window,
        neighbours=neighbours,
        replicas=replicas,
        local=local,
    )
    return EndlessLoader(
        keyed,
        batch_sampler=cast(Any, sampler),
        num_workers=num_workers,
        worker_init_fn=partial(begin_work, then=worker_init_fn) if num_workers else None,
        collate_fn=_as_it_is,
        **dataloader_options,
    )


def evaluation_loader(
    dataset: Dataset[Any],
    *,
    batch_size: int,
    seed: int = 0,
    collate_fn: Collate = default_collate,
    num_workers: int = 0,
    worker_init_fn: Callable[[int], object] | None = None,
    part: slice = slice(None),
    skip_bad: bool = False,
    **dataloader_options: Any,
) -> EvaluationLoader:
    """Return a DataLoader that goes once over every sample, in order, or over a ``part`` of the batches.

    What a sample draws at random is a function of ``seed`` and its index: the same in every evaluation.
    With ``skip_bad``, a sample that fails is left out, and so is a batch of which all do.

    >>> [batch.tolist() for batch in evaluation_loader(range(5), batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """
    if num_workers == 0:
        _drop_options_of_workers(dataloader_options)
    skip = LEAVE_OUT if skip_bad else False
    seed = position_seed(seed, EVALUATION_STREAM)
    keyed = PositionKeyed(dataset, seed=seed, collate_fn=collate_fn, skip_bad=skip)
    size = size_of(dataset)
    batches = [range(first, min(first + batch_size, size)) for first in range(0, size, batch_size)]
    keys = [BatchKey(number, 0, 0, list(indices)) for number, indices in enumerate(batches, start=1)]
    return EvaluationLoader(
        keyed,
        batch_sampler=cast(Any, keys[part]),
        collate_fn=_as_it_is,
        num_workers=num_workers,
        worker_init_fn=partial(begin_work, then=worker_init_fn) if num_workers else None,
        **dataloader_options,
    )
