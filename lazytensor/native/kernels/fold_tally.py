"""Counting how often each value occurs, or which bin it falls into, in tables of 32-bit counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lazytensor.native.intrinsics import inner, load_i64, u32
from lazytensor.native.kernels.memory import load8, load16, load32

__all__ = ["tally"]

_INFINITY_2, _INFINITY_4, _INFINITY_8 = 0x7C00, 0x7F800000, 0x7FF0000000000000


@inner
def digit_u1(at: int, i: int) -> Any:
    """The leading digit of the key of the i-th value (``exec.kernels.order``)."""
    return load8(at + i)


@inner
def digit_i1(at: int, i: int) -> Any:
    """As above."""
    return load8(at + i) ^ 0x80


@inner
def digit_u2(at: int, i: int) -> Any:
    """As above."""
    return load16(at + 2 * i)


@inner
def digit_i2(at: int, i: int) -> Any:
    """As above."""
    return load16(at + 2 * i) ^ 0x8000


@inner
def digit_f2(at: int, i: int) -> Any:
    """As above; every NaN has the highest key."""
    bits = load16(at + 2 * i)
    if bits & 0x7FFF > _INFINITY_2:
        return 0xFFFF
    return bits ^ (0xFFFF if bits & 0x8000 else 0x8000)


@inner
def digit_u4(at: int, i: int) -> Any:
    """As above."""
    return load16(at + 4 * i + 2)


@inner
def digit_i4(at: int, i: int) -> Any:
    """As above."""
    return load16(at + 4 * i + 2) ^ 0x8000


@inner
def digit_f4(at: int, i: int) -> Any:
    """As above."""
    bits = load32(at + 4 * i)
    if bits & 0x7FFFFFFF > _INFINITY_4:
        return 0xFFFF
    return (bits >> 16) ^ (0xFFFF if bits & 0x80000000 else 0x8000)


@inner
def digit_u8(at: int, i: int) -> Any:
    """As above."""
    return load16(at + 8 * i + 6)


@inner
def digit_i8(at: int, i: int) -> Any:
    """As above."""
    return load16(at + 8 * i + 6) ^ 0x8000


@inner
def digit_f8(at: int, i: int) -> Any:
    """As above."""
    bits = load_i64(at + 8 * i)
    if bits & 0x7FFFFFFFFFFFFFFF > _INFINITY_8:
        return 0xFFFF
    return load16(at + 8 * i + 6) ^ (0xFFFF if bits < 0 else 0x8000)


_DIGITS = {
    "u1": digit_u1, "i1": digit_i1, "b1": digit_u1, "u2": digit_u2, "i2": digit_i2, "f2": digit_f2,
    "u4": digit_u4, "i4": digit_i4, "f4": digit_f4, "u8": digit_u8, "i8": digit_i8, "f8": digit_f8,
}  # fmt: skip


def tally(dtype: str) -> Callable[..., Any]:
    """What takes runs of values (``folds.runs_kernel``): their leading digits are counted.

    Neighbours are often equal, and a count waits for the one before it to be written. So those that
    follow each other here are far apart.
    """
    digit = _DIGITS[dtype]

    @inner
    def take(at: int, n: int, cell: int, plane: int, found: int) -> None:
        table = u32(cell)
        part = n // 4
        for i in range(part):
            table[digit(at, i)] += 1
            table[digit(at, part + i)] += 1
            table[digit(at, 2 * part + i)] += 1
            table[digit(at, 3 * part + i)] += 1
        for i in range(4 * part, n):
            table[digit(at, i)] += 1

    return take
