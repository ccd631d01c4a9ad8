"""No iteration waits for the device: values come over once in a window, never one by one."""

import copy
from collections import Counter

import torch
from ignite.engine import Engine
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from handlers import (
    Checkpoints,
    FetchComputeTimer,
    LearningRate,
    ProgressLine,
    Record,
    StepMeans,
    StopOnNonFinite,
)
from ignite_pipeline.data.batch_transforms import Normalize, RandomCrop, RandomHorizontalFlip
from ignite_pipeline.data.images import ImageTensors
from ignite_pipeline.data.loading import endless_loader
from ignite_pipeline.models.classifiers import residual_net
from ignite_pipeline.precision import Precision
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


def train(tmp_path, iterations, wrap=lambda step: step):
    tmp_path.mkdir(exist_ok=True)
    dataset = ImageTensors(torch.randint(256, (64, 3, 32, 32), dtype=torch.uint8), torch.arange(64) % 2)
    loader = endless_loader(dataset, batch_size=8, seed=0)
    model = residual_net(width=4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    step = supervised_step(
        model,
        optimizer,
        nn.functional.cross_entropy,
        transform=nn.Sequential(RandomCrop(4), RandomHorizontalFlip(), Normalize([0.5] * 3, [0.25] * 3)),
        schedule=torch.optim.lr_scheduler.LambdaLR(optimizer, lambda iteration: 0.9**iteration),
        precision=Precision("bf16"),
        clip_norm=1.0,
        metrics={"accuracy": accuracy},
    )
    trainer = Engine(wrap(step))
    timer = FetchComputeTimer().attach(trainer)
    ReseedEachIteration(0).attach(trainer)
    StepMeans().attach(trainer)
    LearningRate(optimizer).attach(trainer)
    StopOnNonFinite().attach(trainer)
    record = Record(tmp_path, timer=timer, batch_size=8, report=False).attach(trainer)
    Checkpoints(tmp_path / "checkpoints", {"model": copy.deepcopy(model)}, every_s=1e9).attach(trainer)
    ProgressLine(metrics={"train/loss": "loss"}, timer=timer).attach(trainer)
    with record, CountSyncs() as syncs:
        trainer.run(loader, max_iters=iterations, epoch_length=1000)
    return +syncs.counts


def test_a_hundred_iterations_with_every_handler_ask_for_no_value(tmp_path):
    # The loader asks for one seed as it starts.
    assert train(tmp_path / "long", 110) == train(tmp_path / "short", 10) == {"_local_scalar_dense": 1}


def test_the_counter_sees_a_step_that_asks(tmp_path):
    def asking(step):
        def ask(engine, batch):
            output = step(engine, batch)
            output["loss"].item()
            return output

        return ask

    assert train(tmp_path, 20, wrap=asking) == {"_local_scalar_dense": 1 + 20}
