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
from lazytensor.plan.nodes import (
    Cache,
    Cast,
    Constant,
    Elementwise,
    Rechunk,
    Reduce,
    Reshape,
    Scan,
    View,
)
from lazytensor.plan.nodes_axis import Cumulate, Gather, Sort
from lazytensor.plan.nodes_block import Downsample
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.rules.moves import settled

__all__ = ["filled", "leaf", "plans", "transforms", "translated"]

Draw = DrawFn
_NAMES = ("z", "y", "x")
_DTYPES = ("u1", "i2", "i4", "i8", "f4", "f8")


def leaf(shape: tuple[int, ...], dtype: str = "i4", *, start: int = 0, firm: bool = True) -> Scan:
    """An array in memory that counts up from ``start``, with named dims."""
    values = np.arange(start, start + int(np.prod(shape))).reshape(shape).astype(dtype)
    return Scan(MemorySource(values, dims=_NAMES[len(_NAMES) - len(shape) :], firm=firm))


def translated(x: Node, origin: tuple[int, ...]) -> Node:
    """``x`` with its first element at ``origin``."""
    return View(x, IndexTransform.identity(x.domain)[d[:].translate_to[origin]])


def filled(x: Node, value: int) -> Node:
    """One value on the domain of ``x``."""
    return View(Constant.of(value, x.dtype), IndexTransform._make(x.domain, ()))


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
    """One cast, or a detour."""
    for _ in range(draw(st.sampled_from((1, 1, 2)))):
        x = Cast(x, np.dtype(draw(st.sampled_from((*_DTYPES, "f2", "?", x.dtype)))))
    return x


_REDUCTIONS = ("sum", "max", "min", "argmax", "count_nonzero", "any", "all")


def _reduce(draw: Draw, x: Node) -> Node:
    axes = sorted(draw(st.sets(st.integers(0, max(0, x.ndim - 1)), max_size=2))) if x.ndim else []
    name = draw(st.sampled_from(_REDUCTIONS))
    if name == "argmax" and len(axes) != 1:
        name = "max"
    if any(n == 0 for n in x.shape):
        name = "sum"
    return Reduce(name, x, tuple(axes), draw(st.booleans()), ())


def _reduce_join(draw: Draw, x: Node) -> Node:
    """A reduction along the joined dim, alone or among others; of constants too."""
    joined = _join(draw, x)
    assert isinstance(joined, Join)
    if draw(st.booleans()) and not joined.new:
        joined = Join((filled(x, 5), *joined.inputs), joined.axis, False, "")
    axes = {joined.axis} | draw(st.sets(st.integers(0, joined.ndim - 1), max_size=1))
    name = draw(st.sampled_from(("sum", "max", "min", "any", "all", "prod", "count_nonzero")))
    if joined.size == 0:
        name = "sum"
    return Reduce(name, joined, tuple(sorted(axes)), draw(st.booleans()), ())


def _downsample(draw: Draw, x: Node) -> Node:
    """Once, or twice by the same method."""
    method = draw(st.sampled_from(("mean", "median", "mode", "min", "max")))
    for _ in range(draw(st.sampled_from((1, 1, 2)))):
        factors = tuple(draw(st.integers(1, 3)) for _ in range(x.ndim))
        x = Downsample(x, factors, method)
    return x


def _join(draw: Draw, x: Node) -> Node:
    if draw(st.booleans()) or not x.ndim:
        parts = (x, Elementwise("add", (x, Constant.of(1, x.dtype))), x)
        label = "" if "t" in x.domain.labels else "t"
        return Join(parts, draw(st.integers(0, x.ndim)), True, label)
    axis = draw(st.integers(0, x.ndim - 1))
    more = View(x, draw(transforms(x).filter(_keeps(x, axis))))
    third = filled(x, 7) if draw(st.booleans()) else Cast(x, x.dtype)
    joined = Join((x, more, third), axis, False, "")
    if joined.size > 1024 or draw(st.booleans()):
        return joined
    return Join((more, joined, x), axis, False, "")


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
        if draw(st.sampled_from((False, False, True))):
            layer = filled(x, 7)
        shift = tuple(draw(st.integers(-3, 3)) for _ in range(x.ndim))
        origin = tuple(a + b for a, b in zip(x.domain.inclusive_min, shift, strict=True))
        layers.append(translated(layer, origin) if x.ndim else layer)
    if len(layers) > 1 and draw(st.booleans()):
        # Some of them within an overlay of their own.
        at = draw(st.integers(0, len(layers) - 1))
        until = draw(st.integers(at + 1, len(layers)))
        layers[at:until] = [_placed(draw, layers[at:until])]
    return _placed(draw, layers)


