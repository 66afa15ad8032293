"""How a piece of any shape is folded: as runs of values, or as rows of positions.

The dims of a piece are taken in the order of their strides. If the innermost of them is reduced,
values that go to one cell lie side by side: they are folded as *runs*. If it is kept, values of
positions side by side do: they are folded as *rows*, each position in a total of its own, which
goes to its cell after ``ROWS`` values.

Values that are not side by side are copied to where they are, and values that a map makes are made
there, so that the arithmetic (``fold_lanes``) sees nothing but contiguous values. Only what is
exact is folded so: nothing depends on the order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lazytensor.native.intrinsics import (
    call_i64,
    copy_row,
    inner,
    store_u8,
    store_u16,
    store_u32,
    store_u64,
)
from lazytensor.native.kernels.consumer_block import (
    BUFFER,
    COUNTS,
    PARAMETERS,
    RANK,
    SOURCE,
    SOURCE_STRIDES,
    TARGET,
    TARGET_STRIDES,
)
from lazytensor.native.kernels.fold_block import (
    COLUMNS,
    DIMS,
    FOUND,
    MAP_WORDS,
    MAPPED,
    PLANE,
    PRE,
    PRE_CONSTANTS,
    RAW,
    RAW_ITEM,
    ROWS,
    RUN,
    WIDTH,
)
from lazytensor.native.kernels.memory import (
    copy_short_row,
    load8,
    load16,
    load32,
    put,
    swap_dims,
    word,
)

__all__ = ["rows_kernel", "runs_kernel"]


@inner
def list_dims(p: int, table: int) -> int:
    """Extent, stride of values and stride of cells of the dims that matter; their number.

    The largest stride of values comes first.
    """
    steps, n = word(p, SOURCE_STRIDES), 0
    for d in range(word(p, RANK)):
        extent = word(word(p, COUNTS), d)
        if extent == 1:
            continue
        put(table, 3 * n, extent)
        put(table, 3 * n + 1, word(steps, d) if steps else 0)
        put(table, 3 * n + 2, word(word(p, TARGET_STRIDES), d))
        k = n
        while k > 0 and abs(word(table, 3 * k - 2)) < abs(word(table, 3 * k + 1)):
            swap_dims(table, k - 1, k)
            k -= 1
        n += 1
    return n


@inner
def count_of(table: int, first: int, end: int) -> int:
    """How many elements some of the dims have."""
    n = 1
    for k in range(first, end):
        n *= word(table, 3 * k)
    return n


@inner
def offset_of(table: int, first: int, end: int, i: int, field: int) -> int:
    """Bytes to the i-th element of some of the dims, by the strides in a field of the table."""
    offset = 0
    for k in range(end - 1, first, -1):
        extent = word(table, 3 * k)
        rest = i // extent
        offset += (i - rest * extent) * word(table, 3 * k + field)
        i = rest
    return offset + i * word(table, 3 * first + field) if end > first else 0


@inner
def is_compact(table: int, first: int, end: int, item: int) -> bool:
    """Whether the values along some of the dims lie side by side."""
    for k in range(end - 1, first - 1, -1):
        if word(table, 3 * k + 1) != item:
            return False
        item *= word(table, 3 * k)
    return True


@inner
def copy_items(to: int, at: int, n: int, step: int, item: int) -> None:
    """Copy values that are ``step`` bytes apart to where they are side by side."""
    if step == item:
        copy_short_row(to, at, n * item)
    elif item == 1:
        for i in range(n):
            store_u8(to + i, load8(at + i * step))
    elif item == 2:
        for i in range(n):
            store_u16(to + 2 * i, load16(at + i * step))
    elif item == 4:
        for i in range(n):
            store_u32(to + 4 * i, load32(at + i * step))
    elif item == 8:
        for i in range(n):
            store_u64(to + 8 * i, word(at + i * step, 0))
    else:
        for i in range(n):
            copy_row(to + item * i, at + i * step, item)


@inner
def gather(
    table: int, first: int, end: int, at: int, start: int, n: int, to: int, item: int
) -> None:
    """Copy ``n`` values along some of the dims, from the one numbered ``start`` on."""
    last = end - 1
    extent, step = word(table, 3 * last), word(table, 3 * last + 1)
    row = start // extent
    begin = start - row * extent
    while n > 0:
        count = min(extent - begin, n)
        source = at + offset_of(table, first, last, row, 1) + begin * step
        copy_items(to, source, count, step, item)
        to += count * item
        n -= count
        row += 1
        begin = 0


@inner
def values_at(p: int, first: int, end: int, compact: bool, at: int, start: int, n: int) -> int:
    """Address of ``n`` values side by side, as they are folded."""
    parameters, buffer = word(p, PARAMETERS), word(p, BUFFER)
    item, pre = word(parameters, RAW_ITEM), word(parameters, PRE)
    if compact:
        at += start * item
    else:
        gather(buffer + DIMS, first, end, at, start, n, buffer + RAW, item)
        at = buffer + RAW
    if pre == 0:
        return at
    words = buffer + MAP_WORDS
    put(words, 0, n)
    put(words, 1, buffer + MAPPED)
    put(words, 2, word(parameters, PRE_CONSTANTS))
    put(words, 3, at)
    call_i64(pre, (words,))
    return buffer + MAPPED


def runs_kernel(take: Callable[..., Any]) -> Callable[[int], int]:
    """The kernel of a fold of runs.

    ``take(at, n, cell, plane, found)`` folds values side by side into the cell at an address, with
    some words of memory for itself.
    """

    def kernel(p: int) -> int:
        table, found = word(p, BUFFER) + DIMS, word(p, BUFFER) + FOUND
        plane, item = word(word(p, PARAMETERS), PLANE), word(word(p, PARAMETERS), RAW_ITEM)
        end = list_dims(p, table)
        first = end
        while first > 0 and word(table, 3 * first - 1) == 0:
            first -= 1
        compact = is_compact(table, first, end, item)
        count = count_of(table, first, end)
        for i in range(count_of(table, 0, first)):
            at = word(p, SOURCE) + offset_of(table, 0, first, i, 1)
            cell = word(p, TARGET) + offset_of(table, 0, first, i, 2)
            for start in range(0, count, RUN):
                n = min(RUN, count - start)
                take(values_at(p, first, end, compact, at, start, n), n, cell, plane, found)
        return 0

    return kernel


@inner
def kept_first(table: int, end: int) -> int:
    """Bring dims that are kept before those that are reduced, in their order; how many are kept."""
    m = 0
    for k in range(end):
        if word(table, 3 * k + 2) != 0:
            for i in range(k, m, -1):
                swap_dims(table, i - 1, i)
            m += 1
    return m


@inner
def rows_at_once(step: int) -> int:
    """How many rows to walk along at once: lines of many that are far apart displace each other."""
    return 1 << 40 if abs(step) <= 1024 else 4


def rows_kernel(
    begin: Callable[..., Any], more: Callable[..., Any], leave: Callable[..., Any]
) -> Callable[[int], int]:
    """The kernel of a fold of rows.

    ``begin(columns, n)`` begins totals of columns, ``more(columns, at, rows, step, n)`` takes rows
    of values into them that are ``step`` bytes from each other,
    ``leave(columns, first, n, cell, apart, plane)`` adds ``n`` of them to cells that are so many
    bytes apart.
    """

    def kernel(p: int) -> int:
        table, columns = word(p, BUFFER) + DIMS, word(p, BUFFER) + COLUMNS
        plane, item = word(word(p, PARAMETERS), PLANE), word(word(p, PARAMETERS), RAW_ITEM)
        end = list_dims(p, table)
        first = end
        while first > 0 and word(table, 3 * first - 1) != 0:
            first -= 1
        kept = kept_first(table, first)
        compact = is_compact(table, first, end, item)
        count, high = count_of(table, first, end), count_of(table, kept, first)
        # Rows along the innermost dim that is reduced are taken together, if they are as they are.
        long = word(table, 3 * first - 3) if first > kept else 1
        step = word(table, 3 * first - 2) if first > kept else 0
        plain = compact and word(word(p, PARAMETERS), PRE) == 0
        most = rows_at_once(step) if plain else 1
        # The innermost dim that is kept: cells along it are a stride apart.
        last = end - 1
        wide = word(table, 3 * last) if end > first else 1
        apart = word(table, 3 * last + 2) if end > first else 0
        for i in range(count_of(table, 0, kept)):
            source = word(p, SOURCE) + offset_of(table, 0, kept, i, 1)
            target = word(p, TARGET) + offset_of(table, 0, kept, i, 2)
            for start in range(0, count, WIDTH):
                n = min(WIDTH, count - start)
                for top in range(0, high, ROWS):
                    rows = min(ROWS, high - top)
                    begin(columns, n)
                    r = 0
                    while r < rows:
                        at = source + offset_of(table, kept, first, top + r, 1)
                        some = min(rows - r, long - (top + r) % long, most)
                        values = values_at(p, first, end, compact, at, start, n)
                        more(columns, values, some, step, n)
                        r += some
                    j = 0
                    while j < n:
                        row = (start + j) // wide
                        into = start + j - row * wide
                        cell = target + into * apart
                        if end > first:
                            cell += offset_of(table, first, last, row, 2)
                        side = min(wide - into, n - j)
                        leave(columns, j, side, cell, apart, plane)
                        j += side
        return 0

    return kernel
