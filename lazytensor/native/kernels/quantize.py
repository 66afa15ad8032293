"""Quantized values and what they stand for, along rows whose elements share parameters.

A row is a run of elements that are consecutive in memory. Along it the parameters are one pair, or
one for each element, or one for each group of consecutive elements, of which the first may have
begun before: then the row is cut where groups end. The arithmetic is that of ``plan.quantization``,
step by step in float32; ``quantize_block`` says what the words mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lazytensor.native.intrinsics import inner
from lazytensor.native.kernels import elements
from lazytensor.native.kernels.elements import as_f4, as_i1, as_u1, load_f4, store_f4
from lazytensor.native.kernels.memory import word
from lazytensor.native.kernels.quantize_block import (
    COUNT,
    DIM_WORDS,
    DIMS,
    EXTENT,
    FIRST,
    GROUP,
    INNER_PARAMETER,
    INNER_PLACE,
    PARAMETER,
    PLACE,
    RANK,
    RESULT,
    ROWS,
    SCALES,
    SOURCE,
    TO_RESULT,
    TO_SOURCE,
    ZERO_POINTS,
)

__all__ = ["dequantize_kernel", "quantize_kernel"]

_ROUNDING = np.float32(3 << 22)
"""Added and subtracted, it leaves a whole number, halves to even, of what is so small."""


def _quantized(low: int, high: int) -> Callable[..., Any]:
    least, largest = np.float32(low), np.float32(high)

    @inner
    def quantized(x: Any, scale: Any, zero_point: Any) -> Any:
        value = x / scale + zero_point
        value = value if value == value else np.float32(0)
        value = min(max(value, least), largest)
        return np.int32(value + _ROUNDING - _ROUNDING)

    return quantized


def quantize_kernel(result: str, low: int, high: int) -> Callable[[int], int]:
    """Of float32; ``result``: ``"i1"`` or ``"u1"``."""
    quantized = _quantized(low, high)
    store = getattr(elements, f"store_{result}")
    narrow = as_i1 if result == "i1" else as_u1

    @inner
    def alike(to: int, at: int, n: int, scale: Any, zero_point: Any) -> None:
        for i in range(n):
            store(to, i, narrow(quantized(load_f4(at, i), scale, zero_point)))

    @inner
    def each(to: int, at: int, n: int, scales: int, zero_points: int) -> None:
        for i in range(n):
            found = quantized(load_f4(at, i), load_f4(scales, i), load_f4(zero_points, i))
            store(to, i, narrow(found))

    return _kernel(alike, each, 4, 1)


def dequantize_kernel(source: str) -> Callable[[int], int]:
    """To float32; ``source``: ``"i1"`` or ``"u1"``."""
    load = getattr(elements, f"load_{source}")

    @inner
    def alike(to: int, at: int, n: int, scale: Any, zero_point: Any) -> None:
        for i in range(n):
            store_f4(to, i, (as_f4(load(at, i)) - zero_point) * scale)

    @inner
    def each(to: int, at: int, n: int, scales: int, zero_points: int) -> None:
        for i in range(n):
            value = as_f4(load(at, i)) - load_f4(zero_points, i)
            store_f4(to, i, value * load_f4(scales, i))

    return _kernel(alike, each, 1, 4)


def _kernel(
    alike: Callable[..., Any], each: Callable[..., Any], taken: int, made: int
) -> Callable[[int], int]:
    """The kernel of all rows; ``taken``, ``made``: bytes of an element."""

    @inner
    def grouped(
        p: int, to: int, at: int, n: int, scales: int, zero_points: int, place: int
    ) -> None:
        group = word(p, GROUP)
        number = place // group
        side = min(n, (number + 1) * group - place)
        done = 0
        while done < n:
            alike(
                to + done * made,
                at + done * taken,
                side,
                load_f4(scales, number),
                load_f4(zero_points, number),
            )
            done += side
            number += 1
            side = min(n - done, group)

    @inner
    def one_by_one(
        p: int, to: int, at: int, n: int, scales: int, zero_points: int, place: int
    ) -> None:
        step, group = word(p, INNER_PARAMETER), word(p, GROUP)
        for i in range(n):
            number = (place + i * word(p, INNER_PLACE)) // group if group else 0
            scale = load_f4(scales + i * step, number)
            zero_point = load_f4(zero_points + i * step, number)
            alike(to + i * made, at + i * taken, 1, scale, zero_point)

    @inner
    def row(p: int, to: int, at: int, n: int, offset: int, place: int) -> None:
        scales, zero_points = word(p, SCALES) + offset, word(p, ZERO_POINTS) + offset
        group, step, along = word(p, GROUP), word(p, INNER_PARAMETER), word(p, INNER_PLACE)
        if step == 0 and group and along == 1:
            grouped(p, to, at, n, scales, zero_points, place)
        elif step == 0 and (group == 0 or along == 0):
            number = place // group if group else 0
            alike(to, at, n, load_f4(scales, number), load_f4(zero_points, number))
        elif step == 4 and group == 0:
            each(to, at, n, scales, zero_points)
        else:
            one_by_one(p, to, at, n, scales, zero_points, place)

    def kernel(p: int) -> int:
        n, rank = word(p, COUNT), word(p, RANK)
        for r in range(word(p, ROWS)):
            at, to, offset, place = word(p, SOURCE), word(p, RESULT), 0, word(p, FIRST)
            rest = r
            for d in range(rank - 1, -1, -1):
                dim = p + 8 * (DIMS + DIM_WORDS * d)
                extent = word(dim, EXTENT)
                i = rest % extent
                rest //= extent
                at += i * word(dim, TO_SOURCE)
                to += i * word(dim, TO_RESULT)
                offset += i * word(dim, PARAMETER)
                place += i * word(dim, PLACE)
            row(p, to, at, n, offset, place)
        return 0

    return kernel
