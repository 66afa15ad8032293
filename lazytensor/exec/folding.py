"""The members of a pass as compiled folds: fed by a read, or with blocks in memory.

What can be folded is decided once, when a pass begins: sums of floats round differently in
compiled code than in NumPy, and one run must not depend on when a compiler was done. From then on
a block is either read through the folds, chunk by chunk while each is in the cache, and never is an
array; or it is an array, and the folds look at that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np

from lazytensor.exec.fold_states import Wanted
from lazytensor.exec.kernels.choice import chosen_kernels, compiled
from lazytensor.exec.kernels.folds import (
    INEXACT,
    Before,
    Cells,
    Fold,
    each_of,
    tally_fold,
    totals_fold,
)
from lazytensor.exec.kernels.maps import compiled_map
from lazytensor.exec.physical import Step
from lazytensor.exec.recording import RECORDER, Part
from lazytensor.exec.streamed import Member
from lazytensor.exec.through import Line, read_line, saved_seconds, turned
from lazytensor.native import Kernel
from lazytensor.plan.node import Node
from lazytensor.plan.source import Box, window

__all__ = ["Folding"]

FEWEST = 1 << 12
"""Elements up to which a block is looked at by NumPy: making cells takes longer."""

MOST = 1 << 31
"""Elements from which on 32-bit counts and 64-bit sums of squares might not suffice."""

_MOST_TABLES = 4 << 20
"""Bytes of tables of counts for one block."""

_SAVED = {
    "sum": 0.3e-9, "float_sum": 0.3e-9, "squares": 3e-9, "least": 0.05e-9, "greatest": 0.05e-9,
    "nonzero": 0.2e-9, "spread": 3e-9,
}  # fmt: skip
"""Seconds that compiled code saves for each element, by total."""

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

    ``members``, and ``nodes``, which they compute. ``line``: of a largest block of the input, of
    this ``shape``, if it is one. ``axes`` are reduced; ``size``: elements of the whole input.
    """

    def __init__(
        self,
        members: Sequence[Member],
        nodes: Sequence[Node],
        line: Line | None,
        dtype: np.dtype,
        shape: tuple[int, ...],
        axes: tuple[int, ...],
        size: int,
    ) -> None:
        self._axes = axes
        self._dtype = dtype
        self._nodes = nodes
        self._wanted = [_wanted(member) for member in members]
        self._each: Kernel | None = None
        self._groups: list[_Group] = []
        self._rows = False
        small = math.prod(shape) <= FEWEST
        if small or chosen_kernels() == "numpy" or not any(self._wanted):
            return
        through = line is not None and line.windows is None and line.is_plain
        self._rows = _is_kept(line.read if through and line else None, shape, axes)
        self._find_groups(shape, size, _SAVED_READ * size if through else 0.0)
        if len(self._groups) > 1:
            self._each = compiled("fold_each", None, _SAVED_READ * size)

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
    def members(self) -> frozenset[int]:
        """The numbers of the members that are folded."""
        return frozenset([i for group in self._groups for i in group.members])

    @property
    def is_complete(self) -> bool:
        """Whether all of them are."""
        return bool(self._groups) and len(self.members) == len(self._wanted)

    def read(self, line: Line, shape: tuple[int, ...], box: Box) -> list[State] | None:
        """States of all members of a block of this ``shape`` at ``box``, made while it is read.

        None, and nothing read, where that cannot be.
        """
        if not self._takes(line) or not FEWEST < math.prod(shape) < MOST:
            return None
        read, before = line.read, None
        if line.before is not None:
            before = _map_before(line.before, read)
            if before is None:
                return None
        cells = self._cells(shape)
        consumer = each_of(
            [one.consumer(shape, partial(turned, read), before) for one in cells],
            self._each,
        )
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
        return [states[i] for i in range(len(self._wanted))]

    def look(self, block: np.ndarray, box: Box, line: Line | None = None) -> dict[int, State]:
        """States of a block in memory, by number of the member; of some members, perhaps none.

        ``line``: what the block was read by. If ``read`` takes such a line, sums of floats are
        added up in the order that they would have had there: whether a source hands over its values
        may change during a run, as compiled decoders turn up.
        """
        if not self._groups or not FEWEST < block.size < MOST or not self._suits(block):
            return {}
        cells = self._cells(block.shape)
        for group, one in zip(self._groups, cells, strict=True):
            if line is None or not self._takes(line) or INEXACT.isdisjoint(group.fold.names):
                one.consumer(block.shape).take(block, (0,) * block.ndim)
                continue
            read = line.read
            consumer = one.consumer(block.shape, partial(turned, read))
            values = turned(read, block)
            for part in _cells_of(read, values.shape):
                consumer.take(window(values, part), [along.start for along in part])
        return self._states(cells, block.shape, box)

    def _takes(self, line: Line) -> bool:
        """Whether all members can be fed by a line."""
        return self.is_complete and line.windows is None and line.is_plain

    def _suits(self, block: np.ndarray) -> bool:
        """Whether the values that are taken together lie together."""
        if block.dtype != self._dtype or _is_kept(None, block.shape, self._axes) != self._rows:
            return False
        steps = [abs(s) for s, n in zip(block.strides, block.shape, strict=True) if n > 1]
        return steps[-1] == min(steps)

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


def _wanted(member: Member) -> Wanted | None:
    """What a member needs folded; members that know nothing of folds need nothing."""
    ask = getattr(member, "wanted", None)
    return None if ask is None else ask()


def _is_kept(read: Step | None, shape: tuple[int, ...], axes: tuple[int, ...]) -> bool:
    """Whether the innermost dim is kept: of a block, or of what a step reads for it."""
    strides = tuple([0 if d in axes else 1 for d in range(len(shape))])
    marks = np.lib.stride_tricks.as_strided(np.zeros(1, np.int8), shape, strides, writeable=False)
    seen = marks if read is None else turned(read, marks)
    inner = [s for s, n in zip(seen.strides, seen.shape, strict=True) if n > 1]
    return bool(inner) and inner[-1] != 0


def _cells_of(read: Step, shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Where the values of each stored cell lie in what a step reads, in C order."""
    source, box = read.args[:2]
    steps = read.args[4] if read.op == "read_strided" else (1,) * len(box)
    along = []
    spec = source.spec
    origin = spec.domain.inclusive_min
    for grid, o, (a, b), step, n in zip(spec.grid, origin, box, steps, shape, strict=True):
        lo, hi = a - o, b - o
        edges = [] if grid is None else grid.edges_between(lo, hi)
        places = sorted({0, n, *[-(-(edge - lo) // step) for edge in edges if lo < edge < hi]})
        along.append([slice(*ends) for ends in pairwise(places)])
    return product(*along)


def _map_before(step: Step, read: Step) -> Before | None:
    """The compiled map of a step that is done with the values before they are folded."""
    _, expression, constants = step.args
    found = compiled_map(expression, constants, saved_seconds(expression, math.prod(step.shape)))
    if found is None:
        return None
    return Before(found.function, found.constants, read.dtype.itemsize, found.keep)
