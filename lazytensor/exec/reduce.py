"""Reductions streamed over the input.

The input is cut into blocks; every block gives a partial state, states are merged, the last one is
finished. Which blocks there are, which of them one task merges and in what order states meet
depends on the plan alone, so a sum is the same to the last bit however many threads there are and
whichever is faster. Of an input that is known to be constant in parts (``exec.known``) only the
other parts are computed.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, zip_longest
from typing import Any

import numpy as np

from lazytensor.exec.ahead import Blocks
from lazytensor.exec.buffers import Scratch
from lazytensor.exec.folding import Folding
from lazytensor.exec.known import Known, known_of
from lazytensor.exec.lower import Compiled, lower
from lazytensor.exec.memory import Budget, TaskOf
from lazytensor.exec.parts import Inside, Occurrence, Parts, find_parts, look_inside
from lazytensor.exec.passes import member_of
from lazytensor.exec.physical import Program
from lazytensor.exec.steps import peek_program
from lazytensor.exec.streamed import Streamed
from lazytensor.exec.through import Line, line_of
from lazytensor.exec.workgrid import WorkGrid
from lazytensor.plan.constants import may_fail
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Reduce
from lazytensor.plan.ops_sketch import one_selection
from lazytensor.plan.source import Box

__all__ = ["ReduceTasks"]

_ENOUGH_TASKS = 64
_PATIENCE = 1.0
"""Seconds that a task waits for others at most."""

State = Any
"""What a member makes of a block (``exec.passes``)."""


def _stretch(parts: Parts, share: int, shares: int) -> Sequence[int]:
    """The blocks of one of so many shares of a result."""
    n = len(parts.blocks)
    return parts.blocks[share * n // shares : (share + 1) * n // shares]


class _Merge:
    """States of one result: ``total`` of the stretches below ``next``, and later ones waiting."""

    __slots__ = ("busy", "next", "total", "waiting")

    def __init__(self) -> None:
        self.busy = False
        self.next = 0
        self.total: list[State] = []
        self.waiting: dict[int, list[State]] = {}


class ReduceTasks:
    """The tasks of one pass over the input of one or more nodes that look at all of it.

    Their axes are the same. ``stored``: results of earlier stages, which a node may look at too.
    """

    def __init__(
        self,
        nodes: tuple[Reduce | Streamed, ...],
        compiled: Compiled,
        grid: WorkGrid,
        outs: list[np.ndarray],
        budget: Budget,
        stored: Mapping[Node, np.ndarray] | None = None,
    ) -> None:
        first = nodes[0]
        targets: list[np.ndarray | None] = [*outs] if outs else [None for _ in nodes]
        self._members = [
            member_of(node, out, stored or {}) for node, out in zip(nodes, targets, strict=True)
        ]
        self._nodes = nodes
        self._compiled = compiled
        self._grid = grid
        self.blocks = Blocks(compiled, budget, TaskOf(first.x))
        self._axes = first.axes_
        rank = first.x.ndim
        self._kept = [d for d in range(rank) if d not in self._axes]
        self._out_counts = tuple(grid.counts[d] for d in self._kept)
        self._red_counts = tuple(grid.counts[d] for d in self._axes)
        self._results = math.prod(self._out_counts)
        self._all = Parts(range(math.prod(self._red_counts)))
        self._known = self._ask(grid.count)
        # Few results: what each is made of is found out now, and several tasks share one, each with
        # a stretch of its blocks.
        few = self._known is not None and self._results <= _ENOUGH_TASKS
        self._found = [self._find(i) for i in range(self._results)] if few else None
        self._groups = [self._shares(parts) for parts in self._found or [self._all]]
        self._first = [0, *accumulate(self._groups)]
        self.count = self._first[-1] if few else self._results * self._groups[0]
        self._found_folding: Folding | None = None
        self._finding = threading.Lock()
        self._lock = threading.Lock()
        self._merged_one = threading.Condition(self._lock)
        self.ahead = _ENOUGH_TASKS
        """How many stretches may be under way or wait to be merged: states are kept for so many."""
        self._merges: dict[int, _Merge] = {}

    @property
    def input(self) -> Node:
        """What is reduced, block by block."""
        return self._nodes[0].x

    @property
    def skips(self) -> bool:
        """Whether parts of the input may be known, so that not all of its blocks are looked at."""
        return self._known is not None

    def boxes(self) -> Iterator[Box]:
        """The boxes of the input that the tasks look at, one by one."""
        for result in range(self._results):
            for block in self._parts(result).blocks:
                yield from self._inside(self._grid.box_at(self._index(result, block))).boxes

    def in_turns(self, threads: int) -> Iterator[Box]:
        """The same boxes in about the order in which so many threads come to them."""
        for first in range(0, self.count, threads):
            tasks = [self._boxes_of(i) for i in range(first, min(first + threads, self.count))]
            for boxes in zip_longest(*tasks):
                yield from (box for box in boxes if box is not None)

    def _boxes_of(self, number: int) -> Iterator[Box]:
        """The boxes that one task looks at."""
        result, share, shares = self._place(number)
        for block in _stretch(self._parts(result), share, shares):
            yield from self._inside(self._grid.box_at(self._index(result, block))).boxes

    def _inside(self, box: Box) -> Inside:
        """What a block is made of."""
        if self._known is None:
            return Inside([box])
        return look_inside(self._known, box, self._axes)

    def _ask(self, blocks: int) -> Known | None:
        """What is known of the input, if all members can do without seeing it."""
        able = all(hasattr(member, "repeated") for member in self._members)
        return known_of(self._compiled, blocks) if able else None

    def _find(self, result: int) -> Parts:
        assert self._known is not None
        at = self._index(result, 0)
        return find_parts(self._grid, at, self._axes, self._known, self._is_decided)

    def _is_decided(self, value: np.ndarray) -> bool:
        """Whether one element makes all else unimportant, errors included."""
        members: Any = self._members
        return all(member.is_decided(value) for member in members) and not may_fail(self.input)

    def _parts(self, result: int) -> Parts:
        """What a result is made of."""
        if self._known is None:
            return self._all
        return self._find(result) if self._found is None else self._found[result]

    def _shares(self, parts: Parts) -> int:
        """Into how many tasks a result is cut."""
        if self._known is not None and self._found is None and self._results > _ENOUGH_TASKS:
            return 1
        return max(1, min(len(parts.blocks), -(-_ENOUGH_TASKS // max(1, self._results))))

    def _place(self, number: int) -> tuple[int, int, int]:
        """Of a task: its result, which share of that it does, and of how many."""
        if self._found is None:
            result, share = divmod(number, self._groups[0])
            return result, share, self._groups[0]
        result = bisect_right(self._first, number) - 1
        return result, number - self._first[result], self._groups[result]

    @property
    def nbytes(self) -> int:
        """About what one task may hold beside its block: states, and numbers as float64."""
        if not self.count:
            return 0
        extents = [hi - lo for lo, hi in self._grid.largest()]
        kept = math.prod(extents[d] for d in self._kept)
        work = max(member.work_itemsize for member in self._members)
        states = sum(member.state_nbytes(kept) for member in self._members)
        return states + math.prod(extents) * work

    def fill_empty(self) -> bool:
        """Write the results if the input has no elements at all; says whether it was so."""
        if self._nodes[0].x.size:
            return False
        for member in self._members:
            member.write_empty()
        return True

    def run(self, number: int, scratch: Scratch) -> None:
        """Task ``number``: one stretch of blocks of one result."""
        result, share, shares = self._place(number)
        if share >= self.ahead:
            self._wait_for_others(result, share)
        parts = self._parts(result)
        states: list[State | None] = [None] * len(self._nodes)
        for occurrence in parts.constant if share == 0 else ():
            self._count(states, occurrence)
        for block in _stretch(parts, share, shares):
            inside = self._inside(self._grid.box_at(self._index(result, block)))
            for occurrence in inside.constant:
                self._count(states, occurrence)
            for box in inside.boxes:
                with self.blocks.lent(box) as program:
                    self._look(states, program, scratch)
        done = [state for state in states if state is not None]
        if shares == 1:
            self._write(result, done)
        else:
            self._collect(result, share, shares, done)

    def _index(self, result: int, block: int) -> tuple[int, ...]:
        index = [0] * (len(self._kept) + len(self._axes))
        for dims, counts, number in (
            (self._kept, self._out_counts, result),
            (self._axes, self._red_counts, block),
        ):
            for d, n in zip(reversed(dims), reversed(counts), strict=True):
                number, index[d] = divmod(number, n)
        return tuple(index)

    def _look(self, states: list[State | None], program: Program, scratch: Scratch) -> None:
        """Add the states of one block: made while it is read, or of the block in memory."""
        box = program.box
        line = line_of(program)
        if line is not None:
            shape = tuple([hi - lo for lo, hi in box])
            found = self._folding.read(line, shape, box)
            if found is not None:
                self._merge_into(states, found)
                return
        peek_program(program, scratch, lambda block: self._add(states, block, box, line))

    @property
    def _folding(self) -> Folding:
        """How members are folded: found out by the first task, and then the same for all."""
        if self._found_folding is None:
            with self._finding:
                if self._found_folding is None:
                    self._found_folding = self._find_folding()
        return self._found_folding

    def _find_folding(self) -> Folding:
        x, box = self.input, self._grid.largest()
        shape = tuple([hi - lo for lo, hi in box])

        def find_line() -> Line | None:
            return line_of(lower(self._compiled, box))

        return Folding(self._members, self._nodes, find_line, x.dtype, shape, self._axes, x.size)

    def _add(
        self, states: list[State | None], block: np.ndarray, box: Box, line: Line | None
    ) -> None:
        known = self._folding.look(block, box, line)
        with one_selection():
            parts = [
                known[i] if i in known else member.partial(block, box)
                for i, member in enumerate(self._members)
            ]
        self._merge_into(states, parts)

    def _count(self, states: list[State | None], occurrence: Occurrence) -> None:
        members: Any = self._members
        self._merge_into(states, [member.repeated(*occurrence) for member in members])

    def _merge_into(self, states: list[State | None], others: list[State]) -> None:
        for i, (member, before, state) in enumerate(
            zip(self._members, tuple(states), others, strict=True)
        ):
            states[i] = state if before is None else member.merge(before, state)

    def _collect(self, result: int, share: int, shares: int, states: list[State]) -> None:
        """Merge the states of one stretch as soon as all before it are merged.

        Merging in order keeps sums the same whoever is faster; merging at once keeps few states in
        memory. Whoever finds nobody at it merges what is there, outside the lock.
        """
        with self._lock:
            merge = self._merges.setdefault(result, _Merge())
            merge.waiting[share] = states
            if merge.busy:
                return
            merge.busy = True
        while (following := self._following(merge)) is not None:
            merge.total = self._merged(merge.total, following) if merge.total else following
            merge.next += 1
            with self._lock:
                self._merged_one.notify_all()
            if merge.next == shares:
                del self._merges[result]
                self._write(result, merge.total)
                return

    def _wait_for_others(self, result: int, share: int) -> None:
        """Let a slower thread catch up, so that few states wait for the one before them.

        Not for long: a thread that was stopped between two tasks will never catch up.
        """

        def is_near() -> bool:
            merge = self._merges.get(result)
            return share - (0 if merge is None else merge.next) < self.ahead

        with self._lock:
            self._merged_one.wait_for(is_near, timeout=_PATIENCE)

    def _following(self, merge: _Merge) -> list[State] | None:
        """The next stretch to merge; None, and nobody at it any more, if it is not there yet."""
        with self._lock:
            found = merge.waiting.pop(merge.next, None)
            merge.busy = found is not None
            return found

    def _merged(self, totals: list[State], states: list[State]) -> list[State]:
        return [
            member.merge(total, state)
            for member, total, state in zip(self._members, totals, states, strict=True)
        ]

    def _write(self, result: int, states: list[State]) -> None:
        box = self._grid.box_at(self._index(result, 0))
        for member, state in zip(self._members, states, strict=True):
            member.write(state, box)
