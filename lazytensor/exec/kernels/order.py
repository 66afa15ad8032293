"""Order statistics by counting: values as ordered integers, digit by digit.

Every real number of a fixed size has a *key*, an unsigned integer of its size that is ordered as
the numbers are. Counting how often each value of the leading 16 bits occurs tells in which of
65 536 ranges an element of a given rank lies; counting the next 16 bits within that range narrows
it again, until all bits are known. So quantiles of numbers of 16 bits are exact after one pass over
the data, of 32 bits after two and of 64 bits after four (radix selection; Knuth, TAOCP 3, 5.2.5).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lazytensor.plan.promote import is_extended

__all__ = [
    "DIGIT",
    "digit_counts",
    "digits",
    "from_keys",
    "interpolate",
    "keyed_dtype",
    "keys",
    "neighbours",
    "passes",
    "prefixed_counts",
    "table_size",
]

DIGIT = 16
"""Bits that one pass finds."""

_SORTED_FROM = 1 << 20
"""Elements from which sorting counts faster than adding up one by one; and it holds no lock of the
interpreter, so that threads count side by side (4 M elements: 3-10 ms against 6)."""

_AT_ONCE = 1 << 18
_LONGEST = 8 << 20
"""Bytes of values whose keys are made at once."""


def keyed_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype whose keys stand for values of ``dtype``: all of its values are values of that.

    >>> keyed_dtype(np.dtype("?")), keyed_dtype(np.dtype(">f4"))
    (dtype('uint8'), dtype('float32'))
    """
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    return np.dtype(np.float32) if is_extended(dtype) else dtype.newbyteorder("=")


def _unsigned(dtype: np.dtype) -> np.dtype:
    return np.dtype(f"u{dtype.itemsize}")


