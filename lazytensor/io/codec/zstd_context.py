"""The decompression context of Zstandard that each thread has.

Making one takes longer than decoding a small chunk, so it is kept: for compiled code and for calls
from Python alike, which are never at it at the same time, and given back with the thread.
"""

from __future__ import annotations

import ctypes
import threading

from lazytensor.native import symbol

__all__ = ["zstd_context"]


class _Context:
    """``address``: of the context; 0 if there was no memory for one."""

    def __init__(self, make: int, free: int) -> None:
        self._free = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p)(free)
        self.address: int = ctypes.CFUNCTYPE(ctypes.c_void_p)(make)() or 0

    def __del__(self) -> None:
        self._free(self.address)


class _PerThread(threading.local):
    context: _Context | None = None


_per_thread = _PerThread()


def zstd_context() -> int:
    """Address of this thread's context, made when it is first needed.

    0 where Zstandard is not found, or memory for it: its functions must not be given that.

    >>> zstd_context() == zstd_context()
    True
    """
    context = _per_thread.context
    if context is None:
        make, free = symbol("ZSTD_createDCtx"), symbol("ZSTD_freeDCtx")
        if make is None or free is None:
            return 0
        context = _per_thread.context = _Context(make, free)
    return context.address
