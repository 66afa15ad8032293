"""What operations make of constants.

A constant is a scalar, or a scalar broadcast to a domain. The values of most operations on such
tensors follow without making them: that is used by the laws that fold constants, and by the engine
for regions that it finds to be constant (chunks that are not stored). Both need one answer to the
question where this is exact, so it is here and in neither of them.

Every function answers with the bytes of a scalar, or None where the value is not certain to be,
bit for bit, what computing all elements would give, or where computing them is an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazytensor.errors import DTypeError
from lazytensor.plan.downsampling import number_kind
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import (
    Cache,
    Cast,
    Constant,
    Elementwise,
    Field,
    Rechunk,
    Reduce,
    Reshape,
    View,
)
from lazytensor.plan.nodes_block import Downsample
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.ops import OPERATIONS, SUMMARIES

__all__ = [
    "DEEPEST",
    "cast_value",
    "constant_of",
    "downsample_value",
    "elementwise_value",
    "field_value",
    "filled",
    "is_final",
    "made_of",
    "may_fail",
    "reduce_value",
    "scalar",
    "value_of",
]

_LANES = 4
"""A value is computed in this many lanes: NumPy has other loops for arrays than for one scalar."""

_MOST_MEANT = 1 << 31
"""Windows of so many integers have no mean (``exec.kernels.downsample_mean``)."""

_PLAIN = "biufcV"


def constant_of(node: Node) -> bytes | None:
    """The scalar that every element of ``node`` is, if that is how it is written; else None.

    >>> from lazytensor.plan.nodes import Constant
    >>> constant_of(Constant.of(7, np.dtype("u1")))
    b'\\x07'
    """
    if type(node) is View:
        node = node.x
    return node.data if type(node) is Constant else None


def filled(node: Node, data: bytes) -> Node:
    """The constant of these bytes with the domain and dtype of ``node``."""
    constant = Constant(node.dtype, data)
    return View(constant, IndexTransform._make(node.domain, ())) if node.shape else constant


def scalar(data: bytes, dtype: np.dtype) -> np.ndarray:
    """The bytes of a scalar as a read-only 0-d array.

    >>> scalar(b"\\x07", np.dtype("u1"))
    array(7, dtype=uint8)
    """
    return np.frombuffer(data, dtype).reshape(())


def _lanes(data: bytes, dtype: np.dtype) -> np.ndarray:
    return np.frombuffer(data * _LANES, dtype)


def elementwise_value(
    op: str, dtypes: Sequence[np.dtype], values: Sequence[bytes], dtype: np.dtype
) -> bytes | None:
    """What an elementwise operation makes of constant operands.

    >>> one, two = (np.int16(n).tobytes() for n in (1, 2))
    >>> elementwise_value("add", [np.dtype("i2")] * 2, [one, two], np.dtype("i2"))
    b'\\x03\\x00'
    """
    if any(d.kind not in _PLAIN for d in dtypes):
        return None
    operands = [_lanes(data, d) for data, d in zip(values, dtypes, strict=True)]
    try:
        result = OPERATIONS[op].evaluate(*operands)
    except (DTypeError, ValueError):
        # An integer to a negative power, NaN that is refused: it stays in the plan, which raises
        # when it is computed.
        return None
    return result[:1].tobytes() if result.dtype == dtype else None


def cast_value(data: bytes, dtype: np.dtype, to: np.dtype) -> bytes | None:
    """A constant in another dtype; None where that depends on the processor.

    >>> cast_value(np.float64(2.9).tobytes(), np.dtype("f8"), np.dtype("i1"))
    b'\\x02'
    >>> print(cast_value(np.float64(np.nan).tobytes(), np.dtype("f8"), np.dtype("i1")))
    None
    """
    if dtype == to:
        return data
    kinds = number_kind(dtype), number_kind(to)
    if not all(kind in "biufc" for kind in kinds):
        return None
    values = _lanes(data, dtype)
    if kinds[0] == "c" and kinds[1] not in "cb":
        values = values.real
    if kinds[1] in "iu" and (kinds[0] in "fc" or to.kind == "V") and not _fits(values[0], to):
        return None
    with np.errstate(all="ignore"):
        return values.astype(to)[:1].tobytes()


def _fits(value: np.generic, to: np.dtype) -> bool:
    """Whether a number, cut off at the point, is among the integers of a dtype."""
    number = float(value)
    if not math.isfinite(number):
        return False
    if to.kind == "V":
        bits = int("".join(c for c in to.name if c.isdigit()))
        low = 0 if number_kind(to) == "u" else -(1 << (bits - 1))
        return low <= math.trunc(number) < low + (1 << bits)
    bounds = np.iinfo(to)
    return int(bounds.min) <= math.trunc(number) <= int(bounds.max)


def field_value(data: bytes, dtype: np.dtype, name: str) -> bytes:
    """One field of a constant structure."""
    values = np.frombuffer(data, dtype)[name]
    return values.tobytes()


def reduce_value(node: Reduce, data: bytes, shape: Sequence[int]) -> bytes | None:
    """Every result of a reduction, over its axes, of a constant with these extents.

    Float sums, means, products and variances are as near the true value as a block by block
    reduction is, and nearer as a rule.
    """
    row, params = SUMMARIES[node.op], dict(node.params)
    count = math.prod(shape[d] for d in node.axes_)
    if node.x.dtype.kind not in _PLAIN or count <= params.get("correction", 0):
        # Nothing is left to divide by: rounding in a block decides between NaN and infinity.
        return None
    value = scalar(data, node.x.dtype)
    state = row.repeated(value, count, (1,) * len(shape), node.axes_, params=params)
    if state is None:
        return None
    done = row.finish(state, dtype=node.x.dtype, count=count, params=params)
    return done.astype(node.dtype, copy=False).tobytes()


def is_final(node: Reduce, value: np.ndarray) -> bool:
    """Whether a reduction over some elements that are ``value`` (0-d) is decided, whatever follows.

    >>> x = lt.zeros((2, 2), dtype=lt.uint8)
    >>> [is_final(f(x)._node, np.uint8(0)) for f in (lt.min, lt.max, lt.all, lt.any)]
    [True, False, True, False]
    """
    if node.op == "any":
        return bool(value)
    if node.op == "all":
        return not value
    if node.op not in ("min", "max"):
        return False
    kind = value.dtype.kind
    if kind in "fc":
        return bool(value != value)
    if kind == "b":
        return bool(value) == (node.op == "max")
    if kind not in "iu":
        return False
    bounds = np.iinfo(value.dtype)
    return int(value) == int(bounds.min if node.op == "min" else bounds.max)


def downsample_value(
    data: bytes, dtype: np.dtype, factors: Sequence[int], method: str
) -> bytes | None:
    """What downsampling makes of a constant, in whole windows and in partial ones.

    Means of floats are sums in the order of the window, divided: exact if all those sums are.

    >>> [downsample_value(np.float32(v).tobytes(), np.dtype("f4"), (9, 9), "mean") is not None
    ...     for v in (0.0, 1.5, 0.1, np.inf)]
    [True, True, False, True]
    """
    kind = dtype.kind
    places = math.prod(factors)
    if kind in "biu":
        return data if method != "mean" or places < _MOST_MEANT else None
    if kind not in "fc" or dtype.itemsize > (8 if kind == "f" else 16):
        return None
    value = scalar(data, dtype)
    parts = [value.real, value.imag] if kind == "c" else [value]
    # Floats of up to 32 bits are added as float32.
    precision = 53 if parts[0].dtype.itemsize == 8 else 24
    limit = float(np.finfo(np.float64 if precision == 53 else np.float32).max)
    return data if all(_keeps(float(p), method, places, precision, limit) for p in parts) else None


def _keeps(value: float, method: str, places: int, precision: int, limit: float) -> bool:
    """Whether a window of ``places`` equal floats gives that float again."""
    if math.isnan(value) or (value == 0 and math.copysign(1, value) < 0):
        return False
    if method != "mean" or not math.isfinite(value):
        return True
    if abs(value) * places > limit:
        return False
    from fractions import Fraction

    digits = abs(Fraction(value).numerator).bit_length()
    return digits + places.bit_length() <= precision


def _same(node: Node, values: Sequence[bytes]) -> bytes | None:
    first = values[0]
    return first if all(value == first for value in values) else None


def _of_view(node: View, values: Sequence[bytes]) -> bytes | None:
    """Values of index arrays are checked where they are used, so they have to be."""
    return None if node.transform.has_arrays else values[0]


def _of_elementwise(node: Elementwise, values: Sequence[bytes]) -> bytes | None:
    return elementwise_value(node.op, [x.dtype for x in node.inputs], values, node.dtype)


def _of_cast(node: Cast, values: Sequence[bytes]) -> bytes | None:
    return cast_value(values[0], node.x.dtype, node.to)


def _of_field(node: Field, values: Sequence[bytes]) -> bytes | None:
    return field_value(values[0], node.x.dtype, node.name)


def _of_downsample(node: Downsample, values: Sequence[bytes]) -> bytes | None:
    return downsample_value(values[0], node.dtype, node.factors, node.method)


def _of_reduce(node: Reduce, values: Sequence[bytes]) -> bytes | None:
    return reduce_value(node, values[0], node.x.shape)


_VALUES: dict[type[Node], Callable[[Any, Sequence[bytes]], bytes | None]] = {
    View: _of_view,
    Rechunk: _same,
    Cache: _same,
    Reshape: _same,
    Elementwise: _of_elementwise,
    Cast: _of_cast,
    Field: _of_field,
    Downsample: _of_downsample,
    Reduce: _of_reduce,
    Join: _same,
    Overlay: _same,
}
"""Kinds that are not here make no constants of constants, or show more than values."""


def made_of(node: Node, values: Sequence[bytes]) -> bytes | None:
    """What ``node`` is where its inputs are constant: one value for each of them that is seen."""
    rule = _VALUES.get(type(node))
    return None if rule is None or not node.size else rule(node, values)


DEEPEST = 6
"""Operations below a node up to which it is asked whether all it is made of is constant."""


def value_of(root: Node) -> bytes | None:
    """The scalar that every element of ``root`` is, where it is made of constants alone.

    Asked of every node of a plan, so it must not go far: one way down is looked at first, which as
    a rule ends at a source, and nothing where the longest is long.

    >>> value_of((lt.ones((2, 2), dtype=lt.uint8) + 4)._node), value_of(lt.asarray([1, 1])._node)
    (b'\\x05', None)
    """
    if root.height > DEEPEST or not _ends_in_constant(root):
        return None
    known: dict[Node, bytes] = {}
    stack = [root]
    while stack:
        node = stack[-1]
        waiting = [x for x in node.inputs if x not in known]
        if waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        values = [known[x] for x in node.inputs]
        # What an overlay is between its layers is no input of it.
        looked_into = bool(values) and type(node) is not Overlay
        value = constant_of(node) or (made_of(node, values) if looked_into else None)
        if value is None:
            return None
        known[node] = value
    return known[root]


def _ends_in_constant(node: Node) -> bool:
    while inputs := node.inputs:
        node = inputs[0]
        if type(node) is Constant and len(inputs) > 1:
            node = inputs[1]
    return type(node) is Constant


_HARMLESS = frozenset(
    ("Scan", "Constant", "View", "Cast", "Field", "Elementwise", "Reduce", "Join", "Overlay",
     "Downsample", "Reshape", "Rechunk", "Cache", "Spread")
)  # fmt: skip
_MOST_LOOKED_AT = 256


def may_fail(root: Node) -> bool:
    """Whether computing a plan might show something besides its values.

    That is an error that its values cause (a hole of an overlay, an integer to a negative power,
    an index array that leads out), or the call of a user's function. What must not happen
    unnoticed is not left out of a plan. True also for plans that are too large to look at.

    >>> may_fail((lt.ones(3) + 1)._node), may_fail(lt.overlay([lt.ones(3)])._node)
    (False, True)
    """
    seen = {root}
    stack = [root]
    while stack:
        node = stack.pop()
        if _fails_itself(node) or len(seen) > _MOST_LOOKED_AT:
            return True
        for x in node.inputs:
            if x not in seen:
                seen.add(x)
                stack.append(x)
    return False


def _fails_itself(node: Node) -> bool:
    name = type(node).__name__
    if name not in _HARMLESS:
        return True
    if isinstance(node, View):
        return node.transform.has_arrays
    if isinstance(node, Elementwise):
        return node.op == "without_nan" or (node.op == "pow" and node.dtype.kind in "iu")
    if isinstance(node, Cast):
        return node.x.dtype.kind not in _PLAIN
    return name == "Overlay" and node.fill is None  # type: ignore[attr-defined]
