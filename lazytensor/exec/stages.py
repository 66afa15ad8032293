"""Which parts of a plan are computed before the rest.

Most of a plan is computed block by block without ever existing as a whole. Some nodes are better
computed first and kept: a reduction whose result every block of the rest would otherwise recompute,
a sub-plan that several results share, a node the user marked with ``cache``. Each becomes a stage;
stages run in order, later ones read the arrays of earlier ones.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Cache, Reduce

__all__ = ["Stage", "is_kept", "plan_stages"]

_SMALL_RESULT = 1 << 20
_SMALL_SLAB = 8 << 20


class Stage(NamedTuple):
    """Nodes to compute and keep: one, or several reductions of one input over the same axes.

    ``roots`` has, per node, its number among the results, or None.
    """

    nodes: tuple[Node, ...]
    roots: tuple[int | None, ...]

    @property
    def reductions(self) -> tuple[Reduce, ...]:
        """The nodes, if they are reductions, else empty."""
        return tuple(node for node in self.nodes if isinstance(node, Reduce))


def plan_stages(roots: Sequence[Node], shared: Collection[Node] = ()) -> list[Stage]:
    """Stages in the order to run them; every distinct root is one, and every node in ``shared``."""
    consumers: dict[Node, int] = dict.fromkeys(roots, 1)
    order: dict[Node, None] = {}
    for root in roots:
        for node in walk(root, lambda node: node not in order):
            order[node] = None
            for x in dict.fromkeys(node.inputs):
                consumers[x] = consumers.get(x, 0) + 1
    numbers = {root: i for i, root in reversed(list(enumerate(roots)))}
    kept = [
        node
        for node in order
        if node in numbers or node in shared or is_kept(node, consumers.get(node, 0))
    ]
    return [Stage(group, tuple(numbers.get(node) for node in group)) for group in _one_pass(kept)]


def _one_pass(nodes: list[Node]) -> list[tuple[Node, ...]]:
    """Put reductions of one input over the same axes together: mean and std read once.

    The group stands where its first member stood: the input of one is the input of all, so nothing
    a member needs comes later.
    """
    groups: dict[object, list[Node]] = {}
    for node in nodes:
        key = (node.x, node.axes_) if isinstance(node, Reduce) else node
        groups.setdefault(key, []).append(node)
    return [tuple(group) for group in groups.values()]


def is_kept(node: Node, uses: int) -> bool:
    """True for what is computed before whatever needs it."""
    if isinstance(node, Reduce):
        return not _is_local(node)
    return isinstance(node, Cache) and uses > 1


def _is_local(node: Reduce) -> bool:
    """True if blocks of the result are better reduced where they are needed.

    That is so for a large result each of whose cells needs a small slab of the input, such as a
    projection along a short axis.
    """
    if node.nbytes <= _SMALL_RESULT:
        return False
    kept = node.result_dims()
    slab = node.x.dtype.itemsize
    for d, n in enumerate(node.x.shape):
        cells = node.x.grid[d]
        cell = n if d not in kept else (1 if cells is None or cells.free else cells.nominal)
        slab *= min(n, cell)
    return slab <= _SMALL_SLAB
