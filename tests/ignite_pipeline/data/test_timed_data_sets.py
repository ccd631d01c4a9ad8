"""Data sets of every kind are timed, and load what they load untimed."""

import os

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the network, at every import

import copy
import itertools
import pickle
from functools import partial

import albumentations as A
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, Dataset, Subset
from torchvision import datasets, tv_tensors
from torchvision import transforms as v1
from torchvision.transforms import v2

from ignite_pipeline.data.loading import endless_loader
from ignite_pipeline.data.own_randomness import keeps_random_state
from ignite_pipeline.data.position_keyed import BadSample
from ignite_pipeline.data.sample_transforms import Transformed
from tests.support.clocks import Clock
from tests.support.timed_loading import NEVER, batches, same, started


def doubled(x):
    return x * 2


class Drawn(Dataset):
    """Images of bytes that are drawn; what a subclass holds transforms them."""

    def __len__(self):
        return 24

    def image(self):
        return torch.randint(256, (3, 16, 16), dtype=torch.uint8)

    def __getitem__(self, index):
        return self.transform(self.image()), index


class Held(Drawn):
    def __init__(self, transform):
        self.transform = transform


class InMethod(Drawn):
    def transform(self, image):
        return image + torch.randint(2, (), dtype=torch.uint8)


class InClass(Drawn):
    transform = v2.Compose([v2.RandomHorizontalFlip(), v2.ColorJitter(0.3)])


class Targeted(datasets.VisionDataset, Drawn):
    """The transforms of an image and its target are called as one, as some of torchvision's data sets do."""

    __len__ = Drawn.__len__

    def __getitem__(self, index):
        return self.transforms(self.image(), index)


class Jointly(Drawn):
    """A transform of v2 that has several arguments."""

    def __init__(self):
        self.transforms = v2.Compose([v2.RandomCrop(8), v2.RandomHorizontalFlip()])

    def __getitem__(self, index):
        image = self.image()
        return self.transforms(tv_tensors.Image(image), tv_tensors.Mask(image[0]))


class InList(Drawn):
    def __init__(self):
        self.transforms = [v2.RandomCrop(12), None, doubled]

    def __getitem__(self, index):
        image = self.image()
        for transform in self.transforms:
            image = image if transform is None else transform(image)
        return image


class OfArrays(Drawn):
    """Albumentations in a data set of one's own: it draws from generators of its own."""

    def __init__(self):
        self.transform = A.Compose([A.RandomCrop(8, 8), A.OneOf([A.Blur(p=1), A.GaussNoise(p=1)], p=1)])

    def __getitem__(self, index):
        self.transform.set_random_seed(index)
        image = np.ascontiguousarray(self.image().permute(1, 2, 0))
        return self.transform(image=image, mask=image[..., 0])


TUPLE = (
    v2.RandomApply(nn.ModuleList([v2.Pad(2)])),
    v2.Compose([v2.RandomErasing(1.0)]),
    v2.RandomCrop(8),
)
LAMBDA = lambda image: image.flip(-1)  # noqa: E731
LAMBDA_NAME = f"lambda (test_timed_data_sets.py:{LAMBDA.__code__.co_firstlineno})"
OF_ALBUMENTATIONS = {"Compose itself", "RandomCrop", "OneOf itself", "Blur", "GaussNoise"}
HELD = {
    "v1 Compose": (
        datasets.FakeData(24, (3, 16, 16), 5, v1.Compose([v1.RandomRotation(9), v1.ToTensor()]), doubled),
        {"Compose itself", "RandomRotation", "ToTensor", "doubled"},
    ),
    "v2 Compose": (
        Held(v2.Compose(TUPLE)),
        {"Compose itself", "RandomApply itself", "Pad", "RandomErasing", "RandomCrop"},
    ),
    "Sequential": (
        Held(nn.Sequential(v2.RandomCrop(8), v2.RandomCrop(4), nn.Identity())),
        {"Sequential itself", "RandomCrop", "Identity"},
    ),
    "Albumentations": (
        Transformed(Held(nn.Identity()), OfArrays().transform),
        {"Albumentation itself", *OF_ALBUMENTATIONS, "Identity"},
    ),
    "Albumentations by themselves": (OfArrays(), OF_ALBUMENTATIONS),
    "a function": (Held(doubled), {"doubled"}),
    "a lambda": (Held(v2.Compose([v2.Lambda(doubled), LAMBDA])), {"Compose itself", "doubled", LAMBDA_NAME}),
    "a partial": (Held(partial(torch.roll, shifts=1)), {"roll"}),
    "a method": (InMethod(), {"transform"}),
    "of the class": (InClass(), {"Compose itself", "RandomHorizontalFlip", "ColorJitter"}),
    "image and target": (
        Targeted("", transform=v2.Compose([v2.RandomCrop(8)]), target_transform=doubled),
        {"StandardTransform itself", "Compose itself", "RandomCrop", "doubled"},
    ),
    "image and mask": (Jointly(), {"Compose itself", "RandomCrop", "RandomHorizontalFlip"}),
    "a list": (InList(), {"RandomCrop", "doubled"}),
    "data sets in others": (
        Subset(ConcatDataset([Held(doubled), Held(nn.Identity()), InMethod()]), range(0, 60, 2)),
        {"doubled", "Identity", "transform"},
    ),
    "more data sets than are looked into": (ConcatDataset([Held(doubled) for _ in range(100)]), {"doubled"}),
}


