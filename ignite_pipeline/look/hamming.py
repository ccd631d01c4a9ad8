"""All pairs of 64-bit hashes that differ in a few bits, without comparing each with each."""

from collections.abc import Iterator

import numpy as np

RADIUS = 7
_BANDS, _BITS = 4, 16
_MOST_AT_ONCE = 2**20
_SET_BITS = np.array([number.bit_count() for number in range(2**_BITS)], np.uint8)


def near_pairs(hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield all pairs ``i < j`` of ``hashes`` ``(N,)`` uint64 that differ in at most 7 bits, each pair once.

    Two numbers that differ in 7 bits or fewer differ in at most one bit of one of their four 16-bit bands:
    pairs are looked up by bands, and none is missed (multi-index hashing: Norouzi, Punjani and Fleet, "Fast
    Search in Hamming Space with Multi-Index Hashing", CVPR 2012). About a million are held at a time.

    >>> [(i.tolist(), j.tolist()) for i, j in near_pairs(np.array([0, 2**64 - 1, 0b1111111], np.uint64))]
    [([0], [2])]
    """
    bands = hashes[:, None] >> (np.arange(_BANDS, dtype=np.uint64) * _BITS) & np.uint64(2**_BITS - 1)
    bands = np.ascontiguousarray(bands.T.astype(np.int64))
    for number, band in enumerate(bands):
        order = np.argsort(band, kind="stable")
        first = np.searchsorted(band[order], np.arange(2**_BITS + 1))
        for flipped in (0, *(1 << bit for bit in range(_BITS))):
            start, end = first[band ^ flipped], first[(band ^ flipped) + 1]
            for i, places in _ranges(start, end):
                j = order[places]
                i, j = i[i < j], j[i < j]
                differing = _SET_BITS[bands[:, i] ^ bands[:, j]]
                near = differing.sum(0) <= RADIUS
                near &= (differing[:number] > 1).all(0)  # an earlier band has not found it yet
                if near.any():
                    yield i[near], j[near]


def _ranges(start: np.ndarray, end: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, many at a time, each ``i`` beside every place from ``start[i]`` to before ``end[i]``."""
    counts = end - start
    before = np.concatenate([[0], np.cumsum(counts)])
    i = 0
    while i < len(counts):
        stop = max(i + 1, int(np.searchsorted(before, before[i] + _MOST_AT_ONCE, side="right")) - 1)
        repeated = np.repeat(np.arange(i, stop), counts[i:stop])
        if len(repeated):
            yield repeated, start[repeated] + np.arange(before[i], before[stop]) - before[repeated]
        i = stop
