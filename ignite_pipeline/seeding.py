"""Randomness as a pure function of position: where a run is decides what it draws, not how it got there."""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ignite.engine import Engine, Events

# One stream for each use, so that equal positions in two of them draw unrelated numbers.
ORDER_STREAM, SAMPLE_STREAM, STEP_STREAM, REPLACE_STREAM = range(4)
COLLATE_STREAM, BATCH_STREAM, EVALUATION_STREAM, REPLICA_STREAM = range(4, 8)

_MASK = (1 << 64) - 1
_AT_ONCE = 256


def position_seed(seed: int, *position: int) -> int:
    """Hash ``seed`` and a position to a seed in [0, 2**63).

    Each integer goes through the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable
    pseudorandom number generators", OOPSLA 2014), so that neighbouring positions give unrelated seeds.

    >>> position_seed(0, 1, 2) == position_seed(0, 1, 2)
    True
    >>> len({position_seed(0, epoch, index) for epoch in range(100) for index in range(100)})
    10000
    """
    state = seed & _MASK
    for word in (0, *position):
        state = _mixed(state, word)
    return state >> 1


def _mixed(state: int, word: int) -> int:
    state = ((state ^ (word & _MASK)) + 0x9E3779B97F4A7C15) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


def _mixed_each(state: int, words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return `_mixed` of each word, a tenth of the time for each."""
    states = (np.uint64(state) ^ words) + np.uint64(0x9E3779B97F4A7C15)
    states = (states ^ (states >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    states = (states ^ (states >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return states ^ (states >> np.uint64(31))


class Generators:
    """The generators that code draws from: torch's default ones, on the processor and on ``device``.

    With ``everything``, those of ``random`` and ``numpy.random`` too.
    """

    def __init__(self, device: torch.device | str = "cpu", *, everything: bool = False) -> None:
        # Of each: what seeds it, what returns its state, and what puts one back.
        self._each: list[tuple[Callable[..., object], Callable[[], Any], Callable[[Any], object]]] = [
            _functions_of(torch.default_generator)
        ]
        device = torch.device(device)
        if device.type == "cuda":
            torch.cuda.init()
            index = torch.cuda.current_device() if device.index is None else device.index
            self._each.append(_functions_of(torch.cuda.default_generators[index]))
        elif device.type == "mps":
            self._each.append((torch.mps.manual_seed, torch.mps.get_rng_state, torch.mps.set_rng_state))
        if everything:
            self._each.append((random.seed, random.getstate, random.setstate))
            self._each.append((_seed_numpy, np.random.get_state, np.random.set_state))
        self.seeders = [seed for seed, _, _ in self._each]

    def seed(self, seed: int) -> None:
        """Seed all of them."""
        for manual_seed in self.seeders:
            manual_seed(seed)

    def states(self) -> list[Any]:
        """Return where they are, for `restore`."""
        return [get() for _, get, _ in self._each]

    def restore(self, states: list[Any]) -> None:
        """Put them back."""
        for (_, _, put_back), state in zip(self._each, states, strict=True):
            put_back(state)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Put all of them back after."""
        states = self.states()
        try:
            yield
        finally:
            self.restore(states)

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Seed all of them; put them back after."""
        with self.kept():
            self.seed(seed)
            yield


def _functions_of(generator: torch.Generator) -> tuple[Any, Any, Any]:
    # torch.manual_seed costs forty times as much: it also queues a seed for every absent GPU.
    return generator.manual_seed, generator.get_state, generator.set_state


def _seed_numpy(seed: int) -> None:
    np.random.seed(seed % 2**32)


# Those that transforms draw from: torch's on the CPU, random's and numpy's.
OF_TRANSFORMS = Generators(everything=True)


def seeded(seed: int) -> AbstractContextManager[None]:
    """Seed the generators that transforms draw from (torch on the CPU, random, numpy); restore them after.

    >>> before = torch.get_rng_state()
    >>> with seeded(7):
    ...     a = torch.rand(1), random.random(), np.random.rand()
    >>> with seeded(7):
    ...     b = torch.rand(1), random.random(), np.random.rand()
    >>> a == b and torch.equal(before, torch.get_rng_state())
    True
    """
    return OF_TRANSFORMS.seeded(seed)


class ReseedEachIteration:
    """Seed torch's default generators from ``(seed, iteration)`` before every step.

    Dropout, noise and batch transforms then draw the same numbers in a resumed run as in one that was never
    stopped. ``everything`` seeds ``random`` and ``numpy.random`` too, which costs 16 µs more.

    An engine that starts with a loader which begins elsewhere (``loader.start_iteration``) is refused with
    ``ValueError``: it would train on other batches.

    >>> trainer = Engine(lambda engine, batch: torch.rand(()).item())
    >>> _ = ReseedEachIteration(0).attach(trainer)
    >>> first, again = trainer.run([1]).output, trainer.run([1]).output
    >>> first == again
    True
    """

    untimed_handlers = ("reseed",)

    def __init__(self, seed: int, *, device: torch.device | str = "cpu", everything: bool = False) -> None:
        # 0 was the number of a replica; without it, every run would draw otherwise than before.
        self.seed = position_seed(seed, STEP_STREAM, 0)
        generators = Generators(device, everything=everything)
        self._seed_all = generators.seeders[0] if len(generators.seeders) == 1 else generators.seed
        self._first, self._seeds = 0, list[int]()  # of so many iterations, from the first of them on

    def attach(self, engine: Engine) -> "ReseedEachIteration":
        """Register on the engine's events and return self."""
        engine.add_event_handler(Events.STARTED, self.check_position)
        engine.add_event_handler(Events.ITERATION_STARTED, self.reseed)
        return self

    def check_position(self, engine: Engine) -> None:
        """Raise ``ValueError`` if the loader begins elsewhere."""
        require_position(engine.state.dataloader, engine.state.iteration)

    def reseed(self, engine: Engine) -> None:
        """Seed for the iteration that is about to run."""
        place = engine.state.iteration - self._first
        if not 0 <= place < len(self._seeds):
            self._first += place
            words = np.arange(self._first, self._first + _AT_ONCE, dtype=np.uint64)
            place, self._seeds = 0, (_mixed_each(self.seed, words) >> np.uint64(1)).tolist()
        self._seed_all(self._seeds[place])


def require_position(loader: object, iteration: int) -> None:
    """Raise ``ValueError`` if a loader knows where it begins, and that is not after ``iteration``."""
    start = getattr(loader, "start_iteration", iteration)
    if start != iteration:
        raise ValueError(
            f"the loader begins after iteration {start} and the trainer is at {iteration}: make the loader"
            f" with start_iteration={iteration}"
        )


def make_deterministic() -> None:
    """Ask torch for kernels that give the same bits every time; call it before the first use of a GPU."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Not use_deterministic_algorithms: it imports torch's compiler, which takes a second. To that, if anybody
    # compiles, the variable says the same.
    os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")
    torch.set_deterministic_debug_mode("warn")
    # Clearing every new tensor would only hide reads of uninitialised memory, at a price.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # not in stubs
    torch.backends.cudnn.benchmark = False