@pytest.mark.parametrize("kind", HELD)
def test_timing_changes_no_bit_of_a_batch(kind):
    dataset, names = HELD[kind]
    wanted = batches(dataset, every_samples=NEVER)
    assert same(batches(dataset, every_samples=3, num_workers=1), wanted)
    loader, loaded = started(dataset, every_samples=1)
    assert same(list(itertools.islice(loaded, 12)), wanted)
    costs = loader.costs()
    assert {cost.name for cost in costs} == {"reading", "collating", *names}
    assert sum(cost.share for cost in costs) == pytest.approx(1)
    assert costs == sorted(costs, key=lambda cost: -cost.ms)


def test_a_data_set_is_as_before_after_a_sample_that_fails():
    def fail(image):
        raise OSError("the disk is gone")

    chain = v2.Compose([v2.RandomCrop(8), fail])
    dataset = Held(chain)
    with pytest.raises(BadSample, match="of the data set: OSError: the disk is gone"):
        batches(dataset)
    assert dataset.transform is chain
    assert chain.transforms[1] is fail


def test_a_data_set_is_given_no_attributes():
    dataset = InMethod()
    batches(dataset)
    assert vars(dataset) == {}


class Numbered(Held):
    def __getitem__(self, index):
        return self.transform(index)


def test_samples_that_fail_are_replaced_as_ever():
    def refuse_some(index):
        if index % 3 == 0:
            raise OSError("the disk is gone")
        return index

    timed = batches(Numbered(refuse_some), skip_bad=True)
    assert same(timed, batches(Numbered(refuse_some), skip_bad=True, every_samples=NEVER))


def test_a_transform_that_takes_the_place_of_another_stays():
    class Milder(Held):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            self.transform = nn.Identity()
            return sample

    dataset = Milder(doubled)
    batches(dataset)
    assert type(dataset.transform) is nn.Identity


class Closed(Drawn):
    """A data set that does not let itself be looked into."""

    def __getattribute__(self, name):
        if name == "__dict__":
            raise RuntimeError("no")
        return super().__getattribute__(name)

    def transform(self, image):
        return image


def test_data_that_cannot_be_looked_into_is_loaded_all_the_same():
    assert same(batches(Closed()), batches(Closed(), every_samples=NEVER))


class Whole(Drawn):
    def __init__(self, clock):
        self.clock = clock

    def __getitems__(self, indices):
        self.clock.spend(0.001 * len(indices))
        return torch.tensor(indices)


def test_a_batch_that_is_read_as_a_whole_counts_as_reading():
    clock = Clock()
    loader, loaded = started(Whole(clock), clock=clock)
    next(loaded)
    (cost,) = loader.costs()
    assert (cost.name, cost.ms, cost.share) == ("reading", pytest.approx(1), 1)


def test_a_copy_of_the_data_counts_for_itself_if_at_all():
    loader, loaded = started(HELD["v2 Compose"][0])
    next(loaded)
    before = loader.costs()
    assert not keeps_random_state(loader.dataset, loader.batch_sampler)
    for copied in (copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))):
        again = copied(loader.dataset)
        key = next(iter(loader.batch_sampler))
        assert same(again.__getitems__(key), next(iter(endless_loader(again.dataset, batch_size=4, seed=3))))
    assert loader.costs() == before
