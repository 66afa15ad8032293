"""Laws of reductions of one element, and of tensors that were put together.

A reduction is a pass over its input that ends before anything above it begins, so what a few
operations on single positions can do instead is left to them: they run in the same pass as the
rest. Only for integers and bools, where every order gives the same bits: minimum and maximum of two
floats do not say which zero or which NaN they give.

Parts of a concat along a reduced axis that add nothing new are not looked at: one that is there
already, where a value counts only once, and constants, whose share is known. A concat is not taken
apart otherwise: one pass over all parts is better than a pass for each. Nor does the sum of a sum
become one reduction, although it is one: whoever also wants the inner one (to divide by the total)
would have everything read twice.
"""

from __future__ import annotations

from math import prod

import numpy as np

from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cast, Constant, Elementwise, Reduce, View
from lazytensor.plan.nodes_join import Join
from lazytensor.plan.output_map import constant_map, single_map
from lazytensor.plan.rules.law import law
from lazytensor.plan.rules.moves import settled

__all__ = [
    "add_up_stack",
    "constants_apart",
    "parts_count_once",
    "reduce_of_one_element",
]

_MOST_LAYERS = 8
"""A chain of operations holds the blocks of all its operands at once, a reduction only two."""

_TWINS = {
    "all": "logical_and",
    "any": "logical_or",
    "count_nonzero": "add",
    "max": "maximum",
    "min": "minimum",
    "prod": "multiply",
    "sum": "add",
}
"""What two elements are reduced by."""

_ONCE = frozenset({"all", "any", "max", "min"})
"""Reductions in which it makes no difference how often a value is there."""

_TRUTH = frozenset({"all", "any", "count_nonzero"})
_BOOL = np.dtype(np.bool_)


def _as_element(x: Node, reduce: Reduce) -> Node | None:
    """``x`` such that a lone element is its own reduction; None where it would be rounded."""
    op = reduce.op
    if op not in _TWINS:
        return None
    if op in _TRUTH:
        if x.dtype.kind not in "biufc":
            return None
        truth = x if x.dtype == _BOOL else Cast(x, _BOOL)
        return truth if reduce.dtype == _BOOL else Cast(truth, reduce.dtype)
    if x.dtype.kind not in "biu" or reduce.dtype.kind not in "biu":
        return None
    return x if x.dtype == reduce.dtype else Cast(x, reduce.dtype)


@law(Reduce, flag="reduction_pushdown")
def reduce_of_one_element(reduce: Reduce) -> Node | None:
    """max(x, axis) = x[0], where the axis has one position; the sum of an integer is a cast"""
    x = reduce.x
    shape = x.shape
    for axis in reduce.axes_:
        if shape[axis] != 1:
            return None
    itself = x.dtype.kind == "f" and reduce.op in ("max", "min")
    element = x if itself else _as_element(x, reduce)
    if element is None:
        return None
    kept, lo = reduce.result_dims(), x.domain.inclusive_min
    maps = [single_map(kept[d], 0, 1) if d in kept else constant_map(lo[d]) for d in range(x.ndim)]
    return View(element, IndexTransform._make(reduce.domain, tuple(maps)))


@law(Reduce, flag="reduction_pushdown")
def add_up_stack(reduce: Reduce) -> Node | None:
    """sum(stack([x, y]), axis) = x + y, of integers in the dtype of the sum; so min, max, any"""
    join = reduce.x
    if type(join) is not Join or not join.new or reduce.axes_ != (join.axis,):
        return None
    if len(join.inputs) > _MOST_LAYERS:
        return None
    operands = []
    for x in join.inputs:
        element = _as_element(x, reduce)
        if element is None:
            return None
        operands.append(element)
    total = operands[0]
    for element in operands[1:]:
        total = Elementwise(_TWINS[reduce.op], (total, element))
    if total.dtype != reduce.dtype:
        return None
    return (
        _with_unit(total, join.axis, reduce.domain)
        if reduce.keepdims
        else settled(total, reduce.domain)
    )


def _with_unit(x: Node, axis: int, domain: IndexDomain) -> Node:
    """``x`` on ``domain``, which has one more dim, of extent 1, at ``axis``."""
    maps = []
    for d, lo in enumerate(x.domain.inclusive_min):
        place = d + (d >= axis)
        maps.append(single_map(place, lo - domain.inclusive_min[place], 1))
    return View(x, IndexTransform._make(domain, tuple(maps)))


def _joined_axis(reduce: Reduce) -> int | None:
    """The axis along which the input was joined, if the reduction runs along it."""
    join = reduce.x
    return join.axis if type(join) is Join and join.axis in reduce.axes_ else None


@law(Reduce, flag="reduction_pushdown")
def parts_count_once(reduce: Reduce) -> Node | None:
    """max(concat([x, x, y])) = max(concat([x, y])), and one row is enough of a constant part"""
    axis = _joined_axis(reduce)
    if axis is None or reduce.op not in _ONCE:
        return None
    join = reduce.x
    assert type(join) is Join
    parts = join.inputs if join.new else [_one_row(x, axis) for x in join.inputs]
    once = tuple(dict.fromkeys(parts))
    if once == join.inputs:
        return None
    fewer = Join(once, axis, join.new, join.label)
    after = reduce.over(fewer, reduce.axes_)
    return after if after.domain == reduce.domain else None


def _one_row(x: Node, axis: int) -> Node:
    """The first row along ``axis`` of a constant; anything else as it is."""
    if not _is_constant(x) or x.shape[axis] < 2:
        return x
    domain = x.domain
    hi = list(domain.exclusive_max)
    hi[axis] = domain.inclusive_min[axis] + 1
    row = IndexDomain._make(domain.inclusive_min, tuple(hi), domain.labels)
    return View(x.inputs[0], IndexTransform._make(row, ()))


def _is_constant(x: Node) -> bool:
    return type(x) is View and type(x.x) is Constant


@law(Reduce, flag="reduction_pushdown")
def constants_apart(reduce: Reduce) -> Node | None:
    """sum(concat([x, full(n, c)])) = sum(x) + n*c, of integers, and so counts"""
    axis = _joined_axis(reduce)
    if axis is None or reduce.op not in ("sum", "count_nonzero") or reduce.dtype.kind not in "iu":
        return None
    join = reduce.x
    assert type(join) is Join
    rest = [x for x in join.inputs if not _is_constant(x)]
    if not rest or len(rest) == len(join.inputs):
        return None
    if reduce.op == "sum" and join.dtype.kind not in "biu":
        return None
    known = sum(_share(x, join, reduce) for x in join.inputs if _is_constant(x))
    total = reduce.over(Join(tuple(rest), axis, join.new, join.label), reduce.axes_)
    if known:
        bits = 8 * reduce.dtype.itemsize
        wrapped = np.array(known % (1 << bits), f"u{reduce.dtype.itemsize}")
        share = Constant(reduce.dtype, wrapped.astype(reduce.dtype).tobytes())
        total = Elementwise("add", (total, share))
    return total if total.domain == reduce.domain and total.dtype == reduce.dtype else None


def _share(x: Node, join: Join, reduce: Reduce) -> int:
    """What a constant part adds to every result."""
    constant = x.inputs[0]
    assert isinstance(constant, Constant)
    extents = [1 if join.new and d == join.axis else join.shape[d] for d in reduce.axes_]
    if not join.new:
        extents[reduce.axes_.index(join.axis)] = x.shape[join.axis]
    value = constant.value
    return prod(extents) * (int(value) if reduce.op == "sum" else int(value.astype(np.bool_)))
