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


@intrinsic
def copy_line(typing: Any, target: Any, source: Any) -> Any:
    """Copy 64 bytes from and to any address."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        line = ir.VectorType(ir.IntType(64), LINE // 8).as_pointer()
        found = builder.load(builder.inttoptr(values[1], line))
        found.align = 1
        builder.store(found, builder.inttoptr(values[0], line), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@inner
def copy_short_row(to: int, at: int, n: int) -> None:
    """Copy a row; short ones without a call."""
    if n < LINE or n > 8 * LINE:
        copy_row(to, at, n)
        return
    i = 0
    while i + LINE <= n:
        copy_line(to + i, at + i)
        i += LINE
    if i < n:  # the last line once more, some of it twice
        copy_line(to + n - LINE, at + n - LINE)
