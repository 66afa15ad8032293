"""Packets that arrive piece by piece: sockets, pipes, asyncio.

Packets lie in a stream back to back, without any framing: where one ends follows from what it says.
``Assembly`` says how many bytes it wants next and is given some; it neither reads nor waits.
Nothing that a packet states makes it take more than 1 MiB of memory beyond what has arrived; it
never wants a byte that belongs to the next packet. Files, whose length is known, are read by
``files``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.tenso.buffers import as_bytes, check_sparse, packet_in, settled
from lazytensor.io.tenso.decode import Decoded, decode_packet
from lazytensor.io.tenso.encode import Options, encode
from lazytensor.io.tenso.files import Fill, filler, next_in_file, remaining
from lazytensor.io.tenso.outline import Dense, Packet, outline
from lazytensor.io.tenso.writing import write_packet

if TYPE_CHECKING:
    import asyncio

__all__ = [
    "Assembly", "aread_stream", "awrite_stream", "iter_packets", "next_packet", "read_stream",
    "write_stream",
]  # fmt: skip

_STEP = 1 << 20


class _Growing:
    """Bytes [start, start + arrived) of a stream, in memory that grows as they arrive."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.arrived = 0
        self._room = np.empty(0, np.uint8)

    @property
    def stop(self) -> int:
        """Where in the stream the bytes end that are here."""
        return self.start + self.arrived

    def wants(self, stop: int) -> int:
        """How many bytes are taken at once of those up to ``stop``."""
        return min(stop - self.stop, _STEP)

    def take(self, stop: int, fill: Fill) -> int:
        """Let some of the bytes up to ``stop`` be filled in; how many came."""
        end = self.arrived + self.wants(stop)
        if end > self._room.size:
            # Nobody has a view of it: those that are lent are released before this returns.
            self._room.resize(end, refcheck=False)
        with self._room.data[self.arrived : end] as room:
            count = fill(room)
        self.arrived += count
        return count

    def drop(self) -> None:
        """Forget what is here; what comes next follows it."""
        self.start, self.arrived = self.stop, 0

    def view(self, start: int, nbytes: int) -> memoryview:
        """Bytes of the stream that are here. No ``take`` after this."""
        at = start - self.start
        return self._room.data[at : at + nbytes]

    def peek(self, start: int, nbytes: int) -> bytes:
        """A copy of a few bytes, or of as many of them as are here."""
        at = start - self.start
        return self._room[at : min(at + nbytes, self.arrived)].tobytes()


class Assembly:
    """One packet that is being received.

    ``wants`` says how many bytes it takes next, 0 when it is complete; ``take`` has them filled in;
    ``value`` is what the packet holds. ``is_empty``: the stream ended before its first byte.
    """

    def __init__(self, *, legacy: bool = False, where: str = "stream") -> None:
        self._where = where
        self._parsing = outline(None, legacy=legacy, where=where)
        self._bytes = _Growing(0)
        self._packet: Packet | None = None
        self.is_empty = False
        self._need = next(self._parsing)
        self._goal = self._need[0] + abs(self._need[1])

    @property
    def wants(self) -> int:
        """Bytes that the next ``take`` has room for; 0: the packet, or the stream, is complete."""
        return 0 if self.is_empty else self._bytes.wants(self._goal)

    def take(self, fill: Fill) -> None:
        """Call ``fill(room)``, which puts bytes into the room and returns how many, 0 at the end.

        Raises ``FormatError`` for what is no packet, and if the stream ends within one.
        """
        if not self._bytes.take(self._goal, fill):
            self._end()
        elif self._packet is None:
            self._parse()
        else:
            self._pass_padding()

    def _end(self) -> None:
        if not self._bytes.stop:
            self.is_empty = True
        elif self._packet is None and self._need[1] < 0:
            self._parse(ended=True)
        else:
            raise FormatError(
                f"{self._where}: truncated: the stream ended within a packet, {self._bytes.stop} "
                f"bytes after its start"
            )

    def _parse(self, *, ended: bool = False) -> None:
        """Show the parser what it needs, as long as that is here."""
        while self._packet is None and (ended or self._bytes.stop >= self._goal):
            start, nbytes = self._need
            try:
                self._need = self._parsing.send(self._bytes.peek(start, abs(nbytes)))
                self._goal = self._need[0] + abs(self._need[1])
            except StopIteration as done:
                self._packet = done.value
                self._goal = done.value.stop
                self._pass_padding()

    def _pass_padding(self) -> None:
        """What is in front of an array is forgotten, so that it begins in memory of its own."""
        packet = self._packet
        if not isinstance(packet, Dense) or packet.frame is not None:
            return
        begin = packet.body[0]
        if self._bytes.start < begin:
            self._bytes.drop()
            self._goal = packet.stop if self._bytes.stop == begin else begin

    def value(self, *, sparse: str = "scipy") -> Decoded:
        """What the packet holds, in memory of its own that may be written; None of no packet."""
        if self._packet is None:
            return None
        value = decode_packet(self._packet, self._bytes.view, sparse=sparse, where=self._where)
        return settled(value, copy=False, writable=True)


