"""What several stages of one run need of the same sub-plan, so that it is computed once.

A run is a list of stages (``exec.stages``): one for every result, and one for every reduction that
the rest waits for. Stages that look at the same tensor rarely need the same of it: one wants these
rows, another those. Keeping the whole tensor would read what nobody asked for, and letting each
stage read for itself would decode the chunks between them twice. So the boxes that stages ask of a
node are joined where they overlap (counted in stored cells), and the hull of each group becomes a
node of its own, which is computed first and kept. Whatever does not overlap stays as it is.

Kept is what costs more to get again than to keep: what is read, and what takes more than a
look or two at what is kept already. Of parameters spread over all elements the parameters are
kept, which blocks look up by themselves. Within one stage every node is computed once a block. But
blocks have borders: where a stage looks at a source through windows that are shifted against each
other (a difference of neighbours, a stencil), the chunks along every border are decoded by the
blocks on both sides. If that is much, such a source is kept as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from lazytensor.exec.compositing import computed_nodes, inputs_to_compute
from lazytensor.exec.demand import whole_box
from lazytensor.exec.kept import Kept
from lazytensor.exec.lower import cells_of, merge_boxes, no_larger, same_cells, volume
from lazytensor.exec.needs import Needs, Pass, is_at_hand, starts
from lazytensor.exec.stages import Stage
from lazytensor.plan.compose import output_box
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node, walk_all
from lazytensor.plan.nodes import Cast, Constant, Elementwise, Field, Rechunk, Scan, View
from lazytensor.plan.nodes_quantize import Spread
from lazytensor.plan.source import Box

__all__ = ["Shared", "share"]

_WORTHWHILE = 0.25
"""What keeping a tensor between the passes of one result must save of reading it, at least: it is
written to memory and read again for that. Results that are asked for together save anything."""

# fmt: off
_QUICK = frozenset({
    "abs", "add", "bitwise_and", "bitwise_invert", "bitwise_left_shift", "bitwise_or",
    "bitwise_right_shift", "bitwise_xor", "clip", "divide", "equal", "greater", "greater_equal",
    "less", "less_equal", "logical_and", "logical_not", "logical_or", "logical_xor", "maximum",
    "minimum", "multiply", "negative", "not_equal", "positive", "square", "subtract", "where",
})
# fmt: on
"""Operations that are done as fast as their result could be fetched from memory."""

_MOST_QUICK = 2
"""How many of them in a row are rather done again."""

_ONE_BLOCK = 1 << 20
"""What has so many bytes is computed as one block, or a few."""

_ENOUGH = 4
"""Decoding a chunk so many times is as good a reason to keep it as decoding it more often."""


class Shared(NamedTuple):
    """Plans of the same values, and the nodes in them that are to be computed first and kept."""

    roots: list[Node]
    kept: frozenset[Node]


def share(
    roots: Sequence[Node],
    stages: Sequence[Stage],
    room: int,
    held: Collection[Node] = (),
) -> Shared | None:
    """Find what the stages of some plans have in common and is worth keeping, if anything is.

    ``room``: bytes of it, together. ``held``: what is kept anyway.
    """
    if len(stages) < 2 and not any(map(_may_overlap, stages)):
        return None
    needs = Needs(stages, room)
    if not needs.candidates():
        return None
    order = list(walk_all(roots))
    share_of = _WORTHWHILE if len(set(roots)) == 1 else 0.0
    parts: dict[Node, _Parts] = {}
    for node in order:
        if not needs.is_candidate(node) or _is_quick(node, parts, needs.computed):
            continue
        chosen = _chosen(node, needs, room, share_of)
        for hull, members in chosen.hulls.items():
            nbytes = volume(hull) * chosen.node.dtype.itemsize
            if nbytes <= room:
                room -= nbytes
                parts.setdefault(chosen.node, _Parts()).add(hull, members)
    return _rewritten(roots, order, parts, needs.passes, held) if parts else None


def _may_overlap(stage: Stage) -> bool:
    """Whether a stage is cut into blocks, and some source is looked at in several ways."""
    looks: Counter[Node] = Counter()
    for start in starts(stage):
        if start.nbytes > _ONE_BLOCK:
            for node in computed_nodes([start]):
                looks.update([x for x in inputs_to_compute(node) if type(x) is Scan])
    return any(number > 1 for number in looks.values())


def _is_quick(node: Node, parts: Mapping[Node, object], computed: frozenset[Node]) -> bool:
    """Whether a node follows from what is in memory by a few operations that cost nothing."""
    level = [node]
    for _ in range(_MOST_QUICK + 1):
        level = [
            below
            for x in level
            for below in _without_looks(x)
            if not (is_at_hand(below) or below in parts or below in computed)
        ]
        if not level:
            return True
        if not all(map(_is_quick_operation, level)):
            return False
        level = [x for below in level for x in below.inputs]
    return False


def _without_looks(node: Node) -> tuple[Node, ...]:
    """What a node is a plain look at."""
    while isinstance(node, (Field, Rechunk, Spread)) or (
        isinstance(node, View) and not node.transform.has_arrays
    ):
        node = node.x
    return (node,)


def _is_quick_operation(node: Node) -> bool:
    return isinstance(node, Cast) or (isinstance(node, Elementwise) and node.op in _QUICK)


class _Chosen(NamedTuple):
    """A node to keep boxes of; each with the boxes asked for that it holds."""

    node: Node
    hulls: dict[Box, list[Box]]


class _Parts:
    """The boxes of a node that are kept."""

    def __init__(self) -> None:
        self.hulls: list[Box] = []
        self._by_box: dict[Box, Box] = {}

    def add(self, hull: Box, members: Iterable[Box]) -> None:
        """Keep a hull, which holds the boxes ``members``."""
        self.hulls.append(hull)
        self._by_box.update(dict.fromkeys(members, hull))

    def holding(self, box: Box) -> Box | None:
        """The kept box that holds another one."""
        found = self._by_box.get(box)
        if found is None:
            found = next((hull for hull in self.hulls if _holds(hull, box)), None)
        return found


def _chosen(node: Node, needs: Needs, room: int, share_of: float) -> _Chosen:
    """The boxes to keep of a node, or of what it quickly follows from and is smaller."""
    by_stage, sparse = needs.boxes(node)
    if isinstance(node, Spread):
        asked = [[whole_box(node.x)] for _ in by_stage]
        return _Chosen(node.x, _worthwhile(node.x, asked, [], room, share_of))
    whole = whole_box(node)
    in_passing = node in needs.passes and node.nbytes <= room
    asked = list(by_stage.values())
    if not sparse and not in_passing and all(box == whole for boxes in asked for box in boxes):
        below = _narrowest(node, needs)
        if below is not node:
            asked = [[whole_box(below)] for _ in asked]
            return _Chosen(below, _worthwhile(below, asked, [], room, share_of))
    if isinstance(node, Scan):
        asked += [
            by_stage[stage]
            for stage, times in needs.often(node).items()
            for _ in range(min(times, _ENOUGH) - 1)
        ]
    return _Chosen(node, _worthwhile(node, asked, sparse, room, share_of))


def _narrowest(node: Node, needs: Needs) -> Node:
    """The smallest of a node and the nodes that it quickly follows from, one from the other."""
    best = node
    for _ in range(_MOST_QUICK):
        if not _is_quick_operation(node):
            break
        operands = [x for x in node.inputs if not isinstance(x, Constant)]
        if len(operands) != 1 or operands[0].shape != node.shape:
            break
        (node,) = operands
        if node in needs.computed or is_at_hand(node):
            break
        if node.nbytes < best.nbytes:
            best = node
    return best


def _worthwhile(
    node: Node, by_stage: Sequence[list[Box]], sparse: Sequence[Box], room: int, share_of: float
) -> dict[Box, list[Box]]:
    """The boxes to keep of a node: each costs less than what stages would spend for it."""
    neighbours = partial(_neighbours, node)
    asked: Counter[Box] = Counter()
    members: dict[Box, list[Box]] = {}
    for boxes in by_stage:
        # What one stage asks for twice, it computes once.
        for hull, inner in (
            merge_boxes(boxes, neighbours) if len(boxes) > 1 else [(boxes[0], boxes)]
        ):
            asked[hull] += 1
            members.setdefault(hull, []).extend(inner)

    def cost(box: Box) -> int:
        return volume(cells_of(node, box) if isinstance(node, Scan) else box)

    def saves(hull: Box, inner: list[Box]) -> bool:
        """A view that skips cells is no reason to keep them, but another reader of what is kept."""
        apart = sum(asked[box] * cost(box) for box in inner)
        apart += sum(_holds(hull, box) for box in sparse)
        return cost(hull) * (1 + share_of) < apart

    def overlap(a: Box, b: Box, hull: Box) -> bool:
        return cost(hull) < cost(a) + cost(b)

    # Neighbours in one pass if that fits into memory, else only what would be read twice.
    out: dict[Box, list[Box]] = {}
    for joined, inner in merge_boxes(list(asked), neighbours):
        fits = volume(joined) * node.dtype.itemsize <= room
        groups = [(joined, inner)] if fits else merge_boxes(inner, overlap)
        for hull, boxes in groups:
            if saves(hull, boxes):
                out[hull] = [box for part in boxes for box in members[part]]
    return out


def _neighbours(node: Node, a: Box, b: Box, hull: Box) -> bool:
    return same_cells(node, a, b, hull) if isinstance(node, Scan) else no_larger(a, b, hull)


def _rewritten(
    roots: Sequence[Node],
    order: Sequence[Node],
    parts: Mapping[Node, _Parts],
    passes: Mapping[Node, Pass],
    held: Collection[Node],
) -> Shared:
    """The plans with the kept parts as nodes of their own."""
    new: dict[Node, Node] = {}
    # What is kept by a pass over it: that pass looks at the node, everybody else at what is kept.
    beside: dict[Node, Node] = {}
    kept: set[Node] = set()
    for node in order:
        box = _held(node, parts)
        if box is None:
            inputs = tuple(
                [
                    beside[x] if x in beside and node not in passes[x].members else new[x]
                    for x in node.inputs
                ]
            )
            new[node] = node if inputs == node.inputs else node.with_inputs(inputs)
        else:
            assert isinstance(node, View)
            below = beside.get(node.x, new[node.x])
            new[node] = View(_part(below, box), node.transform)
        if node not in parts:
            continue
        if node in passes and whole_box(node) in parts[node].hulls:
            beside[node] = Kept(new[node], passes[node].axes)
        else:
            kept.update(_part(new[node], box) for box in parts[node].hulls)
    kept.update(new[node] for node in held if node in new)
    return Shared([new[root] for root in roots], frozenset(kept))


def _held(node: Node, parts: Mapping[Node, _Parts]) -> Box | None:
    """The kept part that holds all that a view needs."""
    if not isinstance(node, View) or node.x not in parts or not node.size:
        return None
    return parts[node.x].holding(output_box(node.transform, whole_box(node)))


def _holds(outer: Box, inner: Box) -> bool:
    return all(lo <= a and b <= hi for (a, b), (lo, hi) in zip(inner, outer, strict=True))


def _part(node: Node, box: Box) -> Node:
    """A box of a node, in the same coordinates."""
    if box == whole_box(node):
        return node
    lo, hi = zip(*box, strict=True)
    return View(node, IndexTransform.identity(IndexDomain._make(lo, hi, node.domain.labels)))
