"""The endless, position-keyed loader: which samples a step sees depends on its number and the seed alone."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset, default_collate

from ignite_pipeline.seeding import ORDER_STREAM, SAMPLE_STREAM, position_seed, seeded

Key = tuple[int, int]


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

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, first_batch = divmod(self.start_iteration, len(self))
        while True:
            order = self.order(epoch)
            for batch in range(first_batch, len(self)):
                indices = order[batch * self.batch_size : (batch + 1) * self.batch_size]
                yield [(epoch, index) for index in indices[self.rank :: self.world_size].tolist()]
            epoch, first_batch = epoch + 1, 0


class PositionKeyed(Dataset[Any]):
    """A map-style data set looked up by ``(epoch, index)``, whose random draws depend on that key alone."""

    def __init__(self, dataset: Dataset[Any], *, seed: int) -> None:
        self.dataset, self.seed = dataset, seed
        self._takes_batches = _takes_batches(dataset)

    def __getitem__(self, key: Key) -> Any:
        """Return the sample at ``key``, drawn under its own seed."""
        with seeded(position_seed(self.seed, SAMPLE_STREAM, *key)):
            return self.dataset[key[1]]

    def __getitems__(self, keys: list[Key]) -> Any:
        """Return a whole batch in one call where the data set can, else a list of samples."""
        if not self._takes_batches:
            return [self[key] for key in keys]
        with seeded(position_seed(self.seed, SAMPLE_STREAM, *keys[0])):
            return self.dataset.__getitems__([index for _, index in keys])  # type: ignore[attr-defined]


def _takes_batches(dataset: Dataset[Any]) -> bool:
    # Every Subset has __getitems__, but it loops over samples where the data set inside has none.
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return hasattr(dataset, "__getitems__")


def _collate(samples: Any, collate_samples: Callable[[list[Any]], Any]) -> Any:
    return collate_samples(samples) if isinstance(samples, list) else samples


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
    **dataloader_options: Any,
) -> DataLoader[Any]:
    """Return a DataLoader that walks over epochs without end, from ``start_iteration`` on.

    Give it to ``trainer.run(loader, max_epochs=..., epoch_length=len(loader))``: one ``iter()`` serves
    the whole run, so workers live through it and fetch the next epoch while this one is evaluated.
    To resume, build it again with ``start_iteration=trainer.state.iteration``.

    ``dataset`` is any map-style data set. Its ``__getitem__`` may draw from torch, ``random`` or
    ``numpy.random``: the draws are a function of ``(seed, epoch, index)``. If it has
    ``__getitems__(indices)``, that is called once a batch instead, under one seed for the batch; it
    may return a list of samples, which ``collate_fn`` joins, or a batch that is complete (anything
    but a list). ``batch_size`` counts the samples of all ``world_size`` processes together. Other
    options go to ``torch.utils.data.DataLoader``.

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
    return DataLoader(
        PositionKeyed(dataset, seed=seed),
        batch_sampler=sampler,
        num_workers=num_workers,
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
