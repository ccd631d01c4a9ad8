"""What benchmarks print of figures that were measured several times."""

import statistics
from collections.abc import Callable, Sequence


def spread(
    values: Sequence[float], form: str, *, middle: Callable[[Sequence[float]], float] = statistics.median
) -> str:
    """Return the median, or another ``middle``, the least and the largest, each in that ``form``.

    >>> spread([3.0, 1.0, 2.0], ".1f")
    '2.0 (1.0 to 3.0)'
    """
    three = middle(values), min(values), max(values)
    return "{} ({} to {})".format(*(format(value, form) for value in three))
