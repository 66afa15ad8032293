"""Where the pieces of an image lie: the cells of its grid, and which pieces a box touches.

Nearly always pieces are the cells of a regular grid, cut off where the image ends, in any order;
then those that a box touches are looked up by their numbers. Pieces that are anything else are
compared with the box, all of them. In no case is there a table of all the cells that there could
be: sizes are what a file claims, pieces are what it has.

That several pieces hold the same voxels is found once, and only said to whoever wants such voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from lazytensor.plan.edges import Edges
from lazytensor.plan.source import Box

__all__ = ["PieceGrid", "overlapping"]

_LEAF = 64
_FEW = 16
"""So many numbers are faster made in Python than by NumPy."""
_MOST_PAIRED = 4096
"""So many boxes that no cut tells apart are compared with each other."""


class PieceGrid:
    """The places of pieces: ``origins`` and ``extents``, ``(n, dims)`` int64, in ``shape``.

    ``cells``: per dim the size of a cell or its edges, as ``make_spec`` takes them. ``is_regular``:
    whether each piece is one of the cells.

    >>> grid = PieceGrid((5, 4), np.array([[4, 0], [0, 0]]), np.array([[1, 4], [2, 4]]))
    >>> grid.cells, grid.is_regular, grid.touching(((1, 5), (0, 4)), (1, 1))
    ((2, 4), True, array([1, 0]))
    """

    __slots__ = (
        "_ends", "_numbers", "_order", "_overlapping", "_weights", "cells", "extents", "is_regular",
        "origins", "shape",
    )  # fmt: skip

    def __init__(self, shape: Sequence[int], origins: np.ndarray, extents: np.ndarray) -> None:
        self.shape = tuple(shape)
        self.origins = origins
        self.extents = extents
        self._ends: np.ndarray = origins + extents
        # Which pieces share voxels with others: found when it is first asked for.
        self._overlapping: tuple[np.ndarray | None] | None = None
        self._order = self._numbers = np.zeros(0, np.int64)
        self._weights: tuple[int, ...] = ()
        if not len(origins):
            flat = len(self.shape) - 2
            self.cells: tuple[int | Edges, ...] = tuple(
                [1 if d < flat else max(1, n) for d, n in enumerate(self.shape)]
            )
            self.is_regular = False
            return
        sizes = np.maximum(extents.max(axis=0), 1)
        whole = np.minimum(sizes, np.array(self.shape, np.int64) - origins)
        self.is_regular = bool((extents == whole).all() and not (origins % sizes).any())
        self.cells = tuple(sizes.tolist())
        if not self.is_regular:
            self.cells = tuple([self._cells_along(d) for d in range(len(self.shape))])
            return
        counts = [-(-n // size) for n, size in zip(self.shape, sizes.tolist(), strict=True)]
        self._weights = tuple([prod(counts[d + 1 :]) for d in range(len(counts))])
        numbers = (origins // sizes) @ np.array(self._weights, np.int64)
        if (numbers[1:] > numbers[:-1]).all():
            self._order, self._numbers = np.arange(len(numbers)), numbers
        else:
            self._order = np.argsort(numbers, kind="stable")
            self._numbers = numbers[self._order]

    def _cells_along(self, d: int) -> int | Edges:
        """The edges of pieces along a dim, if each lies between two neighbouring ones."""
        origins, ends = self.origins[:, d], self._ends[:, d]
        edges = np.unique(np.concatenate((origins, ends, [0, self.shape[d]])))
        between = np.searchsorted(edges, ends) - np.searchsorted(edges, origins)
        if (between == 1).all():
            return Edges.from_positions(edges)
        return max(1, int(self.extents[:, d].max()))

    def __len__(self) -> int:
        """How many pieces there are."""
        return len(self.origins)

    def one(self, box: Box) -> int:
        """The only piece of a regular grid that a box touches; -1 where that is not so simple."""
        if not self.is_regular or self.overlapping is not None:
            return -1
        number = 0
        for (lo, hi), size, weight in zip(box, self.cells, self._weights, strict=True):
            assert isinstance(size, int)
            cell = lo // size
            if (hi - 1) // size != cell:
                return -1
            number += cell * weight
        at = int(np.searchsorted(self._numbers, number))
        if at == len(self._numbers) or self._numbers[at] != number:
            return -1
        return int(self._order[at])

    def touching(self, box: Box, steps: Sequence[int]) -> np.ndarray:
        """The pieces that lie in the box as far as they reach; some may lie between the steps."""
        if self.is_regular and self.overlapping is None:
            along = [
                _touched(lo, hi, size, step)
                for (lo, hi), step, size in zip(box, steps, self.cells, strict=True)
            ]
            # Lengths of ranges in Python, as there may be more than anybody could list.
            if prod([-(-(r.stop - r.start) // r.step) for r, _ in along]) <= 2 * len(self) + _LEAF:
                return self.at(_sums(along, self._weights))[1]
        lo, hi = np.array(box, np.int64).reshape(len(box), 2).T
        found: np.ndarray = np.flatnonzero(((self.origins < hi) & (self._ends > lo)).all(axis=1))
        return found

    def at(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of cells of a regular grid, by number in C order: which are there, and their pieces."""
        places = np.searchsorted(self._numbers, cells)
        there = places < len(self._numbers)
        there[there] = self._numbers[places[there]] == cells[there]
        return there, self._order[places[there]]

    @property
    def overlapping(self) -> np.ndarray | None:
        """Which pieces (bool) may have voxels in common with others; None if none has."""
        if self._overlapping is None:
            if self.is_regular:
                twice = np.zeros(len(self), np.bool_)
                same = self._numbers[1:] == self._numbers[:-1]
                twice[self._order[1:][same]] = twice[self._order[:-1][same]] = True
            else:
                twice = overlapping(self.origins, self._ends)
            self._overlapping = (twice if twice.any() else None,)
        return self._overlapping[0]


