"""Addresses of functions of the C library that kernels read files with.

Only where a kernel may assume what it is called with: 64-bit Linux. Elsewhere, and where a trial on
a real file goes wrong, there are none, and files are read from Python.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from functools import cache
from typing import NamedTuple

__all__ = ["Files", "file_functions"]

_SEEK_END = 2
_CLOCK_MONOTONIC = 1


class Files(NamedTuple):
    """Addresses of ``open``, ``pread``, ``lseek``, ``close``, of what tells where errno is, and of
    ``clock_gettime``."""

    open: int
    pread: int
    seek: int
    close: int
    errno: int
    clock: int


@cache
def file_functions() -> Files | None:
    """The functions, or None where kernels cannot read files.

    >>> found = file_functions()
    >>> found is None or all(address > 0 for address in found)
    True
    """
    if sys.platform != "linux" or sys.maxsize < 1 << 62:
        return None
    library = ctypes.CDLL(None)
    names = ("open", "pread", "lseek", "close", "__errno_location", "clock_gettime")
    try:
        found = [ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in names]
    except AttributeError:
        return None
    functions = Files(*[address or 0 for address in found])
    return functions if all(functions) and _work(functions) else None


def _work(functions: Files) -> bool:
    """Whether they read this very file, and say of a missing one that it is missing."""
    size_t, word, integer = ctypes.c_size_t, ctypes.c_int64, ctypes.c_int
    opens = ctypes.CFUNCTYPE(integer, ctypes.c_char_p, integer, integer)(functions.open)
    reads = ctypes.CFUNCTYPE(word, integer, ctypes.c_char_p, size_t, word)(functions.pread)
    seeks = ctypes.CFUNCTYPE(word, integer, word, integer)(functions.seek)
    closes = ctypes.CFUNCTYPE(integer, integer)(functions.close)
    where = ctypes.CFUNCTYPE(ctypes.POINTER(integer))(functions.errno)
    clock = ctypes.CFUNCTYPE(integer, integer, ctypes.c_void_p)(functions.clock)
    says = (word * 2)()
    if clock(_CLOCK_MONOTONIC, ctypes.addressof(says)) or not 0 <= says[1] < 1_000_000_000:
        return False
    path = os.fsencode(__file__)
    fd = opens(path, os.O_RDONLY, 0)
    if fd < 0:
        return False
    try:
        head = ctypes.create_string_buffer(16)
        good = reads(fd, head, 16, 3) == 16 and head.raw == os.pread(fd, 16, 3)
        good = good and seeks(fd, 0, _SEEK_END) == os.fstat(fd).st_size
    finally:
        closes(fd)
    return good and opens(path + b"/none", os.O_RDONLY, 0) < 0 and where()[0] == errno.ENOTDIR
