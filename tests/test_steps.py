import copy

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from ignite_pipeline.compute import Compute, resolve_precision
from ignite_pipeline.steps import accuracy, evaluation_step, supervised_step

LOSS = nn.functional.cross_entropy


def tiny_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def batches(count, size=10):
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 6, generator=generator), torch.randint(3, (size,), generator=generator))
        for _ in range(count)
    ]


def sgd(model, fused=True, **options):
    return torch.optim.SGD(model.parameters(), **{"lr": 0.1, "momentum": 0.9, "fused": fused, **options})


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()]).clone()


def test_equals_the_loop_written_out():
    model, data = tiny_model(), batches(5)
    written = copy.deepcopy(model)
    optimizer = sgd(written)
    for x, y in data:
        loss = LOSS(written(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    state = Engine(supervised_step(model, sgd(model), LOSS, metrics={"accuracy": accuracy})).run(data)
    assert torch.equal(weights(model), weights(written))
    assert torch.equal(state.output["loss"], loss.detach())
    assert not state.output["loss"].requires_grad


@pytest.mark.parametrize("micro_batches", [2, 3, 10])
def test_micro_batches_give_the_gradient_of_the_whole_batch(micro_batches):
    whole, split = tiny_model(), tiny_model()
    measures = {"accuracy": accuracy}
    expected = Engine(supervised_step(whole, sgd(whole), LOSS, metrics=measures)).run(batches(4)).output
    step = supervised_step(split, sgd(split), LOSS, metrics=measures, micro_batches=micro_batches)
    output = Engine(step).run(batches(4)).output
    torch.testing.assert_close(weights(split), weights(whole))
    torch.testing.assert_close(output, expected)


def test_a_last_batch_smaller_than_the_number_of_micro_batches_still_counts():
    whole, split = tiny_model(), tiny_model()
    Engine(supervised_step(whole, sgd(whole), LOSS)).run(batches(1, size=2))
    Engine(supervised_step(split, sgd(split), LOSS, micro_batches=4)).run(batches(1, size=2))
    torch.testing.assert_close(weights(split), weights(whole))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("place", [0, 1])
def test_a_batch_that_is_skipped_leaves_no_trace(bad, fused, clip_norm, place):
    clean = batches(2)
    x, y = clean[0]
    spoilt = [*clean[:place], (x * bad, y), *clean[place:]]
    results = []
    for part in (spoilt, clean):
        model = nn.Sequential(nn.BatchNorm1d(x.shape[1]), tiny_model())
        compute = Compute(skip_non_finite=True)
        step = supervised_step(model, sgd(model, fused), LOSS, clip_norm=clip_norm, compute=compute)
        Engine(step).run(part)
        results.append(weights(model))
        buffers = list(model.buffers())
        assert all(buffer.isfinite().all() for buffer in buffers)
        results.append(torch.cat([buffer.flatten() for buffer in buffers]))
    assert torch.equal(results[0], results[2])
    assert torch.equal(results[1], results[3])


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("place", [0, 1])
def test_a_loss_that_is_not_finite_ends_all_updates(fused, place):
    clean = batches(3)
    x, y = clean[0]
    results = []
    for part in ([*clean[:place], (x * torch.nan, y), *clean[place:]], clean[:place]):
        model = tiny_model()
        compute = Compute()
        step = supervised_step(model, sgd(model, fused), LOSS, compute=compute)
        for batch in part:
            step(Engine(step), batch)
        results.append(weights(model))
    assert torch.equal(*results)


def test_a_state_whose_updates_have_ended_is_not_saved():
    compute, model = Compute(), tiny_model()
    step = supervised_step(model, sgd(model), LOSS, compute=compute)
    x, y = batches(1)[0]
    step(Engine(step), (x, y))
    compute.state_dict()
    step(Engine(step), (x * torch.nan, y))
    with pytest.raises(ValueError, match="a loss was not finite"):
        compute.state_dict()


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
def test_a_fused_adam_keeps_its_weights_too(optimizer):
    model = tiny_model()
    before = weights(model)
    x, y = batches(1)[0]
    Engine(supervised_step(model, optimizer(model.parameters(), fused=True), LOSS)).run([(x * torch.nan, y)])
    assert torch.equal(weights(model), before)


def test_clipping_bounds_the_update():
    model = tiny_model()
    before = weights(model)
    optimizer = sgd(model, lr=1.0, momentum=0.0)
    Engine(supervised_step(model, optimizer, LOSS, clip_norm=1e-3)).run(batches(1))
    torch.testing.assert_close((weights(model) - before).norm(), torch.tensor(1e-3), rtol=1e-3, atol=0)


def test_the_schedule_steps_once_an_iteration():
    model = tiny_model()
    optimizer = sgd(model)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda iteration: 1 / (1 + iteration))
    Engine(supervised_step(model, optimizer, LOSS, schedule=schedule, micro_batches=2)).run(batches(3))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / 4)


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_half_precision_trains(name):
    model, compute = tiny_model(), Compute(precision=name)
    step = supervised_step(model, sgd(model), LOSS, compute=compute)
    x, y = batches(1, size=64)[0]
    losses = []
    trainer = Engine(lambda engine, batch: losses.append(step(engine, batch)["loss"].item()))
    trainer.run([(x, y)] * 200)
    assert losses[-1] < 0.6 * losses[0]
    assert all(p.dtype == torch.float32 for p in model.parameters())
    restored = Compute(precision=name)
    restored.load_state_dict(compute.state_dict())
    assert restored.state_dict() == compute.state_dict()


def test_a_first_step_that_fp16_skips_leaves_no_rubbish_in_the_momentum():
    model, compute = tiny_model(), Compute(precision="fp16")
    optimizer = sgd(model)
    before = weights(model)
    step = supervised_step(model, optimizer, lambda p, y: LOSS(p, y) * 1e4, compute=compute)
    Engine(step).run(batches(1))
    assert torch.equal(weights(model), before)
    assert all((state["momentum_buffer"] == 0).all() for state in optimizer.state.values())


def test_auto_precision_is_one_of_the_others():
    assert resolve_precision("auto", "cpu") in ("fp32", "bf16")
    with pytest.raises(ValueError, match="precision must be auto, fp32, bf16 or fp16, got 'int8'"):
        Compute(precision="int8")


def test_modes_are_set_only_when_they_must_change():
    model = nn.Sequential(nn.Linear(6, 3), nn.Dropout())
    trainer = Engine(supervised_step(model, sgd(model), LOSS))
    evaluator = Engine(evaluation_step(model))
    for engine, training in [(evaluator, False), (trainer, True), (evaluator, False)]:
        engine.run(batches(1))
        assert model[1].training is training


def test_mirror_averages_the_logits_of_an_image_and_its_mirror_image():
    model = nn.Flatten()
    x, y = torch.randn(3, 1, 2, 4), torch.zeros(3)
    output = Engine(evaluation_step(model, mirror=True)).run([(x, y)]).output
    torch.testing.assert_close(output["y_pred"], (x.flatten(1) + x.flip(3).flatten(1)) / 2)


@pytest.mark.parametrize(("option", "value"), [("micro_batches", 0), ("clip_norm", 0.0)])
def test_a_bad_argument_is_named(option, value):
    model = tiny_model()
    with pytest.raises(ValueError, match=f"{option} must be .* got {value}"):
        supervised_step(model, sgd(model), LOSS, **{option: value})
