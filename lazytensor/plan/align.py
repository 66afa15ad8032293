"""How the domains of several operands meet.

Elementwise operations, ``stack`` and ``concat`` pair *positions*; what they keep of the operands'
coordinates and names is decided here, dimension by dimension, in one place: operands that
broadcast along a dimension, or whose bounds are implicit (in-memory operands, new axes), have no
opinion; if the others agree on the interval it is kept, otherwise counting starts at 0. An empty
name yields to a name; two different names on one dimension are an error.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

from lazytensor.errors import DimensionError, ShapeError
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.output_map import constant_map, single_map

__all__ = [
    "alignment",
    "describe_shape",
    "hull_domain",
    "labels_once",
    "merge_domains",
    "merge_labels",
    "picked_dims",
    "without_dims",
]


def describe_shape(domain: IndexDomain) -> str:
    """``(y: 4, 3)``: extents with names where there are any."""
    parts = (
        f"{name}: {n}" if name else str(n)
        for name, n in zip(domain.labels, domain.shape, strict=True)
    )
    return f"({', '.join(parts)})"


def picked_dims(domain: IndexDomain, dims: Sequence[int]) -> IndexDomain:
    """Some dims of a domain, in this order."""
    implicit = (domain.implicit_lower_bounds, domain.implicit_upper_bounds)
    return IndexDomain._make(
        tuple([domain.inclusive_min[d] for d in dims]),
        tuple([domain.exclusive_max[d] for d in dims]),
        tuple([domain.labels[d] for d in dims]),
        *(None if domain.explicit else tuple([side[d] for d in dims]) for side in implicit),
    )


def without_dims(domain: IndexDomain, dims: Sequence[int]) -> IndexDomain:
    """What a summary over some dims leaves of a domain; its bounds are explicit."""
    kept = [d for d in range(domain.rank) if d not in dims]
    return IndexDomain._make(
        tuple([domain.inclusive_min[d] for d in kept]),
        tuple([domain.exclusive_max[d] for d in kept]),
        tuple([domain.labels[d] for d in kept]),
    )


def merge_domains(domains: Sequence[IndexDomain]) -> IndexDomain:
    """Domain of the result of broadcasting tensors of these domains against each other.

    A name that would stand on several dims stands on none. Raises ``ShapeError`` when extents
    differ and neither is 1 (Array API standard, section "Broadcasting"), ``DimensionError`` when
    names differ.
    """
    merged = domains[0]
    if not merged.explicit:
        return _merge_all(domains)
    for domain in domains[1:]:
        if domain is not merged:
            quick = _merge_tail(merged, domain)
            if quick is None:
                return _merge_all(domains)
            merged = quick
    return merged


def _merge_tail(wide: IndexDomain, tail: IndexDomain) -> IndexDomain | None:
    """The common case: extents and names of ``tail`` are those of the last dims of ``wide``.

    Then only origins may differ, and merging operands one after the other is merging all at once:
    an interval that two disagree on starts at 0 for good. None where there is more to decide.
    """
    skip = wide.rank - tail.rank
    if skip < 0 or not tail.explicit or wide.shape[skip:] != tail.shape:
        return None
    if tail.labels != wide.labels[skip:] and any(tail.labels):
        return None
    before = wide.inclusive_min
    if before[skip:] == tail.inclusive_min:
        return wide
    agreed = [a if a == b else 0 for a, b in zip(before[skip:], tail.inclusive_min, strict=True)]
    lo = (*before[:skip], *agreed)
    hi = tuple([a + n for a, n in zip(lo, wide.shape, strict=True)])
    return IndexDomain._make(lo, hi, wide.labels)


def _merge_all(domains: Sequence[IndexDomain]) -> IndexDomain:
    """The general case, dimension by dimension."""
    rank = max([domain.rank for domain in domains])
    lo: list[int] = []
    hi: list[int] = []
    labels: list[str] = []
    for d in range(-rank, 0):
        having = [domain for domain in domains if domain.rank >= -d]
        a, n, name = _merge_dim(having, d, domains)
        lo.append(a)
        hi.append(a + n)
        labels.append(name)
    return IndexDomain._make(tuple(lo), tuple(hi), labels_once(labels))


def labels_once(labels: Sequence[str]) -> tuple[str, ...]:
    """Names of dims without those that would stand on several, as in ``x[:, None] - x``.

    >>> labels_once(["z", "z", "", "x"])
    ('', '', '', 'x')
    """
    named = [name for name in labels if name]
    if len(set(named)) == len(named):
        return tuple(labels)
    return tuple(["" if named.count(name) > 1 else name for name in labels])


def _merge_dim(
    having: Sequence[IndexDomain], d: int, all_domains: Sequence[IndexDomain]
) -> tuple[int, int, str]:
    extent = 1
    name = ""
    for domain in having:
        n = domain.shape[d]
        if n != 1:
            if extent not in (1, n):
                raise _broadcast_error(all_domains, d)
            extent = n
        label = domain.labels[d]
        if label and label != name:
            if name:
                raise DimensionError(
                    f"dimension {d} is named {name!r} by one operand and {label!r} by another; "
                    f"rename one of them with .label[...]"
                )
            name = label
    return _common_origin(having, d, extent), extent, name


def _common_origin(having: Sequence[IndexDomain], d: int, extent: int) -> int:
    """Where those with an opinion agree that the dim starts, else 0."""
    origin = None
    for domain in having:
        if domain.shape[d] == extent and not domain.implicit_lower_bounds[d]:
            lo = domain.inclusive_min[d]
            if origin is not None and origin != lo:
                return 0
            origin = lo
    return origin or 0


def _broadcast_error(domains: Sequence[IndexDomain], d: int) -> ShapeError:
    shapes = " with ".join(describe_shape(domain) for domain in domains)
    extents = [domain.shape[d] for domain in domains if domain.rank >= -d]
    name = next((x.labels[d] for x in domains if x.rank >= -d and x.labels[d]), "")
    where = f"dim {name!r}" if name else f"axis {d}"
    clash = " != ".join(str(n) for n in dict.fromkeys(extents) if n != 1)
    return ShapeError(f"cannot broadcast {shapes} on {where}: {clash}")


def merge_labels(domains: Sequence[IndexDomain]) -> tuple[str, ...]:
    """Names of same-rank domains; ``""`` yields, a conflict is a ``DimensionError``."""
    out = list(domains[0].labels)
    for domain in domains[1:]:
        if domain.labels == domains[0].labels:
            continue
        for d, label in enumerate(domain.labels):
            if label and out[d] and label != out[d]:
                raise DimensionError(
                    f"dimension {d} is named {out[d]!r} in one layer and {label!r} in another; "
                    f"rename one of them with .label[...]"
                )
            out[d] = out[d] or label
    twice = [name for name in out if name and out.count(name) > 1]
    if twice:
        raise DimensionError(f"the name {twice[0]!r} would stand on two dimensions")
    return tuple(out)


def hull_domain(domains: Sequence[IndexDomain]) -> IndexDomain:
    """Smallest domain that holds all of the given ones (same rank), names merged.

    As `IndexDomain.hull` one after the other, but for implicit bounds: these become explicit.

    Raises ``ShapeError`` when ranks differ, ``DimensionError`` when names do.
    """
    rank = domains[0].rank
    for i, domain in enumerate(domains):
        if domain.rank != rank:
            raise ShapeError(
                f"layer {i} has {domain.rank} dimensions {describe_shape(domain)}, "
                f"layer 0 has {rank} {describe_shape(domains[0])}"
            )
    labels = merge_labels(domains)
    lows = list(zip(*(x.inclusive_min for x in domains), strict=True))
    highs = list(zip(*(x.exclusive_max for x in domains), strict=True))
    bounds = [_hull(lo, hi) for lo, hi in zip(lows, highs, strict=True)]
    lo, hi = zip(*bounds, strict=True) if bounds else ((), ())
    return IndexDomain._make(lo, hi, labels)


def _hull(lows: Sequence[int], highs: Sequence[int]) -> tuple[int, int]:
    """Hull of intervals; an empty one has no say, wherever it lies, and of empty ones the last.

    >>> _hull((3, 9), (5, 9)), _hull((1, 7), (1, 7))
    ((3, 5), (7, 7))
    """
    if not any(map(operator.eq, lows, highs)):
        return min(lows), max(highs)
    filled = [(lo, hi) for lo, hi in zip(lows, highs, strict=True) if lo < hi]
    if not filled:
        return lows[-1], highs[-1]
    return min(lo for lo, _ in filled), max(hi for _, hi in filled)


def alignment(result: IndexDomain, operand: IndexDomain) -> IndexTransform | None:
    """Transform from the result's domain to a broadcast operand's, None for the identity."""
    if operand.shape == result.shape and operand.inclusive_min == result.inclusive_min:
        return None
    skip = result.rank - operand.rank
    maps = []
    for d in range(operand.rank):
        lo = operand.inclusive_min[d]
        if operand.shape[d] == 1 and result.shape[skip + d] != 1:
            maps.append(constant_map(lo))
        else:
            maps.append(single_map(skip + d, lo - result.inclusive_min[skip + d], 1))
    return IndexTransform._make(result, tuple(maps))
