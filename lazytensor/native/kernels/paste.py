"""Pasting thousands of layers over each other, all of them arrays in memory.

Layers that meet a box are found from the top down; one that covers the box ends the search, since
nothing below it is seen. Then they are copied from the bottom up, each clipped to the box. Where
they overlap much, that is done for blocks that stay in the cache, so that what several layers write
goes to memory once.
"""

from __future__ import annotations

from lazytensor.native.intrinsics import copy_row, fence, inner
from lazytensor.native.kernels.chunk_block import (
    WORK_COUNTS,
    WORK_DIMS,
    WORK_ODOMETER,
)
from lazytensor.native.kernels.memory import put, word
from lazytensor.native.kernels.paste_block import (
    BOX,
    COUNT,
    FILL,
    HITS,
    ITEM,
    NUMBERS,
    RANK,
    ROWS,
    STREAMED,
    TARGET,
    TARGET_STRIDES,
    WORK,
    WORK_BLOCK,
    WORK_EXTENTS,
    WORK_PLACES,
)
from lazytensor.native.kernels.scatter import merged_dims, scatter

BLOCK_NBYTES = 1 << 18
"""Bytes of a block: with what is read for it, a part of a second-level cache."""

TEST_NBYTES = 64
"""Looking at a layer takes about as long as copying so many bytes: many small layers make larger
blocks, or looking would take longer than pasting."""


@inner
def meeting(rows: int, rank: int, numbers: int, n: int, box: int, found: int) -> int:
    """Write the numbers of rows that meet a box to the end of ``n`` words, in order.

    Where they begin; below zero (``-1 - begin``) if the first of them covers the box. Those below
    it are left out.
    """
    width = 3 * rank + 1
    at = n
    for i in range(n - 1, -1, -1):
        k = word(numbers, i) if numbers else i
        row = rows + 8 * width * k
        meets = True
        covers = True
        for d in range(rank):
            lo, hi = word(row, d), word(row, rank + d)
            a, b = word(box, 2 * d), word(box, 2 * d + 1)
            if lo >= b or hi <= a:
                meets = False
                break
            covers = covers and lo <= a and hi >= b
        if meets:
            at -= 1
            put(found, at, k)
            if covers:
                return -1 - at
    return at


@inner
def clip(row: int, rank: int, box: int, counts: int) -> int:
    """Extents of what a row has of a box it meets; how many elements these are."""
    size = 1
    for d in range(rank):
        n = min(word(row, rank + d), word(box, 2 * d + 1)) - max(word(row, d), word(box, 2 * d))
        put(counts, d, n)
        size *= n
    return size


@inner
def written(rows: int, rank: int, numbers: int, begin: int, n: int, box: int, counts: int) -> int:
    """How many elements rows have of a box, those that several have counted for each."""
    total = 0
    for i in range(begin, n):
        total += clip(rows + 8 * (3 * rank + 1) * word(numbers, i), rank, box, counts)
    return total


@inner
def fill(to: int, at: int, work: int, rank: int, to_strides: int, size: int) -> None:
    """Write one item everywhere in the box whose extents are the counts in ``work``."""
    dims = work + 8 * WORK_DIMS
    n = merged_dims(dims, work, rank, 0, to_strides)
    if n == 0:
        copy_row(to, at, size)
        return
    if word(dims, 3 * n - 1) != size:
        scatter(to, at, work, rank, 0, to_strides, size, False)
        return
    # A run that is copied onto what follows it, twice as long each time; then whole runs.
    nbytes = word(dims, 3 * n - 3) * size
    copy_row(to, at, size)
    done = size
    while done < nbytes:
        more = min(done, nbytes - done)
        copy_row(to + done, to, more)
        done += more
    n -= 1
    first = to
    for k in range(n):
        put(work, WORK_ODOMETER + k, 0)
    while True:
        k = n - 1
        while k >= 0:
            at_k = word(work, WORK_ODOMETER + k) + 1
            to += word(dims, 3 * k + 2)
            if at_k < word(dims, 3 * k):
                put(work, WORK_ODOMETER + k, at_k)
                break
            to -= at_k * word(dims, 3 * k + 2)
            put(work, WORK_ODOMETER + k, 0)
            k -= 1
        if k < 0:
            return
        copy_row(to, first, nbytes)


