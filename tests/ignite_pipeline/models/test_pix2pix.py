import pytest
import torch

from ignite_pipeline.models.pix2pix import IMAGE_SIZES, PatchDiscriminator, UNetGenerator


def test_the_networks_have_the_references_size():
    assert sum(p.numel() for p in UNetGenerator().parameters()) == 54_413_955
    assert sum(p.numel() for p in PatchDiscriminator(6).parameters()) == 2_768_705


@pytest.mark.parametrize("size", IMAGE_SIZES)
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_every_size_and_norm_translates_and_learns(size, norm):
    generator = UNetGenerator(2, 3, image_size=size, width=2, norm=norm)
    y = generator(torch.randn(2, 2, size, size))
    assert y.shape == (2, 3, size, size)
    assert y.abs().max() <= 1
    y.square().mean().backward()
    # Instance norm takes away what a convolution to one pixel adds.
    silent = [
        name for name, p in generator.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ]
    assert norm == "instance" or not silent


def test_depth_and_dropout_follow_the_size():
    for size, dropouts in zip(IMAGE_SIZES, (0, 1, 2, 3, 4), strict=True):
        generator = UNetGenerator(image_size=size, width=2)
        assert len(generator.downs) == len(generator.ups) == size.bit_length() - 1
        assert sum(isinstance(module, torch.nn.Dropout) for module in generator.modules()) == dropouts


def test_no_level_is_cut_off_from_its_mirror():
    generator = UNetGenerator(image_size=32, width=4).eval()
    x = torch.randn(1, 3, 32, 32)
    whole = generator(x)
    for level, down in enumerate(generator.downs):
        handle = down.register_forward_hook(lambda module, args, out: torch.zeros_like(out))
        assert not torch.equal(generator(x), whole), level
        handle.remove()


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70), (4, 142)])
def test_a_logit_sees_exactly_its_receptive_field(layers, field):
    discriminator = PatchDiscriminator(1, layers=layers, width=2, norm="instance")
    assert discriminator.receptive_field == field
    for module in discriminator.modules():
        if isinstance(module, torch.nn.InstanceNorm2d):
            module.forward = lambda x: x  # statistics of the whole image would reach beyond the patch
    x = torch.randn(1, 1, 256, 256, requires_grad=True)
    logits = discriminator(x)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    rows, columns = x.grad[0, 0].nonzero(as_tuple=True)
    assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == field


def test_weights_begin_at_normal_0_002():
    torch.manual_seed(0)
    generator = UNetGenerator(image_size=64, width=32)
    for module in generator.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
        elif isinstance(module, torch.nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UNetGenerator(image_size=100), "image_size must be one of"),
        (lambda: UNetGenerator(norm="layer"), "norm must be one of batch, instance, got 'layer'"),
        (lambda: PatchDiscriminator(6, layers=0), "layers must be at least 1, got 0"),
    ],
)
def test_a_bad_argument_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_batch_norm_finds_channels_last_both_ways():
    networks = UNetGenerator(image_size=64, width=8), PatchDiscriminator(6, width=8)
    seen = []

    def look(module, args, y):
        seen.append(y)
        y.grad_fn.register_prehook(seen.extend)

    for network in networks:
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.register_forward_hook(look)
    x, (generator, discriminator) = torch.randn(2, 3, 64, 64), networks
    discriminator(torch.cat([x, generator(x)], 1)).square().mean().backward()
    assert len(seen) == 2 * (4 + 5 + 3)
    assert all(image.is_contiguous(memory_format=torch.channels_last) for image in seen)
