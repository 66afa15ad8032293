"""``sel`` and ``at_scale``: from world positions and labels to array positions and levels.

The world position of position ``p`` is ``offset + scale * p``, evaluated in floating point. Whether
a position lies in an interval is decided by comparing those very numbers, found by bisection, never
by dividing: so ``sel`` picks exactly the positions whose printed coordinates satisfy the bounds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

import numpy as np

from lazytensor.errors import DimensionError, OutOfBoundsError
from lazytensor.indexing import isel_node
from lazytensor.per_dim import by_dim
from lazytensor.plan.align import describe_shape
from lazytensor.plan.node import Node
from lazytensor.plan.spec import Axis

__all__ = ["nearest_level", "positions_of", "select_world"]

_SLACK = 1e-9  # of a step: half a step outside still counts after rounding


def select_world(node: Node, keys: Mapping[Any, Any]) -> Node:
    """See ``LazyTensor.sel``."""
    chosen = {
        d: positions_of(node.axes[d], node.shape[d], key, _name(node, d))
        for d, key in by_dim(node.domain, keys).items()
    }
    return isel_node(node, chosen)


def _name(node: Node, d: int) -> str:
    return repr(node.domain.labels[d] or d)


def positions_of(axis: Axis, size: int, key: Any, name: str) -> Any:
    """Positions along an axis of ``size`` elements that a world position or label means.

    A slice gives a slice, a scalar a position, a sequence of scalars an array of positions.

    >>> axis = lt.Axis("y", "space", "micrometer", 0.5, 10.0)
    >>> positions_of(axis, 8, slice(11, 13), "y"), positions_of(axis, 8, 11.2, "y")
    (slice(2, 6, None), 2)
    """
    if isinstance(key, slice):
        return _interval(axis, size, key, name)
    if isinstance(key, str):
        return _labelled(axis, size, key, name)
    if isinstance(key, (Sequence, np.ndarray)) and np.ndim(key):
        return np.array([positions_of(axis, size, one, name) for one in key], np.int64)
    return _nearest(axis, size, key, name)


def _labelled(axis: Axis, size: int, label: str, name: str) -> int:
    labels = (axis.labels or ())[:size]
    if labels.count(label) == 1:
        return labels.index(label)
    if label in labels:
        raise DimensionError(f"label {label!r} occurs more than once on dim {name}; use isel")
    known = ", ".join(map(repr, labels)) or "none: the dim has no labels"
    raise DimensionError(f"no label {label!r} on dim {name}; labels: {known}")


def _world_scale(axis: Axis, name: str) -> float:
    if axis.scale is not None:
        return axis.scale
    if axis.labels is None:
        raise DimensionError(
            f"dim {name} has neither scale nor labels, so it has no world positions; use isel"
        )
    known = ", ".join(map(repr, axis.labels))
    raise DimensionError(f"dim {name} has no scale, only labels: {known}; use one, or isel")


def _interval(axis: Axis, size: int, key: slice, name: str) -> slice:
    """The positions with ``start <= world < stop``."""
    for bound in (key.start, key.stop):
        if isinstance(bound, str):
            raise DimensionError(f"labels of dim {name} have no order to slice by; use isel")
    scale = _world_scale(axis, name)
    # Reading a falling axis from its end makes it rise.
    rising = axis.world if scale >= 0 else lambda p: axis.world(size - 1 - p)
    everywhere = range(size)
    lo = 0 if key.start is None else bisect_left(everywhere, float(key.start), key=rising)
    hi = size if key.stop is None else bisect_left(everywhere, float(key.stop), key=rising)
    if scale < 0:
        lo, hi = size - hi, size - lo
    return slice(lo, max(lo, hi), key.step)


def _nearest(axis: Axis, size: int, key: Any, name: str) -> int:
    """The nearest position; of two equally near ones that with the lower world position."""
    scale = _world_scale(axis, name)
    world = float(key)
    if size == 0:
        raise OutOfBoundsError(f"dim {name} is empty, there is nothing at {world:g}")
    place = (world - axis.offset) / scale if scale else 0.0
    guess = 0 if isnan(place) else round(min(max(place, 0), size - 1))
    near = range(max(0, guess - 1), min(size, guess + 2))
    best = min(near, key=lambda p: (abs(axis.world(p) - world), axis.world(p)))
    if not abs(axis.world(best) - world) <= abs(scale) * (0.5 + _SLACK):
        ends = sorted((axis.world(0), axis.world(size - 1)))
        unit = f" {axis.unit}" if axis.unit else ""
        raise OutOfBoundsError(
            f"{world:g} is more than half a step outside dim {name}, which spans {ends[0]:g} to "
            f"{ends[1]:g}{unit} in steps of {abs(scale):g}"
        )
    return best


def nearest_level(levels: Sequence[Node], wanted: Mapping[str, float], tolerance: float) -> int:
    """Number of the pyramid level whose scale is nearest the wanted one, within a tolerance.

    ``tolerance`` is relative, the worst of the dims counts. Raises ``DimensionError`` listing the
    levels when none is near enough.
    """
    if not levels:
        raise DimensionError(
            "at_scale needs a tensor that was scanned from a pyramid, such as lt.scan_ome_zarr "
            "gives; this one has no levels"
        )
    errors = [_scale_error(level, wanted) for level in levels]
    best = min(range(len(levels)), key=errors.__getitem__)
    if errors[best] <= tolerance:
        return best
    known = "; ".join(f"{i}: {_scales(level)}" for i, level in enumerate(levels))
    asked = ", ".join(f"{name}={size:g}" for name, size in wanted.items())
    raise DimensionError(f"no level has {asked} within {tolerance:g}; levels: {known}")


def _scale_error(level: Node, wanted: Mapping[str, float]) -> float:
    worst = 0.0
    for d, size in by_dim(level.domain, wanted).items():
        scale = level.axes[d].scale
        if scale is None:
            return float("inf")
        worst = max(worst, abs(abs(scale) - size) / size)
    return worst


def _scales(level: Node) -> str:
    shown = [f"{a.name}={a.scale:g}" for a in level.axes if a.scale is not None]
    return f"{describe_shape(level.domain)} at {', '.join(shown) or 'no scale'}"
