"""Chunk grids seen through views, one dimension at a time.

A stored array is cut into cells; a view of it sees the same cut at other positions. One small
object per dimension remembers the original cut and the affine map from view positions to stored
positions, so that slicing, striding and flipping cost nothing and the exact edges are worked out
only for the stretch somebody asks about. That is why a corner of an array with 10^15 elements, or
the cell count of one with 10^8 chunks, is as cheap as of ten.

Positions count from zero (see ``plan.index`` for coordinates).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lazytensor.plan.edges import Edges

__all__ = ["DimGrid"]


class DimGrid:
    """The cells along one dimension of a tensor.

    View position ``p`` is stored position ``start + step * p``; stored cells have the fixed size
    ``chunk``, or end at ``edges`` when the sizes differ (then ``chunk`` is the size of a full one).
    ``free`` cells cost nothing to read in part. ``together``: how many cells, counted from the
    first stored one, lie in one stored object (the chunks of a shard).

    >>> g = DimGrid.regular(10, 4)
    >>> g.nominal, g.count, g.edges_between(0, 10)
    (4, 3, [0, 4, 8, 10])
    >>> g.affine(3, 2, 4).edges_between(0, 4)     # positions 3, 5, 7, 9
    [0, 1, 3, 4]
    """

    __slots__ = ("chunk", "edges", "extent", "free", "start", "step", "together")

    def __init__(
        self,
        extent: int,
        chunk: int,
        edges: Edges | None = None,
        start: int = 0,
        step: int = 1,
        *,
        free: bool = False,
        together: int = 1,
    ) -> None:
        self.extent = extent
        self.chunk = chunk
        self.edges = edges
        self.start = start
        self.step = step
        self.free = free
        self.together = together

    @classmethod
    def regular(cls, extent: int, chunk: int, together: int = 1) -> DimGrid:
        """Cells of one size, the last one cut off by ``extent``."""
        return cls(extent, max(1, chunk), together=together)

    @classmethod
    def whole(cls, extent: int) -> DimGrid:
        """One cell that may be cut anywhere at no cost, as of an array in memory."""
        return cls(extent, max(1, extent), free=True)

    @classmethod
    def from_edges(cls, edges: Sequence[int] | Edges, extent: int | None = None) -> DimGrid:
        """Cells ``[edges[i], edges[i+1])``; ``edges[0]`` is 0.

        ``extent``: positions there are, all of them by default; the last cell may end behind them.
        """
        ends = edges if isinstance(edges, Edges) else Edges.from_positions(edges)
        return cls(ends.extent if extent is None else extent, max(1, ends.widest), ends)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DimGrid) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self._fields())

    def __repr__(self) -> str:
        return f"DimGrid(extent={self.extent}, nominal={self.nominal})"

    def _fields(self) -> tuple[int, int, Edges | None, int, int, int]:
        return self.extent, self.chunk, self.edges, self.start, self.step, self.together

    @property
    def nominal(self) -> int:
        """Extent of a full cell in view positions, at least 1."""
        return max(1, -(-self.chunk // abs(self.step)))

    @property
    def is_plain(self) -> bool:
        """True for cells of one size that start at position 0."""
        return self.edges is None and self.step == 1 and self.start % self.chunk == 0

    def affine(self, start: int, step: int, extent: int) -> DimGrid:
        """The same cells seen at positions ``start + step * p`` for ``p`` in ``[0, extent)``."""
        return DimGrid(
            extent,
            self.chunk,
            self.edges,
            self.start + self.step * start,
            self.step * step,
            free=self.free,
            together=self.together,
        )

    def settled(self) -> DimGrid:
        """The same cells, of something that is stored as it is seen here.

        >>> DimGrid.regular(10, 4).affine(1, 1, 9).settled().edges_between(0, 9)
        [0, 3, 7, 9]
        """
        if self.free or self.is_plain:
            return DimGrid(self.extent, self.nominal, free=self.free)
        edges = self.edges_between(0, self.extent)
        if edges[1:-1] == list(range(self.nominal, self.extent, self.nominal)):
            return DimGrid(self.extent, self.nominal)
        return DimGrid(self.extent, self.nominal, Edges.from_positions(edges))

    def stored_cell(self, position: int) -> int:
        """Index, in the stored grid, of the cell that holds a view position."""
        stored = max(0, self.start + self.step * position)
        if self.edges is None:
            return stored // self.chunk
        return self.edges.cell_at(stored)

    @property
    def count(self) -> int:
        """Number of cells with at least one view position in them."""
        return self.cells_between(0, self.extent)

    def cells_between(self, lo: int, hi: int) -> int:
        """Number of stored cells that the positions ``[lo, hi)`` touch."""
        if hi <= lo:
            return 0
        if abs(self.step) == 1 or (self.edges is None and abs(self.step) <= self.chunk):
            return abs(self.stored_cell(hi - 1) - self.stored_cell(lo)) + 1
        if self.edges is None:
            return hi - lo
        step = abs(self.step)
        lowest = self.start + self.step * (lo if self.step > 0 else hi - 1)
        # Positions before the first cell are those of windows that hang over it, and belong to it.
        outside = min(hi - lo, max(0, -(lowest // step)))
        first = lowest + outside * step
        found = self.edges.touched(first, step, hi - lo - outside)
        return found + (outside > 0 and (not found or self.edges.cell_at(first) > 0))

    def stored_cells(self, lo: int, hi: int) -> range | np.ndarray:
        """The stored cells that the positions ``[lo, hi)`` touch, ascending."""
        if hi <= lo:
            return range(0)
        first, last = self.stored_cell(lo), self.stored_cell(hi - 1)
        if abs(self.step) == 1 or (self.edges is None and abs(self.step) <= self.chunk):
            return range(min(first, last), max(first, last) + 1)
        stored = np.maximum(self.start + self.step * np.arange(lo, hi), 0)
        return np.unique(self.cells_of(stored))

    def cells_of(self, stored: np.ndarray) -> np.ndarray:
        """Stored cells of an array of stored positions."""
        if self.edges is None:
            return stored // self.chunk
        return self.edges.cells_of(stored)

    def stored_extent(self, cell: int, size: int) -> tuple[int, int]:
        """Stored positions ``[lo, hi)`` of a stored cell, clipped to the stored size."""
        if self.edges is None:
            return cell * self.chunk, min((cell + 1) * self.chunk, size)
        return self.edges[cell], min(self.edges[cell + 1], size)

    def edges_between(self, lo: int, hi: int) -> list[int]:
        """``[lo, ..., hi]`` with every position in between at which a new cell starts."""
        if self.edges is not None and hi > lo:
            return [lo, *self._starts_inside(lo, hi), hi]
        out = [lo]
        while (position := self._next_edge(out[-1])) < hi:
            out.append(position)
        if hi > lo:
            out.append(hi)
        return out

    def _starts_inside(self, lo: int, hi: int) -> list[int]:
        """Positions above ``lo`` and below ``hi`` at which a new cell of several sizes starts."""
        assert self.edges is not None
        ends = sorted(max(0, self.start + self.step * p) for p in (lo, hi - 1))
        edges = self.edges.inside(*ends)
        if self.step > 0:
            found = -((self.start - edges) // self.step)
        else:
            found = (self.start - edges) // -self.step + 1
        positions: list[int] = np.unique(found).tolist()
        return positions

    def _next_edge(self, position: int) -> int:
        """First position after ``position`` that lies in another cell."""
        stored = max(0, self.start + self.step * position)
        if self.edges is None:
            cell_lo = stored // self.chunk * self.chunk
            cell_hi = cell_lo + self.chunk
        else:
            cell = self.edges.cell_at(stored)
            cell_lo = self.edges[cell]
            cell_hi = self.edges[cell + 1] if cell < self.edges.count else stored + 1
        if self.step > 0:
            ahead = -(-(cell_hi - self.start) // self.step)
        else:
            ahead = (self.start - cell_lo) // -self.step + 1
        return max(position + 1, ahead)
