"""Reading files from a kernel: the functions of the C library, called by address."""

from __future__ import annotations

from lazytensor.native.intrinsics import call_i32, call_i64, inner, load_i32
from lazytensor.native.kernels.chunk_block import (
    CLOCK,
    CLOCK_SAYS,
    CLOCK_SAYS_TOO,
    CLOSE,
    ERRNO,
    OPEN,
    OPEN_FLAGS,
    PREAD,
    SEEK,
)
from lazytensor.native.kernels.memory import word

_ENOENT, _ENOTDIR = 2, 20
_SEEK_END = 2
_CLOCK_MONOTONIC = 1

MISSING = -1
"""What ``open_file`` returns for a file that is not there."""


@inner
def now(p: int) -> int:
    """Nanoseconds since some time in the past."""
    call_i32(word(p, CLOCK), (_CLOCK_MONOTONIC, p + 8 * CLOCK_SAYS))
    return 1_000_000_000 * word(p, CLOCK_SAYS) + word(p, CLOCK_SAYS_TOO)


@inner
def open_file(p: int, path: int) -> int:
    """A descriptor, ``MISSING``, or less for any other failure."""
    fd = call_i32(word(p, OPEN), (path, word(p, OPEN_FLAGS), 0))
    if fd >= 0:
        return fd
    code = load_i32(call_i64(word(p, ERRNO), ()))
    return MISSING if code in (_ENOENT, _ENOTDIR) else MISSING - 1


@inner
def close_file(p: int, fd: int) -> None:
    """Give a descriptor back."""
    call_i32(word(p, CLOSE), (fd,))


@inner
def file_size(p: int, fd: int) -> int:
    """Bytes of an open file; negative for what has no size."""
    return call_i64(word(p, SEEK), (fd, 0, _SEEK_END))


@inner
def read_file(p: int, fd: int, to: int, nbytes: int, offset: int) -> bool:
    """Whether all of ``nbytes`` from ``offset`` could be read."""
    done = 0
    while done < nbytes:
        n = call_i64(word(p, PREAD), (fd, to + done, nbytes - done, offset + done))
        if n <= 0:  # the end, an error, a signal: the plain way sorts that out
            return False
        done += n
    return True
