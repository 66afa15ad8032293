"""Parts of a packet to files and sockets, none of them copied."""

from __future__ import annotations

import io
import os
import stat
from typing import Any

from lazytensor.io.linux import fallocate
from lazytensor.io.tenso.encode import Encoded

__all__ = ["preallocate", "write_packet"]

Buffer = bytes | bytearray | memoryview

_PIECE = 4 << 20
_WORTH_ALLOCATING = 16 << 20
_KEEP_SIZE = 1


def preallocate(descriptor: int, start: int, nbytes: int) -> None:
    """Tell the system that a file is about to get so many bytes at ``start``.

    A file system that knows it beforehand takes a third less time to write a large file. Advice
    only: its length does not change, and where it is not possible nothing happens.
    """
    if nbytes >= _WORTH_ALLOCATING and stat.S_ISREG(os.fstat(descriptor).st_mode):
        fallocate(descriptor, _KEEP_SIZE, start, nbytes)


def write_packet(target: Any, packet: Encoded) -> int:
    """Write a packet to whatever has ``sendall`` or ``write``; how many bytes that were.

    Raises ``TypeError`` for what cannot be written to, ``BlockingIOError`` for a file that does not
    wait.
    """
    write = getattr(target, "sendall", None)
    if write is not None:
        return sum(_sent(write, part) for part in packet.parts)
    write = getattr(target, "write", None)
    if write is None:
        raise TypeError(f"{type(target).__name__} has neither sendall nor write")
    if isinstance(getattr(target, "raw", target), io.FileIO) and target.seekable():
        target.flush()
        preallocate(target.fileno(), target.tell(), packet.nbytes)
    return sum(_written(target, write, part) for part in packet.parts)


def _sent(send: Any, part: Buffer) -> int:
    send(part)
    return len(part)


def _written(target: Any, write: Any, part: Buffer) -> int:
    """One part, in as many writes as an unbuffered file takes for it."""
    view, at = memoryview(part), 0
    while at < len(view):
        count = write(view[at : at + _PIECE])
        if count is None and isinstance(target, io.RawIOBase):
            raise BlockingIOError("the file takes no bytes now and does not wait until it does")
        if count == 0:
            raise OSError(f"{target!r} took none of {len(view) - at} bytes")
        # Writers that are no files of Python's take all, whatever they return.
        at += count if isinstance(count, int) else min(_PIECE, len(view) - at)
    return len(view)
