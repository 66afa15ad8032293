"""The consumer of windows: walks over the results of a piece, line by line.

``downsample_block`` says what the parameters mean, ``consumer_block`` what a piece is, and
``downsample_lines`` makes a line of results. Here is what is the same for all of them: where lines
begin, and what is copied to the buffer first, or last, since it does not lie side by side or is
turned by a map.
"""

from __future__ import annotations

from typing import Any

from numba.core import types

from lazytensor.native.intrinsics import call_i64, fence, inner, intrinsic
from lazytensor.native.kernels.chunk_block import WORK_COUNTS
from lazytensor.native.kernels.consumer_block import (
    BUFFER,
    COUNTS,
    PARAMETERS,
    RANK,
    SOURCE,
    SOURCE_STRIDES,
    STREAMED,
    TARGET,
    TARGET_STRIDES,
    WORK,
)
from lazytensor.native.kernels.downsample_block import (
    BEGIN,
    BLOCK,
    BOX_SOURCE,
    BOX_TARGET,
    CAPACITY,
    CELLS,
    DIMS,
    FACTORS,
    ITEM,
    MAP_WORDS,
    NOW,
    ODOMETER,
    OFFSETS,
    PLACES,
    POST,
    POST_CONSTANTS,
    PRE,
    PRE_CONSTANTS,
    READ_AT,
    READ_STRIDES,
    RESULT_STRIDES,
    RESULTS_AT,
    RESULTS_CAPACITY,
    SOURCE_ITEM,
    STORED_AT,
    STORED_STRIDES,
    STRIDES,
    TARGET_ITEM,
    VALUE_STRIDES,
    VALUES_AT,
)
from lazytensor.native.kernels.memory import put, word
from lazytensor.native.kernels.scatter import scatter


def _words_of(count: int) -> Any:
    """``words(base)``: so many int64 from an address, as a tuple, hence in registers."""

    @intrinsic
    def words(typing: Any, base: Any) -> Any:
        result: Any = types.UniTuple(types.int64, count)  # type: ignore[no-untyped-call]

        def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            kind = context.get_value_type(types.int64)
            first = builder.inttoptr(values[0], kind.as_pointer())
            items = [
                builder.load(builder.gep(first, [kind(i)], inbounds=True)) for i in range(count)
            ]
            return context.make_tuple(builder, result, items)

        return result(types.int64), emit

    return words


@inner
def list_offsets(tables: int, rank: int, strides: int, factors: int) -> None:
    """Bytes from the first row of a window to each of its rows, in C order."""
    offsets, places = tables + 8 * OFFSETS, tables + 8 * PLACES
    rows = 1
    for d in range(rank - 1):
        rows *= word(factors, d)
        put(places, d, 0)
    offset = 0
    for r in range(rows):
        put(offsets, r, offset)
        d = rank - 2
        while d >= 0:
            done = word(places, d) + 1
            offset += word(strides, d)
            if done < word(factors, d):
                put(places, d, done)
                break
            offset -= done * word(strides, d)
            put(places, d, 0)
            d -= 1


@inner
def list_lines(
    tables: int, rank: int, strides: int, to_strides: int, factors: int, size: int
) -> int:
    """Extent and both steps of the dims across lines, then the extent of a line; how many dims.

    Lines that run on into each other are one.
    """
    dims, counts = tables + 8 * DIMS, tables + 8 * NOW
    n = 0
    for d in range(rank - 1):
        if word(counts, d) == 1:
            continue
        put(dims, 3 * n, word(counts, d))
        put(dims, 3 * n + 1, word(strides, d) * word(factors, d))
        put(dims, 3 * n + 2, word(to_strides, d))
        n += 1
    extent, reach = word(counts, rank - 1), word(factors, rank - 1) * size
    while n > 0:
        if word(dims, 3 * n - 2) != extent * reach or word(dims, 3 * n - 1) != extent * size:
            break
        n -= 1
        extent *= word(dims, 3 * n)
    put(dims, 3 * n, extent)
    return n


@inner
def compact_strides(strides: int, counts: int, factors: int, rank: int, size: int) -> None:
    """Strides of a box in C order; its extents are counts, times factors if there are any."""
    step = size
    for d in range(rank - 1, -1, -1):
        put(strides, d, step)
        step *= word(counts, d) * (word(factors, d) if factors else 1)


@inner
def is_compact(strides: int, compact: int, counts: int, factors: int, rank: int) -> bool:
    """Whether a box lies in C order and without gaps."""
    for d in range(rank):
        if word(counts, d) * word(factors, d) > 1 and word(strides, d) != word(compact, d):
            return False
    return True