def _placed(draw: Draw, layers: list[Node]) -> Overlay:
    """An overlay on the hull or on a window somewhere there."""
    first = layers[0]
    window = None
    if first.ndim and draw(st.booleans()):
        lo = tuple(a + draw(st.integers(-4, 4)) for a in first.domain.inclusive_min)
        window = IndexDomain(inclusive_min=lo, shape=[draw(st.integers(0, 5)) for _ in lo])
    fill = np.asarray(draw(st.sampled_from((1, 1, 99))), first.dtype).tobytes()
    return Overlay.of(tuple(layers), window, fill)


def _reshape(draw: Draw, x: Node) -> Node:
    """Dims split into factors, neighbours merged, dims of extent 1 put between."""
    shape: list[int] = []
    for n in x.shape:
        factors = [f for f in range(1, n + 1) if n and n % f == 0] or [n]
        f = draw(st.sampled_from(factors))
        shape += [f, n // f] if f else [n]
    for _ in range(draw(st.integers(0, len(shape)))):
        at = draw(st.integers(0, len(shape) - 1))
        shape[at : at + 2] = [int(np.prod(shape[at : at + 2]))]
    if len(shape) < 4 and draw(st.booleans()):
        shape.insert(draw(st.integers(0, len(shape))), 1)
    return Reshape(x, tuple(shape))


def _rechunk(draw: Draw, x: Node) -> Node:
    return Rechunk(x, tuple(draw(st.integers(1, 4)) for _ in x.shape))


def _cache(draw: Draw, x: Node) -> Node:
    return Cache(x)


def _along(draw: Draw, x: Node) -> Node:
    """What looks at one axis: sorted, added up, or taken in some order."""
    if not x.ndim:
        return x
    axis = draw(st.integers(0, x.ndim - 1))
    kind = draw(st.sampled_from(("sort", "cumulate", "gather")))
    if kind == "sort":
        return Sort(x, axis, draw(st.booleans()), draw(st.booleans()))
    if kind == "cumulate" and x.dtype.kind in "iu":
        return Cumulate("cumulative_sum", x, axis, None, 0, None)
    n = x.shape[axis]
    shape = [1] * x.ndim
    shape[axis] = draw(st.integers(1, 4)) if n else 0
    picked = [draw(st.integers(-n, n - 1)) for _ in range(shape[axis])]
    indices = Scan(MemorySource(np.array(picked, "i8").reshape(shape), firm=False))
    return Gather(x, indices, axis)


def _view(draw: Draw, x: Node) -> Node:
    return View(x, draw(transforms(x)))


_OPERATIONS = (
    _view, _view, _view, _view, _elementwise, _cast, _reduce, _downsample, _join, _overlay,
    _reshape, _reshape, _cache, _rechunk, _reduce_join, _along,
)  # fmt: skip


@st.composite
def plans(draw: Draw, most: int = 8, more: tuple[Callable[[DrawFn, Node], Node], ...] = ()) -> Node:
    """A plan of up to ``most`` operations, with shared parts, of at most 4096 elements anywhere.

    ``more``: operations beside those of this module.
    """
    rank = draw(st.integers(0, 3))
    shape = tuple(draw(st.integers(1, 6)) for _ in range(rank))
    x: Node = leaf(shape, draw(st.sampled_from(_DTYPES)), firm=draw(st.booleans()))
    if rank and draw(st.booleans()):
        x = translated(x, tuple(draw(st.integers(-7, 7)) for _ in range(rank)))
    for _ in range(draw(st.integers(1, most))):
        made = draw(st.sampled_from((*_OPERATIONS, *more)))(draw, x)
        if made.size <= 4096 and made.ndim <= 5:
            x = made if made.dtype.kind != "b" else Cast(made, np.dtype("i4"))
    return x if draw(st.booleans()) else settled(x, x.domain)


_: Callable[..., SearchStrategy[Node]] = plans
