"""What each transform of a sample costs, and orders of them that cost less."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ignite_pipeline.data.held_transforms import name_of
from ignite_pipeline.seeding import seeded

_DRAWS = 64
_WORTH = 0.95
_STANDARD_ERRORS = 5.0


@dataclass(frozen=True)
class TransformCost:
    """A transform's milliseconds a sample, its share of them all, and what it returns."""

    name: str
    ms: float
    share: float
    output: str


@dataclass(frozen=True)
class Reordering:
    """Another order of the transforms: how much faster all are in it, and what it does to the result."""

    names: tuple[str, ...]
    ms: float
    speedup: float
    result: str


def transforms_of(dataset: Any) -> list[Callable[[Any], Any]]:
    """Return the transforms that a data set applies to an image, one after the other.

    They are looked for in ``dataset.transform``: a ``Compose`` of torchvision (v1 or v2) or Albumentations,
    an ``nn.Sequential``, or a single function. There are none if it has no such attribute.
    """
    transform = getattr(dataset, "transform", None)
    if transform is None:
        return []
    if isinstance(transform, torch.nn.Sequential):
        return list(transform)
    parts = getattr(transform, "transforms", [transform])
    return [
        _on_arrays(part) if type(part).__module__.startswith("albumentations") else part for part in parts
    ]


def _on_arrays(transform: Any) -> Callable[[Any], Any]:
    """Return an Albumentations transform as a function of an image alone."""

    def call(image: Any) -> Any:
        return transform(image=np.asarray(image))["image"]

    call.__name__ = type(transform).__name__
    return call


def _describe(value: Any) -> str:
    """Return what a transform returned, in words: its kind and size.

    >>> _describe(torch.zeros(3, 4, 5))
    'float32 3×4×5'
    """
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{str(value.dtype).removeprefix('torch.')} {'×'.join(map(str, value.shape))}"
    if hasattr(value, "size") and hasattr(value, "mode"):
        return f"{value.mode} image {value.size[0]}×{value.size[1]}"
    return type(value).__name__


def transform_costs(
    transforms: Sequence[Callable[[Any], Any]],
    samples: Sequence[Any],
    *,
    seconds: float = 2.0,
    clock: Callable[[], float] = time.perf_counter,
) -> list[TransformCost]:
    """Time each of ``transforms`` on ``samples``, one after the other, for about ``seconds`` in all.

    The milliseconds are means over the samples, of the median pass.
    """
    passes: list[list[float]] = []
    outputs: list[str] = []
    end = clock() + seconds
    while len(passes) < 3 or clock() < end:
        spent = [0.0] * len(transforms)
        outputs = []
        for index, sample in enumerate(samples):
            with seeded(index):
                value = sample
                for place, transform in enumerate(transforms):
                    start = clock()
                    value = transform(value)
                    spent[place] += clock() - start
                    if index == 0:
                        outputs.append(_describe(value))
        passes.append(spent)
    medians = np.median(passes, axis=0) / len(samples) * 1000
    total = float(medians.sum()) or 1.0
    return [
        TransformCost(name_of(transform), float(ms), float(ms) / total, output)
        for transform, ms, output in zip(transforms, medians, outputs, strict=True)
    ]


def quicker_orders(
    transforms: Sequence[Callable[[Any], Any]],
    samples: Sequence[Any],
    *,
    rounds: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Reordering]:
    """Try every order in which one transform has another place; return the quicker ones, quickest first.

    Each is timed in turn with the order as it is, ``rounds`` times, and has to win every time, and 5 % in
    the median. Orders that fail are left out. What happens to the result is *equal* (the same values
    under the same seeds), *equal in distribution* (as far as the means and spreads of 64 draws can tell),
    or *different*.
    """
    found = []
    for order in _moves(len(transforms)):
        candidate = [transforms[place] for place in order]
        try:
            pairs = [
                (_pass_s(transforms, samples, clock), _pass_s(candidate, samples, clock))
                for _ in range(rounds)
            ]
            result = _compare(transforms, candidate, samples)
        except Exception:  # a tensor where an image was wanted, say: not an order that works
            continue
        speedups = [before / after for before, after in pairs]
        speedup = float(np.median(speedups))
        if speedup * _WORTH > 1 and min(speedups) > 1:
            ms = float(np.median([after for _, after in pairs])) / len(samples) * 1000
            found.append(Reordering(tuple(map(name_of, candidate)), ms, speedup, result))
    return sorted(found, key=lambda reordering: -reordering.speedup)


def _moves(count: int) -> list[tuple[int, ...]]:
    orders = set()
    for source in range(count):
        rest = [place for place in range(count) if place != source]
        for target in range(count):
            orders.add((*rest[:target], source, *rest[target:]))
    return sorted(orders - {tuple(range(count))})


def _apply(transforms: Sequence[Callable[[Any], Any]], sample: Any, seed: int) -> Any:
    with seeded(seed):
        for transform in transforms:
            sample = transform(sample)
    return sample


def _pass_s(
    transforms: Sequence[Callable[[Any], Any]], samples: Sequence[Any], clock: Callable[[], float]
) -> float:
    start = clock()
    for seed, sample in enumerate(samples):
        _apply(transforms, sample, seed)
    return clock() - start


def _compare(
    transforms: Sequence[Callable[[Any], Any]], others: Sequence[Callable[[Any], Any]], samples: Sequence[Any]
) -> str:
    def draws(chain: Sequence[Callable[[Any], Any]], offset: int) -> np.ndarray:
        return np.stack([_array(_apply(chain, samples[0], offset + seed)) for seed in range(_DRAWS)])

    a, b = draws(transforms, 0), draws(others, 0)
    if a.shape != b.shape or a.dtype != b.dtype:
        return "different"
    if np.array_equal(a, b):
        return "equal"
    # Rough, where the result's mean and spread over draws differ by far more than chance would have it.
    a, b = a.astype(np.float64), draws(others, _DRAWS).astype(np.float64)
    spread = np.sqrt((a.var(0) + b.var(0)) / _DRAWS)
    resolution = 1e-3 * max(float(np.abs(a).max()), 1e-12)
    means_agree = np.abs(a.mean(0) - b.mean(0)) <= _STANDARD_ERRORS * spread + resolution
    spreads_agree = np.abs(a.std(0) - b.std(0)) <= _STANDARD_ERRORS * spread + resolution
    return (
        "equal in distribution" if means_agree.mean() > 0.99 and spreads_agree.mean() > 0.99 else "different"
    )


def _array(value: Any) -> np.ndarray:
    return value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
