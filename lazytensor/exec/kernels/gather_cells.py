"""Which elements of which cells a gather wants, and the compiled consumer that picks them.

What is looked up together is a list of points. Points are put in the order of the cells they lie
in, each with the byte offsets of its element in the cell and in the result: all that is left to do
for a cell, once it is decoded, is copying (``native.kernels.gather``). Sorting is one pass of
compiled code where cells are of one size and not far more than points, and NumPy's otherwise, with
the same result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lazytensor.errors import OutOfBoundsError
from lazytensor.exec.kernels.consumer import CompiledConsumer
from lazytensor.native import Kernel
from lazytensor.native.addresses import address_of, address_of_words
from lazytensor.native.kernels import gather_block as block
from lazytensor.native.streaming import is_streamed
from lazytensor.plan.grid import DimGrid

__all__ = ["Along", "Entries", "GatherConsumer", "Groups", "entries_of", "group_points"]

_MOST_CODE = 1 << 62
_ROOM = 1 << 12
"""Cells that are counted one by one however few points there are."""


class Along(NamedTuple):
    """Positions of points along one dim, from zero: ``values * factor + shift``.

    ``values``: int64, flat. ``cells``: how the dim is cut, None if it is not.
    """

    values: np.ndarray
    factor: int
    shift: int
    cells: DimGrid | None
    extent: int

    def positions(self) -> np.ndarray:
        """All of them; ``values`` itself where nothing is to be done."""
        found = self.values
        if self.factor != 1:
            found = found * self.factor
        return found + self.shift if self.shift else found

    def bounds(self) -> tuple[int, int]:
        """The lowest and the highest; ``OutOfBoundsError`` if they are not in the dim."""
        ends = [
            int(end) * self.factor + self.shift for end in (self.values.min(), self.values.max())
        ]
        low, high = min(ends), max(ends)
        if low < 0 or high >= self.extent:
            raise OutOfBoundsError(
                f"a gather leads to positions {low} to {high} of a dim of extent {self.extent}"
            )
        return low, high

    def cell_numbers(self) -> np.ndarray:
        """The cell that each position lies in."""
        if self.cells is None:
            return np.zeros(self.values.shape, np.int64)
        return np.asarray(self.cells.cells_of(self.positions()))


class Groups(NamedTuple):
    """Points by cell: ``order`` has their numbers, ascending in each; ``first`` the place in it of
    the first point of each group, and the end; ``cells`` the cell of each group along each dim."""

    order: np.ndarray
    first: np.ndarray
    cells: np.ndarray


def group_points(dims: Sequence[Along]) -> Groups:
    """Points by the cell they lie in, cells in C order.

    >>> along = Along(np.array([5, 0, 4, 1]), 1, 0, DimGrid.regular(6, 3), 6)
    >>> groups = group_points([along])
    >>> groups.order, groups.first, groups.cells.ravel()
    (array([1, 3, 0, 2]), array([0, 2, 4]), array([0, 1]))
    """
    cells = np.stack([dim.cell_numbers() for dim in dims])
    lowest = cells.min(axis=1)
    widths = [int(n) for n in cells.max(axis=1) - lowest + 1]
    if math.prod(widths) < _MOST_CODE:
        code = cells[0] - lowest[0]
        for row, low, width in zip(cells[1:], lowest[1:], widths[1:], strict=True):
            code = code * width + (row - low)
        order = _stable_order(code, math.prod(widths))
        ordered = code[order]
        new = ordered[1:] != ordered[:-1]
    else:
        order = np.lexsort(cells[::-1])
        many = cells[:, order]
        new = np.any(many[:, 1:] != many[:, :-1], axis=0)
    first = np.concatenate(([0], np.flatnonzero(new) + 1, [len(order)]))
    return Groups(order, first, cells[:, order[first[:-1]]].T)


def _stable_order(code: np.ndarray, most: int) -> np.ndarray:
    """``argsort``, in linear time where NumPy has that: of two bytes."""
    if (code[1:] >= code[:-1]).all():
        return np.arange(len(code))
    if most <= 1 << 16:
        code = code.astype(np.uint16)
    return np.argsort(code, kind="stable")


class Entries(NamedTuple):
    """What is wanted of cells, group by group.

    ``dims``: of the source. ``first``: number of the first entry of each group, and of the end.
    ``offsets``, ``places``: of each entry, its byte offset from the first wanted element of the
    cell, and in the result. ``nbytes``: how many bytes it has, None if each is one element.
    ``cells``: (groups, dims), ``hulls``: (groups, dims, 2), first and last position wanted.
    """

    dims: tuple[int, ...]
    first: np.ndarray
    offsets: np.ndarray
    places: np.ndarray
    nbytes: np.ndarray | None
    cells: np.ndarray
    hulls: np.ndarray

    def in_runs(self, item: int) -> Entries:
        """With elements that lie side by side in both as one entry, if that is worth it."""
        if self.nbytes is not None or len(self.offsets) < 2:
            return self
        new = np.diff(self.offsets) != item
        new |= np.diff(self.places) != item
        starts = np.zeros(len(self.offsets), np.bool_)
        starts[1:] = new
        starts[self.first[:-1]] = True
        begins = np.flatnonzero(starts)
        if 2 * len(begins) > len(self.offsets):
            return self
        nbytes = np.diff(begins, append=len(self.offsets)) * item
        first = np.searchsorted(begins, self.first)
        return self._replace(
            first=first, offsets=self.offsets[begins], places=self.places[begins], nbytes=nbytes
        )

    def of_whole_cells(self, sizes: Sequence[int], strides: Sequence[int]) -> Entries:
        """With offsets from where cells of these sizes begin, and all of these as what is wanted.

        ``sizes``, ``strides``: of all dims of the source.
        """
        mine = list(self.dims)
        extents = np.array(sizes)[mine]
        begins = self.cells * extents
        moved = ((self.hulls[:, :, 0] - begins) * np.array(strides)[mine]).sum(axis=1)
        offsets = self.offsets + moved.repeat(np.diff(self.first))
        hulls = np.stack((begins, begins + extents - 1), axis=2)
        return self._replace(offsets=offsets, hulls=hulls)

    def of_rows(self, nbytes: int) -> Entries:
        """With rows of so many bytes as elements, in runs if that is worth it."""
        found = self.in_runs(nbytes)
        if found.nbytes is None:
            found = found._replace(nbytes=np.full(len(found.offsets), nbytes))
        return found


def entries_of(
    numbers: tuple[int, ...],
    dims: Sequence[Along],
    strides: Sequence[int],
    places: np.ndarray | int,
    run: Kernel | None = None,
) -> Entries:
    """The entries of a list of points, none of which may be outside the dims.

    ``numbers``: of the dims in the source; ``strides``: bytes from one element of a cell to the
    next. ``places``: the byte offset of each point in the result, or from one to the next. ``run``:
    the kernel ``gather_sort``; the result is the same without.

    >>> along = Along(np.array([5, 0, 4, 1]), 1, 0, DimGrid.regular(6, 3), 6)
    >>> found = entries_of((0,), [along], (8,), 8)
    >>> found.offsets, found.places
    (array([0, 8, 8, 0]), array([ 8, 24,  0, 16]))
    """
    bounds = [dim.bounds() for dim in dims]
    if all(dim.cells is None for dim in dims):
        return _in_one_cell(numbers, dims, strides, places, bounds)
    if run is not None:
        found = _sorted_compiled(numbers, dims, strides, places, bounds, run)
        if found is not None:
            return found
    order, first, cells = group_points(dims)
    sorted_positions = [dim.positions()[order] for dim in dims]
    begins = first[:-1]
    hulls = np.empty((len(begins), len(dims), 2), np.int64)
    offsets = np.zeros(len(order), np.int64)
    sizes = np.diff(first)
    for d, (at, stride) in enumerate(zip(sorted_positions, strides, strict=True)):
        hulls[:, d, 0] = np.minimum.reduceat(at, begins)
        hulls[:, d, 1] = np.maximum.reduceat(at, begins)
        offsets += (at - hulls[:, d, 0].repeat(sizes)) * stride
    where = order * places if isinstance(places, int) else places[order]
    return Entries(numbers, first, offsets, where, None, cells, hulls)


def _in_one_cell(
    numbers: tuple[int, ...],
    dims: Sequence[Along],
    strides: Sequence[int],
    places: np.ndarray | int,
    bounds: Sequence[tuple[int, int]],
) -> Entries:
    """The same of what is not cut, where points stay in their order."""
    n = len(dims[0].values)
    offsets = np.zeros(n, np.int64)
    shift = 0
    for dim, (low, _), stride in zip(dims, bounds, strides, strict=True):
        offsets += dim.values if dim.factor * stride == 1 else dim.values * (dim.factor * stride)
        shift += (dim.shift - low) * stride
    offsets += shift
    where = np.arange(0, n * places, places) if isinstance(places, int) else places
    hulls = np.array([bounds], np.int64)
    return Entries(
        numbers, np.array([0, n]), offsets, where, None, np.zeros((1, len(dims)), np.int64), hulls
    )


def _sorted_compiled(
    numbers: tuple[int, ...],
    dims: Sequence[Along],
    strides: Sequence[int],
    places: np.ndarray | int,
    bounds: Sequence[tuple[int, int]],
    run: Kernel,
) -> Entries | None:
    """The same by compiled code; None for odd cells, and where most are empty."""
    n, rank = len(dims[0].values), len(dims)
    table: list[int] = []
    lows: list[int] = []
    widths: list[int] = []
    for dim, (low, high) in zip(dims, bounds, strict=True):
        size = dim.extent
        if dim.cells is not None:
            if dim.cells.edges is not None or dim.cells.step != 1 or dim.cells.start:
                return None
            size = dim.cells.chunk
        lows.append(low // size)
        widths.append(high // size - low // size + 1)
        log = size.bit_length() - 1 if size & (size - 1) == 0 else -1
        table += [address_of(dim.values), dim.factor, dim.shift, size, log, lows[-1], 0, 0]
    cells = math.prod(widths)
    if cells > n + _ROOM:
        return None
    for d, stride in enumerate(strides):
        at = block.SORT_WORDS * d
        table[at + block.WEIGHT], table[at + block.STRIDE] = math.prod(widths[d + 1 :]), stride
    codes = np.empty(n, np.uint32)
    starts = np.empty(cells + 1, np.int64)
    offsets, where, far = np.empty((3, n), np.int64)
    hulls, corners = np.empty((cells, rank, 2), np.int64), np.empty(cells, np.int64)
    given, step = (0, places) if isinstance(places, int) else (address_of(places), 0)
    written = [address_of_words(array) for array in (offsets, where)]
    words = np.array(
        (
            n, rank, address_of_words(codes), address_of_words(starts), *written, given, step,
            address_of_words(hulls), address_of_words(corners), cells,
            address_of_words(far), *table,
        ), np.int64,
    )  # fmt: skip
    run(address_of_words(words))
    full = np.flatnonzero(starts[1:] != starts[:-1])
    found = np.stack(np.unravel_index(full, widths), axis=1) + np.array(lows)
    return Entries(numbers, np.append(starts[full], n), offsets, where, None, found, hulls[full])


class GatherConsumer(CompiledConsumer):
    """Copies what is wanted of each cell into ``out``.

    ``parts``: outermost first. ``strides``: bytes between the elements of a decoded cell. The
    position of a cell says the number of its group, ``gather_block.PLACE_BITS`` up.
    """

    __slots__ = ("_layout",)

    def __init__(
        self, run: Kernel, parts: Sequence[Entries], out: np.ndarray, strides: Sequence[int]
    ) -> None:
        tables = [
            [np.ascontiguousarray(t, np.int64) for t in (part.first, part.offsets, part.places)]
            for part in parts
        ]
        sizes = [None if part.nbytes is None else part.nbytes for part in parts]
        words = [len(parts), out.itemsize, address_of(out)]
        for part, some, nbytes in zip(parts, tables, sizes, strict=True):
            words += [part.dims[0], *map(address_of, some)]
            words.append(0 if nbytes is None else address_of(nbytes))
        block_of_words = np.array(words, np.int64)
        rank = len(strides)
        streamed = parts[-1].nbytes is not None and is_streamed(out)
        super().__init__(
            run, block_of_words, out, (0,) * rank, streamed=streamed, keep=(tables, sizes)
        )
        self._layout = tuple(strides)

    def take(self, values: np.ndarray, position: Sequence[int]) -> None:
        """Take a cell, or what is wanted of it, laid out in any way."""
        if values.strides == self._layout:
            super().take(values, position)
            return
        reach = values.itemsize + sum(
            [(n - 1) * abs(s) for n, s in zip(values.shape, self._layout, strict=True)]
        )
        memory = np.empty(reach, np.uint8)
        same: np.ndarray = np.ndarray(values.shape, values.dtype, memory, 0, self._layout)
        same[...] = values
        super().take(same, position)
