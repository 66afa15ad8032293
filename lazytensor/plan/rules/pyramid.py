"""Laws that read a stored level of a pyramid instead of computing it from a finer one.

A level stands in where it holds what would be computed (``plan.levels`` says what proves that), or
where the caller allows what comes near it (``approx=True``). Blocks of a downsample lie at
multiples of the factor in the coordinates of its input. So a view between the source and the
downsample must put its blocks where those of the level are: shifted by whole blocks, beginning and
ending at the border of one or at the end of the array.

A level that is cut into larger chunks may cost more than it saves; it stands in only if fewer bytes
are read. Whether the finer array is read anyway, by something else in the plan, no law can see: the
driver compares both plans when one of these has fired.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lazytensor.plan.cost import reads
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.levels import Level, like_levels, proven_levels
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Scan, View, scan_below
from lazytensor.plan.nodes_block import Downsample
from lazytensor.plan.output_map import (
    CONSTANT,
    IDENTITY,
    SINGLE,
    OutputIndexMap,
    constant_map,
    single_map,
)
from lazytensor.plan.rules.law import law
from lazytensor.plan.rules.moves import reference_counts, settled, view_of

__all__ = [
    "like_level_for_downsample",
    "may_be_a_level",
    "stamped_level_for_downsample",
    "stamped_level_for_stride",
]

# Blocks of blocks give what larger blocks give; means of means, medians and modes do not.
_NEST = frozenset({"min", "max"})

_Interval = tuple[int, int]


@law(Downsample, flag="pyramid_substitution")
def stamped_level_for_downsample(node: Downsample) -> Node | None:
    """downsample(x[box], f) = level[box/f], where the level is stamped as downsample(x, f)"""
    scan = _leveled(node.x)
    if scan is None:
        return None
    nests = node.method in _NEST
    return _first_cheaper(node, scan, proven_levels(scan.source, node.method), nests=nests)


@law(Downsample, flag="pyramid_substitution")
def like_level_for_downsample(node: Downsample) -> Node | None:
    """downsample(x[box], f, approx=True) ≈ level[box/f], or ≈ downsample(level[box/g], f/g)"""
    if not node.approx:
        return None
    scan = _leveled(node.x)
    if scan is None:
        return None
    wanted = [1] * scan.ndim
    for d, m in enumerate(_maps(node.x)):
        if m.kind == SINGLE:
            wanted[d] = node.factors[m.input_dimension]
    return _first_cheaper(node, scan, like_levels(scan.source, wanted), nests=True)


@law(View, flag="pyramid_substitution")
def stamped_level_for_stride(view: View) -> Node | None:
    """x[::s] = level[::s/f], where the level is stamped as x[::f]"""
    if not may_be_a_level(view):
        return None
    scan = view.x
    assert isinstance(scan, Scan)
    for level in proven_levels(scan.source, "stride"):
        maps = [_coarse_step(m, f) for m, f in zip(view.transform.maps, level.factors, strict=True)]
        if None in maps:
            continue
        transform = IndexTransform._make(view.domain, tuple([m for m in maps if m is not None]))
        after = settled(view_of(Scan(level.source), transform), view.domain)
        if reads(after) <= reads(view):
            return after
    return None


def may_be_a_level(view: View) -> bool:
    """Whether a view leaves elements of a pyramid's level out, as a coarser one might.

    >>> may_be_a_level(lt.asarray([1, 2, 3])[::2]._node)
    False
    """
    scan = view.x
    if type(scan) is not Scan or not getattr(scan.source, "levels", None):
        return False
    return any(m.kind == SINGLE and not -2 < m.stride < 2 for m in view.transform.maps)


def _coarse_step(m: OutputIndexMap, f: int) -> OutputIndexMap | None:
    """The map among every ``f``-th position, None if it leads anywhere else."""
    if f == 1:
        return m
    if m.offset % f:
        return None
    if m.kind == CONSTANT:
        return constant_map(m.offset // f)
    if m.kind != SINGLE or m.stride % f:
        return None
    return single_map(m.input_dimension, m.offset // f, m.stride // f)


def _leveled(node: Node) -> Scan | None:
    """The source that a node is or looks at, if it is one of a pyramid."""
    scan = scan_below(node)
    return None if scan is None or not getattr(scan.source, "levels", None) else scan


def _maps(node: Node) -> tuple[OutputIndexMap, ...]:
    """How a source is looked at: by a view, or as it is."""
    return node.transform.maps if isinstance(node, View) else IDENTITY[: node.ndim]


def _first_cheaper(
    node: Downsample, scan: Scan, levels: Iterable[Level], *, nests: bool
) -> Node | None:
    """What reads the coarsest of some levels that can stand in. ``nests``: in part, too."""
    if not node.size:
        return None
    for level in levels:
        after = _standing_in(node, scan, level, nests=nests)
        if after is not None and reads(after) <= reads(node):
            return after
    return None


def _standing_in(node: Downsample, scan: Scan, level: Level, *, nests: bool) -> Node | None:
    """The downsample as a view of a level, or with ``nests`` as a downsample of one."""
    x = node.x
    maps = _maps(x)
    counts = reference_counts(x.transform) if isinstance(x, View) else [1] * x.ndim
    bounds = list(zip(x.domain.inclusive_min, x.domain.exclusive_max, strict=True))
    rest = list(node.factors)
    coarse: list[OutputIndexMap] = []
    places: list[int] = []
    turned = False
    for d, (m, g) in enumerate(zip(maps, level.factors, strict=True)):
        if g == 1:
            coarse.append(m)
            continue
        i = m.input_dimension
        if m.kind != SINGLE or counts[i] != 1 or rest[i] % g:
            return None
        found = _on_blocks(m, g, bounds[i], _ends(scan.domain, d))
        if found is None:
            return None
        coarse.append(found)
        bounds[i] = bounds[i][0] // g, -(-bounds[i][1] // g)
        if not _within(found, bounds[i], _ends(level.source.spec.domain, d)):
            return None
        rest[i] //= g
        places.append(i)
        turned = turned or m.stride < 0
    if not nests and any(f > 1 for f in rest):
        return None
    # A float mean adds up in C order of the block, which must be that of the level's own blocks.
    reordered = turned or places != sorted(places)
    if reordered and not node.approx and node.method == "mean" and node.dtype.kind not in "biu":
        return None
    lo, hi = zip(*bounds, strict=True) if bounds else ((), ())
    transform = IndexTransform._make(
        IndexDomain._make(tuple(lo), tuple(hi), x.domain.labels), tuple(coarse)
    )
    below = view_of(Scan(level.source), transform)
    if any(f > 1 for f in rest):
        below = Downsample(below, tuple(rest), node.method, node.approx)
    return settled(below, node.domain)


def _ends(domain: IndexDomain, d: int) -> _Interval:
    return domain.inclusive_min[d], domain.exclusive_max[d]


def _on_blocks(
    m: OutputIndexMap, g: int, own: _Interval, whole: _Interval
) -> OutputIndexMap | None:
    """The map from blocks of ``g`` to blocks of ``g``; None if those of both sides differ.

    ``own``: the interval that the map is looked at on; ``whole``: that of the array it leads to.
    """
    if m.stride not in (1, -1):
        return None
    behind = 0 if m.stride == 1 else 1
    if (m.offset + behind) % g:
        return None
    first, last = m.offset + m.stride * own[0], m.offset + m.stride * (own[1] - 1)
    lo, hi = min(first, last), max(first, last) + 1
    if (lo % g and lo != whole[0]) or (hi % g and hi != whole[1]):
        return None
    return single_map(m.input_dimension, (m.offset + behind) // g - behind, m.stride)


def _within(m: OutputIndexMap, own: _Interval, whole: _Interval) -> bool:
    """Whether a map leads into an array: a level whose extents were rounded down may end early."""
    ends: Any = m.offset + m.stride * own[0], m.offset + m.stride * (own[1] - 1)
    return bool(whole[0] <= min(ends) and max(ends) < whole[1])