def _touched(lo: int, hi: int, size: int | Edges, step: int) -> tuple[range, int]:
    """The cells that hold one of the positions ``lo, lo + step, ...`` below ``hi``: a range whose
    numbers are cells if they are divided by the second."""
    assert isinstance(size, int)
    if step <= size:
        return range(lo // size, (hi - 1) // size + 1), 1
    return range(lo, hi, step), size


def _sums(along: Sequence[tuple[range, int]], weights: Sequence[int]) -> np.ndarray:
    """The numbers of all combinations of cells, in C order."""
    if prod([len(positions) for positions, _ in along]) <= _FEW:
        few = [0]
        for (positions, size), weight in zip(along, weights, strict=True):
            few = [number + at // size * weight for number in few for at in positions]
        return np.array(few, np.int64)
    found = np.zeros(1, np.int64)
    for (positions, size), weight in zip(along, weights, strict=True):
        part = np.arange(positions.start, positions.stop, positions.step) // size * weight
        found = found + part if len(part) == 1 else (found[:, None] + part).reshape(-1)
    return found


def overlapping(origins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Which boxes (bool) share a position with another one.

    They are told apart by cutting space in two, again and again. Thousands that no cut tells apart
    are all said to, though some may not.

    >>> overlapping(np.array([[0], [2], [3]]), np.array([[2], [4], [5]]))
    array([False,  True,  True])
    """
    flags = np.zeros(len(origins), np.bool_)
    todo = [np.flatnonzero((ends > origins).all(axis=1))]
    while todo:
        some = todo.pop()
        if len(some) <= _LEAF:
            _pair(flags, some, origins, ends)
            continue
        left, right = _cut(some, origins, ends)
        if max(len(left), len(right)) < 0.9 * len(some):
            todo += [left, right]
        elif len(some) <= _MOST_PAIRED:
            _pair(flags, some, origins, ends)
        else:
            flags[some] = True
    return flags


def _pair(flags: np.ndarray, some: np.ndarray, origins: np.ndarray, ends: np.ndarray) -> None:
    los, his = origins[some], ends[some]
    for at in range(len(some) - 1):
        shared = ((los[at + 1 :] < his[at]) & (his[at + 1 :] > los[at])).all(axis=1)
        if shared.any():
            flags[some[at]] = True
            flags[some[at + 1 :][shared]] = True


def _cut(some: np.ndarray, origins: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two halves at the best of some planes; what lies across it is in both."""
    best = some, some
    for d in range(origins.shape[1]):
        los, his = origins[some, d], ends[some, d]
        at = np.partition(los, len(some) // 2)[len(some) // 2]
        halves = some[los < at], some[his > at]
        if max(map(len, halves)) < max(map(len, best)):
            best = halves
    return best