def read_stream(source: Any, *, sparse: str = "scipy", legacy: bool = False) -> Decoded | None:
    """What the next packet of a stream holds; None where the stream ends.

    Parameters
    ----------
    source
        Whatever has ``readinto``, ``recv_into`` (sockets), ``recv`` or ``read``, which may give
        fewer bytes than asked for. Only bytes of this packet are taken. Of regular files the length
        is known, and packets are checked against it before memory is taken; for others at most
        1 MiB is taken beyond what has arrived. Time-outs of a socket are passed on; the packet in
        which one happened is lost.
    sparse, legacy
        As of ``lt.io.tenso.loads``.

    Arrays are in memory of their own and may be written. Raises ``FormatError`` for what is no
    packet, and if the stream ends within one.

    >>> import io
    >>> source = io.BytesIO()
    >>> write_stream(np.arange(3), source)
    88
    >>> _ = source.seek(0)
    >>> read_stream(source), read_stream(source)
    (array([0, 1, 2]), None)
    """
    check_sparse(sparse)
    return next_packet(source, sparse=sparse, legacy=legacy, where=name_of(source, "stream"))


def name_of(source: Any, otherwise: str) -> str:
    """What errors call a file: its path, if it has one."""
    name = getattr(source, "name", None)
    return os.fsdecode(name) if isinstance(name, str | bytes) else otherwise


def next_packet(source: Any, *, sparse: str, legacy: bool, where: str) -> Decoded | None:
    """The same, errors naming ``where``."""
    known = remaining(source)
    if known is not None:
        value = next_in_file(source, *known, sparse=sparse, legacy=legacy, where=where)
        return settled(value, copy=False, writable=True)
    fill = filler(source)
    assembly = Assembly(legacy=legacy, where=where)
    while assembly.wants:
        assembly.take(fill)
    return assembly.value(sparse=sparse)


async def aread_stream(
    reader: asyncio.StreamReader, *, sparse: str = "scipy", legacy: bool = False
) -> Decoded | None:
    """The same of a reader of asyncio, or of anything with a coroutine ``read(n)``.

    A call that is cancelled has taken a part of a packet: the stream cannot be read on.
    """
    check_sparse(sparse)
    assembly = Assembly(legacy=legacy)
    while wants := assembly.wants:
        assembly.take(_giving(await reader.read(wants)))
    return assembly.value(sparse=sparse)


def _giving(data: bytes) -> Fill:
    def fill(room: memoryview) -> int:
        room[: len(data)] = data
        return len(data)

    return fill


def iter_packets(source: Any, *, sparse: str = "scipy", legacy: bool = False) -> Iterator[Decoded]:
    """What the packets of a stream hold, one after the other, up to its end.

    ``source``: as of ``read_stream``, or the path of a file, or a buffer (whose arrays are views
    of it, as of ``loads``). Raises as ``read_stream`` does, when it gets there.

    >>> import io
    >>> file = io.BytesIO()
    >>> write_stream(np.arange(2), file) + write_stream(np.ones(1), file)
    152
    >>> list(iter_packets(file.getvalue()))
    [array([0, 1]), array([1.])]
    """
    check_sparse(sparse)
    if isinstance(source, str | os.PathLike):
        return _in_path(source, sparse, legacy)
    if isinstance(source, bytes | bytearray | memoryview | np.ndarray):
        return _in_buffer(as_bytes(source), sparse, legacy)
    return _in_stream(source, sparse, legacy)


def _in_stream(source: Any, sparse: str, legacy: bool) -> Iterator[Decoded]:
    while (found := read_stream(source, sparse=sparse, legacy=legacy)) is not None:
        yield found


def _in_path(path: str | os.PathLike[str], sparse: str, legacy: bool) -> Iterator[Decoded]:
    with open(path, "rb") as file:
        yield from _in_stream(file, sparse, legacy)


def _in_buffer(view: memoryview, sparse: str, legacy: bool) -> Iterator[Decoded]:
    at = number = 0
    while at < len(view):
        where = f"packet {number}"
        value, at = packet_in(view, at, sparse=sparse, legacy=legacy, where=where)
        yield settled(value, copy=False, writable=False)
        number += 1


def write_stream(
    obj: object,
    dest: Any,
    strict: bool = False,
    check_integrity: bool = False,
    compress: bool = False,
    alignment: int = 64,
) -> int:
    """Write the packet of ``lt.io.tenso.dumps`` to whatever has ``sendall`` or ``write``; how many
    bytes that were. The values are written from where they are."""
    encoded = encode(obj, Options(strict, check_integrity, compress, alignment))
    return write_packet(dest, encoded)


async def awrite_stream(
    obj: object,
    writer: asyncio.StreamWriter,
    strict: bool = False,
    check_integrity: bool = False,
    compress: bool = False,
    alignment: int = 64,
) -> int:
    """The same to a writer of asyncio; never more than 1 MiB is handed to it before it has drained.

    The arrays must not change before this returns, and may afterwards.
    """
    encoded = encode(obj, Options(strict, check_integrity, compress, alignment))
    for part in encoded.parts:
        view = memoryview(part)
        for at in range(0, len(view), _STEP):
            # A copy: the writer may keep what it has not sent beyond the end of this call.
            writer.write(bytes(view[at : at + _STEP]))
            await writer.drain()
    return encoded.nbytes
