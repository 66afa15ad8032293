"""From a plan and an output box to a program.

Two sweeps over the nodes that the box really needs. Down: consumers before producers, collecting
for every node the boxes its consumers ask for; overlapping requests of one node are joined into
one, so a diamond reads and computes once. Up: one step per node and box. Work is proportional to
the nodes touched, not to the size of the plan: a window of an overlay of 10 000 layers touches a
few of them.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping

import numpy as np

from lazytensor.exec.compositing import inputs_to_compute
from lazytensor.exec.demand import BoxPlan, demand, demand_shared, whole_box
from lazytensor.exec.demand_join import pasted_demand
from lazytensor.exec.footprint import footprint
from lazytensor.exec.fusion import region_demand, regions_of
from lazytensor.exec.one_step import bytes_left_out, one_step
from lazytensor.exec.physical import READS, Program, Ref, Step
from lazytensor.plan.garbage import collector_waits
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Constant, Scan, scan_below
from lazytensor.plan.source import Box

__all__ = [
    "READS",
    "Compiled",
    "cells_of",
    "lower",
    "merge_boxes",
    "no_larger",
    "reads_of",
    "same_cells",
    "volume",
]

_NEAR = 16
"""With how many boxes before it a box is compared when overlapping requests are joined."""


_MANY = 1000
"""Nodes of a plan for which a program has so many steps, perhaps, that the collector shall wait."""


class Compiled:
    """A plan prepared for lowering many boxes.

    ``order`` has the nodes, inputs before consumers, and ``rank`` the place of each in it.
    ``stored`` maps nodes that were computed before (reductions, shared sub-plans) to arrays of
    their whole domain. ``remote``: whether some of it is read from a source that says it is.
    ``programs`` holds those that were worked out while blocks were chosen: choosing asks for the
    same few boxes again and again. ``regions`` (none unless ``fusing``): the operations that are
    computed as one step, by the last of them.
    """

    __slots__ = ("order", "programs", "rank", "regions", "remote", "root", "shared", "stored")

    def __init__(
        self,
        root: Node,
        stored: Mapping[Node, np.ndarray] | None = None,
        *,
        fusing: bool = False,
    ) -> None:
        self.root = root
        self.programs: dict[Box, Program] = {}
        known = stored or {}
        self.order = _walk_until(root, known)
        self.rank = {node: i for i, node in enumerate(self.order)}
        self.stored = {node: known[node] for node in self.rank if node in known}
        read = [node for node in self.order if type(node) is Scan and node.source.array is None]
        self.remote = any(getattr(node.source, "remote", False) for node in read)
        self.shared = _looked_at_twice(self.order, known) if read else frozenset()
        self.regions = regions_of(self.order, self.stored) if fusing else {}

    def demand(self, node: Node, box: Box) -> BoxPlan:
        """What computing ``box`` of ``node`` takes, given who else needs its inputs."""
        region = self.regions.get(node)
        if region is not None:
            return region_demand(region, node, box)
        if node.inputs and (node.inputs[0] in self.shared or node.inputs[0] in self.stored):
            return demand_shared(node, box, held=node.inputs[0] in self.stored)
        pasted = pasted_demand(node, box) if node is self.root else None
        return demand(node, box) if pasted is None else pasted


def _looked_at_twice(order: Iterable[Node], known: Container[Node]) -> frozenset[Node]:
    """Sources that are read for more than one node."""
    looks = Counter(
        [
            x
            for node in order
            if node not in known
            for x in node.inputs
            if type(x) is Scan and x.source.array is None
        ]
    )
    return frozenset([x for x, number in looks.items() if number > 1])


def _walk_until(root: Node, known: Mapping[Node, np.ndarray]) -> list[Node]:
    """Nodes below ``root``, not looking below those that are known already."""
    if not known:
        return list(walk(root, below=inputs_to_compute))
    if root in known:
        return [root]
    inner = list(walk(root, lambda node: node not in known, inputs_to_compute))
    edge = dict.fromkeys(x for node in inner for x in node.inputs if x in known)
    return [*edge, *inner]


class _Slot:
    """One planned box of one node."""

    __slots__ = ("box", "plan", "slot")

    def __init__(self, box: Box, plan: BoxPlan) -> None:
        self.box = box
        self.plan = plan
        self.slot = -1


_Joins = Callable[[Box, Box, Box], bool]
_Slots = dict[Box, _Slot]
"""The boxes asked of a node, and the slot that holds each."""


def lower(compiled: Compiled, box: Box) -> Program:
    """The program that computes ``box`` (coordinates) of the compiled plan's root."""
    known = compiled.programs.get(box)
    if known is not None:
        return known
    if scan_below(compiled.root) is not None and compiled.root not in compiled.stored:
        plan = compiled.demand(compiled.root, box)
        if not plan.needs:
            return one_step(compiled.root, plan, box)
    with collector_waits(len(compiled.order) > _MANY):
        return _emit_up(_plan_down(compiled, box), box)


