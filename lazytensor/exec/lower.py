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
from collections.abc import Mapping

import numpy as np

from lazytensor.exec.demand import Plan1, demand
from lazytensor.exec.physical import Program, Ref, Step
from lazytensor.plan.node import Node, walk
from lazytensor.plan.source import Box

__all__ = ["READS", "Compiled", "lower"]

READS = frozenset({"read", "read_placed", "gather"})
"""Steps whose first argument is the source they read."""

# Steps whose result is (or may be) a view of an input: the input's memory must live as long.
_ALIASES = frozenset({"view", "field", "reshape", "pass", "inspect", "join", "overlay"})
# Steps whose inputs are shown to user code, which may keep them.
_ESCAPES = frozenset({"call", "inspect"})


class Compiled:
    """A plan prepared for lowering many boxes.

    ``stored`` maps nodes that were computed before (reductions, shared sub-plans) to arrays of
    their whole domain.
    """

    __slots__ = ("rank", "root", "stored")

    def __init__(self, root: Node, stored: Mapping[Node, np.ndarray] | None = None) -> None:
        self.root = root
        known = stored or {}
        order = walk(root, None) if not known else _walk_until(root, known)
        self.rank = {node: i for i, node in enumerate(order)}
        self.stored = {node: known[node] for node in self.rank if node in known}


def _walk_until(root: Node, known: Mapping[Node, np.ndarray]) -> list[Node]:
    """Nodes below ``root``, not looking below those that are known already."""
    if root in known:
        return [root]
    inner = list(walk(root, lambda node: node not in known))
    edge = dict.fromkeys(x for node in inner for x in node.inputs if x in known)
    return [*edge, *inner]


class _Slot:
    """One planned box of one node."""

    __slots__ = ("box", "plan", "slot")

    def __init__(self, box: Box, plan: Plan1) -> None:
        self.box = box
        self.plan = plan
        self.slot = -1


def lower(compiled: Compiled, box: Box) -> Program:
    """The program that computes ``box`` (coordinates) of the compiled plan's root."""
    planned = _plan_down(compiled, box)
    return _emit_up(planned, box)


def _plan_down(compiled: Compiled, box: Box) -> dict[Node, list[_Slot]]:
    root, rank, stored = compiled.root, compiled.rank, compiled.stored
    wanted: dict[Node, list[Box]] = {root: [box]}
    heap = [(-rank[root], 0, root)]
    planned: dict[Node, list[_Slot]] = {}
    ties = 0
    while heap:
        _, _, node = heapq.heappop(heap)
        boxes = wanted.pop(node)
        slots = []
        for one in boxes if len(boxes) == 1 else _merged(boxes):
            if node in stored:
                plan = Plan1(
                    "stored", (_StoredRef(stored[node]), _part(one, _origin_box(node))), []
                )
            else:
                plan = demand(node, one)
            slots.append(_Slot(one, plan))
            for x, needed in plan.needs:
                if x in wanted:
                    wanted[x].append(needed)
                else:
                    wanted[x] = [needed]
                    ties += 1
                    heapq.heappush(heap, (-rank[x], ties, x))
        planned[node] = slots
    return planned


class _StoredRef:
    """Holds an array computed by an earlier stage; compares by identity."""

    __slots__ = ("array",)

    def __init__(self, array: np.ndarray) -> None:
        self.array = array


def _emit_up(planned: dict[Node, list[_Slot]], box: Box) -> Program:
    steps: list[Step] = []
    decoded = 0
    for node in reversed(planned):
        for slot in planned[node]:
            slot.slot = len(steps)
            plan = slot.plan
            refs = tuple([_find(planned[x], needed) for x, needed in plan.needs])
            shape = tuple([hi - lo for lo, hi in slot.box])
            steps.append(Step(plan.op, slot.slot, refs, plan.args, shape, node.dtype, ()))
            if plan.op in READS and plan.args[0].array is None:
                decoded += math.prod(shape) * node.dtype.itemsize
    steps, escaped, nbytes = _with_frees(steps)
    return Program(box, tuple(steps), escaped, nbytes, decoded)


def _find(slots: list[_Slot], needed: Box) -> Ref:
    """The slot that holds ``needed`` and where in it."""
    for slot in slots:
        if slot.box == needed:
            return Ref(slot.slot, None)
    for slot in slots:
        if all(lo <= a and b <= hi for (a, b), (lo, hi) in zip(needed, slot.box, strict=True)):
            return Ref(slot.slot, _part(needed, slot.box))
        if any(a == b for a, b in needed):
            part = tuple(slice(0, max(0, b - a)) for a, b in needed)
            return Ref(slot.slot, part)
    raise AssertionError(f"no slot holds {needed}")


def _origin_box(node: Node) -> Box:
    return tuple(zip(node.domain.inclusive_min, node.domain.exclusive_max, strict=True))


def _part(inner: Box, outer: Box) -> tuple[slice, ...]:
    return tuple([slice(a - lo, b - lo) for (a, b), (lo, _) in zip(inner, outer, strict=True)])


def _merged(boxes: list[Box]) -> list[Box]:
    """Fewer boxes that hold all the given ones, joining two where that costs nothing.

    Two boxes become their hull if the hull is no larger than both together.
    """
    out: list[Box] = []
    for box in dict.fromkeys(boxes):
        for i, other in enumerate(out):
            hull = tuple((min(a, c), max(b, d)) for (a, b), (c, d) in zip(box, other, strict=True))
            if _volume(hull) <= _volume(box) + _volume(other):
                del out[i]
                out = _merged([*out, hull])
                break
        else:
            out.append(box)
    return out


def _volume(box: Box) -> int:
    return math.prod(max(0, b - a) for a, b in box)


def _with_frees(steps: list[Step]) -> tuple[list[Step], frozenset[int], int]:
    """Say after which step a slot's memory is free.

    Returns the steps, the slots whose memory never is, and the most bytes alive at once.
    """
    owner = list(range(len(steps)))
    owners: list[set[int]] = []
    for step in steps:
        held = {step.slot}
        if step.op in _ALIASES:
            for ref in step.inputs:
                held |= owners[ref.slot]
        owners.append(held)
    last_use = list(owner)
    escaped: set[int] = set()
    for step in steps:
        for ref in step.inputs:
            for slot in owners[ref.slot]:
                last_use[slot] = step.slot
                if step.op in _ESCAPES:
                    escaped.add(slot)
    # A slot may be the same array as one that escaped, not only a view of it.
    escaped |= {step.slot for step in steps if owners[step.slot] & escaped}
    result = owners[-1]
    frees: list[list[int]] = [[] for _ in steps]
    for slot, at in enumerate(last_use):
        if slot not in result and slot not in escaped:
            frees[at].append(slot)
    alive = most = 0
    out = []
    for step, gone in zip(steps, frees, strict=True):
        alive += math.prod(step.shape) * step.dtype.itemsize
        most = max(most, alive)
        alive -= sum(math.prod(steps[s].shape) * steps[s].dtype.itemsize for s in gone)
        out.append(step._replace(frees=tuple(gone)))
    return out, frozenset(escaped), most
