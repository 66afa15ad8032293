"""Where the parts of a packet lie: parsing without input or output.

``outline`` is a generator. It yields ``(start, nbytes)``, what it wants to see next, is sent those
bytes, and returns the outline: which kind of packet, of which shape, and at which offsets its parts
lie. Whoever drives it has a buffer, a file of which a few bytes are read, a socket, an asyncio
stream; it sees of a packet only what states lengths, never values. Every length is checked against
what lies around it, and against ``size`` where that is known, before anything of that length is
asked for. A negative ``nbytes``, which only parsers of streams (``size=None``) yield, asks for at
most so many: fewer are sent if the stream ends there.

Rule: the tenso 0.24.0 source distribution, ``crates/tenso/src/lib.rs``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from math import prod
from typing import NamedTuple, TypeVar

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.tenso.frame import Frame, walk
from lazytensor.io.tenso.header import (
    MAX_ELEMENTS,
    QUANTIZED,
    STRINGS,
    Flag,
    Header,
    dtype_of,
    header_nbytes,
    parse_header,
)

__all__ = [
    "FOOTER", "Bundle", "Dense", "Need", "Packet", "Quantized", "Sparse", "Strings", "drive",
    "outline",
]  # fmt: skip

Buffer = bytes | bytearray | memoryview
Need = tuple[int, int]
T = TypeVar("T")
Parsing = Generator[Need, Buffer, T]

FOOTER = 8
"""Bytes of the checksum behind a body."""

_MAX_DEPTH = 64
_MAX_EXPONENT = 32
_SCHEMES = ("per_tensor", "per_channel", "per_group")
_PARTS = {"coo": ("data", "row", "col"), "csr": ("data", "indices", "indptr")}
_PARTS["csc"] = _PARTS["csr"]


class Dense(NamedTuple):
    """An array. ``body``: offsets of its stored bytes; ``frame``: where its blocks lie, if they are
    compressed. ``checksum``: where that of the stored bytes lies, or None. ``stop``: the end."""

    header: Header
    start: int
    dtype: np.dtype
    shape: tuple[int, ...]
    body: tuple[int, int]
    frame: Frame | None
    checksum: int | None
    stop: int

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return prod(self.shape) * self.dtype.itemsize


class Quantized(NamedTuple):
    """Integers of few bits and what they mean.

    ``qdtype``: ``"qint8"``, ...; ``scheme``: ``"per_tensor"``, ...; ``parameters``: how many scales
    (and zero points) there are; ``meta``: where scheme, scales and zero points begin, which the
    checksum covers together with the body; ``scales``, ``zero_points``: offsets of their first.
    """

    header: Header
    start: int
    qdtype: str
    shape: tuple[int, ...]
    scheme: str
    axis: int
    group_size: int
    parameters: int
    meta: int
    scales: int
    zero_points: int
    body: tuple[int, int]
    checksum: int | None
    stop: int


class Sparse(NamedTuple):
    """A matrix of which few elements are stored. ``kind``: coo, csr or csc; ``parts`` by name."""

    header: Header
    start: int
    kind: str
    shape: tuple[int, ...]
    parts: dict[str, Dense]
    stop: int


class Bundle(NamedTuple):
    """Packets by name, in the order in which they lie."""

    header: Header
    start: int
    entries: dict[str, Packet]
    stop: int


class Strings(NamedTuple):
    """Strings, one after another. ``offsets``: where those of ``length + 1`` uint64 lie, the last
    of which is the length of the ``payload``."""

    header: Header
    start: int
    length: int
    offsets: int
    payload: tuple[int, int]
    checksum: int | None
    stop: int


Packet = Dense | Quantized | Sparse | Bundle | Strings


def drive(parsing: Parsing[T], read: Callable[[int, int], Buffer]) -> T:
    """Run a parser on something whose bytes are at hand: ``read(start, nbytes)`` gives them all."""
    try:
        need = next(parsing)
        while True:
            need = parsing.send(read(*need))
    except StopIteration as done:
        value: T = done.value
        return value


class _Place(NamedTuple):
    """What every parser needs to know: where it is, and how it was asked."""

    size: int | None
    legacy: bool
    where: str
    depth: int

    def check(self, stop: int, what: str) -> int:
        """An offset that lies within the source."""
        if self.size is not None and stop > self.size:
            raise FormatError(f"{self.where}: truncated: {what} ends at byte {stop} of {self.size}")
        return stop


def outline(
    size: int | None, *, start: int = 0, legacy: bool = False, where: str = "packet", depth: int = 0
) -> Parsing[Packet]:
    """Parse the packet at ``start``; offsets are from the beginning of the source.

    ``size``: where the source ends, None of a stream. ``legacy``: take quantized packets of tenso
    before 0.23, whose header lacks the axis. Raises ``FormatError`` naming ``where``.

    >>> from lazytensor.io.tenso import dumps
    >>> data = dumps(np.zeros((2, 3), np.uint16))
    >>> found = drive(outline(len(data)), lambda start, n: data[start : start + n])
    >>> found.shape, found.body, found.stop
    ((2, 3), (64, 76), 76)
    """
    if depth > _MAX_DEPTH:
        raise FormatError(f"{where}: packets lie more than {_MAX_DEPTH} deep in each other")
    place = _Place(size, legacy, where, depth)
    # The shortest packet there is, an empty bundle of an old version, has eight bytes.
    room = 10 if size is None else min(10, size - start)
    if size is not None and room < 8:
        raise FormatError(f"{where}: truncated: {max(0, room)} bytes, which is no header")
    begin = yield start, 8
    if begin[4] == 4 and (size is None or room == 10):
        begin = yield start, 10
    nbytes = header_nbytes(begin, where)
    place.check(start + nbytes, "the header")
    header = parse_header((yield start, nbytes), where)
    parse = _PARSERS.get(header.kind)
    if parse is None:
        raise FormatError(f"{where}: a packet that is a {header.kind} holds no values to read")
    return (yield from parse(header, start, place))


def _alignment(header: Header, at: int, start: int, place: _Place) -> Parsing[int]:
    """Where a body begins whose header ends at ``at``."""
    if header.flags & Flag.CUSTOM_ALIGNMENT:
        place.check(at + 1, "the alignment")
        (exponent,) = bytes((yield at, 1))
        if exponent > _MAX_EXPONENT:
            raise FormatError(f"{place.where}: an alignment of 2**{exponent} bytes")
        at, align = at + 1, 1 << exponent
    else:
        align = 64 if header.flags & Flag.ALIGNED else 1
    return place.check(start + -(-(at - start) // align) * align, "the padding")


def _end(header: Header, body_stop: int, place: _Place) -> tuple[int | None, int]:
    """Where the checksum lies, and where the packet ends."""
    if not header.flags & Flag.INTEGRITY:
        return None, body_stop
    return body_stop, place.check(body_stop + FOOTER, "the checksum")


def _dense(header: Header, start: int, place: _Place) -> Parsing[Packet]:
    dtype = dtype_of(header.code, place.where)
    nbytes = prod(header.shape) * dtype.itemsize
    body = yield from _alignment(header, start + header.nbytes, start, place)
    frame = None
    behind = FOOTER if header.flags & Flag.INTEGRITY else 0
    if header.flags & Flag.COMPRESSION:
        frame = yield from walk(body, place.size, nbytes, behind, place.where)
        stop = frame.stop
    else:
        stop = place.check(body + nbytes, f"the body of {nbytes} bytes")
    checksum, end = _end(header, stop, place)
    return Dense(header, start, dtype, header.shape, (body, stop), frame, checksum, end)


def _quantized(header: Header, start: int, place: _Place) -> Parsing[Packet]:
    at = start + header.nbytes
    shape, n = header.shape, prod(header.shape)
    place.check(at + 9, "the parameters")
    meta_nbytes = 10 if place.size is None or at + 10 <= place.size else 9
    meta = bytes((yield at, meta_nbytes))
    expected = None
    if len(meta) == 10:
        scheme, axis, group_size, parameters = struct.unpack("<BBII", meta)
        expected = _parameters(shape, scheme, axis, group_size)
    if expected is None or expected != parameters:
        if not place.legacy:
            raise FormatError(
                f"{place.where}: scheme, axis, groups and number of scales ({meta.hex(' ')}) do "
                f"not fit the shape {shape}; packets of tenso before 0.23 are read with "
                f"legacy=True"
            )
        meta_nbytes = 9
        scheme, group_size, parameters = struct.unpack("<BII", meta[:9])
        axis = _legacy_axis(shape, scheme, parameters)
        if _parameters(shape, scheme, axis, group_size) != parameters:
            raise FormatError(
                f"{place.where}: scheme, groups and number of scales ({meta[:9].hex(' ')}) do not "
                f"fit the shape {shape}"
            )
    axis = axis if _SCHEMES[scheme] == "per_channel" else 0  # means nothing otherwise
    scales = at + meta_nbytes
    zero_points = scales + 4 * parameters
    place.check(zero_points + 4 * parameters, f"{parameters} scales and zero points")
    body = yield from _alignment(header, zero_points + 4 * parameters, start, place)
    qdtype = QUANTIZED[header.code]
    nbytes = (n + 1) // 2 if qdtype.endswith("4") else n
    stop = place.check(body + nbytes, f"the body of {nbytes} bytes")
    checksum, end = _end(header, stop, place)
    return Quantized(
        header, start, qdtype, shape, _SCHEMES[scheme], axis, group_size, parameters, at, scales,
        zero_points, (body, stop), checksum, end,
    )  # fmt: skip


def _parameters(shape: tuple[int, ...], scheme: int, axis: int, group_size: int) -> int | None:
    """How many scales there must be; None where scheme, axis and group size are none."""
    if scheme == 0 and group_size == 0:
        return 1
    if scheme == 1 and group_size == 0 and axis < len(shape):
        return shape[axis]
    if scheme == 2 and group_size > 0:
        return -(-prod(shape) // group_size)
    return None


def _legacy_axis(shape: tuple[int, ...], scheme: int, parameters: int) -> int:
    """The axis that the older layout does not state: the only one with so many positions."""
    if scheme != 1 or shape.count(parameters) != 1:
        return 0
    return shape.index(parameters)


def _sparse(header: Header, start: int, place: _Place) -> Parsing[Packet]:
    if len(header.shape) != 2:
        raise FormatError(f"{place.where}: a sparse matrix with {len(header.shape)} dims")
    at = start + header.nbytes
    parts: dict[str, Dense] = {}
    for name in _PARTS[header.kind]:
        place.check(at + 4, f"the size of {name}")
        (size,) = struct.unpack("<I", (yield at, 4))
        stop = place.check(at + 4 + size, f"{name} of {size} bytes")
        inner = _Place(stop, place.legacy, f"{place.where}, {name}", place.depth + 1)
        found = yield from outline(
            stop, start=at + 4, where=inner.where, legacy=place.legacy, depth=inner.depth
        )
        if not isinstance(found, Dense) or len(found.shape) != 1:
            raise FormatError(f"{inner.where}: expected an array with one dim")
        parts[name] = found
        at = stop
    return Sparse(header, start, header.kind, header.shape, parts, at)


def _bundle(header: Header, start: int, place: _Place) -> Parsing[Packet]:
    at = start + header.nbytes
    entries: dict[str, Packet] = {}
    for number in range(header.number):
        place.check(at + 4, f"the length of key {number}")
        (length,) = struct.unpack("<I", (yield at, 4))
        if length > _LONGEST_KEY:
            raise FormatError(f"{place.where}: key {number} has {length} bytes")
        place.check(at + 4 + length + 4, f"key {number} of {length} bytes")
        try:
            key = bytes((yield at + 4, length)).decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"{place.where}: key {number} is no UTF-8: {error}") from None
        if key in entries:
            raise FormatError(f"{place.where}: key {key!r} is there twice")
        at += 4 + length
        (size,) = struct.unpack("<I", (yield at, 4))
        stop = place.check(at + 4 + size, f"{key!r} of {size} bytes")
        entries[key] = yield from outline(
            stop, start=at + 4, legacy=place.legacy, where=f"{place.where}[{key!r}]",
            depth=place.depth + 1,
        )  # fmt: skip
        at = stop
    return Bundle(header, start, entries, at)


_LONGEST_KEY = 1 << 20


def _strings(header: Header, start: int, place: _Place) -> Parsing[Packet]:
    if header.code != STRINGS or len(header.shape) != 1:
        raise FormatError(
            f"{place.where}: strings have dtype code {STRINGS} and one dim, not "
            f"{header.code} and {len(header.shape)}"
        )
    (count,) = header.shape
    if count > MAX_ELEMENTS:
        raise FormatError(f"{place.where}: {count} strings")
    offsets = yield from _alignment(header, start + header.nbytes, start, place)
    payload = place.check(offsets + 8 * (count + 1), f"the offsets of {count} strings")
    (length,) = struct.unpack("<Q", (yield payload - 8, 8))
    stop = place.check(payload + length, f"the text of {length} bytes")
    checksum, end = _end(header, stop, place)
    return Strings(header, start, count, offsets, (payload, stop), checksum, end)


_PARSERS = {
    "dense": _dense,
    "quantized": _quantized,
    "coo": _sparse,
    "csr": _sparse,
    "csc": _sparse,
    "bundle": _bundle,
    "string": _strings,
}
