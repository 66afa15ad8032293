"""Who looks at what in a run: the nodes that its stages reach, and the boxes they ask for.

It is found in one walk over the plans, linear in their size however many stages there are, and says
nothing of what should become of it: that is decided in ``exec.sharing``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from lazytensor.exec.compositing import inputs_to_compute
from lazytensor.exec.demand import is_sparse, whole_box
from lazytensor.exec.lower import READS, Compiled, cells_of, lower, merge_boxes, volume
from lazytensor.exec.stages import Stage
from lazytensor.exec.workgrid import choose_grid
from lazytensor.plan.compose import output_box
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Constant, Scan, View
from lazytensor.plan.source import Box

__all__ = ["Needs", "Pass", "is_at_hand", "starts"]

_SEVERAL = -1

_OFTEN = 1.5
"""How often the blocks of one stage decode a chunk on average, if it is worth keeping."""


class Pass(NamedTuple):
    """The nodes that one pass over an input computes."""

    axes: tuple[int, ...]
    members: frozenset[Node]


class _Tasks(NamedTuple):
    """How many tasks a stage has, and the boxes that one of the largest reads, by source."""

    number: int
    reads: dict[Hashable, list[Box]]


class _Asked(NamedTuple):
    """Who asks for a node: a consumer, or (None) a stage itself, which wants all of it."""

    consumer: Node | None
    stage: int


class Needs:
    """Which nodes the stages look at, and who asks for them.

    Linear in the size of the plans, however many stages there are: below a node that two stages
    have reached, others are not followed.
    """

    def __init__(self, stages: Sequence[Stage], room: int) -> None:
        self._stages = stages
        self._room = room
        self.computed = frozenset(node for stage in stages for node in stage.nodes)
        self.passes = _passes(stages)
        # The stage that reached a node, or _SEVERAL; and the nodes that some stage needs whole.
        self._stage: dict[Node, int] = {}
        self._whole: set[Node] = set()
        self._asked: dict[Node, dict[_Asked, None]] = {}
        self._often: dict[Node, dict[int, int]] = {}
        self._tasks: dict[int, _Tasks] = {}
        for number, stage in enumerate(stages):
            for start in starts(stage):
                self._ask(start, _Asked(None, number))
                self._follow(start, number)

    def _ask(self, node: Node, asked: _Asked) -> None:
        self._asked.setdefault(node, {})[asked] = None

    def _follow(self, start: Node, stage: int) -> None:
        stack = [(start, True)]
        while stack:
            node, whole = stack.pop()
            if node is not start and node in self.computed:
                continue
            if not self._enter(node, stage, whole):
                continue
            for x in dict.fromkeys(inputs_to_compute(node)):
                self._ask(x, _Asked(node, stage))
                stack.append((x, whole and _passes_on(node)))

    def _enter(self, node: Node, stage: int, whole: bool) -> bool:
        """Note a visit; False if it says nothing new."""
        reached = self._stage.get(node)
        if reached is None:
            self._stage[node] = stage
        elif reached not in (stage, _SEVERAL):
            self._stage[node] = _SEVERAL
        elif not whole or node in self._whole:
            return False
        if whole:
            self._whole.add(node)
        return True

    def is_candidate(self, node: Node) -> bool:
        """Whether stages reach a node by different ways, and it would cost them something."""
        if node in self.computed or is_at_hand(node):
            return False
        if isinstance(node, Scan) and self.often(node):
            return True
        if self._stage.get(node) != _SEVERAL:
            return False
        ways = {asked if asked.consumer is None else asked.consumer for asked in self._asked[node]}
        return len(ways) > 1

    def candidates(self) -> bool:
        """Whether there is any."""
        return any(map(self.is_candidate, self._stage))

    def often(self, scan: Scan) -> dict[int, int]:
        """The stages whose blocks decode a source several times over, and how often."""
        known = self._often.get(scan)
        if known is None:
            known = self._often[scan] = {}
            if scan.nbytes > self._room or not self._is_seen_twice(scan):
                return known
            for stage, boxes in self.boxes(scan)[0].items():
                times = self._times_decoded(scan, stage, boxes) if len(boxes) > 1 else 1.0
                if times >= _OFTEN:
                    known[stage] = round(times)
        return known

    def _is_seen_twice(self, scan: Scan) -> bool:
        """Whether there is a view of a source, and somebody else who looks at it."""
        consumers = {asked.consumer for asked in self._asked.get(scan, ())}
        return len(consumers) > 1 and any(isinstance(node, View) for node in consumers)

    def _times_decoded(self, scan: Scan, stage: int, boxes: Sequence[Box]) -> float:
        """How often the blocks of a stage decode a cell of a source, on average."""
        tasks = self._tasks.get(stage)
        if tasks is None:
            (start, *_) = starts(self._stages[stage])
            tasks = self._tasks[stage] = _tasks(start, self.computed, self._room)
        cells = sum(volume(cells_of(scan, box)) for box in tasks.reads.get(scan.source.key, ()))
        ((hull, _),) = merge_boxes(list(boxes), lambda a, b, hull: True)
        return cells * tasks.number / max(1, volume(cells_of(scan, hull)))

    def boxes(self, node: Node) -> tuple[dict[int, list[Box]], list[Box]]:
        """The boxes that each stage asks for, and those of views that skip cells.

        Of consumers that may themselves be needed in part only, nobody knows what they ask for.
        """
        by_stage: dict[int, list[Box]] = {}
        sparse: list[Box] = []
        for consumer, stage in self._asked[node]:
            if consumer is None:
                by_stage.setdefault(stage, []).append(whole_box(node))
            elif consumer not in self._whole:
                continue
            elif not isinstance(consumer, View):
                by_stage.setdefault(stage, []).append(whole_box(node))
            elif consumer.size:
                needed = output_box(consumer.transform, whole_box(consumer))
                if is_sparse(consumer):
                    sparse.append(needed)
                else:
                    by_stage.setdefault(stage, []).append(needed)
        return by_stage, sparse


def _passes(stages: Sequence[Stage]) -> dict[Node, Pass]:
    """The first pass over each node that some reduction looks at, if it waits for nothing else."""
    found: dict[Node, Pass] = {}
    for stage in stages:
        members = stage.reductions
        if members and all(len(node.inputs) == 1 for node in members):
            found.setdefault(members[0].x, Pass(members[0].axes_, frozenset(members)))
    return found


def starts(stage: Stage) -> Iterable[Node]:
    """What a stage computes block by block."""
    reductions = stage.reductions
    return [reductions[0].x] if reductions else stage.nodes


def _passes_on(node: Node) -> bool:
    """Whether who needs all of a node needs all of its inputs."""
    return not isinstance(node, View) or node.size >= node.x.size


def _tasks(start: Node, computed: frozenset[Node], room: int) -> _Tasks:
    """The tasks of a stage that begins with ``start``. ``computed``: results of all stages."""
    stored = {
        node: np.broadcast_to(np.zeros((), node.dtype), node.shape)
        for node in computed
        if node is not start
    }
    compiled = Compiled(start, stored)
    grid = choose_grid(start, lambda box: lower(compiled, box).moved, room)
    found: dict[Hashable, list[Box]] = {}
    if grid.count > 1:
        for step in lower(compiled, grid.largest()).steps:
            if step.op in READS and step.op != "gather":
                found.setdefault(step.args[0].key, []).append(step.args[1])
    return _Tasks(grid.count, found)


def is_at_hand(node: Node) -> bool:
    """True for what is in memory, or made up."""
    if isinstance(node, Scan):
        return node.source.array is not None
    return isinstance(node, Constant)
