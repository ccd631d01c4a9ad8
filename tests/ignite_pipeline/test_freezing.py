"""A head that is trained before the rest: what is frozen does not change by one bit, and then it does."""

import copy
from functools import partial

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Accuracy
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import Dataset

from handlers import EvaluateEachEpoch, LearningRate, StepMeans, UnfreezeAfter, load_newest
from ignite_pipeline.compute import Compute
from ignite_pipeline.freezing import freeze_all_but
from ignite_pipeline.parameter_groups import layer_wise
from ignite_pipeline.replicas import Replicas, Replicated
from ignite_pipeline.schedules import warmup_and_cosine
from ignite_pipeline.seeding import Generators
from ignite_pipeline.steps import evaluation_step, supervised_step
from tests.support.killing import run_recipe
from tests.support.runs import outcome

HEAD = ("head.1.weight", "head.1.bias")
EPOCH = 12
OPTIMIZERS = {
    "SGD": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "fused SGD": partial(torch.optim.SGD, momentum=0.9, nesterov=True, fused=True),
    "fused AdamW": partial(torch.optim.AdamW, fused=True),
}


class Block(nn.Module):
    """Two convolutions with batch norm beside a shortcut, as in a ResNet."""

    def __init__(self, channels):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x):
        return x + self.dropout(self.bn(self.conv(x))).relu()


class SmallResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.layers = nn.Sequential(Block(8), Block(8))
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 2))

    def forward(self, x):
        return self.head(self.layers(self.bn(self.conv(x)).relu()).mean((2, 3)))


class Images(Dataset):
    def __len__(self):
        return 4 * EPOCH

    def __getitem__(self, index):
        return torch.randn(3, 8, 8) + index % 2, index % 2


def optimizer_for(model, kind):
    return OPTIMIZERS[kind](layer_wise(model, lr=0.01, decay=0.8, weight_decay=0.1, head=HEAD))


def body_of(model):
    return {name: value.clone() for name, value in model.state_dict().items() if name not in HEAD}


def assert_trained_after(epochs, kind, batches, compute):
    """The body keeps every bit for so many epochs, then all of it changes; the head changes in each."""
    torch.manual_seed(0)
    model = SmallResNet()
    unfreeze = UnfreezeAfter(freeze_all_but(model, HEAD), epochs=epochs)
    step = supervised_step(model, optimizer_for(model, kind), nn.functional.cross_entropy, compute=compute)
    trainer = Engine(step)
    unfreeze.attach(trainer)
    before, head = body_of(model), copy.deepcopy(model.head)

    @trainer.on(Events.EPOCH_COMPLETED)
    def compare(engine):
        kept = [torch.equal(value, before[name]) for name, value in body_of(model).items()]
        assert all(kept) if engine.state.epoch <= epochs else not any(kept)
        assert not torch.equal(model.head[1].weight, head[1].weight)

    trainer.run(batches, max_epochs=epochs + 1)
    assert trainer.state.epoch == epochs + 1


def batch_of(size):
    return torch.randn(size, 3, 8, 8), torch.arange(size) % 2


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("epochs", [0, 2])
def test_not_one_bit_of_what_is_frozen_changes_and_then_all_does(kind, epochs):
    assert_trained_after(epochs, kind, [batch_of(4) for _ in range(3)], Compute())


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_so_it_is_with_replicas(kind):
    compute = Compute(replicas=Replicas(2, seed=0, generators=Generators()))
    batches = [Replicated([batch_of(4), batch_of(4)]) for _ in range(3)]
    assert_trained_after(2, kind, batches, compute)


def test_so_it_is_where_losses_may_be_skipped():
    assert_trained_after(2, "fused SGD", [batch_of(4) for _ in range(3)], Compute(skip_non_finite=True))


def train(run, kind):
    loader = run.train_loader(Images(), batch_size=4)
    model = run.place(SmallResNet())
    unfreeze = UnfreezeAfter(freeze_all_but(model, HEAD), epochs=1)
    optimizer = optimizer_for(model, kind)
    schedule = warmup_and_cosine(optimizer, 3 * EPOCH, warmup_iterations=EPOCH // 2)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    step = supervised_step(
        model, optimizer, nn.functional.cross_entropy, compute=run.compute, schedule=schedule
    )
    trainer = Engine(step)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: average.update_parameters(model))
    evaluator = Engine(evaluation_step(average, compute=run.compute))
    Accuracy().attach(evaluator, "accuracy")
    run.attach(
        trainer,
        measure=[StepMeans(every_iters=5), LearningRate(optimizer, every_iters=1), unfreeze],
        evaluate=[EvaluateEachEpoch(evaluator, run.evaluation_loader(Images(), batch_size=16))],
        save={"average": average, "model": model, "optimizer": optimizer, "schedule": schedule},
    )
    run.train(trainer, loader, epochs=3)


@pytest.mark.parametrize(("kind", "replicas"), [("fused SGD", 1), ("fused AdamW", 2)])
def test_a_run_that_is_killed_before_at_and_after_the_moment_ends_the_same(kind, replicas, tmp_path):
    recipe = partial(train, kind=kind)
    options = [] if replicas == 1 else ["--replicas", replicas]
    run_recipe(recipe, tmp_path / "whole", *options)
    names = [name for name, _ in SmallResNet().named_parameters() if name not in HEAD]
    for kill_at, frozen in ((7, names), (EPOCH + 1, names), (EPOCH + 2, []), (2 * EPOCH + 5, [])):
        run_recipe(recipe, tmp_path / "killed", *options, kill_at=kill_at)
        options = []
        saved = load_newest(tmp_path / "killed" / "checkpoints")
        assert saved["engine"]["iteration"] == kill_at - 1
        assert saved["frozen"]["model"] == frozen
    run_recipe(recipe, tmp_path / "killed")
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")
    assert "not saved" not in (tmp_path / "whole.log").read_text()


@pytest.mark.parametrize("decay", [0.9, 0.9999])
def test_an_average_of_what_is_frozen_is_that_to_the_last_bit(decay):
    torch.manual_seed(0)
    model = SmallResNet()
    for _ in range(11):  # for statistics that are no round numbers
        model(torch.randn(16, 3, 8, 8))
    freeze_all_but(model, HEAD)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    step = supervised_step(model, optimizer_for(model, "fused SGD"), nn.functional.cross_entropy)
    trainer = Engine(step)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: average.update_parameters(model))
    trainer.run([batch_of(4)], max_epochs=200)
    torch.testing.assert_close(body_of(average.module), body_of(model), rtol=0, atol=0)
    assert not torch.equal(average.module.head[1].weight, model.head[1].weight)


def test_what_was_frozen_before_stays_so():
    model = SmallResNet()
    model.conv.requires_grad_(False)
    UnfreezeAfter(freeze_all_but(model, HEAD), epochs=0).attach(Engine(lambda *_: None)).unfreeze()
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["conv.weight"]


def test_names_are_those_of_parameters_and_epochs_are_counted():
    with pytest.raises(ValueError, match=r"names must be those of parameters of the model, got 'fc\.weight'"):
        freeze_all_but(SmallResNet(), ["head.1.weight", "fc.weight"])
    with pytest.raises(ValueError, match="epochs must be at least 0, got -1"):
        UnfreezeAfter([], epochs=-1)
