"""Which boxes of its inputs a node needs for a box of its own, and what step computes it.

One function per node kind, in one table. A function answers for one box with the name of the step,
its static arguments and the list of ``(input node, box)`` it needs, in the order the step takes
them. Boxes are in the coordinates of the node they belong to. Nothing is evaluated here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lazytensor.exec.boxes import BoxPlan, aligned_box, whole_box
from lazytensor.plan.compose import Maps, output_box, restrict
from lazytensor.plan.families import Families, home
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.index_interval import MAX_RANK
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import (
    Cache,
    Cast,
    Constant,
    Elementwise,
    Field,
    Rechunk,
    Reduce,
    Scan,
    View,
)
from lazytensor.plan.nodes_block import Call, Downsample, Inspect
from lazytensor.plan.ops_quantize import PARAMETERISED
from lazytensor.plan.output_map import CONSTANT
from lazytensor.plan.source import Box, Source

__all__ = ["BoxPlan", "demand", "demand_shared", "is_sparse", "whole_box"]


_UNIT = frozenset((1, -1))
_FORWARD, _BACKWARD = slice(None), slice(None, None, -1)
_IN_ORDER = list(range(MAX_RANK))
_AS_IT_IS = [_FORWARD] * MAX_RANK


def demand(node: Node, box: Box) -> BoxPlan:
    """What computing ``box`` of ``node`` takes."""
    return _DEMANDS[type(node)](node, box)


def _constant(node: Constant, box: Box) -> BoxPlan:
    return BoxPlan("constant", (node.data, node.dtype), [])


def _scan(node: Scan, box: Box) -> BoxPlan:
    return BoxPlan("read", (node.source, box), [])


def is_sparse(view: View) -> bool:
    """True if the image of the view skips cells of its source, so that its hull would read more.

    Strides up to the size of a cell touch every cell between first and last.
    """
    if view.transform.has_arrays:
        return True
    strides = [1 if m.kind == CONSTANT else m.stride for m in view.transform.maps]
    if _UNIT.issuperset(strides):
        return False
    return any(
        abs(stride) > (1 if cells is None else cells.nominal)
        for stride, cells in zip(strides, view.x.grid, strict=True)
    )


def _view(node: View, box: Box) -> BoxPlan:
    base, transform = node.x, node.transform
    if isinstance(base, Constant):
        return BoxPlan("full", (base.data, base.dtype, _shape(box)), [])
    if isinstance(base, Scan) and base.source.array is None:
        placed = None if transform.has_arrays else _placed(base.source, transform.maps, box)
        if placed is not None:
            return placed
        if is_sparse(node):
            return BoxPlan("gather", (base.source, restrict(transform, box)), [])
    narrowed = restrict(transform, box)
    return _view_of(base, narrowed, output_box(narrowed, box))


def demand_shared(node: Node, box: Box, held: bool) -> BoxPlan:
    """As ``demand``, for a node that is not the only one to need its input.

    A view of a source then asks for its box instead of reading it, so that what several views need
    of the same cells is read once. A view that skips cells reads for itself, unless the input is
    ``held`` in memory already.
    """
    if not isinstance(node, View) or (is_sparse(node) and not held):
        return demand(node, box)
    transform = restrict(node.transform, box)
    return _view_of(node.x, transform, output_box(transform, box))


def _view_of(base: Node, transform: IndexTransform, needed: Box) -> BoxPlan:
    origin = tuple(lo for lo, _ in needed)
    return BoxPlan("view", (transform, origin), [(base, needed)])


def _placed(source: Source, maps: Maps, box: Box) -> BoxPlan | None:
    """Reading a part of a source straight into the result, whose dims may lie otherwise.

    None where the box is empty or elements repeat, and where elements are left out of what the
    source can only read whole.
    """
    needed: list[tuple[int, int]] = []
    steps: list[int] = []
    order: list[int] = []
    index: list[Any] = []
    for kind, offset, stride, dim, _, _ in maps:
        if kind == CONSTANT:
            needed.append((offset, offset + 1))
            steps.append(1)
            index.append(None)
            continue
        lo, hi = box[dim]
        if hi <= lo or not stride or dim in order:
            return None
        first, last = offset + stride * lo, offset + stride * (hi - 1)
        order.append(dim)
        steps.append(1 if first == last else abs(stride))
        if stride > 0:
            needed.append((first, last + 1))
            index.append(_FORWARD)
        else:
            needed.append((last, first + 1))
            index.append(_BACKWARD)
    rest = [d for d in range(len(box)) if d not in order] if len(order) < len(box) else []
    if any(box[d][1] - box[d][0] != 1 for d in rest):
        return None
    order += rest
    index += [0] * len(rest)
    return _reading(source, tuple(needed), steps, order, index)


def _reading(
    source: Source, needed: Box, steps: list[int], order: list[int], index: list[Any]
) -> BoxPlan | None:
    """The step that reads every so many elements of a box.

    It is told ``(order, index)``: the result with its dims in that order and then indexed so is
    what the source fills.
    """
    if not _UNIT.issuperset(steps):
        if not hasattr(source, "read_strided"):
            return None
        args = (source, needed, tuple(order), tuple(index), tuple(steps))
        return BoxPlan("read_strided", args, [])
    if order == _IN_ORDER[: len(needed)] and index == _AS_IT_IS[: len(order)]:
        return BoxPlan("read", (source, needed), [])
    return BoxPlan("read_placed", (source, needed, tuple(order), tuple(index)), [])


def _elementwise(node: Elementwise, box: Box) -> BoxPlan:
    if node.op in PARAMETERISED:
        from lazytensor.exec.demand_quantize import rows_demand

        rows = rows_demand(node, box)
        if rows is not None:
            return rows
    needs = []
    for x in node.inputs:
        if x.domain is node.domain:
            needs.append((x, box))
        else:
            needs.append((x, aligned_box(node, x, box)))
    return BoxPlan("elementwise", (node.op, node.dtype), needs)


def _cast(node: Cast, box: Box) -> BoxPlan:
    return BoxPlan("cast", (node.dtype,), [(node.x, box)])


def _field(node: Field, box: Box) -> BoxPlan:
    return BoxPlan("field", (node.name,), [(node.x, box)])


def _reduce(node: Reduce, box: Box) -> BoxPlan:
    kept = node.result_dims()
    base = whole_box(node.x)
    needed = tuple(box[kept[d]] if d in kept else interval for d, interval in enumerate(base))
    return BoxPlan("reduce", (node.op, node.axes_, node.keepdims, node.params), [(node.x, needed)])


def _downsample(node: Downsample, box: Box) -> BoxPlan:
    needed = node.base_box(box)
    args = (
        node.factors,
        node.method,
        tuple(lo for lo, _ in needed),
        tuple(lo for lo, _ in box),
    )
    return BoxPlan("downsample", args, [(node.x, needed)])


def _call(node: Call, box: Box) -> BoxPlan:
    """Whole cells with their halo; the step calls the function cell by cell."""
    cover = node.cover(box)
    needs = [(x, _with_halo(node, x, cover)) for x in node.inputs]
    args = (
        node.function,
        node.dtype,
        box,
        node.spans(box),
        node.halo,
        node.boundary,
        node.validate,
        node.domain.labels if node.wants_domain else None,
        whole_box(node),
        tuple(whole_box(x) for x in node.inputs),
    )
    return BoxPlan("call", args, needs)


def _with_halo(node: Call, x: Node, cover: Box) -> Box:
    aligned = aligned_box(node, x, cover)
    halo = node.halo[node.ndim - x.ndim :]
    return tuple(
        (max(lo, a - h), min(hi, b + h)) if b > a and hi - lo > 1 else (a, b)
        for (a, b), (lo, hi), h in zip(aligned, whole_box(x), halo, strict=True)
    )


def _inspect(node: Inspect, box: Box) -> BoxPlan:
    return BoxPlan("inspect", (node.function, box, node.domain.labels), [(node.x, box)])


def _pass(node: Rechunk | Cache, box: Box) -> BoxPlan:
    return BoxPlan("pass", (), [(node.x, box)])


def _shape(box: Box) -> tuple[int, ...]:
    return tuple([hi - lo for lo, hi in box])


_DEMANDS: Families[type[Node], Callable[[Any, Box], BoxPlan]] = Families(
    {
        Constant: _constant,
        Scan: _scan,
        View: _view,
        Elementwise: _elementwise,
        Cast: _cast,
        Field: _field,
        Reduce: _reduce,
        Downsample: _downsample,
        Rechunk: _pass,
        Cache: _pass,
        Call: _call,
        Inspect: _inspect,
    },
    {
        "lazytensor.exec.demand_contract": "lazytensor.exec.demand_contract:DEMANDS",
        "lazytensor.exec.sketch_counts": "lazytensor.exec.demand_sketch:DEMANDS",
        "lazytensor.exec.sketch_nodes": "lazytensor.exec.demand_sketch:DEMANDS",
        "lazytensor.plan.nodes": "lazytensor.exec.demand_reshape:DEMANDS",
        "lazytensor.plan.nodes_axis": "lazytensor.exec.demand_axis:DEMANDS",
        "lazytensor.plan.nodes_contract": "lazytensor.exec.demand_contract:DEMANDS",
        "lazytensor.plan.nodes_join": "lazytensor.exec.demand_join:DEMANDS",
        "lazytensor.plan.nodes_quantize": "lazytensor.exec.demand_quantize:DEMANDS",
        "lazytensor.plan.nodes_sketch": "lazytensor.exec.demand_sketch:DEMANDS",
    },
    home,
)
