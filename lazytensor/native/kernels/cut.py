"""Cuts windows at the borders of chunks, and puts the pieces in the order of the chunks."""

from __future__ import annotations

from lazytensor.native.intrinsics import inner
from lazytensor.native.kernels.cut_block import (
    COUNT,
    DIM_WORDS,
    DIMS,
    EXTENTS,
    FIRST,
    INNER,
    INSIDE,
    OUTER,
    PIECES,
    RANK,
    SIZE,
    STARTS,
    STEP,
    TARGETS,
    TO,
    UNITS,
    WEIGHT,
    WINDOW,
    WINDOWS,
    WORK,
)
from lazytensor.native.kernels.memory import put, word


@inner
def first_beyond(p: int, d: int, start: int, cell: int) -> int:
    """Number of the first element of a window along a dim that does not lie before a chunk."""
    dim = word(p, DIMS) + 8 * DIM_WORDS * d
    step = word(dim, STEP)
    gap = cell * word(dim, SIZE) - start
    if gap <= 0:
        return 0
    return min((gap + step - 1) // step, word(dim, COUNT))


@inner
def add_piece(p: int, n: int, window: int, extents: int) -> bool:
    """Work out one piece; False if a dim has no element in its chunk."""
    rank, work = word(p, RANK), word(p, WORK)
    starts = word(p, STARTS) + 8 * rank * window
    unit, inside, to = 0, 0, word(word(p, TARGETS), window)
    for d in range(rank):
        dim, start, cell = word(p, DIMS) + 8 * DIM_WORDS * d, word(starts, d), word(work, d)
        first, end = first_beyond(p, d, start, cell), first_beyond(p, d, start, cell + 1)
        if end <= first:
            return False
        unit += cell * word(dim, WEIGHT)
        at = start + first * word(dim, STEP) - cell * word(dim, SIZE)
        inside += at * word(dim, INNER)
        to += first * word(dim, OUTER)
        put(extents, d, end - first)
    piece = work + 8 * (3 * rank + 4 * n)
    put(piece, 0, unit)
    put(piece, 1, inside)
    put(piece, 2, to)
    put(piece, 3, window)
    return True


@inner
def cut_all(p: int, room: int) -> int:
    """Write all pieces into the working memory, which has room for so many; their number."""
    rank, work = word(p, RANK), word(p, WORK)
    lows, highs = work + 8 * rank, work + 16 * rank
    extents = work + 8 * (3 * rank + 4 * room)
    n = 0
    for window in range(word(p, WINDOWS)):
        for d in range(rank):
            dim = word(p, DIMS) + 8 * DIM_WORDS * d
            start = word(word(p, STARTS) + 8 * rank * window, d)
            low = start // word(dim, SIZE)
            put(work, d, low)
            put(lows, d, low)
            last = start + (word(dim, COUNT) - 1) * word(dim, STEP)
            put(highs, d, last // word(dim, SIZE))
        while True:
            if add_piece(p, n, window, extents + 8 * rank * n):
                n += 1
            d = rank - 1
            while d >= 0:
                if word(work, d) < word(highs, d):
                    put(work, d, word(work, d) + 1)
                    break
                put(work, d, word(lows, d))
                d -= 1
            if d < 0:
                break
    return n


@inner
def sort_pieces(p: int, n: int) -> None:
    """Put the numbers of pieces in the order of their units (Shell's sort), where ``TO`` will be.

    Pieces of one unit stay in the order of windows: their numbers decide.
    """
    order, pieces = word(p, TO), word(p, WORK) + 24 * word(p, RANK)
    for i in range(n):
        put(order, i, i)
    gap = 1
    while gap < n // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, n):
            mine = word(order, i)
            unit = word(pieces, 4 * mine)
            k = i
            while k >= gap:
                other = word(order, k - gap)
                key = word(pieces, 4 * other)
                if key < unit or (key == unit and other < mine):
                    break
                put(order, k, other)
                k -= gap
            put(order, k, mine)
        gap //= 3


def kernel(p: int) -> int:
    """Cut windows; the number of units. ``PIECES`` says first for how many there is room."""
    rank, room = word(p, RANK), word(p, PIECES)
    n = cut_all(p, room)
    sort_pieces(p, n)
    pieces = word(p, WORK) + 24 * rank
    extents = pieces + 32 * room
    units, last = 0, -1
    for i in range(n):
        piece = word(word(p, TO), i)
        unit = word(pieces, 4 * piece)
        if unit != last:
            put(word(p, UNITS), units, unit)
            put(word(p, FIRST), units, i)
            units += 1
            last = unit
        put(word(p, INSIDE), i, word(pieces, 4 * piece + 1))
        put(word(p, TO), i, word(pieces, 4 * piece + 2))
        put(word(p, WINDOW), i, word(pieces, 4 * piece + 3))
        for d in range(rank):
            put(word(p, EXTENTS), rank * i + d, word(extents, rank * piece + d))
    put(word(p, FIRST), units, n)
    put(p, PIECES, n)
    return units
