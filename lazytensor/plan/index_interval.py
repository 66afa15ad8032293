"""Integer intervals under affine maps: the arithmetic below the index algebra.

An interval is a pair ``(lo, hi)`` of Python integers, half-open, in the coordinates of one
dimension. It is no class: the algebra creates millions of them and looks at each once. The
unbounded ends are ``-INF`` and ``INF + 1`` (so that ``hi - 1`` is ``+INF``), which makes every size
and every comparison come out right without a special case.

The rules are TensorStore's: a finite index lies in ``[-(2**62 - 2), 2**62 - 2]``, coordinates are
absolute, and nothing wraps or clips.
"""

from __future__ import annotations

from lazytensor.errors import OutOfBoundsError, ShapeError

__all__ = [
    "INF",
    "MAX_RANK",
    "UNBOUNDED",
    "affine_domain",
    "affine_range",
    "check_extent",
    "check_int64",
    "check_interval",
    "format_interval",
    "intersect_preferring_explicit",
    "strided_slice",
    "truncated",
]

INF = 2**62 - 1
"""The magnitude of an infinite bound (TensorStore's ``inf``)."""

UNBOUNDED = INF + 1
"""The exclusive upper end of an interval that is unbounded above."""

MAX_RANK = 64
"""Largest number of dimensions, as in NumPy 2."""

_INT64_MIN = -(2**63)
_INT64_MAX = 2**63 - 1


def check_interval(lo: int, hi: int, what: str = "half-open") -> None:
    """Raise `ShapeError` unless ``[lo, hi)`` is a valid, possibly empty or infinite, interval.

    >>> check_interval(5, 5)
    """
    if -INF <= lo < INF and lo <= hi <= UNBOUNDED and hi > -INF + 1:
        return
    shown = {"half-open": (lo, hi), "sized": (lo, hi - lo), "closed": (lo, hi - 1)}[what]
    raise ShapeError(
        f"{shown} do not specify a valid {what} index interval; bounds lie in "
        f"[-(2**62-2), 2**62-2] or are infinite, and the size is not negative"
    )


def check_extent(extent: int) -> int:
    """Return ``extent``, or raise `ShapeError` if counting from 0 leaves the finite indices.

    >>> check_extent(2**62 - 1) == INF
    True
    """
    if extent <= INF:
        return extent
    raise ShapeError(f"extent {extent} is too large; a dimension has at most 2**62-1 positions")


def check_int64(value: int, what: str) -> int:
    """Return ``value``, or raise `OutOfBoundsError` if it does not fit a 64-bit index."""
    if _INT64_MIN <= value <= _INT64_MAX:
        return value
    raise OutOfBoundsError(f"integer overflow computing {what}: {value} does not fit 64 bits")


def format_interval(lo: int, hi: int, lo_implicit: bool = False, hi_implicit: bool = False) -> str:
    """Write an interval the way TensorStore prints it.

    >>> format_interval(0, 5, hi_implicit=True), format_interval(-INF, UNBOUNDED)
    ('[0, 5*)', '(-inf, +inf)')
    """
    left = "(-inf" if lo == -INF else f"[{lo}"
    right = "+inf" if hi == UNBOUNDED else f"{hi}"
    return f"{left}{'*' * lo_implicit}, {right}{'*' * hi_implicit})"


