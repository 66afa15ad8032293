"""Undoing shuffles of bytes and bits, and byte orders.

64 items at a time are joined in vector registers; LLVM makes the best of them on each processor
(one instruction a shuffle on some, a few on others). Loops over single bytes do the rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from lazytensor.native.intrinsics import (
    inner,
    intrinsic,
    store_u8,
    store_u16,
    store_u32,
    store_u64,
)
from lazytensor.native.kernels.memory import (
    load8,
    load16,
    load32,
)

_BYTES = ir.VectorType(ir.IntType(8), 64)
_WORDS = ir.VectorType(ir.IntType(64), 8)


def _picked(builder: Any, a: Any, b: Any, order: list[int]) -> Any:
    """Elements of two vectors in any order, those of the second counted from 64."""
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order)
    return builder.shuffle_vector(a, b, mask)


def _joined(builder: Any, planes: list[Any]) -> list[Any]:
    """Vectors of first bytes, second bytes, ... of 64 items to vectors of whole items."""
    half = len(planes) // 2
    if not half:
        return planes
    pairs = zip(_joined(builder, planes[:half]), _joined(builder, planes[half:]), strict=True)
    parts = [(s, i) for i in range(0, 64, half) for s in (0, 64)]
    order = [s + i + k for s, i in parts for k in range(half)]
    return [_picked(builder, a, b, order[lo : lo + 64]) for a, b in pairs for lo in (0, 64)]


def _turned_bits(builder: Any, rows: list[Any]) -> Any:
    """Eight words of bits (one of each row of 64 items) to the 64 bytes that they make up."""
    words: Any = ir.Constant(_WORDS, ir.Undefined)
    for i, row in enumerate(rows):
        words = builder.insert_element(words, row, ir.IntType(32)(i))
    order = [8 * row + byte for byte in range(8) for row in range(8)]
    matrix = builder.bitcast(words, _BYTES)
    x = builder.bitcast(_picked(builder, matrix, matrix, order), _WORDS)
    for shift, mask in ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0xF0F0F0F0)):
        by = ir.Constant(_WORDS, [shift] * 8)
        t = builder.and_(builder.xor(x, builder.lshr(x, by)), ir.Constant(_WORDS, [mask] * 8))
        x = builder.xor(builder.xor(x, t), builder.shl(t, by))
    return builder.bitcast(x, _BYTES)


def _joiner(size: int, *, bits: bool) -> Any:
    """``join(target, source, step)``: 64 items of ``size`` bytes from their shuffled planes.

    Planes, or rows of bits, are ``step`` bytes apart.
    """

    @intrinsic
    def join(typing: Any, target: Any, source: Any, step: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            to, at, step = values

            def load(row: int, kind: Any) -> Any:
                where = builder.add(at, builder.mul(step, ir.IntType(64)(row)))
                found = builder.load(builder.inttoptr(where, kind.as_pointer()))
                found.align = 1
                return found

            if bits:
                word = ir.IntType(64)
                rows = [[load(8 * f + bit, word) for bit in range(8)] for f in range(size)]
                planes = [_turned_bits(builder, eight) for eight in rows]
            else:
                planes = [load(f, _BYTES) for f in range(size)]
            for i, vector in enumerate(_joined(builder, planes)):
                where = builder.add(to, ir.IntType(64)(64 * i))
                builder.store(vector, builder.inttoptr(where, _BYTES.as_pointer()), align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), emit

    return join


join_bytes_2, join_bytes_4, join_bytes_8 = (_joiner(n, bits=False) for n in (2, 4, 8))
join_bits_1, join_bits_2, join_bits_4, join_bits_8 = (_joiner(n, bits=True) for n in (1, 2, 4, 8))


@inner
def unshuffle(to: int, at: int, items: int, size: int) -> None:
    """Bring the bytes of each item together again."""
    done = 0
    if size == 2:
        done = items & -64
        for i in range(0, done, 64):
            join_bytes_2(to + 2 * i, at + i, items)
    elif size == 4:
        done = items & -64
        for i in range(0, done, 64):
            join_bytes_4(to + 4 * i, at + i, items)
    elif size == 8:
        done = items & -64
        for i in range(0, done, 64):
            join_bytes_8(to + 8 * i, at + i, items)
    for f in range(size):
        for i in range(done, items):
            store_u8(to + size * i + f, load8(at + f * items + i))


@inner
def bits_turned(x: int) -> int:
    """The 8 x 8 bits of a word with rows and columns exchanged (Hacker's Delight, 7-3)."""
    t = (x ^ x >> 7) & 0x00AA00AA00AA00AA
    x = x ^ t ^ t << 7
    t = (x ^ x >> 14) & 0x0000CCCC0000CCCC
    x = x ^ t ^ t << 14
    t = (x ^ x >> 28) & 0x00000000F0F0F0F0
    return x ^ t ^ t << 28


@inner
def unshuffle_bits(to: int, at: int, items: int, size: int) -> None:
    """Bring the bits of each item together again; ``items`` is a multiple of 8.

    Stored are all first bits of the first bytes, then all second ones, and so on.
    """
    step = items // 8
    done = 0
    if size <= 2 or size == 4 or size == 8:
        done = step & -8
    for k in range(0, done, 8):
        if size == 1:
            join_bits_1(to + 8 * k, at + k, step)
        elif size == 2:
            join_bits_2(to + 16 * k, at + k, step)
        elif size == 4:
            join_bits_4(to + 32 * k, at + k, step)
        else:
            join_bits_8(to + 64 * k, at + k, step)
    for f in range(size):
        rows = at + 8 * f * step
        for k in range(done, step):
            x = load8(rows + k)
            for bit in range(1, 8):
                x |= load8(rows + bit * step + k) << 8 * bit
            x = bits_turned(x)
            for i in range(8):
                store_u8(to + (8 * k + i) * size + f, x >> 8 * i)


@inner
def turned32(value: int) -> int:
    """Four bytes in the opposite order."""
    value = (value << 16 | value >> 16) & 0xFFFFFFFF
    return (value & 0x00FF00FF) << 8 | value >> 8 & 0x00FF00FF


@inner
def swap_bytes(at: int, items: int, size: int) -> None:
    """Turn the byte order of each item round, in place."""
    if size == 2:
        for i in range(items):
            value = load16(at + 2 * i)
            store_u16(at + 2 * i, value << 8 | value >> 8)
    elif size == 4:
        for i in range(items):
            store_u32(at + 4 * i, turned32(load32(at + 4 * i)))
    elif size == 8:
        for i in range(items):
            low, high = load32(at + 8 * i), load32(at + 8 * i + 4)
            store_u64(at + 8 * i, turned32(low) << 32 | turned32(high))


@inner
def one_or_zero(at: int, n: int) -> None:
    """Any byte but zero is True."""
    for i in range(n):
        store_u8(at + i, np.int64(load8(at + i) != 0))
