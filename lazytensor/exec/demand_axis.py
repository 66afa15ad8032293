"""What the nodes along one axis, and those that look values up, need of their inputs.

Their functions for the table in ``exec.demand``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lazytensor.exec.boxes import BoxPlan, aligned_box, whole_box
from lazytensor.plan.node import Node
from lazytensor.plan.nodes_axis import BlockTotals, Cumulate, Gather, Lookup, Search, Sort
from lazytensor.plan.source import Box

__all__ = ["DEMANDS", "block_totals", "cumulate", "gather", "lookup", "search", "sort"]


def _with(box: Box, axis: int, lo: int, hi: int) -> Box:
    return (*box[:axis], (lo, hi), *box[axis + 1 :])


def cumulate(node: Cumulate, box: Box) -> BoxPlan:
    """The blocks that the box lies in, and their carries; without carries all that is before."""
    axis = node.axis
    origin = node.domain.inclusive_min[axis]
    lo, hi = box[axis][0] - origin, box[axis][1] - origin
    if hi <= lo:
        args = (node.op, axis, node.to, 0, 0, 0)
        return BoxPlan("cumulate", args, [(node.x, box)])
    first = 0 if node.carries is None else lo // node.block
    start = first * node.block
    needs = [(node.x, _with(box, axis, origin + start, origin + hi))]
    carried = 0
    if node.carries is not None:
        carried = (hi - 1) // node.block
        if carried:
            # The first block of all has nothing before it.
            needs.append((node.carries, _with(box, axis, max(0, first - 1), carried)))
    return BoxPlan("cumulate", (node.op, axis, node.to, node.block, first, lo - start), needs)


def block_totals(node: BlockTotals, box: Box) -> BoxPlan:
    """The blocks themselves."""
    axis, size = node.axis, node.block
    origin = node.x.domain.inclusive_min[axis]
    lo, hi = box[axis]
    needed = _with(box, axis, origin + lo * size, origin + hi * size)
    return BoxPlan("block_totals", (node.op, axis, node.to, size), [(node.x, needed)])


def sort(node: Sort, box: Box) -> BoxPlan:
    """The axis whole; the step keeps what the box asks for."""
    axis = node.axis
    lo, hi = whole_box(node)[axis]
    part = (box[axis][0] - lo, box[axis][1] - lo)
    args = (axis, node.descending, node.indices, part)
    return BoxPlan("sort", args, [(node.x, _with(box, axis, lo, hi))])


def gather(node: Gather, box: Box) -> BoxPlan:
    """The indices of the box, and the axis of ``x`` whole."""
    axis = node.axis
    aligned = aligned_box(node, node.x, _with(box, axis, *whole_box(node)[axis]))
    needed = _with(aligned, axis, *whole_box(node.x)[axis])
    args = (axis, node.x.shape[axis], _name(node))
    return BoxPlan("take_along", args, [(node.x, needed), (node.indices, _indices(node, box))])


def _indices(node: Gather, box: Box) -> Box:
    """The part of the indices for a box; along the axis they have the node's own coordinates."""
    needed = aligned_box(node, node.indices, box)
    lo = node.indices.domain.inclusive_min[node.axis] - node.domain.inclusive_min[node.axis]
    a, b = box[node.axis]
    return _with(needed, node.axis, a + lo, b + lo)


def _name(node: Gather) -> str:
    label = node.x.domain.labels[node.axis]
    return f"dim {label!r}" if label else f"axis {node.axis}"


def lookup(node: Lookup, box: Box) -> BoxPlan:
    """The whole table."""
    return BoxPlan("lookup", (), [(node.table, whole_box(node.table)), (node.x, box)])


def search(node: Search, box: Box) -> BoxPlan:
    """The whole table."""
    return BoxPlan("search", (node.op,), [(node.table, whole_box(node.table)), (node.x, box)])


DEMANDS: dict[type[Node], Callable[[Any, Box], BoxPlan]] = {
    BlockTotals: block_totals,
    Cumulate: cumulate,
    Gather: gather,
    Lookup: lookup,
    Search: search,
    Sort: sort,
}
"""By kind, as in ``exec.demand``."""
