"""Nodes of operations along one axis, from checked arguments: scans, sorting, gathering, searching.

What users meet are the functions of the same names in ``functions_axis`` and the methods of a
tensor; both come here.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from lazytensor import build_join, build_pad, build_views
from lazytensor.build import Operand, as_node, on_nodes
from lazytensor.errors import DimensionError, DTypeError, ShapeError
from lazytensor.per_dim import dim_number
from lazytensor.plan.align import describe_shape
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cast
from lazytensor.plan.nodes_axis import Gather, Search, Sort
from lazytensor.plan.nodes_axis import cumulate as cumulate_node
from lazytensor.plan.ops_scan import CUMULATIONS
from lazytensor.plan.output_map import single_map
from lazytensor.plan.promote import common_dtype, is_extended, is_extended_float, weak_type

__all__ = [
    "cumulate",
    "diff",
    "isin",
    "searchsorted",
    "sort",
    "take_along_axis",
]

AxisName = int | str


def _the_axis(node: Node, axis: AxisName, what: str) -> int:
    if node.ndim == 0:
        raise DimensionError(f"{what}: a tensor without dims has no axis; reshape it to one dim")
    return dim_number(node.domain, axis)


def cumulate(op: str, node: Node, axis: AxisName | None, dtype: Any, include_initial: bool) -> Node:
    """See ``functions_axis.cumulative_sum``."""
    row = CUMULATIONS[op]
    if axis is None:
        if node.ndim != 1:
            raise DimensionError(
                f"{op}: {describe_shape(node.domain)} has {node.ndim} dims, say along which: axis="
            )
        axis = 0
    d = _the_axis(node, axis, op)
    asked = None if dtype is None else build_views.as_dtype(dtype)
    result = cumulate_node(op, node, d, asked)
    if not include_initial:
        return result
    widths = [(int(e == d), 0) for e in range(node.ndim)]
    return _counted_from_0(build_pad.pad(result, widths, "constant", row.initial), d)


def _counted_from_0(node: Node, d: int) -> Node:
    """The same positions, those of dim ``d`` with coordinates from 0."""
    base = node.domain
    lo, hi = list(base.inclusive_min), list(base.exclusive_max)
    lo[d], hi[d] = 0, node.shape[d]
    shifts = zip(base.inclusive_min, lo, strict=True)
    maps = [single_map(e, before - after, 1) for e, (before, after) in enumerate(shifts)]
    return build_views.view_maps(node, IndexDomain._make(tuple(lo), tuple(hi), base.labels), maps)


def sort(node: Node, axis: AxisName, descending: bool, indices: bool) -> Node:
    """See ``functions_axis.sort`` and ``functions_axis.argsort``."""
    d = _the_axis(node, axis, "argsort" if indices else "sort")
    return Sort(node, d, bool(descending), indices)


def take_along_axis(node: Node, indices: Node, axis: AxisName) -> Node:
    """See ``functions_axis.take_along_axis``."""
    d = _the_axis(node, axis, "take_along_axis")
    return Gather(node, indices, d)


def diff(node: Node, axis: AxisName, n: int, prepend: Any, append: Any) -> Node:
    """See ``functions_axis.diff``."""
    d = _the_axis(node, axis, "diff")
    try:
        n = operator.index(n)
    except TypeError:
        raise DTypeError(f"diff: n is how many times, a whole number, not {n!r}") from None
    if n < 0:
        raise ShapeError(f"diff: n must not be negative, not {n}")
    if n == 0:
        return node
    parts = [_edge(node, prepend, d, "prepend"), node, _edge(node, append, d, "append")]
    given = [part for part in parts if part is not None]
    whole = given[0] if len(given) == 1 else build_join.concat(given, d, "position", None)
    for _ in range(n):
        extent = whole.shape[d]
        later = build_views.sliced(whole, d, min(1, extent), extent)
        earlier = build_views.sliced(whole, d, 0, max(0, extent - 1))
        name = "not_equal" if whole.dtype.kind == "b" else "subtract"
        whole = on_nodes(name, later, earlier)
    return whole


def _edge(node: Node, values: Any, d: int, what: str) -> Node | None:
    """What ``diff`` puts before or after; a single value stands for a slab of it."""
    if values is None:
        return None
    edge = as_node(values)
    if edge.ndim:
        _check_edge(node, edge, d, what)
        return edge
    if weak_type(type(values)) is not None:
        edge = as_node(_weakly(values, node.dtype))
    shape = (*node.shape[:d], 1, *node.shape[d + 1 :])
    return build_views.broadcast_to(edge, shape)


def _check_edge(node: Node, edge: Node, d: int, what: str) -> None:
    others = [[n for e, n in enumerate(x.shape) if e != d] for x in (node, edge)]
    if edge.ndim != node.ndim or others[0] != others[1]:
        raise ShapeError(
            f"diff: {what} {describe_shape(edge.domain)} does not fit "
            f"{describe_shape(node.domain)}: it takes one value, or the same extents but along "
            f"axis {d}"
        )


def searchsorted(x1: Operand, x2: Operand, side: str, sorter: Operand | None) -> Node:
    """See ``functions_axis.searchsorted``."""
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: side must be 'left' or 'right', not {side!r}")
    table, values = _alike(x1, x2)
    if table.ndim != 1:
        raise ShapeError(f"searchsorted: x1 must have one dim, not {describe_shape(table.domain)}")
    if sorter is not None:
        order = as_node(sorter)
        if order.shape != table.shape:
            raise ShapeError(
                f"searchsorted: sorter {describe_shape(order.domain)} must be as long as x1 "
                f"{describe_shape(table.domain)}"
            )
        table = Gather(table, order, 0)
    return Search(side, table, values)


def isin(x1: Operand, x2: Operand, invert: bool) -> Node:
    """See ``functions_axis.isin``."""
    table, values = _alike(x2, x1)
    flat = build_views.reshape(table, (-1,)) if table.ndim != 1 else table
    found = Search("member", Sort(flat, 0, False, False), values)
    return on_nodes("logical_not", found) if invert else found


def _alike(x1: Operand, x2: Operand) -> tuple[Node, Node]:
    """Both operands in the dtype they are compared in; Python scalars do not raise it."""
    weak1, weak2 = weak_type(type(x1)), weak_type(type(x2))
    if weak1 is not None and weak2 is None:
        b = as_node(x2)
        a = as_node(_weakly(x1, b.dtype))
    elif weak2 is not None and weak1 is None:
        a = as_node(x1)
        b = as_node(_weakly(x2, a.dtype))
    else:
        a, b = as_node(x1), as_node(x2)
    dtype = a.dtype
    if a.dtype != b.dtype:
        dtype = _compared_in(a.dtype, b.dtype)
    if is_extended(dtype):
        # These have no order that NumPy searches right; wider ones hold all their values.
        dtype = np.dtype(np.float32 if is_extended_float(dtype) else np.int8)
    return _as(a, dtype), _as(b, dtype)


def _compared_in(a: np.dtype, b: np.dtype) -> np.dtype:
    """The promoted dtype; NumPy would make strings of numbers that meet them."""
    try:
        dtype = common_dtype((a, b))
    except TypeError:
        dtype = np.dtype(object)
    made = dtype.kind in "SUTO" and not (a.kind in "SUT" and b.kind in "SUT")
    if made:
        raise DTypeError(f"cannot compare {a} with {b}: cast one of them")
    return dtype


def _as(node: Node, dtype: np.dtype) -> Node:
    return node if node.dtype == dtype else Cast(node, dtype)


def _weakly(value: Any, dtype: np.dtype) -> np.ndarray:
    """A Python scalar in the dtype of the tensor it meets, if that can hold its kind and value."""
    plain = np.asarray(value)
    try:
        kept = np.asarray(value, common_dtype((dtype, weak_type(type(value)))))
    except (OverflowError, TypeError):
        return plain
    return kept