@inner
def paste_block(p: int, numbers: int, n: int, found: int, box: int, target: int) -> None:
    """Everything that is seen in one box, whose first element goes to ``target``."""
    rows, rank, size = word(p, ROWS), word(p, RANK), word(p, ITEM)
    work, to_strides = word(p, WORK), word(p, TARGET_STRIDES)
    counts = work + 8 * WORK_COUNTS
    width = 3 * rank + 1
    begin = meeting(rows, rank, numbers, n, box, found)
    covered = begin < 0
    if covered:
        begin = -1 - begin
    total = 1
    for d in range(rank):
        put(counts, d, word(box, 2 * d + 1) - word(box, 2 * d))
        total *= word(counts, d)
    if not covered and word(p, FILL):
        fill(target, word(p, FILL), work, rank, to_strides, size)
    # Only what is written once goes around the caches: layers that just fill the box.
    streamed = word(p, STREAMED) != 0 and (covered or not word(p, FILL))
    streamed = streamed and written(rows, rank, found, begin, n, box, counts) == total
    for i in range(begin, n):
        row = rows + 8 * width * word(found, i)
        clip(row, rank, box, counts)
        at, to = word(row, 2 * rank), target
        spread = False
        for d in range(rank):
            lo, a = word(row, d), word(box, 2 * d)
            stride = word(row, 2 * rank + 1 + d)
            at += max(0, a - lo) * stride
            to += max(0, lo - a) * word(to_strides, d)
            spread = spread or (stride != 0 and word(counts, d) > 1)
        if spread:
            scatter(to, at, work, rank, row + 8 * (2 * rank + 1), to_strides, size, streamed)
        else:
            fill(to, at, work, rank, to_strides, size)


@inner
def cut(p: int, hits: int, extents: int) -> bool:
    """Extents of blocks, whole along inner dims; whether there is more than one block."""
    rank, box = word(p, RANK), word(p, BOX)
    most = max(1, max(BLOCK_NBYTES, hits * TEST_NBYTES) // word(p, ITEM))
    several = False
    for d in range(rank - 1, -1, -1):
        n = word(box, 2 * d + 1) - word(box, 2 * d)
        extent = max(1, min(n, most))
        put(extents, d, extent)
        most //= extent
        several = several or extent < n
    return several


def kernel(p: int) -> int:
    """Paste one box."""
    rank, box, work = word(p, RANK), word(p, BOX), word(p, WORK)
    n, found = word(p, COUNT), word(p, HITS)
    target, to_strides = word(p, TARGET), word(p, TARGET_STRIDES)
    begin = meeting(word(p, ROWS), rank, word(p, NUMBERS), n, box, found)
    if begin < 0:
        begin = -1 - begin
    hits = n - begin
    numbers = found + 8 * begin
    counts = work + 8 * WORK_COUNTS
    total = 1
    for d in range(rank):
        total *= word(box, 2 * d + 1) - word(box, 2 * d)
    twice = written(word(p, ROWS), rank, found, begin, n, box, counts)
    if word(p, FILL):
        twice += total
    twice -= total
    extents, block, places = work + 8 * WORK_EXTENTS, work + 8 * WORK_BLOCK, work + 8 * WORK_PLACES
    if 4 * twice <= total or not cut(p, hits, extents):
        paste_block(p, numbers, hits, found + 8 * n, box, target)
        if word(p, STREAMED):
            fence()
        return 0
    for d in range(rank):
        put(places, d, 0)
    while True:
        to = target
        for d in range(rank):
            first = word(places, d)
            lo, extent = word(box, 2 * d) + first, word(extents, d)
            put(block, 2 * d, lo)
            put(block, 2 * d + 1, min(lo + extent, word(box, 2 * d + 1)))
            to += first * word(to_strides, d)
        paste_block(p, numbers, hits, found + 8 * n, block, to)
        d = rank - 1
        while d >= 0:
            first = word(places, d) + word(extents, d)
            if first < word(box, 2 * d + 1) - word(box, 2 * d):
                put(places, d, first)
                break
            put(places, d, 0)
            d -= 1
        if d < 0:
            break
    if word(p, STREAMED):
        fence()
    return 0
