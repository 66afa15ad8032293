"""Index expressions in positions: NumPy's rules, for tensors whose domain starts anywhere.

The counterpart of `index_key`: the same keys, read the way NumPy reads them. Position 0 is the
first element whatever its coordinate; negative positions count from the end, slices clip, several
index arrays (an integer beside them counts as one) go jointly, boolean masks must have the shape of
what they mask. The result is an `IndexTransform` over the coordinates of the domain, so that a
positional slice remembers where it came from: a unit slice starts at the coordinate of its first
element, a slice with step ``k`` at that coordinate divided by ``k`` (truncated toward zero).

Kept apart from the coordinate dialect because the two differ in every rule but one (how terms and
dimensions are matched up), and a key should be read by exactly one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lazytensor.errors import DimensionError, OutOfBoundsError, ShapeError
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.index_build import index_domain
from lazytensor.plan.index_dims import find_dim
from lazytensor.plan.index_gather import simplify
from lazytensor.plan.index_interval import MAX_RANK, truncated
from lazytensor.plan.index_terms import (
    Placed,
    Term,
    consumed_dims,
    fill_ellipsis,
    parse_terms,
    place_terms,
)
from lazytensor.plan.output_map import (
    ARRAY,
    IDENTITY,
    SINGLE,
    OutputIndexMap,
    constant_map,
    single_map,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["isel", "positional", "positional_oindex", "positional_vindex"]

_SIMPLE = frozenset((int, slice, type(None)))
_FULL = slice(None)


def positional(domain: IndexDomain, key: Any) -> IndexTransform:
    """The transform of ``x[key]`` by NumPy's rules, for an ``x`` with this (finite) domain.

    Integers, slices, ``...``, None (a new dimension ``[0, 1)``), integer arrays and lists, boolean
    arrays of one or more dimensions, NumPy scalars.

    Raises
    ------
    OutOfBoundsError
        An `IndexError`: a position outside its dimension, too many indices, a mask whose shape does
        not match, or something that is no index.

    Examples
    --------
    >>> domain = IndexDomain(inclusive_min=[10, 0], shape=[5, 4], labels=["y", "x"])
    >>> positional(domain, (slice(1, 99), -1))
    Rank 1 -> 2 index space transform:
      Input domain:
        0: [11, 15) "y"
      Output index maps:
        out[0] = 0 + 1 * in[0]
        out[1] = 3
    >>> positional(domain, (0, slice(None), None, [2, 1])).shape
    Traceback (most recent call last):
    lazytensor.errors.OutOfBoundsError: the index expression needs 3 dimensions, but there are 2
    """
    quick = _basic(domain, key if type(key) is tuple else (key,))
    return _advanced(domain, key, "default") if quick is None else quick


def positional_oindex(domain: IndexDomain, key: Any) -> IndexTransform:
    """The transform of ``x.oindex[key]``: every index array on dimensions of its own, in place.

    An integer drops its dimension; a mask of several dimensions gives one. Errors as `positional`.

    >>> positional_oindex(IndexDomain(shape=[3, 4]), ([0, 2], [1, 3, 3])).shape
    (2, 3)
    """
    quick = _basic(domain, key if type(key) is tuple else (key,))
    return _advanced(domain, key, "oindex") if quick is None else quick


def positional_vindex(domain: IndexDomain, key: Any) -> IndexTransform:
    """The transform of ``x.vindex[key]``: index arrays go pointwise, their dimensions come first.

    Errors as `positional`.

    >>> positional_vindex(IndexDomain(shape=[3, 4, 5]), (slice(None), [1, 3], [0, 4])).shape
    (2, 3)
    """
    quick = _basic(domain, key if type(key) is tuple else (key,))
    return _advanced(domain, key, "vindex") if quick is None else quick


def isel(domain: IndexDomain, keys: Mapping[int | str, Any]) -> IndexTransform:
    """Outer selection by positions, dimension by dimension (numbers or labels).

    Raises `DimensionError` for a dimension that is unknown or given twice, else as `positional`.

    >>> isel(IndexDomain(shape=[3, 4], labels=["y", "x"]), {"x": slice(0, 2), 0: -1}).domain
    { "x": [0, 2) }
    """
    terms: list[Any] = [_FULL] * domain.rank
    seen: set[int] = set()
    for dim, key in keys.items():
        d = find_dim(dim, domain.labels)
        if d in seen:
            raise DimensionError(f"dimension {dim!r} of {domain!r} is selected twice")
        if key is None or key is Ellipsis:
            raise OutOfBoundsError(f"{key!r} does not select positions of dimension {dim!r}")
        seen.add(d)
        terms[d] = key
    return positional_oindex(domain, tuple(terms))


def _basic(domain: IndexDomain, key: tuple[Any, ...]) -> IndexTransform | None:
    """Integers, slices, new axes and ``...`` in one pass; None if there is anything else."""
    lows, highs, names = domain.inclusive_min, domain.exclusive_max, domain.labels
    rank = len(lows)
    if not domain.explicit or rank + len(key) > MAX_RANK:
        return None
    lo: list[int] = []
    hi: list[int] = []
    labels: list[str] = []
    maps: list[OutputIndexMap] = []
    for k in key:
        d = len(maps)
        kind = type(k)
        if kind not in _SIMPLE and isinstance(k, np.integer):
            k, kind = int(k), int
        if kind is slice and d < rank:
            low = lows[d]
            labels.append(names[d])
            if k.start is None and k.stop is None and k.step is None:
                maps.append(IDENTITY[len(lo)])
                lo.append(low)
                hi.append(highs[d])
                continue
            first, last, step = _slice_positions(domain, d, k)
            if step == 1:
                maps.append(IDENTITY[len(lo)])
                lo.append(low + first)
                hi.append(low + last if last > first else low + first)
                continue
            start, size = low + first, len(range(first, last, step))
            origin = truncated(start, step)
            maps.append(single_map(len(lo), start - origin * step, step))
            lo.append(origin)
            hi.append(origin + size)
        elif kind is int and d < rank:
            low = lows[d]
            if k < 0:
                at = highs[d] + k
                if at < low:
                    raise _outside(domain, d, k)
            else:
                at = low + k
                if at >= highs[d]:
                    raise _outside(domain, d, k)
            maps.append(constant_map(at))
        elif k is None:
            lo.append(0)
            hi.append(1)
            labels.append("")
        elif k is Ellipsis:
            rest = key[_index_of_ellipsis(key) + 1 :]
            kept = rank - sum(other is not None for other in rest)
            if kept < d or not _SIMPLE.issuperset(map(type, rest)):
                return None
            for e in range(d, kept):
                maps.append(IDENTITY[len(lo)])
                lo.append(lows[e])
                hi.append(highs[e])
                labels.append(names[e])
        else:
            return None
    for e in range(len(maps), rank):
        maps.append(IDENTITY[len(lo)])
        lo.append(lows[e])
        hi.append(highs[e])
        labels.append(names[e])
    result = IndexDomain._make(tuple(lo), tuple(hi), tuple(labels))
    return IndexTransform._make(result, tuple(maps))


def _index_of_ellipsis(key: tuple[Any, ...]) -> int:
    return next(i for i, k in enumerate(key) if k is Ellipsis)


def _slice_positions(domain: IndexDomain, d: int, k: slice) -> tuple[int, int, int]:
    """``k.indices(size)`` of a dimension, with errors that name it."""
    try:
        return k.indices(domain.shape[d])
    except ValueError:
        raise ShapeError(f"slice step of {_named(domain, d)} cannot be zero") from None


def _advanced(domain: IndexDomain, key: Any, mode: str) -> IndexTransform:
    terms = fill_ellipsis(parse_terms(key)[0], domain.rank)
    arrays = [term for term in terms if isinstance(term, np.ndarray)]
    joint = mode != "oindex" and bool(arrays)
    # NumPy does not look at indices that are broadcast away because another has no element.
    checked = not (joint and any(_is_empty(array) for array in arrays))
    coordinates: list[Term] = []
    starts: list[int] = []
    d = 0
    for term in terms:
        used = consumed_dims(term)
        dims = range(d, d + used)
        coordinates.append(_as_coordinates(domain, dims, term, joint=joint, checked=checked))
        starts.append(d)
        d += used
    ones = _single_elements(domain, coordinates, starts, mode)
    total = domain.rank + sum(term is None for term in terms)
    placed = [
        Placed(ones.get(d, term) if isinstance(term, np.ndarray) else term, dims, at)
        for term, d, (_, dims, at) in zip(
            coordinates, starts, place_terms(terms, range(total)), strict=True
        )
    ]
    step = index_domain(domain, placed, mode, positional=True)
    # The coordinates are checked, so the arrays need no index range.
    maps = [simplify(m, step.domain) if m.kind == ARRAY else m for m in step.maps]
    result = _named_like(domain, _from_zero(step.domain, maps, ones))
    if result.domain.size or not arrays:
        return result
    return _renamed(result, _outer_names(domain, terms, starts, result.domain.labels, mode))


def _outer_names(
    domain: IndexDomain,
    terms: Sequence[Term],
    dims: Sequence[int],
    labels: tuple[str, ...],
    mode: str,
) -> tuple[str, ...]:
    """Labels of a result without elements, whose maps no longer tell where its dims are from."""
    alone = sum(isinstance(term, (np.ndarray, int, np.integer)) for term in terms) == 1
    if mode == "vindex" or (mode == "default" and not alone):
        return labels
    named, at = list(labels), 0
    for d, term in zip(dims, terms, strict=True):
        if not isinstance(term, np.ndarray):
            at += not (term is Ellipsis or isinstance(term, (int, np.integer)))
            continue
        if term.ndim == 1 and not named[at] and domain.labels[d] not in named:
            named[at] = domain.labels[d]
        at += 1 if term.dtype == bool else term.ndim
    return tuple(named)


def _named_like(base: IndexDomain, transform: IndexTransform) -> IndexTransform:
    """Give a dimension that one index array alone picks from a base dimension the name of that.

    It still is that dimension, only with some of its positions: selected channels are channels.
    """
    labels = list(transform.domain.labels)
    varying = [_varying(m) for m in transform.maps]
    for d, dims in enumerate(varying):
        name = base.labels[d]
        if len(dims) == 1 and name and name not in labels and varying.count(dims) == 1:
            labels[dims[0]] = name
    return _renamed(transform, tuple(labels))


def _renamed(transform: IndexTransform, labels: tuple[str, ...]) -> IndexTransform:
    domain = transform.domain
    if labels == domain.labels:
        return transform
    named = IndexDomain._make(domain.inclusive_min, domain.exclusive_max, labels)
    return IndexTransform._make(named, transform.maps)


def _varying(m: OutputIndexMap) -> tuple[int, ...]:
    if m.array is not None:
        return tuple(dim for dim, n in enumerate(m.array.values.shape) if n > 1)
    return (m.input_dimension,) if m.kind == SINGLE else ()


def _single_elements(
    domain: IndexDomain, terms: Sequence[Term], dims: Sequence[int], mode: str
) -> dict[int, slice]:
    """Slices for the index arrays that have one element and a dimension of their own.

    As an array the element would become a constant that no dimension of the result leads to, and
    what the axis says (scale, unit, the label of the element) would be lost.
    """
    arrays = [
        (d, term) for d, term in zip(dims, terms, strict=True) if isinstance(term, np.ndarray)
    ]
    if mode == "vindex" or (mode == "default" and len(arrays) != 1):
        return {}
    ones: dict[int, slice] = {}
    for d, array in arrays:
        if array.ndim != 1:
            continue
        masked = array.dtype == bool
        found = np.flatnonzero(array) if masked else array
        if found.size == 1:
            at = int(found[0]) + (domain.inclusive_min[d] if masked else 0)
            ones[d] = slice(at, at + 1)
    return ones


def _from_zero(
    domain: IndexDomain, maps: list[OutputIndexMap], ones: Mapping[int, slice]
) -> IndexTransform:
    """The transform with dimensions that stand for an index array starting at 0."""
    if not ones:
        return IndexTransform._make(domain, tuple(maps))
    lo, hi = list(domain.inclusive_min), list(domain.exclusive_max)
    for d, one in ones.items():
        dim = maps[d].input_dimension
        maps[d] = single_map(dim, one.start, 1)
        lo[dim], hi[dim] = 0, 1
    start = IndexDomain._make(tuple(lo), tuple(hi), domain.labels)
    return IndexTransform._make(start, tuple(maps))


def _is_empty(array: NDArray[Any]) -> bool:
    return not array.any() if array.dtype == bool else array.size == 0


def _as_coordinates(
    domain: IndexDomain, dims: range, term: Term, *, joint: bool, checked: bool
) -> Term:
    """One term of positions as a term of coordinates, checked."""
    if term is None or term is Ellipsis:
        return term
    if isinstance(term, slice):
        return _sliced(domain, dims[0], term)
    if isinstance(term, int):
        at = _wrapped(domain, dims[0], np.asarray(term), checked=True)
        return at if joint else int(at)
    assert isinstance(term, np.ndarray)
    if term.dtype == bool:
        return _matching_mask(domain, dims, term)
    return _wrapped(domain, dims[0], term, checked=checked)


def _sliced(domain: IndexDomain, d: int, k: slice) -> slice:
    """A slice of positions, clipped, as a slice of coordinates that is inside."""
    if k == _FULL:
        return _FULL
    first, last, step = _slice_positions(domain, d, k)
    start, size = domain.inclusive_min[d] + first, len(range(first, last, step))
    if size == 0:
        return slice(start, start, step)
    stop = start + (size - 1) * step + (1 if step > 0 else -1)
    return slice(start, stop, step)


def _wrapped(
    domain: IndexDomain, d: int, positions: NDArray[Any], *, checked: bool
) -> NDArray[Any]:
    """Positions as coordinates, negative ones counted from the end."""
    size = domain.shape[d]
    if checked and positions.size:
        for extreme in (int(positions.min()), int(positions.max())):
            if not -size <= extreme < size:
                raise _outside(domain, d, extreme)
    wrapped = np.where(positions < 0, positions + size, positions)
    return np.asarray(wrapped + domain.inclusive_min[d])


def _matching_mask(domain: IndexDomain, dims: range, mask: NDArray[Any]) -> NDArray[Any]:
    shape = tuple(domain.shape[d] for d in dims)
    if mask.shape != shape:
        raise OutOfBoundsError(
            f"a boolean mask of shape {mask.shape} does not match the dimensions it masks, of "
            f"shape {shape}"
        )
    return mask


def _outside(domain: IndexDomain, d: int, position: int) -> OutOfBoundsError:
    size = domain.shape[d]
    return OutOfBoundsError(
        f"index {position} is out of bounds for {_named(domain, d)} with size {size}; positions "
        f"lie in [{-size}, {size})"
    )


def _named(domain: IndexDomain, d: int) -> str:
    label = domain.labels[d]
    return f"dimension {d} ({label!r})" if label else f"dimension {d}"
