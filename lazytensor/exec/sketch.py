"""Quantiles and histograms as passes over the data.

A plan says "the quantile of x"; an engine that streams has to look at x several times, each time
knowing more. ``expand`` writes such a node as the nodes of those passes: what a pass counts
(``Streamed``) and what is concluded from it before the next one (``Computed``). They are nodes like
others, so passes of different results over the same input are one pass, and what two results have
in common, such as the counts of all values of a 16-bit image, is counted once.

Of integers of up to 16 bits the counts of all values say everything: sums, means, deviations and
extremes are concluded from them where they are there, instead of looking at the data again.

Whether passes are worth it is decided by size. Tables of counts are 65 536 numbers for each kept
position; where many positions are kept, each of them has few elements, and those are sorted as a
whole where the result is computed (``exec.steps_sketch``), as a projection is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

from lazytensor.exec.kernels.order import keyed_dtype, passes, table_size
from lazytensor.exec.kernels.rank_summary import KEPT
from lazytensor.exec.sketch_counts import BinnedCounts, StatisticOfCounts
from lazytensor.exec.sketch_nodes import (
    BinTally,
    First,
    Next,
    QuantileOfKeys,
    QuantileOfRanks,
    RankTally,
    Tally,
    known_array,
)
from lazytensor.exec.stages import SKETCHES
from lazytensor.plan.memory import array_node
from lazytensor.plan.node import Node, walk, walk_all
from lazytensor.plan.nodes import Constant, Reduce, Scan
from lazytensor.plan.nodes_sketch import Edges, Histogram, MaskedReduce, Quantile
from lazytensor.plan.ops_sketch import edges_between, element_dtype

__all__ = ["Expanded", "expand"]

_LARGEST_TABLE = 64 << 20
"""Bytes of counts for all kept positions together, at most, where slabs can be sorted instead."""

_LARGEST_SLAB = 256 << 20

_SMALL = 1 << 20
"""Bytes of an input in memory that are sorted rather than counted digit by digit; bytes of tables
that are worth it for any input."""

_LONGEST_KEY = 8
"""Bytes of a key at most: what is longer (long double) has no unsigned integer of its size."""

_MASKED_TOGETHER = 2
"""Statistics under one mask from which on counting all values is quicker than computing each."""


class Expanded(NamedTuple):
    """Plans whose quantiles and histograms are passes, and the nodes to compute first and keep."""

    roots: list[Node]
    kept: frozenset[Node]


def expand(roots: Sequence[Node], kept: Collection[Node], room: int) -> Expanded:
    """The plans as passes. An input of several of them is kept if it takes at most ``room``."""
    if not any(isinstance(node, SKETCHES) for node in walk_all(roots)):
        return Expanded(list(roots), frozenset(kept))
    wanted: set[Node] = set()
    new = _rewritten(roots, lambda node: _in_passes(node, wanted, room))
    counted = _counted([new[root] for root in roots], room)
    if counted:
        last = _rewritten([new[root] for root in roots], lambda node: _of_counts(node, counted))
        new = {node: last.get(after, after) for node, after in new.items()}
        wanted = {last[node] for node in wanted if node in last}
    wanted.update(new[node] for node in kept if node in new)
    out = [new[root] for root in roots]
    _keep_inputs(out, wanted, room)
    return Expanded(out, frozenset(wanted))


def _rewritten(roots: Sequence[Node], change: Callable[[Node], Node]) -> dict[Node, Node]:
    """What every node becomes when ``change`` is applied from below."""
    new: dict[Node, Node] = {}
    for node in walk_all(roots):
        inputs = tuple([new[x] for x in node.inputs])
        new[node] = change(node if inputs == node.inputs else node.with_inputs(inputs))
    return new


def _in_passes(node: Node, wanted: set[Node], room: int) -> Node:
    if isinstance(node, Quantile):
        return _quantile_in_passes(node, room)
    if not isinstance(node, Histogram):
        return node
    dtype, edges = element_dtype(node.x.dtype), _known(node.edges)
    if passes(dtype) == 1 and _is_streamed(node, _table_nbytes(node.x), room):
        return BinnedCounts(Tally(node.x, node.axes_, 0, ()), edges, dtype, node.domain)
    if not _is_streamed(node, node.shape[-1] * 8, room):
        return node
    if known_array(edges) is None:
        wanted.add(edges)
    return BinTally(node.x, edges, node.axes_, node.domain)


def _known(edges: Node) -> Node:
    """Edges as an array where nothing needs to be read to know them: nothing waits for those."""
    if not isinstance(edges, Edges):
        return edges
    low, high = edges.low, edges.high
    if not (isinstance(low, Constant) and isinstance(high, Constant)):
        return edges
    return array_node(edges_between(low.value, high.value, edges.bins, edges.of, weak=edges.weak))


def _quantile_in_passes(node: Quantile, room: int) -> Node:
    dtype = element_dtype(node.x.dtype)
    several = passes(dtype) > 1
    if node.approx and several:
        if not _is_streamed(node, KEPT * 16, room):
            return node
        return QuantileOfRanks(RankTally(node.x, node.axes_), *_fields(node))
    if keyed_dtype(dtype).itemsize > _LONGEST_KEY:
        return node
    slots = 2 * math.prod(node.q_shape) if several else 1
    if not _is_streamed(node, slots * _table_nbytes(node.x), room):
        return node
    counts = Tally(node.x, node.axes_, 0, ())
    found: Node = First(counts, node.q, node.q_dtype, node.q_shape)
    for level in range(1, passes(dtype)):
        found = Next(found, Tally(node.x, node.axes_, level, (found,)))
    return QuantileOfKeys(found, counts, *_fields(node))


def _fields(node: Quantile) -> tuple[Any, ...]:
    dtype = element_dtype(node.x.dtype)
    return node.q, node.q_dtype, node.q_shape, node.weak, node.dtype, dtype, node.domain


def _table_nbytes(x: Node) -> int:
    return table_size(element_dtype(x.dtype)) * 8


def _positions(node: Quantile | Histogram | Reduce) -> int:
    return math.prod([n for d, n in enumerate(node.x.shape) if d not in node.axes_])


def _is_streamed(node: Quantile | Histogram | Reduce, nbytes: int, room: int) -> bool:
    """Whether states of ``nbytes`` for each kept position are better than whole slabs."""
    x, positions = node.x, _positions(node)
    if not x.size:
        return False
    largest = _LARGEST_TABLE if x.nbytes <= _LARGEST_SLAB * positions else room
    if positions * nbytes > min(largest, max(_SMALL, 8 * x.nbytes)):
        return False
    # What is read needs to be read once for everything; what is in memory may as well be sorted.
    return x.nbytes > _SMALL or not _in_memory(x)


def _in_memory(x: Node) -> bool:
    return all(node.source.array is not None for node in walk(x) if isinstance(node, Scan))


_Counted = dict[tuple[Node, tuple[int, ...]], Tally]
"""By input and axes, the counts of all values."""


def _counted(roots: Sequence[Node], room: int) -> _Counted:
    """The counts that are made anyway, and those that several statistics under one mask repay."""
    out: _Counted = {}
    together: Counter[tuple[Node, tuple[int, ...]]] = Counter()
    for node in walk_all(roots):
        if isinstance(node, Tally) and _sayswalk_all(node.x):
            out[node.x, node.axes_] = node
        elif isinstance(node, MaskedReduce) and _sayswalk_all(node.x):
            key = node.x, node.axes_
            together[key] += 1
            if together[key] == _MASKED_TOGETHER and _is_streamed(
                node, _table_nbytes(node.x), room
            ):
                out.setdefault(key, Tally(*key, 0, ()))
    return out


def _sayswalk_all(x: Node) -> bool:
    """Whether counts of all values say everything about the values of ``x``."""
    dtype = element_dtype(x.dtype)
    return dtype.kind in "biu" and passes(dtype) == 1


_OF_COUNTS = frozenset({"count", "max", "mean", "min", "std", "sum", "var"})


def _of_counts(node: Node, counted: _Counted) -> Node:
    if not isinstance(node, Reduce) or node.op not in _OF_COUNTS:
        return node
    counts = counted.get((node.x, node.axes_))
    params = dict(node.params)
    if counts is None or "dtype" in params:
        return node
    correction = params.get("correction", 0.0)
    dtype = element_dtype(node.x.dtype)
    return StatisticOfCounts(counts, node.op, correction, node.domain, node.dtype, dtype)


def _keep_inputs(roots: Sequence[Node], wanted: set[Node], room: int) -> None:
    """Inputs of second passes are kept where that fits, so that they are read once."""
    for x in dict.fromkeys(_read_again(roots)):
        at_hand = isinstance(x, Scan) and x.source.array is not None
        if x not in wanted and x.nbytes <= room and not at_hand:
            room -= x.nbytes
            wanted.add(x)


def _read_again(roots: Sequence[Node]) -> Iterator[Node]:
    """What is looked at by a pass that waits for another pass over the same."""
    for node in walk_all(roots):
        if isinstance(node, Tally) and node.level:
            yield node.x
        elif isinstance(node, BinTally) and known_array(node.edges) is None:
            yield from (node.x for below in walk(node.edges) if below is node.x)
