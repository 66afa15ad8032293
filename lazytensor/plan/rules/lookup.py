"""Laws that look results up instead of computing them: chains over 8 and 16-bit values.

A chain is operations on single positions in which one tensor alone varies; where that has 256 or
65 536 different values at most, so has the result. The law computes the chain for each of them once
(the table is a plan like any other: the same chain over all bit patterns) and looks the rest up.
That is the same to the bit, and pays where the chain costs more than a lookup and there are many
more elements than values; both are asked of the measured costs in ``plan.ops_cost``. Operations
that may raise have no cost there, as the table has values that the data may not have.

The law goes by what is below a node however deep: for every node of a chain it is remembered once
what could be its index, so that chains of any length are linear.
"""

from __future__ import annotations

import math
import weakref
from functools import lru_cache
from typing import cast

import numpy as np

from lazytensor.plan.memory import array_node
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Cast, Constant, Elementwise, View
from lazytensor.plan.nodes_axis import Lookup, Search, lookup_size
from lazytensor.plan.ops import OPERATIONS
from lazytensor.plan.ops_cost import (
    COSTS,
    SEARCH,
    cast_cost,
    cost_class,
    lookup_cost,
    operation_cost,
)
from lazytensor.plan.promote import is_extended
from lazytensor.plan.rules.law import law

__all__ = ["look_up_cast", "look_up_chain", "look_up_lookup", "look_up_search"]

_FEWEST = 10_000
"""Elements below which no chain is long enough to be worth a stage of its own."""

_STAGE = 150_000.0
"""Nanoseconds to plan and run the stage that makes a table, about."""

_MARGIN = 1.25
"""How much more a chain must cost than a lookup: a measurement is not a promise."""

_QUICK = 12
"""How far the quick look goes; in longer chains what is remembered is quicker."""

_Leaves = tuple[tuple[Node, float], ...]
"""What could be the index of a node's table, nearest and lowest, and the cost from there."""

_memo: weakref.WeakKeyDictionary[Node, _Leaves] = weakref.WeakKeyDictionary()

_CHAIN = frozenset((Cast, Elementwise, Lookup, Search))


@law(Elementwise, flag="lookup_tables")
def look_up_chain(node: Elementwise) -> Node | None:
    """f(x) = f(every value of x's dtype)[x], of 8 and 16-bit x, where that is cheaper"""
    return _look_up(node)


@law(Cast, flag="lookup_tables")
def look_up_cast(node: Cast) -> Node | None:
    """cast(f(x)) = cast(f(every value of x's dtype))[x], of 8 and 16-bit x, where cheaper"""
    x = node.x
    if type(x) not in _CHAIN and cast_cost(x.dtype) <= _MARGIN * lookup_cost(node.dtype.itemsize):
        return None
    return _look_up(node)


@law(Search, flag="lookup_tables")
def look_up_search(node: Search) -> Node | None:
    """isin(x, y) = isin(every value of x's dtype, y)[x], of 8 and 16-bit x"""
    return _look_up(node)


@law(Lookup, flag="lookup_tables")
def look_up_lookup(node: Lookup) -> Node | None:
    """table[f(x)] = table[f(every value of x's dtype)][x], where that is cheaper"""
    return _look_up(node)


def _look_up(node: Node) -> Node | None:
    count = math.prod(node.shape)
    if count < _FEWEST or not _may_pay(node):
        return None
    most, found = 0.0, None
    known = _memo.get(node)
    for leaf, cost in _leaves(node) if known is None else known:
        saved = _saved(node, leaf, cost, count)
        if saved > most:
            most, found = saved, leaf
    if found is None or found is _every_value(found.dtype):
        return None
    chain = _between(node, found)
    # What is used twice was counted twice.
    if _saved(node, found, sum([_cost(link) or 0.0 for link in chain]), count) <= 0:
        return None
    return Lookup(_over_all_values(chain, found), found)


def _may_pay(node: Node) -> bool:
    """A quick look down one way, which would pass the index; for most chains it says no.

    Costs are bounded from above by what operations take of the usual dtypes, as long as there is
    one way only.
    """
    least = _MARGIN * lookup_cost(node.dtype.itemsize)
    below, bound = node, 0.0
    for _ in range(_QUICK):
        kind, inputs = type(below), below.inputs
        if kind is Elementwise:
            op = cast("Elementwise", below).op
            most = _MOST.get(op)
            varying = [x for x in inputs if not _is_scalar(x)]
            if most is None or not varying:
                return False
            if len(varying) > 1:
                if any(x.domain != below.domain for x in varying):
                    return False
                most = math.inf
            following = varying[0]
            if following.dtype.itemsize == 1:
                most = max(most, _MOST_OF_BYTES[op])
        elif kind in _CHAIN:
            most, following = _MOST["cast"] if kind is Cast else math.inf, inputs[-1]
        else:
            return False
        plain = below.dtype.char in _PLAIN and following.dtype.char in _PLAIN
        bound += most if plain else math.inf
        if bound > least and following.dtype.itemsize <= 2:
            return True
        below = following
    return True


_PLAIN = frozenset("?bBhHiIlLqQfd")
_PLAIN_CLASSES = {cost_class(np.dtype(char)) for char in _PLAIN}


