"""Reductions streamed over the input.

The input is cut into blocks; every block gives a partial state, states are merged, the last one is
finished. Which blocks there are, which of them one task merges and in what order states meet
depends on the plan alone, so a sum is the same to the last bit however many threads there are and
whichever is faster.
"""

from __future__ import annotations

import math
import threading

import numpy as np

from lazytensor.exec.buffers import Scratch
from lazytensor.exec.lower import Compiled, lower
from lazytensor.exec.memory import Budget, TaskOf
from lazytensor.exec.steps import peek_program
from lazytensor.exec.workgrid import WorkGrid
from lazytensor.plan.nodes import Reduce
from lazytensor.plan.ops import REDUCTIONS
from lazytensor.plan.source import Box, window

__all__ = ["ReduceTasks"]

_ENOUGH_TASKS = 64
_STATE_ITEMSIZE = 24
"""Bytes of a state for each element of the result: a variance keeps three numbers."""

_WORK_ITEMSIZE = 16
"""Bytes of temporaries for each element of a block, at most: a variance squares deviations."""

State = tuple[np.ndarray, ...]


class _Merge:
    """States of one result: ``total`` of the stretches below ``next``, and later ones waiting."""

    __slots__ = ("busy", "next", "total", "waiting")

    def __init__(self) -> None:
        self.busy = False
        self.next = 0
        self.total: list[State] = []
        self.waiting: dict[int, list[State]] = {}


class ReduceTasks:
    """The tasks of one pass over the input of one or more reductions over the same axes."""

    def __init__(
        self,
        nodes: tuple[Reduce, ...],
        compiled: Compiled,
        grid: WorkGrid,
        outs: list[np.ndarray],
        budget: Budget,
    ) -> None:
        first = nodes[0]
        self._nodes = nodes
        self._compiled = compiled
        self._grid = grid
        self._outs = outs
        self._budget = budget
        self._name = TaskOf(first.x)
        self._axes = first.axes_
        rank = first.x.ndim
        self._kept = [d for d in range(rank) if d not in self._axes]
        self._out_counts = tuple(grid.counts[d] for d in self._kept)
        self._red_counts = tuple(grid.counts[d] for d in self._axes)
        self._blocks = math.prod(self._red_counts)
        results = math.prod(self._out_counts)
        # Few results: several tasks share one, each with a stretch of its blocks.
        self._groups = max(1, min(self._blocks, -(-_ENOUGH_TASKS // max(1, results))))
        self.count = results * self._groups
        self._lock = threading.Lock()
        self._merges: dict[int, _Merge] = {}

    @property
    def nbytes(self) -> int:
        """About what one task may hold beside its block: states, and numbers as float64."""
        if not self.count:
            return 0
        extents = [hi - lo for lo, hi in self._grid.largest()]
        states = math.prod(extents[d] for d in self._kept) * len(self._nodes)
        return states * _STATE_ITEMSIZE + math.prod(extents) * _WORK_ITEMSIZE

    def fill_empty(self) -> bool:
        """Write the results if the input has no elements at all; says whether it was so."""
        if self._nodes[0].x.size:
            return False
        for node, out in zip(self._nodes, self._outs, strict=True):
            if out.size:
                block = np.empty(node.x.shape, node.x.dtype)
                row = REDUCTIONS[node.op]
                out[...] = row.whole(
                    block, node.axes_, keepdims=node.keepdims, params=dict(node.params)
                )
        return True

    def run(self, number: int, scratch: Scratch) -> None:
        """Task ``number``: one stretch of blocks of one result."""
        result, group = divmod(number, self._groups)
        lo = group * self._blocks // self._groups
        hi = (group + 1) * self._blocks // self._groups
        states: list[State | None] = [None] * len(self._nodes)
        for block in range(lo, hi):
            box = self._grid.box_at(self._index(result, block))
            program = lower(self._compiled, box)
            with self._budget.holding(program.nbytes, self._name):
                peek_program(program, scratch, lambda a, b=box: self._add(states, a, b))  # type: ignore[misc]
        done = [state for state in states if state is not None]
        if self._groups == 1:
            self._write(result, done)
        else:
            self._collect(result, group, done)

    def _index(self, result: int, block: int) -> tuple[int, ...]:
        index = [0] * (len(self._kept) + len(self._axes))
        for dims, counts, number in (
            (self._kept, self._out_counts, result),
            (self._axes, self._red_counts, block),
        ):
            for d, n in zip(reversed(dims), reversed(counts), strict=True):
                number, index[d] = divmod(number, n)
        return tuple(index)

    def _add(self, states: list[State | None], block: np.ndarray, box: Box) -> None:
        node = self._nodes[0]
        offsets = tuple(
            lo - origin for (lo, _), origin in zip(box, node.x.domain.inclusive_min, strict=True)
        )
        for i, node in enumerate(self._nodes):
            row = REDUCTIONS[node.op]
            state = row.partial(
                block, self._axes, offsets=offsets, shape=node.x.shape, params=dict(node.params)
            )
            before = states[i]
            states[i] = state if before is None else row.merge(before, state)

    def _collect(self, result: int, group: int, states: list[State]) -> None:
        """Merge the states of one stretch as soon as all before it are merged.

        Merging in order keeps sums the same whoever is faster; merging at once keeps few states in
        memory. Whoever finds nobody at it merges what is there, outside the lock.
        """
        with self._lock:
            merge = self._merges.setdefault(result, _Merge())
            merge.waiting[group] = states
            if merge.busy:
                return
            merge.busy = True
        while (following := self._following(merge)) is not None:
            merge.total = self._merged(merge.total, following) if merge.total else following
            merge.next += 1
            if merge.next == self._groups:
                del self._merges[result]
                self._write(result, merge.total)
                return

    def _following(self, merge: _Merge) -> list[State] | None:
        """The next stretch to merge; None, and nobody at it any more, if it is not there yet."""
        with self._lock:
            found = merge.waiting.pop(merge.next, None)
            merge.busy = found is not None
            return found

    def _merged(self, totals: list[State], states: list[State]) -> list[State]:
        return [
            REDUCTIONS[node.op].merge(total, state)
            for node, total, state in zip(self._nodes, totals, states, strict=True)
        ]

    def _write(self, result: int, states: list[State]) -> None:
        box = self._grid.box_at(self._index(result, 0))
        for node, out, state in zip(self._nodes, self._outs, states, strict=True):
            count = math.prod(node.x.shape[d] for d in self._axes)
            values = REDUCTIONS[node.op].finish(
                state, dtype=node.x.dtype, count=count, params=dict(node.params)
            )
            place = []
            for d, (lo, hi) in enumerate(box):
                origin = node.x.domain.inclusive_min[d]
                if d not in self._axes:
                    place.append(slice(lo - origin, hi - origin))
                elif node.keepdims:
                    place.append(slice(0, 1))
            target = window(out, place)
            target[...] = values.reshape(target.shape)
