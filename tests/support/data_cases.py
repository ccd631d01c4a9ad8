"""Samples and batches of every kind, each drawn at random in some way, in one data set."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from ignite.engine import Engine
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset, default_collate
from torchvision.transforms import v2

from handlers import StepMeans
from ignite_pipeline.nested import map_leaves
from ignite_pipeline.run import Run

SIZE, BATCH, EPOCHS = 48, 4, 3


class Point(NamedTuple):
    """A sample that is a named tuple."""

    x: Tensor
    y: float


@dataclass
class Pair:
    """A sample, and a batch, that torch cannot collate by itself."""

    left: Any
    right: Any


@dataclass(frozen=True)
class Kind:
    """How a sample is made of an index, and a batch of samples."""

    sample: Callable[[int], Any]
    collate: Callable[[list[Any]], Any] = default_collate


def tensor(index):
    return torch.rand(3) + index


def pair(index):
    return torch.rand(3), index + random.random()


def nested_dict(index):
    return {"image": torch.randn(2), "more": {"file": f"{index}.png", "draw": np.random.rand()}}


def named_tuple(index):
    return Point(torch.randn(2), random.random())


def dataclass_pair(index):
    return Pair(torch.randn(2), None if index % 2 else index)


def collate_pairs(samples):
    order = torch.randperm(len(samples))  # draws as it joins
    left = torch.stack([samples[place].left for place in order])
    return Pair(left, [samples[place].right for place in order])


def ragged(index):
    return torch.rand(int(torch.randint(1, 6, ())))


def augmented(index):
    image = Image.fromarray(np.random.randint(0, 256, (12, 12, 3), dtype=np.uint8))
    return v2.Compose(
        [v2.RandomResizedCrop(8), v2.RandomHorizontalFlip(), v2.ColorJitter(0.2), v2.ToImage()]
    )(image)


def labelled(index):
    return torch.rand(1, 8, 8), index % 2


def mixed_up(samples):
    return v2.MixUp(num_classes=2)(*default_collate(samples))


def cut_and_mixed(samples):
    return v2.CutMix(num_classes=2)(*default_collate(samples))


def either(samples):
    choice = v2.RandomChoice([v2.MixUp(num_classes=2), v2.CutMix(num_classes=2)])
    return choice(*default_collate(samples))


def of_torch(index):
    return TABLES[index % len(TABLES)]


TABLES = ConcatDataset([TensorDataset(torch.arange(5.0)), TensorDataset(torch.arange(7.0))])
KINDS = {
    "tensors": Kind(tensor),
    "tuples": Kind(pair),
    "dicts in dicts": Kind(nested_dict),
    "named tuples": Kind(named_tuple),
    "dataclasses, joined by hand": Kind(dataclass_pair, collate_pairs),
    "tensors of several lengths, padded": Kind(ragged, pad_sequence),
    "images with transforms of v2": Kind(augmented),
    "MixUp": Kind(labelled, mixed_up),
    "CutMix": Kind(labelled, cut_and_mixed),
    "one of both": Kind(labelled, either),
    "torch's own data sets": Kind(of_torch),
}


class EveryKind(Dataset):
    """A sample of each kind."""

    def __len__(self):
        return SIZE

    def __getitem__(self, index):
        return {name: kind.sample(index) for name, kind in KINDS.items()}


class Whole(EveryKind):
    """The same, a batch at a time."""

    def __getitems__(self, indices):
        return [self[index] for index in indices]


def collate_each(samples):
    return {name: kind.collate([sample[name] for sample in samples]) for name, kind in KINDS.items()}


WEIGHTS = [1.0 + index % 3 for index in range(SIZE // 2)]
LOADERS = {
    "sample by sample": (EveryKind(), {}),
    "batch by batch": (Whole(), {}),
    "a subset with weights": (
        Subset(EveryKind(), range(0, SIZE, 2)),
        {"weights": WEIGHTS},
    ),
}


class Digests(nn.Module):
    """A digest of all batches so far, for each kind."""

    def __init__(self):
        super().__init__()
        for place in range(len(KINDS)):
            self.register_buffer(str(place), torch.zeros(32, dtype=torch.uint8))

    def add(self, batch):
        for digest, name in zip(self.buffers(), KINDS, strict=True):
            hasher = hashlib.sha256(bytes(digest.tolist()))
            map_leaves(lambda leaf, hasher=hasher: hasher.update(_bytes_of(leaf)), batch[name])
            digest.copy_(torch.tensor(list(hasher.digest())))


def _bytes_of(leaf):
    if isinstance(leaf, Tensor):
        return f"{leaf.dtype}{tuple(leaf.shape)}".encode() + leaf.contiguous().numpy().tobytes()
    return repr(leaf).encode()


def train(run: Run, loader: str, method: str | None) -> None:
    """Train on batches of every kind, read by workers that are started by ``method``."""
    dataset, options = LOADERS[loader]
    batches = run.train_loader(
        dataset, batch_size=BATCH, collate_fn=collate_each, multiprocessing_context=method, **options
    )
    model = Digests()

    def step(engine, batch):
        model.add(run.compute.transfer(batch))
        return torch.rand(())

    trainer = Engine(step)
    run.attach(trainer, measure=[StepMeans(every_iters=5)], save={"model": model})
    run.train(trainer, batches, epochs=EPOCHS)
