"""Counting into bins, as ``numpy.histogram`` does.

A bin holds ``lo <= x < hi``, the last one its upper edge too. Bins of one width are found by a
division, whose rounding is then corrected by comparing with the edges, so that both ways of
finding a bin agree for every value.
"""

from __future__ import annotations

import numpy as np

from lazytensor.plan.promote import is_extended

__all__ = ["bin_counts", "bin_numbers", "check_edges"]

_AT_ONCE = 1 << 16


def check_edges(edges: np.ndarray) -> None:
    """``ValueError`` unless edges ascend; NaN does not."""
    if not (edges[:-1] <= edges[1:]).all():
        raise ValueError("edges of bins must ascend")


def bin_counts(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many values (one dim) fall into each bin.

    >>> bin_counts(np.array([0.0, 1.0, 2.0, np.nan]), np.array([0.0, 1.0, 2.0]))
    array([1, 2])
    """
    bins = len(edges) - 1
    total = np.zeros(bins, np.int64)
    width = _uniform_width(edges)
    for lo in range(0, len(values), _AT_ONCE):
        numbers = _numbers(values[lo : lo + _AT_ONCE], edges, width)[0]
        total += np.bincount(numbers, minlength=bins)
    return total


def bin_numbers(values: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bins of the values that fall into one, and a mask of those that do."""
    return _numbers(values, edges, _uniform_width(edges))


def _numbers(
    values: np.ndarray, edges: np.ndarray, width: float | None
) -> tuple[np.ndarray, np.ndarray]:
    if is_extended(values.dtype):
        values = values.astype(np.float32)
    elif values.dtype.kind == "b":
        values = values.view(np.uint8)
    inside = (values >= edges[0]) & (values <= edges[-1])
    chosen = values if inside.all() else values[inside]
    last = len(edges) - 2
    if width is None:
        return np.minimum(np.searchsorted(edges, chosen, side="right") - 1, last), inside
    steps = (chosen.astype(np.float64) - float(edges[0])) / width
    numbers = np.minimum(steps, last).astype(np.intp)
    numbers -= chosen < edges[numbers]
    numbers += (chosen >= edges[numbers + 1]) & (numbers != last)
    return numbers, inside


def _uniform_width(edges: np.ndarray) -> float | None:
    """Width of the bins if each edge is where it would be, to a quarter of that, else None."""
    lo, hi = float(edges[0]), float(edges[-1])
    width = (hi - lo) / (len(edges) - 1)
    if not (np.isfinite(width) and width > 0):
        return None
    ideal = lo + width * np.arange(len(edges))
    return width if (abs(edges.astype(np.float64) - ideal) <= width / 4).all() else None
