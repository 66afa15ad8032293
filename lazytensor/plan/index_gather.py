"""Index arrays looked up through other maps, cut to boxes, and checked.

The only part of composition whose cost depends on extents. An index array has one dimension per
input dimension, of size 1 where it does not vary; every function here keeps that form, so that an
array never grows beyond the dimensions it depends on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from lazytensor.errors import OutOfBoundsError
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index_array import IndexArray
from lazytensor.plan.index_interval import INF, affine_domain, check_int64, format_interval
from lazytensor.plan.index_propagate import explicitly_empty
from lazytensor.plan.output_map import (
    CONSTANT,
    SINGLE,
    OutputIndexMap,
    array_map,
    constant_map,
)
from lazytensor.plan.source import Box

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["check_bounded", "cut_array", "gather", "simplify"]

Values: TypeAlias = "NDArray[np.int64]"


def gather(
    m: OutputIndexMap,
    middle: IndexDomain,
    inner: Sequence[OutputIndexMap],
    domain: IndexDomain,
) -> OutputIndexMap:
    """The array map ``m`` over ``middle``, looked up at the image of ``inner`` over ``domain``.

    Raises `OutOfBoundsError` if an index array of ``inner`` leads outside ``middle``.
    """
    if explicitly_empty(domain):
        return constant_map(0)
    values = m.lookup()[0].values
    index = tuple(
        0 if n == 1 else _positions(inner[d], middle, d, domain) for d, n in enumerate(values.shape)
    )
    found = np.asarray(values[index])
    if found.ndim == 0:
        found = found.reshape((1,) * domain.rank)
    return simplify(m, domain, found)


def simplify(
    m: OutputIndexMap, domain: IndexDomain, values: Values | None = None
) -> OutputIndexMap:
    """An array map in canonical form, with other ``values`` if given.

    An array over an empty domain becomes the constant 0, an array of one element a constant. Raises
    `OutOfBoundsError` if that one element is outside the index range.
    """
    if explicitly_empty(domain):
        return constant_map(0)
    array, bounds = m.lookup()
    kept = array.values if values is None else values
    if kept.size == 1:
        value = int(kept.reshape(()))
        _check_range(value, value, bounds, "index array")
        return constant_map(check_int64(m.offset + m.stride * value, "an output offset"))
    if values is None:
        return m
    return array_map(IndexArray(values), m.offset, m.stride, bounds)


def cut_array(m: OutputIndexMap, domain: IndexDomain, box: Box) -> Values:
    """The part of a map's index array that belongs to a box inside ``domain`` (a view)."""
    values = m.lookup()[0].values
    return values[
        tuple(
            [
                slice(0, 1) if n == 1 else slice(lo - origin, hi - origin)
                for n, (lo, hi), origin in zip(values.shape, box, domain.inclusive_min, strict=True)
            ]
        )
    ]


def check_bounded(m: OutputIndexMap, target: tuple[int, int], what: str) -> None:
    """Raise `OutOfBoundsError` if an array map yields a coordinate outside ``target``.

    Values outside the map's own index range are reported as well.
    """
    array, (first, end) = m.lookup()
    values = array.values
    if values.size == 0:
        return
    lo, hi = affine_domain(*target, m.offset, m.stride)
    bounds = max(lo, first), min(hi, end)
    _check_range(int(values.min()), int(values.max()), bounds, f"index array for {what}")


def _check_range(low: int, high: int, bounds: tuple[int, int], what: str) -> None:
    lo, hi = bounds
    if low < max(lo, 1 - INF) or high >= min(hi, INF):  # an index is finite
        bad = high if high >= min(hi, INF) else low
        raise OutOfBoundsError(
            f"index {bad} of the {what} is outside the valid range {format_interval(lo, hi)}; "
            f"coordinates do not wrap"
        )


def _positions(i: OutputIndexMap, middle: IndexDomain, d: int, domain: IndexDomain) -> int | Values:
    """Positions along dimension ``d`` of ``middle``, shaped to vary over ``domain``."""
    origin = middle.inclusive_min[d]
    if i.kind == CONSTANT:
        return i.offset - origin
    if i.kind == SINGLE:
        dim = i.input_dimension
        first = i.offset + i.stride * domain.inclusive_min[dim] - origin
        steps = np.arange(domain.shape[dim], dtype=np.int64)
        return (first + i.stride * steps).reshape(
            [-1 if k == dim else 1 for k in range(domain.rank)]
        )
    check_bounded(i, (origin, middle.exclusive_max[d]), f"dimension {d} of {middle!r}")
    return i.offset + i.stride * i.lookup()[0].values - origin
