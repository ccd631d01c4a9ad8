"""Whatever a batch is, its tensors are moved, and the rest stays as it is."""

from collections import OrderedDict, UserDict, defaultdict, namedtuple
from dataclasses import dataclass
from types import MappingProxyType

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from ignite_pipeline.devices import make_current, to_device

Point = namedtuple("Point", "x y")


@dataclass(frozen=True)
class Pair:
    left: object
    right: object


class Movable:
    device = "nowhere"

    def to(self, device, non_blocking):
        self.device = device
        return self


HERE = torch.zeros(2)


@pytest.mark.parametrize(
    "batch",
    [
        HERE,
        [HERE, None, 3, "a.png", b"x", {1, 2}],
        (HERE, [HERE, []], ()),
        Point(HERE, 1),
        Pair(HERE, [HERE]),
        {"a": HERE, "b": {"c": (HERE, 0.5)}},
        OrderedDict(b=HERE, a=HERE),
        UserDict(a=HERE),
        defaultdict(list, a=[HERE]),
    ],
    ids=lambda batch: type(batch).__name__,
)
def test_a_batch_of_any_make_keeps_its_make(batch):
    moved = to_device("meta")(batch)
    assert type(moved) is type(batch)
    assert repr(moved).count("device='meta'") == repr(batch).count("tensor(")
    assert repr(batch).count("meta") == 0


def test_what_cannot_be_changed_becomes_a_dict():
    assert to_device("meta")(MappingProxyType({"a": HERE}))["a"].device.type == "meta"


@pytest.mark.parametrize(("name", "made"), [("cuda:1", ["cuda:1"]), ("cuda", []), ("cpu", [])])
def test_a_numbered_device_becomes_the_current_one(name, made, monkeypatch):
    current = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: current.append(str(device)))
    make_current(torch.device(name))
    assert current == made


def test_what_can_move_by_itself_does():
    movable = Movable()
    assert to_device("meta")({"a": movable})["a"] is movable
    assert movable.device == torch.device("meta")
    packed = to_device("meta")(pack_sequence([torch.zeros(3), torch.zeros(2)]))
    assert (packed.data.device.type, packed.batch_sizes.device.type) == ("meta", "cpu")
