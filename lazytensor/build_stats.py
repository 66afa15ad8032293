"""Nodes of statistics: quantiles, histograms, statistics under a mask, normalised values.

As the other ``build`` modules these know nodes and no tensors. Arguments are checked here, on the
line that builds the node.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lazytensor import build_views
from lazytensor.build import AxisLike, as_node, normalize_axes, on_nodes
from lazytensor.errors import DTypeError, ShapeError
from lazytensor.plan.align import alignment, describe_shape, merge_domains, without_dims
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.memory import array_node
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cast, Constant, Reduce, View
from lazytensor.plan.nodes_sketch import Edges, Histogram, Masked, MaskedReduce, Quantile
from lazytensor.plan.ops import REDUCTIONS
from lazytensor.plan.ops_sketch import MASKED, edges_between, element_dtype
from lazytensor.plan.promote import is_extended, is_extended_float

__all__ = [
    "KEPT_BY_DEFAULT",
    "count",
    "histogram",
    "masked",
    "normalize",
    "quantile",
    "reduced_axes",
    "statistic",
]

KEPT_BY_DEFAULT = "c"
"""The dim for each position of which ``normalize`` finds limits of its own, if there is one."""

_BINS = 256
_FLOAT64 = np.dtype(np.float64)
_INT64 = np.dtype(np.int64)
_Q_DTYPES = frozenset(map(np.dtype, ("f2", "f4", "f8", "i8")))


def reduced_axes(node: Node, axis: AxisLike, by: AxisLike) -> tuple[int, ...]:
    """The axes that a statistic looks along: ``axis``, or all but those of ``by``.

    >>> reduced_axes(as_node(np.zeros((2, 3, 4))), None, 0)
    (1, 2)
    """
    if axis is not None and by is not None:
        raise TypeError(
            f"axis={axis!r} says what is reduced and by={by!r} what is kept; give one of them"
        )
    if by is None:
        return normalize_axes(node, axis)
    kept = normalize_axes(node, by)
    return tuple(d for d in range(node.ndim) if d not in kept)


def masked(x: Node, mask: Any) -> Node:
    """Records of the elements and whether they count, for a mask that broadcasts to ``x``."""
    if mask is None:
        return x
    node = as_node(mask)
    if node.dtype.kind != "b":
        raise DTypeError(f"a mask is boolean, not {node.dtype}; compare it with something")
    if node.ndim > x.ndim:
        raise ShapeError(
            f"a mask of shape {describe_shape(node.domain)} has more dims than the tensor, "
            f"{describe_shape(x.domain)}"
        )
    domain = merge_domains([x.domain, node.domain])
    if domain.shape != x.shape:
        raise ShapeError(
            f"a mask of shape {describe_shape(node.domain)} does not broadcast to "
            f"{describe_shape(x.domain)}"
        )
    # Positions pair up, whatever the coordinates of the mask are.
    transform = alignment(x.domain, node.domain)
    return Masked(x, node if transform is None else View(node, transform))


def count(x: Node, axes: tuple[int, ...]) -> Node:
    """How many elements there are at every kept position (int64)."""
    if isinstance(x, Masked):
        return MaskedReduce("count", x, axes, False, ())
    total = int(np.prod([x.shape[d] for d in axes], dtype=object))
    return _everywhere(x, axes, Constant.of(total, _INT64))


def _everywhere(x: Node, axes: tuple[int, ...], value: Constant) -> Node:
    """A scalar at every kept position."""
    domain = without_dims(x.domain, axes)
    return View(value, IndexTransform._make(domain, ())) if domain.rank else value


def statistic(name: str, x: Node, axes: tuple[int, ...], *, keepdims: bool = False) -> Node:
    """Node of a reduction by its name, of a tensor or of what a mask selects of it."""
    if isinstance(x, Masked):
        row = MASKED[name]
        return MaskedReduce(name, x, axes, keepdims, row.parameters)
    empty = any(x.shape[d] == 0 for d in axes)
    if name in ("min", "max") and empty and (x.dtype.kind == "f" or is_extended_float(x.dtype)):
        return _everywhere(x, axes, Constant.of(np.nan, x.dtype))
    params = tuple([one for one in REDUCTIONS[name].parameters if one[0] != "dtype"])
    return Reduce(name, x, axes, keepdims, params)


def quantile(x: Node, q: Any, axes: tuple[int, ...], *, approx: bool = False) -> Node:
    """Node of quantiles; ``q`` is a number or an array of them.

    Raises ``ValueError`` for a q outside 0..1, ``DTypeError`` for what has no order.
    """
    weak = type(q) in (int, float)
    asked = np.array(q, order="C")
    if asked.dtype.kind not in "iuf":
        raise DTypeError(f"quantiles are numbers between 0 and 1, not {asked.dtype}")
    # A count under a mask may be none, and then there is no element to choose.
    whole = asked.dtype.kind in "iu" and not isinstance(x, Masked)
    if asked.dtype not in _Q_DTYPES or (asked.dtype.kind in "iu" and not whole):
        asked = asked.astype(np.int64 if whole else np.float64)
    return Quantile(x, axes, asked.tobytes(), asked.dtype, asked.shape, weak, bool(approx))


def histogram(x: Node, bins: Any, range: Any, axes: tuple[int, ...]) -> tuple[Node, Node]:
    """Nodes of the counts and of the edges of their bins.

    ``bins``: how many, or their edges; None for one each value of small integers. Raises
    ``ValueError`` for bins and ranges that NumPy would not take either.
    """
    edges = _edges(x, bins, range, axes)
    return Histogram(x, edges, axes), edges


def _edges(x: Node, bins: Any, limits: Any, axes: tuple[int, ...]) -> Node:
    dtype = element_dtype(x.dtype)
    if dtype.kind not in "biuf" and not is_extended(dtype):
        raise DTypeError(f"histograms are not defined for {dtype}: they take real numbers")
    if isinstance(bins, str):
        raise TypeError(f"bins are a number or edges, not {bins!r}")
    if bins is not None and np.ndim(bins):
        return _given_edges(bins)
    if bins is None and limits is None:
        limits = _each_value(dtype)
    number = _number_of_bins(bins, limits, dtype)
    if limits is None and not x.size:
        limits = 0.0, 1.0
    if limits is None:
        low, high = (statistic(name, x, axes) for name in ("min", "max"))
        return Edges(low, high, number, dtype, False)
    low, high = (Constant.of(limit, _FLOAT64) for limit in _pair(limits, "range"))
    if low.value > high.value:
        raise ValueError(f"range=(low, high) ascends, unlike {limits!r}")
    edges_between(low.value, high.value, number, dtype, weak=True)  # says what is wrong with them
    return Edges(low, high, number, dtype, True)


def _pair(given: Any, what: str) -> tuple[float, float]:
    """Two numbers, a low and a high one."""
    try:
        low, high = given
        return float(low), float(high)
    except (TypeError, ValueError):
        raise ValueError(f"{what} is two numbers, a low and a high one, not {given!r}") from None


def _given_edges(bins: Any) -> Node:
    edges = np.array(bins)
    if edges.ndim != 1 or len(edges) < 2 or edges.dtype.kind not in "biuf":
        raise ValueError("edges of bins are one dim of at least two real numbers")
    if not (edges[:-1] <= edges[1:]).all():
        raise ValueError("edges of bins must ascend")
    return array_node(edges)


def _each_value(dtype: np.dtype) -> tuple[int, int] | None:
    """From the least value to one beyond the largest, for integers of up to 16 bits."""
    if dtype.kind == "b":
        return 0, 2
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max) + 1
    return None


def _number_of_bins(bins: Any, limits: Any, dtype: np.dtype) -> int:
    if bins is None:
        own = _each_value(dtype)
        return _BINS if own is None or tuple(limits) != own else own[1] - own[0]
    try:
        number = int(np.asarray(bins).__index__())
    except TypeError:
        raise TypeError(f"bins are a whole number or edges, not {bins!r}") from None
    if number < 1:
        raise ValueError(f"a histogram has at least one bin, not {number}")
    return number


def normalize(
    x: Node,
    *,
    percentiles: Sequence[float] | None,
    window: Sequence[Any] | None,
    zscore: bool,
    by: AxisLike,
    clip: bool,
    dtype: Any,
) -> Node:
    """See ``functions_stats.normalize``."""
    given = [percentiles is not None, window is not None, bool(zscore)]
    if sum(given) != 1:
        raise TypeError(
            "normalize takes one of percentiles=(low, high), window=(low, high) and zscore=True"
        )
    if x.dtype.kind not in "biuf" and not is_extended(x.dtype):
        raise DTypeError(f"normalize is not defined for {x.dtype}: it takes real numbers")
    to = build_views.as_dtype(dtype)
    if to.kind != "f" and not is_extended_float(to):
        raise DTypeError(f"normalized values are floats, not {to}")
    axes = reduced_axes(x, None, _kept_by(x, by))
    work = _FLOAT64 if to == _FLOAT64 else np.dtype(np.float32)
    if zscore:
        low = _cast(statistic("mean", x, axes, keepdims=True), work)
        span = _cast(statistic("std", x, axes, keepdims=True), work)
    else:
        low, high = (_cast(limit, work) for limit in _limits(x, axes, percentiles, window))
        span = on_nodes("subtract", high, low)
    shifted = on_nodes("subtract", _cast(x, work), low)
    zero = Constant.of(0, work)
    flat = on_nodes("equal", span, zero)
    # Where there is no span the divisor is 1, so that nothing is divided by zero.
    scaled = on_nodes("divide", shifted, on_nodes("where", flat, Constant.of(1, work), span))
    scaled = on_nodes("where", flat, zero, scaled)
    if clip and not zscore:
        scaled = on_nodes("clip", scaled, zero, Constant.of(1, work))
    return _cast(scaled, to)


def _kept_by(x: Node, by: AxisLike) -> AxisLike:
    if by is not None:
        return by
    return KEPT_BY_DEFAULT if KEPT_BY_DEFAULT in x.domain.labels else ()


def _cast(x: Node, dtype: np.dtype) -> Node:
    return x if x.dtype == dtype else Cast(x, dtype)


def _limits(
    x: Node,
    axes: tuple[int, ...],
    percentiles: Sequence[float] | None,
    window: Sequence[Any] | None,
) -> tuple[Node, Node]:
    """Low and high limit, each of a shape that broadcasts to ``x``."""
    if percentiles is not None:
        low, high = _pair(percentiles, "percentiles")
        if not 0 <= low <= high <= 100:
            raise ValueError(f"percentiles ascend between 0 and 100, unlike {percentiles!r}")
        found = quantile(x, np.true_divide((low, high), 100), axes)
        pair = [build_views.picked(found, 0, i) for i in (0, 1)]
    else:
        pair = _window(window)
    return _in_place(x, axes, pair[0]), _in_place(x, axes, pair[1])


def _window(given: Any) -> list[Node]:
    try:
        low, high = given
    except (TypeError, ValueError):
        raise ValueError(f"window is two limits, a low and a high one, not {given!r}") from None
    pair = [as_node(low), as_node(high)]
    for limit in pair:
        if limit.dtype.kind not in "biuf" and not is_extended(limit.dtype):
            raise DTypeError(f"limits of a window are real numbers, not {limit.dtype}")
    return pair


def _in_place(x: Node, axes: tuple[int, ...], limit: Node) -> Node:
    """A limit for each kept position with its dims where those of ``x`` are."""
    kept = [n for d, n in enumerate(x.shape) if d not in axes]
    if not limit.ndim or len(kept) == x.ndim:
        return limit
    if limit.shape == tuple(kept):
        return build_views.expand_dims(limit, axes)
    if limit.ndim == x.ndim and all(limit.shape[d] in (1, n) for d, n in enumerate(x.shape)):
        return limit
    raise ShapeError(
        f"a limit of shape {describe_shape(limit.domain)} is neither a number nor one for each of "
        f"the kept positions {tuple(kept)} of {describe_shape(x.domain)}"
    )
