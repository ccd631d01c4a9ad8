import random
from itertools import islice

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from torch.utils.data import Dataset, Subset, TensorDataset, WeightedRandomSampler

from ignite_pipeline.data.images import ImageTensors
from ignite_pipeline.data.loading import endless_loader, evaluation_loader
from ignite_pipeline.data.position_keyed import BadSample, UnreadableSample
from ignite_pipeline.data.position_sampler import PositionSampler

SIZE, BATCH = 23, 4


class Noisy(Dataset):
    """Each sample is its index and a draw from each generator that transforms use."""

    def __len__(self):
        return SIZE

    def __getitem__(self, index):
        return index, torch.rand(()), random.random(), np.random.rand()


class Silent(Dataset):
    """Draws nothing, and says so."""

    deterministic = True

    def __len__(self):
        return SIZE

    def __getitem__(self, index):
        return index


class NoisyBatches(Noisy):
    def __getitems__(self, indices):
        return torch.tensor(indices), torch.rand(len(indices))


class Jittered(Subset):
    """Draws on its own, though what is inside of it does not."""

    def __getitem__(self, index):
        return self.dataset[self.indices[index]], torch.rand(())

    def __getitems__(self, indices):  # torch asks for it beside the other
        return [self[index] for index in indices]


def images():
    return ImageTensors(torch.arange(SIZE, dtype=torch.uint8).view(-1, 1, 1, 1), torch.arange(SIZE))


DATASETS = {
    "samples": Noisy(),
    "batches": NoisyBatches(),
    "images": images(),
    "torch": TensorDataset(torch.arange(SIZE), torch.rand(SIZE)),
    "subset of samples": Subset(Noisy(), range(0, SIZE, 2)),
    "subset of batches": Subset(images(), range(0, SIZE, 2)),
    "subset of a kind of its own": Jittered(Silent(), range(0, SIZE, 2)),
}


def run(dataset, *, epochs, start=0, **options):
    """Train an Engine on the loader; return every batch it saw, as lists, and the events that fired."""
    loader = endless_loader(dataset, batch_size=BATCH, seed=3, start_iteration=start, **options)
    seen, stops = [], []
    trainer = Engine(lambda engine, batch: seen.append([part.tolist() for part in batch]))
    trainer.add_event_handler(Events.DATALOADER_STOP_ITERATION, lambda: stops.append(1))
    length = len(loader)
    if start:
        trainer.load_state_dict({"iteration": start, "epoch_length": length, "max_epochs": epochs})
    trainer.run(loader, max_epochs=epochs, epoch_length=length)
    assert not stops
    return seen


@pytest.mark.parametrize("name", DATASETS)
def test_any_worker_count_gives_the_same_batches(name):
    in_process = run(DATASETS[name], epochs=3)
    for num_workers in (1, 2):
        assert run(DATASETS[name], epochs=3, num_workers=num_workers) == in_process


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("start", [1, 2, 4, 5, 6])
def test_a_resumed_run_goes_on_with_the_batch_after_the_last(name, start):
    whole = run(DATASETS[name], epochs=3)
    for num_workers in (0, 2):
        assert run(DATASETS[name], epochs=3, start=start, num_workers=num_workers) == whole[start:]