def reads_of(compiled: Compiled, box: Box) -> list[Step]:
    """The steps of ``lower``'s program that read sources, without all others."""
    known = compiled.programs.get(box)
    if known is not None:
        return [step for step in known.steps if step.op in READS]
    return [
        Step(slot.plan.op, 0, (), slot.plan.args, _extents(slot.box), node.dtype, ())
        for node, slots in reversed(_plan_down(compiled, box).items())
        for slot in dict.fromkeys(slots.values())
        if slot.plan.op in READS
    ]


def _extents(box: Box) -> tuple[int, ...]:
    return tuple([hi - lo for lo, hi in box])


def _plan_down(compiled: Compiled, box: Box) -> dict[Node, _Slots]:
    rank, order = compiled.rank, compiled.order
    wanted: dict[Node, list[Box]] = {compiled.root: [box]}
    heap = [-rank[compiled.root]]
    planned: dict[Node, _Slots] = {}
    while heap:
        node = order[-heapq.heappop(heap)]
        slots = planned[node] = _slots(compiled, node, wanted.pop(node))
        for slot in _distinct(slots):
            for x, needed in slot.plan.needs:
                if x in wanted:
                    wanted[x].append(needed)
                elif type(x) is not Constant:
                    wanted[x] = [needed]
                    heapq.heappush(heap, -rank[x])
    return planned


def _distinct(slots: _Slots) -> Iterable[_Slot]:
    return slots.values() if len(slots) == 1 else dict.fromkeys(slots.values())


def _slots(compiled: Compiled, node: Node, boxes: list[Box]) -> _Slots:
    """For every box asked for, the slot that holds it; overlapping boxes share one."""
    stored = compiled.stored
    if node in stored:
        held, whole = _StoredRef(stored[node]), whole_box(node)
        return {one: _Slot(one, BoxPlan("stored", (held, _part(one, whole)), [])) for one in boxes}
    if len(boxes) == 1:
        return {boxes[0]: _Slot(boxes[0], compiled.demand(node, boxes[0]))}
    if isinstance(node, Scan) and node.source.array is not None:
        # Views of memory: reading each costs nothing, and a hull may hold much that nobody needs.
        return {one: _Slot(one, demand(node, one)) for one in boxes}
    out: _Slots = {}
    joins = _SameCells(node) if isinstance(node, Scan) else no_larger
    for hull, members in merge_boxes(boxes, joins):
        slot = _Slot(hull, compiled.demand(node, hull))
        out.update(dict.fromkeys(members, slot))
    return out


class _StoredRef:
    """Holds an array computed by an earlier stage; compares by identity."""

    __slots__ = ("array",)

    def __init__(self, array: np.ndarray) -> None:
        self.array = array


def _emit_up(planned: dict[Node, _Slots], box: Box) -> Program:
    emitter = _Emitter(planned)
    for node in reversed(planned):
        for slot in _distinct(planned[node]):
            if slot.plan.needs or len(planned) == 1:
                emitter.emit(node, slot)
    steps = emitter.steps
    left_out = sum([bytes_left_out(step) for step in steps if step.op == "read_strided"])
    steps, escaped, alive, nbytes = footprint(steps)
    return Program(box, tuple(steps), escaped, nbytes, alive + left_out)


