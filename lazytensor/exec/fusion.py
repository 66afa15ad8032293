"""Regions of a plan whose operations are done in one pass over the values.

Arithmetic on blocks costs less than fetching them: ten operations, each of which reads a block and
writes one, take ten times the memory traffic of one that does all ten. So operations on single
positions that feed each other become one *region*: one step of a program, with an expression
(``exec.kernels.expression``) in place of a name. What is inside is computed nowhere else.

A region is where all who need a node are in one region themselves, and its shape is that of the
region: what is broadcast is computed once, before. Nodes that are kept, operations that have no
scalar form and functions of the user end a region. The plan itself stays as it is, and so does what
is said of it, known of it and raised for it: regions are a note beside it (``Compiled.regions``).
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, cast

from lazytensor.exec.boxes import BoxPlan, aligned_box
from lazytensor.exec.kernels.codegen import has_text
from lazytensor.exec.kernels.expression import CAST, Expression, ExpressionStep
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cast, Constant, Elementwise, scan_below
from lazytensor.plan.nodes_block import Downsample
from lazytensor.plan.ops import OPERATIONS
from lazytensor.plan.ops_quantize import PARAMETERISED, takes_rows
from lazytensor.plan.source import Box

__all__ = ["Region", "region_demand", "regions_of"]

_MOST = 64
"""Operations of a region: what compiling it takes must have a bound."""

_FEWEST = 1 << 18
"""Elements up to which a result stays in the caches between operations: then there is nothing to
save, and small plans are run in the time that it takes to look for regions."""

_MOST_INPUTS = 8
"""Blocks that a region needs at once. A sum of a hundred tensors is better added up as it comes."""


class Region(NamedTuple):
    """Operations that are one step: what they compute, from which nodes.

    ``label``: the operations by name, in order.
    """

    expression: Expression
    constants: tuple[bytes, ...]
    inputs: tuple[Node, ...]
    label: str


class _Outline(NamedTuple):
    """A region by the numbers of its nodes in the order of the plan: it can be remembered without
    keeping the plan alive."""

    root: int
    inputs: tuple[int, ...]
    expression: Expression
    constants: tuple[bytes, ...]
    label: str


_memo: weakref.WeakKeyDictionary[Node, tuple[_Outline, ...]] = weakref.WeakKeyDictionary()


def regions_of(order: Sequence[Node], stored: Collection[Node] = ()) -> dict[Node, Region]:
    """The regions of a plan by the node that each computes.

    ``order``: its nodes, inputs before consumers. ``stored``: nodes that are there already.

    >>> from lazytensor.plan.node import walk
    >>> x = lt.virtual_chunked(lambda box: np.zeros(box.shape), shape=(1 << 20,), dtype="f4")
    >>> (region,) = regions_of(list(walk(((x - 1) * (x + 1))._node))).values()
    >>> region.label, [len(region.inputs), len(region.constants)]
    ('subtract, add, multiply', [1, 1])
    """
    root = order[-1]
    # Of an order that is cut off at what is stored the numbers are others.
    found = None if stored else _memo.get(root)
    if found is None:
        found = tuple(_outlines(order, stored))
        if not stored:
            _memo[root] = found
    return {
        order[one.root]: Region(
            one.expression, one.constants, tuple([order[i] for i in one.inputs]), one.label
        )
        for one in found
    }


def region_demand(region: Region, node: Node, box: Box) -> BoxPlan:
    """What computing ``box`` of a region takes. Shapes inside are all the same, so that positions
    of an input pair up with those of the region as with those of any node in it."""
    needs = [
        (x, box if x.domain is node.domain else aligned_box(node, x, box)) for x in region.inputs
    ]
    return BoxPlan("fused", (region.label, region.expression, region.constants), needs)


def _outlines(order: Sequence[Node], stored: Collection[Node]) -> Iterator[_Outline]:
    """From behind: a node joins its consumers if all of them are in one region."""
    number = {node: i for i, node in enumerate(order)}
    # The region of all consumers of a node; None if they are in several, or in none.
    consumers: dict[Node, _Growing | None] = {}
    regions: list[_Growing] = []
    for node in reversed(order):
        if type(node) is Constant or node in stored:
            continue
        region = None
        if _is_fusable(node):
            region = consumers.get(node)
            if region is None or not region.takes(node):
                region = _Growing(node)
                regions.append(region)
            region.add(node)
        for x in node.inputs:
            if consumers.setdefault(x, region) is not region:
                consumers[x] = None
    for region in regions:
        nodes = region.nodes
        worth = len(nodes) > 1 or _takes_several_passes(nodes[0])
        if worth or any(x not in stored and _is_worth_one(x) for x in nodes[0].inputs):
            yield _outline(nodes[::-1], number)


class _Growing:
    """A region while it is found: its nodes, last one first, and what it needs of others."""

    __slots__ = ("needs", "nodes")

    def __init__(self, root: Node) -> None:
        self.nodes: list[Node] = []
        self.needs = {root}

    def takes(self, node: Node) -> bool:
        """Whether a node that it needs may join it."""
        if len(self.nodes) >= _MOST or node.shape != self.nodes[0].shape:
            return False
        return len(self.needs) == 1 or len(self._with(node)) <= _MOST_INPUTS

    def add(self, node: Node) -> None:
        """Take in a node that it needs."""
        self.needs = self._with(node)
        self.nodes.append(node)

    def _with(self, node: Node) -> set[Node]:
        needs = self.needs | {x for x in node.inputs if type(x) is not Constant}
        needs.discard(node)
        return needs


def _is_worth_one(node: Node) -> bool:
    """Whether an operation alone is better done on the way from a node: on what is read, or what
    windows of it are made."""
    if type(node) is Downsample:
        return True
    scan = scan_below(node)
    return scan is not None and scan.source.array is None


def _takes_several_passes(node: Node) -> bool:
    """Whether NumPy goes over the values of one operation more than once."""
    return type(node) is Elementwise and OPERATIONS[node.op].passes > 1


def _is_fusable(node: Node) -> bool:
    """Whether a node is an operation on single positions that compiled code may do."""
    kind = type(node)
    if (kind is not Elementwise and kind is not Cast) or math.prod(node.shape) <= _FEWEST:
        return False
    if kind is Elementwise and _name_of(node) in PARAMETERISED and takes_rows(node):
        return False  # parameters along rows are looked up, not broadcast
    operands = tuple([(x.dtype, type(x) is Constant) for x in node.inputs])
    return has_text(_name_of(node), operands, node.dtype)


def _outline(nodes: Sequence[Node], number: Mapping[Node, int]) -> _Outline:
    """The expression of the nodes of a region, which are in order."""
    inside = set(nodes)
    outer = dict.fromkeys([x for node in nodes for x in node.inputs if x not in inside])
    inputs = [x for x in outer if type(x) is not Constant]
    constants = [x for x in outer if type(x) is Constant]
    slots = {x: slot for slot, x in enumerate([*inputs, *constants, *nodes])}
    steps = tuple(
        [
            ExpressionStep(_name_of(node), tuple([slots[x] for x in node.inputs]), node.dtype)
            for node in nodes
        ]
    )
    expression = Expression(
        tuple([x.dtype for x in inputs]), tuple([x.dtype for x in constants]), steps, len(slots) - 1
    )
    return _Outline(
        number[nodes[-1]],
        tuple([number[x] for x in inputs]),
        expression,
        tuple([x.data for x in constants]),
        ", ".join([step.name for step in steps]),
    )


def _name_of(node: Node) -> str:
    return CAST if type(node) is Cast else cast("Elementwise", node).op
