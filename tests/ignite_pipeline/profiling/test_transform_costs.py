from itertools import accumulate, cycle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import v2

from ignite_pipeline.profiling.transform_costs import quicker_orders, transform_costs, transforms_of
from tests.support.clocks import Clock


def slow(clock, name, seconds, change=lambda x: x):
    def transform(x):
        clock.spend(seconds(x) if callable(seconds) else seconds)
        return change(x)

    transform.__name__ = name
    return transform


def test_each_transform_is_charged_its_own_time():
    clock = Clock()
    transforms = [slow(clock, "read", 0.003), slow(clock, "turn", 0.001, lambda x: x[:2])]
    costs = transform_costs(transforms, [torch.zeros(3, 4)] * 5, seconds=0.1, clock=clock)
    assert [(cost.name, cost.output) for cost in costs] == [("read", "float32 3×4"), ("turn", "float32 2×4")]
    assert [cost.ms for cost in costs] == pytest.approx([3, 1])
    assert [cost.share for cost in costs] == pytest.approx([0.75, 0.25])


def test_a_quicker_order_is_found_and_said_to_be_equal():
    clock = Clock()
    turn = slow(clock, "turn", lambda x: x.numel() * 1e-3, lambda x: x.flip(-1))
    crop = slow(clock, "crop", 1e-3, lambda x: x[..., 1:3, 1:3])
    (found,) = quicker_orders([turn, crop], [torch.rand(4, 4) for _ in range(3)], clock=clock)
    assert found.names == ("crop", "turn")
    assert found.speedup == pytest.approx((16 + 1) / (1 + 4))
    assert found.result == "equal"  # the crop is in the middle, so it does not matter where it is turned


def test_an_order_that_changes_the_result_is_said_to():
    clock = Clock()
    brighten = slow(clock, "brighten", lambda x: x.numel() * 1e-3, lambda x: x * 2)
    floor = slow(clock, "floor", 1e-3, lambda x: x[:2].floor())
    (found,) = quicker_orders([brighten, floor], [torch.rand(4, 4)], clock=clock)
    assert (found.names, found.result) == (("floor", "brighten"), "different")


def test_orders_of_random_transforms_are_compared_by_their_draws():
    clock = Clock()
    noise = slow(clock, "noise", lambda x: x.numel() * 1e-3, lambda x: x + torch.randn_like(x))
    flip = slow(clock, "flip", 1e-3, lambda x: (x.flip(-1) if torch.rand(()) < 0.5 else x)[:2])
    found = quicker_orders([noise, flip], [torch.arange(16.0).view(4, 4)], clock=clock)
    assert [(order.names, order.result) for order in found] == [(("flip", "noise"), "equal in distribution")]


def test_orders_that_fail_are_left_out():
    transforms = [v1.RandomCrop(8), v1.ToTensor(), v1.Normalize((0.5,) * 3, (0.5,) * 3)]
    image = Image.fromarray(np.zeros((32, 32, 3), np.uint8))
    for order in quicker_orders(transforms, [image] * 4):
        assert order.names.index("ToTensor") < order.names.index("Normalize")


@pytest.mark.parametrize("compose", [v1.Compose, v2.Compose])
def test_the_transforms_of_a_compose_are_found(compose):
    parts = [v1.CenterCrop(2), v1.ToTensor()]
    dataset = type("Images", (), {"transform": compose(parts)})()
    assert transforms_of(dataset) == parts


def test_other_transforms_are_found():
    assert transforms_of([1, 2, 3]) == []
    assert transforms_of(type("Images", (), {"transform": abs})()) == [abs]
    sequential = nn.Sequential(nn.ReLU(), nn.Tanh())
    assert transforms_of(type("Images", (), {"transform": sequential})()) == list(sequential)


def test_the_parts_of_an_albumentations_chain_are_told_apart(monkeypatch):
    monkeypatch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")  # or it asks the package index for its version
    A = pytest.importorskip("albumentations", reason="pip install albumentations, to time its transforms")
    chain = A.Compose([A.RandomCrop(24, 24), A.HorizontalFlip(p=0.5), A.Normalize()])
    transforms = transforms_of(SimpleNamespace(transform=chain))
    images = [np.full((256, 256, 3), value, dtype=np.uint8) for value in range(8)]
    costs = transform_costs(transforms, images, seconds=0.05)
    assert [(cost.name, cost.output) for cost in costs] == [
        ("RandomCrop", "uint8 24×24×3"),
        ("HorizontalFlip", "uint8 24×24×3"),
        ("Normalize", "float32 24×24×3"),
    ]
    lucky = accumulate(cycle([0, 2, 0, 1]))  # every other order takes half the time
    found = quicker_orders(transforms[::-1], images, clock=lambda: next(lucky))
    orders = {order.names: order.result for order in found}
    assert orders["RandomCrop", "Normalize", "HorizontalFlip"] == "equal"