def affine_domain(lo: int, hi: int, offset: int, stride: int) -> tuple[int, int]:
    """Return the interval of all ``x`` with ``offset + stride * x`` in ``[lo, hi)``.

    ``stride`` is not zero. An infinite end stays infinite, an empty interval stays empty.

    >>> affine_domain(0, 10, 1, 3), affine_domain(0, 10, 0, -2)
    ((0, 3), (-4, 1))
    """
    if lo == hi:
        empty = -((offset - lo) // stride)
        return empty, empty
    if stride > 0:
        new_lo = lo if lo == -INF else -((offset - lo) // stride)
        new_hi = hi if hi == UNBOUNDED else (hi - 1 - offset) // stride + 1
    else:
        new_lo = -INF if hi == UNBOUNDED else -((hi - 1 - offset) // -stride)
        new_hi = UNBOUNDED if lo == -INF else (offset - lo) // -stride + 1
    return new_lo, max(new_lo, new_hi)


def affine_range(lo: int, hi: int, offset: int, stride: int) -> tuple[int, int]:
    """Return the smallest interval with ``offset + stride * x`` for all ``x`` in ``[lo, hi)``.

    >>> affine_range(0, 4, 1, 3), affine_range(0, 4, 0, -2), affine_range(2, 2, 1, 3)
    ((1, 11), (-6, 1), (7, 7))
    """
    if lo >= hi:
        return offset + stride * lo, offset + stride * lo
    if stride == 0:
        return offset, offset + 1
    first = lo if lo == -INF else offset + stride * lo
    last = INF if hi == UNBOUNDED else offset + stride * (hi - 1)
    if stride > 0:
        return first, last + 1
    first = INF if lo == -INF else first
    last = -INF if hi == UNBOUNDED else last
    return last, first + 1


def truncated(value: int, divisor: int) -> int:
    """The quotient rounded toward zero, exact for integers of any size.

    >>> truncated(7, -2), truncated(-7, -2)
    (-3, 3)
    """
    quotient = abs(value) // abs(divisor)
    return quotient if (value < 0) == (divisor < 0) else -quotient


Bounds = tuple[int, int, bool, bool]
"""``(lo, hi, implicit_lower, implicit_upper)``."""


def intersect_preferring_explicit(a: Bounds, b: Bounds) -> Bounds:
    """Intersect two intervals; where exactly one of two bounds is explicit, that one wins.

    An empty intersection of disjoint intervals is empty at the larger lower bound.

    >>> intersect_preferring_explicit((0, 9, False, False), (3, 5, True, True))
    (0, 9, False, False)
    """
    lows = [a[0], b[0]] if a[2] == b[2] else [b[0] if a[2] else a[0]]
    highs = [a[1], b[1]] if a[3] == b[3] else [b[1] if a[3] else a[1]]
    lo = max(lows)
    return lo, max(lo, min(highs)), a[2] and b[2], a[3] and b[3]


def strided_slice(
    bounds: Bounds, start: int | None, stop: int | None, step: int
) -> tuple[Bounds, int]:
    """Slice an interval of coordinates; returns the new bounds and the offset of the map.

    The map is ``x = offset + step * n``. Nothing clips: a part outside explicit bounds raises
    `OutOfBoundsError`, except that an empty slice may lie anywhere. The new origin is
    ``start / step`` truncated toward zero. A bound that is given becomes explicit; for a negative
    step TensorStore swaps the two flags *after* that, which is kept.

    >>> strided_slice((0, 10, False, False), 1, None, 3)
    ((0, 3, False, False), 1)
    >>> strided_slice((0, 10, False, False), None, None, -2)
    ((-4, 1, False, False), 1)
    """
    lo, hi, lo_implicit, hi_implicit = bounds
    if step == 0:
        raise OutOfBoundsError("slice step cannot be zero")
    first = (lo if step > 0 else hi - 1) if start is None else start
    last = (hi - 1 if step > 0 else lo) if stop is None else stop - (1 if step > 0 else -1)
    shown = f"slice {_format_slice(start, stop, step)}"
    for bound in (start, stop):
        if bound is not None and not -INF <= bound <= UNBOUNDED:
            raise OutOfBoundsError(f"{shown}: {bound} is no valid index")
    if abs(step) != 1 and not -INF < first < INF:
        raise OutOfBoundsError(f"{shown} of {format_interval(*bounds)} needs a finite start")
    if start is not None:
        lo_implicit = False
    if stop is not None:
        hi_implicit = False
    low, high = (first, last + 1) if step > 0 else (last, first + 1)
    if low > high:
        raise OutOfBoundsError(f"{shown} of {format_interval(*bounds)} stops before it starts")
    _check_contained(low, high, bounds, shown)
    if step < 0:
        lo_implicit, hi_implicit = hi_implicit, lo_implicit
    if step == 1:
        return (low, high, lo_implicit, hi_implicit), 0
    if step == -1 and not -INF < first < INF:
        return (-INF, 1 - low if low > -INF else UNBOUNDED, lo_implicit, hi_implicit), 0
    origin = truncated(first, step)
    unbounded = last in (INF, -INF)
    size = -(-(high - low) // abs(step))
    new_hi = UNBOUNDED if unbounded else origin + size
    return (origin, new_hi, lo_implicit, hi_implicit), first - origin * step


def _check_contained(low: int, high: int, bounds: Bounds, shown: str) -> None:
    lo, hi, lo_implicit, hi_implicit = bounds
    inside = (lo_implicit or low >= lo) and (hi_implicit or high <= hi)
    if low < high and not inside:
        raise OutOfBoundsError(
            f"{shown} selects {format_interval(low, high)}, which is not contained in the domain "
            f"{format_interval(*bounds)}; coordinates neither wrap nor clip"
        )


def _format_slice(start: int | None, stop: int | None, step: int) -> str:
    text = f"{'' if start is None else start}:{'' if stop is None else stop}"
    return text if step == 1 else f"{text}:{step}"
