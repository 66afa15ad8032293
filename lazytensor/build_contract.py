"""Nodes of products summed along dims: what ``matmul``, ``tensordot`` and ``vecdot`` share.

The three name their dims differently; here it is settled which dims of two operands go together,
and one ``Contract`` is built. Dims that broadcast are no pair: the one of extent 1 is dropped, and
the other stands alone, so that a stack of matrices times one matrix is a single product. Where that
puts dims in another order than the standard has them, a view on top puts them right.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from lazytensor.build import as_node, normalize_axes
from lazytensor.build_views import cast, squeeze, view_maps
from lazytensor.errors import DimensionError, DTypeError, ShapeError
from lazytensor.plan.align import describe_shape, merge_domains, picked_dims
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Elementwise
from lazytensor.plan.nodes_contract import Contract
from lazytensor.plan.output_map import single_map
from lazytensor.plan.promote import common_dtype, is_extended

__all__ = ["matmul", "tensordot", "vecdot"]


def matmul(x1: Any, x2: Any) -> Node:
    """See ``functions_contract.matmul``."""
    a, b = _operands("matmul", x1, x2)
    for x in (a, b):
        if not x.ndim:
            raise ShapeError(
                f"matmul: a scalar is no matrix, in {_both(a, b)}; multiply with * instead"
            )
    row, column = a.ndim == 1, b.ndim == 1
    summed1, summed2 = a.ndim - 1, b.ndim - (1 if column else 2)
    if a.shape[summed1] != b.shape[summed2]:
        raise ShapeError(
            f"matmul: {_both(a, b)} do not match: {_extent(a, summed1)} of the first, "
            f"{_extent(b, summed2)} of the second; columns of the one meet rows of the other"
        )
    stack1 = tuple(range(a.ndim - (1 if row else 2)))
    stack2 = tuple(range(b.ndim - (1 if column else 2)))
    return _contracted("matmul", a, b, stack1, stack2, (summed1,), (summed2,))


def tensordot(x1: Any, x2: Any, axes: Any) -> Node:
    """See ``functions_contract.tensordot``."""
    a, b = _operands("tensordot", x1, x2)
    summed1, summed2 = _tensordot_axes(a, b, axes)
    for d, e in zip(summed1, summed2, strict=True):
        if a.shape[d] != b.shape[e]:
            raise ShapeError(
                f"tensordot: {_both(a, b)} do not match: {_extent(a, d)} of the first, "
                f"{_extent(b, e)} of the second"
            )
    return _contracted("tensordot", a, b, (), (), summed1, summed2)


def _tensordot_axes(a: Node, b: Node, axes: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    try:
        count = operator.index(axes)
    except TypeError:
        try:
            first, second = axes
        except (TypeError, ValueError):
            raise DimensionError(
                f"tensordot: axes must be a number or two sequences of axes, not {axes!r}"
            ) from None
        one, other = _axes_in_order(a, first), _axes_in_order(b, second)
        if len(one) != len(other):
            raise DimensionError(
                f"tensordot: axes {axes!r} do not pair up: {len(one)} of the first tensor, "
                f"{len(other)} of the second"
            ) from None
        return one, other
    if not 0 <= count <= min(a.ndim, b.ndim):
        raise DimensionError(
            f"tensordot: axes={count} of {_both(a, b)}; a number is between 0 and the dims of the "
            f"smaller one, and negative axes are named in sequences: axes=((-1,), (-1,))"
        )
    return tuple(range(a.ndim - count, a.ndim)), tuple(range(count))


def _axes_in_order(x: Node, axes: Any) -> tuple[int, ...]:
    given = axes if isinstance(axes, (tuple, list)) else (axes,)
    normalize_axes(x, tuple(given))  # each exists, and none is there twice
    return tuple([normalize_axes(x, axis)[0] for axis in given])


def vecdot(x1: Any, x2: Any, axis: Any) -> Node:
    """See ``functions_contract.vecdot``."""
    a, b = _operands("vecdot", x1, x2)
    for x in (a, b):
        if not x.ndim:
            raise ShapeError(f"vecdot: a scalar is no vector, in {_both(a, b)}")
    d, e = normalize_axes(a, axis)[0], normalize_axes(b, axis)[0]
    if a.shape[d] != b.shape[e]:
        raise ShapeError(
            f"vecdot: {_both(a, b)} do not match: {_extent(a, d)} of the first, {_extent(b, e)} of "
            f"the second"
        )
    if a.dtype.kind == "c":
        a = Elementwise("conj", (a,))
    stack1 = tuple([i for i in range(a.ndim) if i != d])
    stack2 = tuple([i for i in range(b.ndim) if i != e])
    return _contracted("vecdot", a, b, stack1, stack2, (d,), (e,))


def _operands(name: str, x1: Any, x2: Any) -> tuple[Node, Node]:
    """Both operands with the dtype of the result."""
    a, b = as_node(x1), as_node(x2)
    try:
        dtype = common_dtype((a.dtype, b.dtype))
    except TypeError:
        dtype = None
    if dtype is None or not (dtype.kind in "biufc" or is_extended(dtype)):
        raise DTypeError(f"{name} is not defined for {a.dtype} and {b.dtype}: it takes numbers")
    return cast(a, dtype), cast(b, dtype)


def _both(a: Node, b: Node) -> str:
    return f"{describe_shape(a.domain)} and {describe_shape(b.domain)}"


def _extent(x: Node, d: int) -> str:
    name = x.domain.labels[d]
    return f"{x.shape[d]} along {name!r}" if name else f"{x.shape[d]} along axis {d}"


def _contracted(
    name: str,
    a: Node,
    b: Node,
    stack1: tuple[int, ...],
    stack2: tuple[int, ...],
    summed1: tuple[int, ...],
    summed2: tuple[int, ...],
) -> Node:
    """The contraction with dims in the standard's order: stacks broadcast, then what is left."""
    shape1, shape2 = [tuple([x.shape[d] for d in dims]) for x, dims in ((a, stack1), (b, stack2))]
    try:
        np.broadcast_shapes(shape1, shape2)
    except ValueError:
        raise ShapeError(
            f"{name}: the stacks {shape1} and {shape2} of {_both(a, b)} do not broadcast: extents "
            f"must agree or be 1"
        ) from None
    wide = max(len(stack1), len(stack2))
    stacked = (
        merge_domains([picked_dims(a.domain, stack1), picked_dims(b.domain, stack2)])
        if wide
        else None
    )
    pairs, lone1, lone2, drop1, drop2 = _sorted_out(a, b, stack1, stack2)
    one, at1 = _without(a, drop1)
    other, at2 = _without(b, drop2)
    node = Contract(
        one,
        other,
        tuple([at1[d] for _, d, _ in pairs]),
        tuple([at2[e] for _, _, e in pairs]),
        tuple([at1[d] for d in summed1]),
        tuple([at2[e] for e in summed2]),
    )
    places = {("pair", at1[d]): place for place, d, _ in pairs}
    places |= {("one", at1[d]): place for place, d in lone1}
    places |= {("other", at2[e]): place for place, e in lone2}
    rest = wide
    found = [("pair", d) for d in node.batch1]
    found += [("one", d) for d in node.free1] + [("other", e) for e in node.free2]
    order = []
    for key in found:
        if key not in places:
            places[key], rest = rest, rest + 1
        order.append(places[key])
    return _arranged(node, order, stacked)


