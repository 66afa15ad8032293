"""Loads, stores and rows: what the kernels are made of.

All arithmetic is in int64, since numba makes a float of an unsigned and a signed 64-bit integer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from lazytensor.native.intrinsics import (
    copy_row,
    inner,
    intrinsic,
    load_i64,
    load_u8,
    load_u16,
    load_u32,
    store_u64,
)

LINE = 64
"""Bytes of a cache line."""


@intrinsic
def take_one(typing: Any, address: Any) -> Any:
    """Add one to the int64 at an address that threads share; what was there before."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        word = builder.inttoptr(values[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", word, ir.IntType(64)(1), "seq_cst")

    return types.int64(types.int64), emit


@inner
def load8(at: int) -> Any:
    """One byte as an int64."""
    return np.int64(load_u8(at))


@inner
def load16(at: int) -> Any:
    """Two bytes as an int64."""
    return np.int64(load_u16(at))


@inner
def load32(at: int) -> Any:
    """Four bytes as an int64."""
    return np.int64(load_u32(at))


@inner
def word(base: int, i: int) -> Any:
    """The i-th int64 from an address."""
    return load_i64(base + 8 * i)


@inner
def put(base: int, i: int, value: int) -> None:
    """Set the i-th int64 from an address."""
    store_u64(base + 8 * i, value)


def _copier(nbytes: int) -> Any:
    """``copy(target, source)``: so many bytes from and to any address."""

    @intrinsic
    def copy(typing: Any, target: Any, source: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            line = ir.VectorType(ir.IntType(64), nbytes // 8).as_pointer()
            found = builder.load(builder.inttoptr(values[1], line))
            found.align = 1
            builder.store(found, builder.inttoptr(values[0], line), align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), emit

    return copy


copy_8, copy_16, copy_32, copy_line = (_copier(nbytes) for nbytes in (8, 16, 32, LINE))


@inner
def swap_dims(table: int, i: int, j: int) -> None:
    """Exchange two entries of a table of dims, three words each."""
    for f in range(3):
        kept = word(table, 3 * i + f)
        put(table, 3 * i + f, word(table, 3 * j + f))
        put(table, 3 * j + f, kept)


@inner
def copy_part_of_line(to: int, at: int, n: int) -> None:
    """Copy fewer than 64 bytes: two overlapping moves instead of a call."""
    if n >= 32:
        copy_32(to, at)
        copy_32(to + n - 32, at + n - 32)
    elif n >= 16:
        copy_16(to, at)
        copy_16(to + n - 16, at + n - 16)
    elif n >= 8:
        copy_8(to, at)
        copy_8(to + n - 8, at + n - 8)
    else:
        copy_row(to, at, n)


@inner
def copy_short_row(to: int, at: int, n: int) -> None:
    """Copy a row; short ones without a call."""
    if n < LINE:
        copy_part_of_line(to, at, n)
        return
    if n > 8 * LINE:
        copy_row(to, at, n)
        return
    i = 0
    while i + LINE <= n:
        copy_line(to + i, at + i)
        i += LINE
    if i < n:  # the last line once more, some of it twice
        copy_line(to + n - LINE, at + n - LINE)