@inner
def apply_map(tables: int, function: int, constants: int, n: int, to: int, at: int) -> None:
    """Turn ``n`` values that lie side by side."""
    words = tables + 8 * MAP_WORDS
    put(words, 0, n)
    put(words, 1, to)
    put(words, 2, constants)
    put(words, 3, at)
    call_i64(function, (words,))


@inner
def values_of(p: int, b: int, tables: int, at: int, strides: int) -> int:
    """Where the values of a block are, turned and with neighbours side by side.

    Their strides are put into the table of ``VALUE_STRIDES``.
    """
    rank, counts, factors = word(b, RANK), tables + 8 * NOW, word(p, FACTORS)
    read, values = word(b, BUFFER) + word(p, READ_AT), word(b, BUFFER) + word(p, VALUES_AT)
    value_strides, read_strides = tables + 8 * VALUE_STRIDES, tables + 8 * READ_STRIDES
    mapped, size = word(p, PRE), word(p, SOURCE_ITEM)
    if not mapped and strides and word(strides, rank - 1) == size:
        for d in range(rank):
            put(value_strides, d, word(strides, d))
        return at
    n = 1
    for d in range(rank):
        n *= word(counts, d) * word(factors, d)
    compact_strides(read_strides, counts, factors, rank, size)
    if not strides or not is_compact(strides, read_strides, counts, factors, rank):
        work = word(b, WORK)
        for d in range(rank):
            put(work, WORK_COUNTS + d, word(counts, d) * word(factors, d))
        scatter(read, at, work, rank, strides, read_strides, size, False)
        at = read
    compact_strides(value_strides, counts, factors, rank, word(p, ITEM))
    if not mapped:
        return at
    apply_map(tables, mapped, word(p, PRE_CONSTANTS), n, values, at)
    return values


@inner
def store_results(p: int, b: int, tables: int, to: int, streamed: bool) -> None:
    """Turn the results of a block and put them in their places."""
    rank, counts, work = word(b, RANK), tables + 8 * NOW, word(b, WORK)
    results, stored = word(b, BUFFER) + word(p, RESULTS_AT), word(b, BUFFER) + word(p, STORED_AT)
    n = 1
    for d in range(rank):
        n *= word(counts, d)
    if word(p, POST):
        apply_map(tables, word(p, POST), word(p, POST_CONSTANTS), n, stored, results)
        results = stored
    strides, size = tables + 8 * STORED_STRIDES, word(p, TARGET_ITEM)
    compact_strides(strides, counts, 0, rank, size)
    for d in range(rank):
        put(work, WORK_COUNTS + d, word(counts, d))
    scatter(to, results, work, rank, strides, word(b, TARGET_STRIDES), size, streamed)


@inner
def values_in(rank: int, factors: int) -> int:
    """Of a window."""
    values = 1
    for d in range(rank):
        values *= word(factors, d)
    return values


