import copy
from functools import partial

import pytest
import torch
from ignite.engine import Engine
from torch import nn
from torch.nn import functional as F

from ignite_pipeline.adversarial import (
    LOSSES,
    ImageBuffer,
    discriminator_accuracy,
    gradient_penalty,
    least_squares,
    vanilla,
)
from ignite_pipeline.compute import Compute
from ignite_pipeline.gan_steps import gan_step, translation_step
from ignite_pipeline.model_modes import inference_mode_of
from ignite_pipeline.models.pix2pix import PatchDiscriminator, UNetGenerator


def networks():
    torch.manual_seed(0)
    return UNetGenerator(image_size=32, width=4), PatchDiscriminator(6, layers=1, width=4)


def pair(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1 for _ in range(2))


def adam(model, fused=True):
    return torch.optim.Adam(model.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=fused)


def gradients_at_each_step(optimizer):
    seen = []
    optimizer.register_step_pre_hook(
        lambda opt, args, kwargs: seen.append(
            [None if p.grad is None else p.grad.clone() for p in opt.param_groups[0]["params"]]
        )
    )
    return seen


def written_out(generator, discriminator, optimizer_g, optimizer_d, source, target):
    """One iteration of pix2pix in a straight line: sections 3.1 and 3.3 of the paper."""
    ones_like, zeros_like = torch.ones_like, torch.zeros_like
    fake = generator(source)
    optimizer_d.zero_grad()
    judged_fake = discriminator(torch.cat([source, fake.detach()], 1))
    judged_real = discriminator(torch.cat([source, target], 1))
    loss_d = 0.5 * (
        F.binary_cross_entropy_with_logits(judged_fake, zeros_like(judged_fake))
        + F.binary_cross_entropy_with_logits(judged_real, ones_like(judged_real))
    )
    loss_d.backward()
    optimizer_d.step()
    optimizer_g.zero_grad()
    judged = discriminator(torch.cat([source, fake], 1))
    adversarial = F.binary_cross_entropy_with_logits(judged, ones_like(judged))
    reconstruction = F.l1_loss(fake, target)
    (adversarial + 100 * reconstruction).backward()
    optimizer_g.step()
    return {"loss_d": loss_d, "loss_g_adversarial": adversarial, "loss_g_reconstruction": reconstruction}


def test_equals_pix2pix_written_out():
    ours, plain = networks(), copy.deepcopy(networks())
    our_optimizers, plain_optimizers = [adam(m) for m in ours], [adam(m) for m in plain]
    our_gradients = [gradients_at_each_step(o) for o in our_optimizers]
    plain_gradients = [gradients_at_each_step(o) for o in plain_optimizers]
    step = gan_step(*ours, *our_optimizers)
    engine = Engine(step)
    for seed in range(3):
        output = step(engine, pair(seed))
        expected = written_out(*plain, *plain_optimizers, *pair(seed))
        for name, value in expected.items():
            torch.testing.assert_close(output[name], value.detach())
    torch.testing.assert_close(our_gradients, plain_gradients)
    # Batch-norm statistics have moved exactly as often, and to the same values.
    for model, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(dict(model.named_buffers()), dict(other.named_buffers()))
    counts = [int(b) for name, b in ours[1].named_buffers() if name.endswith("num_batches_tracked")]
    assert set(counts) == {9}


def test_the_discriminator_receives_no_gradient_in_the_generators_half():
    generator, discriminator = networks()
    optimizer_g, optimizer_d = adam(generator), adam(discriminator)
    seen = []
    for optimizer in (optimizer_d, optimizer_g):
        optimizer.register_step_pre_hook(
            lambda *args: seen.append([p.grad.clone() for p in discriminator.parameters()])
        )
    Engine(gan_step(generator, discriminator, optimizer_g, optimizer_d)).run([pair()])
    assert all(torch.equal(*gradients) for gradients in zip(*seen, strict=True))
    assert len(seen) == 2
    assert all(p.requires_grad for p in discriminator.parameters())


def test_the_output_is_detached_scalars():
    output = Engine(gan_step(*networks(), *map(adam, networks()))).run([pair()]).output
    assert sorted(output) == [
        "accuracy_fake",
        "accuracy_real",
        "loss_d",
        "loss_g_adversarial",
        "loss_g_reconstruction",
    ]
    assert all(value.shape == () and not value.requires_grad for value in output.values())


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_falls_as_the_judgement_nears_what_its_role_wants(name):
    loss = LOSSES[name]
    for role, direction in (("real", 1), ("fake", -1), ("generator", 1)):
        wrong, right = (
            loss(torch.full((2, 1, 3, 3), 0.5 + sign * direction * 0.4), role) for sign in (-1, 1)
        )
        assert wrong.shape == ()
        assert right < wrong


@pytest.mark.parametrize(("loss", "boundary"), [(vanilla, 0.0), (least_squares, 0.5)])
def test_accuracy_is_counted_on_both_sides_of_the_boundary(loss, boundary):
    judged = torch.tensor([boundary - 0.1, boundary + 0.1, boundary + 0.2, boundary + 0.3])
    assert discriminator_accuracy(loss, judged, "real") == 0.75
    assert discriminator_accuracy(loss, judged, "fake") == 0.25