@pytest.mark.parametrize("drop_last", [True, False])
def test_every_epoch_visits_every_index_once_in_an_order_of_its_own(drop_last):
    batches = run(images(), epochs=4, drop_last=drop_last)
    per_epoch = len(batches) // 4
    orders = [
        [index for _, targets in batches[start : start + per_epoch] for index in targets]
        for start in range(0, len(batches), per_epoch)
    ]
    for order in orders:
        assert len(order) == len(set(order)) == (SIZE // BATCH * BATCH if drop_last else SIZE)
    assert len({tuple(order) for order in orders}) == 4


def test_a_sample_is_drawn_the_same_whatever_else_is_in_its_batch():
    def draws(batch_size):
        loader = endless_loader(Noisy(), batch_size=batch_size, seed=0, drop_last=False)
        batches = islice(loader, len(loader))
        return {sample[0]: sample[1:] for batch in batches for sample in zip(*map(list, batch), strict=True)}

    assert {int(k): v for k, v in draws(4).items()} == {int(k): v for k, v in draws(7).items()}


def test_a_sample_is_drawn_anew_in_every_epoch():
    epochs = run(Noisy(), epochs=2)
    half = len(epochs) // 2
    first, second = (
        {i: r for batch in part for i, r in zip(batch[0], batch[1], strict=True)}
        for part in (epochs[:half], epochs[half:])
    )
    common = first.keys() & second.keys()
    assert common
    assert all(first[index] != second[index] for index in common)


def test_loading_leaves_the_generators_of_the_process_alone():
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    expected = torch.rand(1), random.random(), np.random.rand()
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    batches = iter(endless_loader(Noisy(), batch_size=2, seed=5, generator=torch.Generator()))
    next(batches)
    assert (torch.rand(1), random.random(), np.random.rand()) == expected


def test_weights_decide_how_often_an_index_comes():
    sampler = PositionSampler(4, batch_size=4, seed=0, weights=[0, 1, 1, 2])
    keys = list(islice(sampler, 1000))
    counts = np.bincount([index for key in keys for index in key.indices])
    assert counts[0] == 0
    np.testing.assert_allclose(counts / 4000, [0, 0.25, 0.25, 0.5], atol=0.03)
    assert list(islice(iter(sampler), 3)) == keys[:3]


@pytest.mark.parametrize("start", [1, 4, 5, 6])
def test_windows_are_the_same_after_a_resume_with_any_workers(start):
    options = {"window": 8, "neighbours": 2}
    whole = run(Noisy(), epochs=3, **options)
    assert whole != run(Noisy(), epochs=3)
    for num_workers in (0, 2):
        assert run(Noisy(), epochs=3, start=start, num_workers=num_workers, **options) == whole[start:]


@pytest.mark.parametrize("replicas", [2, 3])
def test_the_replicas_share_each_global_batch(replicas):
    def keys(**options):
        return islice(PositionSampler(30, batch_size=6, seed=1, **options), 12)

    parts = [keys(replicas=replicas, local=range(one, one + 1)) for one in range(replicas)]
    for alone, together, *shares in zip(keys(), keys(replicas=replicas), *parts, strict=True):
        assert together == tuple(shares)
        assert sorted(index for share in shares for index in share.indices) == sorted(alone.indices)
        assert {len(share.indices) for share in shares} == {6 // replicas}


def test_one_iterator_serves_the_whole_run():
    starts = []

    class Counted(PositionSampler):
        def __iter__(self):
            starts.append(1)
            return super().__iter__()

    loader = endless_loader(images(), batch_size=BATCH, seed=0)
    loader.batch_sampler.__class__ = Counted
    Engine(lambda engine, batch: None).run(loader, max_epochs=5, epoch_length=len(loader))
    assert len(starts) == 1


def test_evaluation_loader_visits_everything_in_order():
    for dataset in (Noisy(), images()):
        indices = [
            index
            for batch in evaluation_loader(dataset, batch_size=5)
            for index in batch[0].flatten().tolist()
        ]
        assert indices == list(range(SIZE))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": 11}, "batch_size=11 is more than the 10 samples"),
        ({"batch_size": 2, "start_iteration": -1}, "start_iteration must not be negative"),
        ({"batch_size": 2, "weights": [1.0]}, "weights must hold one number for each of 10"),
        ({"batch_size": 2, "window": 4}, "window and neighbours go together, got window=4, neighbours=None"),
        ({"batch_size": 2, "window": 4, "neighbours": 0}, "neighbours must be at least 1, got 0"),
        ({"batch_size": 2, "window": 0, "neighbours": 4}, "a multiple of neighbours=4, got 0"),
        ({"batch_size": 2, "window": 6, "neighbours": 4}, "a multiple of neighbours=4, got 6"),
        (
            {"batch_size": 2, "window": 4, "neighbours": 2, "weights": [1.0] * 10},
            "weights draw from all samples, window=4 from a part",
        ),
        (
            {"batch_size": 4, "replicas": 4, "drop_last": False},
            "the last batch has 2 samples for 4 replicas",
        ),
        ({"batch_size": 3, "replicas": 2}, "batch_size must be a multiple of 2"),
        ({"batch_size": 2, "local": range(1, 3), "replicas": 2}, "local must be some of 2 replicas"),
    ],
)
def test_a_bad_argument_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        endless_loader(range(10), seed=0, **options)


