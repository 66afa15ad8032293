"""How an engine goes about contractions: which are cut into panels, and what is kept for them.

If blocks of a product are computed each on its own, either input is read as often as the other is
cut. Two things keep that from happening. A long contraction becomes a sum over panels (see
``exec.demand_contract``), each of which is multiplied out once, for the whole result where that is
of moderate size. And of a short one with a large result, inputs that are small enough are computed
first and kept.

Both depend on the plan and the room there is, never on threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lazytensor.exec.demand_contract import Panels, Stretches
from lazytensor.plan.grid import DimGrid
from lazytensor.plan.node import Node, rebuild, walk, walk_all
from lazytensor.plan.nodes import Cast, Constant, Reduce, scan_below
from lazytensor.plan.nodes_contract import Contract

__all__ = ["kept_inputs", "with_panels"]

_PANEL = 4 << 20
"""Bytes of both inputs in a panel: about half of what a task moves, the other half is products."""

_DEEP = 4096
"""How many products are worth adding up before the next panel, at least."""

_SHORT = 16 << 20
"""Bytes of both inputs for one cell of the result that a task may as well hold whole."""

_RESULT = 1 << 20
"""Elements of the result that a panel is multiplied out for at once; tasks hold states of these."""

_FEW = 64
_SMALL = 32 << 20
_SMALL_BLOCK, _BLOCK = 1 << 20, 8 << 20
"""Blocks of the result along an input that is or is not ``_SMALL``: beyond that it may be needed
more than once, and a small one is kept rather than a large one."""


def with_panels(roots: Sequence[Node]) -> list[Node]:
    """The plans with long contractions as sums over panels."""
    found: dict[Node, Node] = {}
    for node in walk_all(roots):
        if isinstance(node, Contract) and _is_long(node):
            found[node] = _sum_of_panels(node)
    return [_rebuilt(root, found) for root in roots] if found else list(roots)


def _rebuilt(root: Node, found: dict[Node, Node]) -> Node:
    """The plan with contractions exchanged, also below one another."""
    out: dict[Node, Node] = {}
    for node in walk(root):
        inputs = tuple([out[x] for x in node.inputs])
        if node in found:
            out[node] = rebuild(found[node], dict(zip(node.inputs, inputs, strict=True)))
        else:
            out[node] = node if inputs == node.inputs else node.with_inputs(inputs)
    return out[root]


def _is_long(node: Contract) -> bool:
    """True if whole rows and columns for one cell of the result are more than a task may hold."""
    if not node.size or not node.summed1:
        return False
    lines = _lines(node.x1, node.batch1, node.free1) + _lines(node.x2, node.batch2, node.free2)
    return lines * _depth(node) * node.dtype.itemsize > _SHORT


def _depth(node: Contract) -> int:
    """How many products each element of the result adds up."""
    return math.prod([node.x1.shape[d] for d in node.summed1])


def _lines(x: Node, batch: tuple[int, ...], free: tuple[int, ...]) -> int:
    """Rows (columns) of an input that a cell of the result takes; some where there are none."""
    cells = [_cell(x, d, 1) for d in batch]
    cells += [_cell(x, d, _FEW) for d in free]
    return math.prod(cells)


def _cell(x: Node, d: int, otherwise: int) -> int:
    cells, n = x.grid[d], x.shape[d]
    return min(n, otherwise if cells is None or cells.free else cells.nominal)


def _sum_of_panels(node: Contract) -> Node:
    sizes = _result_sizes(node)
    panels = Panels(node, _cuts(node, sizes), sizes)
    axes = tuple(range(len(panels.cuts)))
    if node.dtype == np.bool_:
        return Reduce("any", panels, axes, False, ())
    total = Reduce("sum", panels, axes, False, ())
    return total if total.dtype == node.dtype else Cast(total, node.dtype)


def _result_sizes(node: Contract) -> tuple[int, ...]:
    """Cells of the result for panels: all of it, or as few as can be.

    Cutting a batch dim costs nothing. Of the others the longest is halved first, for then inputs
    are multiplied out again for as few cells as can be.
    """
    sizes = list(node.shape)
    batch = len(node.batch1)
    least = [_cell(node, d, 1) for d in range(node.ndim)]
    lines = _PANEL // (node.dtype.itemsize * min(_depth(node), _DEEP))
    for d in range(batch):
        while sizes[d] > least[d] and _edges(node, sizes) > lines:
            sizes[d] = _halved(sizes[d], least[d])
    while math.prod(sizes) > _RESULT:
        longest = max(range(batch, node.ndim), key=sizes.__getitem__, default=0)
        if sizes[longest] <= least[longest]:
            break
        sizes[longest] = _halved(sizes[longest], least[longest])
    return tuple(sizes)


def _edges(node: Contract, sizes: Sequence[int]) -> int:
    """Rows and columns of a cell of the result."""
    batch, ends = len(node.batch1), len(node.batch1) + len(node.free1)
    return math.prod(sizes[:batch]) * (math.prod(sizes[batch:ends]) + math.prod(sizes[ends:]))


def _halved(size: int, cell: int) -> int:
    """About half of ``size``, in whole cells."""
    return -(-size // (2 * cell)) * cell


def _cuts(node: Contract, sizes: tuple[int, ...]) -> tuple[Stretches, ...]:
    """Panels of about ``_PANEL`` bytes for a cell of the result, inner dims whole first."""
    room = max(_FEW, _PANEL // (_edges(node, sizes) * node.dtype.itemsize))
    out = []
    for d, e in zip(reversed(node.summed1), reversed(node.summed2), strict=True):
        cut = _stretches(_cells(node.x1, d, node.x2, e), node.x1.shape[d], room)
        room = max(1, room // cut.size)
        out.append(cut)
    return tuple(out[::-1])


def _cells(x1: Node, d: int, x2: Node, e: int) -> DimGrid | None:
    """Read cells of a pair of summed dims: those of the input with most bytes that has any."""
    ranked = [x1.grid[d], x2.grid[e]] if x1.nbytes >= x2.nbytes else [x2.grid[e], x1.grid[d]]
    return next((cells for cells in ranked if cells is not None and not cells.free), None)


def _stretches(cells: DimGrid | None, extent: int, room: int) -> Stretches:
    """Stretches of about ``room`` positions that end where cells do."""
    if cells is None:
        return Stretches(extent, max(1, min(extent, room)), 0)
    cell = cells.nominal
    first = cells.edges_between(0, min(extent, 2 * cell))[1]
    size = max(1, room // cell) * cell
    return Stretches(extent, min(extent, size), first if first < min(extent, cell) else 0)


def kept_inputs(roots: Sequence[Node], room: int) -> frozenset[Node]:
    """Inputs of contractions to compute first and keep, in ``room`` bytes together."""
    kept: set[Node] = set()
    for node in walk_all(roots):
        if isinstance(node, Contract):
            again = [x for x in _read_again(node) if x not in kept]
            for x in sorted(again, key=lambda x: x.nbytes):
                if x.nbytes <= room:
                    room -= x.nbytes
                    kept.add(x)
    return frozenset(kept)


def _read_again(node: Contract) -> list[Node]:
    """Inputs that several blocks of the result need the same part of."""
    sides = (
        (node.x1, node.batch1, node.free1, node.x2, node.free2),
        (node.x2, node.batch2, node.free2, node.x1, node.free1),
    )
    out = []
    for x, batch, free, other, across in sides:
        block = math.prod([other.shape[d] for d in across]) * _lines(x, batch, free)
        most = _SMALL_BLOCK if x.nbytes <= _SMALL else _BLOCK
        if block * node.dtype.itemsize > most and _is_made(x):
            out.append(x)
    return out


def _is_made(x: Node) -> bool:
    """True for what is read or computed, and not in memory anyway."""
    scan = scan_below(x)
    return not isinstance(x, Constant) and (scan is None or scan.source.array is None)
