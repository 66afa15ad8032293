"""Which of many boxes meet which of many others, where neither lie on a grid.

Comparing all with all is quadratic: tens of thousands of windows over as many pieces take seconds.
So space is cut in two, again and again, as long as that saves comparisons, and only boxes in the
same part are compared. A box across a cut is in both parts; the pair belongs to the part that holds
the first position that both boxes have.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

__all__ = ["Boxes", "Part", "meeting", "parts_of"]

_FEW = 1 << 14
"""So many comparisons cost less than a cut."""

_AT_ONCE = 1 << 20
"""Comparisons that are made together, of some bytes each."""

_SAVED = 0.9
_INT64 = np.iinfo(np.int64)


class Boxes(NamedTuple):
    """Half-open boxes: ``los``, ``his``, ``(n, dims)`` int64."""

    los: np.ndarray
    his: np.ndarray


class Part(NamedTuple):
    """A part of space, from ``lo`` up to ``hi``, and the numbers of boxes that are in it."""

    first: np.ndarray
    second: np.ndarray
    lo: np.ndarray
    hi: np.ndarray

    @property
    def compared(self) -> int:
        """How many comparisons it takes."""
        return len(self.first) * len(self.second)


def meeting(first: Boxes, second: Boxes, most: int) -> tuple[np.ndarray, np.ndarray] | None:
    """All pairs of a box of the first and one of the second that share a position, by numbers.

    None if there are more than ``most``.

    >>> ones = Boxes(np.array([[0], [4]]), np.array([[3], [9]]))
    >>> others = Boxes(np.array([[2], [3], [8]]), np.array([[3], [5], [9]]))
    >>> meeting(ones, others, 10)
    (array([0, 1, 1]), array([0, 1, 2]))
    >>> meeting(ones, others, 2) is None
    True
    """
    found, total = [(np.zeros(0, np.int64), np.zeros(0, np.int64))], 0
    for part in parts_of(first, second):
        rows = max(1, _AT_ONCE // len(part.second))
        for at in range(0, len(part.first), rows):
            pairs = _compared(first, second, part, part.first[at : at + rows])
            total += len(pairs[0])
            if total > most:
                return None
            found.append(pairs)
    ones, others = zip(*found, strict=True)
    return np.concatenate(ones), np.concatenate(others)


def parts_of(first: Boxes, second: Boxes) -> Iterator[Part]:
    """Parts of space in which boxes are to be compared; none without boxes of both kinds."""
    rank = first.los.shape[1]
    todo = [
        Part(
            np.arange(len(first.los)),
            np.arange(len(second.los)),
            np.full(rank, _INT64.min),
            np.full(rank, _INT64.max),
        )
    ]
    while todo:
        part = todo.pop()
        if not part.compared:
            continue
        halves = [] if part.compared <= _FEW else _halves(first, second, part)
        if halves and sum(half.compared for half in halves) < _SAVED * part.compared:
            todo += reversed(halves)
        else:
            yield part


def _halves(first: Boxes, second: Boxes, part: Part) -> list[Part]:
    """Two parts that take the fewest comparisons, of cuts at the middle of where boxes begin."""
    best: list[Part] = []
    for boxes, numbers in ((second, part.second), (first, part.first)):
        for d in range(len(part.lo)):
            los = boxes.los[numbers, d]
            at = np.partition(los, len(los) // 2)[len(los) // 2]
            if not part.lo[d] < at < part.hi[d]:
                continue
            halves = [_half(first, second, part, d, at, side) for side in (0, 1)]
            if not best or sum(h.compared for h in halves) < sum(h.compared for h in best):
                best = halves
    return best


def _half(first: Boxes, second: Boxes, part: Part, d: int, at: np.int64, side: int) -> Part:
    """What is below a cut across dim ``d`` (side 0), or not below it."""
    kept = [
        numbers[boxes.los[numbers, d] < at] if side == 0 else numbers[boxes.his[numbers, d] > at]
        for boxes, numbers in ((first, part.first), (second, part.second))
    ]
    lo, hi = part.lo.copy(), part.hi.copy()
    (lo if side else hi)[d] = at
    return Part(kept[0], kept[1], lo, hi)


def _compared(
    first: Boxes, second: Boxes, part: Part, some: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of a part, of some boxes of the first."""
    meets = np.ones((len(some), len(part.second)), np.bool_)
    for d in range(len(part.lo)):
        meets &= first.los[some, d, None] < second.his[part.second, d]
        meets &= first.his[some, d, None] > second.los[part.second, d]
    at, other_at = np.nonzero(meets)
    ones, others = some[at], part.second[other_at]
    begin = np.maximum(first.los[ones], second.los[others])
    own = ((begin >= part.lo) & (begin < part.hi)).all(axis=1)
    return ones[own], others[own]
