"""Values of 4 bits, two a byte, packed and unpacked by compiled code where that is there.

NumPy goes over such values half a dozen times, every second byte at a time; compiled code once.
Whoever packs asks here first and does the rest, which may be all of it, by itself.
"""

from __future__ import annotations

import sys

import numpy as np

from lazytensor.native.addresses import address_of, address_of_words
from lazytensor.native.build import kernel

__all__ = ["pack_pairs", "unpack_pairs"]

_FEWEST = 1 << 13
"""Bytes up to which NumPy is done as soon."""

_SAVED_SECONDS = 0.5e-9
_PACK, _UNPACK, _UNPACK_SIGNED = range(3)


def pack_pairs(data: np.ndarray, out: np.ndarray) -> int:
    """Pack consecutive values of one byte each into ``out``; how many values were packed.

    The low four bits count, the first of two in the low half; an even number of values. Both are
    one dim of bytes that lie side by side. 0 without compiled code, and for few values.

    >>> out = np.zeros(2, np.uint8)
    >>> pack_pairs(np.array([1, -1, 7], np.int8), out)
    0
    """
    return _run(_PACK, data, out, min(data.size // 2, out.size))


def unpack_pairs(packed: np.ndarray, out: np.ndarray, *, signed: bool) -> int:
    """Unpack bytes into ``out``, one value a byte; how many values were unpacked, an even number.

    >>> unpack_pairs(np.array([0xF1], np.uint8), np.zeros(2, np.int8), signed=True)
    0
    """
    what = _UNPACK_SIGNED if signed else _UNPACK
    return _run(what, packed, out, min(packed.size, out.size // 2))


def _run(what: int, source: np.ndarray, target: np.ndarray, pairs: int) -> int:
    if pairs < _FEWEST or sys.byteorder != "little":
        return 0
    if not (source.flags.c_contiguous and target.flags.c_contiguous):
        return 0
    run = kernel("quantize_nibbles", saves=_SAVED_SECONDS * pairs)
    if run is None:
        return 0
    words = np.array([pairs, address_of(source), address_of(target), what], np.int64)
    run(address_of_words(words))
    return 2 * pairs
