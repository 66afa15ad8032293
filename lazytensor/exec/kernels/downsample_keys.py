"""Order keys: integers that sort as values do.

Selecting and counting want a total order, which floats lack: NaN compares with nothing, and -0.0
equals 0.0 while being another element. Every dtype with an order is therefore mapped to integer
keys and back. Minima, sorting networks and partitions then run on plain integers (which also is
where half floats and 8-bit floats become fast), and each result is one element, bit for bit,
whatever SIMD width, blocking or engine compared it. All NaNs become one key, behind or before all
numbers as asked.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from lazytensor.plan.downsampling import number_kind

__all__ = ["Keys", "decode", "encode", "has_negative_zero"]


class Keys(NamedTuple):
    """Keys of an array of ``dtype``; ``nan`` and ``negative_zero`` are theirs, None if absent."""

    keys: np.ndarray
    dtype: np.dtype
    nan: int | None
    negative_zero: int | None


def encode(values: np.ndarray, *, nan_first: bool = False) -> Keys:
    """Keys of a bool, integer or real float array; integers are their own keys.

    >>> encode(np.array([-0.0, 0.0, np.inf, np.nan])).keys.argsort().tolist()
    [0, 1, 2, 3]
    """
    kind = number_kind(values.dtype)
    if kind == "b":
        return Keys(values.view(np.uint8), values.dtype, None, None)
    if kind in "iu":
        return Keys(values, values.dtype, None, None)
    if values.dtype.itemsize == 1:
        table = _byte_table(values.dtype, nan_first)
        keys = table.to_key[values.view(np.uint8)]
        return Keys(keys, values.dtype, table.nan, table.negative_zero)
    return _encode_float(values, nan_first)


def decode(keys: np.ndarray, encoded: Keys) -> np.ndarray:
    """Values of ``keys``, which were derived from ``encoded.keys`` by selection."""
    dtype = encoded.dtype
    kind = number_kind(dtype)
    if kind == "b":
        return keys.view(np.bool_)
    if kind in "iu":
        return keys
    if dtype.itemsize == 1:
        table = _byte_table(dtype, nan_first=encoded.nan == 0)
        codes: np.ndarray = table.to_code[keys]
        return codes.view(dtype)
    return _flip(keys).view(dtype)


def has_negative_zero(values: np.ndarray) -> bool:
    """Whether a float array of 2, 4 or 8 bytes an element holds -0.0.

    >>> has_negative_zero(np.array([0.0, -1.0])), has_negative_zero(np.array([-0.0]))
    (False, True)
    """
    bits = values.view(f"i{values.dtype.itemsize}")
    return bool((bits == np.iinfo(bits.dtype).min).any())


def _encode_float(values: np.ndarray, nan_first: bool) -> Keys:
    integer = np.dtype(f"i{values.dtype.itemsize}")
    bounds = np.iinfo(integer)
    bits = values.view(integer)
    infinity = np.array(np.inf, values.dtype).view(integer)
    is_nan = (bits & bounds.max) > infinity
    keys = _flip(bits)
    # The lowest key is that of a negative NaN, so no number has it.
    quiet_nan = int(np.array(np.nan, values.dtype).view(integer)) & bounds.max
    nan = bounds.min if nan_first else quiet_nan
    np.copyto(keys, nan, where=is_nan)
    return Keys(keys, values.dtype, nan, -1)


def _flip(bits: np.ndarray) -> np.ndarray:
    """Sign and magnitude to two's complement and back: -0.0 is -1, and 0.0 is 0."""
    width = 8 * bits.dtype.itemsize
    flipped: np.ndarray = (bits >> (width - 1)) & np.iinfo(bits.dtype).max
    flipped ^= bits
    return flipped


class _ByteTable(NamedTuple):
    to_key: np.ndarray
    to_code: np.ndarray
    nan: int | None
    negative_zero: int | None


@lru_cache(maxsize=64)
def _byte_table(dtype: np.dtype, nan_first: bool) -> _ByteTable:
    """Ranks of the 256 codes of a one-byte float, which there are many layouts of.

    Codes of one value share a rank (all NaNs do, and the codes that ignore unused bits); signed
    zeros have two.
    """
    codes = np.arange(256, dtype=np.uint8)
    values = codes.view(dtype).astype(np.float32)
    is_nan = np.isnan(values)
    # Least significant first: -0.0 before 0.0, then by value, and NaN apart from all numbers.
    fields = (
        ~np.signbit(values) | is_nan,
        np.where(is_nan, 0, values),
        np.where(is_nan, -1 if nan_first else 1, 0),
    )
    order = np.lexsort(fields)
    first_of_rank = np.zeros(256, np.bool_)
    first_of_rank[0] = True
    for field in fields:
        first_of_rank[1:] |= field[order[1:]] != field[order[:-1]]
    to_key = np.empty(256, np.uint8)
    to_key[order] = np.cumsum(first_of_rank) - 1
    to_code = codes[order[first_of_rank]]
    zeros = np.flatnonzero((values == 0) & np.signbit(values))
    return _ByteTable(
        to_key,
        to_code,
        int(to_key[is_nan][0]) if is_nan.any() else None,
        int(to_key[zeros[0]]) if len(zeros) else None,
    )
