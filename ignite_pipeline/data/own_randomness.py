"""Does a data set keep random state of its own, which nothing outside can seed by position?"""

import io
import pickle
from collections.abc import Mapping
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import default_collate

from ignite_pipeline.data.position_keyed import PositionKeyed
from ignite_pipeline.data.position_sampler import BatchKey, PositionSampler

_SHARED_BYTES = 64 * 2**20
_SAMPLES = 2
_SHARED_LENGTH = 100_000
_CONTAINERS = (list, tuple, dict)
_PLAIN = {str, int, float, bool, bytes, tuple, list, dict, type(None)}


def keeps_random_state(keyed: PositionKeyed, sampler: PositionSampler) -> bool:
    """Return whether a sample depends on what was read before it.

    The first samples of a run are read from a fresh copy, and from one that has served the same samples in
    another epoch. Where they differ, the data set draws from a generator of its own, or keeps samples that
    were drawn at random; a run that is resumed, or has other workers, then trains on other data. Whatever
    fails on the way is left for the training to stumble over.

    >>> import random
    >>> import torch
    >>> from ignite_pipeline.data.loading import endless_loader
    >>> class Noisy(torch.utils.data.Dataset):
    ...     def __init__(self):
    ...         self.own = random.Random(0)
    ...     def __len__(self):
    ...         return 8
    ...     def __getitem__(self, index):
    ...         return index + self.own.random()
    >>> loader = endless_loader(Noisy(), batch_size=2, seed=0)
    >>> keeps_random_state(loader.dataset, loader.batch_sampler)
    True
    """
    if not keyed.draws:
        return False
    # A function of our own to join samples may need a whole batch; two samples are enough else.
    count = sampler.batch_size if keyed.collate_fn is not default_collate else _SAMPLES
    indices = sampler.indices(1)[:count]
    first, another = BatchKey(1, 0, 0, indices), BatchKey(1 + len(sampler), 0, 1, indices)
    try:
        fresh, used = _copies(keyed, 2)
        wanted = fresh.__getitems__(first)
        used.__getitems__(another)
        return not _same(wanted, used.__getitems__(first))
    except Exception:  # whatever data stumbles over, training names with its sample
        return False


class _Pickler(pickle.Pickler):
    """Pickle all but tensors, what is large, and what cannot be pickled: these go to ``shared``."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.shared: list[Any] = []

    def persistent_id(self, thing: Any) -> int | None:
        if type(thing) in _PLAIN:
            if type(thing) not in _CONTAINERS or len(thing) <= _SHARED_LENGTH:
                return None
        elif not _must_be_shared(thing):
            return None
        self.shared.append(thing)
        return len(self.shared) - 1


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, shared: list[Any]) -> None:
        super().__init__(file)
        self.shared = shared

    def persistent_load(self, place: int) -> Any:
        thing = self.shared[place]
        # Pickled by itself, a tensor would bring along the whole of what it is a view of.
        return thing.clone() if isinstance(thing, Tensor) and thing.nbytes <= _SHARED_BYTES else thing


def _must_be_shared(thing: Any) -> bool:
    if isinstance(thing, type | FunctionType | BuiltinFunctionType):  # those in a function cannot be pickled
        return True
    if isinstance(thing, Tensor) or getattr(thing, "nbytes", 0) > _SHARED_BYTES:
        return True
    try:
        thing.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    except Exception:  # an open file, a lock
        return True
    return False


def _copies(thing: Any, count: int) -> list[Any]:
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(thing)
    return [_Unpickler(io.BytesIO(file.getvalue()), pickler.shared).load() for _ in range(count)]


def _same(a: Any, b: Any) -> bool:
    """Return whether two batches hold the same values; what cannot be compared counts as the same.

    >>> import torch
    >>> _same({"x": torch.zeros(2), "n": 1}, {"x": torch.zeros(2), "n": 1}), _same([1.0, "a"], [2.0, "a"])
    (True, False)
    """
    if isinstance(a, Tensor | np.ndarray):
        a, b = np.asarray(a), np.asarray(b)
        return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if hasattr(a, "tobytes"):  # a Pillow image
        return bool(a.tobytes() == b.tobytes())
    return bool(a == b) if isinstance(a, str | bytes | int | float | complex) else True
