"""Where memory begins: what compiled code is told of arrays and buffers.

Whoever takes an address keeps the memory alive for as long as it is used. NumPy's own answers
(``array.ctypes``, ``__array_interface__``) take one or two microseconds, as long as a small kernel;
of plain tables the buffer protocol tells it in a quarter of that.
"""

from __future__ import annotations

import ctypes

import numpy as np

__all__ = ["address_of", "address_of_bytes", "address_of_words"]

_NOTHING = ctypes.c_char * 0


def address_of(array: np.ndarray) -> int:
    """Of the first element of an array of any strides, which may be read-only.

    >>> array = np.arange(4)
    >>> address_of(array[::-1]) - address_of(array)
    24
    """
    address: int = array.__array_interface__["data"][0]
    return address


def address_of_words(array: np.ndarray) -> int:
    """The same of a C-contiguous and writable array of plain numbers, much faster.

    >>> array = np.arange(4)
    >>> address_of_words(array) == address_of(array)
    True
    """
    return ctypes.addressof(_NOTHING.from_buffer(array))  # type: ignore[arg-type]


def address_of_bytes(data: bytes | bytearray | memoryview | np.ndarray) -> int:
    """Where the bytes of a buffer begin, which may be read-only.

    >>> address_of_bytes(b"abc") > 0
    True
    """
    return address_of(np.frombuffer(data, np.uint8))
