"""How fast a loader is alone, a step alone, and both together; and which setting of the loader suits."""

import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch
from ignite.engine import Engine
from torch.utils.data import DataLoader, Dataset, default_collate

from ignite_pipeline.data.loading import endless_loader
from ignite_pipeline.data.position_keyed import Collate, size_of
from ignite_pipeline.machine import available_cores
from ignite_pipeline.nested import leaves

Step = Callable[[Engine, Any], Any]
FINAL_ROUNDS = 3
_FINALISTS = 3
WORTHWHILE = 1.03


@dataclass(frozen=True)
class Setting:
    """How a loader works, and with how many threads the step computes.

    ``prefetch_factor`` is the batches ahead for each worker, if there are any; ``threads`` None leaves
    torch's own.
    """

    batch_size: int
    num_workers: int = 0
    prefetch_factor: int = 2
    pin_memory: bool = False
    threads: int | None = None
    collate_fn: Collate = field(default=default_collate, compare=False, repr=False)

    def loader(self, dataset: Dataset[Any], **options: Any) -> DataLoader[Any]:
        """Return the endless loader with this setting."""
        if self.num_workers:
            options["prefetch_factor"] = self.prefetch_factor
        return endless_loader(
            dataset,
            batch_size=self.batch_size,
            seed=0,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            collate_fn=self.collate_fn,
            **options,
        )

    def batches(self, dataset: Dataset[Any], **options: Any) -> Iterator[Any]:
        """Return the loader's batches, without PyTorch's advice on workers."""
        with warnings.catch_warnings():
            # More workers than cores may be just right, where they wait for a disk.
            warnings.filterwarnings("ignore", "This DataLoader will create")
            return iter(self.loader(dataset, **options))

    def __str__(self) -> str:
        workers = f"num_workers={self.num_workers}"
        if self.num_workers:
            workers += f", prefetch_factor={self.prefetch_factor}"
        if self.pin_memory:
            workers += ", pin_memory=True"
        return workers + (f", torch.set_num_threads({self.threads})" if self.threads else "")


@dataclass(frozen=True)
class Measurement:
    """What a setting gives: seconds a batch from the loader alone, and in the loop."""

    setting: Setting
    loader_s: float
    loop_s: float


def items_per_s(dataset: Dataset[Any], *, seconds: float = 1.0) -> float:
    """Return how many samples a second the data set alone gives, in order, in this process."""
    size = size_of(dataset)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        dataset[count % size]
        count += 1
    return count / (time.perf_counter() - start)


def seconds_a_batch(batches: Iterator[Any], use: Callable[[Any], object], *, seconds: float) -> float:
    """Return the mean seconds that it takes to get a batch and use it, over about ``seconds``."""
    count, start = 0, time.perf_counter()
    while count < 3 or time.perf_counter() - start < seconds:
        use(next(batches))
        count += 1
    return (time.perf_counter() - start) / count


def loader_s(dataset: Dataset[Any], setting: Setting, *, seconds: float, **options: Any) -> float:
    """Return the seconds a batch of the loader alone, once its workers have filled their queues."""
    batches = setting.batches(dataset, **options)
    _warm_up(batches, lambda batch: None, setting, seconds)
    return seconds_a_batch(batches, lambda batch: None, seconds=seconds)


def _warm_up(batches: Iterator[Any], use: Callable[[Any], object], setting: Setting, seconds: float) -> None:
    end = time.perf_counter() + seconds
    for batch in islice(batches, 1 + 2 * setting.num_workers * setting.prefetch_factor):
        use(batch)
        if time.perf_counter() > end:
            return


def compute_s(step: Step, batch: Any, *, seconds: float) -> float:
    """Return the seconds that the step takes on one batch, again and again."""
    engine = Engine(step)
    for _ in range(2):
        _finished(step(engine, batch))
    return seconds_a_batch(_again(batch), lambda same: _finished(step(engine, same)), seconds=seconds)


def loop_s(dataset: Dataset[Any], step: Step, setting: Setting, *, seconds: float, **options: Any) -> float:
    """Return the seconds a batch of the real loop: the loader and the step together."""
    engine = Engine(step)
    threads = torch.get_num_threads()
    torch.set_num_threads(setting.threads or threads)
    try:
        batches = setting.batches(dataset, **options)
        _warm_up(batches, lambda batch: _finished(step(engine, batch)), setting, seconds)
        return seconds_a_batch(batches, lambda batch: _finished(step(engine, batch)), seconds=seconds)
    finally:
        torch.set_num_threads(threads)