class Rotten(Noisy):
    """Samples, some of which cannot be read."""

    def __init__(self, bad):
        self.bad = bad

    def __getitem__(self, index):
        if index in self.bad:
            raise OSError("the file is gone")
        return super().__getitem__(index)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_bad_sample_is_named(num_workers):
    with pytest.raises(BadSample, match="sample 7 of the data set: OSError: the file is gone"):
        run(Rotten({7}), epochs=1, num_workers=num_workers)


def test_a_bad_batch_is_named():
    class RottenBatches(NoisyBatches):
        def __getitems__(self, indices):
            raise ValueError("no")

    with pytest.raises(BadSample, match=r"one of samples \[\d+, .* of the data set: ValueError: no"):
        run(RottenBatches(), epochs=1)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_bad_samples_are_replaced_by_position_and_remembered(num_workers):
    bad = {3, 7}
    loader = endless_loader(Rotten(bad), batch_size=4, seed=0, skip_bad=True, num_workers=num_workers)
    clean = endless_loader(Noisy(), batch_size=4, seed=0)
    seen = [(got[0], wanted[0]) for _, got, wanted in zip(range(10), loader, clean, strict=False)]
    assert loader.dataset.bad_indices == [3, 7]
    again = endless_loader(Rotten(bad), batch_size=4, seed=0, skip_bad=True, start_iteration=4)
    assert all(torch.equal(got, repeated[0]) for (got, _), repeated in zip(seen[4:], again, strict=False))
    got, wanted = (torch.cat(indices) for indices in zip(*seen, strict=True))
    replaced = torch.tensor([index in bad for index in wanted.tolist()])
    assert torch.equal(got[~replaced], wanted[~replaced])
    assert not bad & set(got.tolist())


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_evaluation_leaves_out_what_cannot_be_read_even_if_it_is_a_batch(num_workers):
    bad = {1, *range(4, 8), 20, 21, 22}
    loader = evaluation_loader(Rotten(bad), batch_size=4, skip_bad=True, num_workers=num_workers)
    seen = []
    evaluator = Engine(lambda engine, batch: seen.append(batch[0].flatten().tolist()))
    for _ in range(2):
        evaluator.run(loader)
    assert seen == [[0, 2, 3], [8, 9, 10, 11], [12, 13, 14, 15], [16, 17, 18, 19]] * 2
    assert loader.dataset.bad_indices == sorted(bad)


def test_an_evaluation_of_nothing_that_can_be_read_is_an_error():
    loader = evaluation_loader(Rotten(range(SIZE)), batch_size=4, skip_bad=True)
    with pytest.raises(UnreadableSample, match="no sample for evaluation can be read: the file is gone"):
        list(loader)


def test_a_set_of_bad_samples_alone_is_an_error():
    with pytest.raises(BadSample, match="the file is gone"):
        run(Rotten(set(range(1000))), epochs=1, skip_bad=True)


def test_skipping_needs_samples_to_skip():
    with pytest.raises(ValueError, match="skip_bad needs a data set that is read sample by sample"):
        endless_loader(images(), batch_size=2, seed=0, skip_bad=True)


@pytest.mark.parametrize(
    "option", [{"shuffle": True}, {"sampler": WeightedRandomSampler([1.0], 1)}], ids=list
)
def test_a_sampler_that_draws_for_itself_is_refused_in_words_that_help(option):
    with pytest.raises(TypeError, match=r"takes no .*: it shuffles by position, from seed; weights"):
        endless_loader(range(10), batch_size=2, seed=0, **option)
