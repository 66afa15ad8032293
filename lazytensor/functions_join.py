"""Free functions that make one tensor of several: ``stack``, ``concat``, ``overlay``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from lazytensor import build_join
from lazytensor.build import as_node
from lazytensor.callsite import about
from lazytensor.plan.domain import IndexDomain
from lazytensor.tensor import LazyTensor

__all__ = ["concat", "overlay", "stack"]


def stack(
    xs: Sequence[Any],
    /,
    *,
    axis: int | str = 0,
    dim: str | None = None,
    align: Literal["position", "domain"] = "position",
    fill_value: Any = None,
) -> LazyTensor:
    """Tensors side by side along a new dim.

    Parameters
    ----------
    axis
        Place of the new dim in the result. A string names the new dim and puts it first.
    dim
        Name of the new dim.
    align
        ``"position"``: shapes must agree, dtypes are promoted. ``"domain"``: coordinates meet, the
        other dims are the hull of all, dtypes must agree; a position that no layer has reads
        ``fill_value``, or is a ``HoleError`` when that is None and it is read.

    Raises ``ShapeError``, ``DTypeError`` or ``DimensionError`` naming the layers that do not fit.
    Array API standard 2025.12, manipulation functions, ``stack``; TensorStore's ``stack``.

    >>> lt.stack([lt.asarray([1, 2]), lt.asarray([3, 4])], axis="t").dims
    ('t', '')
    """
    layers = list(xs)
    with about(layers):
        nodes = [as_node(x) for x in layers]
        return LazyTensor._wrap(build_join.stack(nodes, axis, dim, align, fill_value))


def concat(
    xs: Sequence[Any],
    /,
    *,
    axis: int | str | None = 0,
    align: Literal["position", "domain"] = "position",
    fill_value: Any = None,
) -> LazyTensor:
    """Tensors one after another along a dim they have.

    Parameters
    ----------
    axis
        The dim, by number or name; None flattens the tensors first.
    align
        ``"position"``: the other extents must agree, dtypes are promoted, and the joined dim starts
        at 0. ``"domain"``: the joined dim starts where the first tensor does, on the others
        coordinates meet in their hull, dtypes must agree; a position that no layer has reads
        ``fill_value``, or is a ``HoleError`` when that is None and it is read.

    Raises ``ShapeError``, ``DTypeError`` or ``DimensionError`` naming the layers that do not fit.
    Array API standard 2025.12, manipulation functions, ``concat``; TensorStore's ``concat``.

    >>> lt.concat([lt.asarray([1, 2]), lt.asarray([3.5])]).collect()
    array([1. , 2. , 3.5])
    """
    layers = list(xs)
    with about(layers):
        nodes = [as_node(x) for x in layers]
        return LazyTensor._wrap(build_join.concat(nodes, axis, align, fill_value))


def overlay(
    layers: Sequence[Any],
    /,
    *,
    domain: IndexDomain | None = None,
    fill_value: Any = None,
) -> LazyTensor:
    """Tensors laid over each other by their coordinates; later ones hide earlier ones.

    Parameters
    ----------
    domain
        Coordinates of the result, smaller or larger than the layers; by default their hull.
    fill_value
        What a position without a layer reads; with None reading one is a ``HoleError``.

    What is hidden is not read. Raises ``DTypeError`` when dtypes differ, ``ShapeError`` when ranks
    do, ``DimensionError`` when names do. TensorStore's ``overlay``.

    >>> left, right = lt.asarray([1, 1, 1]), lt.asarray([2, 2]).translate_to[2]
    >>> lt.overlay([left, right]).collect()
    array([1, 1, 2, 2])
    """
    given = list(layers)
    with about(given):
        nodes = [as_node(x) for x in given]
        return LazyTensor._wrap(build_join.overlay(nodes, domain, fill_value))
