"""The members of a pass folded: fed by a read, or with blocks in memory.

What compiled code there is, is found out once, when a pass begins. From then on a block is either
read through the folds, chunk by chunk while each is in the cache, and never is an array; or it is
an array, and the folds look at that. Totals of integers are exact. Sums of floats are added up in
lanes (``exec.laid``), by compiled code or by NumPy, with the same bits: so these do not depend on
when a compiler was done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lazytensor.exec.fold_states import InLanes, Wanted
from lazytensor.exec.kernels.choice import chosen_kernels, compiled
from lazytensor.exec.kernels.consumer import CompiledConsumer
from lazytensor.exec.kernels.folds import Before, Cells, Fold, each_of, tally_fold, totals_fold
from lazytensor.exec.kernels.lanes import LaneCells, LaneFold, Slots, filled, lane_fold
from lazytensor.exec.kernels.maps import compiled_map
from lazytensor.exec.laid import Laid, laid_by_read, laid_in_memory
from lazytensor.exec.physical import Step
from lazytensor.exec.recording import RECORDER, Part
from lazytensor.exec.streamed import Member
from lazytensor.exec.through import Line, read_line, saved_seconds, turned
from lazytensor.native import Kernel
from lazytensor.plan.node import Node
from lazytensor.plan.source import Box

__all__ = ["Folding"]

FEWEST = 1 << 12
"""Elements up to which a block is looked at by NumPy: making cells takes longer."""

FEWEST_IN_LANES = 1 << 15
"""The same of floats that are added up in lanes, which costs some more."""

MOST = 1 << 31
"""Elements from which on 32-bit counts and 64-bit sums of squares might not suffice."""

_FEW = 32
"""Values up to which making a cell of 8 bytes for them takes as long as looking at them."""

_MOST_TABLES = 4 << 20
"""Bytes of tables of counts for one block."""

_SAVED = {
    "sum": 0.3e-9, "squares": 3e-9, "least": 0.05e-9, "greatest": 0.05e-9,
    "finite_least": 0.3e-9, "finite_greatest": 0.3e-9, "nonzero": 0.2e-9,
}  # fmt: skip
"""Seconds that compiled code saves for each element, by total."""

_SAVED_SUMS, _SAVED_SPREADS = 0.1e-9, 2e-9
"""The same of sums of floats, and of their spreads."""

_FEEDING = 30e-6
"""Seconds that making cells and feeding them takes, however little there is to look at."""

_SAVED_TALLY = 1e-9
_SAVED_READ = 0.15e-9
"""The same of a count, and of a block that is not written and read again."""

State = Any


class _Group(NamedTuple):
    """A fold and the members, by number, that need it."""

    fold: Fold
    members: list[int]


class Folding:
    """How the members of one pass are folded.

    ``members``, and ``nodes``, which they compute. ``find_line``: makes the line of a largest block
    of the input, of this ``shape``, if it is one. ``axes`` are reduced; ``size``: elements of the
    whole input.
    """

    def __init__(
        self,
        members: Sequence[Member],
        nodes: Sequence[Node],
        find_line: Callable[[], Line | None],
        dtype: np.dtype,
        shape: tuple[int, ...],
        axes: tuple[int, ...],
        size: int,
    ) -> None:
        self._axes = axes
        self._dtype = dtype
        self._nodes = nodes
        asked = [_wanted(member) for member in members]
        self._wanted = [one if isinstance(one, Wanted) else None for one in asked]
        self._each: Kernel | None = None
        self._groups: list[_Group] = []
        self._rows = False
        self._lanes: dict[int, InLanes] = {}
        self._lane_fold: LaneFold | None = None
        if math.prod(shape) <= FEWEST:
            return
        if math.prod(shape) > FEWEST_IN_LANES:
            self._lanes = {i: one for i, one in enumerate(asked) if isinstance(one, InLanes)}
        self._spread = any(one.spread for one in self._lanes.values())
        kernels = chosen_kernels()
        if kernels == "numpy" or not any(asked):
            return
        if kernels == "auto" and size * (self._saved_each() + _SAVED_READ) < _FEEDING:
            return
        line = find_line()
        through = line is not None and _can_feed(line)
        self._rows = _is_kept(line.read if through and line else None, shape, axes)
        saved = _SAVED_READ * size if through else 0.0
        self._find_groups(shape, size, saved)
        if self._lanes:
            seconds = saved + size * (_SAVED_SPREADS if self._spread else _SAVED_SUMS)
            self._lane_fold = lane_fold(dtype, spread=self._spread, saves=seconds)
        if len(self._groups) + (self._lane_fold is not None) > 1:
            self._each = compiled("fold_each", None, _SAVED_READ * size)

    def _saved_each(self) -> float:
        """Seconds that compiled code saves for each element of a block, beside reading it."""
        wanted = [one for one in self._wanted if one is not None]
        names = {name for one in wanted if not one.table for name in one.names}
        saved = sum([_SAVED[name] for name in names])
        saved += _SAVED_TALLY * sum([bool(one.table) for one in wanted])
        if self._lanes:
            saved += _SAVED_SPREADS if self._spread else _SAVED_SUMS
        return saved

    def _find_groups(self, shape: tuple[int, ...], size: int, saved: float) -> None:
        named = [i for i, wanted in enumerate(self._wanted) if wanted and not wanted.table]
        names = {name for i in named for name in self._wanted[i].names}  # type: ignore[union-attr]
        if names:
            seconds = saved + size * sum(_SAVED[name] for name in names)
            fold = totals_fold(self._dtype, sorted(names), rows=self._rows, saves=seconds)
            if fold is not None:
                self._groups.append(_Group(fold, named))
        positions = math.prod([n for d, n in enumerate(shape) if d not in self._axes])
        for i, wanted in enumerate(self._wanted):
            if not wanted or not wanted.table or self._rows:
                continue
            if positions * wanted.table * 4 > _MOST_TABLES:
                continue
            fold = tally_fold(self._dtype, wanted.table, saves=saved + size * _SAVED_TALLY)
            if fold is not None:
                self._groups.append(_Group(fold, [i]))

    @property
    def is_complete(self) -> bool:
        """Whether there is compiled code for all members."""
        exact = [i for group in self._groups for i in group.members]
        in_lanes = 0 if self._lane_fold is None else len(self._lanes)
        return bool(self._wanted) and len(exact) + in_lanes == len(self._wanted)

    def read(self, line: Line, shape: tuple[int, ...], box: Box) -> list[State] | None:
        """States of all members of a block of this ``shape`` at ``box``, made while it is read.

        None, and nothing read, where that cannot be.
        """
        fewest = FEWEST_IN_LANES if self._lanes else FEWEST
        if not _can_feed(line) or not self.is_complete or not fewest < math.prod(shape) < MOST:
            return None
        read, before = line.read, None
        laid = laid_by_read(read, shape, self._axes) if self._lanes else None
        if self._lanes and laid is None:
            return None
        if line.before is not None:
            before = _map_before(line.before, read)
            if before is None:
                return None
        cells = self._cells(shape)
        consumers = [one.consumer(shape, partial(turned, read), before) for one in cells]
        in_lanes = None if laid is None else self._cells_in_lanes(laid, before, consumers)
        consumer = each_of(consumers, self._each)
        if consumer is None:
            return None
        recorder = RECORDER.get()
        if recorder is None:
            done = read_line(read, consumer)
        else:
            takers = [Part(node, "partial") for node in self._nodes]
            steps = [line.before] if line.before is not None else []
            with recorder.line(read, *takers, *steps):
                done = read_line(read, consumer)
        if not done:
            return None
        states = self._states(cells, shape, box)
        if laid is not None and in_lanes is not None:
            states |= self._states_in_lanes(laid, in_lanes.slots())
        return [states[i] for i in range(len(self._wanted))]

    def look(self, block: np.ndarray, box: Box, line: Line | None = None) -> dict[int, State]:
        """States of a block in memory, by number of the member; of some members, perhaps none.

        ``line``: what the block was read by. If ``read`` might have taken such a line, sums of
        floats are added up in the order that they would have had there.
        """
        if not FEWEST < block.size < MOST:
            return {}
        states: dict[int, State] = {}
        if self._groups and self._suits(block) and not self._is_quick(block):
            cells = self._cells(block.shape)
            for one in cells:
                one.consumer(block.shape).take(block, (0,) * block.ndim)
            states = self._states(cells, block.shape, box)
        if self._lanes and block.size > FEWEST_IN_LANES:
            states |= self._look_in_lanes(block, line)
        return states

    def _look_in_lanes(self, block: np.ndarray, line: Line | None) -> dict[int, State]:
        if line is not None and _can_feed(line):
            laid = laid_by_read(line.read, block.shape, self._axes)
        else:
            laid = laid_in_memory(block, self._axes)
        if laid is None:
            return {}
        values = laid.turn(block)
        if self._lane_fold is None:
            slots = filled(values, laid.lanes, spread=self._spread)
        else:
            cells = self._lane_fold.cells(laid.lanes)
            cells.consumer().take(values, (0,) * values.ndim)
            slots = cells.slots()
        return self._states_in_lanes(laid, slots)

    def _cells_in_lanes(
        self, laid: Laid, before: Before | None, consumers: list[CompiledConsumer]
    ) -> LaneCells:
        assert self._lane_fold is not None
        cells = self._lane_fold.cells(laid.lanes)
        consumers.append(cells.consumer(before))
        return cells

    def _states_in_lanes(self, laid: Laid, slots: Slots) -> dict[int, State]:
        return {i: laid.state(wanted, slots) for i, wanted in self._lanes.items()}

    def _suits(self, block: np.ndarray) -> bool:
        """Whether the values that are taken together lie together."""
        if block.dtype != self._dtype or _is_kept(None, block.shape, self._axes) != self._rows:
            return False
        steps = [abs(s) for s, n in zip(block.strides, block.shape, strict=True) if n > 1]
        return steps[-1] == min(steps)

    def _is_quick(self, block: np.ndarray) -> bool:
        """Whether NumPy is as fast in memory: extremes side by side, of integers, or of few each.

        Nobody sees which it is: extremes are exact.
        """
        names = {name for group in self._groups for name in group.fold.names}
        if not self._rows or not names <= {"least", "greatest"}:
            return False
        each = math.prod([block.shape[d] for d in self._axes])
        return self._dtype.kind in "iu" or each < _FEW

    def _cells(self, shape: tuple[int, ...]) -> list[Cells]:
        kept = tuple([1 if d in self._axes else n for d, n in enumerate(shape)])
        return [group.fold.cells(kept) for group in self._groups]

    def _states(self, cells: list[Cells], shape: tuple[int, ...], box: Box) -> dict[int, State]:
        count = math.prod([shape[d] for d in self._axes])
        return {
            i: wanted.state(one, count, box)
            for group, one in zip(self._groups, cells, strict=True)
            for i in group.members
            if (wanted := self._wanted[i]) is not None
        }


def _wanted(member: Member) -> Wanted | InLanes | None:
    """What a member needs folded; members that know nothing of folds need nothing."""
    ask = getattr(member, "wanted", None)
    return None if ask is None else ask()


def _can_feed(line: Line) -> bool:
    """Whether folds may be fed by a line: it gives each value once, in the order of its source."""
    return line.windows is None and line.is_plain


def _is_kept(read: Step | None, shape: tuple[int, ...], axes: tuple[int, ...]) -> bool:
    """Whether the innermost dim is kept: of a block, or of what a step reads for it."""
    strides = tuple([0 if d in axes else 1 for d in range(len(shape))])
    marks = np.lib.stride_tricks.as_strided(np.zeros(1, np.int8), shape, strides, writeable=False)
    seen = marks if read is None else turned(read, marks)
    inner = [s for s, n in zip(seen.strides, seen.shape, strict=True) if n > 1]
    return bool(inner) and inner[-1] != 0


def _map_before(step: Step, read: Step) -> Before | None:
    """The compiled map of a step that is done with the values before they are folded."""
    _, expression, constants = step.args
    found = compiled_map(expression, constants, saved_seconds(expression, math.prod(step.shape)))
    if found is None:
        return None
    return Before(found.function, found.constants, read.dtype.itemsize, found.keep)
