"""Where a data set holds its transforms: in attributes, and within each other."""

import os
from functools import partial
from typing import Any, NamedTuple

from torch import nn
from torch.utils.data import Dataset

# To look through a thousand data sets that are joined would take longer than to read a sample.
_MOST = 64
ABSENT: Any = object()


class Place(NamedTuple):
    """One place of a transform, or of a tuple of some: ``holder[key]``, in a list or an object's attributes.

    ``before`` is what stands there; ``ABSENT`` if only the class has it.
    """

    holder: Any
    key: Any
    before: Any
    transform: Any


def name_of(transform: Any) -> str:
    """Return what to call a transform: the name of a function or a class, the line of a lambda.

    >>> name_of(nn.Tanh()), name_of(partial(abs))
    ('Tanh', 'abs')
    """
    inner = transform.func if isinstance(transform, partial) else getattr(transform, "lambd", None)
    if callable(inner):  # of a partial, or torchvision's Lambda
        return name_of(inner)
    name = str(getattr(transform, "__name__", type(transform).__name__))
    code = getattr(transform, "__code__", None)
    if name != "<lambda>" or code is None:
        return name
    return f"lambda ({os.path.basename(code.co_filename)}:{code.co_firstlineno})"


class HeldTransforms:
    """The transforms that a data set holds: their places, and their names by ``id``.

    They are what the data set, and those in it, keep in attributes with "transform" in their name, and what
    is kept so in a transform, or in a list there: a Compose of torchvision or Albumentations, an
    ``nn.Sequential``, a RandomApply. What holds others is named "Compose itself", say.

    >>> dataset = type("Images", (Dataset,), {})()
    >>> dataset.transform = nn.Sequential(nn.ReLU(), nn.Tanh())
    >>> list(HeldTransforms(dataset).names.values())
    ['ReLU', 'Tanh', 'Sequential itself']
    """

    def __init__(self, dataset: Any) -> None:
        self.places: list[Place] = []
        self.names: dict[int, str] = {}
        self._seen: set[int] = set()
        self._look_into_data(dataset)

    def _look_into_data(self, dataset: Any) -> None:
        if not hasattr(type(dataset), "__getitem__") or not self._is_new(dataset):
            return
        own = _attributes(dataset)
        self._look_into(dataset)
        in_class = getattr(type(dataset), "transform", None) if isinstance(dataset, Dataset) else None
        if callable(in_class) and "transform" not in own:  # a method, say
            self._note(own, "transform", ABSENT, dataset.transform)
        for key, value in own.items():
            if "dataset" in key:
                for within in value[:_MOST] if type(value) is list and key == "datasets" else [value]:
                    self._look_into_data(within)

    def _look_into(self, thing: Any) -> None:
        own = _attributes(thing)
        modules = own.get("_modules") if isinstance(thing, nn.Module) else None
        is_chain = isinstance(thing, nn.Sequential | nn.ModuleList)
        for holder in (own, modules if isinstance(modules, dict) else {}):
            for key, value in holder.items():
                if "transform" not in key and not (is_chain and holder is modules):
                    continue
                if type(value) is list:
                    for number, part in enumerate(value[:_MOST]):
                        self._note(value, number, part, part)
                else:
                    self._note(holder, key, value, value)

    def _note(self, holder: Any, key: Any, before: Any, transform: Any) -> None:
        parts = transform[:_MOST] if type(transform) is tuple else (transform,)
        if [part for part in parts if self._is_transform(part)]:
            self.places.append(Place(holder, key, before, transform))

    def _is_transform(self, thing: Any) -> bool:
        if not callable(thing) or isinstance(thing, type | Dataset):
            return False
        if self._is_new(thing):
            count = len(self.places)
            self._look_into(thing)
            self.names[id(thing)] = name_of(thing) + (" itself" if len(self.places) > count else "")
        return id(thing) in self.names

    def _is_new(self, thing: Any) -> bool:
        is_new = id(thing) not in self._seen and len(self._seen) < _MOST
        self._seen.add(id(thing))
        return is_new


def _attributes(thing: Any) -> dict[str, Any]:
    own = getattr(thing, "__dict__", None)
    return own if type(own) is dict else {}
