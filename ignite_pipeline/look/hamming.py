"""All pairs of 64-bit hashes that differ in a few bits, without comparing each with each."""

from collections.abc import Iterator

import numpy as np

RADIUS = 7
_BANDS, _BITS = 4, 16
_MOST_AT_ONCE = 2**20
_SET_BITS = np.array([number.bit_count() for number in range(2**_BITS)], np.uint8)


def near_pairs(
    hashes: np.ndarray, groups: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield all pairs ``i < j`` of ``hashes`` ``(N,)`` uint64 that differ in at most 7 bits, each pair once.

    Two numbers that differ in 7 bits or fewer differ in at most one bit of one of their four 16-bit bands:
    pairs are looked up by bands, and none is missed (multi-index hashing: Norouzi, Punjani and Fleet, "Fast
    Search in Hamming Space with Multi-Index Hashing", CVPR 2012). About a million are held at a time.

    Pairs within one of ``groups`` ``(N,)`` int64 may be left out. The caller may join groups between two
    yields: a thousand frames of one scene then cost little more than a thousand pairs.

    >>> [(i.tolist(), j.tolist()) for i, j in near_pairs(np.array([0, 2**64 - 1, 0b1111111], np.uint64))]
    [([0], [2])]
    """
    bands = hashes[:, None] >> (np.arange(_BANDS, dtype=np.uint64) * _BITS) & np.uint64(2**_BITS - 1)
    bands = np.ascontiguousarray(bands.T.astype(np.int64))
    groups = np.arange(len(hashes)) if groups is None else groups
    for number, band in enumerate(bands):
        order = np.argsort(band, kind="stable")
        first = np.searchsorted(band[order], np.arange(2**_BITS + 1))
        for flipped in (0, *(1 << bit for bit in range(_BITS))):
            for i, j in _pairs(order, first, band ^ flipped, groups):
                differing = _SET_BITS[bands[:, i] ^ bands[:, j]]
                near = differing.sum(0) <= RADIUS
                near &= (differing[:number] > 1).all(0)  # an earlier band has not found it yet
                if near.any():
                    yield i[near], j[near]


def _pairs(
    order: np.ndarray, first: np.ndarray, wanted: np.ndarray, groups: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, many at a time, each ``i`` with every ``j`` after it whose band is ``wanted[i]``.

    ``order`` sorts the bands; those that are ``b`` begin there at ``first[b]``.
    """
    begin = 0
    while begin < len(wanted):
        open_ = _group_of_all(order, first, groups)[wanted[begin:]] != groups[begin:]
        start = first[wanted[begin:]]
        counts = (first[wanted[begin:] + 1] - start) * open_
        before = np.concatenate([[0], np.cumsum(counts)])
        taken = max(1, int(np.searchsorted(before, _MOST_AT_ONCE, side="right")) - 1)
        place = np.repeat(np.arange(taken), counts[:taken])
        j = order[start[place] + np.arange(before[taken]) - before[place]]
        i = begin + place
        apart = (i < j) & (groups[i] != groups[j])
        yield i[apart], j[apart]
        begin += taken


def _group_of_all(order: np.ndarray, first: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return for each band the group that all numbers with it are in; -1 if there are several, or none."""
    present = np.flatnonzero(first[1:] > first[:-1])
    sorted_groups = groups[order]
    low, high = (reduce.reduceat(sorted_groups, first[present]) for reduce in (np.minimum, np.maximum))
    shared = np.full(2**_BITS, -1)
    shared[present] = np.where(low == high, low, -1)
    return shared
