"""Whether boxes leave nothing of a window uncovered.

That is less than what is seen of each (``plan.interval``), and far cheaper to know: the edges of
all boxes cut a window into cells, each of which is covered or not as a whole, and how many boxes
lie on each cell follows from their corners by running sums. No loop over boxes, whatever number of
them overlap.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from lazytensor.plan.interval_cut import subtract
from lazytensor.plan.source import Box

__all__ = ["is_covered", "is_tiled"]

_MOST_CELLS = 1 << 22
"""Cells counted at once, 4 bytes each; a window of more is halved first."""

_MOST_DIMS = 6
"""A box has two corners a dim, so that many dims are better cut one after the other."""

_ROUNDING = 1e-9

_EXACT = 1 << 53
"""Numbers below are exact as floats, and so are sums of them."""


def is_covered(box: Box, lo: np.ndarray, hi: np.ndarray) -> bool:
    """Whether the boxes ``[lo, hi)`` (int64 arrays ``(N, ndim)``) cover all of ``box``.

    >>> tiles = np.array([[0, 0], [0, 4], [4, 0]])
    >>> [is_covered(((0, n), (0, 8)), tiles, tiles + 4) for n in (4, 8)]
    [True, False]
    """
    work = [(np.array(box, np.int64).reshape(len(box), 2), lo, hi)]
    while work:
        bounds, lo, hi = work.pop()
        halves = _halves(bounds, lo, hi)
        if halves is None:
            return False
        work.extend(halves)
    return True


def is_tiled(box: Box, lo: np.ndarray, hi: np.ndarray) -> bool:
    """Whether boxes within ``box`` fill it side by side, none over another; or it is not known.

    >>> tiles = np.array([[0, 0], [0, 4]])
    >>> [is_tiled(((0, 4), (0, n)), tiles, tiles + 4) for n in (8, 9)]
    [True, False]
    """
    volume = math.prod([b - a for a, b in box])
    if not 0 < volume < _EXACT:
        return False
    sizes = (hi - lo).astype(np.float64).prod(axis=1)
    # As many elements as there are places: one on each, or some place has none.
    return bool(sizes.sum() == volume) and is_covered(box, lo, hi)


_Part = tuple[np.ndarray, np.ndarray, np.ndarray]


def _halves(bounds: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> list[_Part] | None:
    """None if a box has a hole; the parts that remain to be looked at, none if it has not."""
    first, end = bounds[:, 0], bounds[:, 1]
    if (first >= end).any():
        return []
    meets = ((lo < end) & (hi > first) & (lo < hi)).all(axis=1)
    lo, hi = np.maximum(lo[meets], first), np.minimum(hi[meets], end)
    if ((lo == first) & (hi == end)).all(axis=1).any():
        return []
    # Floats, since a volume may be larger than any int64.
    sizes = (hi - lo).astype(np.float64).prod(axis=1)
    if sizes.sum() < float((end - first).astype(np.float64).prod()) * (1 - _ROUNDING):
        return None
    differ = np.flatnonzero(((lo != first) | (hi != end)).any(axis=0))
    if len(differ) > _MOST_DIMS:
        whole = tuple([(int(a), int(b)) for a, b in bounds])
        return None if subtract(whole, lo, hi) else []
    lo, hi, bounds = lo[:, differ], hi[:, differ], bounds[differ]
    edges = [np.unique(np.concatenate([lo[:, d], hi[:, d], bounds[d]])) for d in range(len(differ))]
    cells = [len(along) - 1 for along in edges]
    if math.prod(cells) > _MOST_CELLS:
        return _cut(bounds, lo, hi, edges)
    return [] if _counts(lo, hi, edges).all() else None


def _cut(
    bounds: np.ndarray, lo: np.ndarray, hi: np.ndarray, edges: list[np.ndarray]
) -> list[_Part]:
    axis = max(range(len(edges)), key=lambda d: len(edges[d]))
    at = edges[axis][len(edges[axis]) // 2]
    below, above = bounds.copy(), bounds.copy()
    below[axis, 1] = above[axis, 0] = at
    return [(below, lo, hi), (above, lo, hi)]


def _counts(lo: np.ndarray, hi: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """How many boxes lie on each cell between edges."""
    ends = [
        (np.searchsorted(along, lo[:, d]), np.searchsorted(along, hi[:, d]))
        for d, along in enumerate(edges)
    ]
    counts = np.zeros([len(along) for along in edges], np.int32)
    for corner in product((0, 1), repeat=len(edges)):
        place = tuple([pair[side] for pair, side in zip(ends, corner, strict=True)])
        np.add.at(counts, place, 1 - 2 * (sum(corner) % 2))
    for d in range(len(edges)):
        np.cumsum(counts, axis=d, out=counts)
    return counts[tuple([slice(-1)] * len(edges))]
