"""Calls of Linux that Python does not have.

Each is looked up in the C library when it is first wanted; where there is none, None comes back,
and who asks does without.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

__all__ = ["fallocate", "renameat2"]


@cache
def _library() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


@cache
def renameat2() -> Callable[[int, bytes, int, bytes, int], int] | None:
    """``renameat2(2)``, which can exchange two names; 0 for success."""
    call: Any = getattr(_library(), "renameat2", None)
    if call is not None:
        import ctypes

        integer, text = ctypes.c_int, ctypes.c_char_p
        call.argtypes = (integer, text, integer, text, ctypes.c_uint)
    found: Callable[[int, bytes, int, bytes, int], int] | None = call
    return found


@cache
def _fallocate() -> Any:
    library = _library()
    call = getattr(library, "fallocate64", None) or getattr(library, "fallocate", None)
    if call is not None:
        import ctypes

        call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return call


def fallocate(fd: int, flags: int, start: int, nbytes: int) -> int | None:
    """``fallocate(2)``: an ``errno``, 0 for success; None where there is no such call.

    Where a file system cannot, it says so. ``posix_fallocate`` would write every block instead,
    which over a network takes as long as writing everything.
    """
    call = _fallocate()
    if call is None:
        return None
    import ctypes

    return 0 if call(fd, flags, start, nbytes) == 0 else ctypes.get_errno()
