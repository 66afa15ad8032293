"""Random plans over distinct values, for the tests of what must not change them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from lazytensor.plan.dimexpr import d
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.memory import MemorySource
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cache, Cast, Constant, Elementwise, Reduce, Reshape, Scan, View
from lazytensor.plan.nodes_block import Downsample
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.rules.moves import settled

__all__ = ["leaf", "plans", "transforms", "translated"]

Draw = DrawFn
_NAMES = ("z", "y", "x")
_DTYPES = ("u1", "i4", "f4", "f8")


def leaf(shape: tuple[int, ...], dtype: str = "i4", *, start: int = 0, firm: bool = True) -> Scan:
    """An array in memory that counts up from ``start``, with named dims."""
    values = np.arange(start, start + int(np.prod(shape))).reshape(shape).astype(dtype)
    return Scan(MemorySource(values, dims=_NAMES[len(_NAMES) - len(shape) :], firm=firm))


def translated(x: Node, origin: tuple[int, ...]) -> Node:
    """``x`` with its first element at ``origin``."""
    return View(x, IndexTransform.identity(x.domain)[d[:].translate_to[origin]])


@st.composite
def transforms(draw: Draw, node: Node) -> IndexTransform:
    """One step of indexing that fits the node, in coordinates."""
    t = IndexTransform.identity(node.domain)
    lo, hi = node.domain.inclusive_min, node.domain.exclusive_max
    kind = draw(st.sampled_from(_STEPS if node.ndim else ("newaxis",)))
    if kind == "slices":
        return t[tuple(_slice(draw, a, b) for a, b in zip(lo, hi, strict=True))]
    if kind == "int":
        dim = draw(st.integers(0, node.ndim - 1))
        if lo[dim] == hi[dim]:
            return t
        at = draw(st.integers(lo[dim], hi[dim] - 1))
        return t[(*[slice(None)] * dim, at)]
    if kind == "transpose":
        order = draw(st.permutations(range(node.ndim)))
        return t[d[tuple(order)].transpose[:]]
    if kind == "translate":
        return t[d[:].translate_by[draw(st.integers(-9, 9))]]
    if kind == "newaxis":
        extent = draw(st.integers(0, 3))
        return t[np.newaxis][2 : 2 + extent]
    if kind == "diagonal":
        return t[d[0, -1].diagonal] if node.ndim > 1 else t
    dims = [n for n in range(node.ndim) if lo[n] < hi[n]]
    if not dims:
        return t
    picked = draw(st.lists(st.sampled_from(dims), min_size=1, max_size=2, unique=True))
    size = draw(st.integers(1, 5))
    arrays = [
        draw(st.lists(st.integers(lo[n], hi[n] - 1), min_size=size, max_size=size)) for n in picked
    ]
    expression = d[tuple(picked)]
    keys = tuple(arrays)
    return t[expression.oindex[keys] if kind == "outer" else expression.vindex[keys]]


_STEPS = (
    "slices", "slices", "slices", "int", "transpose", "translate", "newaxis", "diagonal", "outer",
    "joint",
)  # fmt: skip


def _slice(draw: Draw, lo: int, hi: int) -> slice:
    if lo == hi or draw(st.booleans()):
        return slice(None)
    a = draw(st.integers(lo, hi - 1))
    b = draw(st.integers(a, hi))
    step = draw(st.sampled_from((1, 1, 1, 2, 3, -1, -2)))
    return (
        slice(a, b, step) if step > 0 or a == b else slice(b - 1, a - 1 if a > lo else None, step)
    )


def _elementwise(draw: Draw, x: Node) -> Node:
    name = draw(st.sampled_from(("add", "multiply", "maximum", "greater")))
    other = draw(
        st.sampled_from(("scalar", "self", "row", "leaf")) if x.ndim else st.just("scalar")
    )
    if other == "scalar":
        return Elementwise(name, (Constant.of(3, x.dtype), x))
    if other == "self":
        return Elementwise(name, (x, Elementwise("add", (x, Constant.of(1, x.dtype)))))
    shape = x.shape if other == "leaf" else x.shape[-1:]
    values = np.arange(int(np.prod(shape))).reshape(shape).astype(x.dtype)
    return Elementwise(name, (x, Scan(MemorySource(values, firm=False))))


def _cast(draw: Draw, x: Node) -> Node:
    return Cast(x, np.dtype(draw(st.sampled_from((*_DTYPES, x.dtype)))))


def _reduce(draw: Draw, x: Node) -> Node:
    axes = sorted(draw(st.sets(st.integers(0, max(0, x.ndim - 1)), max_size=2))) if x.ndim else []
    name = draw(st.sampled_from(("sum", "max", "argmax", "count_nonzero")))
    if name == "argmax" and len(axes) != 1:
        name = "max"
    if any(n == 0 for n in x.shape):
        name = "sum"
    return Reduce(name, x, tuple(axes), draw(st.booleans()), ())


def _downsample(draw: Draw, x: Node) -> Node:
    factors = tuple(draw(st.integers(1, 3)) for _ in range(x.ndim))
    method = draw(st.sampled_from(("mean", "median", "mode", "min", "max")))
    return Downsample(x, factors, method)


def _join(draw: Draw, x: Node) -> Node:
    if draw(st.booleans()) or not x.ndim:
        parts = (x, Elementwise("add", (x, Constant.of(1, x.dtype))), x)
        label = "" if "t" in x.domain.labels else "t"
        return Join(parts, draw(st.integers(0, x.ndim)), True, label)
    axis = draw(st.integers(0, x.ndim - 1))
    more = View(x, draw(transforms(x).filter(_keeps(x, axis))))
    return Join((x, more, Cast(x, x.dtype)), axis, False, "")


def _keeps(x: Node, axis: int) -> Callable[[IndexTransform], bool]:
    rest = x.shape[:axis] + x.shape[axis + 1 :]

    def check(t: IndexTransform) -> bool:
        same = t.domain.shape[:axis] + t.domain.shape[axis + 1 :] == rest
        return t.domain.rank == x.ndim and same and t.domain.labels == x.domain.labels

    return check


def _overlay(draw: Draw, x: Node) -> Node:
    layers = []
    for i in range(draw(st.integers(1, 4))):
        layer = Elementwise("add", (x, Constant.of(i, x.dtype))) if i else x
        shift = tuple(draw(st.integers(-3, 3)) for _ in range(x.ndim))
        origin = tuple(a + b for a, b in zip(x.domain.inclusive_min, shift, strict=True))
        layers.append(translated(layer, origin) if x.ndim else layer)
    window = None
    if x.ndim and draw(st.booleans()):
        lo = tuple(a + draw(st.integers(-4, 4)) for a in x.domain.inclusive_min)
        window = IndexDomain(inclusive_min=lo, shape=[draw(st.integers(0, 5)) for _ in lo])
    return Overlay.of(tuple(layers), window, np.asarray(99, x.dtype).tobytes())


def _reshape(draw: Draw, x: Node) -> Node:
    return Reshape(x, draw(st.sampled_from(((x.size,), x.shape, (1, *x.shape)))))


def _cache(draw: Draw, x: Node) -> Node:
    return Cache(x)


def _view(draw: Draw, x: Node) -> Node:
    return View(x, draw(transforms(x)))


_OPERATIONS = (
    _view, _view, _view, _view, _elementwise, _cast, _reduce, _downsample, _join, _overlay,
    _reshape, _cache,
)  # fmt: skip


@st.composite
def plans(draw: Draw, most: int = 8) -> Node:
    """A plan of up to ``most`` operations, with shared parts, of at most 4096 elements anywhere."""
    rank = draw(st.integers(0, 3))
    shape = tuple(draw(st.integers(1, 6)) for _ in range(rank))
    x: Node = leaf(shape, draw(st.sampled_from(_DTYPES)), firm=draw(st.booleans()))
    if rank and draw(st.booleans()):
        x = translated(x, tuple(draw(st.integers(-7, 7)) for _ in range(rank)))
    for _ in range(draw(st.integers(1, most))):
        made = draw(st.sampled_from(_OPERATIONS))(draw, x)
        if made.size <= 4096 and made.ndim <= 5:
            x = made if made.dtype.kind != "b" else Cast(made, np.dtype("i4"))
    return x if draw(st.booleans()) else settled(x, x.domain)


_: Callable[..., SearchStrategy[Node]] = plans
