"""An array of bytes in memory that worker processes share, however they were started."""

import math
import mmap
import os
import tempfile
from multiprocessing.context import assert_spawning
from multiprocessing.reduction import DupFd
from typing import Any
from weakref import finalize

import numpy as np
import numpy.typing as npt


class SharedArray:
    """Zeros, uint8, that take memory once they have been written to.

    It is an unnamed file: in memory on Linux, whatever the size of ``/dev/shm``, and on disk elsewhere.

    >>> shared = SharedArray((2, 3))
    >>> shared.array[1] = 7
    >>> int(shared.array.sum())
    21
    """

    array: npt.NDArray[np.uint8]

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        if hasattr(os, "memfd_create"):
            self._descriptor = os.memfd_create("shared array")
        else:
            with tempfile.TemporaryFile() as file:
                self._descriptor = os.dup(file.fileno())
        os.ftruncate(self._descriptor, max(1, math.prod(shape)))
        self._map()

    def _map(self) -> None:
        content = mmap.mmap(self._descriptor, max(1, math.prod(self.shape)))
        self.array = np.frombuffer(content, np.uint8, math.prod(self.shape)).reshape(self.shape)
        finalize(self, os.close, self._descriptor)

    def __getstate__(self) -> tuple[tuple[int, ...], Any]:
        assert_spawning(self)  # only a process that is being started can be given a descriptor
        return self.shape, DupFd(self._descriptor)

    def __setstate__(self, state: tuple[tuple[int, ...], Any]) -> None:
        self.shape, duplicate = state
        self._descriptor = duplicate.detach()
        self._map()
