"""The node kinds that look along one axis, and those that look values up in a table.

Sorting and gathering need their axis whole: it is one cell of their result, so that blocks are cut
along the other dims. A cumulative operation along a long axis is done in two passes instead: the
totals of blocks of the axis (``BlockTotals``) are added up to the *carries* of the blocks, after
which every block can be worked on by itself. The pieces are nodes like all others, so engines know
nothing of passes; which inputs they compute first and keep is said by ``tables_of``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from lazytensor.errors import DTypeError, ShapeError
from lazytensor.plan.align import describe_shape, merge_domains
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.grid import DimGrid
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Constant, scan_below
from lazytensor.plan.ops_scan import CUMULATIONS
from lazytensor.plan.promote import is_extended
from lazytensor.plan.spec import Axis

__all__ = [
    "SEARCHES",
    "BlockTotals",
    "Cumulate",
    "Gather",
    "Lookup",
    "Search",
    "Sort",
    "cumulate",
    "lookup_size",
    "tables_of",
]

_INT64 = np.dtype(np.int64)
_BOOL = np.dtype(np.bool_)

_WHOLE_AXIS = 64 << 20
"""Bytes of accumulators up to which an axis is worked on whole: one pass reads everything once."""

_BLOCK = 8 << 20
"""Bytes of accumulators in a block of a longer axis, about."""

SEARCHES = {"left": _INT64, "right": _INT64, "member": _BOOL}
"""What is asked of a sorted table, and the dtype of the answer: the place before or after equal
values (NumPy's ``searchsorted``), or whether the value is there."""


_Grid = tuple[DimGrid | None, ...]


def _with_axis(grid: _Grid, axis: int, cells: DimGrid) -> _Grid:
    return (*grid[:axis], cells, *grid[axis + 1 :])


def _plain_axis(axes: tuple[Axis, ...], axis: int) -> tuple[Axis, ...]:
    """Positions along one axis mean no longer what they did: its name and kind are left."""
    plain = Axis(axes[axis].name, axes[axis].kind)
    return (*axes[:axis], plain, *axes[axis + 1 :])


class Cumulate(Node):
    """A row of the table of cumulative operations along one axis.

    ``to``: the dtype asked for, or None. With ``carries`` (accumulated totals of all blocks of
    ``block`` elements but the last), any stretch needs no more of ``x`` than its own blocks.
    """

    __slots__ = ("axis", "block", "carries", "op", "to", "x")
    fields = ("op", "x", "axis", "to", "block", "carries")
    op: str
    x: Node
    axis: int
    to: np.dtype | None
    block: int
    carries: Node | None

    def _prepare(self) -> None:
        dtype = CUMULATIONS[self.op].result_dtype(self.x.dtype, self.to)
        inputs = (self.x,) if self.carries is None else (self.x, self.carries)
        self._set(inputs, self.x.domain, dtype)

    @property
    def models(self) -> tuple[Node, ...]:
        return (self.x,)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        carries = inputs[1] if len(inputs) > 1 else None
        return Cumulate(self.op, inputs[0], self.axis, self.to, self.block, carries)

    def _derive_axes(self) -> tuple[Axis, ...]:
        return self.x.axes

    def _derive_grid(self) -> _Grid:
        extent = self.shape[self.axis]
        cell = extent if self.carries is None else self.block
        return _with_axis(self.x.grid, self.axis, DimGrid.regular(extent, cell))


class BlockTotals(Node):
    """What a cumulative operation comes to over each block of an axis, the last block left out.

    In the accumulator's dtype; blocks count from 0.
    """

    __slots__ = ("axis", "block", "op", "to", "x")
    fields = ("op", "x", "axis", "to", "block")
    op: str
    x: Node
    axis: int
    to: np.dtype | None
    block: int

    def _prepare(self) -> None:
        row = CUMULATIONS[self.op]
        dtype = row.accumulator(row.result_dtype(self.x.dtype, self.to))
        base = self.x.domain
        count = max(0, self.x.shape[self.axis] - 1) // self.block
        lo, hi = list(base.inclusive_min), list(base.exclusive_max)
        lo[self.axis], hi[self.axis] = 0, count
        self._set((self.x,), IndexDomain._make(tuple(lo), tuple(hi), base.labels), dtype)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return BlockTotals(self.op, inputs[0], self.axis, self.to, self.block)

    def _derive_axes(self) -> tuple[Axis, ...]:
        return _plain_axis(self.x.axes, self.axis)

    def _derive_grid(self) -> _Grid:
        cells = DimGrid.regular(self.shape[self.axis], 1)
        return _with_axis(self.x.grid, self.axis, cells)


def cumulate(op: str, x: Node, axis: int, to: np.dtype | None = None) -> Cumulate:
    """The cumulative operation, with carries where the axis is too long to be held.

    >>> from lazytensor.plan.memory import array_node
    >>> cumulate("cumulative_sum", array_node(np.zeros((2, 3))), 1)
    <Cumulate (2, 3) float64>
    """
    row = CUMULATIONS[op]
    result = row.result_dtype(x.dtype, to)
    to = None if result == row.result_dtype(x.dtype) else to
    block = _block_of(x, axis, row.accumulator(result).itemsize)
    if not block or not row.streams(result):
        return Cumulate(op, x, axis, to, 0, None)
    totals = BlockTotals(op, x, axis, to, block)
    return Cumulate(op, x, axis, to, block, Cumulate(op, totals, axis, None, 0, None))


def _block_of(x: Node, axis: int, itemsize: int) -> int:
    """Elements of a block along the axis, in whole read cells; 0 where the axis is held whole."""
    slab = itemsize
    for d, (n, cells) in enumerate(zip(x.shape, x.grid, strict=True)):
        if d != axis:
            slab *= n if cells is None else 1 if cells.free else min(n, cells.nominal)
    if slab * x.shape[axis] <= _WHOLE_AXIS:
        return 0
    cells = x.grid[axis]
    cell = 1 if cells is None or cells.free else cells.nominal
    block = max(1, _BLOCK // max(1, slab * cell)) * cell
    return block if 2 * block <= x.shape[axis] else 0


_SORTED_KINDS = "biufcmMSUT"


class Sort(Node):
    """Values in ascending order along one axis, NaN last; or, with ``indices``, their positions.

    ``descending`` is the order of ascending sorting reversed, NaN first. Ties (zeros of both
    signs, too) keep the order they came in either way.
    """

    __slots__ = ("axis", "descending", "indices", "x")
    fields = ("x", "axis", "descending", "indices")
    x: Node
    axis: int
    descending: bool
    indices: bool

    def _prepare(self) -> None:
        dtype = self.x.dtype
        if dtype.kind not in _SORTED_KINDS and not is_extended(dtype):
            raise DTypeError(f"{dtype} has no order to sort by; sort one field of it")
        self._set((self.x,), self.x.domain, _INT64 if self.indices else dtype)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return Sort(inputs[0], self.axis, self.descending, self.indices)

    def _derive_axes(self) -> tuple[Axis, ...]:
        return _plain_axis(self.x.axes, self.axis)

    def _derive_grid(self) -> _Grid:
        extent = self.shape[self.axis]
        return _with_axis(self.x.grid, self.axis, DimGrid.regular(extent, extent))


class Gather(Node):
    """Values of ``x`` at ``indices`` (positions) along one axis: NumPy's ``take_along_axis``.

    Both have as many dims, and broadcast against each other along all but the axis. Negative
    indices count from the end; others outside the axis are an error when they are met.
    """

    __slots__ = ("axis", "indices", "x")
    fields = ("x", "indices", "axis")
    x: Node
    indices: Node
    axis: int

    def _prepare(self) -> None:
        x, indices, axis = self.x.domain, self.indices.domain, self.axis
        if self.indices.dtype.kind not in "iu":
            raise DTypeError(f"indices must be integers, not {self.indices.dtype}")
        if x.rank != indices.rank:
            raise ShapeError(
                f"indices {describe_shape(indices)} must have as many dims as {describe_shape(x)}"
            )
        # Along the axis the indices alone have a say.
        lo, hi = list(x.inclusive_min), list(x.exclusive_max)
        lo[axis], hi[axis] = indices.inclusive_min[axis], indices.exclusive_max[axis]
        like = IndexDomain._make(tuple(lo), tuple(hi), x.labels)
        self._set((self.x, self.indices), merge_domains((indices, like)), self.x.dtype)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return Gather(inputs[0], inputs[1], self.axis)

    def _derive_axes(self) -> tuple[Axis, ...]:
        out = []
        for d, (a, b) in enumerate(zip(self.x.axes, self.indices.axes, strict=True)):
            whole = d != self.axis and self.x.shape[d] == self.shape[d]
            axis = a if whole else Axis(a.name, a.kind) if d == self.axis else b
            out.append(replace(axis, name=self.domain.labels[d]))
        return tuple(out)

    def _derive_grid(self) -> _Grid:
        grid: list[DimGrid | None] = []
        for d, (a, b) in enumerate(zip(self.x.grid, self.indices.grid, strict=True)):
            grid.append(a if self.x.shape[d] == self.shape[d] else b)
        extent = self.shape[self.axis]
        # Of one dim, ``x`` is kept whole (``tables_of``), and any stretch can be looked up in it.
        alone = self.ndim == 1
        cells = self.indices.grid[self.axis] if alone else DimGrid.regular(extent, extent)
        grid[self.axis] = cells
        return tuple(grid)


def lookup_size(dtype: np.dtype) -> int:
    """How many bit patterns a dtype of one or two bytes has; 0 for all others.

    >>> lookup_size(np.dtype("i1")), lookup_size(np.dtype("f2")), lookup_size(np.dtype("f4"))
    (256, 65536, 0)
    """
    if dtype.kind == "b":
        return 2
    if dtype.itemsize > 2 or not (dtype.kind in "iuf" or is_extended(dtype)):
        return 0
    return 1 << (8 * dtype.itemsize)


class Lookup(Node):
    """``table[bits of x]``: one value for every bit pattern of an 8 or 16-bit dtype."""

    __slots__ = ("table", "x")
    fields = ("table", "x")
    table: Node
    x: Node

    def _prepare(self) -> None:
        size = lookup_size(self.x.dtype)
        if not size or self.table.shape != (size,):
            raise ShapeError(
                f"a table of {describe_shape(self.table.domain)} has no value for every "
                f"{self.x.dtype}"
            )
        self._set((self.table, self.x), self.x.domain, self.table.dtype)

    @property
    def models(self) -> tuple[Node, ...]:
        return (self.x,)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return Lookup(*inputs)

    def _derive_axes(self) -> tuple[Axis, ...]:
        return self.x.axes

    def _derive_grid(self) -> _Grid:
        return self.x.grid


class Search(Node):
    """What a sorted one-dimensional table says of every value of ``x``; see ``SEARCHES``.

    Both have one dtype.
    """

    __slots__ = ("op", "table", "x")
    fields = ("op", "table", "x")
    op: str
    table: Node
    x: Node

    def _prepare(self) -> None:
        if self.table.ndim != 1:
            raise ShapeError(
                f"what is searched must have one dim, not {describe_shape(self.table.domain)}"
            )
        if self.table.dtype != self.x.dtype:
            raise DTypeError(f"cannot search {self.table.dtype} for {self.x.dtype}")
        self._set((self.table, self.x), self.x.domain, SEARCHES[self.op])

    @property
    def models(self) -> tuple[Node, ...]:
        return (self.x,)

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return Search(self.op, *inputs)

    def _derive_axes(self) -> tuple[Axis, ...]:
        return self.x.axes

    def _derive_grid(self) -> _Grid:
        return self.x.grid


def tables_of(node: Node) -> Node | None:
    """The input that every block of a node needs whole, and that is therefore computed once.

    None for other nodes, and for what lies in memory as it is.
    """
    find = _TABLES.get(type(node))
    table = None if find is None else find(node)
    if table is None or type(table) is Constant:
        return None
    scan = scan_below(table)
    return None if scan is not None and scan.source.array is not None else table


_TABLES: dict[type[Node], Callable[[Any], Node | None]] = {
    Cumulate: lambda node: node.carries,
    Gather: lambda node: node.x if node.ndim == 1 else None,
    Lookup: lambda node: node.table,
    Search: lambda node: node.table,
}
