"""What benchmarks/processes.py measures in several processes at once: torchrun starts this file in each.

torchrun --standalone --nproc-per-node 2 benchmarks/processes_worker.py steps OUTPUT '{"batch_size": 32}'
"""

import json
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Engine
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from handlers import FetchComputeTimer
from ignite_pipeline.compute import Compute
from ignite_pipeline.machine import keep_freed_memory
from ignite_pipeline.replicas import Replicas
from ignite_pipeline.run.exchange import Exchange
from ignite_pipeline.run.processes import Processes
from ignite_pipeline.seeding import Generators
from ignite_pipeline.steps import supervised_step

Batch = tuple[Tensor, Tensor]
Step = Callable[[Batch], object]
OURS, DDP = "ours", "plain DDP"


def linear_layers() -> nn.Module:
    """Return a net of ten million parameters that computes little: what is added up is what costs."""
    return nn.Sequential(
        *(nn.Linear(1024, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU()),
        *(nn.Linear(2048, 1792), nn.ReLU(), nn.Linear(1792, 10)),
    )


def residual_net() -> nn.Module:
    """Return ResNet-18, of eleven million parameters, with batch norm."""
    from torchvision.models import resnet18

    model: nn.Module = resnet18(num_classes=10)
    return model


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear layers": (linear_layers, (1024,)),
    "ResNet-18, 32×32": (residual_net, (3, 32, 32)),
}


def model_and_batch(name: str, size: int, rank: int = 0) -> tuple[nn.Module, Batch]:
    """Return a model, the same one every time, and a batch of that process's own."""
    make, shape = MODELS[name]
    torch.manual_seed(0)
    model = make()
    torch.manual_seed(1 + rank)
    return model, (torch.randn(size, *shape), torch.randint(10, (size,)))


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer that all contenders have."""
    return torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, fused=True)


def ours(model: nn.Module, processes: Processes | None) -> Step:
    """Return our step, of one replica in each process; without processes, that of a run of one."""
    replicas = None
    if processes is not None:
        exchange = Exchange(processes, ["end"], timed=FetchComputeTimer())
        local, count = processes.local(processes.count), processes.count
        replicas = Replicas(count, seed=0, generators=Generators(), local=local, between=exchange)
    compute, engine = Compute(replicas=replicas), Engine(lambda engine, batch: None)
    step = supervised_step(model, optimizer_of(model), F.cross_entropy, compute=compute)
    return lambda batch: step(engine, batch)


def plain_ddp(model: nn.Module, processes: Processes) -> Step:
    """Return a step as the tutorial of DistributedDataParallel writes it."""
    parallel, optimizer = DistributedDataParallel(model), optimizer_of(model)

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        F.cross_entropy(parallel(batch[0]), batch[1]).backward()
        optimizer.step()

    return step


def fabric_ddp(model: nn.Module, processes: Processes) -> Step:
    """Return a step as the guide of Lightning's Fabric writes it, under its DDP strategy."""
    from lightning.fabric import Fabric

    fabric = Fabric(accelerator="cpu", devices=processes.count, strategy="ddp")
    fabric.launch()
    parallel, optimizer = fabric.setup(model, optimizer_of(model))

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        fabric.backward(F.cross_entropy(parallel(batch[0]), batch[1]))
        optimizer.step()

    return step


CONTENDERS: dict[str, Callable[[nn.Module, Processes], Step]] = {
    DDP: plain_ddp,
    "Lightning's Fabric, DDP": fabric_ddp,
    OURS: ours,
}


def steps(
    processes: Processes, *, model: str, batch_size: int, rounds: int, repeats: int = 5
) -> dict[str, Any]:
    """Return seconds a step of each contender, round by round, and how far their weights are from DDP's."""
    models, measured, seconds = {}, {}, {}
    for name, make in CONTENDERS.items():
        models[name], batch = model_and_batch(model, batch_size // processes.count, processes.rank)
        try:
            measured[name] = make(models[name], processes)
        except ModuleNotFoundError:
            continue
        seconds[name] = list[float]()
    for round_ in range(-1, rounds):
        names = list(measured)
        for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
            taken = each_s(partial(measured[name], batch), repeats)
            if round_ >= 0:
                seconds[name].append(taken)
    theirs = [parameter.detach() for parameter in models[DDP].parameters()]
    apart = max(
        float((a - b).abs().max())
        for name in measured
        for a, b in zip(models[name].parameters(), theirs, strict=True)
    )
    return {"seconds": seconds, "apart": apart, "parameters": sum(map(torch.numel, theirs))}


def each_s(function: Callable[[], object], repeats: int) -> float:
    """Return the seconds of one of so many calls, which all processes begin together."""
    if dist.is_initialized():
        dist.barrier()
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def sums(processes: Processes, *, sizes: list[int], rounds: int) -> dict[str, list[list[float]]]:
    """Return seconds that it takes to add up vectors: by pairs, and by one all-reduce of torch's."""
    found: dict[str, list[list[float]]] = {"pairs": [], "all_reduce": []}
    for size in sizes:
        vector = torch.zeros(size)
        ways: dict[str, Callable[[Tensor], object]] = {
            "pairs": processes.add_up,
            "all_reduce": dist.all_reduce,
        }
        repeats = max(1, 1_000_000 // size)
        taken = {name: list[float]() for name in ways}
        for round_ in range(-1, rounds):
            for name, way in ways.items():
                seconds = each_s(partial(way, vector), repeats)
                if round_ >= 0:
                    taken[name].append(seconds)
        for name in ways:
            found[name].append(taken[name])
    return found


JOBS: dict[str, Callable[..., Any]] = {"steps": steps, "sums": sums}


def main() -> None:
    """Do one job; the first process writes what it has measured."""
    warnings.filterwarnings("ignore")
    job, output, options = sys.argv[1:]
    torch.set_num_threads(1)
    keep_freed_memory()
    with Processes() as processes:
        processes.take_places(processes.started)
        result = JOBS[job](processes, **json.loads(options))
        if processes.is_main:
            Path(output).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
