"""What Python's garbage collector takes of a run beside a large heap, and what each remedy makes of it.

OMP_NUM_THREADS=1 python benchmarks/garbage.py    # 2 minutes
"""

import argparse
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from ignite.engine import Engine, Events

from handlers.garbage import GarbageCollection

_HEAP = 500_000
_STEPS, _EPOCHS = 30, 3
_REMEDIES = ("nothing", "freeze", "disable", "freeze and disable")


def keep_some(kept: list[object]) -> None:
    """Keep objects for ten steps: enough for full collections to happen."""
    kept.append([[number] for number in range(20_000)])
    if len(kept) > 10:
        kept.clear()


def drop(kept: list[object]) -> None:
    """Make objects and let them go at once."""
    kept[:] = [[[[[number] for number in range(10)] for _ in range(10)] for _ in range(50)]]


def circles(kept: list[object]) -> None:
    """Make objects that only the collector can free."""
    for _ in range(20_000):
        circle: list[object] = []
        circle.append(circle)


_ALLOCATING: dict[str, Callable[[list[object]], None]] = {
    "keep some": keep_some,
    "drop": drop,
    "circles": circles,
}


def measure(allocating: str, remedy: str) -> None:
    """Print the seconds of a run, and those of them that the collector took."""
    heap = [{"path": str(number), "box": [number, number]} for number in range(_HEAP)]
    model, kept = torch.nn.Linear(64, 64), list[object]()

    def step(engine: Engine, batch: int) -> None:
        _ALLOCATING[allocating](kept)
        for _ in range(10):
            model(torch.zeros(64, 64)).sum().backward()

    trainer = Engine(step)
    collector = GarbageCollection().attach(trainer)
    if "freeze" in remedy:
        gc.freeze()
    if "disable" in remedy:
        gc.disable()
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: gc.collect())
    start_s = time.perf_counter()
    trainer.run(range(_STEPS), max_epochs=_EPOCHS)
    print(time.perf_counter() - start_s, sum(collector.seconds.values()), len(heap))


def main() -> None:
    """Try each remedy on each kind of allocation, in processes of their own, in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(*options.measure)
        return
    for allocating in _ALLOCATING:
        seconds: dict[str, list[list[float]]] = {remedy: [] for remedy in _REMEDIES}
        for _ in range(options.rounds):
            for remedy, measured in seconds.items():
                command = [sys.executable, __file__, "--measure", allocating, remedy]
                done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
                measured.append([float(word) for word in done.stdout.split()[:2]])
        for remedy, measured in seconds.items():
            wall_s, collecting_s = zip(*measured, strict=True)
            took, low, high = statistics.median(collecting_s), min(collecting_s), max(collecting_s)
            words = f"of which collecting {took:.2f} ({low:.2f} to {high:.2f})"
            print(f"{allocating:<10} {remedy:<19} {statistics.median(wall_s):5.2f} s, {words}")


if __name__ == "__main__":
    main()
