"""Puts points in the order of the cells they lie in: a counting sort, which keeps their order."""

from __future__ import annotations

from lazytensor.native.intrinsics import inner, store_u32
from lazytensor.native.kernels.gather_block import (
    CELLS,
    CODES,
    CORNERS,
    DIMS,
    FACTOR,
    FAR,
    GIVEN,
    HULLS,
    LOG,
    LOWEST,
    OFFSETS,
    PLACES,
    POINTS,
    SHIFTED,
    SIZE,
    SORT_HEADER,
    SORT_WORDS,
    STARTS,
    STEP,
    STRIDE,
    VALUES,
    WEIGHT,
)
from lazytensor.native.kernels.memory import load32, put, word

_FAR = 1 << 62


@inner
def add_codes(p: int, dim: int) -> None:
    """Add to the code of each point what its cell along a dim does."""
    codes, values, n = word(p, CODES), word(dim, VALUES), word(p, POINTS)
    factor, shift, weight = word(dim, FACTOR), word(dim, SHIFTED), word(dim, WEIGHT)
    size, log, lowest = word(dim, SIZE), word(dim, LOG), word(dim, LOWEST)
    if log >= 0:
        for i in range(n):
            cell = (word(values, i) * factor + shift) >> log
            store_u32(codes + 4 * i, load32(codes + 4 * i) + (cell - lowest) * weight)
    else:
        for i in range(n):
            cell = (word(values, i) * factor + shift) // size
            store_u32(codes + 4 * i, load32(codes + 4 * i) + (cell - lowest) * weight)


@inner
def count_points(p: int) -> None:
    """How many points each cell has, one place up in ``STARTS``."""
    codes, starts = word(p, CODES), word(p, STARTS)
    for c in range(word(p, CELLS) + 1):
        put(starts, c, 0)
    for i in range(word(p, POINTS)):
        at = starts + 8 * load32(codes + 4 * i)
        put(at, 1, word(at, 1) + 1)


@inner
def find_hulls(p: int, dim: int, d: int) -> None:
    """First and last position of each cell's points along a dim."""
    codes, values, hulls = word(p, CODES), word(dim, VALUES), word(p, HULLS) + 16 * d
    factor, shift, apart = word(dim, FACTOR), word(dim, SHIFTED), 16 * word(p, DIMS)
    for c in range(word(p, CELLS)):
        put(hulls + apart * c, 0, _FAR)
        put(hulls + apart * c, 1, -1)
    for i in range(word(p, POINTS)):
        at, hull = word(values, i) * factor + shift, hulls + apart * load32(codes + 4 * i)
        if at < word(hull, 0):
            put(hull, 0, at)
        if at > word(hull, 1):
            put(hull, 1, at)


@inner
def begin_cells(p: int) -> None:
    """Where the points of each cell begin, and how far from zero the corner of its hull is."""
    rank, starts, hulls, corners = word(p, DIMS), word(p, STARTS), word(p, HULLS), word(p, CORNERS)
    total = 0
    for c in range(word(p, CELLS)):
        n = word(starts, c + 1)
        put(starts, c + 1, total)
        total += n
        corner = 0
        if n:
            for d in range(rank):
                dim = p + 8 * (SORT_HEADER + SORT_WORDS * d)
                corner += word(hulls, 2 * (rank * c + d)) * word(dim, STRIDE)
        put(corners, c, corner)


@inner
def add_offsets(p: int, dim: int) -> None:
    """Add to the byte offset of each point what its position along a dim does."""
    far, values = word(p, FAR), word(dim, VALUES)
    factor, stride = word(dim, FACTOR) * word(dim, STRIDE), word(dim, STRIDE)
    shift = word(dim, SHIFTED) * stride
    for i in range(word(p, POINTS)):
        put(far, i, word(far, i) + word(values, i) * factor + shift)


def kernel(p: int) -> int:
    """Write the tables; ``STARTS`` has the numbers of first points, and of the end."""
    codes, n, far = word(p, CODES), word(p, POINTS), word(p, FAR)
    for i in range(n):
        store_u32(codes + 4 * i, 0)
        put(far, i, 0)
    for d in range(word(p, DIMS)):
        add_codes(p, p + 8 * (SORT_HEADER + SORT_WORDS * d))
    count_points(p)
    for d in range(word(p, DIMS)):
        find_hulls(p, p + 8 * (SORT_HEADER + SORT_WORDS * d), d)
        add_offsets(p, p + 8 * (SORT_HEADER + SORT_WORDS * d))
    begin_cells(p)
    starts, corners, given, step = word(p, STARTS), word(p, CORNERS), word(p, GIVEN), word(p, STEP)
    offsets, places = word(p, OFFSETS), word(p, PLACES)
    for i in range(n):
        code = load32(codes + 4 * i)
        k = word(starts, code + 1)
        put(starts, code + 1, k + 1)
        put(offsets, k, word(far, i) - word(corners, code))
        put(places, k, word(given, i) if given else i * step)
    return 0
