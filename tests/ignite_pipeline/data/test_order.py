"""The keyed bijection: every index once, in an order that nothing but the seed and the epoch decides."""

import tracemalloc
from itertools import islice

import numpy as np
import pytest
import torch

from ignite_pipeline.data.order import Shuffled, Weighted
from ignite_pipeline.data.position_sampler import PositionSampler
from ignite_pipeline.data.windowed_order import Windowed

SIZES = [1, 2, 3, 7, 64, 1000, 4095, 4096, 4097, 10_000, 2**16, 2**16 + 1, 10**6]


@pytest.mark.parametrize("size", SIZES)
def test_every_index_stands_at_one_place(size):
    order = Shuffled(size, seed=5).indices(3, np.arange(size))
    assert np.array_equal(np.sort(order), np.arange(size))


def test_a_billion_indices_are_told_apart_by_places_from_all_over():
    places = np.unique(np.random.default_rng(0).integers(10**9, size=10**6))
    order = Shuffled(10**9, seed=0).indices(0, places)
    assert len(np.unique(order)) == len(places)
    assert 0 <= order.min() < 10_000
    assert 10**9 - 10_000 < order.max() < 10**9


@pytest.mark.parametrize("size", [100, 5000])
def test_an_order_does_not_depend_on_how_it_is_asked_for(size):
    shuffled = Shuffled(size, seed=1)
    whole = shuffled.indices(2, np.arange(size))
    places = np.array([7, 0, size - 1, 7])
    assert np.array_equal(shuffled.indices(2, places), whole[places])


def test_seeds_and_epochs_have_orders_of_their_own():
    orders = {
        tuple(Shuffled(5000, seed=seed).indices(epoch, np.arange(50)))
        for seed in range(20)
        for epoch in range(20)
    }
    assert len(orders) == 400


def chi_square(counts, expected):
    """Return Pearson's statistic over its degrees of freedom: about 1 where ``expected`` is true."""
    return ((counts - expected) ** 2 / expected).sum() / (counts.size - 1)


@pytest.mark.parametrize("make", ["ours", "randperm"])
@pytest.mark.parametrize("size", [12, 5000])
def test_every_index_is_as_likely_at_every_place_and_neighbours_are_independent(make, size):
    epochs, cells = 6000, 12

    def first_two(epoch):
        if make == "ours":
            return Shuffled(size, seed=3).indices(epoch, np.arange(2))
        return torch.randperm(size, generator=torch.Generator().manual_seed(epoch))[:2].numpy()

    drawn = np.array([first_two(epoch) for epoch in range(epochs)]) * cells // size
    for place in (0, 1):
        assert chi_square(np.bincount(drawn[:, place], minlength=cells), epochs / cells) < 2.5
    pairs = np.bincount(drawn[:, 0] * cells + drawn[:, 1], minlength=cells**2).reshape(cells, cells)
    if size == cells:  # no index comes twice
        assert not pairs.diagonal().any()
        pairs = pairs[~np.eye(cells, dtype=bool)]
    assert chi_square(pairs, epochs / pairs.size) < 1.4


def test_all_orders_of_three_are_as_likely():
    orders = [tuple(Shuffled(3, seed=seed).indices(0, np.arange(3)).tolist()) for seed in range(6000)]
    counts = np.array([orders.count(order) for order in set(orders)])
    assert len(counts) == 6
    assert chi_square(counts, 1000) < 3


def test_a_permutation_has_as_many_fixed_points_and_runs_as_chance_gives():
    order = Shuffled(10**6, seed=0).indices(0, np.arange(10**6))
    assert np.count_nonzero(order == np.arange(10**6)) < 10  # one, on average
    rises = np.count_nonzero(np.diff(order) > 0)
    assert abs(rises - 500_000) < 5 * np.sqrt(10**6 / 12)


def test_resuming_a_billion_samples_takes_no_memory_to_speak_of():
    sampler = PositionSampler(10**9, batch_size=64, seed=0, start_iteration=123_456_789)
    tracemalloc.start()
    key = next(iter(sampler))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(key.indices) == 64
    assert peak < 2**20


def test_weights_of_sorted_classes_take_memory_for_the_classes_alone():
    weights = torch.cat([torch.full((300_000,), 1.0), torch.full((100_000,), 3.0)])
    weighted = Weighted(weights, seed=0)
    assert len(weighted._ends) == 2
    drawn = weighted.indices(0, np.arange(40_000))
    assert abs((drawn < 300_000).mean() - 0.5) < 0.02
    inside = drawn[drawn < 300_000] * 30 // 300_000
    assert chi_square(np.bincount(inside, minlength=30), len(inside) / 30) < 2.5


def test_weights_in_any_order_are_drawn_in_proportion():
    weights = [0.0, 5.0, 0.0, 1.0, 4.0, 0.0]
    drawn = Weighted(weights, seed=1).indices(7, np.arange(50_000))
    shares = np.bincount(drawn, minlength=6) / 50_000
    assert not shares[[0, 2, 5]].any()
    np.testing.assert_allclose(shares, np.array(weights) / 10, atol=0.01)


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [1.0, -1.0], [1.0, float("nan")]])
def test_bad_weights_are_refused(weights):
    with pytest.raises(ValueError, match="weights must be finite numbers"):
        Weighted(weights, seed=0)