def _sorted_out(a: Node, b: Node, stack1: tuple[int, ...], stack2: tuple[int, ...]) -> Any:
    """Stack dims that are pairs, those that stand alone, and those of extent 1 that are dropped.

    Each with its place in the broadcast stack.
    """
    wide = max(len(stack1), len(stack2))
    pairs, lone1, lone2, drop1, drop2 = [], [], [], [], []
    for place in range(wide):
        d = stack1[place - wide] if wide - place <= len(stack1) else None
        e = stack2[place - wide] if wide - place <= len(stack2) else None
        if d is None or (e is not None and a.shape[d] == 1 != b.shape[e]):
            lone2.append((place, e))
            drop1.extend([] if d is None else [d])
        elif e is None or b.shape[e] == 1 != a.shape[d]:
            lone1.append((place, d))
            drop2.extend([] if e is None else [e])
        else:
            pairs.append((place, d, e))
    return pairs, lone1, lone2, drop1, drop2


def _without(x: Node, dims: list[int]) -> tuple[Node, dict[int, int]]:
    """The node without some dims of extent 1, and where the others are now."""
    kept = [d for d in range(x.ndim) if d not in dims]
    return squeeze(x, tuple(dims)) if dims else x, {d: i for i, d in enumerate(kept)}


def _arranged(node: Node, order: list[int], stacked: IndexDomain | None) -> Node:
    """The node with dim ``i`` at place ``order[i]``, and the stack's names and coordinates."""
    rank, wide = node.ndim, 0 if stacked is None else stacked.rank
    at = sorted(range(rank), key=order.__getitem__)
    lo = [node.domain.inclusive_min[d] for d in at]
    labels = [node.domain.labels[d] for d in at]
    for place in range(wide):
        assert stacked is not None
        lo[place], labels[place] = stacked.inclusive_min[place], stacked.labels[place]
    labels = ["" if labels.count(label) > 1 else label for label in labels]
    hi = [a + node.shape[d] for a, d in zip(lo, at, strict=True)]
    domain = IndexDomain._make(tuple(lo), tuple(hi), tuple(labels))
    maps = [
        single_map(order[d], node.domain.inclusive_min[d] - lo[order[d]], 1) for d in range(rank)
    ]
    return view_maps(node, domain, maps)
