"""What is known of a plan's values before anything is read: which boxes of it are constant.

A chunk that is not stored is the fill value, and so is whatever operations make of it. Which chunks
are stored is told by a listing, taken when a plan is about to run and forgotten with the run. From
there constants are followed through the plan, box by box: an answer costs some microseconds however
large the box is, so an engine may ask for a petabyte at once and, where that is not constant, for
its halves.

Nothing is asked of sources that are not much emptier than they are cut: then a listing would cost
more than it saves.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Container, Mapping
from typing import Any, NamedTuple

import numpy as np

from lazytensor.exec.compositing import composite_of
from lazytensor.exec.demand import demand
from lazytensor.exec.demand_join import layer_needs
from lazytensor.exec.lower import Compiled, cells_of, volume
from lazytensor.plan.compose import output_box
from lazytensor.plan.constants import made_of, scalar
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import (
    Cache,
    Cast,
    Constant,
    Elementwise,
    Field,
    Rechunk,
    Reduce,
    Reshape,
    Scan,
    View,
)
from lazytensor.plan.nodes_block import Downsample
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.source import Box

__all__ = ["Known", "known_of"]

_FEW_BLOCKS = 16
"""Fewer blocks are computed before it is found out which of them need not be."""

_FEW_CELLS = 256
_MOST_NAMES = 1 << 18
"""Names that a listing may have: they take some tenths of a second, and 50 MB."""

_FEW_OBJECTS = 32
"""Up to so many are compared with a box one by one, more of them all at once."""

_MOST_LAYERS = 64
"""Layers in a box, up to which they are looked at. A box of more is answered in parts."""

_MOST_KEPT = 1 << 14

Needs = list[tuple[Node, Box]]


class _Objects:
    """The stored objects of one source, and the value of all the others."""

    __slots__ = ("_hull", "_places", "_rows", "_together", "fill", "scan")

    def __init__(self, scan: Scan, found: np.ndarray, fill: bytes) -> None:
        self.scan = scan
        self.fill = fill
        self._places = found
        self._rows = [tuple(row) for row in found.tolist()]
        self._hull = [(min(along), max(along)) for along in zip(*self._rows, strict=True)]
        self._together = [1 if cells is None else cells.together for cells in scan.grid]

    def meet(self, box: Box) -> bool:
        """Whether any of them lies in a box of the source."""
        rows = self._rows
        place = [
            (lo // n, -(-hi // n))
            for (lo, hi), n in zip(cells_of(self.scan, box), self._together, strict=True)
        ]
        # They are in order, and so are those with one index along the first dims.
        prefix: tuple[int, ...] = ()
        first, last, d = 0, len(rows), 0
        for lo, hi in place:
            d += 1
            first = bisect_left(rows, (*prefix, lo), first, last)
            last = bisect_left(rows, (*prefix, hi), first, last)
            if first == last:
                return False
            if hi - lo > 1:
                break
            prefix = (*prefix, lo)
        rest = place[d:]
        if all(lo <= a and b < hi for (lo, hi), (a, b) in zip(rest, self._hull[d:], strict=True)):
            return True
        if last - first <= _FEW_OBJECTS:
            return any(
                all(lo <= i < hi for i, (lo, hi) in zip(row[d:], rest, strict=True))
                for row in rows[first:last]
            )
        some = self._places[first:last, d:]
        ends = np.array(rest, np.int64)
        return bool(((some >= ends[:, 0]) & (some < ends[:, 1])).all(axis=1).any())


class Known:
    """Finds the boxes of one plan that are constant, for the time of one run."""

    __slots__ = ("_made", "_objects", "_stored", "root")

    def __init__(self, compiled: Compiled, objects: Mapping[Node, _Objects]) -> None:
        self.root = compiled.root
        self._stored = compiled.stored
        self._objects = objects
        self._made: dict[tuple[Node, tuple[bytes, ...]], bytes | None] = {}

    def constant_in(self, box: Box) -> np.ndarray | None:
        """The value (0-d) of every element of a box of the root; None if that is not known.

        Safe to ask from any thread.
        """
        found: dict[tuple[Node, Box], bytes | None] = {}
        stack: list[tuple[Node, Box]] = [(self.root, box)]
        plans: dict[tuple[Node, Box], Needs] = {}
        while stack:
            asked = stack[-1]
            if asked in found:
                stack.pop()
                continue
            needs = plans.get(asked)
            if needs is None:
                known, needs = self._look(*asked)
                if needs is None:
                    found[asked] = known
                    continue
                plans[asked] = needs
            following = self._following(needs, found)
            if following is not None:
                stack.append(following)
                continue
            # One that was not looked at stands beside one that is not constant.
            values = [found.get(need) for need in needs]
            found[asked] = None if None in values else self._combined(asked[0], values)
        data = found[self.root, box]
        return None if data is None else scalar(data, self.root.dtype)

    def _look(self, node: Node, box: Box) -> tuple[bytes | None, Needs | None]:
        """The value if it is known at once, and what it takes to find out if that may be known."""
        if node in self._stored:
            return None, None
        composite = composite_of(node)
        if composite is not None:
            return composite.fill_in(box), None
        if isinstance(node, Constant):
            return node.data, None
        if isinstance(node, Scan):
            objects = self._objects.get(node)
            return (None if objects is None or objects.meet(box) else objects.fill), None
        rule = _RULES.get(type(node))
        needs = None if rule is None or not volume(box) else rule.needs(node, box)
        return None, needs

    @staticmethod
    def _following(
        needs: Needs, found: Mapping[tuple[Node, Box], bytes | None]
    ) -> tuple[Node, Box] | None:
        """The next need to look at: none once all are known, or one is known to be unknown."""
        following = None
        for need in needs:
            if need not in found:
                following = following or need
            elif found[need] is None:
                return None
        return following

    def _combined(self, node: Node, values: list[Any]) -> bytes | None:
        key = node, tuple(values)
        if key in self._made:
            return self._made[key]
        if len(self._made) > _MOST_KEPT:
            self._made.clear()
        made = self._made[key] = made_of(node, values)
        return made


class _Rule(NamedTuple):
    """How one kind hands constants on.

    ``needs(node, box)``: the boxes of inputs that must be constant, None if that is of no use.
    ``hope(node, may)``: whether parts of it may be constant, given the inputs of which parts may.
    """

    needs: Callable[[Any, Box], Needs | None]
    hope: Callable[[Any, Mapping[Node, bool]], bool]


def _demanded(node: Node, box: Box) -> Needs:
    return demand(node, box).needs


def _below_view(view: View, box: Box) -> Needs | None:
    """The hull of what a view shows; values of index arrays are checked where they are used."""
    if view.transform.has_arrays:
        return None
    return [(view.x, output_box(view.transform, box) if view.x.shape else ())]


def _of_join(node: Join, box: Box) -> Needs | None:
    lo, hi = box[node.axis]
    if node.layer_at(hi - 1) - node.layer_at(lo) >= _MOST_LAYERS:
        return None
    return layer_needs(node, box)


def _of_overlay(node: Overlay, box: Box) -> Needs | None:
    """What is seen in the box, and the fill value as one more need where nothing is."""
    if len(node.inputs) > _MOST_LAYERS and len(node.index.query(box)) > _MOST_LAYERS:
        return None
    layers, holes = node.index.visible(box)
    needs: Needs = [(node.inputs[k], part) for k, parts in layers for part in parts]
    if holes:
        if node.fill is None:
            return None
        needs.append((Constant(node.dtype, node.fill), ()))
    return needs


def _all_may(node: Node, may: Mapping[Node, bool]) -> bool:
    return all(may[x] for x in node.inputs)


def _half_may(node: Join | Overlay, may: Mapping[Node, bool]) -> bool:
    """Layers side by side: worth asking about if half of the elements, or more, may be constant."""
    return 2 * sum(x.size for x in node.inputs if not may[x]) <= node.size


_RULES: dict[type[Node], _Rule] = {
    View: _Rule(_below_view, _all_may),
    Rechunk: _Rule(_demanded, _all_may),
    Cache: _Rule(_demanded, _all_may),
    Reshape: _Rule(_demanded, _all_may),
    Elementwise: _Rule(_demanded, _all_may),
    Cast: _Rule(_demanded, _all_may),
    Field: _Rule(_demanded, _all_may),
    Downsample: _Rule(_demanded, _all_may),
    Reduce: _Rule(_demanded, _all_may),
    Join: _Rule(_of_join, _half_may),
    Overlay: _Rule(_of_overlay, _half_may),
}
"""Kinds that are not here are never known to be constant: what they make, or show, is their own."""


def known_of(compiled: Compiled, blocks: int) -> Known | None:
    """What can be known of a plan that is cut into ``blocks``; None if that is nothing.

    Sources that may be mostly empty are listed, if that is quick beside the run: no more names are
    looked at than half the number of blocks.
    """
    if blocks < _FEW_BLOCKS:
        return None
    candidates = dict.fromkeys(
        [node for node in compiled.rank if isinstance(node, Scan) and _may_be_empty(node)]
    )
    if not _may_be_constant(compiled, candidates):
        return None
    limit = min(blocks // 2, _MOST_NAMES)
    objects: dict[Node, _Objects] = {}
    for scan in candidates:
        source: Any = scan.source
        found = source.stored_objects(limit)
        if found is not None:
            objects[scan] = _Objects(scan, found, source.fill_value.tobytes())
    if len(objects) < len(candidates) and not _may_be_constant(compiled, objects):
        return None
    return Known(compiled, objects)


def _may_be_empty(scan: Scan) -> bool:
    """Whether a source can tell which of its many cells are stored."""
    if not hasattr(scan.source, "stored_objects") or scan.dtype.kind in "OT":
        return False
    return math.prod(1 if cells is None else cells.count for cells in scan.grid) >= _FEW_CELLS


def _may_be_constant(compiled: Compiled, empty: Container[Node]) -> bool:
    """Whether boxes of the root may be constant if those of the sources in ``empty`` are."""
    may: dict[Node, bool] = {}
    for node in compiled.rank:
        rule = _RULES.get(type(node))
        if node in compiled.stored:
            may[node] = False
        elif (composite := composite_of(node)) is not None:
            may[node] = composite.has_gaps()
        elif rule is not None:
            may[node] = rule.hope(node, may)
        else:
            may[node] = isinstance(node, Constant) or node in empty
    return may[compiled.root]
