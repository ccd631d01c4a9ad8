"""Random state that a data set keeps is noticed; draws that depend on the position alone are not."""

import random
import threading

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, Subset, TensorDataset, default_collate
from torchvision.transforms import v2

from ignite_pipeline.data.images import ImageTensors
from ignite_pipeline.data.loading import endless_loader
from ignite_pipeline.data.own_randomness import keeps_random_state


class Base(Dataset):
    def __len__(self):
        return 16


class FromGlobals(Base):
    def __getitem__(self, index):
        return torch.rand(3), random.random(), np.random.rand()


class OwnGenerator(Base):
    def __init__(self, generator):
        self.generator = generator

    def __getitem__(self, index):
        kind = type(self.generator)
        if kind is torch.Generator:
            return torch.rand((), generator=self.generator)
        return index + self.generator.random()


class Cached(Base):
    """Keeps what it once drew."""

    def __init__(self):
        self.cache = {}

    def __getitem__(self, index):
        if index not in self.cache:
            self.cache[index] = torch.rand(())
        return self.cache[index]


class CachedInTensor(Base):
    def __init__(self):
        self.cache = torch.full((16,), -1.0)

    def __getitem__(self, index):
        if self.cache[index] < 0:
            self.cache[index] = torch.rand(())
        return self.cache[index].clone()


class CachedFiles(Base):
    """Keeps what it decoded, which nothing random is in, and draws for each use."""

    def __init__(self):
        self.cache, self.lock = {}, threading.Lock()

    def __getitem__(self, index):
        with self.lock:
            decoded = self.cache.setdefault(index, torch.full((2,), float(index)))
        return {"x": decoded + torch.rand(2), "name": f"{index}.jpg"}


class Counting(Base):
    def __init__(self):
        self.calls = 0

    def __getitem__(self, index):
        self.calls += 1
        return self.calls


class OwnInBatches(OwnGenerator):
    def __getitems__(self, indices):
        return torch.tensor([self[index] for index in indices])


class Drawing:
    """A collate_fn with a generator of its own."""

    def __init__(self):
        self.own = random.Random(0)

    def __call__(self, samples):
        return default_collate(samples) * self.own.random()


def noticed(dataset, **options):
    loader = endless_loader(dataset, batch_size=4, seed=0, **options)
    return keeps_random_state(loader.dataset, loader.batch_sampler)


@pytest.mark.parametrize(
    "dataset",
    [
        OwnGenerator(random.Random(0)),
        OwnGenerator(np.random.default_rng(0)),
        OwnGenerator(torch.Generator().manual_seed(0)),
        OwnInBatches(np.random.default_rng(0)),
        Subset(OwnGenerator(random.Random(0)), range(8)),
        Cached(),
        CachedInTensor(),
        Counting(),
    ],
    ids=lambda dataset: type(dataset).__name__,
)
def test_state_of_its_own_is_noticed(dataset):
    assert noticed(dataset)


@pytest.mark.parametrize(
    "dataset",
    [
        FromGlobals(),
        CachedFiles(),
        TensorDataset(torch.rand(16, 2), torch.full((16,), torch.nan)),
        ImageTensors(torch.zeros(16, 3, 2, 2, dtype=torch.uint8), torch.zeros(16)),
        list(range(16)),
    ],
    ids=lambda dataset: type(dataset).__name__,
)
def test_what_depends_on_the_position_alone_is_not(dataset):
    assert not noticed(dataset)


def test_what_joins_samples_is_looked_at_too():
    images = TensorDataset(torch.rand(16, 3, 4, 4), torch.arange(16) % 2)
    mixup = v2.MixUp(num_classes=2)
    assert not noticed(images, collate_fn=lambda samples: mixup(*default_collate(samples)))
    assert noticed(list(torch.rand(16)), collate_fn=Drawing())


def test_the_data_set_itself_stays_as_it_was():
    dataset = Counting()
    noticed(dataset)
    assert dataset.calls == 0


def test_data_that_fails_is_left_to_the_training():
    class Broken(Base):
        def __getitem__(self, index):
            raise OSError("gone")

    assert not noticed(Broken())
