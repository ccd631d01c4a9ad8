"""What stands in for a transform passes for it, but for ``is`` and ``type``."""

import copy
import functools
import inspect
import pickle
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from ignite_pipeline.data.stand_in import stand_in


@dataclass
class Scale:
    factor: float

    def __call__(self, x):
        return self.factor * x


class Chain(list):
    def __call__(self, x):
        return functools.reduce(lambda value, step: step(value), self, x)


def halved(x, *, times=1):
    return x / 2**times


THINGS = [halved, abs, functools.partial(halved, times=2), Scale(2.0), Chain([abs, halved]), nn.ReLU()]


def stood_in(thing):
    return stand_in(thing, lambda *args, **options: ("called", thing(*args, **options)))


@pytest.mark.parametrize("thing", THINGS)
def test_it_passes_for_the_thing(thing):
    other = stood_in(thing)
    assert other(-2 * torch.ones(())) == ("called", thing(-2 * torch.ones(())))
    assert isinstance(other, type(thing))
    assert other == thing == other
    assert bool(other) is bool(thing)
    assert (repr(other), dir(other), other.__class__) == (repr(thing), dir(thing), type(thing))
    assert hasattr(other, "__name__") is hasattr(thing, "__name__")
    assert hasattr(type(other), "__len__") is hasattr(type(thing), "__len__")
    assert callable(other)


def test_its_special_methods_are_those_of_the_thing():
    chain = Chain([abs, halved])
    assert len(stood_in(chain)) == 2
    assert list(stood_in(chain)) == [abs, halved]
    assert stood_in(chain)[1] is halved
    assert not stood_in(Chain())
    with pytest.raises(TypeError, match="unhashable"):
        hash(stood_in(chain))
    assert hash(stood_in(halved)) == hash(halved)
    assert inspect.signature(stood_in(halved)) == inspect.signature(halved)


def test_what_is_set_is_set_on_the_thing():
    thing = Scale(2.0)
    stood_in(thing).factor = 3.0
    assert thing == Scale(3.0)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("thing", [halved, Scale(2.0), Chain([abs])])
def test_a_copy_of_it_is_one_of_the_thing(copied, thing):
    again = copied(stood_in(thing))
    assert type(again) is type(thing)
    assert again == thing
    assert (again is thing) is (thing is halved)


def test_it_raises_what_the_thing_raises():
    with pytest.raises(TypeError, match="unexpected keyword argument 'by'"):
        stood_in(halved)(1, by=3)