def passes(dtype: np.dtype) -> int:
    """How many passes over the data find all bits of a key.

    >>> [passes(np.dtype(d)) for d in ("u1", "i2", "f4", "f8")]
    [1, 1, 2, 4]
    """
    return max(1, keyed_dtype(dtype).itemsize * 8 // DIGIT)


def table_size(dtype: np.dtype) -> int:
    """How many values a digit may have: 256 for single bytes, else 65 536."""
    return 1 << min(DIGIT, 8 * keyed_dtype(dtype).itemsize)


def keys(values: np.ndarray) -> np.ndarray:
    """Keys of values of a keyed dtype. Every NaN has the highest key; -0.0 is below 0.0.

    >>> keys(np.array([-1.0, -0.0, 0.0, 2.0, np.nan], "f2"))
    array([17407, 32767, 32768, 49152, 65535], dtype=uint16)
    """
    dtype = _unsigned(values.dtype)
    bits = values.view(dtype)
    if values.dtype.kind == "u":
        return bits
    top = dtype.type(1 << (8 * dtype.itemsize - 1))
    if values.dtype.kind == "i":
        turned: np.ndarray = bits ^ top
        return turned
    negative: np.ndarray = bits >> dtype.type(8 * dtype.itemsize - 1)
    np.negative(negative, out=negative)  # all bits of a negative number are turned over
    negative |= top
    negative ^= bits
    lost = np.isnan(values)
    if lost.any():
        negative[lost] = np.iinfo(dtype).max
    return negative


def from_keys(found: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values of a keyed dtype from their keys (of any unsigned dtype)."""
    unsigned = _unsigned(dtype)
    bits: np.ndarray = found.astype(unsigned)
    top = unsigned.type(1 << (8 * dtype.itemsize - 1))
    if dtype.kind == "i":
        bits = bits ^ top
    elif dtype.kind == "f":
        bits = np.where(bits & top != 0, bits ^ top, ~bits)
    return bits.view(dtype)


def digits(values: np.ndarray, level: int, prefix: int = 0) -> np.ndarray:
    """Digit ``level`` of the keys of values whose digits before that are ``prefix``."""
    found = keys(values)
    if found.itemsize * 8 <= DIGIT:
        return found
    shift = found.dtype.type(found.itemsize * 8 - DIGIT * (level + 1))
    if level:
        before = found >> (shift + found.dtype.type(DIGIT))
        found = found[np.flatnonzero(before == found.dtype.type(prefix))]
    wanted: np.ndarray = (found >> shift).astype(np.uint16)
    return wanted


def digit_counts(values: np.ndarray, size: int, level: int, prefix: int = 0) -> np.ndarray:
    """How often each digit occurs; see ``digits``. ``values`` are one contiguous dim.

    >>> digit_counts(np.array([3, 1, 3], "u1"), 256, 0)[:4]
    array([0, 1, 0, 2])
    """
    total = np.zeros(size, np.int64)
    longest = _LONGEST // values.itemsize
    for start in range(0, len(values), longest):
        found = digits(values[start : start + longest], level, prefix)
        if len(found) >= _SORTED_FROM:
            total += _sorted_counts(found, size)
            continue
        for lo in range(0, len(found), _AT_ONCE):
            total += np.bincount(found[lo : lo + _AT_ONCE], minlength=size)
    return total


def prefixed_counts(
    values: np.ndarray, level: int, prefixes: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Digits of the keys that begin with any of many ascending prefixes, stretch by stretch.

    Gives the numbers of the prefixes, the digits, and how often each such pair occurs.

    >>> values = np.array([1, 65536, 65537, 65537], "u4")
    >>> [found.tolist() for found in next(prefixed_counts(values, 1, np.array([0, 1])))]
    [[0, 1, 1], [1, 0, 1], [1, 1, 2]]
    """
    for start in range(0, len(values), _AT_ONCE):
        found = keys(values[start : start + _AT_ONCE])
        wanted = prefixes.astype(found.dtype)
        shift = found.dtype.type(found.itemsize * 8 - DIGIT * (level + 1))
        before = found >> (shift + found.dtype.type(DIGIT))
        at = np.minimum(np.searchsorted(wanted, before), len(wanted) - 1)
        hits = np.flatnonzero(wanted[at] == before)
        pairs = at[hits] << DIGIT | (found[hits] >> shift).astype(np.uint16).astype(np.intp)
        pairs, counts = np.unique(pairs, return_counts=True)
        yield pairs >> DIGIT, pairs & ((1 << DIGIT) - 1), counts


def _sorted_counts(found: np.ndarray, size: int) -> np.ndarray:
    """Counts by sorting, which for small integers takes linear time."""
    ends = np.searchsorted(np.sort(found), np.arange(size, dtype=found.dtype), side="right")
    return np.diff(ends, prepend=0)


def neighbours(count: int, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ranks of the elements below and above each quantile of ``count``, and how far it is between.

    As ``numpy.quantile(method="linear")``: the rank is (count - 1) q, in the dtype of ``q``.

    >>> neighbours(5, np.array([0.3, 1.0]))
    (array([1, 4]), array([2, 4]), array([0.2, 0. ]))
    """
    rank = np.asarray((count - 1) * q)
    below = np.clip(np.floor(rank), 0, count - 1).astype(np.int64)
    # Of many elements the rank itself may be rounded up beyond the last one.
    last = rank >= count - 1
    below = np.where(last, count - 1, below)
    above = np.where(last, count - 1, below + 1)
    # Of a single element NumPy takes the upper neighbour, which keeps the sign of a zero.
    gamma = np.where(last, rank.dtype.type(count == 1), rank - below)
    return below, above, gamma.astype(rank.dtype)


def interpolate(
    below: np.ndarray, above: np.ndarray, gamma: np.ndarray, dtype: np.dtype, *, weak: bool
) -> np.ndarray:
    """Values between two neighbours, with NumPy's formula, so that the last bit is the same.

    ``weak``: gamma counts as a Python number, which leaves floats their dtype. Differences of
    signed integers are taken as unsigned ones, which do not overflow.
    """
    if gamma.dtype.kind in "iu":
        return below.astype(dtype)
    t: Any = float(gamma.reshape(-1)[0]) if weak else gamma
    if below.dtype.kind == "i":
        unsigned = _unsigned(below.dtype)
        apart = above.view(unsigned), below.view(unsigned)
    else:
        apart = above, below
    with np.errstate(all="ignore"):
        gap = apart[0] - apart[1]
        low, high = below + gap * t, above - gap * (1 - t)
    between: np.ndarray = np.where(np.greater_equal(t, 0.5), high, low).astype(dtype)
    return between