def _most(op: str) -> float:
    """Nanoseconds an element of the dearest usual dtype, converted on the way."""
    costs, casts = (
        [cost for name, cost in COSTS[key].items() if name in _PLAIN_CLASSES]
        for key in (op, "cast")
    )
    return max(costs, default=math.inf) + (0.0 if op == "cast" else max(casts))


_MOST = {op: _most(op) for op in COSTS}

_MOST_OF_BYTES = {
    op: 0.0 if {"b", "1"} <= costs.keys() else costs.get("f2", 0.0) + _MOST["cast"]
    for op, costs in COSTS.items()
}
"""NumPy computes in half precision what it does not compute in bytes."""


def _saved(node: Node, leaf: Node, cost: float, count: int) -> float:
    """Nanoseconds by which the table is quicker, on the safe side."""
    lookup = lookup_cost(node.dtype.itemsize)
    if cost <= _MARGIN * lookup:
        return 0.0
    return count * (cost - lookup) - 2 * (lookup_size(leaf.dtype) * cost + _STAGE)


def _leaves(node: Node) -> _Leaves:
    """What the chain from ``node`` down offers; remembered for every node of it."""
    for link in walk(node, lambda n: n not in _memo and type(n) in _CHAIN, _operands):
        _memo[link] = _found_below(link)
    return _memo[node]


def _operands(node: Node) -> tuple[Node, ...]:
    """The inputs of a link of a chain that vary."""
    kind = type(node)
    if kind is Elementwise:
        return tuple([x for x in node.inputs if not _is_scalar(x)])
    return node.inputs[-1:]


def _is_scalar(x: Node) -> bool:
    return type(x) is Constant or (type(x) is View and type(x.inputs[0]) is Constant)


def _found_below(node: Node) -> _Leaves:
    """From what is known of the operands: what all of them have in common."""
    cost = _cost(node)
    operands = dict.fromkeys(_operands(node))
    if cost is None or not operands:
        return ()
    domain = node.domain
    if any(x.domain is not domain and x.domain != domain for x in operands):
        return ()
    offers = [_offered(x) for x in operands]
    common = [leaf for leaf in offers[0] if all(leaf in other for other in offers[1:])]
    nearest = {leaf: cost + sum([offer[leaf] for offer in offers]) for leaf in common}
    leaves = list(nearest.items())
    return tuple(leaves[:1] + leaves[-1:]) if len(leaves) > 1 else tuple(leaves)


def _offered(x: Node) -> dict[Node, float]:
    """The operand itself, if it has few values, and what its own chain offers."""
    offer = {x: 0.0} if lookup_size(x.dtype) else {}
    if type(x) in _CHAIN:
        offer.update(_memo[x])
    return offer


def _cost(node: Node) -> float | None:
    """Nanoseconds an element of one link; None where a chain ends."""
    if type(node) is Elementwise:
        row = OPERATIONS[node.op]
        loop = row.loop(tuple([x.dtype for x in node.inputs])).operands[-1]
        varying = tuple([x.dtype for x in _operands(node)])
        return operation_cost(node.op, varying, loop)
    if type(node) is Cast:
        return (
            None if _is_open(node.inputs[0].dtype, node.dtype) else cast_cost(node.inputs[0].dtype)
        )
    return lookup_cost(node.dtype.itemsize) if type(node) is Lookup else SEARCH


def _is_open(source: np.dtype, target: np.dtype) -> bool:
    """Casts whose result may depend on where in an array a value stands, or that may raise.

    C leaves open what a float outside the range of an unsigned integer becomes, and NumPy's vector
    loops say one thing, the loops for what is left over another.
    """
    if not (target.kind in "biuf" or is_extended(target)):
        return True
    return target.kind == "u" and target.itemsize >= 4 and source.kind not in "biu"


def _between(node: Node, leaf: Node) -> list[Node]:
    """The links from the leaf (left out) up to ``node``."""
    return list(walk(node, lambda n: n is not leaf, _operands))


def _over_all_values(chain: list[Node], leaf: Node) -> Node:
    """The chain over every value of the leaf's dtype."""
    new = {leaf: _every_value(leaf.dtype)}
    for link in chain:
        if type(link) is Elementwise:
            inputs = [new[x] if x in new else _scalar(x) for x in link.inputs]
            new[link] = Elementwise(link.op, tuple(inputs))
        else:
            # A table stays as it is, even where it is made of what is looked up in it.
            new[link] = link.with_inputs((*link.inputs[:-1], new[link.inputs[-1]]))
    return new[chain[-1]]


def _scalar(x: Node) -> Node:
    """A constant; one that was repeated for broadcasting by itself."""
    return x if type(x) is Constant else x.inputs[0]


@lru_cache(maxsize=64)
def _every_value(dtype: np.dtype) -> Node:
    """All bit patterns of a dtype in their order, in memory."""
    size = lookup_size(dtype)
    if dtype.kind == "b":
        return array_node(np.array([False, True]))
    native = dtype if dtype.isnative else dtype.newbyteorder("=")
    values = np.arange(size, dtype=f"u{dtype.itemsize}").view(native)
    return array_node(values.astype(dtype, copy=False))
