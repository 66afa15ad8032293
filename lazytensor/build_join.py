"""Nodes that assemble one tensor from several: stack, concat, overlay.

With ``align="position"`` layers are put together as NumPy does: positions meet, dtypes promote.
With ``align="domain"`` and in ``overlay`` coordinates meet, as in TensorStore: layers lie where
their domains say, and nothing is converted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lazytensor.build_views import cast, reshape, view_maps
from lazytensor.errors import DimensionError, DTypeError, ShapeError
from lazytensor.per_dim import dim_number
from lazytensor.plan.align import describe_shape, hull_domain
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.node import Node
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.output_map import single_map

__all__ = ["concat", "constant_bytes", "moved", "overlay", "stack"]


def stack(
    nodes: Sequence[Node], axis: int | str, dim: str | None, align: str, fill_value: Any
) -> Node:
    """See ``functions.stack``."""
    _check_layers("stack", nodes)
    if isinstance(axis, str):
        if dim is not None:
            raise TypeError(f"stack: the new dim is named twice, axis={axis!r} and dim={dim!r}")
        dim, axis = axis, 0
    first = nodes[0].domain
    if dim and dim in first.labels:
        raise DimensionError(f"stack: {describe_shape(first)} already has a dim {dim!r}")
    at = dim_number(first, axis, rank=first.rank + 1)
    if _is_positional(align, fill_value):
        _check_extents("stack", nodes, None)
        return Join(_promoted(nodes), at, True, dim or "")
    hull_domain([x.domain for x in nodes])
    layers = [_as_layer(x, at, i, dim or "") for i, x in enumerate(nodes)]
    return overlay(layers, None, fill_value)


def concat(nodes: Sequence[Node], axis: int | str | None, align: str, fill_value: Any) -> Node:
    """See ``functions.concat``."""
    _check_layers("concat", nodes)
    if axis is None:
        nodes, axis = [reshape(x, -1) for x in nodes], 0
    first = nodes[0].domain
    at = dim_number(first, axis)
    if _is_positional(align, fill_value):
        _check_extents("concat", nodes, at)
        return Join(_promoted(nodes), at, False, "")
    layers, start = [], first.inclusive_min[at]
    for x in nodes:
        if x.ndim <= at:
            raise ShapeError(f"concat: a layer {describe_shape(x.domain)} has no dim {at}")
        layers.append(moved(x, {at: start - x.domain.inclusive_min[at]}))
        start += x.shape[at]
    return overlay(layers, None, fill_value)


def overlay(nodes: Sequence[Node], domain: IndexDomain | None, fill_value: Any) -> Node:
    """See ``functions.overlay``."""
    _check_layers("overlay", nodes)
    if domain is not None and not isinstance(domain, IndexDomain):
        raise TypeError(f"overlay: domain must be an IndexDomain, not {type(domain).__name__}")
    fill = None if fill_value is None else constant_bytes(fill_value, nodes[0].dtype)
    return Overlay.of(tuple(nodes), domain, fill)


def moved(node: Node, by: dict[int, int]) -> Node:
    """The node with the coordinates of some dims shifted."""
    if not any(by.values()):
        return node
    shift = [by.get(d, 0) for d in range(node.ndim)]
    domain = IndexDomain._make(
        tuple([a + s for a, s in zip(node.domain.inclusive_min, shift, strict=True)]),
        tuple([b + s for b, s in zip(node.domain.exclusive_max, shift, strict=True)]),
        node.domain.labels,
    )
    maps = [single_map(d, -s, 1) for d, s in enumerate(shift)]
    return view_maps(node, domain, maps)


def _as_layer(node: Node, at: int, index: int, label: str) -> Node:
    """The node with a new dim ``[index, index + 1)``."""
    base = node.domain
    domain = IndexDomain._make(
        (*base.inclusive_min[:at], index, *base.inclusive_min[at:]),
        (*base.exclusive_max[:at], index + 1, *base.exclusive_max[at:]),
        (*base.labels[:at], label, *base.labels[at:]),
    )
    maps = [single_map(d + (d >= at), 0, 1) for d in range(node.ndim)]
    return view_maps(node, domain, maps)


def constant_bytes(value: Any, dtype: np.dtype) -> bytes:
    """The bytes of a scalar in ``dtype``.

    Raises ``DTypeError`` where an integer dtype cannot hold it, and for ``StringDType``, whose
    scalars are references to text elsewhere and not bytes.

    >>> constant_bytes(3, np.dtype("<u2"))
    b'\\x03\\x00'
    """
    given = np.asarray(value)
    if given.ndim:
        raise ShapeError(f"fill_value must be a scalar, not of shape {given.shape}")
    if dtype.hasobject:
        raise DTypeError(
            f"no fill value for {dtype}: its text has no fixed size; cast to a fixed-width string"
        )
    fits = given.dtype.kind != "c" or dtype.kind == "c"
    try:
        with np.errstate(all="ignore"):
            stored = given.astype(dtype if fits else given.dtype)
        fits = fits and (dtype.kind not in "biu" or stored == given)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise DTypeError(f"fill_value {value!r} is no {dtype}; give one that it can hold")
    return stored.tobytes()


def _check_layers(what: str, nodes: Sequence[Node]) -> None:
    if not nodes:
        raise ShapeError(f"{what} needs at least one layer")


def _check_extents(what: str, nodes: Sequence[Node], joined: int | None) -> None:
    """``ShapeError`` naming the first layer whose shape is not the first one's, but for one dim."""
    wanted = nodes[0].shape
    for i, x in enumerate(nodes):
        if x.shape == wanted:
            continue
        same = joined is not None and len(x.shape) == len(wanted)
        if not same or any(
            a != b for d, (a, b) in enumerate(zip(x.shape, wanted, strict=True)) if d != joined
        ):
            along = "" if joined is None else f" along axis {joined}"
            raise ShapeError(
                f"cannot {what}{along}: layer {i} has shape {describe_shape(x.domain)}, layer 0 "
                f"{describe_shape(nodes[0].domain)}; align='domain' puts them by coordinates"
            )


def _is_positional(align: str, fill_value: Any) -> bool:
    if align == "domain":
        return False
    if align != "position":
        raise ValueError(f"align={align!r} is neither 'position' nor 'domain'")
    if fill_value is not None:
        raise TypeError("fill_value fills holes, which align='position' has none of")
    return True


def _promoted(nodes: Sequence[Node]) -> tuple[Node, ...]:
    dtypes = {x.dtype for x in nodes}
    if len(dtypes) == 1:
        return tuple(nodes)
    try:
        common = np.result_type(*dtypes)
    except TypeError:
        names = ", ".join(sorted(str(dtype) for dtype in dtypes))
        raise DTypeError(f"layers of {names} have no common dtype; cast them first") from None
    return tuple(cast(x, common) for x in nodes)