def test_the_sampler_goes_over_chunks_and_epochs_without_a_seam():
    sampler = PositionSampler(20_000, batch_size=96, seed=0)
    keys = list(islice(sampler, 2 * len(sampler)))
    assert [key.iteration for key in keys] == list(range(1, len(keys) + 1))
    assert [key.indices for key in keys] == [sampler.indices(key.iteration) for key in keys]
    for epoch in (0, 1):
        indices = [index for key in keys if key.epoch == epoch for index in key.indices]
        assert len(indices) == len(set(indices)) == len(sampler) * 96


WINDOWS = [(1, 1), (4, 2), (15, 5), (64, 64), (4096, 64), (8192, 64)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000, 4097, 8192, 12_289])
@pytest.mark.parametrize(("window", "neighbours"), WINDOWS)
def test_every_index_stands_at_one_place_of_a_windowed_order(size, window, neighbours):
    order = Windowed(size, window=window, neighbours=neighbours, seed=5).indices(3, np.arange(size))
    assert np.array_equal(np.sort(order), np.arange(size))


@pytest.mark.parametrize("size", [5, 20, 35, 1000])
@pytest.mark.parametrize(("window", "neighbours"), [(5, 5), (20, 5), (500, 5)])
def test_a_window_reads_its_own_runs_and_no_other_reads_them(size, window, neighbours):
    order = Windowed(size, window=window, neighbours=neighbours, seed=0).indices(1, np.arange(size))
    windows = [set(part // neighbours) for part in np.split(order, range(window, size, window))]
    assert {len(runs) for runs in windows[:-1]} <= {window // neighbours}
    assert sum(map(len, windows)) == len(set().union(*windows)) == size // neighbours


@pytest.mark.parametrize(("size", "window", "neighbours"), [(37, 20, 5), (1003, 20, 5), (20_487, 4096, 64)])
def test_a_shorter_run_comes_in_any_window_and_makes_that_one_shorter(size, window, neighbours):
    windowed = Windowed(size, window=window, neighbours=neighbours, seed=0)
    found = []
    for epoch in range(300):
        runs = windowed.indices(epoch, np.arange(size)) // neighbours
        _, first = np.unique(runs, return_index=True)
        _, last = np.unique(runs[::-1], return_index=True)
        assert (size - 1 - last - first < window).all()
        found.append(first[-1] // window)
    counts = np.bincount(found)
    in_window = np.diff([*range(0, size // neighbours + 1, window // neighbours), size // neighbours + 1])
    assert chi_square(counts, 300 * in_window / in_window.sum()) < 3


def test_a_windowed_order_does_not_depend_on_how_it_is_asked_for():
    windowed = Windowed(5003, window=128, neighbours=16, seed=1)
    whole = windowed.indices(2, np.arange(5003))
    places = np.array([7, 0, 5002, 130, 7])
    assert np.array_equal(windowed.indices(2, places), whole[places])
    assert not np.array_equal(windowed.indices(3, places), whole[places])


@pytest.mark.parametrize(("size", "window", "neighbours"), [(12, 4, 2), (12_000, 64, 8), (12_000, 6000, 10)])
def test_every_index_is_as_likely_at_every_place_of_windows_and_these_are_independent(
    size, window, neighbours
):
    epochs, cells = 6000, 12
    windowed = Windowed(size, window=window, neighbours=neighbours, seed=3)
    places = np.array([0, size // 2, size - 1])
    drawn = np.array([windowed.indices(epoch, places) for epoch in range(epochs)]) * cells // size
    for at_place in drawn.T:
        assert chi_square(np.bincount(at_place, minlength=cells), epochs / cells) < 2.5
    if size > cells:  # in so few runs a window has what another has not
        pairs = np.bincount(drawn[:, 0] * cells + drawn[:, 1], minlength=cells**2)
        assert chi_square(pairs, epochs / cells**2) < 1.4


@pytest.mark.parametrize(("window", "possible"), [(4, 24), (2, 8)])
def test_all_orders_that_windows_allow_are_as_likely(window, possible):
    orders = [
        tuple(Windowed(4, window=window, neighbours=2, seed=seed).indices(0, np.arange(4)).tolist())
        for seed in range(300 * possible)
    ]
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == possible
    assert chi_square(counts, 300) < 2.5


@pytest.mark.parametrize("window", [4096, 2**20])
def test_windows_of_a_billion_samples_take_no_memory_to_speak_of(window):
    sampler = PositionSampler(
        10**9 + 1, batch_size=64, seed=0, start_iteration=123_456_789, window=window, neighbours=64
    )
    tracemalloc.start()
    key = next(iter(sampler))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(key.indices) == len(set(key.indices)) == 64
    assert peak < 2**20
