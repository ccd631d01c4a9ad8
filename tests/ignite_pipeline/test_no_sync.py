"""No iteration waits for the device: values come over once in a window, never one by one."""

import copy
from collections import Counter
from contextlib import contextmanager

import pytest
import torch
from ignite.engine import Engine
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from handlers import (
    Checkpoints,
    FetchComputeTimer,
    LearningRate,
    ProgressLine,
    RunRecord,
    StepMeans,
    StopOnNonFinite,
)
from ignite_pipeline.compute import Compute
from ignite_pipeline.data.batch_transforms import Normalize, RandomCrop
from ignite_pipeline.data.images import ImageTensors
from ignite_pipeline.data.loading import endless_loader
from ignite_pipeline.models.classifiers import residual_net
from ignite_pipeline.seeding import ReseedEachIteration
from ignite_pipeline.steps import accuracy, supervised_step


class CountSyncs(TorchDispatchMode):
    """Count the operations that ask a device for a value, or copy between devices."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in ("_local_scalar_dense", "nonzero", "is_nonzero"):
            self.counts[name] += 1
        out = func(*args, **(kwargs or {}))
        if name in ("_to_copy", "copy_") and isinstance(out, torch.Tensor):
            source = args[1] if name == "copy_" else args[0]
            self.counts["device copy"] += source.device != out.device
        return out


def counting(counts, name):
    method = getattr(torch.Tensor, name)

    def counted(*args, **kwargs):
        counts[name] += 1
        return method(*args, **kwargs)

    return counted


@contextmanager
def counted_methods():
    """Count the calls that fetch values without an operation that a dispatch mode would see."""
    counts = Counter()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("tolist", "cpu", "numpy", "item"):
            patch.setattr(torch.Tensor, name, counting(counts, name))
        yield counts


def train(tmp_path, iterations, wrap=lambda step: step, device="cpu"):
    tmp_path.mkdir(exist_ok=True)
    dataset = ImageTensors(torch.randint(256, (64, 3, 32, 32), dtype=torch.uint8), torch.arange(64) % 2)
    loader = endless_loader(dataset, batch_size=8, seed=0)
    model = residual_net(width=4).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    step = supervised_step(
        model,
        optimizer,
        nn.functional.cross_entropy,
        compute=Compute(device, precision="bf16"),
        transform=nn.Sequential(RandomCrop(4, flip=0.5), Normalize([0.5] * 3, [0.25] * 3)).to(device),
        schedule=torch.optim.lr_scheduler.LambdaLR(optimizer, lambda iteration: 0.9**iteration),
        clip_norm=1.0,
        metrics={"accuracy": accuracy},
    )
    trainer = Engine(wrap(step))
    timer = FetchComputeTimer().attach(trainer)
    ReseedEachIteration(0, device=device).attach(trainer)
    StepMeans().attach(trainer)
    LearningRate(optimizer).attach(trainer)
    StopOnNonFinite().attach(trainer)
    record = RunRecord(tmp_path, timer=timer, batch_size=8, report=False).attach(trainer)
    Checkpoints(tmp_path / "checkpoints", {"model": copy.deepcopy(model)}, every_s=1e9).attach(trainer)
    ProgressLine(metrics={"train/loss": "loss"}, timer=timer).attach(trainer)
    with record, CountSyncs() as syncs, counted_methods() as methods:
        trainer.run(loader, max_iters=iterations, epoch_length=1000)
    return +(syncs.counts + methods)


def test_two_hundred_iterations_ask_for_values_once_in_fifty(tmp_path):
    short, long = train(tmp_path / "short", 10), train(tmp_path / "long", 210)
    # The outputs of a window come over as one, for their means and for the guard; the step asks whether a
    # loss was not finite.
    assert long - short == {"tolist": 4, "_local_scalar_dense": 4}


@pytest.mark.parametrize("ask", ["item", "tolist", "cpu", "numpy"])
def test_the_counter_sees_a_step_that_asks(tmp_path, ask):
    def asking(step):
        def step_and_ask(engine, batch):
            output = step(engine, batch)
            getattr(output["loss"], ask)()
            return output

        return step_and_ask

    quiet, loud = train(tmp_path / "quiet", 20), train(tmp_path / "loud", 20, wrap=asking)
    assert (loud - quiet)[ask] == 20


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_never_waited_for_inside_a_window(tmp_path):
    def strict(step):
        def step_without_waiting(engine, batch):
            torch.cuda.set_sync_debug_mode("error" if engine.state.iteration > 2 else "default")
            try:
                return step(engine, batch)
            finally:
                torch.cuda.set_sync_debug_mode("default")

        return step_without_waiting

    train(tmp_path / "gpu", 40, wrap=strict, device="cuda")
