"""What must hold between the fields of a node that a document describes.

Constructors trust what the face of the library has checked already: that an axis exists, that a
view stays inside what it looks at. A document has been checked by nobody, and a view that leads
outside would have an engine read outside an array. So each kind that trusts has its check here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lazytensor.errors import DimensionError, OutOfBoundsError, ShapeError
from lazytensor.plan.compose import output_box
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.downsampling import check_factors, check_method
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.index_interval import INF
from lazytensor.plan.node import Node
from lazytensor.plan.nodes_block import BOUNDARIES

__all__ = ["CHECKS"]


def _check_finite(domain: IndexDomain) -> None:
    if any(lo <= -INF for lo in domain.inclusive_min) or any(
        hi > INF for hi in domain.exclusive_max
    ):
        raise ShapeError(f"the domain {domain!r} is not finite")


def _check_view(x: Node, transform: IndexTransform) -> None:
    _check_finite(transform.domain)
    if transform.output_rank != x.ndim:
        raise ShapeError(f"a view of {x.ndim} dims has {transform.output_rank} maps")
    if 0 in transform.domain.shape:
        return
    whole = tuple(zip(transform.domain.inclusive_min, transform.domain.exclusive_max, strict=True))
    for d, (lo, hi) in enumerate(output_box(transform, whole)):
        if lo < x.domain.inclusive_min[d] or hi > x.domain.exclusive_max[d]:
            raise OutOfBoundsError(f"a view leads to [{lo}, {hi}) of dim {d} of {x!r}")


def _check_axis(axis: int, ndim: int) -> None:
    if not 0 <= axis < ndim:
        raise DimensionError(f"there is no axis {axis} of {ndim}")


def _check_reduce(op: str, x: Node, axes: tuple[int, ...], keepdims: bool, params: object) -> None:
    for axis in axes:
        _check_axis(axis, x.ndim)
    if list(axes) != sorted(set(axes)):
        raise DimensionError(f"axes {axes} are not ascending")


def _check_join(inputs: tuple[Node, ...], axis: int, new: bool, label: str) -> None:
    for x in inputs:
        _check_axis(axis, x.ndim + new)
        if new and label and label in x.domain.labels:
            raise DimensionError(f"the new dim {label!r} exists already")


def _check_overlay(inputs: tuple[Node, ...], window: IndexDomain, fill: bytes | None) -> None:
    _check_finite(window)
    if fill is not None:
        _check_scalar(inputs[0].dtype, fill)


def _check_scalar(dtype: np.dtype, data: bytes) -> None:
    if dtype.hasobject or dtype.kind == "T" or len(data) != dtype.itemsize:
        raise ShapeError(f"{len(data)} bytes are not one {dtype}")


def _check_downsample(x: Node, factors: tuple[int, ...], method: str, approx: bool) -> None:
    check_factors(factors, x.ndim)
    check_method(method, x.dtype)


def _check_rechunk(x: Node, sizes: tuple[int, ...]) -> None:
    if len(sizes) != x.ndim or any(size < 1 for size in sizes):
        raise ShapeError(f"{sizes} are no cell sizes for {x.ndim} dims")


def _check_reshape(x: Node, shape: tuple[int, ...]) -> None:
    if any(n < 0 for n in shape):
        raise ShapeError(f"the shape {shape} has negative extents")


def _check_call(
    function: object, inputs: object, to: object, halo: tuple[int, ...], boundary: str | None,
    *rest: object,
) -> None:  # fmt: skip
    if boundary not in BOUNDARIES or any(n < 0 for n in halo):
        raise ShapeError(f"halo {halo} with boundary {boundary!r} is not possible")


def _check_axes(x: Node, axes: tuple[int, ...]) -> None:
    _check_reduce("", x, axes, False, ())


def _check_quantile(
    x: Node, axes: tuple[int, ...], q: bytes, dtype: np.dtype, shape: tuple[int, ...], *rest: object
) -> None:
    _check_axes(x, axes)
    if dtype.kind not in "iuf" or any(n < 0 for n in shape):
        raise ShapeError(f"{shape} {dtype} are no quantiles")
    if len(q) != math.prod(shape) * dtype.itemsize:
        raise ShapeError(f"{len(q)} bytes are not {shape} quantiles {dtype}")


def _check_histogram(x: Node, edges: Node, axes: tuple[int, ...]) -> None:
    _check_axes(x, axes)
    if edges.dtype.kind not in "biuf":
        raise ShapeError(f"edges of bins are real numbers, not {edges.dtype}")


CHECKS: dict[str, Callable[..., None]] = {
    "Call": _check_call,
    "Constant": _check_scalar,
    "Downsample": _check_downsample,
    "Histogram": _check_histogram,
    "Join": _check_join,
    "MaskedReduce": _check_reduce,
    "Overlay": _check_overlay,
    "Quantile": _check_quantile,
    "Rechunk": _check_rechunk,
    "Reduce": _check_reduce,
    "Reshape": _check_reshape,
    "View": _check_view,
}
"""By kind, a function of the kind's fields that raises what the face would have raised."""
