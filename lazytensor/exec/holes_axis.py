"""Which positions of a result need a hole, for the nodes along one axis and those that look up.

Their part of ``exec.holes``: boolean plans on the node's domain, from those of its inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cast, Constant, Elementwise, Reduce, View
from lazytensor.plan.nodes_axis import BlockTotals, Cumulate, Gather, Lookup, Search, Sort
from lazytensor.plan.nodes_axis import cumulate as cumulate_node
from lazytensor.plan.nodes_quantize import Spread
from lazytensor.plan.output_map import constant_map, single_map

__all__ = ["AXIS_MARKS"]

_INT64 = np.dtype(np.int64)


def _cumulate(node: Cumulate, marks: Sequence[Node]) -> Node:
    """From the first hole on. Carries are made of elements that stand before anyway."""
    count = cumulate_node("cumulative_sum", Cast(marks[0], _INT64), node.axis)
    return Elementwise("greater", (count, Constant.of(0, _INT64)))


def _block_totals(node: BlockTotals, marks: Sequence[Node]) -> Node:
    """Whoever has carries has the elements too, and they are asked."""
    return View(Constant.of(False, np.dtype(np.bool_)), IndexTransform._make(node.domain, ()))


def _sort(node: Sort, marks: Sequence[Node]) -> Node:
    return _any_along(marks[0], node.axis, node)


def _gather(node: Gather, marks: Sequence[Node]) -> Node:
    """The axis is read whole, whatever the indices are."""
    x = _any_along(marks[0], node.axis, node)
    lo = node.domain.inclusive_min
    maps = []
    for d, (n, start) in enumerate(
        zip(node.indices.shape, node.indices.domain.inclusive_min, strict=True)
    ):
        repeated = n == 1 and node.shape[d] != 1
        maps.append(constant_map(start) if repeated else single_map(d, start - lo[d], 1))
    indices = View(marks[1], IndexTransform._make(node.domain, tuple(maps)))
    return Elementwise("logical_or", (x, indices))


def _any_along(mark: Node, axis: int, node: Node) -> Node:
    """Whether a lane has a mark, on the domain of the node."""
    lane = Reduce("any", mark, (axis,), True, ())
    lo = node.domain.inclusive_min
    maps = [
        constant_map(start) if n == 1 else single_map(d, start - lo[d], 1)
        for d, (n, start) in enumerate(zip(lane.shape, lane.domain.inclusive_min, strict=True))
    ]
    return View(lane, IndexTransform._make(node.domain, tuple(maps)))


def _table(node: Lookup | Search, marks: Sequence[Node]) -> Node:
    """The table is needed whole."""
    anywhere = Reduce("any", marks[0], (0,), False, ())
    return Elementwise("logical_or", (anywhere, marks[1]))


def _spread(node: Spread, marks: Sequence[Node]) -> Node:
    """The parameter of a group is needed by all of it."""
    return node.with_inputs((marks[0],))


AXIS_MARKS: dict[type[Node], Callable[[Any, Sequence[Node]], Node]] = {
    BlockTotals: _block_totals,
    Cumulate: _cumulate,
    Gather: _gather,
    Lookup: _table,
    Search: _table,
    Sort: _sort,
    Spread: _spread,
}
"""By node kind: from the marks of the inputs to those of the node."""
