"""How well a mean is known when neighbouring times are alike."""

import numpy as np
from numpy.typing import NDArray

# 0.975 quantiles of Student's t with 1, 2, … 16 degrees of freedom.
_STUDENT_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306),
    *(2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120),
)
_FEWEST_WAVES, _MOST_WAVES = 6, len(_STUDENT_T)


def ratio_interval(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Return the ratio of two sums over the blocks of a run, and its 95 % interval, for correlated blocks.

    Both are of shape ``(blocks,)``, sums over consecutive blocks of about equally many iterations, with a
    denominator whose sum is positive. The interval is that of a ratio of means (the delta method). The
    variance is the power of the slowest waves in the blocks' residuals, the cosines of `_waves`, whose
    number is the degrees of freedom of Student's t (Lazarus, Lewis, Stock & Watson, 2018, "HAR inference:
    recommendations for practice"). Slow phases show in them. Bursts every *k*-th iteration are quicker
    and do not, where they would make means of batches unlike by how many of them each happens to hold.

    ValueError: below two blocks nothing is known.

    >>> ratio, low, high = ratio_interval(np.array([2.0, 3.0] * 50), np.ones(100))
    >>> ratio, low <= ratio <= high
    (2.5, True)
    """
    if len(numerator) < 2:
        raise ValueError(f"numerator must have at least 2 blocks, got {len(numerator)}")
    ratio = numerator.sum() / denominator.sum()
    powers = _waves(numerator - ratio * denominator)
    margin = _STUDENT_T[len(powers) - 1] * (len(numerator) * powers.mean()) ** 0.5 / denominator.sum()
    return float(ratio), float(ratio - margin), float(ratio + margin)


def _waves(residuals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the power of the slowest cosines of half a wave, one wave, … in the residuals.

    A wave that is quicker than the phases of the run has less power than the mean needs: of 16 at first
    (fewer in a short run), the upper half is left out while the lower half has more power.
    """
    n = len(residuals)
    count = min(max(1, n // 4), _MOST_WAVES)
    waves = np.cos(np.pi / n * np.outer(np.arange(1, count + 1), np.arange(n) + 0.5))
    powers = 2.0 / n * (waves @ residuals) ** 2
    while count > _FEWEST_WAVES and powers[: count // 2].mean() > powers[count // 2 : count].mean():
        count = max(_FEWEST_WAVES, count // 2)
    return np.asarray(powers[:count])
