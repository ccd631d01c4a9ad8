"""Data whose loading takes known times, in a module that a process which is spawned imports at once."""

from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset, default_collate

from tests.support.clocks import Clock


@dataclass
class Spend:
    """A step of loading that takes so long by that clock."""

    clock: Clock
    seconds: float

    def __call__(self, x: Any) -> Any:
        self.clock.spend(self.seconds)
        return x


class First(Spend):
    pass


class Second(Spend):
    pass


class Collated(Spend):
    """Samples joined, so many seconds for each."""

    def __call__(self, x: Any) -> Any:
        self.clock.spend(self.seconds * len(x))
        return default_collate(x)


@dataclass
class Chain:
    """Transforms, one after the other."""

    transforms: list[Any]

    def __call__(self, x: Any) -> Any:
        for transform in self.transforms:
            x = transform(x)
        return x


@dataclass
class Timely(Dataset[Any]):
    """Samples that are their indices, read and transformed."""

    read: Spend
    transform: Any

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Any:
        return self.transform(self.read(index))