@inner
def choose_block(tables: int, rank: int, factors: int, capacity: int, whole: bool) -> None:
    """How many results of each dim are made at a time, the innermost ones first."""
    values = values_in(rank, factors)
    for d in range(rank - 1, -1, -1):
        cells = word(tables, CELLS + d)
        count = cells if whole else max(1, min(cells, capacity // values))
        put(tables, BLOCK + d, count)
        put(tables, BEGIN + d, 0)
        values *= count
        if count < cells:
            values = capacity  # the dims outside of it one by one


@inner
def next_block(tables: int, rank: int) -> bool:
    """Go on to the next block, in C order; whether there is one."""
    for d in range(rank - 1, -1, -1):
        begin = word(tables, BEGIN + d) + word(tables, BLOCK + d)
        if begin < word(tables, CELLS + d):
            put(tables, BEGIN + d, begin)
            return True
        put(tables, BEGIN + d, 0)
    return False


def _reduction_of(line: Any, rows: int) -> Any:
    """What reduces a block, line by line."""
    offsets_of = _words_of(rows)

    @inner
    def reduce_block(
        tables: int, rank: int, at: int, strides: int, to: int, to_strides: int, factors: int,
        size: int,
    ) -> None:  # fmt: skip
        """Make the results of a block, whose extents are in the table of ``NOW``."""
        list_offsets(tables, rank, strides, factors)
        n = list_lines(tables, rank, strides, to_strides, factors, size)
        dims, counter = tables + 8 * DIMS, tables + 8 * ODOMETER
        extent, offsets = word(dims, 3 * n), offsets_of(tables + 8 * OFFSETS)
        lines, at_line, to_line = 1, 0, 0
        if n:
            n -= 1
            lines, at_line = word(dims, 3 * n), word(dims, 3 * n + 1)
            to_line = word(dims, 3 * n + 2)
        for k in range(n):
            put(counter, k, 0)
        while True:
            for i in range(lines):
                line(to + i * to_line, at + i * at_line, extent, offsets)
            k = n - 1
            while k >= 0:
                done = word(counter, k) + 1
                at += word(dims, 3 * k + 1)
                to += word(dims, 3 * k + 2)
                if done < word(dims, 3 * k):
                    put(counter, k, done)
                    break
                at -= done * word(dims, 3 * k + 1)
                to -= done * word(dims, 3 * k + 2)
                put(counter, k, 0)
                k -= 1
            if k < 0:
                return

    return reduce_block


@inner
def choose_box(p: int, b: int, tables: int, number: int) -> bool:
    """Which windows are reduced next: the complete ones, or ones that the end of the piece cuts.

    ``number``: a bit for each dim of its cut windows. Where one value of a dim is left of a window
    it stands for all that would be there, by a stride of 0: any number of copies of all values has
    the same median, mode, minimum, maximum, and mean. False if there are none.
    """
    rank, factors, strides = word(b, RANK), word(p, FACTORS), word(b, SOURCE_STRIDES)
    at, to = word(b, SOURCE), word(b, TARGET)
    for d in range(rank):
        factor, count = word(factors, d), word(word(b, COUNTS), d)
        complete, stride = count // factor, word(strides, d) if strides else 0
        if strides == 0:
            complete = (count + factor - 1) // factor
        if number >> d & 1:
            at += complete * factor * stride
            to += complete * word(word(b, TARGET_STRIDES), d)
            complete, stride = 1, 0
        if complete == 0:
            return False
        put(tables, CELLS + d, complete)
        put(tables, STRIDES + d, stride)
    put(tables, BOX_SOURCE, at)
    put(tables, BOX_TARGET, to)
    return True


def kernel_of(line: Any, rows: int) -> Any:
    """The consumer of windows of ``rows`` rows whose results are made by ``line``."""
    reduce_block = _reduction_of(line, rows)

    @inner
    def reduce_box(p: int, b: int, tables: int) -> None:
        """Make the results of windows of one size, block by block."""
        rank, factors, size = word(b, RANK), word(p, FACTORS), word(p, ITEM)
        strides = tables + 8 * STRIDES if word(b, SOURCE_STRIDES) else 0
        to_strides = word(b, TARGET_STRIDES)
        plain = strides != 0 and word(p, PRE) == 0 and word(strides, rank - 1) == size
        streamed = word(b, STREAMED) != 0
        placed = word(p, POST) == 0 and not streamed
        placed = placed and (
            word(to_strides, rank - 1) == size or word(tables, CELLS + rank - 1) == 1
        )
        capacity = word(p, CAPACITY)
        if plain:  # what is read needs no room
            capacity = word(p, RESULTS_CAPACITY) * values_in(rank, factors)
        choose_block(tables, rank, factors, capacity, plain and placed)
        value_strides, result_strides = tables + 8 * VALUE_STRIDES, tables + 8 * RESULT_STRIDES
        counts, results = tables + 8 * NOW, tables + word(p, RESULTS_AT)
        while True:
            at, to = word(tables, BOX_SOURCE), word(tables, BOX_TARGET)
            for d in range(rank):
                begin = word(tables, BEGIN + d)
                put(counts, d, min(word(tables, BLOCK + d), word(tables, CELLS + d) - begin))
                if strides:
                    at += begin * word(factors, d) * word(strides, d)
                to += begin * word(to_strides, d)
            at = values_of(p, b, tables, at, strides)
            if placed:
                reduce_block(tables, rank, at, value_strides, to, to_strides, factors, size)
            else:
                compact_strides(result_strides, counts, 0, rank, size)
                reduce_block(
                    tables, rank, at, value_strides, results, result_strides, factors, size
                )
                store_results(p, b, tables, to, streamed)
            if not next_block(tables, rank):
                return

    def kernel(b: int) -> int:
        """Make the results of a piece."""
        p, rank, tables = word(b, PARAMETERS), word(b, RANK), word(b, BUFFER)
        cut = 0
        for d in range(rank):
            if word(b, SOURCE_STRIDES) and word(word(b, COUNTS), d) % word(word(p, FACTORS), d):
                cut |= 1 << d
        number = cut
        while True:  # all numbers whose bits are among those of ``cut``
            if choose_box(p, b, tables, number):
                reduce_box(p, b, tables)
            if number == 0:
                break
            number = (number - 1) & cut
        if word(b, STREAMED):
            fence()
        return 0

    return kernel
