"""A consumer that picks elements, or runs of them, out of the cells of an array.

What is wanted of a cell is a product: of some coordinates along one dim, of some along another, and
of points where dims are looked up together. Each of these has a table of byte offsets in the cell
and in the result, cell by cell, so that nothing is left to be worked out here.
"""

from __future__ import annotations

from lazytensor.native.intrinsics import (
    copy_row,
    fence,
    inner,
    load_i64,
    load_u8,
    load_u16,
    load_u32,
    store_u8,
    store_u16,
    store_u32,
    store_u64,
    stream_row,
)
from lazytensor.native.kernels.consumer_block import (
    PARAMETERS,
    POSITION,
    SOURCE,
    SOURCE_STRIDES,
    STREAMED,
    WORK,
)
from lazytensor.native.kernels.gather_block import (
    DIM,
    FIRST,
    FROM,
    HEADER,
    ITEM,
    NBYTES,
    PART_WORDS,
    PARTS,
    PLACE_BITS,
    RESULT,
    TO,
)
from lazytensor.native.kernels.memory import copy_16, copy_short_row, put, word


@inner
def copy_elements(to: int, at: int, places: int, offsets: int, n: int, item: int) -> None:
    """Copy ``n`` elements that lie at ``offsets`` to ``places``."""
    if item == 1:
        for i in range(n):
            store_u8(to + word(places, i), load_u8(at + word(offsets, i)))
    elif item == 2:
        for i in range(n):
            store_u16(to + word(places, i), load_u16(at + word(offsets, i)))
    elif item == 4:
        for i in range(n):
            store_u32(to + word(places, i), load_u32(at + word(offsets, i)))
    elif item == 8:
        for i in range(n):
            store_u64(to + word(places, i), load_i64(at + word(offsets, i)))
    elif item == 16:
        for i in range(n):
            copy_16(to + word(places, i), at + word(offsets, i))
    else:
        for i in range(n):
            copy_row(to + word(places, i), at + word(offsets, i), item)


@inner
def copy_one(to: int, at: int, places: int, sizes: int, n: int, item: int) -> None:
    """Copy one element everywhere."""
    for i in range(n):
        place = to + word(places, i)
        end = place + (word(sizes, i) if sizes else item)
        while place < end:
            copy_row(place, at, item)
            place += item


@inner
def take_list(b: int, part: int, group: int, to: int, at: int) -> None:
    """Copy what one group of a part wants."""
    item, first = word(word(b, PARAMETERS), ITEM), word(word(part, FIRST), group)
    n = word(word(part, FIRST), group + 1) - first
    offsets, places = word(part, FROM) + 8 * first, word(part, TO) + 8 * first
    sizes = word(part, NBYTES)
    if sizes:
        sizes += 8 * first
    if word(b, SOURCE_STRIDES) == 0:
        copy_one(to, word(b, SOURCE), places, sizes, n, item)
    elif sizes and word(b, STREAMED):
        for i in range(n):
            stream_row(to + word(places, i), at + word(offsets, i), word(sizes, i))
    elif sizes:
        for i in range(n):
            copy_short_row(to + word(places, i), at + word(offsets, i), word(sizes, i))
    else:
        copy_elements(to, at, places, offsets, n, item)


@inner
def group_of(b: int, part: int) -> int:
    """Number of the group of a part that the cell is."""
    return word(word(b, POSITION), word(part, DIM)) >> PLACE_BITS


def kernel(b: int) -> int:
    """Copy what is wanted of one cell."""
    p, work = word(b, PARAMETERS), word(b, WORK)
    last = word(p, PARTS) - 1
    parts = p + 8 * HEADER
    innermost = parts + 8 * PART_WORDS * last
    group = group_of(b, innermost)
    for k in range(last):
        part = parts + 8 * PART_WORDS * k
        put(work, k, word(word(part, FIRST), group_of(b, part)))
    while True:
        to, at = word(p, RESULT), word(b, SOURCE)
        for k in range(last):
            part = parts + 8 * PART_WORDS * k
            at += word(word(part, FROM), word(work, k))
            to += word(word(part, TO), word(work, k))
        take_list(b, innermost, group, to, at)
        k = last - 1
        while k >= 0:
            part = parts + 8 * PART_WORDS * k
            mine, following = group_of(b, part), word(work, k) + 1
            if following < word(word(part, FIRST), mine + 1):
                put(work, k, following)
                break
            put(work, k, word(word(part, FIRST), mine))
            k -= 1
        if k < 0:
            break
    if word(b, STREAMED):
        fence()
    return 0
