"""Which blocks a reduction has to compute, and which elements it only has to count.

Where nothing is known of the input, all of its blocks are computed. Else the blocks of a result are
halved until a stretch of them is known to be constant, or is a single block: of an array with ten
stored chunks among billions some hundred stretches are looked at. What is constant is no longer a
matter of blocks then; there is a value, and how often it occurs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from lazytensor.exec.known import Known
from lazytensor.exec.lower import volume
from lazytensor.exec.workgrid import WorkGrid
from lazytensor.plan.grid import DimGrid
from lazytensor.plan.source import Box

__all__ = ["Inside", "Occurrence", "Parts", "find_parts", "look_inside"]

_MOST_BOXES = 16
"""Boxes into which a block is cut. Each is planned and merged by itself, in some 100 us."""

_Index = tuple[int, ...]


class Occurrence(NamedTuple):
    """``times`` elements for each position that is kept, all of them ``value`` (0-d).

    ``box`` holds the first of them in its lowest corner, and has the extents of what is kept.
    """

    value: np.ndarray
    times: int
    box: Box


class Parts(NamedTuple):
    """What one result is made of: blocks to compute, by number, and values that occur beside."""

    blocks: Sequence[int]
    constant: tuple[Occurrence, ...] = ()


class Inside(NamedTuple):
    """What one block is made of: boxes to compute, and values that occur beside."""

    boxes: list[Box]
    constant: tuple[Occurrence, ...] = ()


class _Counts:
    """How often values occur; boxes come in C order."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        self._axes = axes
        self._found: dict[bytes, Occurrence] = {}

    def add(self, value: np.ndarray, box: Box) -> Occurrence:
        """All of a box is one value."""
        key = value.tobytes()
        count = math.prod(box[d][1] - box[d][0] for d in self._axes)
        before = self._found.get(key)
        found = Occurrence(value, count, box)
        if before is not None:
            found = before._replace(times=before.times + count)
        self._found[key] = found
        return found

    def all(self) -> tuple[Occurrence, ...]:
        """Each value once."""
        return tuple(self._found.values())


def find_parts(
    grid: WorkGrid,
    at: Sequence[int],
    axes: tuple[int, ...],
    known: Known,
    decides: Callable[[np.ndarray], bool],
) -> Parts:
    """The parts of the result that keeps the blocks ``at`` (indices; those along ``axes`` vary).

    ``decides(value)``: whether the result is decided once one element is ``value``, so that nothing
    else has to be looked at.
    """
    counts = [grid.counts[d] for d in axes]
    blocks: list[int] = []
    occurring = _Counts(axes)
    index = list(at)

    def corner(stretch: _Index) -> Box:
        for d, i in zip(axes, stretch, strict=True):
            index[d] = i
        return grid.box_at(tuple(index))

    stack: list[tuple[_Index, _Index]] = [((0,) * len(axes), tuple(counts))]
    while stack:
        lo, hi = stack.pop()
        last = corner(tuple([i - 1 for i in hi]))
        box = tuple([(a, b) for (a, _), (_, b) in zip(corner(lo), last, strict=True)])
        value = known.constant_in(box)
        if value is not None:
            found = occurring.add(value, box)
            if decides(value):
                return Parts((), (found,))
            continue
        split = next((d for d, (a, b) in enumerate(zip(lo, hi, strict=True)) if b - a > 1), None)
        if split is None:
            blocks.append(_number(lo, counts))
        else:
            stack.extend(reversed(_halves(lo, hi, split)))
    return Parts(blocks, occurring.all())


def look_inside(known: Known, box: Box, axes: tuple[int, ...]) -> Inside:
    """The parts of one block that is not constant as a whole, cut along ``axes`` where cells end.

    A block has dozens of chunks, of which perhaps one is stored. It stays whole if that is not so.
    """
    origin, cells = known.root.domain.inclusive_min, known.root.grid
    boxes: list[Box] = []
    occurring = _Counts(axes)
    stack = [box]
    while stack:
        part = stack.pop()
        value = None if part is box else known.constant_in(part)
        if value is not None:
            occurring.add(value, part)
            continue
        for d in axes:
            middle = _middle(cells[d], *part[d], origin[d])
            if middle is not None:
                (lo, hi) = part[d]
                stack.append((*part[:d], (middle, hi), *part[d + 1 :]))
                stack.append((*part[:d], (lo, middle), *part[d + 1 :]))
                break
        else:
            boxes.append(part)
            if len(boxes) > _MOST_BOXES:
                return Inside([box])
    if 2 * sum(map(volume, boxes)) > volume(box):
        return Inside([box])
    return Inside(boxes, occurring.all())


def _middle(cells: DimGrid | None, lo: int, hi: int, origin: int) -> int | None:
    """Where a cell ends about halfway; None within one cell, and where cells may be cut freely."""
    if cells is None or cells.free:
        return None
    edges = cells.edges_between(lo - origin, hi - origin)
    return edges[len(edges) // 2] + origin if len(edges) > 2 else None


def _halves(lo: _Index, hi: _Index, split: int) -> list[tuple[_Index, _Index]]:
    """Outermost dim first, so that stretches come in C order, and first occurrences first."""
    ends = (lo[split], (lo[split] + hi[split]) // 2, hi[split])
    return [
        ((*lo[:split], a, *lo[split + 1 :]), (*hi[:split], b, *hi[split + 1 :]))
        for a, b in pairwise(ends)
    ]


def _number(index: _Index, counts: list[int]) -> int:
    number = 0
    for i, n in zip(index, counts, strict=True):
        number = number * n + i
    return number
