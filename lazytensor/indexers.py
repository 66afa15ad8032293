"""The objects behind ``x.coord``, ``x.blocks`` and ``x.oindex``: indexing under another rule.

Each holds only what turns a key into a tensor, so this module knows neither handles nor plans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import product
from math import prod
from typing import Any, Generic, TypeVar

from lazytensor.errors import OutOfBoundsError
from lazytensor.plan.grid import DimGrid
from lazytensor.plan.index_dims import Subscript

__all__ = ["BlockIndexer", "CoordIndexer", "cell_range"]

_T = TypeVar("_T")


class CoordIndexer(Generic[_T]):
    """``x.coord[...]``: indexing by coordinates, with TensorStore's rules.

    Coordinates neither wrap nor clip: ``-1`` is the coordinate -1. ``.oindex`` and ``.vindex``
    select outer and pointwise.

    >>> x = lt.asarray(np.arange(10))[2:8]
    >>> x.coord[3].collect(), x.coord[4:6].domain
    (array(3), { [4, 6) })
    """

    __slots__ = ("_select",)

    def __init__(self, select: Callable[[Any, str], _T]) -> None:
        self._select = select

    def __getitem__(self, key: Any) -> _T:
        return self._select(key, "")

    @property
    def oindex(self) -> Subscript[_T]:
        """Outer indexing by coordinates: every array selects along its own dim."""
        return Subscript(lambda key: self._select(key, "oindex"), "x.coord.oindex")

    @property
    def vindex(self) -> Subscript[_T]:
        """Pointwise indexing by coordinates: arrays broadcast, their dims come first."""
        return Subscript(lambda key: self._select(key, "vindex"), "x.coord.vindex")

    def __iter__(self) -> Iterator[_T]:
        raise TypeError("x.coord is not iterable; it takes coordinates in square brackets")

    def __repr__(self) -> str:
        return "x.coord"


class BlockIndexer(Generic[_T]):
    """``x.blocks[...]``: indexing in cells of ``x.chunks``.

    An integer selects one cell, a slice of step 1 a run of them; no dim is dropped. A dim without
    a grid is one cell. ``.shape`` counts the cells per dim, and iterating gives all of them in C
    order.

    >>> x = lt.asarray(np.arange(10), chunks=(4,))
    >>> x.blocks[-1].collect(), x.blocks[:2].shape, x.blocks.shape
    (array([8, 9]), (8,), (3,))
    """

    __slots__ = ("_extents", "_grid", "_naming", "_select")

    def __init__(
        self,
        grid: Sequence[DimGrid | None],
        extents: Sequence[int],
        select: Callable[[tuple[slice, ...]], _T],
        naming: AbstractContextManager[None],
    ) -> None:
        self._naming = naming
        self._grid = tuple(grid)
        self._extents = tuple(extents)
        self._select = select

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of cells per dim."""
        return tuple(
            (1 if n else 0) if cells is None else cells.count
            for cells, n in zip(self._grid, self._extents, strict=True)
        )

    @property
    def size(self) -> int:
        """Number of cells."""
        return prod(self.shape)

    def __len__(self) -> int:
        if not self._grid:
            raise TypeError("blocks of a 0-d tensor have no length")
        return self.shape[0]

    def __getitem__(self, key: Any) -> _T:
        with self._naming:
            return self._select(self._positions(key))

    def _positions(self, key: Any) -> tuple[slice, ...]:
        terms = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in terms:
            at = terms.index(Ellipsis)
            terms[at : at + 1] = [slice(None)] * (len(self._grid) - len(terms) + 1)
        if len(terms) > len(self._grid):
            raise OutOfBoundsError(f"{len(terms)} block indices for {len(self._grid)} dims")
        terms += [slice(None)] * (len(self._grid) - len(terms))
        counts = self.shape
        return tuple(
            slice(*cell_range(cells, n, *_run(term, counts[d], d)))
            for d, (cells, n, term) in enumerate(zip(self._grid, self._extents, terms, strict=True))
        )

    def __iter__(self) -> Iterator[_T]:
        return (self[index] for index in product(*(range(n) for n in self.shape)))

    def __repr__(self) -> str:
        return f"x.blocks of {' × '.join(map(str, self.shape)) or 'one'} cells"


def _run(term: Any, count: int, d: int) -> tuple[int, int]:
    """First and last-plus-one cell that a term selects."""
    if isinstance(term, slice):
        lo, hi, step = term.indices(count)
        if step != 1:
            raise OutOfBoundsError(f"blocks are selected by slices of step 1, not {step}")
        return lo, max(lo, hi)
    try:
        cell = range(count)[term]
    except IndexError:
        raise OutOfBoundsError(
            f"block {term} is out of bounds for dim {d}, which has {count} blocks"
        ) from None
    except TypeError:
        raise OutOfBoundsError(f"blocks are selected by ints and slices, not {term!r}") from None
    return cell, cell + 1


def cell_range(cells: DimGrid | None, extent: int, first: int, last: int) -> tuple[int, int]:
    """Positions ``[lo, hi)`` of the run of cells ``[first, last)``, found by bisection.

    >>> cell_range(DimGrid.regular(10, 4), 10, 1, 3)
    (4, 10)
    """
    if cells is None or last <= first:
        return (0, extent if last > first else 0)
    grid = cells
    lo = _cell_start(grid, first)
    return lo, extent if last >= grid.count else _cell_start(grid, last)


def _cell_start(grid: DimGrid, cell: int) -> int:
    """The lowest position with ``cell`` cells before it."""
    lo, hi = 0, grid.extent
    while lo < hi:
        middle = (lo + hi) // 2
        if grid.cells_between(0, middle + 1) > cell:
            hi = middle
        else:
            lo = middle + 1
    return lo
