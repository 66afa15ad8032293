"""Messages of Arrow's IPC format: which buffers of a record batch lie where in a file.

Arrow itself reads record batches whole. Which buffer is whose follows from the schema, and where it
lies is said by the message before the body, a few hundred bytes; so that single fields can be read
of any file, whatever their neighbours weigh. The messages are FlatBuffers; of these, only what is
needed here is understood. Every offset is compared with what it leads into.

Source of the rules: the Arrow columnar format, "Serialization and Interprocess Communication", and
``Message.fbs``, ``File.fbs``, ``Schema.fbs``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lazytensor.errors import FormatError

__all__ = [
    "BATCH", "CODECS", "DICTIONARY", "SCHEMA", "Batch", "Block", "Message", "batch_of", "blocks_of",
    "is_footer_little_endian", "is_little_endian", "message_at",
]  # fmt: skip

SCHEMA, DICTIONARY, BATCH = 1, 2, 3
"""Kinds of messages."""
CODECS = ("lz4", "zstd")
"""Compressions of buffers, by number."""

_CONTINUES = b"\xff\xff\xff\xff"
_AHEAD = 4096
_MOST_METADATA = 1 << 28

Read = Callable[[int, int], bytes]
"""``read(start, nbytes)``: as many bytes of a file, or less where it ends."""


class Block(NamedTuple):
    """Where a message is: its first byte, bytes up to the body, bytes of the body."""

    offset: int
    metadata: int
    body: int

    @property
    def start(self) -> int:
        """First byte of the body."""
        return self.offset + self.metadata

    @property
    def stop(self) -> int:
        """First byte behind the body."""
        return self.start + self.body


class Message(NamedTuple):
    """A message without its body."""

    kind: int
    header: _Table
    block: Block


class Batch(NamedTuple):
    """A record batch without its body.

    ``nodes``: length and nulls of each array. ``buffers``: first byte in the file, and number of
    bytes. ``codec``: of buffers, None if they are as they are. ``variadic``: data buffers of views.
    """

    rows: int
    nodes: np.ndarray
    buffers: np.ndarray
    codec: str | None
    variadic: tuple[int, ...]


class _Table:
    """A table of a FlatBuffer; fields by number."""

    __slots__ = ("_at", "_data", "_fields")

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        start = at - _number(data, "<i", at)
        size = _number(data, "<H", start)
        count = max(size - 4, 0) // 2
        if start < 0 or start + size > len(data):
            raise FormatError("a table of a message leads out of it")
        self._fields = struct.unpack_from(f"<{count}H", data, start + 4)

    def _place(self, field: int) -> int:
        offset = self._fields[field] if field < len(self._fields) else 0
        return self._at + offset if offset else 0

    def number(self, field: int, form: str, default: int = 0) -> int:
        """A number of the ``struct`` format ``form``."""
        place = self._place(field)
        return _number(self._data, form, place) if place else default

    def table(self, field: int) -> _Table | None:
        """A table, or None."""
        place = self._place(field)
        if not place:
            return None
        return _Table(self._data, place + _number(self._data, "<I", place))

    def vector(self, field: int, dtype: np.dtype) -> np.ndarray:
        """Numbers or structs side by side."""
        place = self._place(field)
        if not place:
            return np.empty(0, dtype)
        place += _number(self._data, "<I", place)
        count = _number(self._data, "<I", place)
        if place + 4 + count * dtype.itemsize > len(self._data):
            raise FormatError("a list of a message leads out of it")
        return np.frombuffer(self._data, dtype, count, place + 4)


def _number(data: bytes, form: str, at: int) -> int:
    if not 0 <= at <= len(data) - struct.calcsize(form):
        raise FormatError("an offset of a message leads out of it")
    return int(struct.unpack_from(form, data, at)[0])


def _root(data: bytes) -> _Table:
    return _Table(data, _number(data, "<I", 0))


_BLOCK = np.dtype([("offset", "<i8"), ("metadata", "<i4"), ("pad", "<i4"), ("body", "<i8")])
_PAIR = np.dtype("<i8")
_NODE = np.dtype([("length", "<i8"), ("nulls", "<i8")])


def blocks_of(footer: bytes, size: int) -> tuple[list[Block], list[Block]]:
    """The record batches and dictionaries that a footer lists, in a file of ``size`` bytes."""
    root = _root(footer)
    found = []
    for field in (3, 2):
        blocks = [
            Block(int(b["offset"]), int(b["metadata"]), int(b["body"]))
            for b in root.vector(field, _BLOCK)
        ]
        for block in blocks:
            if min(block) < 0 or block.offset + block.metadata + block.body > size:
                raise FormatError(f"the footer lists {block}, and the file has {size} bytes")
        found.append(blocks)
    return found[0], found[1]


def message_at(read: Read, offset: int, size: int, ahead: int | None = None) -> Message | None:
    """The message that begins at a byte of a file of ``size`` bytes; None if there are no more.

    ``ahead``: bytes to read at first, which had better be all of it.
    """
    head = read(offset, min(_AHEAD if ahead is None else max(ahead, 8), max(size - offset, 0)))
    if not head:
        return None
    prefix = 8 if head[:4] == _CONTINUES else 4
    if len(head) < prefix:
        raise FormatError(f"the file ends in the midst of a message, at byte {offset + len(head)}")
    (nbytes,) = struct.unpack_from("<i", head, prefix - 4)
    if not nbytes:
        return None
    stop = offset + prefix + nbytes
    if not 0 < nbytes <= _MOST_METADATA or stop > size:
        raise FormatError(
            f"a message of {nbytes} bytes begins at byte {offset} of {size}: the file is damaged, "
            f"or was cut off"
        )
    data = head[prefix : prefix + nbytes]
    if len(data) < nbytes:
        data = read(offset + prefix, nbytes)
    root = _root(bytes(data))
    body, header = root.number(3, "<q"), root.table(2)
    if header is None or body < 0 or stop + body > size:
        raise FormatError(
            f"the message at byte {offset} has a body of {body} bytes, and the file ends "
            f"{size - stop} bytes on: it is damaged, or was cut off"
        )
    return Message(root.number(1, "<B"), header, Block(offset, prefix + nbytes, body))


def is_little_endian(message: Message) -> bool:
    """Whether a schema says that numbers are in little-endian order."""
    return message.header.number(0, "<h") == 0


def is_footer_little_endian(footer: bytes) -> bool:
    """The same, of the schema in a footer."""
    schema = _root(footer).table(1)
    return schema is None or schema.number(0, "<h") == 0


def batch_of(message: Message) -> Batch:
    """Where everything in a record batch is."""
    header, block = message.header, message.block
    rows = header.number(0, "<q")
    nodes = header.vector(1, _NODE).view("<i8").reshape(-1, 2)
    buffers = header.vector(2, _NODE).view("<i8").reshape(-1, 2)
    variadic = tuple(int(n) for n in header.vector(4, _PAIR))
    compression, codec = header.table(3), None
    if compression is not None:
        number, method = compression.number(0, "<b"), compression.number(1, "<b")
        if method or not 0 <= number < len(CODECS):
            raise FormatError(f"a record batch has the unknown compression {number}, {method}")
        codec = CODECS[number]
    if rows < 0 or (nodes < 0).any() or min(variadic, default=0) < 0:
        raise FormatError(f"the record batch at byte {block.offset} has negative lengths")
    # Each by itself, so that no sum of two can overflow.
    starts, sizes = buffers[:, 0], buffers[:, 1]
    if (buffers < 0).any() or (starts > block.body).any() or (sizes > block.body - starts).any():
        raise FormatError(
            f"the record batch at byte {block.offset} has buffers that lead out of its "
            f"{block.body} bytes"
        )
    return Batch(rows, nodes, buffers + np.array([block.start, 0]), codec, variadic)
