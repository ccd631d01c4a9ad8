"""What several processes and replicas cost: a step beside DDP, sums, one process, a cost model.

python benchmarks/processes.py           # make bench

Contenders take turns in the same processes. All have one thread each, unless said otherwise.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ignite_pipeline.compute import Compute
from ignite_pipeline.flat_vector import FlatVector
from ignite_pipeline.machine import keep_freed_memory
from ignite_pipeline.models.classifiers import CLASSIFIERS
from ignite_pipeline.replicas import Replicas, Replicated, TreeSum
from ignite_pipeline.seeding import Generators
from ignite_pipeline.steps import supervised_step
from processes_worker import DDP, MODELS, OURS, each_s, model_and_batch, optimizer_of, ours

HERE = Path(__file__).parent
SIZES = [10_000, 1_000_000, 10_000_000]
BATCH = 64
LINEAR = next(iter(MODELS))


def started(processes: int, command: Sequence[object], threads: int = 1) -> None:
    """Run a file under torchrun in so many processes; alone, without it."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
    }
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes]
    words = [sys.executable, *(launcher if processes > 1 else []), *command]
    done = subprocess.run([*map(str, words)], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])


def in_processes(processes: int, job: str, **options: Any) -> Any:
    """Return what processes_worker.py measures in so many processes."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "output")
        started(processes, [HERE / "processes_worker.py", job, output, json.dumps(options)])
        return json.loads(output.read_text())


def beside_ddp(rounds: int) -> float:
    """Print a step of each contender in two processes; return the seconds of ours, with linear layers."""
    linear_s = 0.0
    for name in tqdm(MODELS, desc="beside DDP", leave=False):
        found = in_processes(2, "steps", model=name, batch_size=BATCH, rounds=rounds)
        parameters = found["parameters"]
        print(f"| {f'{name}, {parameters / 1e6:.1f} M parameters':36} | ms a step | times DDP, in pairs |")
        print("|---|---|---|")
        for contender, seconds in found["seconds"].items():
            ratios = [a / b for a, b in zip(seconds, found["seconds"][DDP], strict=True)]
            print(f"| {contender:36} | {spread(seconds, 1e3, '.1f')} | {spread(ratios, 1, '.3f')} |")
        print(f"\nThe weights of all of them are the same within {found['apart']:.1g}.\n")
        if name == LINEAR:
            linear_s = statistics.median(found["seconds"][OURS])
    return linear_s


def in_one_process(rounds: int) -> None:
    """Print an iteration of the default model without replicas, with one, and with four."""
    torch.manual_seed(0)
    images, labels = torch.randn(BATCH, 3, 32, 32), torch.randint(2, (BATCH,))
    images = images.contiguous(memory_format=torch.channels_last)
    steps: dict[str, Callable[[], object]] = {}
    for name, count in (("without replicas", 0), ("one replica", 1), ("four replicas", 4)):
        torch.manual_seed(0)
        model = CLASSIFIERS["resnet"](2).to(memory_format=torch.channels_last)
        replicas = Replicas(count, seed=0, generators=Generators()) if count else None
        step = supervised_step(
            model, optimizer_of(model), F.cross_entropy, compute=Compute(replicas=replicas)
        )
        cut = list(zip(images.chunk(count or 1), labels.chunk(count or 1), strict=True))
        batch = Replicated(cut) if count > 1 else cut[0]
        steps[name] = partial(step, Engine(lambda engine, batch: None), batch)
    seconds = in_turn(steps, rounds, 2)
    alone = seconds["without replicas"]
    print("| the default model, a batch of 64, one process | ms a step | times the first, in pairs |")
    print("|---|---|---|")
    for name, taken in seconds.items():
        ratios = [a / b for a, b in zip(taken, alone, strict=True)]
        print(f"| {name} | {spread(taken, 1e3, '.1f')} | {spread(ratios, 1, '.3f')} |")
    print("\nA run of one replica is the first of these.\n")


def in_turn(functions: dict[str, Callable[[], object]], rounds: int, repeats: int) -> dict[str, list[float]]:
    """Return seconds a call of each, round by round, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for round_ in tqdm(range(-1, rounds), desc="in turn", leave=False):
        for name, function in functions.items():
            taken = each_s(function, repeats)
            if round_ >= 0:
                seconds[name].append(taken)
    return seconds


def recipe(rounds: int) -> None:
    """Print images a second of the default recipe: two threads in one process, or two processes of one."""
    ways = {"one process of two threads": (1, 2), "two processes of one thread": (2, 1)}
    found: dict[str, list[float]] = {name: [] for name in ways}
    words = ["--dataset", "generated", "--max-iterations", 60, "--visdom", "off", "--num-workers", 0]
    for _ in tqdm(range(rounds), desc="recipe", leave=False):
        for name, (processes, threads) in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                script = HERE.parent / "scripts" / "run_cifar2.py"
                started(processes, [script, *words, "--output", Path(folder, "run")], threads)
                found[name].append(json.loads(Path(folder, "run/summary.json").read_text())["images_per_s"])
    print("| the default recipe on two cores, 60 iterations | images a second | times the first, in pairs |")
    print("|---|---|---|")
    for name, speeds in found.items():
        ratios = [a / b for a, b in zip(speeds, found["one process of two threads"], strict=True)]
        print(f"| {name} | {spread(speeds, 1, '.0f')} | {spread(ratios, 1, '.2f')} |")
    print()


