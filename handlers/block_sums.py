"""The course of many iterations, in memory that does not grow with their number."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float64]
_MOST_BLOCKS = 512


class BlockSums:
    """Sums of rows in at most 512 blocks, each of as many rows: when they are full, neighbours are added up.

    >>> blocks = BlockSums(1, most=4)
    >>> blocks.add(np.arange(7.0)[:, None])
    >>> blocks.size, blocks.sums()[:, 0].tolist()  # 6.0 waits for the next one
    (2, [1.0, 5.0, 9.0])
    """

    def __init__(self, width: int, *, most: int = _MOST_BLOCKS) -> None:
        if most % 2:
            raise ValueError(f"most must be even, got {most}")
        self.size = 1
        """How many rows a block has."""
        self._sums = np.zeros((most, width))
        self._count = 0
        self._begun, self._begun_rows = np.zeros(width), 0

    def add(self, rows: Rows) -> None:
        """Add rows ``(n, width)``."""
        while len(rows):
            if self._begun_rows or len(rows) < self.size:
                some = rows[: self.size - self._begun_rows]
                self._begun, self._begun_rows = self._begun + some.sum(0), self._begun_rows + len(some)
                rows = rows[len(some) :]
                if self._begun_rows < self.size:
                    return
                blocks = self._begun[None]
                self._begun, self._begun_rows = np.zeros_like(self._begun), 0
            else:
                whole = min(len(rows) // self.size, len(self._sums) - self._count)
                blocks = rows[: whole * self.size].reshape(whole, self.size, -1).sum(1)
                rows = rows[whole * self.size :]
            self._sums[self._count : self._count + len(blocks)] = blocks
            self._count += len(blocks)
            if self._count == len(self._sums):
                self._merge()

    def _merge(self) -> None:
        half = len(self._sums) // 2
        self._sums[:half] = self._sums.reshape(half, 2, -1).sum(1)
        self._count, self.size = half, 2 * self.size

    def sums(self) -> Rows:
        """Return the sums of all blocks that are complete, ``(blocks, width)``."""
        return self._sums[: self._count].copy()

    def state_dict(self) -> dict[str, Any]:
        """Return what has been added so far, for a checkpoint."""
        begun = [self._begun_rows, self._begun.tolist()]
        return {"size": self.size, "sums": self.sums().tolist(), "begun": begun}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint holds."""
        sums: Sequence[Sequence[float]] = state["sums"]
        width = self._sums.shape[1]
        self.size, self._count = state["size"], len(sums)
        self._sums[: self._count] = np.array(sums).reshape(-1, width)
        self._begun_rows, self._begun = state["begun"][0], np.array(state["begun"][1])
