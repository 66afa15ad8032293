"""Nodes of everything that shows a tensor differently: shape, order, dtype, scale, chunks.

All but ``reshape``, ``cast``, ``rechunk`` and the region methods of ``downsample`` are one index
transform. These functions take and give nodes: methods of ``LazyTensor`` and free functions
are both thin over them, and neither has to know the other.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from math import prod
from typing import Any

import numpy as np

from lazytensor.errors import DataDependentShapeError, DimensionError, DTypeError, ShapeError
from lazytensor.per_dim import dim_number, per_dim, unique_dims
from lazytensor.plan.align import alignment, describe_shape, merge_domains
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.downsampling import check_factors, check_method
from lazytensor.plan.index import IndexTransform, OutputIndexMap
from lazytensor.plan.index_interval import check_extent
from lazytensor.plan.levels import like_levels
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cast, Rechunk, Reshape, Scan, View
from lazytensor.plan.nodes_block import Downsample
from lazytensor.plan.output_map import IDENTITY, single_map
from lazytensor.plan.selection import positional, positional_oindex

__all__ = [
    "as_dtype",
    "broadcast_to",
    "cast",
    "downsample",
    "expand_dims",
    "flip",
    "levels_of",
    "matrix_transpose",
    "moveaxis",
    "permute_dims",
    "picked",
    "rechunk",
    "repeat",
    "reshape",
    "shape_of",
    "sliced",
    "squeeze",
    "take",
    "to_origin",
    "unit_domain",
    "view",
    "view_maps",
]

_FLIP = slice(None, None, -1)
_ALL = slice(None)


def view(node: Node, transform: IndexTransform) -> Node:
    """The view of a node, or the node itself when the transform changes nothing."""
    domain = transform.domain
    if domain.shape == node.shape and domain == node.domain and _is_identity(transform):
        return node
    return View(node, transform)


def _is_identity(transform: IndexTransform) -> bool:
    return transform.maps == IDENTITY[: transform.domain.rank]


def view_maps(node: Node, domain: IndexDomain, maps: Iterable[OutputIndexMap]) -> Node:
    """The view through explicit maps, one for each dim of ``node``."""
    return view(node, IndexTransform._make(domain, tuple(maps)))


_dtypes: dict[Any, np.dtype] = {}
_DTYPES_KEPT = 256  # names and types that are looked up again and again are few


def as_dtype(dtype: Any) -> np.dtype:
    """A NumPy dtype from what NumPy takes, or the name of one of ml_dtypes.

    Raises ``DTypeError`` for ``object`` and for what is no dtype.

    >>> as_dtype("u2"), as_dtype("bfloat16")
    (dtype('uint16'), dtype(bfloat16))
    """
    try:
        return _dtypes[dtype]
    except (KeyError, TypeError):
        found = _find_dtype(dtype)
    if len(_dtypes) < _DTYPES_KEPT:
        with suppress(TypeError):  # lists of fields are not hashable
            _dtypes[dtype] = found
    return found


def _find_dtype(dtype: Any) -> np.dtype:
    if dtype is None:
        raise DTypeError("None is not a dtype")
    found: np.dtype
    try:
        found = np.dtype(dtype)
    except TypeError:
        import ml_dtypes

        if not isinstance(dtype, str) or not hasattr(ml_dtypes, dtype):
            raise DTypeError(f"{dtype!r} is not a dtype") from None
        found = np.dtype(getattr(ml_dtypes, dtype))
    if found.hasobject and found.kind != "T":
        raise DTypeError(f"dtype {found} holds Python objects, which tensors cannot; name another")
    if found.shape:
        raise DTypeError(f"dtype {found} is a subarray; give its base and reshape")
    if found.itemsize == 0:
        raise DTypeError(f"dtype {found} has no size; name one, such as {found.kind}8")
    return found


def cast(node: Node, dtype: Any) -> Node:
    """Values converted as ``numpy.ndarray.astype`` does; the node itself if they have the dtype."""
    to = as_dtype(dtype)
    return node if to == node.dtype else Cast(node, to)


def to_origin(node: Node) -> Node:
    """The same positions, counted from coordinate 0 on every dim."""
    origin = node.domain.inclusive_min
    if not any(origin):
        return node
    domain = IndexDomain._make((0,) * node.ndim, node.shape, node.domain.labels)
    maps = [single_map(d, lo, 1) for d, lo in enumerate(origin)]
    return view_maps(node, domain, maps)


def downsample(
    node: Node,
    factors: Any,
    method: str,
    align: str,
    named: Mapping[str, Any] | None = None,
    approx: bool = False,
) -> Node:
    """See ``functions.downsample``."""
    rank = node.ndim
    if align not in ("domain", "position"):
        raise ValueError(f"align={align!r} is neither 'domain' nor 'position'")
    steps = check_factors(per_dim(node.domain, factors, (1,) * rank, "factors", named), rank)
    check_method(method, node.dtype)
    base = to_origin(node) if align == "position" else node
    if max(steps, default=1) == 1:
        return base
    if method != "stride":
        return Downsample(base, steps, method, approx)
    # A view, which cannot say that it may be another: what stands in for it is settled here.
    stored = _stored_level(base, steps) if approx else None
    return _strided(base, steps) if stored is None else stored


def _strided(node: Node, steps: tuple[int, ...]) -> Node:
    """The elements whose coordinates are multiples of the steps (TensorStore's ``stride``)."""
    lo = tuple(-(-a // f) for a, f in zip(node.domain.inclusive_min, steps, strict=True))
    hi = tuple(-(-b // f) for b, f in zip(node.domain.exclusive_max, steps, strict=True))
    maps = [single_map(d, 0, f) for d, f in enumerate(steps)]
    return view_maps(node, IndexDomain._make(lo, hi, node.domain.labels), maps)


def levels_of(node: Node) -> tuple[Node, ...]:
    """The levels of the pyramid that a scanned node belongs to, finest first, else ``()``."""
    sources = getattr(node.source, "levels", ()) if isinstance(node, Scan) else ()
    return tuple(Scan(source) for source in sources)


def _stored_level(node: Node, steps: tuple[int, ...]) -> Node | None:
    """The stored level that has the domain of the downsampled node, if there is one."""
    if not isinstance(node, Scan):
        return None
    wanted = Downsample(node, steps, "mode").domain
    for level in like_levels(node.source, steps):
        if level.factors == steps and level.source.spec.domain == wanted:
            return Scan(level.source)
    return None


def matrix_transpose(node: Node) -> Node:
    """The last two dims exchanged."""
    if node.ndim < 2:
        raise ShapeError(f"a matrix has two dims, {describe_shape(node.domain)} has {node.ndim}")
    return permute_dims(node, (*range(node.ndim - 2), node.ndim - 1, node.ndim - 2))


def unit_domain(node: Node) -> IndexDomain:
    """One element a dim, at the node's origin."""
    lo = node.domain.inclusive_min
    return IndexDomain._make(lo, tuple([a + 1 for a in lo]), node.domain.labels)


def rechunk(node: Node, chunks: Any, named: Mapping[str, Any] | None = None) -> Node:
    """Other cells for whatever works in cells; no value changes."""
    current = [n if c is None else c for n, c in zip(node.shape, node.spec.chunks, strict=True)]
    if isinstance(chunks, (int, np.integer)):
        chunks = (chunks,) * node.ndim
    wanted = per_dim(node.domain, chunks, current, "chunks", named)
    sizes = tuple(
        _cell(size, n, now) for size, n, now in zip(wanted, node.shape, current, strict=True)
    )
    return Rechunk(node, sizes)


def _cell(size: Any, extent: int, current: int) -> int:
    if size is None:
        return current
    try:
        number = operator.index(size)
    except TypeError:
        raise ShapeError(f"a chunk size is a number of positions, not {size!r}") from None
    if number == -1:
        return max(1, extent)
    if number < 1:
        raise ShapeError(f"chunk size {number} is not positive (-1 means the whole dim)")
    return number


def shape_of(shape: Any) -> tuple[int, ...]:
    """A shape argument (a number or a sequence) as a tuple of Python ints.

    Raises ``ShapeError`` for what is none, or an extent beyond 2**62-1.
    """
    try:
        return (check_extent(operator.index(shape)),)
    except TypeError:
        pass
    try:
        return tuple(check_extent(operator.index(n)) for n in shape)
    except TypeError:
        raise ShapeError(f"a shape is a sequence of integers, not {shape!r}") from None


def reshape(node: Node, shape: Any) -> Node:
    """The elements in C order under another shape; one extent may be -1."""
    wanted = shape_of(shape)
    if wanted.count(-1) > 1 or any(n < -1 for n in wanted):
        raise ShapeError(f"shape {wanted} may have one -1, and no other negative extent")
    if -1 in wanted:
        known = prod(n for n in wanted if n != -1)
        if known == 0 or node.size % known:
            raise ShapeError(
                f"cannot reshape {describe_shape(node.domain)} with {node.size} elements into "
                f"{wanted}: they do not divide evenly"
            )
        wanted = tuple(node.size // known if n == -1 else n for n in wanted)
    return node if wanted == node.shape else Reshape(node, wanted)


def permute_dims(node: Node, axes: Sequence[int | str]) -> Node:
    """Dims in another order; ``axes[i]`` is the dim that becomes dim ``i``."""
    order = unique_dims(node.domain, axes)
    rank = node.ndim
    if len(order) != rank:
        raise DimensionError(
            f"axes {tuple(axes)} must name each of the {node.ndim} dims of "
            f"{describe_shape(node.domain)} once"
        )
    domain = node.domain
    moved = IndexDomain._make(
        tuple([domain.inclusive_min[d] for d in order]),
        tuple([domain.exclusive_max[d] for d in order]),
        tuple([domain.labels[d] for d in order]),
        None if domain.explicit else tuple([domain.implicit_lower_bounds[d] for d in order]),
        None if domain.explicit else tuple([domain.implicit_upper_bounds[d] for d in order]),
    )
    maps = tuple([IDENTITY[order.index(d)] for d in range(rank)])
    return view(node, IndexTransform._make(moved, maps))


def moveaxis(node: Node, source: Any, destination: Any) -> Node:
    """Some dims moved to other places, the rest in their order."""
    moving = unique_dims(node.domain, source)
    places = unique_dims(node.domain, destination)
    if len(moving) != len(places):
        raise DimensionError(f"moveaxis: {len(moving)} source axes but {len(places)} destinations")
    order = [d for d in range(node.ndim) if d not in moving]
    for place, d in sorted(zip(places, moving, strict=True)):
        order.insert(place, d)
    return permute_dims(node, order)


def flip(node: Node, axis: Any) -> Node:
    """The order of elements reversed along some dims, all by default."""
    dims = range(node.ndim) if axis is None else unique_dims(node.domain, axis)
    key = tuple(_FLIP if d in dims else _ALL for d in range(node.ndim))
    return view(node, positional(node.domain, key))


def squeeze(node: Node, axis: Any) -> Node:
    """Without some dims of size 1. Raises ``ShapeError`` for dims of another size."""
    if axis is None:
        dims: tuple[int, ...] = tuple(d for d, n in enumerate(node.shape) if n == 1)
    else:
        dims = unique_dims(node.domain, axis)
    for d in dims:
        if node.shape[d] != 1:
            raise ShapeError(
                f"cannot squeeze axis {d} of {describe_shape(node.domain)}: its size is "
                f"{node.shape[d]}, not 1"
            )
    key = tuple(0 if d in dims else _ALL for d in range(node.ndim))
    return view(node, positional(node.domain, key))


def expand_dims(node: Node, axis: Any) -> Node:
    """With new dims of size 1 at the places ``axis`` of the result."""
    count = 1 if isinstance(axis, (int, np.integer)) else len(tuple(axis))
    rank = node.ndim + count
    places = unique_dims(node.domain, axis, rank=rank)
    key = tuple(None if d in places else _ALL for d in range(rank))
    return view(node, positional(node.domain, key))


def broadcast_to(node: Node, shape: Any) -> Node:
    """Size-1 dims repeated and leading dims added, as NumPy broadcasts."""
    wanted = shape_of(shape)
    if any(n < 0 for n in wanted):
        raise ShapeError(f"negative extent in shape {wanted}")
    free = (True,) * len(wanted)
    target = IndexDomain._make((0,) * len(wanted), wanted, None, free, free)
    if len(wanted) < node.ndim:
        raise _cannot_broadcast(node, wanted)
    domain = merge_domains([node.domain, target])
    if domain.shape != wanted:
        raise _cannot_broadcast(node, wanted)
    transform = alignment(domain, node.domain)
    return node if transform is None else view(node, transform)


def _cannot_broadcast(node: Node, shape: tuple[int, ...]) -> ShapeError:
    return ShapeError(
        f"cannot broadcast {describe_shape(node.domain)} to {shape}: every extent must be the "
        f"same or 1, counted from the last dim"
    )


def sliced(node: Node, d: int, start: int, stop: int) -> Node:
    """Positions ``[start, stop)`` of one dim."""
    key = (_ALL,) * d + (slice(start, stop),)
    return view(node, positional(node.domain, key))


def picked(node: Node, d: int, position: int) -> Node:
    """One position of one dim, which is dropped."""
    return view(node, positional(node.domain, (_ALL,) * d + (position,)))


def take(node: Node, indices: Any, axis: int | str) -> Node:
    """Elements along one dim, in the order of an integer array."""
    d = dim_number(node.domain, axis)
    key = tuple(indices if i == d else _ALL for i in range(node.ndim))
    return view(node, positional_oindex(node.domain, key))


def repeat(node: Node, repeats: int, axis: int | str | None) -> Node:
    """Every element of a dim ``repeats`` times in a row; of the flat tensor for ``axis=None``."""
    if not isinstance(repeats, (int, np.integer)):
        raise DataDependentShapeError(
            "repeat takes a number: an array of repeats would make the shape depend on its values; "
            "lt.take(x, np.repeat(np.arange(n), repeats), axis=axis) says it with known values"
        )
    if axis is None:
        return repeat(reshape(node, -1), repeats, 0)
    d = dim_number(node.domain, axis)
    if repeats < 0:
        raise ShapeError(f"repeat: {repeats} repeats; the number must not be negative")
    if repeats == 1:
        return node
    return take(node, np.repeat(np.arange(node.shape[d]), repeats), d)
