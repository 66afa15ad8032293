"""Many windows of one size, cut at the borders of stored chunks: which pieces of which chunks.

Windows are small and come by the thousand, so that a loop over their pieces in Python would take
longer than copying them. They are cut by compiled code (``native.kernels.cut``), or all at once by
NumPy: a table of windows, dims and chunks along each dim, whose valid combinations are the pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from lazytensor.native import Kernel
from lazytensor.native.addresses import address_of, address_of_words
from lazytensor.native.kernels import cut_block as block

__all__ = ["WindowPieces", "Windows", "cut_windows"]

_MOST = 1 << 20
"""Pieces; a read of more is none of small windows."""


class Windows(NamedTuple):
    """Windows of an array in chunks.

    ``starts``: ``(windows, dims)`` int64, positions of the first elements. ``counts``, ``steps``:
    elements per dim of each window, all at least 1, and how far apart they are. ``sizes``: of a
    chunk; ``grid``: how many there are along each dim.
    """

    starts: np.ndarray
    counts: Sequence[int]
    steps: Sequence[int]
    sizes: Sequence[int]
    grid: Sequence[int]

    def weights(self) -> list[int]:
        """What a chunk along each dim adds to the number of a chunk, which count in C order."""
        return [prod(self.grid[d + 1 :]) for d in range(len(self.grid))]

    def cut(self, window: int, number: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """The part of a chunk that a window wants, and where in the window that goes.

        >>> windows = Windows(np.array([[3]]), (4,), (1,), (5,), (3,))
        >>> windows.cut(0, 0), windows.cut(0, 1)
        (((slice(3, 5, 1),), (slice(0, 2, None),)), ((slice(0, 2, 1),), (slice(2, 4, None),)))
        """
        where: list[slice] = []
        spot: list[slice] = []
        for d in reversed(range(len(self.grid))):
            number, cell = divmod(number, self.grid[d])
            start, step = int(self.starts[window, d]), self.steps[d]
            low = cell * self.sizes[d] - start
            first = max(0, -(-low // step))
            end = min(self.counts[d], -(-(low + self.sizes[d]) // step))
            lo = first * step - low
            where.insert(0, slice(lo, lo + (end - first - 1) * step + 1, step))
            spot.insert(0, slice(first, end))
        return tuple(where), tuple(spot)


class WindowPieces(NamedTuple):
    """Pieces in the order of the chunks that they are of, and of the windows.

    ``units``: numbers of the chunks, ascending, each once. ``first``: number of the first piece of
    each of them, and of the end. For each piece: ``inside``, its byte offset in the decoded chunk;
    ``to``, the address it goes to; ``counts``, its extents (pieces, dims); ``window``, the window
    it is of. All int64 and C-contiguous.
    """

    windows: Windows
    units: np.ndarray
    first: np.ndarray
    inside: np.ndarray
    to: np.ndarray
    counts: np.ndarray
    window: np.ndarray

    def of(self, unit: int) -> Iterator[tuple[int, tuple[slice, ...], tuple[slice, ...]]]:
        """Of the ``unit``-th of ``units``: number of the window, part of the chunk, place."""
        number = int(self.units[unit])
        for at in self.window[self.first[unit] : self.first[unit + 1]].tolist():
            yield at, *self.windows.cut(at, number)


def cut_windows(
    windows: Windows,
    inner_strides: Sequence[int],
    outer_strides: Sequence[int],
    addresses: np.ndarray,
    run: Kernel | None = None,
) -> WindowPieces | None:
    """The pieces of windows, None if there are too many.

    Strides: bytes between the elements of a decoded chunk, and of a window. ``addresses``: of the
    first element of each window. ``run``: the kernel ``cut``; the result is the same without.

    >>> windows = Windows(np.array([[3], [9]]), (4,), (1,), (5,), (3,))
    >>> found = cut_windows(windows, (1,), (1,), np.array([100, 200]))
    >>> found.units, found.first, found.inside, found.to
    (array([0, 1, 2]), array([0, 1, 3, 4]), array([3, 0, 4, 0]), array([100, 102, 200, 201]))
    >>> found.counts.ravel()
    array([2, 2, 1, 3])
    """
    most = len(windows.starts) * prod(
        [
            (count - 1) * step // size + 2
            for count, step, size in zip(windows.counts, windows.steps, windows.sizes, strict=True)
        ]
    )
    if most > _MOST:
        return None
    if run is None or not windows.counts:
        return _by_numpy(windows, inner_strides, outer_strides, addresses)
    return _compiled(windows, inner_strides, outer_strides, addresses, run, most)


def _compiled(
    windows: Windows,
    inner_strides: Sequence[int],
    outer_strides: Sequence[int],
    addresses: np.ndarray,
    run: Kernel,
    most: int,
) -> WindowPieces:
    n, rank = windows.starts.shape
    starts = np.ascontiguousarray(windows.starts)
    # One piece of memory: words, table of dims, results, working memory.
    table = block.CUT_WORDS + block.DIM_WORDS * rank
    offsets = [table]
    for length in (most, most + 1, most, most, most, rank * most):
        offsets.append(offsets[-1] + length)
    memory = np.empty(offsets[-1] + 3 * rank + (4 + rank) * most, np.int64)
    base = address_of_words(memory)
    units, first, inside, to, window, extents, work = [base + 8 * at for at in offsets]
    dims = zip(
        windows.counts, windows.steps, windows.sizes, inner_strides, outer_strides,
        windows.weights(), strict=True,
    )  # fmt: skip
    memory[:table] = (
        n, rank, address_of(starts), address_of(addresses), base + 8 * block.CUT_WORDS, work, units,
        first, inside, to, window, extents, most, *[value for dim in dims for value in dim],
    )  # fmt: skip
    number = run(base)
    count = int(memory[block.PIECES])
    units_at, first_at, inside_at, to_at, window_at, extents_at, _ = offsets
    return WindowPieces(
        windows,
        memory[units_at : units_at + number],
        memory[first_at : first_at + number + 1],
        memory[inside_at : inside_at + count],
        memory[to_at : to_at + count],
        memory[extents_at : extents_at + rank * count].reshape(count, rank),
        memory[window_at : window_at + count],
    )


@lru_cache(maxsize=64)
def _combinations(many: int, rank: int) -> np.ndarray:
    """Every choice of one of ``many`` along each dim: ``(many ** rank, rank)``."""
    return np.array(list(product(range(many), repeat=rank)), np.int64).reshape(-1, rank)


def _by_numpy(
    windows: Windows,
    inner_strides: Sequence[int],
    outer_strides: Sequence[int],
    addresses: np.ndarray,
) -> WindowPieces | None:
    starts = windows.starts
    n, rank = starts.shape
    if not rank:
        none = np.zeros(n, np.int64)
        first = np.array([0, n])
        return WindowPieces(
            windows, none[:1], first, none, addresses, np.zeros((n, 0), np.int64), np.arange(n)
        )
    table = np.array((windows.counts, windows.steps, windows.sizes), np.int64)
    count, step, size = table[:, :, None]
    low = starts // table[2]
    many = int(((starts + (table[0] - 1) * table[1]) // table[2] - low).max()) + 1
    if n * many**rank > _MOST:
        return None
    cells = low[:, :, None] + np.arange(many)
    gap = starts[:, :, None] - cells * size
    place = np.clip(-(gap // step), 0, count)
    extent = np.clip(-((gap - size) // step), 0, count) - place
    terms = np.stack(
        (
            cells * np.array(windows.weights())[:, None],
            (gap + place * step) * np.array(inner_strides)[:, None],
            place * np.array(outer_strides)[:, None],
            (extent <= 0).astype(np.int64),
        )
    )
    total = terms[:, :, 0]
    for d in range(1, rank):
        total = (total[:, :, :, None] + terms[:, :, d, None, :]).reshape(4, n, -1)
    units, inside, places, invalid = total.reshape(4, -1)
    valid = np.flatnonzero(invalid == 0)
    valid = valid[np.argsort(units[valid], kind="stable")]
    window, which = np.divmod(valid, many**rank)
    units = units[valid]
    begins = np.flatnonzero(units[1:] != units[:-1]) + 1
    first = np.concatenate(([0], begins, [len(units)]))
    extents = extent[window[:, None], np.arange(rank), _combinations(many, rank)[which]]
    return WindowPieces(
        windows, units[first[:-1]], first, inside[valid], addresses[window] + places[valid],
        extents, window,
    )  # fmt: skip
