"""The interval of a mean of times that depend on each other, as those of iterations do."""

import math

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
_BATCHES = (32, 16, 8)
_NORMAL_975, _NORMAL_95 = 1.959964, 1.644854
_LARGEST_CORRELATION = 0.8


def ratio_interval(numerators: Values, denominators: Values) -> tuple[float, float, float]:
    """Return the ratio of two sums, and a 95 % interval around it, from consecutive values ``(n,)`` of both.

    The values are gathered in 32 consecutive batches, or 16 or 8 if neighbours are still correlated
    (one-sided test at 5 %); the interval is that of the batches' means with Student's t (batch means;
    Schmeiser 1982), widened by what correlation is left (Skart; Tafazzoli, Wilson, Lada and Steiger 2011).
    The ratio is linearised around its value.

    Fewer than 16 values are taken to be independent. Raises ``ValueError`` for fewer than 8.

    >>> ratio_interval(np.full(100, 3.0), np.full(100, 2.0))
    (1.5, 1.5, 1.5)
    """
    if len(numerators) < _BATCHES[-1]:
        raise ValueError(f"needs {_BATCHES[-1]} values, got {len(numerators)}")
    ratio = float(numerators.sum() / denominators.sum())
    residuals = (numerators - ratio * denominators) / denominators.mean()
    means, correlation = residuals, 0.0
    for batches in _BATCHES:
        size = len(residuals) // batches
        if size > 1:
            means = residuals[len(residuals) - batches * size :].reshape(batches, size).mean(1)
            correlation = _lag_one(means)
            if correlation <= _NORMAL_95 / math.sqrt(batches):
                break
    correlation = min(max(correlation, 0.0), _LARGEST_CORRELATION)
    variance = float(means.var(ddof=1)) / len(means) * (1 + correlation) / (1 - correlation)
    half = _student_975(len(means) - 1) * math.sqrt(variance)
    return ratio, ratio - half, ratio + half


def _lag_one(values: Values) -> float:
    around = values - values.mean()
    square = float(around @ around)
    return float(around[1:] @ around[:-1]) / square if square else 0.0


def _student_975(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t (Abramowitz and Stegun 26.7.5), within 0.1 % from 7 on."""
    z = _NORMAL_975
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
