"""Packets in files whose length is known: read by seeking, straight into the arrays.

Since the length is known, everything a packet says of itself is checked before memory is taken, and
each array is read by itself into memory of its own.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from typing import Any

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.tenso.decode import Decoded, PieceReader, decode_packet
from lazytensor.io.tenso.outline import drive, outline

__all__ = ["FileReader", "fill_exactly", "filler", "next_in_file", "remaining"]

Fill = Callable[[memoryview], int]

_PIECE = 1 << 20


def filler(source: Any) -> Fill:
    """How bytes of a file, a socket or anything with ``read`` get into memory: a function that
    fills (a part of) what it is given and returns how much, 0 at the end.

    Raises ``TypeError`` for what cannot be read, and, when it is used, ``BlockingIOError`` for a
    source that does not wait.
    """
    into = getattr(source, "readinto", None) or getattr(source, "recv_into", None)
    if into is not None:
        return lambda room: _waited(into(room))
    some = getattr(source, "recv", None) or getattr(source, "read", None)
    if some is None:
        raise TypeError(f"{type(source).__name__} has none of readinto, recv_into, recv and read")

    def fill(room: memoryview) -> int:
        data = some(len(room))
        if isinstance(data, str):
            raise TypeError("packets are bytes: open the file in binary mode")
        count = _waited(None if data is None else len(data))
        room[:count] = data
        return count

    return fill


def _waited(count: int | None) -> int:
    if count is None:
        raise BlockingIOError("the source has no bytes yet and does not wait for them")
    return count


def fill_exactly(fill: Fill, room: memoryview, where: str) -> None:
    """Fill all of it; ``FormatError`` naming ``where`` if the source ends before."""
    at = 0
    while at < len(room):
        count = fill(room[at:])
        if not count:
            raise FormatError(f"{where}: truncated: {at} of {len(room)} bytes")
        at += count


def remaining(source: Any) -> tuple[int, int] | None:
    """Where a file stands and where it ends; None of what does not know its length.

    Others that can seek, like files of gzip, would have to read all of it to tell.
    """
    if isinstance(source, io.BytesIO):
        return source.tell(), source.getbuffer().nbytes
    if not isinstance(getattr(source, "raw", source), io.FileIO):
        return None
    status = os.fstat(source.fileno())
    return (source.tell(), status.st_size) if stat.S_ISREG(status.st_mode) else None


class FileReader(PieceReader):
    """Bytes of a file by offset, in memory of their own."""

    def __init__(self, file: Any, where: str) -> None:
        self._file = file
        self._fill = filler(file)
        self._where = where

    def __call__(self, start: int, nbytes: int) -> memoryview:
        return self._read(start, nbytes, max(1, nbytes), None)

    def shown(self, start: int, nbytes: int, show: Callable[[memoryview], object]) -> memoryview:
        return self._read(start, nbytes, _PIECE, show)

    def _read(
        self, start: int, nbytes: int, step: int, show: Callable[[memoryview], object] | None
    ) -> memoryview:
        room = np.empty(nbytes, np.uint8).data
        self._file.seek(start)
        for at in range(0, nbytes, step):
            piece = room[at : at + step]
            fill_exactly(self._fill, piece, self._where)
            if show is not None:
                show(piece)
        return room


def next_in_file(
    file: Any, here: int, end: int, *, sparse: str, legacy: bool, where: str
) -> Decoded | None:
    """The packet at ``here`` of a file that ends at ``end``, behind which the file then stands;
    None at the end."""
    if here >= end:
        return None
    read = FileReader(file, where)
    packet = drive(outline(end, start=here, legacy=legacy, where=where), read)
    value = decode_packet(packet, read, sparse=sparse, where=where)
    file.seek(packet.stop)
    return value
