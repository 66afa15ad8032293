"""Ends of cells of several sizes along one dimension.

Grids with a handful of sizes and billions of cells exist (``[1, 10**12]`` in a file stands for
10^12 cells of one element), and so do lists of ten million different sizes. Cells are therefore
kept as runs of equal size in machine integers: memory grows with the number of *changes* of size,
and finding a cell is one bisection and one division.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import numpy as np

__all__ = ["Edges"]

_HASHED = 16
_ENDLESS = 1 << 62


class Edges:
    """The positions at which cells end: a sequence of ``count + 1`` ascending integers from 0.

    ``sizes`` and ``counts`` give the runs: ``counts[r]`` cells of ``sizes[r]`` elements, where the
    next run may be of the same size. The last edge must fit into 63 bits, which the caller sees to.

    >>> edges = Edges([10, 3], [2, 1])
    >>> list(edges), edges.count, edges.widest
    ([0, 10, 20, 23], 3, 10)
    >>> edges.cell_at(20), list(edges.cells(9, 21))
    (2, [(0, 0, 10), (1, 10, 10), (2, 20, 3)])
    """

    __slots__ = ("_cells", "_sizes", "_starts")

    def __init__(
        self, sizes: Sequence[int] | np.ndarray, counts: Sequence[int] | np.ndarray
    ) -> None:
        size, count = np.asarray(sizes, np.int64), np.asarray(counts, np.int64)
        change = np.flatnonzero(np.diff(size, prepend=-1))
        size = size[change]
        count = np.add.reduceat(count, change) if change.size else count
        # Each has one entry more than there are runs: all that follows counts as one more cell.
        self._cells = _from_zero(count)
        self._starts = _from_zero(size * count)
        self._sizes = array("q", np.append(size, _ENDLESS).tobytes())

    @classmethod
    def from_positions(cls, positions: Sequence[int] | np.ndarray) -> Edges:
        """The edges at these positions, the first of which is 0.

        >>> Edges.from_positions([0, 10, 20, 23]) == Edges([10, 3], [2, 1])
        True
        """
        sizes = np.diff(np.asarray(positions, np.int64))
        return cls(sizes, np.ones_like(sizes))

    @property
    def count(self) -> int:
        """Number of cells."""
        return self._cells[-1]

    @property
    def extent(self) -> int:
        """Position at which the last cell ends."""
        return self._starts[-1]

    @property
    def widest(self) -> int:
        """Size of the largest cell, 0 if there is none."""
        return max(self._sizes[:-1], default=0)

    @property
    def divisor(self) -> int:
        """Greatest common divisor of all sizes, 0 if there is none."""
        return int(np.gcd.reduce(np.asarray(self._sizes[:-1], np.int64)))

    @property
    def runs(self) -> int:
        """How many stretches of cells of one size there are."""
        return len(self._sizes) - 1

    def __len__(self) -> int:
        return self.count + 1

    def __getitem__(self, at: int) -> int:
        if not 0 <= at <= self.count:
            raise IndexError(f"edge {at} of {self.count + 1}")
        run = bisect_right(self._cells, at) - 1
        return self._starts[run] + (at - self._cells[run]) * self._sizes[run]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Edges):
            return NotImplemented
        return self._cells == other._cells and self._starts == other._starts

    def __hash__(self) -> int:
        return hash((self.count, self.extent, len(self._sizes), tuple(self._sizes[:_HASHED])))

    def __repr__(self) -> str:
        return f"Edges(count={self.count}, extent={self.extent})"

    def cell_at(self, position: int) -> int:
        """The cell that holds a position; ``count`` for positions behind the last cell."""
        run = bisect_right(self._starts, position) - 1
        return self._cells[run] + (position - self._starts[run]) // self._sizes[run]

    def cells_of(self, positions: np.ndarray) -> np.ndarray:
        """The cells that hold some positions."""
        cells, starts, sizes = map(np.asarray, (self._cells, self._starts, self._sizes))
        run = np.searchsorted(starts, positions, side="right") - 1
        found: np.ndarray = cells[run] + (positions - starts[run]) // sizes[run]
        return found

    def cells(self, lo: int, hi: int) -> Iterator[tuple[int, int, int]]:
        """Number, first position and size of each cell that the positions ``[lo, hi)`` touch."""
        if hi <= lo:
            return
        run = bisect_right(self._starts, lo) - 1
        cell, start = self.cell_at(lo), self[self.cell_at(lo)]
        while start < hi and cell < self._cells[-1]:
            while cell >= self._cells[run + 1]:
                run += 1
            size = self._sizes[run]
            yield cell, start, size
            cell, start = cell + 1, start + size

    def inside(self, lo: int, hi: int) -> np.ndarray:
        """The edges above ``lo`` and not above ``hi``."""
        at = np.arange(self.cell_at(lo) + 1, self.cell_at(hi) + 1)
        cells, starts, sizes = map(np.asarray, (self._cells, self._starts, self._sizes))
        run = np.searchsorted(cells, at, side="right") - 1
        found: np.ndarray = starts[run] + (at - cells[run]) * sizes[run]
        return found

    def touched(self, lo: int, step: int, points: int) -> int:
        """How many cells hold at least one of the positions ``lo + step * k``, ``k < points``.

        ``step`` is positive and no position negative. Costs what the number of runs in between
        costs, whatever the number of cells.

        >>> Edges([1, 10], [10**12, 3]).touched(0, 2, 5 * 10**11 + 2)
        500000000001
        """
        if points <= 0:
            return 0
        hi = lo + step * (points - 1)
        first, last = bisect_right(self._starts, lo) - 1, bisect_right(self._starts, hi)
        starts = np.asarray(self._starts[first:last], np.int64)
        ends = np.append(starts[1:], hi + 1)
        sizes = np.maximum(self._sizes[first:last], 1)  # an empty cell holds no position anyway
        # First and last k with a position in each run.
        begin = -((lo - np.maximum(starts, lo)) // step)
        end = (np.minimum(ends - 1, hi) - lo) // step
        inside = ((lo + step * end - starts) // sizes) - ((lo + step * begin - starts) // sizes) + 1
        found = np.where(step < sizes, inside, end - begin + 1)
        return int(found[begin <= end].sum())


def _from_zero(steps: np.ndarray) -> array[int]:
    """Sums of the first none, one, two, ... of some integers."""
    sums = np.zeros(steps.size + 1, np.int64)
    np.cumsum(steps, out=sums[1:])
    return array("q", sums.tobytes())
