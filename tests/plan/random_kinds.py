"""Random plans of every node kind, over what laws could get wrong.

``random_plans`` has the kinds that most plans are made of; these are the others. What comes of it
is set upon stored sources in chunks, some of them pyramids; floats get NaN, infinities and zeros of
both signs; overlays get holes. All other values are small whole numbers: their sums are exact in
any order, so that results can be compared bit by bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

import lazytensor as lt
from lazytensor.build_quantize import dequantize, quantize
from lazytensor.build_stats import histogram, quantile, statistic
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.memory import MemorySource, array_node
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Cast, Constant, Elementwise, Field, Rechunk, Scan, View
from lazytensor.plan.nodes_axis import BlockTotals, Cumulate, Lookup, Search, lookup_size
from lazytensor.plan.nodes_block import Call, Downsample
from lazytensor.plan.nodes_contract import Contract
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.nodes_sketch import Masked
from lazytensor.plan.quantization import MODES, QTYPES
from lazytensor.plan.rules.moves import settled
from tests.plan.random_plans import filled, plans, transforms, translated
from tests.plan.test_rules_pyramid import pyramid
from tests.sources import ChunkedArray

__all__ = ["plans_of_all_kinds"]

Draw = DrawFn
_METHODS = ("mean", "min", "max", "mode")
_SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0)


def _axes(draw: Draw, x: Node) -> tuple[int, ...]:
    return tuple(sorted(draw(st.sets(st.integers(0, x.ndim - 1), min_size=1))))


def _field(draw: Draw, x: Node) -> Node:
    """One of two fields of a stored record, or of one record everywhere."""
    pair = np.dtype([("a", x.dtype), ("b", "f4")])
    values = np.zeros(x.shape, pair)
    values["a"] = np.arange(x.size).reshape(x.shape) % 100
    values["b"] = np.arange(x.size).reshape(x.shape) * 2
    record: Node = Scan(MemorySource(values))
    if draw(st.integers(0, 3)) == 0:
        record = View(Constant(pair, bytes(pair.itemsize)), IndexTransform._make(x.domain, ()))
    if draw(st.integers(0, 3)) == 0:
        record = Rechunk(record, (2,) * x.ndim)
    return Field(record, draw(st.sampled_from("ab")))


def _coarser(draw: Draw, x: Node) -> Node:
    """Of the finest level of a pyramid, what a coarser one may hold."""
    shape = [draw(st.integers(2, 12)) for _ in range(draw(st.integers(1, 2)))]
    values = np.arange(math.prod(shape)).reshape(shape).astype(draw(st.sampled_from(("u1", "f4"))))
    method = draw(st.sampled_from(("stride", *_METHODS)))
    fine: Node = Scan(pyramid(values, [(2,) * len(shape)], method, chunks=2)[0])
    if draw(st.integers(0, 3)) == 0:
        fine = View(fine, draw(transforms(fine)))
    elif draw(st.booleans()):
        box = tuple(slice(2 * draw(st.integers(0, n // 4)), None) for n in shape)
        fine = View(fine, IndexTransform.identity(fine.domain)[box])
    if method == "stride" or not fine.ndim:
        steps = tuple(slice(None, None, draw(st.sampled_from((1, 2, 4, -2)))) for _ in fine.shape)
        return View(fine, IndexTransform.identity(fine.domain)[steps])
    factors = tuple(draw(st.sampled_from((2, 2, 4))) for _ in fine.shape)
    if draw(st.integers(0, 3)) == 0:
        method = draw(st.sampled_from(_METHODS))
    return Downsample(fine, factors, method)


def _lookup(draw: Draw, x: Node) -> Node:
    index = x if lookup_size(x.dtype) else Cast(Elementwise("greater", (x, x)), np.dtype("u1"))
    table = np.random.default_rng(draw(st.integers(0, 9))).permutation(lookup_size(index.dtype))
    return Lookup(array_node(table % 1000), index)


def _search(draw: Draw, x: Node) -> Node:
    table = Scan(MemorySource(np.arange(0, 40, draw(st.integers(1, 9))).astype(x.dtype)))
    return Search(draw(st.sampled_from(("left", "right", "member"))), table, x)


def _masked(draw: Draw, x: Node) -> Node:
    if not x.ndim:
        return x
    above = Elementwise("greater", (x, Constant.of(draw(st.integers(0, 9)), x.dtype)))
    # An array without an opinion on where it lies is compared at 0.
    mask = translated(above, x.domain.inclusive_min)
    name = draw(st.sampled_from(("count", "sum", "mean")))
    return statistic(name, Masked(x, mask), _axes(draw, x), keepdims=draw(st.booleans()))


def _sketch(draw: Draw, x: Node) -> Node:
    if not x.ndim or x.dtype.kind not in "biuf" or not x.size:
        return x
    if draw(st.booleans()):
        return histogram(x, np.array([0, 2, 5, 30]), None, _axes(draw, x))[0]
    if x.dtype.kind == "b":
        return x
    return quantile(x, draw(st.sampled_from((0.5, [0.25, 1.0]))), _axes(draw, x))


def _contract(draw: Draw, x: Node) -> Node:
    if not x.ndim or x.dtype.kind == "f":
        return x
    y = Elementwise("add", (x, Constant.of(1, x.dtype)))
    order = draw(st.permutations(range(x.ndim)))
    pairs = tuple(order[: draw(st.integers(1, x.ndim))])
    cut = draw(st.integers(0, len(pairs)))
    return Contract(x, y, pairs[:cut], pairs[:cut], pairs[cut:], pairs[cut:])


def _doubled(block: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(block + block, block.dtype)


def _call(draw: Draw, x: Node) -> Node:
    if not x.ndim:
        return x
    sizes = tuple(draw(st.integers(1, 4)) for _ in x.shape)
    halo = (0,) * x.ndim
    return Call(
        _doubled, (Rechunk(x, sizes),), x.dtype, halo, None, draw(st.booleans()), True, False
    )


def _blocked(draw: Draw, x: Node) -> Node:
    """The cumulative sum in two passes, or the totals of its blocks."""
    if not x.ndim or x.dtype.kind not in "iu":
        return x
    axis, block = draw(st.integers(0, x.ndim - 1)), draw(st.integers(1, 3))
    totals = BlockTotals("cumulative_sum", x, axis, None, block)
    if draw(st.booleans()):
        return totals
    carries = Cumulate("cumulative_sum", totals, axis, None, 0, None)
    return Cumulate("cumulative_sum", x, axis, None, block, carries)


def _constants(draw: Draw, x: Node) -> Node:
    """Beside a constant that decides, that changes nothing, or neither."""
    name = draw(
        st.sampled_from(
            ("add", "subtract", "multiply", "maximum", "minimum", "floor_divide", "where", "equal")
        )
    )
    limits = (
        (int(np.iinfo(x.dtype).min), int(np.iinfo(x.dtype).max)) if x.dtype.kind in "iu" else ()
    )
    value = draw(st.sampled_from((0, 1, 1, 2, *limits)))
    other: Node = Constant.of(value, x.dtype)
    if draw(st.booleans()):
        other = filled(x, value) if draw(st.booleans()) else translated(filled(x, value), _zeros(x))
    if name == "where":
        return Elementwise(name, (Cast(other, np.dtype("?")), x, Elementwise("add", (x, x))))
    if name == "floor_divide" and not value:
        name = "add"
    operands = (x, other) if draw(st.booleans()) or name == "floor_divide" else (other, x)
    return Elementwise(name, operands)


def _zeros(x: Node) -> tuple[int, ...]:
    return (0,) * x.ndim


def _layers_of_constants(draw: Draw, x: Node) -> Node:
    """Tiles in a row, some of them constant, looked at as one or reduced."""
    if not x.ndim:
        return x
    axis = draw(st.integers(0, x.ndim - 1))
    layers: list[Node] = []
    at = list(x.domain.inclusive_min)
    for i in range(draw(st.integers(1, 3))):
        tile = filled(x, i) if draw(st.booleans()) else x
        layers.append(translated(tile, tuple(at)))
        at[axis] += x.shape[axis]
    if draw(st.booleans()):
        return Overlay.of(tuple(draw(st.permutations(layers))), None, bytes(x.dtype.itemsize))
    return Join(tuple(layers), axis, False, "")


def _moments(draw: Draw, x: Node) -> Node:
    if not x.ndim or 0 in x.shape:
        return x
    return statistic("mean", x, _axes(draw, x), keepdims=draw(st.booleans()))


def _quantized(draw: Draw, x: Node) -> Node:
    """Quantized by parameters of its own, or what whole numbers stand for by given ones."""
    if x.dtype.kind not in "biuf":
        return x
    schemes = ("per_tensor", "per_channel", "per_group") if x.ndim else ("per_tensor", "per_group")
    scheme = draw(st.sampled_from(schemes))
    layout: dict[str, Any] = {"scheme": scheme}
    if scheme == "per_channel":
        layout["axis"] = draw(st.integers(-x.ndim, x.ndim - 1))
    if scheme == "per_group":
        layout["group_size"] = draw(st.integers(1, 9))
    mode, nan = draw(st.sampled_from(MODES)), draw(st.sampled_from(("ignore", "propagate")))
    made = quantize(
        lt.LazyTensor._wrap(x), draw(st.sampled_from(list(QTYPES))), mode=mode, nan=nan, **layout
    )
    if draw(st.booleans()):
        return made.data
    count = made.scales.size
    scales = np.arange(count, dtype="f4") % 3 + 1
    zero_points = np.arange(count, dtype="f4") % 5 - 2
    return dequantize(lt.LazyTensor._wrap(made.data), scales, zero_points, **layout)


_OPERATIONS: tuple[Callable[[Draw, Node], Node], ...] = (
    _field, _coarser, _coarser, _lookup, _search, _masked, _sketch, _contract, _call, _blocked,
    _constants, _constants, _layers_of_constants, _moments, _quantized,
)  # fmt: skip


@st.composite
def plans_of_all_kinds(draw: Draw, most: int = 8) -> Node:
    """A plan like those of ``random_plans.plans``, of these operations too."""
    plan = draw(plans(most, more=_OPERATIONS))
    special = draw(st.booleans()) and not any(map(_is_open, walk(plan)))
    stored = draw(st.booleans())
    opened = draw(st.integers(0, 3)) == 0
    new: dict[Node, Node] = {}
    after: Node
    for node in walk(plan):
        inputs = tuple([new[x] for x in node.inputs])
        if type(node) is Scan:
            after = _source(draw, node, stored=stored, special=special)
        elif type(node) is Overlay and opened:
            after = Overlay(inputs, node.window, None)
        else:
            after = node.with_inputs(inputs) if inputs != node.inputs else node
        # What is stored has an opinion on where it lies; arrays may have had none.
        new[node] = settled(after, node.domain)
    return new[plan]


def _is_open(node: Node) -> bool:
    """True where NaN and infinities mean nothing: as integers, and in a table that is sorted."""
    if type(node) is Cast:
        return node.x.dtype.kind == "f" and node.to.kind in "iu"
    return type(node) is Search


def _source(draw: Draw, scan: Scan, *, stored: bool, special: bool) -> Node:
    values: Any = scan.source.array
    if not isinstance(scan.source, MemorySource):
        return scan
    if special and values.dtype.kind == "f" and values.size:
        values = values.copy()
        seed = np.random.default_rng(draw(st.integers(0, 99)))
        values[seed.random(values.shape) < 0.4] = seed.choice(_SPECIAL)
    dims = scan.domain.labels
    if not stored:
        return Scan(MemorySource(values, dims=dims, firm=scan.source.firm))
    chunks = [draw(st.integers(1, 4)) for _ in values.shape]
    return Scan(ChunkedArray(values, chunks, dims=dims))
