"""Plain index expressions in coordinates: what ``transform[key]`` means, TensorStore's way.

Applying a key to a domain gives a new domain and one map per old dimension; composing these maps
with whatever lies below is done by the caller. Nothing wraps, nothing clips: an integer is a
coordinate, a slice keeps its coordinates.

Two ways lead there. `slice_box` handles integers, slices and ``...`` on explicit domains: this is
what almost every step of a query is, and it costs one pass over the dimensions. `apply_terms`
handles everything else by placing the terms for `index_build`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index_build import Step, index_domain, slice_dim
from lazytensor.plan.index_propagate import propagate
from lazytensor.plan.index_terms import Term, fill_ellipsis, parse_terms, place_terms
from lazytensor.plan.output_map import IDENTITY, OutputIndexMap, constant_map

__all__ = ["apply_key", "apply_terms", "slice_box"]

_SIMPLE = frozenset((int, slice))


def apply_key(domain: IndexDomain, key: Any, mode: str = "default") -> Step:
    """Apply an index expression to all dimensions of a domain.

    >>> step = apply_key(IndexDomain(shape=[10]), slice(1, None, 3))
    >>> step.domain, step.maps
    ({ [0, 3) }, (OutputIndexMap(offset=1, stride=3, input_dimension=0),))
    """
    if domain.explicit:
        quick = slice_box(domain, key if type(key) is tuple else (key,))
        if quick is not None:
            return quick
    return apply_terms(domain, parse_terms(key)[0], mode)


def apply_terms(domain: IndexDomain, terms: Sequence[Term], mode: str) -> Step:
    """Apply parsed terms, placed on the dimensions in order."""
    filled = fill_ellipsis(terms, domain.rank)
    total = domain.rank + sum(term is None for term in filled)
    return index_domain(domain, place_terms(filled, range(total)), mode)


def slice_box(domain: IndexDomain, key: tuple[Any, ...]) -> Step | None:
    """Apply integers, slices and ``...`` to an explicit domain; None if there is anything else.

    Raises `OutOfBoundsError` where an integer or a non-empty slice leaves the bounds.
    """
    lows, highs, names = domain.inclusive_min, domain.exclusive_max, domain.labels
    rank = len(lows)
    lo: list[int] = []
    hi: list[int] = []
    labels: list[str] = []
    maps: list[OutputIndexMap] = []
    outside = False
    to_fill = rank - len(key)
    for k in key:
        d = len(maps)
        if k is Ellipsis:
            to_fill += 1
            kept = d + to_fill
            # Every term so far and to come must use one dimension for this count to hold.
            if to_fill < 0 or not _SIMPLE.issuperset(map(type, key[d + 1 :])):
                return None
            for e in range(d, kept):
                maps.append(IDENTITY[len(lo)])
                lo.append(lows[e])
                hi.append(highs[e])
                labels.append(names[e])
        elif d == rank:
            return None
        elif type(k) is slice:
            first, end, step = k.start, k.stop, k.step
            if first is None:
                first = lows[d]
            if end is None:
                end = highs[d]
            if type(first) is not int or type(end) is not int:
                return None
            if (step is None or step == 1) and lows[d] <= first < end <= highs[d]:
                maps.append(IDENTITY[len(lo)])
            elif step is None or type(step) is int:
                (first, end, _, _), m = slice_dim(domain, d, k, len(lo))
                maps.append(m)
            else:
                return None
            lo.append(first)
            hi.append(end)
            labels.append(names[d])
        elif type(k) is int:
            outside = outside or not lows[d] <= k < highs[d]
            maps.append(constant_map(k))
        else:
            return None
    for e in range(len(maps), rank):
        maps.append(IDENTITY[len(lo)])
        lo.append(lows[e])
        hi.append(highs[e])
        labels.append(names[e])
    result = IndexDomain._make(tuple(lo), tuple(hi), tuple(labels))
    if outside:
        propagate(domain, result, maps)
    return Step(result, tuple(maps))
