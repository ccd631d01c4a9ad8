"""Transforms of single images: the same weights with any workers and storage, and through a kill."""

import functools
import shutil

import pytest
import torch
from torch.utils.data import TensorDataset

from ignite_pipeline.data.sample_transforms import Transformed
from ignite_pipeline.profiling.loop_profile import measured_transforms
from ignite_pipeline.seeding import seeded
from tests.support import image_cases
from tests.support.image_cases import TRANSFORMS
from tests.support.killing import run_recipe
from tests.support.runs import summary


@pytest.mark.slow
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_weights_depend_neither_on_workers_nor_on_storage_nor_on_a_kill(photographs, tmp_path, transform):
    def run(directory, storage, *options, kill_at=None):
        train = functools.partial(
            image_cases.train, root=str(photographs), transform=transform, storage=storage
        )
        run_recipe(train, directory, *options, kill_at=kill_at)

    run(tmp_path / "whole", "memory")
    found = [summary(tmp_path / "whole")["model_sha256"]]
    for storage, workers in [("memory", 1), ("memory", 3), ("files", 0), ("files", 3)]:
        run(tmp_path / f"{storage}-{workers}", storage, "--num-workers", workers)
        found.append(summary(tmp_path / f"{storage}-{workers}")["model_sha256"])
    run(tmp_path / "killed", "files", "--num-workers", 1, kill_at=9)
    for storage, workers in [("memory", 3), ("files", 0)]:
        directory = shutil.copytree(tmp_path / "killed", tmp_path / f"resumed-{storage}-{workers}")
        run(directory, storage, "--num-workers", workers)
        found.append(summary(directory)["model_sha256"])
    assert set(found) == {found[0]}


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_an_image_is_transformed_as_its_seed_says_whatever_came_before(transform):
    images = torch.randint(256, (20, 3, 32, 32), dtype=torch.uint8)
    dataset = Transformed(TensorDataset(images, torch.arange(20)), TRANSFORMS[transform])

    def transformed(index, seed):
        with seeded(seed):
            return dataset[index][0]

    forwards = [transformed(index, index) for index in range(20)]
    backwards = [transformed(index, index) for index in reversed(range(20))][::-1]
    assert all(map(torch.equal, forwards, backwards))
    assert len({transformed(0, seed).float().mean().item() for seed in range(20)}) > 10
    assert forwards[0].shape == (3, 24, 24)
    assert forwards[0].dtype == torch.uint8


def test_the_profiler_times_each_transform():
    images = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    dataset = Transformed(TensorDataset(images, torch.arange(4)), TRANSFORMS["torchvision"])
    found = measured_transforms(dataset, 0.05)["transforms"]
    names = ["RandomResizedCrop", "RandomHorizontalFlip", "RandAugment", "ColorJitter", "RandomErasing"]
    assert [cost["name"] for cost in found] == names
    assert dataset[0][0].shape == (3, 24, 24)  # and puts them back
