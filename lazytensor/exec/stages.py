"""Which parts of a plan are computed before the rest.

Most of a plan is computed block by block without ever existing as a whole. Some nodes are better
computed first and kept: a reduction whose result every block of the rest would otherwise recompute,
a sub-plan that several results share, a node the user marked with ``cache``. Each becomes a stage;
stages run in order, later ones read the arrays of earlier ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from lazytensor.exec.compositing import computed_nodes, inputs_to_compute
from lazytensor.exec.streamed import Computed, Streamed
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cache, Reduce
from lazytensor.plan.nodes_axis import BlockTotals, tables_of
from lazytensor.plan.nodes_contract import Contract
from lazytensor.plan.nodes_sketch import Histogram, MaskedReduce, Quantile

__all__ = ["SKETCHES", "Stage", "is_kept", "one_stage_each", "plan_stages"]

SKETCHES = (Quantile, Histogram, MaskedReduce)
"""Kinds that may become passes (``exec.sketch``)."""

_SMALL_RESULT = 1 << 20
_SMALL_SLAB = 8 << 20


class Stage(NamedTuple):
    """Nodes to compute and keep: one, or several that one pass over their input computes.

    ``roots`` has, per node, its number among the results, or None.
    """

    nodes: tuple[Node, ...]
    roots: tuple[int | None, ...]

    @property
    def reductions(self) -> tuple[Reduce | Streamed, ...]:
        """The nodes, if they are reductions or something else that a pass computes, else empty."""
        return tuple([node for node in self.nodes if isinstance(node, (Reduce, Streamed))])


def plan_stages(
    roots: Sequence[Node], shared: Collection[Node] = (), *, together: bool = True
) -> list[Stage]:
    """Stages in the order to run them; every distinct root is one, and every node in ``shared``.

    ``together``: whether what looks at the same input is one stage.
    """
    order = list(computed_nodes(roots))
    if len(roots) == 1 and not shared and not any(map(_may_be_a_stage, order)):
        return [Stage((roots[0],), (0,))]
    consumers: dict[Node, int] = dict.fromkeys(roots, 1)
    for node in order:
        for x in dict.fromkeys(inputs_to_compute(node)):
            consumers[x] = consumers.get(x, 0) + 1
    numbers = {root: i for i, root in reversed(list(enumerate(roots)))}
    tables = {tables_of(node) for node in order}
    kept = [
        node
        for node in order
        if node in numbers
        or node in shared
        or node in tables
        or is_kept(node, consumers.get(node, 0))
    ]
    rounds = _rounds(order, frozenset(kept))
    groups = _one_pass(kept, rounds) if together else [(node,) for node in kept]
    return [Stage(group, tuple(numbers.get(node) for node in group)) for group in groups]


def one_stage_each(roots: Sequence[Node]) -> list[Stage]:
    """The stages of results that share nothing: one for every distinct root."""
    numbers = {root: i for i, root in reversed(list(enumerate(roots)))}
    return [Stage((root,), (i,)) for root, i in numbers.items()]


_KEPT = (Reduce, Streamed, Computed, BlockTotals, Contract, Cache)
"""Kinds of which ``is_kept`` may be true."""


def _may_be_a_stage(node: Node) -> bool:
    """False for most nodes: neither they nor their inputs are computed first."""
    return isinstance(node, _KEPT) or tables_of(node) is not None


def _rounds(order: Iterable[Node], kept: frozenset[Node]) -> dict[Node, int]:
    """How many stages have to run, one after the other, before a node can be computed."""
    rounds: dict[Node, int] = {}
    for node in order:
        rounds[node] = max([rounds[x] + (x in kept) for x in inputs_to_compute(node)], default=0)
    return rounds


def _one_pass(nodes: list[Node], rounds: Mapping[Node, int]) -> list[tuple[Node, ...]]:
    """Put what looks at all of one input over the same axes together: mean and std read once.

    Only where nothing but that input is waited for: the second pass of a quantile needs what the
    first one has found, and shares the reading with the second passes of other quantiles.
    """
    groups: dict[object, list[Node]] = {}
    for node in nodes:
        streamed = isinstance(node, (Reduce, Streamed))
        key = (node.x, node.axes_, rounds[node]) if streamed else node  # type: ignore[attr-defined]
        groups.setdefault(key, []).append(node)
    ordered = sorted(groups.values(), key=lambda group: rounds[group[0]])
    return [tuple(group) for group in ordered]


def is_kept(node: Node, uses: int) -> bool:
    """True for what is computed before whatever needs it."""
    if isinstance(node, Reduce):
        return not _is_local(node)
    if isinstance(node, (Streamed, Computed, BlockTotals)):
        return True
    if isinstance(node, Contract):
        return node.nbytes <= _SMALL_RESULT
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
