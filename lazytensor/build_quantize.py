"""Nodes of what is quantized, and of what comes back: parameters and values.

As the other ``build`` modules these know nodes and no tensors. Everything is made of operations of
the table: parameters of two reductions of what is quantized, which one pass computes, and some
arithmetic; values of an elementwise operation on those. So nothing here has to be known to engines.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lazytensor import build_views
from lazytensor.build import as_node
from lazytensor.errors import DTypeError, ShapeError
from lazytensor.per_dim import dim_number
from lazytensor.plan.align import describe_shape
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cast, Constant, Elementwise, Reduce, Reshape, View
from lazytensor.plan.nodes_join import Join
from lazytensor.plan.nodes_quantize import Spread
from lazytensor.plan.ops_quantize import quantize_row, scale_row, zero_point_row
from lazytensor.plan.output_map import single_map
from lazytensor.plan.promote import is_extended
from lazytensor.plan.quantization import (
    MODES,
    NAN_POLICIES,
    Layout,
    QType,
    check_count,
    layout_of,
    qtype_of,
)

__all__ = ["Quantized", "dequantize", "quantize"]

_FLOAT32 = np.dtype(np.float32)


class Quantized(NamedTuple):
    """Nodes of a quantized tensor: values, and one dim of scales and of zero points each."""

    data: Node
    scales: Node
    zero_points: Node
    qtype: QType
    layout: Layout


def dequantize(
    data: Any,
    scales: Any,
    zero_points: Any,
    *,
    scheme: str = "per_tensor",
    axis: int | str = 0,
    group_size: int = 0,
    dtype: Any = _FLOAT32,
) -> Node:
    """Node of ``(data - zero_point) * scale`` in float32, cast to ``dtype``.

    ``data``: int8 or uint8, one value an element. ``scales``, ``zero_points``: one dim of real
    numbers, as many as the scheme takes. A slice of the result reads the same slice of ``data``,
    and the parameters of its groups. Raises ``DTypeError``, ``ShapeError``, ``DimensionError`` or
    ``ValueError``.

    >>> dequantize(np.int8([[1, 2], [3, 4]]), np.float32([1, 10]), np.float32([0, 0]),
    ...     scheme="per_channel")
    <Elementwise (2, 2) float32>
    """
    node = as_node(data)
    if node.dtype not in (np.dtype(np.int8), np.dtype(np.uint8)):
        raise DTypeError(f"quantized values are int8 or uint8, one an element, not {node.dtype}")
    layout = _layout(node, scheme, axis, group_size)
    pair = [
        _in_place(node, layout, _given(given, layout, name))
        for given, name in ((scales, "scales"), (zero_points, "zero points"))
    ]
    found = Elementwise("dequantize", (node, pair[0], pair[1]))
    return build_views.cast(found, dtype)


def quantize(
    x: Any,
    dtype: Any,
    scheme: str,
    *,
    axis: int | str = 0,
    group_size: int = 0,
    scales: Any = None,
    zero_points: Any = None,
    mode: str = "safe",
    nan: str = "ignore",
) -> Quantized:
    """Nodes of a tensor quantized; see ``functions_quantize.quantize``."""
    node, qtype = as_node(x), qtype_of(dtype)
    if node.dtype.kind not in "biuf" and not is_extended(node.dtype):
        what = "; take .real or .imag of it" if node.dtype.kind == "c" else ""
        raise DTypeError(f"quantize takes real numbers, not {node.dtype}{what}")
    for name, value, known in (("mode", mode, MODES), ("nan", nan, NAN_POLICIES)):
        if value not in known:
            raise ValueError(f"{name}={value!r} is none of {', '.join(known)}")
    layout = _layout(node, scheme, axis, group_size)
    if (scales is None) != (zero_points is None):
        raise ValueError("scales and zero_points belong together: give both of them, or neither")
    if scales is None:
        pair = _parameters(node, qtype, layout, mode, nan)
        flat = [_flat(one, layout) for one in pair]
    else:
        flat = [_given(scales, layout, "scales"), _given(zero_points, layout, "zero points")]
        pair = [_in_place(node, layout, one) for one in flat]
        flat = [_flat(one, layout) for one in flat]
    operands = [_spread(node, layout, one) for one in pair] if scales is None else pair
    data = Elementwise(quantize_row(qtype), (node, operands[0], operands[1]))
    return Quantized(data, flat[0], flat[1], qtype, layout)


def _layout(x: Node, scheme: str, axis: int | str, group_size: int) -> Layout:
    """The layout, whose axis may be given by name."""
    number = dim_number(x.domain, axis) if scheme == "per_channel" else 0
    return layout_of(x.shape, scheme, number, group_size)


def _given(given: Any, layout: Layout, name: str) -> Node:
    """Parameters that somebody has: one dim of float32, or a scalar for a whole tensor."""
    one = layout.scheme == "per_tensor"
    if one and (isinstance(given, (int, float, np.generic)) or _is_one(given)):
        with np.errstate(all="ignore"):
            return Constant.of(np.asarray(given).reshape(()).astype(_FLOAT32), _FLOAT32)
    node = as_node(given)
    if node.dtype.kind not in "biuf" and not is_extended(node.dtype):
        raise DTypeError(f"{name} are real numbers, not {node.dtype}")
    if node.ndim > 1 or (node.ndim == 0 and not one):
        raise ShapeError(f"{name} have one dim, unlike {describe_shape(node.domain)}")
    check_count(layout, node.size, name)
    node = node if node.dtype == _FLOAT32 else Cast(node, _FLOAT32)
    return build_views.picked(node, 0, 0) if one and node.ndim else build_views.to_origin(node)


def _is_one(given: Any) -> bool:
    """Whether this is one number in memory: then it is a constant of the plan."""
    array = isinstance(given, np.ndarray) and given.dtype.kind in "biuf"
    return array and given.ndim <= 1 and given.size == 1


def _flat(parameter: Node, layout: Layout) -> Node:
    """Parameters as one dim, from 0 and without a name."""
    if parameter.shape == (layout.number,):
        return build_views.to_origin(parameter)
    if type(parameter) is Constant:
        return View(parameter, IndexTransform._make(IndexDomain._make((0,), (1,)), ()))
    return build_views.reshape(parameter, (layout.number,))


# Where parameters stand beside the values.


def _in_place(x: Node, layout: Layout, flat: Node) -> Node:
    """One dim of parameters as an operand that broadcasts to ``x``."""
    if layout.scheme == "per_tensor":
        return flat
    if layout.scheme == "per_channel":
        return _along(x, layout.axis, flat)
    rows = _rows(x, layout.group_size)
    return _spread(x, layout, Reshape(flat, rows) if len(rows) > 1 else flat)


def _along(x: Node, axis: int, flat: Node) -> Node:
    """One dim of values along a dim of ``x``, at its coordinates."""
    domain, rank = x.domain, x.ndim - axis
    lo = (domain.inclusive_min[axis], *(0,) * (rank - 1))
    hi = (domain.exclusive_max[axis], *(1,) * (rank - 1))
    free = (domain.implicit_lower_bounds[axis], *(True,) * (rank - 1))
    shown = IndexDomain._make(lo, hi, None, free, free)
    return View(flat, IndexTransform._make(shown, (single_map(0, -lo[0], 1),)))


def _rows(x: Node, group: int) -> tuple[int, ...]:
    """The shape of the parameters of groups: by rows, where rows are whole groups.

    Then the groups of a part of each row belong to that part alone.
    """
    if x.ndim > 1 and x.shape[-1] and x.shape[-1] % group == 0:
        return (*x.shape[:-1], x.shape[-1] // group)
    return (-(-x.size // group),)


def _spread(x: Node, layout: Layout, parameters: Node) -> Node:
    """Parameters of groups (of the shape ``_rows``) for each element of ``x``; others as they are.

    Both count positions: elements by their coordinates, parameters from 0.
    """
    if layout.scheme != "per_group":
        return parameters
    origin, group, rank = x.domain.inclusive_min, layout.group_size, x.ndim
    if parameters.ndim == 1:
        strides = [1] * rank
        for d in range(rank - 2, -1, -1):
            strides[d] = strides[d + 1] * x.shape[d + 1]
        offset = -sum([s * lo for s, lo in zip(strides, origin, strict=True)])
        return Spread(parameters, x.domain, (), tuple(strides), offset, group)
    if any(origin[:-1]):
        domain = IndexDomain._make(
            (*origin[:-1], 0), (*x.domain.exclusive_max[:-1], parameters.shape[-1])
        )
        maps = [single_map(d, -lo, 1) for d, lo in enumerate(domain.inclusive_min)]
        parameters = View(parameters, IndexTransform._make(domain, tuple(maps)))
    strides = [0] * (rank - 1) + [1]
    return Spread(parameters, x.domain, tuple(range(rank - 1)), tuple(strides), -origin[-1], group)


# Parameters from values.


def _parameters(x: Node, qtype: QType, layout: Layout, mode: str, nan: str) -> list[Node]:
    """Scale and zero point nodes: 0-d, with dims of extent 1, or of the shape ``_rows``."""
    if not x.size:
        return _parameters_of_nothing(x, layout)
    if layout.scheme == "per_group":
        return _group_parameters(x, qtype, layout.group_size, mode, nan)
    kept = (layout.axis,) if layout.scheme == "per_channel" else ()
    axes = tuple([d for d in range(x.ndim) if d not in kept])
    return _of_range(x, axes, bool(kept), qtype, mode, nan)


def _parameters_of_nothing(x: Node, layout: Layout) -> list[Node]:
    shape = (layout.number,) if layout.scheme != "per_tensor" else ()
    domain = IndexDomain._make((0,) * len(shape), shape)
    pair: list[Node] = []
    for value in (1, 0):
        one: Node = Constant.of(value, _FLOAT32)
        one = View(one, IndexTransform._make(domain, ())) if shape else one
        pair.append(_along(x, layout.axis, one) if layout.scheme == "per_channel" else one)
    return pair


def _of_range(
    x: Node, axes: tuple[int, ...], keepdims: bool, qtype: QType, mode: str, nan: str
) -> list[Node]:
    low, high = _range(x, axes, keepdims, mode, nan)
    scale = Elementwise(scale_row(qtype, mode), (low, high))
    return [scale, Elementwise(zero_point_row(qtype, mode), (low, high, scale))]


def _range(
    x: Node, axes: tuple[int, ...], keepdims: bool, mode: str, nan: str
) -> tuple[Node, Node]:
    """The least and the largest value that count, over some axes, as float32.

    All that is asked of ``x`` is asked over the same axes, so that one pass answers it.
    """

    def summary(op: str) -> Node:
        return _cast(Reduce(op, x, axes, keepdims, ()))

    if x.dtype.kind in "biu" or (is_extended(x.dtype) and "float" not in x.dtype.name):
        # Nothing is infinite or NaN, and what is largest stays so when it is rounded.
        return summary("min"), summary("max")
    x = _cast(x)
    safe = mode == "safe"
    low, high = (summary(f"finite_{op}" if safe else op) for op in ("min", "max"))
    if nan == "raise":
        low = Elementwise("without_nan", (low, summary("max") if safe else high))
    elif safe and nan == "propagate":
        # NaN if there is one, else what it was.
        seen = summary("max")
        low = Elementwise("where", (Elementwise("isnan", (seen,)), seen, low))
    return low, high


def _cast(x: Node) -> Node:
    return x if x.dtype == _FLOAT32 else Cast(x, _FLOAT32)


def _group_parameters(x: Node, qtype: QType, group: int, mode: str, nan: str) -> list[Node]:
    rows = _rows(x, group)
    if len(rows) > 1:
        split = Reshape(x, (*rows, group))
        return _of_range(split, (len(rows),), False, qtype, mode, nan)
    flat = build_views.to_origin(x) if x.ndim == 1 else Reshape(x, (x.size,))
    whole = x.size // group * group
    pairs = []
    if whole:
        body = flat if whole == x.size else build_views.sliced(flat, 0, 0, whole)
        split = Reshape(body, (whole // group, group))
        pairs.append(_of_range(split, (1,), False, qtype, mode, nan))
    if whole < x.size:
        rest = build_views.to_origin(build_views.sliced(flat, 0, whole, x.size))
        pairs.append(_of_range(Reshape(rest, (1, x.size - whole)), (1,), False, qtype, mode, nan))
    if len(pairs) == 1:
        return pairs[0]
    return [Join((one, other), 0, False, "") for one, other in zip(*pairs, strict=True)]
