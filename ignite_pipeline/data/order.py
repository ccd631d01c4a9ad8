"""The order of an epoch, computed place by place: a billion samples take no more memory than a thousand.

A place is where a sample stands in an epoch, counted from 0; an index is the sample that stands there.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ignite_pipeline.seeding import ORDER_STREAM, position_seed

Indices = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_ROUNDS = 6
# Below so many samples the bits are too few for a good cipher, and sorting is as quick.
_SORTED_SIZE = 4096


class Order(Protocol):
    """Which samples stand where in each epoch, as a function of the seed."""

    def indices(self, epoch: int, places: Indices) -> Indices:
        """Return the index at each of ``places``."""


class Shuffled:
    """Every sample once an epoch, in an order without a trace of that in which they are stored.

    >>> sorted(Shuffled(5, seed=0).indices(0, np.arange(5)).tolist())
    [0, 1, 2, 3, 4]
    >>> Shuffled(10**9, seed=0).indices(3, np.arange(2)).shape
    (2,)
    """

    def __init__(self, size: int, *, seed: int) -> None:
        self.size, self.seed = size, seed

    def indices(self, epoch: int, places: Indices) -> Indices:
        """Return the index at each of ``places``."""
        return permuted(places, size=self.size, key=position_seed(self.seed, ORDER_STREAM, epoch))


class Weighted:
    """As many draws with replacement as there are samples, each in proportion to its weight.

    Neighbours of the same weight are kept as one: samples that are sorted by class, weighted by class, take
    memory for the classes alone.

    >>> drawn = Weighted([1.0, 1.0, 2.0, 0.0], seed=0).indices(0, np.arange(4000))
    >>> np.bincount(drawn, minlength=4).round(-2).tolist()
    [1000, 1000, 2000, 0]
    """

    def __init__(self, weights: Sequence[float] | Tensor, *, seed: int) -> None:
        values = np.asarray(weights, dtype=np.float64)
        if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any() or not values.any():
            raise ValueError("weights must be finite numbers in one dimension, none negative and not all 0")
        self.size, self.seed = len(values), seed
        self._starts = np.flatnonzero(np.diff(values, prepend=np.nan) != 0)
        self._lengths = np.diff(self._starts, append=self.size)
        self._ends = np.cumsum(values[self._starts] * self._lengths)

    def indices(self, epoch: int, places: Indices) -> Indices:
        """Return the index at each of ``places``."""
        key = position_seed(self.seed, ORDER_STREAM, epoch)
        words = places.astype(np.uint64)
        heights = _in_unit_interval(_random_words(key, words)) * self._ends[-1]
        # A product may round up to the end itself, which is nobody's.
        runs = np.searchsorted(self._ends, np.minimum(heights, np.nextafter(self._ends[-1], 0)), side="right")
        lengths = self._lengths[runs]
        within = _in_unit_interval(_random_words(position_seed(key, 1), words)) * lengths
        drawn: Indices = self._starts[runs] + np.minimum(within.astype(np.int64), lengths - 1)
        return drawn


def permuted(places: Indices, *, size: int, key: int) -> Indices:
    """Return what stands at ``places`` in a permutation of ``size`` numbers that ``key`` decides.

    A Feistel network of six rounds permutes the numbers of as many bits as ``size`` has; whatever falls
    outside goes through it again until it falls inside ("cycle walking"; Black and Rogaway, "Ciphers with
    arbitrary finite domains", CT-RSA 2002). Up to 4096 numbers are sorted by random ones instead.

    >>> permuted(np.arange(4), size=4, key=0).tolist()
    [2, 1, 0, 3]
    """
    if size <= _SORTED_SIZE:
        found: Indices = np.argsort(_random_words(key, np.arange(size, dtype=np.uint64)), kind="stable")
        return found[places]
    keys = [np.uint64(position_seed(key, number)) for number in range(_ROUNDS)]
    bits = (size - 1).bit_length()
    words = _through_network(places.astype(np.uint64), bits, keys)
    outside = np.flatnonzero(words >= size)
    while len(outside):
        words[outside] = _through_network(words[outside], bits, keys)
        outside = outside[words[outside] >= size]
    return words.astype(np.int64)


def _through_network(words: Words, bits: int, keys: Sequence[np.uint64]) -> Words:
    right_bits = np.uint64(bits - bits // 2)
    left_mask = np.uint64((1 << bits // 2) - 1)
    right_mask = np.uint64((1 << (bits - bits // 2)) - 1)
    left, right = words >> right_bits, words & right_mask
    for first, second in zip(keys[::2], keys[1::2], strict=True):
        left ^= _scrambled(right, first) & left_mask
        right ^= _scrambled(left, second) & right_mask
    return (left << right_bits) | right


def _scrambled(words: Words, key: np.uint64) -> Words:
    """Return numbers of 32 bits that look random, a function of each word and the key."""
    mixed = (words ^ key) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed >>= np.uint64(32)
    return mixed


def _random_words(key: int, words: Words) -> Words:
    """Return 64 random bits for each word: the generator SplitMix64, begun at ``key``."""
    mixed = np.uint64(key) + (words + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _in_unit_interval(words: Words) -> npt.NDArray[np.float64]:
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
