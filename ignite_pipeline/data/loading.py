"""The endless, position-keyed loader: which samples a step sees depends on its number and the seed alone.

("Infinite" is the word that others use for a loader without end.)
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from ignite.engine import Engine
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, get_worker_info

from ignite_pipeline.data.position_keyed import BadSample, Collate, PositionKeyed
from ignite_pipeline.data.position_sampler import BatchKey, PositionSampler
from ignite_pipeline.seeding import EVALUATION_STREAM, position_seed


class EndlessLoader(DataLoader[Any]):
    """A DataLoader over a `PositionKeyed` data set: it knows where in a run it begins."""

    dataset: PositionKeyed
    batch_sampler: PositionSampler  # type: ignore[assignment]  # torch's stubs want lists

    @property
    def start_iteration(self) -> int:
        """The iteration after which its first batch comes; an engine must start with it there."""
        return self.batch_sampler.start_iteration

    def __iter__(self) -> Any:
        if self.num_workers:
            self.dataset.expect_workers(self.num_workers)
        return super().__iter__()


def _begin_work(worker_id: int, *, then: Callable[[int], object] | None) -> None:
    """Leave the terminal's process group, so that Ctrl-C lets the parent finish its step with its workers."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    info: Any = get_worker_info()
    info.dataset.work_as(worker_id)
    if then is not None:
        then(worker_id)


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
    replica: int = 0,
    replicas: int = 1,
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
    position (see `PositionKeyed`). ``batch_size`` counts the samples of all ``replicas`` together. Other
    options go to ``torch.utils.data.DataLoader``. ``TypeError`` is raised for an ``IterableDataset``, and for
    a sampler: it draws from a generator of its own.

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
    if num_workers == 0:  # torch refuses them there, and whoever finds out about workers gives them always
        for name in ("prefetch_factor", "persistent_workers", "multiprocessing_context", "timeout"):
            dataloader_options.pop(name, None)
    keyed = PositionKeyed(dataset, seed=seed, collate_fn=collate_fn, skip_bad=skip_bad)
    sampler = PositionSampler(
        len(dataset),  # type: ignore[arg-type]
        batch_size=batch_size,
        seed=seed,
        start_iteration=start_iteration,
        drop_last=drop_last,
        weights=weights,
        replica=replica,
        replicas=replicas,
    )
    return EndlessLoader(
        keyed,
        batch_sampler=cast(Any, sampler),
        num_workers=num_workers,
        worker_init_fn=partial(_begin_work, then=worker_init_fn) if num_workers else None,
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
    **dataloader_options: Any,
) -> DataLoader[Any]:
    """Return a DataLoader that goes once over every sample, in order.

    What a sample draws at random is a function of ``seed`` and its index: the same in every evaluation.

    >>> [batch.tolist() for batch in evaluation_loader(range(5), batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """
    keyed = PositionKeyed(dataset, seed=position_seed(seed, EVALUATION_STREAM), collate_fn=collate_fn)
    size = len(dataset)  # type: ignore[arg-type]
    batches = [range(first, min(first + batch_size, size)) for first in range(0, size, batch_size)]
    keys = [BatchKey(number, 0, 0, list(indices)) for number, indices in enumerate(batches, start=1)]
    return DataLoader(
        keyed,
        batch_sampler=cast(Any, keys),
        collate_fn=_as_it_is,
        num_workers=num_workers,
        worker_init_fn=partial(_begin_work, then=worker_init_fn) if num_workers else None,
        **dataloader_options,
    )


@contextmanager
def naming_samples(engine: Engine) -> Iterator[None]:
    """Say which samples the workers were loading when one of them was killed while the engine ran inside."""
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        # The signal of its end may come anywhere, and what it was about to hand over breaks off.
        worker_died = "DataLoader worker" in str(error) or isinstance(error, ConnectionError | EOFError)
        loader = engine.state.dataloader
        at_work = loader.dataset.at_work() if isinstance(loader, EndlessLoader) else []
        if isinstance(error, BadSample) or not at_work or not worker_died:
            raise
        if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
            # Else torch's handler raises once more, while the caller writes down how the run has ended.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        raise RuntimeError(f"a worker died ({error}); the workers were loading samples {at_work}") from error