class _Emitter:
    """Writes steps in the order of their nodes; a leaf just before who needs it first.

    So nothing is read that waits while others are computed, however many parts of one source a plan
    looks at.
    """

    __slots__ = ("constants", "planned", "steps")

    def __init__(self, planned: dict[Node, _Slots]) -> None:
        self.planned = planned
        self.steps: list[Step] = []
        self.constants: dict[Node, Ref] = {}

    def emit(self, node: Node, slot: _Slot) -> None:
        """The step of a slot; those of its inputs that are not leaves are there."""
        op, args, needs = slot.plan
        refs = tuple([self._find(x, needed) for x, needed in needs])
        slot.slot = len(self.steps)
        shape = tuple([hi - lo for lo, hi in slot.box])
        self.steps.append(Step(op, slot.slot, refs, args, shape, node.dtype, ()))

    def _find(self, x: Node, needed: Box) -> Ref:
        """The slot that holds ``needed`` and where in it."""
        if type(x) is Constant:
            return self.constants.get(x) or self._constant(x)
        slot = self.planned[x][needed]
        if slot.slot < 0:
            self.emit(x, slot)
        return Ref(slot.slot, None if slot.box == needed else _part(needed, slot.box))

    def _constant(self, x: Constant) -> Ref:
        ref = self.constants[x] = Ref(len(self.steps), None)
        op, args, _ = demand(x, ())
        self.steps.append(Step(op, ref.slot, (), args, (), x.dtype, ()))
        return ref


def _part(inner: Box, outer: Box) -> tuple[slice, ...]:
    return tuple([slice(a - lo, b - lo) for (a, b), (lo, _) in zip(inner, outer, strict=True)])


def merge_boxes(boxes: list[Box], joins: _Joins) -> list[tuple[Box, list[Box]]]:
    """Fewer boxes that hold all the given ones, each with those that it holds.

    Two boxes become their hull if ``joins(a, b, hull)``. Each is compared with the few before it
    in the order of coordinates: all of them if they are few, and thousands of boxes still cost no
    more than thousands of comparisons.
    """
    out: list[tuple[Box, list[Box]]] = []
    for box in sorted(set(boxes)):
        hull, members = box, [box]
        near = len(out)
        while near > max(0, len(out) - _NEAR):
            near -= 1
            other, others = out[near]
            both = tuple(
                [(min(a, c), max(b, d)) for (a, b), (c, d) in zip(hull, other, strict=True)]
            )
            if joins(hull, other, both):
                del out[near]
                others.extend(members)
                hull, members = both, others
                near = len(out)
        out.append((hull, members))
    return out


def no_larger(a: Box, b: Box, hull: Box) -> bool:
    """Computing the hull costs no more than computing both."""
    return volume(hull) <= volume(a) + volume(b)


def same_cells(scan: Scan, a: Box, b: Box, hull: Box) -> bool:
    """Reading the hull touches no stored cell that neither of the boxes touches."""
    one, other, both = cells_of(scan, a), cells_of(scan, b), cells_of(scan, hull)
    common = tuple([(max(x[0], y[0]), min(x[1], y[1])) for x, y in zip(one, other, strict=True)])
    return volume(both) <= volume(one) + volume(other) - volume(common)


class _SameCells:
    """``same_cells`` of one source, for many boxes that are compared with each other."""

    __slots__ = ("_cells", "_scan")

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self._cells: dict[Box, Box] = {}

    def __call__(self, a: Box, b: Box, hull: Box) -> bool:
        extent = joint = one = other = 1
        for (a_lo, a_hi), (b_lo, b_hi) in zip(self._of(a), self._of(b), strict=True):
            # Cells ascend with positions: those of the hull lie between the outermost of both.
            extent *= max(a_hi, b_hi) - min(a_lo, b_lo)
            joint *= max(0, min(a_hi, b_hi) - max(a_lo, b_lo))
            one *= a_hi - a_lo
            other *= b_hi - b_lo
        return extent <= one + other - joint

    def _of(self, box: Box) -> Box:
        found = self._cells.get(box)
        if found is None:
            found = self._cells[box] = cells_of(self._scan, box)
        return found


def cells_of(scan: Scan, box: Box) -> Box:
    """The stored cells that a box touches, as an interval per dim."""
    out = []
    for (a, b), lo, cells in zip(box, scan.domain.inclusive_min, scan.grid, strict=True):
        if b <= a:
            out.append((0, 0))
        elif cells is None:
            out.append((0, 1))
        else:
            out.append((cells.stored_cell(a - lo), cells.stored_cell(b - 1 - lo) + 1))
    return tuple(out)


def volume(box: Box) -> int:
    """How many elements (or cells) a box holds; none if an interval is empty.

    >>> volume(((0, 3), (2, 4))), volume(((5, 5), (0, 9))), volume(())
    (6, 0, 1)
    """
    return math.prod(max(0, b - a) for a, b in box)
