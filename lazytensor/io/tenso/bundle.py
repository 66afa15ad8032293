"""The packets of a file: found by walking headers, and sources of what they hold.

A file holds packets one behind the other, a bundle holds packets by name. To find them takes the
headers, which are small, and of compressed ones the sizes of their blocks; no values are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lazytensor.errors import FormatError
from lazytensor.io.store import Buffer, StoredObject
from lazytensor.io.stored import Stored
from lazytensor.io.tenso.checking import Check
from lazytensor.io.tenso.dense_source import ArrayBody, Body, PacketSource
from lazytensor.io.tenso.describe import describe
from lazytensor.io.tenso.frame_source import FrameBody
from lazytensor.io.tenso.header import MAGIC
from lazytensor.io.tenso.in_packet import Place
from lazytensor.io.tenso.outline import (
    Bundle,
    Dense,
    Packet,
    Quantized,
    Sparse,
    Strings,
    drive,
    outline,
)
from lazytensor.io.tenso.quantized_source import quantized_body
from lazytensor.io.tenso.sparse_source import SparseSource

__all__ = ["AHEAD", "Found", "named", "packets_in", "source_of"]

AHEAD = 256
"""Bytes of the start of a packet that are read at once: no header of an array is longer."""
_FAR_AHEAD = 16 << 10
_MOST_AHEAD = 8 << 20
_PathPart = int | str


class _Peeking:
    """Reads small parts of an object that come in ascending order, a little ahead.

    Near, a look at each block of a long frame is cheap. Over a network, where each is a round trip,
    windows grow as long as the next part is not far: then a long walk is one read of everything.
    """

    def __init__(self, whole: StoredObject, *, remote: bool) -> None:
        self._whole = whole
        self._remote = remote
        self._ahead = _FAR_AHEAD if remote else AHEAD
        self._start = 0
        self._data: memoryview = memoryview(b"")

    def read(self, start: int, nbytes: int) -> Buffer:
        """Some bytes, or as many as there are."""
        stop = min(self._whole.size, start + nbytes)
        at = start - self._start
        if start >= stop:
            return b""
        if at < 0 or stop > self._start + len(self._data):
            if self._remote and 0 <= at <= len(self._data) + self._ahead and len(self._data):
                self._ahead = min(_MOST_AHEAD, 4 * self._ahead)
            length = min(self._whole.size, max(stop, start + self._ahead)) - start
            self._data = memoryview(self._whole.read(start, length))
            self._start, at = start, 0
        return self._data[at : at + stop - start]


class Found(NamedTuple):
    """The packets of a file, from the first on. ``behind``: where the last of them ends."""

    packets: list[Packet]
    behind: int


def packets_in(
    whole: StoredObject, *, remote: bool, legacy: bool, where: str, most: int | None = None
) -> Found:
    """The outlines of the packets of an opened file; bytes behind the last one are passed over.

    ``most``: how many to look for. Raises ``FormatError`` naming ``where`` for what is no packet.
    """
    peeking = _Peeking(whole, remote=remote)
    packets: list[Packet] = []
    at = 0
    while most is None or len(packets) < most:
        if packets and bytes(peeking.read(at, len(MAGIC))) != MAGIC:
            break
        name = where if not packets else f"{where}, packet {len(packets)}"
        packet = drive(outline(whole.size, start=at, legacy=legacy, where=name), peeking.read)
        packets.append(packet)
        at = packet.stop
    return Found(packets, at)


def named(packets: list[Packet], where: str) -> dict[str, tuple[tuple[_PathPart, ...], Packet]]:
    """Everything that holds values, by key: number of the packet unless a bundle is all there is,
    then keys, with ``/`` between."""
    found: dict[str, tuple[tuple[_PathPart, ...], Packet]] = {}
    alone = len(packets) == 1 and isinstance(packets[0], Bundle)
    for number, packet in enumerate(packets):
        for path, inner in _leaves((number,), packet):
            key = "/".join(map(str, path[1:] if alone else path))
            if key in found:
                raise FormatError(f"{where}: two packets are called {key!r}, by bundles in bundles")
            found[key] = path, inner
    return found


def _leaves(
    path: tuple[_PathPart, ...], packet: Packet
) -> Iterator[tuple[tuple[_PathPart, ...], Packet]]:
    if not isinstance(packet, Bundle):
        yield path, packet
        return
    for key, inner in packet.entries.items():
        yield from _leaves((*path, key), inner)


def source_of(stored: Stored, place: Place, packet: Packet) -> PacketSource | SparseSource:
    """The source of (a part of) a packet.

    Raises ``FormatError`` for strings and bundles, which are no array.
    """
    where = f"tenso {stored.name}{place.suffix}"
    if isinstance(packet, Sparse):
        return SparseSource(stored, place, packet, describe(packet), source_of)
    if isinstance(packet, (Bundle, Strings)):
        kind = "strings" if isinstance(packet, Strings) else "a bundle"
        raise FormatError(
            f"{where} holds {kind}, which are no array: lt.io.tenso.loads reads them at once"
        )
    body = _body(stored, place, packet, where)
    shape, check = packet.shape, None
    if isinstance(packet, Quantized) and place.part != "values":
        shape = (packet.parameters,)
    if packet.checksum is not None and place.verify != "never" and place.part == "values":
        check = _check(packet, body, where, remote=stored.remote)
    return PacketSource(stored, place, shape, body, check, packet, describe(packet), source_of)


def _body(stored: Stored, place: Place, packet: Dense | Quantized, where: str) -> Body:
    if isinstance(packet, Quantized):
        return quantized_body(packet, place.part, stored)
    if packet.frame is not None:
        return FrameBody(packet, stored, where)
    return ArrayBody(packet.shape, packet.dtype, packet.body[0], stored)


def _check(packet: Dense | Quantized, body: Body, where: str, *, remote: bool) -> Check:
    """The bytes that the checksum covers: of quantized packets their parameters, too, and of frames
    more than their blocks."""
    assert packet.checksum is not None
    start, stop = packet.body
    first, last = body.span if isinstance(body, FrameBody) else (start, stop)
    before = start, first
    if isinstance(packet, Quantized):
        before = packet.meta, packet.zero_points + 4 * packet.parameters
    return Check(before, (first, last), (last, stop), packet.checksum, where, remote=remote)
