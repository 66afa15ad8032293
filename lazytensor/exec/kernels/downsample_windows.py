"""The geometry of downsampling: runs of equally wide windows, and ways to walk over them.

``Run`` names the cells of one dim whose windows have the same width. The walks differ in what they
keep: ``fold`` reduces dim by dim (for reductions whose order does not matter), ``boxes`` gives the
boxes in which all windows have one size, ``planes`` and ``rows`` lay the windows of such a box out
as one array per place in the window, or as one row per window.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lazytensor.errors import ShapeError

__all__ = ["Box", "Run", "boxes", "fold", "planes", "rows", "runs_of"]

_WIDE = 16
"""Windows up to this width fold by whole-array operations, wider ones by ``ufunc.reduceat``."""


class Run(NamedTuple):
    """Cells of one dim with windows of one width: positions in the output and in the block."""

    cells: slice
    base: slice
    width: int


class Box(NamedTuple):
    """A box of windows of one size: positions in the output and in the block."""

    cells: tuple[slice, ...]
    base: tuple[slice, ...]
    widths: tuple[int, ...]
    places: int


def runs_of(lo: int, size: int, factor: int, out_lo: int, cells: int) -> tuple[Run, ...]:
    """Runs of the cells ``[out_lo, out_lo + cells)`` over base coordinates ``[lo, lo + size)``.

    Raises ``ShapeError`` if a cell has no base value.

    >>> [(run.cells, run.width) for run in runs_of(1, 7, 3, 0, 3)]
    [(slice(0, 1, None), 2), (slice(1, 2, None), 3), (slice(2, 3, None), 2)]
    """
    if cells == 0:
        return ()
    hi, out_hi = lo + size, out_lo + cells
    if not (out_lo + 1) * factor > lo or not (out_hi - 1) * factor < hi or size == 0:
        raise ShapeError(
            f"downsample cells [{out_lo}, {out_hi}) with factor {factor} reach beyond the base"
            f" values [{lo}, {hi})"
        )
    runs = []
    for first, last in _equal_cells(lo, hi, factor, out_lo, out_hi):
        start, stop = max(first * factor, lo), min(last * factor, hi)
        width = (stop - start) // (last - first)
        runs.append(Run(slice(first - out_lo, last - out_lo), slice(start - lo, stop - lo), width))
    return tuple(runs)


def _equal_cells(
    lo: int, hi: int, factor: int, out_lo: int, out_hi: int
) -> Iterator[tuple[int, int]]:
    """Split the cells behind a first and before a last one that the block cuts."""
    head = out_lo + 1 if out_lo * factor < lo else out_lo
    tail = out_hi - 1 if out_hi * factor > hi else out_hi
    if head > tail:  # one cell, cut at both ends
        yield out_lo, out_hi
        return
    for first, last in ((out_lo, head), (head, tail), (tail, out_hi)):
        if first < last:
            yield first, last


def boxes(runs: tuple[tuple[Run, ...], ...]) -> Iterator[Box]:
    """All boxes of windows of one size, at most 3 to the number of dims that are cut."""
    for combination in itertools.product(*runs):
        widths = tuple(run.width for run in combination)
        yield Box(
            tuple(run.cells for run in combination),
            tuple(run.base for run in combination),
            widths,
            math.prod(widths),
        )


def fold(
    block: np.ndarray, runs: tuple[tuple[Run, ...], ...], ufunc: np.ufunc, dtype: np.dtype
) -> np.ndarray:
    """Reduce all windows by an associative and commutative ``ufunc``, in ``dtype``, dim by dim.

    Outer dims go first: there, whole rows are combined at memory speed, and the last dim, where
    neighbours have to be picked apart, finds the block already shrunk.
    """
    for axis, dim_runs in enumerate(runs):
        block = _fold_axis(block, axis, dim_runs, ufunc, dtype)
    return block


def _fold_axis(
    block: np.ndarray, axis: int, runs: tuple[Run, ...], ufunc: np.ufunc, dtype: np.dtype
) -> np.ndarray:
    def along(part: slice) -> tuple[slice, ...]:
        return (slice(None),) * axis + (part,)

    if all(run.width == 1 for run in runs):
        return block[along(slice(runs[0].base.start, runs[-1].base.stop))]
    cells = runs[-1].cells.stop
    out = np.empty((*block.shape[:axis], cells, *block.shape[axis + 1 :]), dtype)
    for run in runs:
        base, part = block[along(run.base)], out[along(run.cells)]
        if run.width == 1:
            part[...] = base
        elif run.width <= _WIDE:
            first, second, *others = (
                base[along(slice(place, None, run.width))] for place in range(run.width)
            )
            ufunc(first, second, out=part, dtype=dtype)
            for other in others:
                ufunc(part, other, out=part, dtype=dtype)
        else:
            starts = np.arange(0, base.shape[axis], run.width)
            ufunc.reduceat(base, starts, axis=axis, dtype=dtype, out=part)
    return out


def planes(block: np.ndarray, widths: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Views of a box, one for each place in the window, in C order of the places."""
    for offset in itertools.product(*map(range, widths)):
        yield block[
            tuple(slice(start, None, width) for start, width in zip(offset, widths, strict=True))
        ]


def rows(block: np.ndarray, widths: tuple[int, ...]) -> np.ndarray:
    """A box as a fresh array ``(windows, places)``, both in C order.

    Extents of 1 are dropped on the way, so that splitting every dim in two stays within the 64 dims
    that NumPy has.
    """
    shape: list[int] = []
    cells: list[int] = []
    places: list[int] = []
    for extent, width in zip(block.shape, widths, strict=True):
        for part, axes in ((extent // width, cells), (width, places)):
            if part > 1:
                axes.append(len(shape))
                shape.append(part)
    split = block.reshape(shape).transpose(cells + places)
    return np.array(split, order="C").reshape(-1, math.prod(widths))
