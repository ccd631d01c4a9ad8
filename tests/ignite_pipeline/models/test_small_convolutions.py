import pytest
import torch
from torch import nn

from ignite_pipeline.models.small_convolutions import SmallConv2d, SmallConvTranspose2d

KINDS = {SmallConv2d: (nn.Conv2d, 8), SmallConvTranspose2d: (nn.ConvTranspose2d, 4)}


def twins(kind, bias=True):
    torch.manual_seed(0)
    ours = kind(24, 16, bias=bias)
    torchs = KINDS[kind][0](24, 16, 4, stride=2, padding=1, bias=bias)
    torchs.load_state_dict(ours.state_dict())
    return ours, torchs


def gradients(layer, x, precision):
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        y = layer(x)
    y.float().square().sum().backward()
    return y.float(), x.grad, *(parameter.grad for parameter in layer.parameters())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2**-20), ("bf16", 2**-7)])
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_torch_in_fp32_within_the_precision(
    kind, precision, tolerance, memory_format, batch, bias
):
    ours, torchs = twins(kind, bias)
    x = torch.randn(batch, 24, KINDS[kind][1], 2 * KINDS[kind][1]).to(memory_format=memory_format)
    for a, b in zip(gradients(ours, x, precision), gradients(torchs, x, "fp32"), strict=True):
        assert a.shape == b.shape
        assert (a - b).norm() <= tolerance * b.norm()


@pytest.mark.parametrize("kind", KINDS)
def test_float64_is_computed_in_float64(kind):
    ours, torchs = twins(kind)
    x = torch.randn(1, 24, 4, 4, dtype=torch.float64)
    assert (ours.double()(x) - torchs.double()(x)).norm() < 1e-13


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_on_large_images_every_bit_is_torchs(kind, precision):
    ours, torchs = twins(kind)
    x = torch.randn(2, 24, 40, 40)
    for a, b in zip(gradients(ours, x, precision), gradients(torchs, x, precision), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_product_is_what_a_small_image_gets(kind, precision, monkeypatch):
    def fail(*args):
        raise AssertionError("torch's convolution was called")

    ours, _ = twins(kind)
    monkeypatch.setattr(KINDS[kind][0], "forward", fail)
    assert gradients(ours, torch.randn(1, 24, 4, 4), precision)[0].isfinite().all()
