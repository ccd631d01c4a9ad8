"""Which samples a batch is made of: a function of the seed and the iteration alone."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import Sampler

from ignite_pipeline.data.order import Order, Shuffled, Weighted
from ignite_pipeline.data.windowed_order import Windowed
from ignite_pipeline.errors import BadInput

# So many places are worked out at a time: the first of a resumed run within a millisecond, in 64 kB.
_CHUNK = 8192


class BatchKey(NamedTuple):
    """All that a batch depends on, besides the data and the seed."""

    iteration: int
    """The global iteration that trains on it, counted from 1."""
    replica: int
    """Which share of the global batch it is."""
    epoch: int
    """The epoch, counted from 0."""
    indices: list[int]
    """The samples, in order."""


# The batch of an iteration: that of one replica, or of several.
IterationKey = BatchKey | tuple[BatchKey, ...]


class PositionSampler(Sampler[IterationKey]):
    """The keys of batches from any global iteration on, without end.

    The order of an epoch is a permutation decided by ``(seed, epoch)``, worked out place by place (see
    `Shuffled`); with ``weights``, one for each sample, it is ``size`` draws with replacement (see
    `Weighted`); with ``window`` and ``neighbours``, a permutation that keeps neighbours close (see
    `Windowed`). ``len()`` is the number of batches in an epoch. Each of ``replicas`` takes an equal share
    of every global batch; the keys of several, ``local``, come as a tuple.

    >>> sampler = PositionSampler(4, batch_size=2, seed=0)
    >>> batches = iter(sampler)
    >>> sorted(next(batches).indices + next(batches).indices)
    [0, 1, 2, 3]
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
        window: int | None = None,
        neighbours: int | None = None,
        replicas: int = 1,
        local: range | None = None,
    ) -> None:
        if batch_size < 1:
            raise BadInput(f"batch_size must be at least 1, got {batch_size}")
        if batch_size % replicas:
            raise BadInput(
                f"batch_size must be a multiple of {replicas}, the number of replicas; got {batch_size}"
            )
        if size < (batch_size if drop_last else 1):
            raise BadInput(f"batch_size={batch_size} is more than the {size} samples; take a smaller batch")
        if not drop_last and size % batch_size % replicas:
            raise BadInput(f"the last batch has {size % batch_size} samples for {replicas} replicas; drop it")
        if start_iteration < 0:
            raise ValueError(f"start_iteration must not be negative, got {start_iteration}")
        self.local = range(replicas) if local is None else local
        if not self.local or self.local[0] < 0 or self.local[-1] >= replicas:
            raise ValueError(f"local must be some of {replicas} replicas, got {self.local}")
        self.size, self.batch_size, self.start_iteration = size, batch_size, start_iteration
        self.drop_last, self.replicas = drop_last, replicas
        self.order = _order(size, seed=seed, weights=weights, window=window, neighbours=neighbours)

    def __len__(self) -> int:
        return self.size // self.batch_size if self.drop_last else -(-self.size // self.batch_size)

    def indices(self, iteration: int) -> list[int]:
        """Return the samples of that iteration, counted from 1, of all replicas."""
        epoch, batch = divmod(iteration - 1, len(self))
        first = batch * self.batch_size
        places = np.arange(first, min(first + self.batch_size, self.size))
        indices: list[int] = self.order.indices(epoch, places).tolist()
        return indices

    def __iter__(self) -> Iterator[IterationKey]:
        epoch, batch = divmod(self.start_iteration, len(self))
        at_once = max(1, _CHUNK // self.batch_size)
        while True:
            for first in range(batch, len(self), at_once):
                yield from self._keys(epoch, first, min(first + at_once, len(self)))
            epoch, batch = epoch + 1, 0

    def _keys(self, epoch: int, first: int, end: int) -> Iterator[IterationKey]:
        size = self.batch_size
        indices = self.order.indices(epoch, np.arange(first * size, min(end * size, self.size)))
        for number, batch in enumerate(range(first, end)):
            of_batch, iteration = indices[number * size : (number + 1) * size], epoch * len(self) + batch + 1
            keys = tuple(
                BatchKey(iteration, replica, epoch, of_batch[replica :: self.replicas].tolist())
                for replica in self.local
            )
            yield keys[0] if len(keys) == 1 else keys


def _order(
    size: int,
    *,
    seed: int,
    weights: Sequence[float] | Tensor | None,
    window: int | None,
    neighbours: int | None,
) -> Order:
    if (window is None) != (neighbours is None):
        raise ValueError(f"window and neighbours go together, got window={window}, neighbours={neighbours}")
    if weights is not None and len(weights) != size:
        raise ValueError(f"weights must hold one number for each of {size} samples, got {len(weights)}")
    if window is None or neighbours is None:
        return Shuffled(size, seed=seed) if weights is None else Weighted(weights, seed=seed)
    if weights is not None:
        raise ValueError(f"weights draw from all samples, window={window} from a part: leave one of them out")
    return Windowed(size, window=window, neighbours=neighbours, seed=seed)
