"""What several results of one run need of the same sub-plan, so that it is computed once.

Results rarely need the same of a shared tensor: one wants these rows, another those. Keeping the
whole tensor would read what nobody asked for, and letting each result read for itself would decode
the chunks between them twice. So the boxes that views ask of a shared node are joined where they
overlap (counted in stored cells), and the hull of each group becomes a node of its own, which its
views then look at. Whatever does not overlap stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from lazytensor.exec.demand import is_sparse, whole_box
from lazytensor.exec.lower import cells_of, merge_boxes, no_larger, same_cells, volume
from lazytensor.exec.stages import is_kept
from lazytensor.plan.compose import output_box
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Constant, Scan, View
from lazytensor.plan.source import Box

__all__ = ["Shared", "share"]


class Shared(NamedTuple):
    """Plans of the same values, and the nodes in them that are to be computed first and kept."""

    roots: list[Node]
    kept: frozenset[Node]


def share(roots: Sequence[Node], room: int) -> Shared:
    """Find what the plans have in common and is worth keeping, up to ``room`` bytes together."""
    if len(set(roots)) < 2:
        return Shared(list(roots), frozenset())
    users, order = _shared_users(roots)
    parts: dict[Node, list[Box]] = {}
    for node, consumers in users.items():
        for box in _worthwhile(node, consumers, room):
            nbytes = volume(box) * node.dtype.itemsize
            if nbytes <= room:
                room -= nbytes
                parts.setdefault(node, []).append(box)
    return _rewritten(roots, order, parts) if parts else Shared(list(roots), frozenset())


def _shared_users(roots: Sequence[Node]) -> tuple[dict[Node, list[Node]], list[Node]]:
    """Nodes that several roots reach by different ways, with their consumers; and all nodes."""
    reached: dict[Node, int] = {}
    consumers: dict[Node, list[Node]] = {}
    order: list[Node] = []
    for root in dict.fromkeys(roots):
        for node in walk(root):
            reached[node] = reached.get(node, 0) + 1
            if reached[node] > 1:
                continue
            order.append(node)
            for x in dict.fromkeys(node.inputs):
                consumers.setdefault(x, []).append(node)
    tops = set(roots)
    users = {
        node: consumers[node]
        for node in order
        if reached[node] > 1 and len(consumers.get(node, ())) > 1 and node not in tops
    }
    return {node: found for node, found in users.items() if not _is_free(node, found)}, order


def _is_free(node: Node, consumers: list[Node]) -> bool:
    """True for what is kept anyway, or costs nothing to have twice."""
    if isinstance(node, Scan):
        return node.source.array is not None
    return isinstance(node, Constant) or is_kept(node, len(consumers))


def _worthwhile(node: Node, consumers: list[Node], room: int) -> list[Box]:
    """The boxes to keep of a node: each costs less than what its consumers would spend for it."""
    asked: Counter[Box] = Counter()
    sparse: list[Box] = []
    for consumer in consumers:
        if not isinstance(consumer, View):
            asked[whole_box(node)] += 1
        elif consumer.size:
            needed = output_box(consumer.transform, whole_box(consumer))
            if is_sparse(consumer):
                sparse.append(needed)
            else:
                asked[needed] += 1

    def cost(box: Box) -> int:
        return volume(cells_of(node, box) if isinstance(node, Scan) else box)

    def saves(hull: Box, members: list[Box]) -> bool:
        """A view that skips cells is no reason to keep them, but another reader of what is kept."""
        apart = sum(asked[box] * cost(box) for box in members)
        return cost(hull) < apart + sum(_holds(hull, box) for box in sparse)

    def overlap(a: Box, b: Box, hull: Box) -> bool:
        return cost(hull) < cost(a) + cost(b)

    # Neighbours in one pass if that fits into memory, else only what would be read twice.
    out: list[Box] = []
    for hull, members in merge_boxes(list(asked), partial(_neighbours, node)):
        fits = volume(hull) * node.dtype.itemsize <= room
        groups = [(hull, members)] if fits else merge_boxes(members, overlap)
        out.extend(box for box, parts in groups if saves(box, parts))
    return out


def _neighbours(node: Node, a: Box, b: Box, hull: Box) -> bool:
    return same_cells(node, a, b, hull) if isinstance(node, Scan) else no_larger(a, b, hull)


def _rewritten(
    roots: Sequence[Node], order: Sequence[Node], parts: dict[Node, list[Box]]
) -> Shared:
    """The plans with the kept parts as nodes of their own."""
    new: dict[Node, Node] = {}
    kept: set[Node] = set()
    for node in order:
        held = _held(node, parts)
        if held is None:
            inputs = tuple([new[x] for x in node.inputs])
            new[node] = node if inputs == node.inputs else node.with_inputs(inputs)
        else:
            assert isinstance(node, View)
            new[node] = View(_part(new[node.x], held), node.transform)
        kept.update(_part(new[node], box) for box in parts.get(node, ()))
    return Shared([new[root] for root in roots], frozenset(kept))


def _held(node: Node, parts: dict[Node, list[Box]]) -> Box | None:
    """The kept part that holds all that a view needs."""
    if not isinstance(node, View) or node.x not in parts or not node.size:
        return None
    needed = output_box(node.transform, whole_box(node))
    return next((box for box in parts[node.x] if _holds(box, needed)), None)


def _holds(outer: Box, inner: Box) -> bool:
    return all(lo <= a and b <= hi for (a, b), (lo, hi) in zip(inner, outer, strict=True))


def _part(node: Node, box: Box) -> Node:
    """A box of a node, in the same coordinates."""
    if box == whole_box(node):
        return node
    lo, hi = zip(*box, strict=True)
    return View(node, IndexTransform.identity(IndexDomain._make(lo, hi, node.domain.labels)))
