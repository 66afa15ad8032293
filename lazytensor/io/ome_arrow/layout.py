"""Which parts of which elements a box takes, and where in the box they go: tables, not loops.

Pieces whose values follow each other in memory, as planes of a list do, are joined to one *slab*
where they also follow each other in the image: a box of many planes is one strided copy then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lazytensor.io.ome_arrow.cells import PieceGrid

__all__ = ["Cut", "Slabs", "Where", "cut_pieces", "joined"]

Where = tuple[slice, ...]


class Slabs(NamedTuple):
    """Boxes of values that are one stretch of memory each.

    ``origins``, ``extents``: ``(n, dims)``. ``first``: where in ``pieces`` those of a slab begin,
    and the end; they are consecutive elements. ``pieces``: numbers of pieces.
    """

    origins: np.ndarray
    extents: np.ndarray
    first: np.ndarray
    pieces: np.ndarray


class Cut(NamedTuple):
    """Parts of slabs: ``rows`` says of which, ``start`` where in it they begin, ``first`` and
    ``end`` the places among the elements that are wanted; ``(n, dims)`` int64."""

    rows: np.ndarray
    start: np.ndarray
    first: np.ndarray
    end: np.ndarray

    @property
    def size(self) -> int:
        """Elements in all parts."""
        return int((self.end - self.first).prod(axis=1).sum())

    def parts(self, steps: Sequence[int]) -> Iterator[tuple[int, Where, Where]]:
        """Number of the slab, part of it, place."""
        by = None if all(step == 1 for step in steps) else np.array(steps, np.int64)
        reach = self.end - self.first
        stop = self.start + (reach if by is None else (reach - 1) * by + 1)
        tables = (self.rows, self.start, stop, self.first, self.end)
        # Tuples of slices are made by the thousand: ``map`` is twice as fast as a comprehension.
        for row, start, end, first, last in zip(*[t.tolist() for t in tables], strict=True):
            where = map(slice, start, end) if by is None else map(slice, start, end, steps)
            yield row, tuple(where), tuple(map(slice, first, last))


def cut_pieces(
    origins: np.ndarray,
    extents: np.ndarray,
    lo: Sequence[int] | np.ndarray,
    counts: Sequence[int],
    steps: Sequence[int],
) -> Cut:
    """The parts of boxes among ``counts`` elements that lie ``steps`` apart from ``lo`` on.

    ``lo`` may be one position, or one for each box. Boxes without any are left out.

    >>> cut = cut_pieces(np.array([[0], [3], [4]]), np.array([[3], [1], [4]]), [2], [3], [2])
    >>> list(cut.parts([2]))
    [(0, (slice(2, 3, 2),), (slice(0, 1, None),)), (2, (slice(0, 3, 2),), (slice(1, 3, None),))]
    """
    low = origins - np.asarray(lo, np.int64)
    if all(step == 1 for step in steps):
        first = np.maximum(low, 0)
        end = np.minimum(low + extents, counts)
        start = first - low
    else:
        by = np.array(steps, np.int64)
        first = np.maximum(-(-low // by), 0)
        end = np.minimum(-(-(low + extents) // by), counts)
        start = first * by - low
    there = (end > first).all(axis=1)
    if there.all():
        return Cut(np.arange(len(first)), start, first, end)
    return Cut(np.flatnonzero(there), start[there], first[there], end[there])


def joined(
    grid: PieceGrid, units: np.ndarray, elements: np.ndarray, numbers: np.ndarray, *, single: bool
) -> Slabs:
    """Pieces as slabs, in the order of units and elements; ``single``: each piece is one.

    >>> grid = PieceGrid((4, 2), np.array([[2, 0], [0, 0], [3, 0]]), np.array([[1, 2]] * 3))
    >>> slabs = joined(grid, np.zeros(3, int), np.array([7, 6, 8]), np.arange(3), single=False)
    >>> slabs.origins.tolist(), slabs.extents.tolist(), slabs.first.tolist()
    ([[0, 0], [2, 0]], [[1, 2], [2, 2]], [0, 1, 3])
    """
    if len(numbers) > 1:
        at, where = elements[numbers], units[numbers]
        ascending = (where[1:] > where[:-1]) | ((where[1:] == where[:-1]) & (at[1:] > at[:-1]))
        if not ascending.all():
            numbers = numbers[np.lexsort((at, where))]
    origins, extents = grid.origins[numbers], grid.extents[numbers]
    first = np.arange(len(numbers) + 1)
    if not single and len(numbers) > 1:
        origins, extents, first = _join(origins, extents, units[numbers], elements[numbers], first)
    return Slabs(origins, extents, first, numbers)


def _join(
    origins: np.ndarray,
    extents: np.ndarray,
    units: np.ndarray,
    elements: np.ndarray,
    first: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join what continues in memory and along a dim, the last dim first."""
    follows = (units[1:] == units[:-1]) & (elements[1:] == elements[:-1] + 1)
    rank = origins.shape[1]
    for d in reversed(range(rank)):
        if len(origins) < 2:
            break
        here = follows[first[1:-1] - 1]
        step = origins[1:] - origins[:-1]
        step[:, d] -= extents[:-1, d]
        alike = extents[1:] == extents[:-1]
        alike[:, d] = True
        outer = (extents[:, :d] == 1).all(axis=1)
        together = here & (step == 0).all(axis=1) & alike.all(axis=1) & outer[1:] & outer[:-1]
        if not together.any():
            continue
        begins = np.concatenate(([0], np.flatnonzero(~together) + 1))
        along = np.add.reduceat(extents[:, d], begins)
        origins, extents = origins[begins], extents[begins]
        extents[:, d] = along
        first = np.concatenate((first[begins], first[-1:]))
    return origins, extents, first
