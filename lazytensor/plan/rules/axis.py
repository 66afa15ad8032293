"""Laws that move a view below operations along one axis, and below those that look values up.

The axis itself is needed whole (by a sum only as far as the view reaches), all other dims move. A
view that leaves the axis as it is, or takes the beginning of a sum's, becomes a view of the
operand; of any other, the part along the axis stays above.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import View
from lazytensor.plan.nodes_axis import BlockTotals, Cumulate, Gather, Lookup, Search, Sort
from lazytensor.plan.output_map import SINGLE, OutputIndexMap, constant_map, single_map
from lazytensor.plan.rules.law import law
from lazytensor.plan.rules.moves import (
    box_of,
    changes_nothing,
    core,
    enlarges,
    hull,
    input_dims,
    is_box,
    narrowed,
    renumbered,
    same_elements,
    settled,
    view_of,
)
from lazytensor.plan.rules.pushdown import below_unary

__all__ = [
    "sort_once",
    "view_through_block_totals",
    "view_through_cumulate",
    "view_through_gather",
    "view_through_lookup",
    "view_through_search",
    "view_through_sort",
]

_Interval = tuple[int, int]


class _Split(NamedTuple):
    """A view of a result taken apart: what moves, and what stays above.

    ``below`` maps the dims of the moved result to those of the result as it was; its dim ``axis``
    stands for the operation's axis, in the result's own coordinates, over ``interval``. ``above``
    is None where the moved result is the view.
    """

    below: IndexTransform
    axis: int
    interval: _Interval
    above: IndexTransform | None


def _split(
    transform: IndexTransform, node: Node, axis: int, needed: Callable[[_Interval], _Interval]
) -> _Split:
    """``needed`` says how much of the axis it takes to compute an interval of it."""
    m = transform.maps[axis]
    others = [input_dims(other) for d, other in enumerate(transform.maps) if d != axis]
    own = sorted({dim for dims in others for dim in dims})
    interval = needed(hull(transform)[axis])
    if m.kind == SINGLE and m.stride == 1 and m.input_dimension not in own:
        dim = m.input_dimension
        lo, hi = (
            transform.domain.inclusive_min[dim] + m.offset,
            transform.domain.exclusive_max[dim] + m.offset,
        )
        if (lo, hi) == interval and len(own) == transform.domain.rank - 1:
            return _Split(transform, dim, interval, None)
    return _apart(transform, node, axis, own, interval)


def _apart(
    transform: IndexTransform, node: Node, axis: int, own: list[int], interval: _Interval
) -> _Split:
    """The axis as a dim of its own, in its place among the dims that the others refer to."""
    before = [dim for m in transform.maps[:axis] for dim in input_dims(m)]
    at = len(set(before)) if sorted(set(before)) == own[: len(set(before))] else len(own)
    domain, base = transform.domain, node.domain
    lo = [domain.inclusive_min[d] for d in own]
    hi = [domain.exclusive_max[d] for d in own]
    labels = [domain.labels[d] for d in own]
    lo.insert(at, interval[0])
    hi.insert(at, interval[1])
    labels.insert(at, "" if base.labels[axis] in labels else base.labels[axis])
    places = [-1] * domain.rank
    for i, d in enumerate(own):
        places[d] = i + (i >= at)
    rank = len(own) + 1
    maps = [
        single_map(at, 0, 1) if d == axis else renumbered(m, places, rank)
        for d, m in enumerate(transform.maps)
    ]
    below = IndexTransform._make(
        IndexDomain._make(tuple(lo), tuple(hi), tuple(labels)), tuple(maps)
    )
    back = [single_map(d, 0, 1) for d in own]
    back.insert(at, transform.maps[axis])
    return _Split(below, at, interval, IndexTransform._make(domain, tuple(back)))


def _moved(
    view: View,
    node: Node,
    axis: int,
    needed: Callable[[_Interval], _Interval],
    make: Callable[[_Split], Node],
    again: Callable[[View], Node | None],
) -> Node | None:
    """What becomes of the view: ``make`` builds the operation on the moved operands."""
    transform, repeated = core(view.transform)
    if enlarges(transform, node.size):
        return narrowed(view, again)
    split = _split(transform, node, axis, needed)
    if changes_nothing(split.below, node.domain):
        return None
    moved = settled(make(split), split.below.domain)
    if split.above is not None:
        moved = View(moved, split.above)
    return moved if repeated is None else View(moved, repeated)


def _whole(node: Node, axis: int) -> Callable[[_Interval], _Interval]:
    interval = box_of(node.domain)[axis]
    return lambda _: interval


@law(View, Sort, flag="slice_pushdown", gated=True)
def view_through_sort(view: View, node: Sort) -> Node | None:
    """sort(x)[i] = sort(x[i]), where i leaves the sorted axis whole"""

    def make(split: _Split) -> Node:
        return Sort(view_of(node.x, split.below), split.axis, node.descending, node.indices)

    whole = _whole(node, node.axis)
    return _moved(view, node, node.axis, whole, make, lambda v: view_through_sort(v, node))


@law(View, Cumulate, flag="slice_pushdown", gated=True)
def view_through_cumulate(view: View, node: Cumulate) -> Node | None:
    """cumsum(x)[:b] = cumsum(x[:b]), other dims as they are"""
    axis = node.axis
    first = node.domain.inclusive_min[axis]

    def make(split: _Split) -> Node:
        x = view_of(node.x, split.below)
        carries, block = node.carries, node.block
        if carries is not None:
            count = max(0, split.interval[1] - first - 1) // block
            carries = _of_blocks(carries, split, axis, 0, count) if count else None
        return Cumulate(node.op, x, split.axis, node.to, block if carries else 0, carries)

    return _moved(
        view, node, axis, lambda part: (first, part[1]), make,
        lambda v: view_through_cumulate(v, node),
    )  # fmt: skip


def _of_blocks(x: Node, split: _Split, axis: int, lo: int, hi: int) -> Node:
    """The same view of what has other coordinates along the axis: those of blocks, from 0."""
    domain = split.below.domain
    a, b = list(domain.inclusive_min), list(domain.exclusive_max)
    a[split.axis], b[split.axis] = lo, hi
    maps = list(split.below.maps)
    maps[axis] = single_map(split.axis, 0, 1)
    blocks = IndexDomain._make(tuple(a), tuple(b), domain.labels)
    return view_of(x, IndexTransform._make(blocks, tuple(maps)))


@law(View, BlockTotals, flag="slice_pushdown", gated=True)
def view_through_block_totals(view: View, node: BlockTotals) -> Node | None:
    """totals(x)[:k] = totals(x[: k * block + 1]), other dims as they are"""
    axis, block = node.axis, node.block
    origin = node.x.domain.inclusive_min[axis]

    def make(split: _Split) -> Node:
        # One element more than the blocks: the block it begins is the last, which is left out.
        domain = split.below.domain
        a, b = list(domain.inclusive_min), list(domain.exclusive_max)
        a[split.axis], b[split.axis] = origin, origin + split.interval[1] * block + 1
        maps = list(split.below.maps)
        maps[axis] = single_map(split.axis, 0, 1)
        elements = IndexDomain._make(tuple(a), tuple(b), domain.labels)
        x = view_of(node.x, IndexTransform._make(elements, tuple(maps)))
        return BlockTotals(node.op, x, split.axis, node.to, block)

    return _moved(
        view, node, axis, lambda part: (0, part[1]), make,
        lambda v: view_through_block_totals(v, node),
    )  # fmt: skip


@law(View, Gather, flag="slice_pushdown", gated=True)
def view_through_gather(view: View, node: Gather) -> Node | None:
    """take_along(x, j)[i] = take_along(x[i], j[i]), where x keeps its axis whole"""
    broadcasts = node.x.shape != node.shape or node.indices.shape != node.shape
    if broadcasts and not is_box(core(view.transform)[0]):
        return narrowed(view, lambda v: view_through_gather(v, node))

    def make(split: _Split) -> Node:
        x = _operand(node, node.x, split, box_of(node.x.domain)[node.axis])
        return Gather(x, _operand(node, node.indices, split, None), split.axis)

    return _moved(
        view, node, node.axis, lambda part: part, make, lambda v: view_through_gather(v, node)
    )


def _operand(node: Gather, x: Node, split: _Split, whole: _Interval | None) -> Node:
    """One operand for the moved result; dims along which it is repeated keep extent 1.

    ``whole``: the interval of the axis, where that is not looked at through the view.
    """
    domain = split.below.domain
    lo, hi = list(domain.inclusive_min), list(domain.exclusive_max)
    if whole is not None:
        lo[split.axis], hi[split.axis] = whole
    maps: list[OutputIndexMap] = []
    for d, m in enumerate(split.below.maps):
        start = x.domain.inclusive_min[d]
        if d == node.axis and whole is not None:
            maps.append(single_map(split.axis, 0, 1))
        elif x.shape[d] == 1 and node.shape[d] != 1:
            maps.append(constant_map(start))
            for dim in input_dims(m):
                hi[dim] = lo[dim] + 1
        else:
            shift = start - node.domain.inclusive_min[d]
            maps.append(m._replace(offset=m.offset + shift) if shift else m)
    own = IndexTransform._make(IndexDomain._make(tuple(lo), tuple(hi), domain.labels), tuple(maps))
    # An operand without a name for a dim takes the other's name anyway.
    named = all(a in ("", b) for a, b in zip(x.domain.labels, domain.labels, strict=False))
    return x if named and same_elements(own, x.domain) else View(x, own)


@law(View, Lookup, flag="slice_pushdown", gated=True)
def view_through_lookup(view: View, node: Lookup) -> Node | None:
    """table[x][i] = table[x[i]]"""
    return below_unary(view, node, lambda x: Lookup(node.table, x))


@law(View, Search, flag="slice_pushdown", gated=True)
def view_through_search(view: View, node: Search) -> Node | None:
    """searchsorted(table, x)[i] = searchsorted(table, x[i])"""
    return below_unary(view, node, lambda x: Search(node.op, node.table, x))


@law(Sort, flag="simplify_expression")
def sort_once(node: Sort) -> Node | None:
    """sort(sort(x)) = sort(x)

    Either way ties are in the order they came in.
    """
    below = node.x
    if type(below) is not Sort or node.indices or below.indices or below.axis != node.axis:
        return None
    return Sort(below.x, node.axis, node.descending, False)