def test_the_penalty_is_zero_only_at_gradient_norm_one():
    real, fake = torch.randn(4, 1, 2, 2), torch.randn(4, 1, 2, 2)
    for slope, expected in ((1.0, 0.0), (3.0, 4.0)):
        weighted = partial(torch.mul, other=torch.tensor(slope / 2))
        assert gradient_penalty(
            lambda x, w=weighted: w(x).sum((1, 2, 3)), real, fake
        ).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_loss_trains_both_networks(name, precision):
    generator, discriminator = networks()
    before = [copy.deepcopy(model.state_dict()) for model in (generator, discriminator)]
    step = gan_step(
        generator,
        discriminator,
        adam(generator),
        adam(discriminator),
        adversarial_loss=LOSSES[name],
        penalty_weight=10.0 if name == "wasserstein" else 0.0,
        compute=Compute(precision=precision),
        clip_norm=1.0,
    )
    output = Engine(step).run([pair(seed) for seed in range(3)]).output
    assert all(value.isfinite() for value in output.values())
    for model, old in zip((generator, discriminator), before, strict=True):
        # A bias of the last layer cancels in some losses.
        assert all(not torch.equal(p, old[n]) for n, p in model.named_parameters() if n.endswith("weight"))


def test_a_batch_is_one_iteration_whatever_the_number_of_discriminator_steps():
    generator, discriminator = networks()
    optimizer_g, optimizer_d = adam(generator), adam(discriminator)
    seen_g, seen_d = gradients_at_each_step(optimizer_g), gradients_at_each_step(optimizer_d)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer_g, lambda iteration: 0.5**iteration)
    step = gan_step(
        generator, discriminator, optimizer_g, optimizer_d, discriminator_steps=3, schedules=(schedule,)
    )
    state = Engine(step).run([pair(), pair(1)])
    assert (state.iteration, len(seen_g), len(seen_d)) == (2, 2, 6)
    assert schedule.last_epoch == 2


def test_a_plain_dcgan_trains():
    torch.manual_seed(0)
    generator = nn.Sequential(
        nn.ConvTranspose2d(8, 16, 4),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 4, 2, 1),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(nn.Conv2d(1, 16, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 1, 4))
    real = torch.full((16, 1, 8, 8), 0.9)
    optimizers = [
        torch.optim.Adam(m.parameters(), lr=5e-3, betas=(0.5, 0.999)) for m in (generator, discriminator)
    ]
    step = gan_step(
        generator,
        discriminator,
        *optimizers,
        conditional=False,
        reconstruction_weight=0.0,
        discriminator_weight=1.0,
    )
    noise = torch.randn(16, 8, 1, 1)
    first = generator(noise).mean().item()
    state = Engine(step).run([(torch.randn(16, 8, 1, 1), real) for _ in range(60)])
    assert "loss_g_reconstruction" not in state.output
    assert generator(noise).mean().item() > first + 0.3


@pytest.mark.parametrize("penalty_weight", [0.0, 10.0])
def test_micro_batches_give_the_gradients_of_the_whole_batch(penalty_weight):
    torch.manual_seed(0)
    whole = nn.Conv2d(3, 3, 3, padding=1), nn.Sequential(nn.Conv2d(6, 4, 3), nn.Tanh(), nn.Conv2d(4, 1, 3))
    parts = copy.deepcopy(whole)
    for models, compute in ((whole, Compute()), (parts, Compute(micro_batches=2))):
        torch.manual_seed(1)
        step = gan_step(
            *models, *map(adam, models), compute=compute, penalty_weight=penalty_weight, discriminator_steps=2
        )
        Engine(step).run([pair(seed) for seed in range(3)])
    for model, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(other.state_dict(), model.state_dict())


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_translating_leaves_no_trace_on_the_generator(mode):
    generator, _ = networks()
    before = copy.deepcopy(generator.state_dict())
    output = Engine(translation_step(generator, mode=mode)).run([pair()]).output
    assert output["y_pred"].shape == output["y"].shape
    assert generator.training
    torch.testing.assert_close(generator.state_dict(), before, rtol=0, atol=0)


def test_train_mode_normalises_by_the_image_at_hand():
    generator, _ = networks()
    source, _ = pair()
    with inference_mode_of(generator, "eval"):
        evaluated = generator(source)
    with inference_mode_of(generator, "train"):
        trained = generator(source)
    assert not torch.allclose(evaluated, trained)


@pytest.mark.parametrize(
    ("option", "value"),
    [("discriminator_steps", 0), ("reconstruction_weight", -1.0), ("penalty_weight", -1.0)],
)
def test_a_bad_argument_is_named(option, value):
    with pytest.raises(ValueError, match=f"{option} must .* got {value}"):
        gan_step(*networks(), *map(adam, networks()), **{option: value})
    with pytest.raises(ValueError, match="mode must be train or eval, got 'test'"):
        translation_step(networks()[0], mode="test")


def test_an_image_buffer_goes_on_where_its_images_are_wanted():
    buffer, other = ImageBuffer(2), ImageBuffer(2)
    buffer.exchange(torch.rand(4, 1, 2, 2))
    other.load_state_dict(buffer.state_dict())  # as a checkpoint is read: on the processor
    torch.manual_seed(0)
    assert other.exchange(torch.empty(8, 1, 2, 2, device="meta")).device.type == "meta"
    assert all(image.untyped_storage().nbytes() == image.nbytes for image in buffer.images)
