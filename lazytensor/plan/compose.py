"""Composition: one transform fed into another, without looking at data.

``compose(outer, inner)`` maps ``x`` to ``outer(inner(x))``. For constants and affine maps it is a
few integer operations per dimension, whatever the extents; only an index array looked up through
another map is gathered (`index_gather`). The functions an engine asks of a transform (which box
does it touch, what is it on a part of its domain) stand here too: they are the same arithmetic.

Nothing here knows the class `IndexTransform`: results are made by the argument they come from, so
the class can use these functions for its own operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self, TypeVar

from lazytensor.errors import OutOfBoundsError, ShapeError
from lazytensor.plan.domain import IndexDomain, format_bounds
from lazytensor.plan.index_gather import check_bounded, cut_array, gather, simplify
from lazytensor.plan.index_interval import (
    INF,
    UNBOUNDED,
    affine_domain,
    affine_range,
    check_int64,
)
from lazytensor.plan.index_propagate import explicit_range, explicitly_empty, propagate
from lazytensor.plan.output_map import (
    ARRAY,
    CONSTANT,
    SINGLE,
    OutputIndexMap,
    array_map,
    constant_map,
    single_map,
)
from lazytensor.plan.source import Box

__all__ = [
    "compose",
    "output_box",
    "restrict",
    "substitute",
    "translate_output",
    "with_input_origin",
]

Maps = tuple[OutputIndexMap, ...]
_SAFE = 1 << 61
"""Coefficients below this in magnitude need no overflow check."""


class Transform(Protocol):
    """What composition needs of an `IndexTransform`."""

    @property
    def domain(self) -> IndexDomain:
        """The input space."""
        ...

    @property
    def maps(self) -> Maps:
        """One map per output dimension."""
        ...

    def _make(self, domain: IndexDomain, maps: Maps) -> Self: ...


T = TypeVar("T", bound=Transform)


def compose(outer: T, inner: T) -> T:
    """The transform that maps ``x`` to ``outer(inner(x))``.

    Its domain is that of ``inner``, with implicit bounds replaced by what ``outer`` allows.

    Raises
    ------
    ShapeError
        If the output rank of ``inner`` is not the input rank of ``outer``.
    OutOfBoundsError
        If ``inner`` leads outside the explicit bounds of ``outer`` (values of index arrays that
        only pass through are bounded by ``index_range`` instead, and checked on use).
    """
    maps = inner.maps
    if outer.domain.rank != len(maps):
        raise ShapeError(
            f"a transform of input rank {outer.domain.rank} cannot be composed with one of output "
            f"rank {len(maps)}"
        )
    domain = propagate(outer.domain, inner.domain, maps)
    return outer._make(domain, substitute(outer.maps, outer.domain, maps, domain))


def substitute(
    maps: Maps, middle: IndexDomain, inner: Sequence[OutputIndexMap], domain: IndexDomain
) -> Maps:
    """Maps of ``outer(inner(x))`` over ``domain``, given the maps of ``outer`` over ``middle``.

    ``inner`` has one map per dimension of ``middle`` and is known to respect its bounds, save for
    values of index arrays.
    """
    out: list[OutputIndexMap] = []
    arrays = False
    for m in maps:
        kind, offset, stride, dim, _, _ = m
        if kind == CONSTANT:
            out.append(m)
            continue
        if kind == ARRAY:
            out.append(gather(m, middle, inner, domain))
            continue
        i = inner[dim]
        if offset == 0 and stride == 1 and i.kind != ARRAY:
            out.append(i)
            continue
        shift = offset + stride * i.offset
        if not -_SAFE < shift < _SAFE:
            check_int64(shift, "an output offset")
        if i.kind == SINGLE:
            step = stride * i.stride
            if not -_SAFE < step < _SAFE:
                check_int64(step, "an output stride")
            out.append(single_map(i.input_dimension, shift, step))
        elif i.kind == CONSTANT:
            out.append(constant_map(shift))
        elif explicitly_empty(domain):
            out.append(constant_map(offset))  # as if the array held zeros
        else:
            arrays = True
            array, (first, end) = i.lookup()
            step = check_int64(stride * i.stride, "an output stride")
            lo, hi = affine_domain(*explicit_range(middle, dim), i.offset, i.stride)
            lo, hi = max(lo, first), min(hi, end)
            bounds = (lo, max(lo, hi))
            out.append(simplify(array_map(array, shift, step, bounds), domain))
    if arrays or any(i.kind == ARRAY for i in inner):
        _check_dropped(maps, middle, inner, domain)
    return tuple(out)


def _check_dropped(
    maps: Maps, middle: IndexDomain, inner: Sequence[OutputIndexMap], domain: IndexDomain
) -> None:
    """Check index arrays for dimensions that no affine map hands on.

    Their values would go nowhere (or be looked up by position), and an index that is out of bounds
    would go unnoticed.
    """
    handed_on = {m.input_dimension for m in maps if m.kind == SINGLE}
    for d, i in enumerate(inner):
        if i.kind == ARRAY and d not in handed_on and not explicitly_empty(domain):
            check_bounded(i, explicit_range(middle, d), f"dimension {d} of {middle!r}")


def output_box(transform: Transform, box: Box) -> Box:
    """Smallest box of output coordinates that holds the image of an input box.

    Exact per output dimension, for index arrays too (only the part of the array that belongs to the
    box is looked at). An empty input box gives empty intervals.

    Parameters
    ----------
    transform : IndexTransform
    box : tuple of (lo, hi)
        Part of the transform's domain, in input coordinates.
    """
    empty = any(lo >= hi for lo, hi in box)
    return tuple(
        [
            (m.offset, m.offset + (not empty))
            if m.kind == CONSTANT
            else _image(m, transform.domain, box, empty)
            for m in transform.maps
        ]
    )


def _image(m: OutputIndexMap, domain: IndexDomain, box: Box, empty: bool) -> tuple[int, int]:
    if m.kind == SINGLE:
        lo, hi = box[m.input_dimension]
        return affine_range(lo, lo if empty else hi, m.offset, m.stride)
    if empty:
        return m.offset, m.offset
    part = cut_array(m, domain, box)
    ends = m.offset + m.stride * int(part.min()), m.offset + m.stride * int(part.max())
    return min(ends), max(ends) + 1


def restrict(transform: T, box: Box) -> T:
    """The same maps on a part of the domain; labels stay, bounds are explicit, arrays are cut.

    Raises `OutOfBoundsError` if the box (unless empty) leaves the domain's explicit bounds.
    """
    domain = transform.domain
    if len(box) != domain.rank:
        raise ShapeError(f"a box of rank {len(box)} cannot restrict {domain!r}")
    for d, (lo, hi) in enumerate(box):
        low, high = explicit_range(domain, d)
        if lo < hi and not (low <= lo and hi <= high):
            raise OutOfBoundsError(
                f"box [{lo}, {hi}) leaves the bounds {format_bounds(domain, d)} of dimension {d}"
            )
    narrowed = IndexDomain._make(
        tuple([lo for lo, _ in box]), tuple([hi for _, hi in box]), domain.labels
    )
    return transform._make(narrowed, cut_maps(transform.maps, domain, narrowed))


def cut_maps(maps: Maps, domain: IndexDomain, narrowed: IndexDomain) -> Maps:
    """Maps over ``domain`` as maps over a part of it: index arrays lose what is outside."""
    if not any(m.kind == ARRAY for m in maps):
        return maps
    box = tuple(zip(narrowed.inclusive_min, narrowed.exclusive_max, strict=True))
    return tuple(
        simplify(m, narrowed, cut_array(m, domain, box)) if m.kind == ARRAY else m for m in maps
    )


def translate_output(transform: T, offsets: Sequence[int]) -> T:
    """The transform with ``offsets`` (one per output dimension) added to what it gives."""
    if len(offsets) != len(transform.maps):
        raise ShapeError(
            f"{len(offsets)} offsets given for {len(transform.maps)} output dimensions"
        )
    maps = tuple(
        [
            m._replace(offset=check_int64(m.offset + by, "an output offset")) if by else m
            for m, by in zip(transform.maps, offsets, strict=True)
        ]
    )
    return transform._make(transform.domain, maps)


def with_input_origin(transform: T, origin: Sequence[int]) -> T:
    """The same values, position by position, with the domain moved to a new first coordinate.

    Raises `OutOfBoundsError` if the domain is unbounded below.
    """
    domain = transform.domain
    if tuple(origin) == domain.inclusive_min:
        return transform
    if -INF in domain.inclusive_min:
        raise OutOfBoundsError(f"{domain!r} is not bounded below and has no origin to move")
    by = [new - old for new, old in zip(origin, domain.inclusive_min, strict=True)]
    hi = tuple(
        [h if h == UNBOUNDED else h + s for h, s in zip(domain.exclusive_max, by, strict=True)]
    )
    maps = tuple(
        [
            single_map(m.input_dimension, m.offset - m.stride * by[m.input_dimension], m.stride)
            if m.kind == SINGLE
            else m
            for m in transform.maps
        ]
    )
    moved = IndexDomain._make(
        tuple(origin), hi, domain.labels, domain.implicit_lower_bounds, domain.implicit_upper_bounds
    )
    return transform._make(moved, maps)
