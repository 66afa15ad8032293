"""Adding what was found to a cell: the states of ``plan.ops_state``, in compiled code."""

from __future__ import annotations

import numpy as np

from lazytensor.native.intrinsics import f64, i64, inner
from lazytensor.native.kernels.memory import put, word

__all__ = ["add", "keep_greatest", "keep_least", "merge_spread"]


@inner
def add(cell: int, value: int) -> None:
    """Integers, modulo 2^64."""
    put(cell, 0, word(cell, 0) + value)


@inner
def keep_least(cell: int, value: int) -> None:
    """The lesser of two words."""
    if value < word(cell, 0):
        put(cell, 0, value)


@inner
def keep_greatest(cell: int, value: int) -> None:
    """The greater of two words."""
    if value > word(cell, 0):
        put(cell, 0, value)


@inner
def merge_spread(
    cell: int, plane: int, count: int, mean: float, rest: float, squares: float
) -> None:
    """Count, mean and squared deviations of some values to those of others (Chan's formula).

    ``rest``: the sum of deviations from the mean, which is not quite zero.
    """
    n = np.float64(count)
    squares -= rest * rest / n
    if squares < 0.0:  # NaN stays
        squares = 0.0
    before = i64(cell)[0]
    total = before + count
    i64(cell)[0] = total
    means, spreads = f64(cell + plane), f64(cell + 2 * plane)
    if before == 0:
        means[0] = mean
        spreads[0] = squares
        return
    share = n / np.float64(total)
    delta = mean - means[0]
    means[0] += delta * share
    spreads[0] += squares + delta * delta * (np.float64(before) * share)