def sums(rounds: int) -> dict[int, list[float]]:
    """Print how long sums over processes take; return the medians by pairs for each number of processes."""
    medians = {}
    print("| processes | floats | by pairs, ms | one all-reduce, ms |\n|---|---|---|---|")
    for count in (2, 4):
        found = in_processes(count, "sums", sizes=SIZES, rounds=rounds)
        for size, pairs, plain in zip(SIZES, found["pairs"], found["all_reduce"], strict=True):
            print(f"| {count} | {size:,} | {spread(pairs, 1e3, '.2f')} | {spread(plain, 1e3, '.2f')} |")
        medians[count] = [statistics.median(pairs) for pairs in found["pairs"]]
    print()
    return medians


def cost_model(by_pairs: dict[int, list[float]], measured_s: float, rounds: int) -> None:
    """Print what each part of a step costs, and what that predicts for steps that were measured."""
    seconds = {}
    for size in (8, 16, 32, 128):
        model, batch = model_and_batch(LINEAR, size)
        step = ours(model, None)
        seconds[size] = statistics.median(in_turn({"": partial(step, batch)}, rounds, 2)[""])
    image_s = (seconds[128] - seconds[16]) / (128 - 16)
    fixed_s = seconds[16] - 16 * image_s
    parameters = list(model.parameters())
    layout, count = FlatVector(parameters, [model]), sum(map(torch.numel, parameters))

    gradients = [torch.zeros_like(parameter) for parameter in parameters]

    def pack() -> None:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        vector = layout.packed([], spare=1, is_first=True, reuse=True)
        layout.unpacked(vector.div_(2), like=[], count=2)

    pack_s = statistics.median(in_turn({"": pack}, rounds, 2)[""])
    round_s = by_pairs[2][0]
    float_s = (by_pairs[2][-1] - round_s) / (SIZES[-1] - SIZES[0])
    print("| what a step costs | | grows with |\n|---|---|---|")
    print(f"| an image, µs | {image_s * 1e6:.0f} | images in a process |")
    print(f"| the rest of the step, most of it the optimizer, ms | {fixed_s * 1e3:.1f} | parameters |")
    print(f"| packing, scaling and unpacking, ms | {pack_s * 1e3:.1f} | parameters, replicas in a process |")
    print(f"| a round of sums by pairs, µs | {round_s * 1e6:.0f} | log2 of processes |")
    print(
        f"| the same for each million floats, ms | {float_s * 1e9:.2f} | parameters × log2 of processes |\n"
    )
    four = in_processes(4, "steps", model=LINEAR, batch_size=BATCH, rounds=rounds // 2)["seconds"][OURS]
    print("| processes, images in each | predicted, ms | measured, ms | measured / predicted |")
    print("|---|---|---|---|")
    cases = ((1, 32, seconds[32]), (2, 32, measured_s), (4, 16, statistics.median(four)))
    for processes, size, measured in cases:
        share = max(1, processes // (os.cpu_count() or 1))  # of a core
        rounds_s = math.log2(processes) * (round_s + count * float_s)
        own_s = size * image_s + fixed_s + (pack_s if processes > 1 else 0)
        predicted = share * (own_s + rounds_s)
        print(
            f"| {processes}, {size} | {predicted * 1e3:.0f} | {measured * 1e3:.0f} |"
            f" {measured / predicted:.2f} |"
        )
    print("\nWhere processes are more than cores, their times are multiplied by how many share one.\n")


def a_thousand_replicas(count: int = 1024, size: int = 100_000) -> None:
    """Print time, memory and error of a sum over 1,024 replicas in one process."""
    tree, alive, peak, tree_s = TreeSum(), list[Any](), 0, 0.0
    generator, exact = torch.Generator().manual_seed(0), torch.zeros(size, dtype=torch.float64)
    sequential = torch.zeros(size)
    for _ in range(count):
        vector: Tensor = torch.randn(size, generator=generator)
        exact += vector
        sequential += vector
        alive = [reference for reference in alive if reference() is not None]
        alive.append(weakref.ref(vector))
        peak = max(peak, len(alive))
        start = time.perf_counter()
        tree.add(vector)
        tree_s += time.perf_counter() - start
        del vector
    norm = exact.norm()
    errors = [float((found - exact).norm() / norm) for found in (tree.total, sequential)]
    print(f"| {count:,} vectors of {size:,} floats | along the tree | one after the other |\n|---|---|---|")
    print(f"| error beside a sum in float64 | {errors[0]:.2g} | {errors[1]:.2g} |")
    print(f"| vectors in memory at most | {peak} | 2 |")
    print(f"| µs a vector | {tree_s / count * 1e6:.0f} | – |\n")


def spread(values: Sequence[float], factor: float, form: str) -> str:
    """Return the median and the quartiles."""
    low, middle, high = (
        format(value * factor, form) for value in statistics.quantiles(values, n=4, method="inclusive")
    )
    return f"{middle} ({low} to {high})"


def main() -> None:
    """Measure one thing after the other, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="of each contender (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="of the recipe (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {os.cpu_count()} cores, gloo;")
    print(
        f"{options.rounds} rounds of 5 steps each, in turn; median (quartiles). A step of {BATCH} images in"
    )
    print("two processes, SGD with momentum, fused:\n")
    measured_s = beside_ddp(options.rounds)
    in_one_process(options.rounds)
    recipe(options.runs)
    cost_model(sums(options.rounds), measured_s, options.rounds)
    a_thousand_replicas()


if __name__ == "__main__":
    main()
