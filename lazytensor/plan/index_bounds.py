"""Bounds and labels as plain tuples: making, moving, marking and slicing them.

A domain's operations, free of the class: ``IndexDomain(shape=...)`` and ``IndexTransform(
input_shape=...)`` share a constructor, and a domain and a dimension expression share what happens
to the bounds. Rules and defaults are TensorStore's.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, SupportsIndex

from lazytensor.errors import DimensionError, OutOfBoundsError, ShapeError
from lazytensor.plan.index_dims import check_labels, resolve_implicit
from lazytensor.plan.index_interval import (
    INF,
    MAX_RANK,
    UNBOUNDED,
    check_interval,
    format_interval,
)
from lazytensor.plan.index_json import BoundsData

__all__ = [
    "bounds_from_components",
    "mark_implicit",
    "match_slice_dims",
    "move_by",
    "move_to",
    "relabel",
    "slice_by",
]

Indices = Iterable[SupportsIndex] | None
Flags = Iterable[bool] | None


def bounds_from_components(
    rank: SupportsIndex | None,
    inclusive_min: Indices,
    implicit_lower_bounds: Flags,
    exclusive_max: Indices,
    inclusive_max: Indices,
    shape: Indices,
    implicit_upper_bounds: Flags,
    labels: Iterable[str | None] | None,
    prefix: str = "",
) -> BoundsData:
    """Checked bounds of a domain given by vectors; ``prefix`` is used in messages.

    Lower bounds default to 0 if ``shape`` is given, else to minus infinity (implicit); upper bounds
    default to infinity (implicit). Raises `ShapeError` where vectors disagree on the rank or form
    no interval, `DimensionError` for repeated labels.

    >>> bounds_from_components(None, None, None, None, None, [2, 3], None, ["y", None])
    ((0, 0), (2, 3), ('y', ''), (False, False), (False, False))
    """
    names = None if labels is None else check_labels(labels)
    vectors = {
        "inclusive_min": _ints(inclusive_min),
        "exclusive_max": _ints(exclusive_max),
        "inclusive_max": _ints(inclusive_max),
        "shape": _ints(shape),
    }
    flags = {
        "implicit_lower_bounds": _flags(implicit_lower_bounds),
        "implicit_upper_bounds": _flags(implicit_upper_bounds),
    }
    n = _common_rank(rank, {**vectors, **flags, "labels": names}, prefix)
    given = [name for name in ("exclusive_max", "inclusive_max", "shape") if vectors[name]]
    if len(given) > 1:
        raise ShapeError(f"at most one of {[prefix + name for name in given]} may be given")
    upper_kind = given[0] if given else ""
    lo = vectors["inclusive_min"] or (0 if upper_kind == "shape" else -INF,) * n
    hi = _exclusive(upper_kind, lo, vectors[upper_kind] if upper_kind else None)
    what = {"shape": "sized", "inclusive_max": "closed"}.get(upper_kind, "half-open")
    for pair in zip(lo, hi, strict=True):
        check_interval(*pair, what)
    has_lower = vectors["inclusive_min"] is not None or upper_kind == "shape"
    lower = flags["implicit_lower_bounds"] or (not has_lower,) * n
    upper = flags["implicit_upper_bounds"] or (not upper_kind,) * n
    return lo, hi, names or ("",) * n, lower, upper


def match_slice_dims(target: Sequence[str], window: Sequence[str]) -> tuple[tuple[int, ...], bool]:
    """Which dimensions of a target the dimensions of a slicing domain speak of.

    Returns the dimensions and whether the target takes over the labels: where one of the two has no
    labels at all, dimensions match in order and ranks must agree; else labeled ones match by label
    and unlabeled ones in order. Raises `DimensionError` otherwise.

    >>> match_slice_dims(("x", "", "", "y"), ("y", "", "x", ""))
    ((3, 1, 0, 2), False)
    """
    if not any(target) or not any(window):
        if len(target) != len(window):
            raise DimensionError(
                f"rank {len(window)} of the slicing domain must match rank {len(target)} of what "
                f"is sliced when one of them has no labels"
            )
        return tuple(range(len(target))), not any(target)
    free = iter([d for d, label in enumerate(target) if not label])
    dims = []
    for label in window:
        if label and label not in target:
            raise DimensionError(f"label {label!r} does not match one of {list(target)}")
        dim = list(target).index(label) if label else next(free, -1)
        if dim < 0:
            raise DimensionError(
                f"the slicing domain {list(window)} has more unlabeled dimensions than "
                f"{list(target)}"
            )
        dims.append(dim)
    if "" in window and len(window) != len(target):
        raise DimensionError(
            f"rank {len(window)} of a slicing domain with unlabeled dimensions must match rank "
            f"{len(target)}"
        )
    return tuple(dims), False


def move_to(bounds: BoundsData, dims: Sequence[int], origins: Sequence[int | None]) -> BoundsData:
    """Give dimensions a new first coordinate; None leaves one alone.

    Raises `OutOfBoundsError` where a dimension is unbounded below or the origin is no index.
    """
    offsets: list[int | None] = []
    for d, origin in zip(dims, origins, strict=True):
        lo = bounds[0][d]
        if origin is not None and lo == -INF:
            raise OutOfBoundsError(
                f"dimension {d} is not bounded below and has no origin that could be moved"
            )
        if origin is not None and not -INF < origin < INF:
            raise OutOfBoundsError(f"origin {origin} of dimension {d} is no finite index")
        offsets.append(None if origin is None else origin - lo)
    return move_by(bounds, dims, offsets, 1)


def move_by(
    bounds: BoundsData, dims: Sequence[int], offsets: Sequence[int | None], sign: int
) -> BoundsData:
    """Add ``sign * offset`` to both ends of dimensions; infinite ends stay, None means 0.

    >>> move_by(((0,), (5,), ("",), (False,), (False,)), [0], [3], -1)[:2]
    ((-3,), (2,))
    """
    lo, hi = list(bounds[0]), list(bounds[1])
    for d, given in zip(dims, offsets, strict=True):
        by = sign * (given or 0)
        lo[d] += by if lo[d] != -INF else 0
        hi[d] += by if hi[d] != UNBOUNDED else 0
        if by and not (-INF <= lo[d] < INF and -INF + 1 < hi[d] <= UNBOUNDED):
            raise OutOfBoundsError(f"moving dimension {d} by {by} leaves the range of indices")
    return (tuple(lo), tuple(hi), *bounds[2:])


def relabel(bounds: BoundsData, dims: Sequence[int], names: Any) -> BoundsData:
    """Give dimensions new labels (one string, or one per dimension).

    Raises `DimensionError` where numbers differ or a label would stand twice.
    """
    given = check_labels((names,) if isinstance(names, str) else names, len(dims))
    labels = list(bounds[2])
    for d, name in zip(dims, given, strict=True):
        labels[d] = name
    return (*bounds[:2], check_labels(labels), *bounds[3:])


def mark_implicit(bounds: BoundsData, dims: Sequence[int], value: Any) -> BoundsData:
    """Set the implicit flags of dimensions; ``value`` as in `resolve_implicit`."""
    lower, upper = list(bounds[3]), list(bounds[4])
    for flags, flag in zip((lower, upper), resolve_implicit(value), strict=True):
        for d in dims:
            flags[d] = flags[d] if flag is None else flag
    return (*bounds[:3], tuple(lower), tuple(upper))


def slice_by(bounds: BoundsData, window: BoundsData) -> BoundsData:
    """Narrow bounds to those of another domain, dimensions matched by `match_slice_dims`.

    The narrowed bounds are explicit, whatever the flags of ``window`` say. Raises
    `OutOfBoundsError` where the window leaves explicit bounds.
    """
    dims, takes_labels = match_slice_dims(bounds[2], window[2])
    lo, hi, lower, upper = (list(part) for part in (*bounds[:2], *bounds[3:]))
    for i, d in enumerate(dims):
        low, high = window[0][i], window[1][i]
        inside = (lower[d] or low >= lo[d]) and (upper[d] or high <= hi[d])
        if low < high and not inside:
            shown = format_interval(lo[d], hi[d], bool(lower[d]), bool(upper[d]))
            raise OutOfBoundsError(
                f"dimension {d} {shown} does not contain {format_interval(low, high)}, by which "
                f"it is sliced"
            )
        lo[d], hi[d], lower[d], upper[d] = low, high, False, False
    labels = window[2] if takes_labels else bounds[2]
    flags = tuple(map(bool, lower)), tuple(map(bool, upper))
    return tuple(lo), tuple(hi), labels, *flags


def _ints(values: Indices) -> tuple[int, ...] | None:
    return None if values is None else tuple(operator.index(v) for v in values)


def _flags(values: Flags) -> tuple[bool, ...] | None:
    return None if values is None else tuple(bool(v) for v in values)


def _common_rank(
    rank: SupportsIndex | None, vectors: dict[str, Sequence[object] | None], prefix: str
) -> int:
    ranks = {} if rank is None else {prefix + "rank": operator.index(rank)}
    for name, vector in vectors.items():
        if vector is not None:
            ranks[name if name.startswith("implicit") else prefix + name] = len(vector)
    if not ranks:
        raise ShapeError(f"`{prefix}rank` or one of the bounds or labels must be given")
    if len(set(ranks.values())) > 1:
        raise ShapeError(f"the arguments disagree on the rank: {ranks}")
    n = next(iter(ranks.values()))
    if not 0 <= n <= MAX_RANK:
        raise ShapeError(f"rank {n} is outside [0, {MAX_RANK}]")
    return n


def _exclusive(kind: str, lo: Sequence[int], given: Sequence[int] | None) -> tuple[int, ...]:
    if given is None:
        return (UNBOUNDED,) * len(lo)
    if kind == "shape":
        return tuple(low + size for low, size in zip(lo, given, strict=True))
    return tuple(given) if kind == "exclusive_max" else tuple(last + 1 for last in given)
