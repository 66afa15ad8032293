"""Many windows of one size at once, each piece decoded once however many look at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod

import numpy as np

from lazytensor.io.ome_arrow.layout import Cut, cut_pieces
from lazytensor.io.ome_arrow.meeting import Boxes, meeting
from lazytensor.io.ome_arrow.reading import PieceReader, TasksReading
from lazytensor.io.ome_arrow.values import Values
from lazytensor.io.scratch import thread_scratch
from lazytensor.io.windows import Windows, cut_windows
from lazytensor.native import kernel
from lazytensor.plan.counters import count
from lazytensor.plan.source import Reading, window

__all__ = ["begin_windows"]

_GAIN_OF_CUT = 30e-6
_TASK = 64
"""Windows of an array that one thread takes at a time; parts of windows, of one unit."""

_MOST_BYTES = 256 << 20
_TABLES = 7
"""Numbers per dim that are kept of a window and a piece in it, about."""


def begin_windows(
    reader: PieceReader,
    values: Values,
    array: np.ndarray | None,
    starts: np.ndarray,
    counts: Sequence[int],
    steps: Sequence[int],
    outs: Sequence[np.ndarray] | np.ndarray,
) -> Reading | None:
    """A reading of windows, of ``array`` if that is there; None where that is better done box by
    box. As ``plan.source.WindowedSource.read_windows``."""
    if array is not None:
        return _of_array(array, starts, counts, steps, outs)
    pairs = _pairs(reader, starts, counts, steps)
    if pairs is None:
        return None
    which, pieces = pairs
    grid, catalogue = reader.catalogue.grid, reader.catalogue
    cut = cut_pieces(grid.origins[pieces], grid.extents[pieces], starts[which], counts, steps)
    if len(cut.rows) != len(pieces):
        which, pieces = which[cut.rows], pieces[cut.rows]
    if cut.size != len(starts) * prod(counts):
        if values.fill is None:
            return None  # something is missing, and the plain way says what
        count("chunks_missing")
        for out in outs:
            out[...] = values.fill
    reader.check_odd(pieces)
    order = np.lexsort((catalogue.elements[pieces], catalogue.units[pieces]))
    which, pieces = which[order], pieces[order]
    cut = Cut(which, cut.start[order], cut.first[order], cut.end[order])
    return TasksReading(_tasks(reader, pieces, cut, steps, outs))


def _pairs(
    reader: PieceReader, starts: np.ndarray, counts: Sequence[int], steps: Sequence[int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Windows and the pieces they touch, by numbers, at least all those that do.

    None where tables of them would take too much memory.
    """
    grid = reader.catalogue.grid
    if grid.overlapping is not None or not len(grid):
        return None
    most = _MOST_BYTES // (8 * _TABLES * len(counts))
    if not grid.is_regular:
        ends = starts + (np.array(counts) - 1) * np.array(steps) + 1
        windows = Boxes(starts, ends)
        return meeting(windows, Boxes(grid.origins, grid.origins + grid.extents), most)
    sizes = [int(size) for size in grid.extents.max(axis=0)]
    cells = [-(-n // size) for n, size in zip(grid.shape, sizes, strict=True)]
    none, run = (0,) * len(sizes), kernel("cut", saves=_GAIN_OF_CUT)
    found = cut_windows(
        Windows(starts, counts, steps, sizes, cells), none, none, np.zeros(len(starts), np.int64),
        run,
    )  # fmt: skip
    if found is None:
        return None
    if int(np.diff(found.first).sum()) > most:
        return None
    there, pieces = grid.at(found.units)
    many = np.diff(found.first)
    return found.window[np.repeat(there, many)], np.repeat(pieces, many[there])


def _tasks(
    reader: PieceReader,
    pieces: np.ndarray,
    cut: Cut,
    steps: Sequence[int],
    outs: Sequence[np.ndarray] | np.ndarray,
) -> list[Callable[[], None]]:
    """Some pieces of one unit each, with all windows that look at them."""
    units = reader.catalogue.units[pieces]
    begins = np.flatnonzero(np.diff(pieces)) + 1
    new = units[1:] != units[:-1]
    firsts, found, start = [0, *begins.tolist(), len(pieces)], [], 0
    for first, last in pairwise(firsts[1:]):
        if new[first - 1] or last - start > _TASK:
            found.append((start, first))
            start = first
    found.append((start, len(pieces)))

    def task(start: int, stop: int) -> Callable[[], None]:
        def work() -> None:
            some = Cut(*[table[start:stop] for table in cut])
            _put(reader, pieces[start:stop], some, steps, outs)

        return work

    return [task(start, stop) for start, stop in found]


def _put(
    reader: PieceReader,
    pieces: np.ndarray,
    cut: Cut,
    steps: Sequence[int],
    outs: Sequence[np.ndarray] | np.ndarray,
) -> None:
    """Put parts of pieces of one unit in their windows, all of one piece together."""
    unit = reader.catalogue.unit(int(reader.catalogue.units[pieces[0]]))
    scratch = thread_scratch()
    parts = [(where, window(outs[at], spot)) for at, where, spot in cut.parts(steps)]
    bounds = [0, *(np.flatnonzero(np.diff(pieces)) + 1).tolist(), len(pieces)]
    for first, last in pairwise(bounds):
        reader.put_parts(unit, int(pieces[first]), parts[first:last], scratch)


def _of_array(
    array: np.ndarray,
    starts: np.ndarray,
    counts: Sequence[int],
    steps: Sequence[int],
    outs: Sequence[np.ndarray] | np.ndarray,
) -> TasksReading:
    """Copying windows of what is in memory."""
    reach = [(n - 1) * step + 1 for n, step in zip(counts, steps, strict=True)]
    corners = starts.tolist()

    def task(first: int) -> Callable[[], None]:
        def work() -> None:
            for at in range(first, min(first + _TASK, len(corners))):
                part = [
                    slice(lo, lo + n, step)
                    for lo, n, step in zip(corners[at], reach, steps, strict=True)
                ]
                outs[at][...] = array[tuple(part)]

        return work

    return TasksReading([task(first) for first in range(0, len(corners), _TASK)])
