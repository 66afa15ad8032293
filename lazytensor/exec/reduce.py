"""Reductions streamed over the input.

The input is cut into blocks; every block gives a partial state, states are merged, the last one is
finished. Which blocks there are, which of them one task merges and in what order states meet
depends on the plan alone, so a sum is the same to the last bit however many threads there are and
whichever is faster.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from lazytensor.exec.buffers import Scratch
from lazytensor.exec.lower import Compiled, lower
from lazytensor.exec.steps import peek_program
from lazytensor.exec.workgrid import WorkGrid
from lazytensor.plan.nodes import Reduce
from lazytensor.plan.ops import REDUCTIONS
from lazytensor.plan.source import Box

__all__ = ["ReduceTasks"]

_ENOUGH_TASKS = 64

State = tuple[np.ndarray, ...]


class ReduceTasks:
    """The tasks of one pass over the input of one or more reductions over the same axes."""

    def __init__(
        self, nodes: tuple[Reduce, ...], compiled: Compiled, grid: WorkGrid, outs: list[np.ndarray]
    ) -> None:
        first = nodes[0]
        self._nodes = nodes
        self._compiled = compiled
        self._grid = grid
        self._outs = outs
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
        self._states: dict[int, list[list[State] | None]] = {}

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
        """Keep the states of one stretch; whoever brings the last one merges them in order."""
        with self._lock:
            slots = self._states.setdefault(result, [None] * self._groups)
            slots[group] = states
            if any(slot is None for slot in slots):
                return
            del self._states[result]
        merged = []
        for i, node in enumerate(self._nodes):
            row = REDUCTIONS[node.op]
            total: Any = None
            for slot in slots:
                assert slot is not None
                total = slot[i] if total is None else row.merge(total, slot[i])
            merged.append(total)
        self._write(result, merged)

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
            target = out[(..., *place)]
            target[...] = values.reshape(target.shape)
