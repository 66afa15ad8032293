"""Which bounds a domain gets when its indices are fed into another domain.

The half of composition that looks at bounds: the explicit bounds of the target must be respected by
everything explicit in the source, and implicit bounds of the source are replaced by what the target
allows. Kept apart from the substitution of maps because both are needed alone
(``domain[transform]`` has no maps to substitute; a slice of an explicit domain needs no
propagation).
"""

from __future__ import annotations

from collections.abc import Sequence

from lazytensor.errors import OutOfBoundsError
from lazytensor.plan.domain import IndexDomain, format_bounds
from lazytensor.plan.index_interval import (
    INF,
    UNBOUNDED,
    Bounds,
    affine_domain,
    format_interval,
    intersect_preferring_explicit,
)
from lazytensor.plan.output_map import CONSTANT, SINGLE, OutputIndexMap

__all__ = ["explicit_range", "explicitly_empty", "inside_explicit", "propagate"]


def propagate(
    target: IndexDomain, source: IndexDomain, maps: Sequence[OutputIndexMap]
) -> IndexDomain:
    """Bounds of ``source`` when ``maps`` (one per dimension of ``target``) lead into ``target``.

    Raises `OutOfBoundsError` where an explicit bound of ``source`` or a constant leads outside the
    explicit bounds of ``target``; an empty domain leads nowhere and is not checked. Index arrays
    are not looked at (their values are bounded by the map's index range).
    """
    if target.explicit and source.explicit and _stays_inside(target, source, maps):
        return source
    return _propagate_any(target, source, maps)


def _stays_inside(target: IndexDomain, source: IndexDomain, maps: Sequence[OutputIndexMap]) -> bool:
    """Whether explicit, non-empty source intervals plainly stay inside: the common case, fast."""
    lows, highs = source.inclusive_min, source.exclusive_max
    for (kind, offset, stride, dim, _, _), lo, hi in zip(
        maps, target.inclusive_min, target.exclusive_max, strict=True
    ):
        if kind == SINGLE:
            first = offset + stride * lows[dim]
            last = offset + stride * (highs[dim] - 1)
            # An empty interval has its ends crossed, which fails here for either sign of stride.
            if stride > 0:
                if first < lo or last >= hi or last < first:
                    return False
            elif last < lo or first >= hi or first < last:
                return False
        elif kind == CONSTANT and not lo <= offset < hi:
            return False
    return True


def _propagate_any(
    target: IndexDomain, source: IndexDomain, maps: Sequence[OutputIndexMap]
) -> IndexDomain:
    allowed: dict[int, Bounds] = {}
    for d, (kind, offset, stride, dim, _, _) in enumerate(maps):
        if kind == SINGLE:
            bounds = _pulled_back(target, d, offset, stride)
            seen = allowed.get(dim)
            allowed[dim] = bounds if seen is None else intersect_preferring_explicit(seen, bounds)
    lo, hi = list(source.inclusive_min), list(source.exclusive_max)
    lower, upper = list(source.implicit_lower_bounds), list(source.implicit_upper_bounds)
    for dim, bounds in allowed.items():
        if lower[dim]:
            lo[dim], lower[dim] = bounds[0], bounds[2]
        if upper[dim]:
            hi[dim], upper[dim] = bounds[1], bounds[3]
        hi[dim] = max(lo[dim], hi[dim])
        if lo[dim] < hi[dim] and not inside_explicit(lo[dim], hi[dim], bounds):
            raise OutOfBoundsError(
                f"bounds {format_interval(lo[dim], hi[dim])} of dimension {dim} are not contained "
                f"in {format_interval(*bounds)}, which is what {target!r} allows"
            )
    result = IndexDomain._make(tuple(lo), tuple(hi), source.labels, tuple(lower), tuple(upper))
    if not explicitly_empty(result):
        _check_constants(target, maps)
    return result


def _pulled_back(target: IndexDomain, d: int, offset: int, stride: int) -> Bounds:
    lo, hi = affine_domain(target.inclusive_min[d], target.exclusive_max[d], offset, stride)
    lower, upper = target.implicit_lower_bounds[d], target.implicit_upper_bounds[d]
    return (lo, hi, lower, upper) if stride > 0 else (lo, hi, upper, lower)


def _check_constants(target: IndexDomain, maps: Sequence[OutputIndexMap]) -> None:
    for d, m in enumerate(maps):
        if m.kind == CONSTANT and not inside_explicit(
            m.offset, m.offset + 1, _pulled_back(target, d, 0, 1)
        ):
            raise OutOfBoundsError(
                f"index {m.offset} of dimension {d} is outside the valid range "
                f"{format_bounds(target, d)} of {target!r}; coordinates do not wrap"
            )


def inside_explicit(lo: int, hi: int, bounds: Bounds) -> bool:
    """Whether ``[lo, hi)`` respects the bounds that are explicit.

    >>> inside_explicit(-5, 3, (0, 10, True, False)), inside_explicit(5, 12, (0, 10, True, False))
    (True, False)
    """
    return (bounds[2] or lo >= bounds[0]) and (bounds[3] or hi <= bounds[1])


def explicitly_empty(domain: IndexDomain) -> bool:
    """Whether some dimension is empty and will stay so, its bounds being explicit.

    >>> explicitly_empty(IndexDomain(shape=[3, 0])), explicitly_empty(IndexDomain(2))
    (True, False)
    """
    if 0 not in domain.shape:
        return False
    if domain.explicit:
        return True
    return any(
        size == 0 and not lower and not upper
        for size, lower, upper in zip(
            domain.shape, domain.implicit_lower_bounds, domain.implicit_upper_bounds, strict=True
        )
    )


def explicit_range(domain: IndexDomain, d: int) -> tuple[int, int]:
    """The interval of one dimension with its implicit bounds taken as infinite.

    >>> explicit_range(IndexDomain(shape=[4], implicit_upper_bounds=[True]), 0)[0]
    0
    """
    lo = -INF if domain.implicit_lower_bounds[d] else domain.inclusive_min[d]
    hi = UNBOUNDED if domain.implicit_upper_bounds[d] else domain.exclusive_max[d]
    return lo, hi
