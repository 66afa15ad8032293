"""The values of an in-memory array at the image of an index transform.

Constant and affine maps only move a pointer, so a transform without index arrays is a strided view
of the array, whatever flips, transposes, broadcasts and diagonals it is made of. Index arrays need
a copy. It is taken in the cheapest way there is: first a view is made in which every dimension the
index arrays do not touch is already in place, then arrays that each vary along an input dimension
of their own are taken one axis after the other (the one that shrinks the result most first), and
only arrays that vary together go through fancy indexing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from lazytensor.errors import OutOfBoundsError, ShapeError
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.output_map import ARRAY, CONSTANT, SINGLE, OutputIndexMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["apply_transform"]

Array = np.ndarray
Positions: TypeAlias = "NDArray[np.int64]"


def apply_transform(
    transform: IndexTransform,
    array: Array,
    origin: Sequence[int],
    out: Array | None = None,
) -> Array:
    """``array`` at every point of the transform's (finite) domain, with the shape of the domain.

    Parameters
    ----------
    transform : IndexTransform
        Its output rank is the rank of ``array``.
    array : ndarray
        Values, of any dtype.
    origin : sequence of int
        Coordinate of the first element of ``array``, per dimension.
    out : ndarray, optional
        Filled and returned; must have the shape of the domain.

    Returns
    -------
    ndarray
        ``out`` if given. Else a read-only view of ``array`` if no map is an index array, a new
        array otherwise.

    Raises
    ------
    ShapeError
        If ranks or the shape of ``out`` do not fit.
    OutOfBoundsError
        If a coordinate of the image is not in the array.

    Examples
    --------
    >>> from lazytensor.plan.index import IndexTransform
    >>> t = IndexTransform(input_shape=[4])[::-1]
    >>> apply_transform(t, np.arange(4), (0,))
    array([3, 2, 1, 0])
    """
    shape = transform.domain.shape
    if len(transform.maps) != array.ndim:
        raise ShapeError(
            f"a transform of output rank {len(transform.maps)} cannot index an array of rank "
            f"{array.ndim}"
        )
    if out is not None and out.shape != shape:
        raise ShapeError(f"out has shape {out.shape}, the domain of the transform has {shape}")
    if 0 in shape:
        return np.empty(shape, array.dtype) if out is None else out
    if transform.has_arrays:
        return _gathered(transform, array, origin, out)
    view = _strided(transform, array, origin)
    if out is None:
        return view
    out[...] = view
    return out


def _strided(transform: IndexTransform, array: Array, origin: Sequence[int]) -> Array:
    """The array seen through constant and affine maps; index arrays keep their axis at the end.

    The result has the input dimensions, followed by one axis for each index-array map. Made of
    slices, diagonals, transposes and broadcasts, which NumPy has for every dtype (`as_strided` does
    not know strings).
    """
    lows, extents = transform.domain.inclusive_min, transform.domain.shape
    rank = len(extents)
    index: list[int | slice] = []
    dims: list[int] = []
    shape = list(extents)
    for axis, m in enumerate(transform.maps):
        size = array.shape[axis]
        start = m.offset - origin[axis]
        if m.kind == CONSTANT:
            _check_inside(start, start, size, axis)
            index.append(start)
        elif m.kind == SINGLE:
            dim, step = m.input_dimension, m.stride
            start += step * lows[dim]
            end = start + step * (extents[dim] - 1)
            _check_inside(start, end, size, axis)
            stop = end + (1 if step > 0 else -1)
            index.append(slice(start, stop if stop >= 0 else None, step))
            dims.append(dim)
        else:
            index.append(slice(None))
            dims.append(len(shape))
            shape.append(size)
    view = _merge_diagonals(array[(*index, ...)], dims)
    view = view.transpose(sorted(range(len(dims)), key=dims.__getitem__))
    if len(dims) < len(shape):
        present = set(dims)
        view = view[tuple([slice(None) if d in present else None for d in range(len(shape))])]
        if any(shape[d] != 1 for d in range(rank) if d not in present):
            view = np.broadcast_to(view, shape)
    view.flags.writeable = False
    return view


def _merge_diagonals(view: Array, dims: list[int]) -> Array:
    """Axes that follow the same input dimension as one; ``dims`` is brought up to date."""
    for dim in set(dims):
        while dims.count(dim) > 1:
            first = dims.index(dim)
            second = dims.index(dim, first + 1)
            view = view.diagonal(0, first, second)
            del dims[second], dims[first]
            dims.append(dim)
    return view


def _gathered(
    transform: IndexTransform, array: Array, origin: Sequence[int], out: Array | None
) -> Array:
    rank = transform.domain.rank
    lookups = [
        _positions(m, array.shape[axis], origin[axis], axis)
        for axis, m in enumerate(transform.maps)
        if m.kind == ARRAY
    ]
    varying = [[d for d, n in enumerate(p.shape) if n > 1] for p in lookups]
    # A dimension along which only index arrays vary has stride 0 in the view: no need to keep it.
    free = _free_dims(transform)
    used = {d for dims in varying for d in dims}
    view = _strided(_without(transform, used & free), array, origin)
    own = [d for dims in varying for d in dims]
    outer = all(len(dims) == 1 for dims in varying) and len(set(own)) == len(own) and used <= free
    if outer:
        return _taken(view, lookups, own, rank, out)
    values = _fancy(view, lookups, transform.domain.shape, used & free)
    if out is None:
        return values
    out[...] = values
    return out


def _free_dims(transform: IndexTransform) -> set[int]:
    """Input dimensions that no affine map depends on."""
    dims = set(range(transform.domain.rank))
    return dims - {m.input_dimension for m in transform.maps if m.kind == SINGLE}


def _without(transform: IndexTransform, dims: set[int]) -> IndexTransform:
    """The transform with some dimensions (no affine map depends on them) cut to one element."""
    if not dims:
        return transform
    domain = transform.domain
    hi = tuple(
        lo + 1 if d in dims else end
        for d, (lo, end) in enumerate(zip(domain.inclusive_min, domain.exclusive_max, strict=True))
    )
    return IndexTransform._make(IndexDomain._make(domain.inclusive_min, hi), transform.maps)


def _taken(
    view: Array, lookups: list[Positions], own: list[int], rank: int, out: Array | None
) -> Array:
    """Index arrays that each vary along a dimension of their own: one ``take`` per axis.

    In ``view`` these dimensions have size 1 and the axes to look up stand at the end; moved into
    their places, each is looked up on its own.
    """
    place = {d: rank + i for i, d in enumerate(own)}
    values = view.transpose(
        [place.get(d, d) for d in range(rank)] + [d for d in range(rank) if d in place]
    ).reshape([view.shape[place.get(d, d)] for d in range(rank)])
    order = sorted(range(len(own)), key=lambda i: lookups[i].size / max(1, view.shape[rank + i]))
    for i in order[:-1]:
        values = np.take(values, lookups[i].reshape(-1), axis=own[i])
    last = order[-1]
    positions = lookups[last].reshape(-1)
    # mode="clip" does not clip (positions are checked): it spares np.take a buffer of its own.
    return np.take(values, positions, axis=own[last], out=out, mode="clip")


def _fancy(
    view: Array, lookups: list[Positions], shape: tuple[int, ...], dropped: set[int]
) -> Array:
    """Index arrays that vary together: fancy indexing over the dimensions they vary along.

    Dimensions in ``dropped`` have size 1 in ``view``. A dimension that both an index array and an
    affine map depend on is indexed along, too.
    """
    rank = len(shape)
    joint = [d for d in range(rank) if any(p.shape[d] > 1 for p in lookups)]
    kept = [d for d in range(rank) if d not in joint]
    index: list[Array | slice] = []
    for d in joint:
        n = 1 if d in dropped else shape[d]
        index.append(np.arange(n).reshape([-1 if d == e else 1 for e in joint]))
    index.extend(p.reshape([p.shape[d] for d in joint]) for p in lookups)
    ordered = view.transpose([*joint, *range(rank, view.ndim), *kept])
    values = ordered[tuple(index)]
    values = np.broadcast_to(values, (*(shape[d] for d in joint), *(shape[d] for d in kept)))
    return values.transpose(np.argsort([*joint, *kept]))


def _positions(m: OutputIndexMap, size: int, origin: int, axis: int) -> Positions:
    """Positions along an axis of the array, checked."""
    values = m.lookup()[0].values
    if m.stride == 1 and m.offset == origin:
        found = values
    else:
        found = values * m.stride + (m.offset - origin)
    if math.prod(found.shape):
        _check_inside(int(found.min()), int(found.max()), size, axis)
    return found


def _check_inside(start: int, end: int, size: int, axis: int) -> None:
    low, high = min(start, end), max(start, end)
    if low < 0 or high >= size:
        raise OutOfBoundsError(
            f"the transform leads to positions {low} to {high} of axis {axis}, whose size is {size}"
        )
