"""Chunk grids that are not one shape repeated.

Most arrays are cut at multiples of one size, and the reader's fast loop is made for those. What is
here serves the others, cell by cell: rectilinear grids, whose cells have sizes of their own, and
formats that name or store their cells differently (N5). Dimensions are independent of each other,
so a grid is a size or an ``Edges`` per dimension; a rectilinear grid that turns out to be regular
as far as the array reaches is treated as the regular one it is.

A codec chain is built for one shape, so each shape of cell has a ``Layout`` of its own; a bounded
table keeps those that were used. That every shape can be built is known when the metadata is read:
sizes only matter to codecs by what divides them, so a layout for the greatest common divisors of
the sizes exists only if all do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.zarr.document import MAX_EXTENT, Fields, describe
from lazytensor.io.zarr.layout import Layout, Where, pieces
from lazytensor.plan.edges import Edges
from lazytensor.plan.source import Box

__all__ = ["Cell", "CellGrid", "Cells", "common_shape", "nominal_shape", "parse_rectilinear"]

Cells = int | Edges
"""The cells along one dimension: all of one size, or with edges of their own."""

_MOST_LAYOUTS = 256
_SizedPiece = tuple[int, int, slice, slice]


class Cell(NamedTuple):
    """One cell that a box touches.

    ``indices``: its number per dimension. ``layout``: of its object. ``where``: the part of the
    cell that lies in the box; ``spot``: where that part lies in the box.
    """

    indices: tuple[int, ...]
    layout: Layout
    where: Where
    spot: Where


class CellGrid:
    """Cells of several shapes.

    ``dims``: cells per dimension. ``build``: makes the layout of a shape (must pickle).

    >>> grid = CellGrid((Edges([2, 3], [1, 2]),), lambda shape: shape)
    >>> [(cell.indices, cell.layout, cell.where) for cell in grid.cells(((1, 4),))]
    [((0,), (2,), (slice(1, 2, None),)), ((1,), (3,), (slice(0, 2, None),))]
    """

    __slots__ = ("_layouts", "build", "dims")

    def __init__(self, dims: tuple[Cells, ...], build: Callable[[tuple[int, ...]], Layout]) -> None:
        self.dims = dims
        self.build = build
        self._layouts: dict[tuple[int, ...], Layout] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return CellGrid, (self.dims, self.build)

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """The layout of cells of a shape."""
        found = self._layouts.get(shape)
        if found is None:
            if len(self._layouts) >= _MOST_LAYOUTS:
                self._layouts.clear()
            self._layouts[shape] = found = self.build(shape)
        return found

    def cells(self, box: Box, steps: Sequence[int] | None = None) -> Iterator[Cell]:
        """The cells that hold values of a box, every ``steps[d]``-th of dim ``d``, in C order."""
        found = [
            _sized(cells, lo, hi, step)
            for (lo, hi), cells, step in zip(box, self.dims, steps or [1] * len(box), strict=True)
        ]
        for cell in product(*found):
            indices, shape, where, spot = zip(*cell, strict=True)
            yield Cell(indices, self.layout(shape), where, spot)

    def locate(self, at: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...], Layout]:
        """The cell that holds a position, the position inside it, and its layout."""
        found = [_sized(cells, p, p + 1)[0] for p, cells in zip(at, self.dims, strict=True)]
        indices, shape, where, _ = zip(*found, strict=True)
        return indices, tuple(part.start for part in where), self.layout(shape)

    def counts(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Cells per dimension of an array of ``shape``."""
        return tuple(
            cells.count if isinstance(cells, Edges) else -(-extent // cells)
            for extent, cells in zip(shape, self.dims, strict=True)
        )


def _sized(cells: Cells, lo: int, hi: int, step: int = 1) -> list[_SizedPiece]:
    """Number, size, part and place of each cell that holds one of ``lo, lo + step, ... < hi``.

    >>> _sized(4, 3, 5)
    [(0, 4, slice(3, 4, None), slice(0, 1, None)), (1, 4, slice(0, 1, None), slice(1, 2, None))]
    >>> _sized(Edges([2, 3], [1, 2]), 1, 7, 5)
    [(0, 2, slice(1, 2, 5), slice(0, 1, None)), (2, 3, slice(1, 2, 5), slice(1, 2, None))]
    """
    if isinstance(cells, int):
        return [(cell, cells, where, spot) for cell, where, spot in pieces(lo, hi, cells, step)]
    found = []
    for cell, start, size in cells.cells(lo, hi):
        first = lo + -(-max(0, start - lo) // step) * step
        stop = min(hi, start + size)
        if first < stop:
            where = slice(first - start, stop - start, None if step == 1 else step)
            found.append((cell, size, where, slice((first - lo) // step, -((lo - stop) // step))))
    return found


def nominal_shape(dims: Sequence[Cells]) -> tuple[int, ...]:
    """The shape of the largest cells."""
    return tuple(cells.widest if isinstance(cells, Edges) else cells for cells in dims)


def common_shape(dims: Sequence[Cells]) -> tuple[int, ...]:
    """What divides the shapes of all cells."""
    return tuple(cells.divisor if isinstance(cells, Edges) else cells for cells in dims)


def parse_rectilinear(settings: Fields, shape: tuple[int, ...]) -> tuple[Cells, ...]:
    """The cells per dimension of a ``rectilinear`` chunk grid, as far as the array reaches.

    Rule: zarr-extensions, chunk-grids/rectilinear. ``FormatError`` names the key.

    >>> where = Fields({"kind": "inline", "chunk_shapes": [4, [[4, 2]], [1, [3, 2]]]}, "zarr.json")
    >>> parse_rectilinear(where, (6, 8, 5))
    (4, 4, Edges(count=3, extent=7))
    """
    settings.choice("kind", ("inline",), "")
    stated = settings.items("chunk_shapes")
    if len(stated) != len(shape):
        raise settings.wrong("chunk_shapes", f"{len(shape)} entries, one per dimension")
    where = settings.at("chunk_shapes")
    return tuple(
        _parse_cells(value, extent, f"{where}[{d}]")
        for d, (value, extent) in enumerate(zip(stated, shape, strict=True))
    )


def _parse_cells(value: Any, extent: int, where: str) -> Cells:
    if not isinstance(value, list):
        return _positive(value, where)
    sizes, counts = _parse_runs(value, where)
    if not extent:
        return int(sizes[0]) if sizes.size else 1
    # Cells behind the array mean nothing, and their positions need not fit into 64 bits. Here all
    # terms are below 2^63 and all sums right up to the first that reaches the extent.
    counts = np.minimum(counts, -(-extent // sizes))
    reached = np.cumsum(np.minimum(sizes, extent) * counts, dtype=np.uint64)
    enough = np.flatnonzero(reached >= extent)
    if not enough.size:
        total = int(reached[-1]) if reached.size else 0
        raise FormatError(f"{where}: expected sizes that add up to {extent} or more, found {total}")
    last = int(enough[0])
    before = int(reached[last - 1]) if last else 0
    counts[last] = -((before - extent) // int(sizes[last]))
    edges = Edges(sizes[: last + 1], counts[: last + 1])
    return edges if edges.runs > 1 else edges.widest


def _parse_runs(value: list[Any], where: str) -> tuple[np.ndarray, np.ndarray]:
    """Sizes, and how often each of them is repeated."""
    if all(type(item) is int and 0 < item < MAX_EXTENT for item in value):
        sizes = np.array(value, np.int64)
        return sizes, np.ones_like(sizes)
    runs = np.array([_parse_run(item, f"{where}[{i}]") for i, item in enumerate(value)], np.int64)
    return runs[:, 0], runs[:, 1]


def _parse_run(item: Any, where: str) -> tuple[int, int]:
    size, count = item if isinstance(item, list) and len(item) == 2 else (item, 1)
    if type(size) is type(count) is int and 0 < size < MAX_EXTENT and 0 < count < MAX_EXTENT:
        return size, count
    raise FormatError(
        f"{where}: expected a positive size or a list of a size and a count, found {describe(item)}"
    )


def _positive(value: Any, where: str) -> int:
    if type(value) is not int or not 0 < value < MAX_EXTENT:
        raise FormatError(
            f"{where}: expected a positive integer below 2^62 or a list of sizes, found "
            f"{describe(value)}"
        )
    return value
