"""``pad`` as overlays of views, value for value what ``numpy.pad`` gives.

Padding never copies: a border of constants is an overlay with a fill value; edges, reflections and
wrapped copies are views of the tensor itself (flipped, shifted, stretched) laid beside it.
Positions beyond the tensor follow a periodic rule, so a dim is cut into stretches on which that
rule is affine: one view each. A dim much smaller than its padding would be cut into very many, and
is gathered with an index array instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from lazytensor.build_join import overlay
from lazytensor.build_views import view_maps
from lazytensor.errors import DTypeError, ShapeError
from lazytensor.per_dim import by_dim
from lazytensor.plan.align import describe_shape
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import OutputIndexMap
from lazytensor.plan.index_interval import check_interval
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Constant
from lazytensor.plan.nodes_join import Overlay
from lazytensor.plan.output_map import IDENTITY, constant_map, single_map

__all__ = ["MODES", "pad"]

_MOST_STRETCHES = 16

Widths = list[tuple[int, int]]


def pad(node: Node, pad_width: Any, mode: str, constant_values: Any) -> Node:
    """See ``functions.pad``."""
    if mode not in MODES:
        raise ValueError(f"pad: mode {mode!r} is not one of {', '.join(MODES)}")
    widths = _widths(node, pad_width)
    for d, (before, after) in enumerate(widths):
        lo, hi = node.domain.inclusive_min[d], node.domain.exclusive_max[d]
        check_interval(lo - before, hi + after)
    if mode == "constant":
        return _pad_constant(node, widths, constant_values)
    for d, (before, after) in enumerate(widths):
        if before or after:
            node = _pad_dim(node, d, before, after, MODES[mode])
    return node


def _pairs(node: Node, given: Any, neutral: int, what: str) -> np.ndarray:
    """``given`` as numpy.pad takes it, or by dim name, as one pair per dim."""
    if isinstance(given, Mapping):
        pairs = [(neutral, neutral)] * node.ndim
        for d, value in by_dim(node.domain, given).items():
            pairs[d] = tuple(np.broadcast_to(np.asarray(value), (2,)))
        given = pairs
    values = np.asarray(given)
    try:
        return np.broadcast_to(values, (node.ndim, 2))
    except ValueError:
        raise ShapeError(
            f"pad: {what} of shape {values.shape} do not give a (before, after) pair to each dim "
            f"of {describe_shape(node.domain)}"
        ) from None


def _widths(node: Node, pad_width: Any) -> Widths:
    pairs = _pairs(node, pad_width, 0, "pad_width")
    if pairs.size and pairs.dtype.kind not in "iu":
        raise TypeError(f"pad: widths are integers, not {pairs.dtype}")
    if (pairs < 0).any():
        raise ShapeError(f"pad: widths must not be negative, found {pairs.tolist()}")
    return [(int(before), int(after)) for before, after in pairs]


def _pad_constant(node: Node, widths: Widths, constant_values: Any) -> Node:
    if not any(before or after for before, after in widths):
        return node
    if node.dtype.hasobject:
        raise DTypeError(
            f"pad: no constant border for {node.dtype}: its text has no fixed size; "
            f"cast to a fixed-width string, or use another mode"
        )
    values = _pairs(node, constant_values, 0, "constant_values")
    try:
        with np.errstate(all="ignore"):
            given = values.astype(node.dtype)
    except (TypeError, ValueError) as error:
        raise DTypeError(f"pad: constant_values are no {node.dtype}: {error}") from None
    # Taken from the array: string scalars forget the width of their dtype.
    fills = [[given[d, i : i + 1].tobytes() for i in range(2)] for d in range(node.ndim)]
    if len({fill for pair in fills for fill in pair}) == 1:
        return Overlay.of((node,), _grown(node, dict(enumerate(widths))), fills[0][0])
    for d, (before, after) in enumerate(widths):
        if before or after:
            node = _pad_dim_constant(node, d, before, after, fills[d])
    return node


def _grown(node: Node, widths: dict[int, tuple[int, int]]) -> IndexDomain:
    around = [widths.get(d, (0, 0)) for d in range(node.ndim)]
    return IndexDomain._make(
        tuple([a - w[0] for a, w in zip(node.domain.inclusive_min, around, strict=True)]),
        tuple([b + w[1] for b, w in zip(node.domain.exclusive_max, around, strict=True)]),
        node.domain.labels,
    )


def _pad_dim_constant(node: Node, d: int, before: int, after: int, fills: list[bytes]) -> Node:
    """One dim, whose two borders have different values."""
    window = _grown(node, {d: (before, after)})
    lo, hi = node.domain.inclusive_min[d], node.domain.exclusive_max[d]
    layers = [node]
    for start, stop, fill in ((lo - before, lo, fills[0]), (hi, hi + after, fills[1])):
        if stop > start:
            constant = Constant(node.dtype, fill)
            layers.append(view_maps(constant, _with_interval(window, d, start, stop), ()))
    return Overlay.of(tuple(layers), window, None)


def _with_interval(domain: IndexDomain, d: int, start: int, stop: int) -> IndexDomain:
    lo, hi = list(domain.inclusive_min), list(domain.exclusive_max)
    lo[d], hi[d] = start, stop
    return IndexDomain._make(tuple(lo), tuple(hi), domain.labels)


class _Stretch(NamedTuple):
    """Positions ``[start, stop)`` of the result show positions ``offset + step * p``."""

    start: int
    stop: int
    offset: int
    step: int


def _edge(size: int, start: int, stop: int) -> Iterator[_Stretch]:
    """The outermost element again and again."""
    yield _Stretch(start, 0, 0, 0)
    yield _Stretch(0, size, 0, 1)
    yield _Stretch(size, stop, size - 1, 0)


def _wrap(size: int, start: int, stop: int) -> Iterator[_Stretch]:
    """Copy after copy: position ``p`` shows ``p mod size``."""
    for k in range(start // size, -(-stop // size)):
        yield _Stretch(max(start, k * size), min(stop, (k + 1) * size), -k * size, 1)


def _symmetric(size: int, start: int, stop: int) -> Iterator[_Stretch]:
    """Every other copy is a mirror image, the outermost elements twice side by side."""
    for k in range(start // size, -(-stop // size)):
        a, b = max(start, k * size), min(stop, (k + 1) * size)
        if k % 2:
            yield _Stretch(a, b, (k + 1) * size - 1, -1)
        else:
            yield _Stretch(a, b, -k * size, 1)


def _reflect(size: int, start: int, stop: int) -> Iterator[_Stretch]:
    """Mirror images that share the outermost element with the copy beside them."""
    if size == 1:
        yield _Stretch(start, stop, 0, 0)
        return
    period = size - 1
    yield _Stretch(0, size, 0, 1)
    for k in range(start // period, -(-stop // period)):
        # Copy k shows (k * period, (k + 1) * period), one end of which belongs to its neighbour.
        a, b = k * period + (k > 0), (k + 1) * period + (k > 0)
        a, b = max(start, a), min(stop, b)
        if k == 0 or a >= b:
            continue
        if k % 2:
            yield _Stretch(a, b, (k + 1) * period, -1)
        else:
            yield _Stretch(a, b, -k * period, 1)


MODES: dict[str, Callable[[int, int, int], Iterator[_Stretch]]] = {
    "constant": _edge,  # never asked: a constant border is no view of the tensor
    "edge": _edge,
    "reflect": _reflect,
    "symmetric": _symmetric,
    "wrap": _wrap,
}
"""Every mode and its rule: size of the dim, first and last position wanted, to stretches."""


def _pad_dim(
    node: Node, d: int, before: int, after: int, rule: Callable[[int, int, int], Iterator[_Stretch]]
) -> Node:
    size = node.shape[d]
    if size == 0:
        raise ShapeError(
            f"pad: axis {d} of {describe_shape(node.domain)} is empty, and only mode='constant' "
            f"can extend an empty axis"
        )
    if (before + after) > _MOST_STRETCHES * size:
        return _gathered(node, d, before, after, rule)
    lo = node.domain.inclusive_min[d]
    layers = [node]
    for start, stop, offset, step in rule(size, -before, size + after):
        if stop <= start or (start == 0 and stop == size and step == 1):
            continue
        domain = _with_interval(node.domain, d, lo + start, lo + stop)
        maps = list(IDENTITY[: node.ndim])
        maps[d] = _shown(d, lo, offset, step)
        layers.append(view_maps(node, domain, maps))
    return overlay(layers, None, None)


def _shown(d: int, lo: int, offset: int, step: int) -> OutputIndexMap:
    if step == 0:
        return constant_map(lo + offset)
    return single_map(d, lo + offset - step * lo, step)


def _gathered(
    node: Node, d: int, before: int, after: int, rule: Callable[[int, int, int], Iterator[_Stretch]]
) -> Node:
    size, lo = node.shape[d], node.domain.inclusive_min[d]
    positions = np.empty(before + size + after, np.int64)
    for start, stop, offset, step in rule(size, -before, size + after):
        if stop > start:
            positions[start + before : stop + before] = offset + step * np.arange(start, stop)
    along = [1] * node.ndim
    along[d] = positions.size
    maps = list(IDENTITY[: node.ndim])
    maps[d] = OutputIndexMap(offset=lo, index_array=positions.reshape(along))
    return view_maps(node, _grown(node, {d: (before, after)}), maps)
