"""An order for data whose neighbours are cheap to read together: on spinning disks, in remote shards."""

import numpy as np

from ignite_pipeline.data.order import Indices, permuted
from ignite_pipeline.seeding import ORDER_STREAM, position_seed


class Windowed:
    """Every sample once an epoch, ``window // neighbours`` runs of neighbours at a time.

    The indices are cut into runs of ``neighbours``, of which the last may be shorter. In each epoch the runs
    come in a random order, so many of them make a window, and the samples of a window are shuffled. A window
    reads no other runs, and no other window reads these. The larger the window, the less a batch tells of the
    order in which the data is stored; where that is by class, let a window hold many times more runs than
    there are classes.

    Others shuffle the order of shards and draw from a shuffle buffer (tf.data, WebDataset), or shuffle blocks
    (``py1br`` of MosaicML's streaming). Nothing is held here: the index at any place is computed, in memory
    that neither ``size`` nor ``window`` changes.

    ``ValueError`` is raised if ``window`` is no multiple of ``neighbours``.

    >>> Windowed(10, window=4, neighbours=2, seed=0).indices(0, np.arange(10)).tolist()
    [3, 2, 7, 6, 8, 5, 9, 4, 0, 1]
    """

    def __init__(self, size: int, *, window: int, neighbours: int, seed: int) -> None:
        if neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, got {neighbours}")
        if window < 1 or window % neighbours:
            raise ValueError(f"window must be a multiple of neighbours={neighbours}, got {window}")
        self.size, self.window, self.neighbours, self.seed = size, window, neighbours, seed
        self._runs = -(-size // neighbours)
        self._missing = self._runs * neighbours - size

    def indices(self, epoch: int, places: Indices) -> Indices:
        """Return the index at each of ``places``."""
        key = position_seed(self.seed, ORDER_STREAM, epoch)
        # In its window, which may be any, the shorter run stands last: the window is shuffled anyway.
        in_window = self.window // self.neighbours
        drawn_run = position_seed(key, 0) % self._runs
        shorter = min((drawn_run // in_window + 1) * in_window, self._runs) - 1
        end = (shorter + 1) * self.neighbours - self._missing
        # With a gap after it, all runs and all windows begin at multiples.
        shuffled = self._shuffled(places + self._missing * (places >= end), position_seed(key, 1), end)
        runs, within = np.divmod(shuffled, self.neighbours)
        stored = np.full_like(runs, self._runs - 1)
        whole = runs != shorter
        without = runs[whole] - (runs[whole] > shorter)
        stored[whole] = permuted(without, size=self._runs - 1, key=position_seed(key, 2))
        return stored * self.neighbours + within

    def _shuffled(self, places: Indices, key: int, end: int) -> Indices:
        """Return what stands at ``places`` when each window is shuffled; there is a gap from ``end`` on."""
        shuffled, windows = np.empty_like(places), places // self.window
        for window in np.unique(windows).tolist():
            first = window * self.window
            size = min(self.window, self._runs * self.neighbours - first)
            if first < end <= first + size:
                size = end - first
            inside = windows == window
            shuffled[inside] = first + permuted(
                places[inside] - first, size=size, key=position_seed(key, window)
            )
        return shuffled
