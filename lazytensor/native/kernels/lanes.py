"""Sums of floats in lanes, and their spread: rows of values added to each other, in a fixed order.

``plan.ops_lanes`` says which order that is, and does the same with NumPy: to the last bit. Dims of
a piece are *outer* ones, which are kept; *leads*, which are summed; and those from ``FIRST_LANE``
on, whose positions are lanes: each is summed apart, and nothing is added across them here. Every
stored cell has sums of its own, so it does not matter in which order pieces come, nor whether a
piece is one cell or several side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from lazytensor.native.intrinsics import call_i64, f64, fill_row, inner, intrinsic
from lazytensor.native.kernels.consumer_block import (
    BUFFER,
    COUNTS,
    PARAMETERS,
    POSITION,
    RANK,
    SOURCE,
    SOURCE_STRIDES,
    TARGET,
    TARGET_STRIDES,
)
from lazytensor.native.kernels.fold_block import (
    COLUMNS,
    DIMS,
    FIRST_LANE,
    LANE_DIMS,
    LEADS,
    MAP_WORDS,
    MAPPED,
    PLANE,
    PRE,
    PRE_CONSTANTS,
    RAW,
    RAW_ITEM,
    RUN,
    SLOTS,
    WIDTH,
)
from lazytensor.native.kernels.fold_cells import merge_spread
from lazytensor.native.kernels.fold_lanes import as_double, form_of, load, store
from lazytensor.native.kernels.folds import (
    copy_items,
    count_of,
    gather,
    is_compact,
    offset_of,
    rows_at_once,
)
from lazytensor.native.kernels.memory import put, word

__all__ = ["column_spreads", "column_sums", "lanes_kernel"]

_I64 = ir.IntType(64)
_DOUBLE = ir.DoubleType()
_SIDE_BY_SIDE = (32, 8, 1)
LEVEL = 8 * WIDTH
"""Bytes of a row of sums."""

FIELDS = 5
"""Words of a lead: step of values; offsets in the target by position; begin and end; extent."""


def _columns(b: Any, dtype: str, n: Any, body: Callable[[Any, Any], None]) -> None:
    """``body(form, first)`` for all of ``n`` columns, as many at a time as there are lanes."""
    done: Any = _I64(0)
    for lanes in _SIDE_BY_SIDE:
        f = form_of(dtype, lanes)
        count = b.sdiv(b.sub(n, done), _I64(lanes))
        with cgutils.for_range(b, count) as loop:
            body(f, b.add(done, b.mul(loop.index, _I64(lanes))))
        done = b.add(done, b.mul(count, _I64(lanes)))


def _at(b: Any, base: Any, i: Any, size: int) -> Any:
    return b.add(base, b.mul(i, _I64(size)))


def column_sums(dtype: str) -> Callable[..., Any]:
    """``more(sums, at, rows, step, n)``: add rows of ``n`` values, one after the other, to sums."""
    size = int(dtype[1:])

    @intrinsic
    def more(typing: Any, sums: Any, at: Any, rows: Any, step: Any, n: Any) -> Any:
        def emit(context: Any, b: Any, signature: Any, values: Any) -> Any:
            sums, at, rows, step, n = values

            def body(f: Any, i: Any) -> None:
                kind = f.of(_DOUBLE)
                place = cgutils.alloca_once(b, kind)  # type: ignore[no-untyped-call]
                to, source = _at(b, sums, i, 8), _at(b, at, i, size)
                b.store(load(b, to, kind), place)
                with cgutils.for_range(b, rows) as loop:
                    x = load(b, b.add(source, b.mul(loop.index, step)), f.of(f.element))
                    b.store(b.fadd(b.load(place), as_double(b, x, f)), place)
                store(b, to, b.load(place))

            _columns(b, dtype, n, body)
            return context.get_dummy_value()

        word = types.int64
        return types.void(word, word, word, word, word), emit

    return more


def column_spreads(dtype: str) -> Callable[..., Any]:
    """``more(rests, squares, means, at, rows, step, n)``: add the deviations of rows of values from
    the means of their columns to one row of sums, and the squares of those to another."""
    size = int(dtype[1:])

    @intrinsic
    def more(
        typing: Any, rests: Any, squares: Any, means: Any, at: Any, rows: Any, step: Any, n: Any
    ) -> Any:
        def emit(context: Any, b: Any, signature: Any, values: Any) -> Any:
            rests, squares, means, at, rows, step, n = values

            def body(f: Any, i: Any) -> None:
                kind = f.of(_DOUBLE)
                tos = [_at(b, base, i, 8) for base in (rests, squares)]
                places: list[Any] = [cgutils.alloca_once(b, kind) for _ in tos]  # type: ignore[no-untyped-call]
                for to, place in zip(tos, places, strict=True):
                    b.store(load(b, to, kind), place)
                mean, source = load(b, _at(b, means, i, 8), kind), _at(b, at, i, size)
                with cgutils.for_range(b, rows) as loop:
                    x = load(b, b.add(source, b.mul(loop.index, step)), f.of(f.element))
                    far = b.fsub(as_double(b, x, f), mean)
                    for place, value in zip(places, (far, b.fmul(far, far)), strict=True):
                        b.store(b.fadd(b.load(place), value), place)
                for to, place in zip(tos, places, strict=True):
                    store(b, to, b.load(place))

            _columns(b, dtype, n, body)
            return context.get_dummy_value()

        word = types.int64
        return types.void(word, word, word, word, word, word, word), emit

    return more


join = column_sums("f8")
"""Adds sums to sums."""


@inner
def list_outer(p: int, table: int) -> int:
    """Extent, stride of values and of cells of the outer dims; their number."""
    parameters, n = word(p, PARAMETERS), 0
    for d in range(word(parameters, FIRST_LANE)):
        if word(word(parameters, SLOTS), d) == 0:
            n += list_dim(p, table, n, d)
    return n


@inner
def list_lanes(p: int, table: int) -> int:
    """The same of the dims whose positions are lanes."""
    n = 0
    for d in range(word(word(p, PARAMETERS), FIRST_LANE), word(p, RANK)):
        n += list_dim(p, table, n, d)
    return n


@inner
def list_dim(p: int, table: int, n: int, d: int) -> int:
    """Put down one dim; 0 if it has one position only."""
    extent, steps = word(word(p, COUNTS), d), word(p, SOURCE_STRIDES)
    if extent == 1:
        return 0
    put(table, 3 * n, extent)
    put(table, 3 * n + 1, word(steps, d) if steps else 0)
    put(table, 3 * n + 2, word(word(p, TARGET_STRIDES), d))
    return 1


@inner
def list_leads(p: int, leads: int) -> int:
    """Put down the dims that are summed, with their first cell each; their number."""
    parameters, steps, n = word(p, PARAMETERS), word(p, SOURCE_STRIDES), 0
    for d in range(word(parameters, FIRST_LANE)):
        slots = word(word(parameters, SLOTS), d)
        if slots == 0:
            continue
        one = leads + 8 * FIELDS * n
        put(one, 0, word(steps, d) if steps else 0)
        put(one, 1, slots + 8 * word(word(p, POSITION), d))
        put(one, 2, 0)
        put(one, 4, word(word(p, COUNTS), d))
        put(one, 3, end_of_cell(one))
        n += 1
    return n


@inner
def end_of_cell(lead: int) -> int:
    """The position after the last of the cell that begins at ``begin``."""
    slots, end = word(lead, 1), word(lead, 2) + 1
    slot = word(slots, end - 1)
    while end < word(lead, 4) and word(slots, end) == slot:
        end += 1
    return end


@inner
def next_cell(leads: int, n: int) -> bool:
    """Go on to the next cell of a piece, if there is one."""
    for k in range(n - 1, -1, -1):
        one = leads + 8 * FIELDS * k
        more = word(one, 3) < word(one, 4)
        put(one, 2, word(one, 3) if more else 0)
        put(one, 3, end_of_cell(one))
        if more:
            return True
    return False


@inner
def rows_of(lead: int) -> int:
    """How many rows of a lead lie in the cell."""
    return word(lead, 3) - word(lead, 2)


@inner
def group_of(n: int) -> int:
    """How many of ``n`` rows are summed one after another (``plan.ops_lanes.group_of``)."""
    group = 128
    while group * group < n:
        group *= 2
    return group


@inner
def closes(level: int, i: int, n: int, to: int, lanes: int) -> int:
    """After row ``i`` of ``n`` was added to a level: where the sum of all is, if it was the last.

    Else 0. Sums of groups are added up in the level above.
    """
    group = group_of(n)
    last = i + 1 == n
    if n <= group:
        return level if last else 0
    if not last and (i + 1) % group != 0:
        return 0
    if i < group:
        fill_row(to, 0, 8 * lanes)
    join(to, level, 1, 0, lanes)
    return to if last else 0


@inner
def climb(levels: int, leads: int, n: int, o: int, found: int, lanes: int) -> int:
    """Add the sum of the rows of the innermost lead, number ``o``, to those of the leads around it.

    Where the sum of everything is, if that was the last; else 0.
    """
    for k in range(n - 2, -1, -1):
        extent = rows_of(leads + 8 * FIELDS * k)
        around = o // extent
        i = o - around * extent
        o = around
        level = levels + 2 * LEVEL * (n - 1 - k)
        if i % group_of(extent) == 0:
            fill_row(level, 0, 8 * lanes)
        join(level, found, 1, 0, lanes)
        found = closes(level, i, extent, level + LEVEL, lanes)
        if found == 0:
            return 0
    return found


@inner
def offset_of_rows(leads: int, n: int, o: int) -> int:
    """Bytes to the first value of the rows of the innermost lead, number ``o`` of a cell."""
    offset = 0
    for k in range(n - 1, -1, -1):
        one = leads + 8 * FIELDS * k
        i = 0
        if k < n - 1:
            extent = rows_of(one)
            around = o // extent
            i = o - around * extent
            o = around
        offset += (word(one, 2) + i) * word(one, 0)
    return offset


@inner
def tile_at(
    p: int, end: int, at: int, start: int, lanes: int, rows: int, step: int, compact: bool
) -> int:
    """Address of some rows of values, as they are summed, close together."""
    parameters, buffer = word(p, PARAMETERS), word(p, BUFFER)
    item, pre = word(parameters, RAW_ITEM), word(parameters, PRE)
    at += start * item if compact else 0
    if not compact or (rows > 1 and step != lanes * item):
        to = buffer + RAW
        for r in range(rows):
            if compact:
                copy_items(to, at + r * step, lanes, item, item)
            else:
                gather(buffer + LANE_DIMS, 0, end, at + r * step, start, lanes, to, item)
            to += lanes * item
        at = buffer + RAW
    if pre == 0:
        return at
    words = buffer + MAP_WORDS
    put(words, 0, rows * lanes)
    put(words, 1, buffer + MAPPED)
    put(words, 2, word(parameters, PRE_CONSTANTS))
    put(words, 3, at)
    call_i64(pre, (words,))
    return buffer + MAPPED


@inner
def side_by_side(lanes: int, end: int, at: int) -> int:
    """How many lanes, from the one numbered ``at`` on, have cells that are one step apart."""
    if end == 0:
        return 1
    wide = word(lanes, 3 * (end - 1))
    return wide - at % wide


@inner
def step_of_cells(lanes: int, end: int) -> int:
    """Bytes from the cell of a lane to the next."""
    return word(lanes, 3 * (end - 1) + 2) if end else 0


@inner
def leave_sums(lanes: int, end: int, cell: int, start: int, n: int, sums: int) -> None:
    """Add the sums of ``n`` lanes, from the one numbered ``start`` on, to their cells."""
    step, j = step_of_cells(lanes, end), 0
    while j < n:
        to, stop = cell + offset_of(lanes, 0, end, start + j, 2), j
        stop += min(n - j, side_by_side(lanes, end, start + j))
        while j < stop:
            f64(to)[0] += f64(sums)[j]
            to += step
            j += 1


@inner
def leave_spreads(
    lanes: int, end: int, cell: int, plane: int, start: int, n: int, count: int, means: int,
    rests: int, squares: int,
) -> None:  # fmt: skip
    """Merge the spreads of lanes into their cells."""
    step, j = step_of_cells(lanes, end), 0
    while j < n:
        to, stop = cell + offset_of(lanes, 0, end, start + j, 2), j
        stop += min(n - j, side_by_side(lanes, end, start + j))
        while j < stop:
            merge_spread(to, plane, count, f64(means)[j], f64(rests)[j], f64(squares)[j])
            to += step
            j += 1


def lanes_kernel(dtype: str, *, spread: bool) -> Callable[[int], int]:
    """The kernel of sums, or of spreads, of values of a dtype (kind and size)."""
    size = int(dtype[1:])
    more, again = column_sums(dtype), column_spreads(dtype)

    @inner
    def look(
        p: int, n: int, end: int, source: int, start: int, lanes: int, compact: bool, twice: bool
    ) -> int:
        """Sum the rows of a cell, or their deviations from the means, and the squares of those.

        Where the sums are; the squares are so much after them as ``squares_after`` says.
        """
        buffer = word(p, BUFFER)
        leads, levels = buffer + LEADS, buffer + COLUMNS
        others, means = levels + 2 * LEVEL * n, levels + 4 * LEVEL * n
        innermost = leads + 8 * FIELDS * (n - 1)
        rows, step = rows_of(innermost), word(innermost, 0)
        group, outer = group_of(rows), 1
        for k in range(n - 1):
            outer *= rows_of(leads + 8 * FIELDS * k)
        plain = compact and word(word(p, PARAMETERS), PRE) == 0
        found = 0
        for o in range(outer):
            at = source + offset_of_rows(leads, n, o)
            for first in range(0, rows, group):
                fill_row(levels, 0, 8 * lanes)
                if twice:
                    fill_row(others, 0, 8 * lanes)
                count = min(group, rows - first)
                most = rows_at_once(step) if plain else max(1, RUN // lanes)
                for r in range(0, count, most):
                    some = min(most, count - r)
                    where, apart = at + (first + r) * step, step
                    if plain:
                        where += start * size
                    else:
                        where = tile_at(p, end, where, start, lanes, some, step, compact)
                        apart = lanes * size
                    if twice:
                        again(levels, others, means, where, some, apart, lanes)
                    else:
                        more(levels, where, some, apart, lanes)
                i = first + count - 1
                found = closes(levels, i, rows, levels + LEVEL, lanes)
                if twice:
                    closes(others, i, rows, others + LEVEL, lanes)
            if twice:
                climb(others, leads, n, o, found + others - levels, lanes)
            found = climb(levels, leads, n, o, found, lanes)
        return found

    @inner
    def fold(p: int, n: int, end: int, source: int, cell: int, compact: bool) -> None:
        """Everything of a cell at one position of the outer dims."""
        buffer = word(p, BUFFER)
        width, count = count_of(buffer + LANE_DIMS, 0, end), 1
        for k in range(n):
            count *= rows_of(buffer + LEADS + 8 * FIELDS * k)
        table, plane = buffer + LANE_DIMS, word(word(p, PARAMETERS), PLANE)
        means = buffer + COLUMNS + 4 * LEVEL * n
        for start in range(0, width, WIDTH):
            lanes = min(WIDTH, width - start)
            found = look(p, n, end, source, start, lanes, compact, False)
            leave_sums(table, end, cell, start, lanes, found)
            if not spread:
                continue
            for j in range(lanes):
                f64(means)[j] = f64(found)[j] / count
            found = look(p, n, end, source, start, lanes, compact, True)
            leave_spreads(
                table, end, cell + plane, plane, start, lanes, count, means, found,
                found + 2 * LEVEL * n,
            )  # fmt: skip

    def kernel(p: int) -> int:
        buffer = word(p, BUFFER)
        table, leads = buffer + DIMS, buffer + LEADS
        outer, n = list_outer(p, table), list_leads(p, leads)
        end = list_lanes(p, buffer + LANE_DIMS)
        compact = is_compact(buffer + LANE_DIMS, 0, end, word(word(p, PARAMETERS), RAW_ITEM))
        more_cells = True
        while more_cells:
            slot = word(p, TARGET)
            for k in range(n):
                one = leads + 8 * FIELDS * k
                slot += word(word(one, 1), word(one, 2))
            for i in range(count_of(table, 0, outer)):
                source = word(p, SOURCE) + offset_of(table, 0, outer, i, 1)
                fold(p, n, end, source, slot + offset_of(table, 0, outer, i, 2), compact)
            more_cells = next_cell(leads, n)
        return 0

    return kernel
