"""Copying an n-d box between two strided arrays of one item size."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from lazytensor.native.intrinsics import (
    copy_row,
    inner,
    intrinsic,
    load_i64,
    store_u8,
    store_u16,
    store_u32,
    store_u64,
    stream_lines,
)
from lazytensor.native.kernels.chunk_block import (
    WORK_COUNTS,
    WORK_DIMS,
    WORK_ODOMETER,
)
from lazytensor.native.kernels.memory import (
    LINE,
    copy_short_row,
    load8,
    load16,
    load32,
    put,
    swap_dims,
    word,
)

_TILE = 32
_NEAR = 1024


@inner
def copy_rows(
    to: int,
    at: int,
    planes: int,
    to_plane: int,
    at_plane: int,
    rows: int,
    to_row: int,
    at_row: int,
    n: int,
    streamed: bool,
) -> None:
    """Copy planes of rows of ``n`` bytes; streamed ones are whole lines of the target."""
    for p in range(planes):
        t = to + p * to_plane
        a = at + p * at_plane
        if streamed:
            for r in range(rows):
                stream_lines(t + r * to_row, a + r * at_row, n // LINE)
        else:
            for r in range(rows):
                copy_short_row(t + r * to_row, a + r * at_row, n)


def _thinner(size: int, *, odd: bool) -> Any:
    """``thin(target, source)``: every second item of 64 bytes, the even or the odd ones."""
    items = 64 // size

    @intrinsic
    def thin(typing: Any, target: Any, source: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            item = ir.IntType(8 * size)
            whole = ir.VectorType(item, items)
            half = ir.VectorType(item, items // 2)
            found = builder.load(builder.inttoptr(values[1], whole.as_pointer()))
            found.align = 1
            picked = list(range(int(odd), items, 2))
            mask = ir.Constant(ir.VectorType(ir.IntType(32), items // 2), picked)
            thinned = builder.shuffle_vector(found, found, mask)
            builder.store(thinned, builder.inttoptr(values[0], half.as_pointer()), align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), emit

    return thin


thin_1, thin_2, thin_4 = (_thinner(size, odd=False) for size in (1, 2, 4))
thin_odd_1, thin_odd_2, thin_odd_4 = (_thinner(size, odd=True) for size in (1, 2, 4))


@inner
def thin_row(to: int, at: int, n: int, size: int) -> int:
    """Copy items that lie every second one in the source; how many of ``n`` were.

    64 bytes are read at a time, and none of them lies behind the last item that is wanted: what
    would end one item later begins one item earlier.
    """
    block = 32 // size
    i = 0
    while i + block < n:
        if size == 1:
            thin_1(to + i, at + 2 * i)
        elif size == 2:
            thin_2(to + 2 * i, at + 4 * i)
        else:
            thin_4(to + 4 * i, at + 8 * i)
        i += block
    if i + block == n and i > 0:
        if size == 1:
            thin_odd_1(to + i, at + 2 * i - 1)
        elif size == 2:
            thin_odd_2(to + 2 * i, at + 4 * i - 2)
        else:
            thin_odd_4(to + 4 * i, at + 8 * i - 4)
        i += block
    return i


@inner
def copy_items(
    to: int,
    at: int,
    rows: int,
    to_row: int,
    at_row: int,
    n: int,
    to_item: int,
    at_item: int,
    size: int,
) -> None:
    """Copy a table of items with any strides."""
    thins = to_item == size and at_item == 2 * size and size <= 4 and size != 3
    for r in range(rows):
        t = to + r * to_row
        a = at + r * at_row
        first = thin_row(t, a, n, size) if thins else 0
        if size == 1:
            for i in range(first, n):
                store_u8(t + i * to_item, load8(a + i * at_item))
        elif size == 2:
            for i in range(first, n):
                store_u16(t + i * to_item, load16(a + i * at_item))
        elif size == 4:
            for i in range(first, n):
                store_u32(t + i * to_item, load32(a + i * at_item))
        elif size == 8:
            for i in range(n):
                store_u64(t + i * to_item, load_i64(a + i * at_item))
        else:
            for i in range(n):
                copy_row(t + i * to_item, a + i * at_item, size)


@inner
def turn_items(
    to: int,
    at: int,
    rows: int,
    to_row: int,
    at_row: int,
    n: int,
    to_item: int,
    at_item: int,
    size: int,
) -> None:
    """The same where rows of the one are columns of the other: in tiles that stay in the cache.

    Elements far apart by a power of two displace each other from it. So the side whose lines are
    closer together is the one that is not gone along.
    """
    if abs(to_row) <= _NEAR and abs(to_row) < abs(at_item):
        rows, to_row, at_row, n, to_item, at_item = n, to_item, at_item, rows, to_row, at_row
    for r in range(0, rows, _TILE):
        for i in range(0, n, _TILE):
            copy_items(
                to + r * to_row + i * to_item, at + r * at_row + i * at_item,
                min(rows - r, _TILE), to_row, at_row, min(n - i, _TILE), to_item, at_item, size,
            )  # fmt: skip


@inner
def merged_dims(dims: int, work: int, rank: int, at_strides: int, to_strides: int) -> int:
    """Extent, source stride and target stride of the dims that matter, outermost in the target
    first, those that run on into each other as one; their number."""
    n = 0
    for a in range(rank):
        extent = word(work, WORK_COUNTS + a)
        if extent == 1:
            continue
        put(dims, 3 * n, extent)
        put(dims, 3 * n + 1, word(at_strides, a) if at_strides else 0)
        put(dims, 3 * n + 2, word(to_strides, a))
        k = n
        while k > 0 and abs(word(dims, 3 * k - 1)) < abs(word(dims, 3 * k + 2)):
            swap_dims(dims, k - 1, k)
            k -= 1
        n += 1
    if n == 0:
        return 0
    m = 0
    for k in range(1, n):
        extent, s, t = word(dims, 3 * k), word(dims, 3 * k + 1), word(dims, 3 * k + 2)
        if word(dims, 3 * m + 1) == s * extent and word(dims, 3 * m + 2) == t * extent:
            extent *= word(dims, 3 * m)
        else:
            m += 1
        put(dims, 3 * m, extent)
        put(dims, 3 * m + 1, s)
        put(dims, 3 * m + 2, t)
    return m + 1


@inner
def scatter(
    to: int,
    at: int,
    work: int,
    rank: int,
    at_strides: int,
    to_strides: int,
    size: int,
    streamed: bool,
) -> None:
    """Copy the box whose extents are the counts in ``work``; without strides, one item everywhere.

    The innermost dim (as the target has it), and one or two more, are the business of one of the
    loops above; the others are counted through here.
    """
    dims = work + 8 * WORK_DIMS
    n = merged_dims(dims, work, rank, at_strides, to_strides)
    extent, s, t = 1, size, size
    if n:
        n -= 1
        extent, s, t = word(dims, 3 * n), word(dims, 3 * n + 1), word(dims, 3 * n + 2)
    in_rows = s == size and t == size
    if not in_rows:
        for k in range(n - 1):
            if word(dims, 3 * k + 1) == size:  # consecutive in the source: second innermost here
                swap_dims(dims, k, n - 1)
    rows, at_row, to_row = 1, 0, 0
    if n:
        n -= 1
        rows, at_row, to_row = word(dims, 3 * n), word(dims, 3 * n + 1), word(dims, 3 * n + 2)
    planes, at_plane, to_plane = 1, 0, 0
    if in_rows and n:
        n -= 1
        planes, at_plane = word(dims, 3 * n), word(dims, 3 * n + 1)
        to_plane = word(dims, 3 * n + 2)
    aligned = to | to_row | to_plane | extent * size
    for k in range(n):
        put(work, WORK_ODOMETER + k, 0)
        aligned |= word(dims, 3 * k + 2)
    streamed = streamed and aligned % LINE == 0
    while True:
        if in_rows:
            copy_rows(
                to, at, planes, to_plane, at_plane, rows, to_row, at_row, extent * size, streamed
            )
        elif at_row == size:
            turn_items(to, at, rows, to_row, at_row, extent, t, s, size)
        else:
            copy_items(to, at, rows, to_row, at_row, extent, t, s, size)
        k = n - 1
        while k >= 0:
            done = word(work, WORK_ODOMETER + k) + 1
            at += word(dims, 3 * k + 1)
            to += word(dims, 3 * k + 2)
            if done < word(dims, 3 * k):
                put(work, WORK_ODOMETER + k, done)
                break
            at -= done * word(dims, 3 * k + 1)
            to -= done * word(dims, 3 * k + 2)
            put(work, WORK_ODOMETER + k, 0)
            k -= 1
        if k < 0:
            return