def flops_per_s(step: Step, batch: Any, step_s: float) -> tuple[float, float]:
    """Return the floating-point operations a second of the step, and of a large product of float32 matrices.

    The product is made on the device of what the step returns.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        output = step(Engine(step), batch)
    device = next((leaf.device for leaf in leaves(output)), torch.device("cpu"))
    a = torch.randn(1024, 1024, device=device)
    product_s = seconds_a_batch(_again(a), lambda a: _finished(a @ a), seconds=0.3)
    return counter.get_total_flops() / step_s, 2 * 1024**3 / product_s


def _again(batch: Any) -> Iterator[Any]:
    while True:
        yield batch


def _finished(output: Any) -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def candidates(batch_size: int, *, on_device: bool = False, cores: int | None = None) -> list[Setting]:
    """Return the settings to try: no worker, and 1, 2, 4, ... up to twice the cores.

    Where the step computes on the processor, workers are tried beside all its threads and beside those
    that the workers leave: threads that wait for each other while workers hold their cores cost more than
    they give.

    >>> [(setting.num_workers, setting.threads) for setting in candidates(8, cores=2)]
    [(0, None), (1, None), (1, 1), (2, None), (2, 1), (4, None), (4, 1)]
    """
    cores = cores or available_cores()
    settings = [Setting(batch_size, pin_memory=on_device)]
    count = 1
    while count <= 2 * cores:
        left = max(1, cores - count)
        for threads in [None] if on_device or left == cores else [None, left]:
            settings.append(replace(settings[0], num_workers=count, threads=threads))
        count *= 2
    return settings


def search(
    dataset: Dataset[Any],
    step: Step | None,
    settings: Sequence[Setting],
    *,
    seconds: float = 0.5,
    on_progress: Callable[[str], object] = lambda text: None,
    **options: Any,
) -> list[Measurement]:
    """Return what the settings give, best first, by successive halving.

    All are measured for ``seconds``, then the better half for twice as long, until three are left. These,
    and the first of them with a deeper queue, then take turns in ``FINAL_ROUNDS`` rounds, whose medians
    count. A worker more has to give half a percent more. What is compared is the loop with the step, if
    there is one: on the processor, workers and step slow each other in ways that the loader alone does not
    show.
    """

    def loop(setting: Setting) -> float:
        on_progress(f"{setting} for {seconds:.2g} s")
        return loop_or_loader_s(dataset, step, setting, seconds=seconds, **options)

    def measure(settings: list[Setting], rounds: int = 1) -> None:
        loops_s = [[loop(setting) for setting in settings] for _ in range(rounds)]
        for setting, of_setting in zip(settings, zip(*loops_s, strict=True), strict=True):
            before = measured.get(setting)
            alone_s = before.loader_s if before else loader_s(dataset, setting, seconds=seconds, **options)
            measured[setting] = Measurement(setting, alone_s, statistics.median(of_setting))

    measured: dict[Setting, Measurement] = {}
    left = [setting for setting in settings if step is not None or setting.threads is None]
    measure(left)
    while len(left) > _FINALISTS:
        left = _best_first(left, measured)[: max(_FINALISTS, len(left) // 2)]
        seconds *= 2
        if len(left) > _FINALISTS:
            measure(left)
    best = _best_first(left, measured)[0]
    if best.num_workers:
        left.append(replace(best, prefetch_factor=2 * best.prefetch_factor))
    if len(left) > 1:
        measure(left, FINAL_ROUNDS)
    others = [setting for setting in measured if setting not in left]
    return [measured[one] for one in _best_first(left, measured) + _best_first(others, measured)]


def _best_first(settings: list[Setting], measured: dict[Setting, Measurement]) -> list[Setting]:
    return sorted(settings, key=lambda one: measured[one].loop_s * (1 + 0.005 * one.num_workers))


def recommend(
    dataset: Dataset[Any],
    step: Step | None,
    now: Setting,
    settings: Sequence[Setting],
    *,
    seconds: float = 0.5,
    on_progress: Callable[[str], object] = lambda text: None,
) -> tuple[Setting, float, list[Measurement]]:
    """Return the setting to take, the speed-up over ``now`` to expect, and what all were measured to give.

    The best that `search` finds takes turns with ``now`` once more, since the best of many was lucky too.
    If it does not gain 3 % then, ``now`` is as good.
    """
    found = search(
        dataset,
        step,
        [now, *(one for one in settings if one != now)],
        seconds=seconds,
        on_progress=on_progress,
    )
    best = found[0].setting
    if best == now:
        return now, 1.0, found
    on_progress(f"{best} against {now}")
    pairs_s = paired_loops_s(dataset, step, (now, best), rounds=FINAL_ROUNDS, seconds=2 * seconds)
    speedup = statistics.median(before / after for before, after in pairs_s)
    return (best, speedup, found) if speedup >= WORTHWHILE else (now, 1.0, found)


def paired_loops_s(
    dataset: Dataset[Any],
    step: Step | None,
    settings: tuple[Setting, Setting],
    *,
    rounds: int,
    seconds: float,
    **options: Any,
) -> list[tuple[float, float]]:
    """Return the seconds a batch with each of two settings, in turn, ``rounds`` times.

    In the loop, or, without a step, of the loader alone.
    """
    return [
        (
            loop_or_loader_s(dataset, step, settings[0], seconds=seconds, **options),
            loop_or_loader_s(dataset, step, settings[1], seconds=seconds, **options),
        )
        for _ in range(rounds)
    ]


def loop_or_loader_s(
    dataset: Dataset[Any], step: Step | None, setting: Setting, *, seconds: float, **options: Any
) -> float:
    """Return the seconds a batch of the loop or, without a step, of the loader alone."""
    if step is None:
        return loader_s(dataset, setting, seconds=seconds, **options)
    return loop_s(dataset, step, setting, seconds=seconds, **options)
