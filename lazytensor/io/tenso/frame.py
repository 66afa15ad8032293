"""LZ4 frames, as far as one must know them to find their blocks.

A frame is a short description and blocks, each behind its size. Blocks of a frame that tenso or
this package writes are independent of each other and, all but the last, of one decoded size, so
that any of them is found and decoded alone. Other frames are read, too: with linked blocks, blocks
of any size, checksums.

A frame may be followed by a skippable frame, which decoders pass over. This package puts a table of
the sizes of the blocks into one, so that finding a block of a large array takes one small read at
the end instead of one for each block before it. Whether there is one is decided by the frame's
description and by what the table says of itself, never by what else lies behind.

Rule: LZ4 frame format 1.6.4.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Generator
from typing import NamedTuple

from lazytensor.errors import ChecksumError, FormatError

__all__ = ["RAW", "TABLE", "Frame", "walk"]

Buffer = bytes | bytearray | memoryview

_MAGIC = 0x184D2204
TABLE = 0x184D2A5E
"""The magic number of the skippable frame with the sizes of the blocks."""
_BLOCK_MOST = {4: 64 << 10, 5: 256 << 10, 6: 1 << 20, 7: 4 << 20}
RAW = 1 << 31
"""The bit of a block's size that says that it is stored as it is."""

# No block of LZ4 yields more bytes than this for one stored byte.
_MOST_PER_BYTE = 255


class Frame(NamedTuple):
    """Where the blocks of a frame lie.

    ``starts``, ``sizes``: offset and bytes of every block as it is stored; with the bit ``RAW`` in
    its size a block is its values. ``block_most``: decoded bytes of a block, at most; of all blocks
    but the last, exactly, where a block can be found alone (a decoder finds out if that is not so).
    ``independent``: no block needs those before it. ``block_checksums``, ``content_checksum``:
    whether there is one behind each block; where that of all values lies, or None.
    ``content_nbytes``: decoded bytes, if the frame says. ``stop``: where the frame, and those that
    are passed over behind it, end.
    """

    starts: array[int]
    sizes: array[int]
    block_most: int
    independent: bool
    block_checksums: bool
    content_checksum: int | None
    content_nbytes: int | None
    stop: int


class _Descriptor(NamedTuple):
    block_most: int
    independent: bool
    block_checksums: bool
    content_checksum: bool
    content_nbytes: int | None
    stop: int

    @property
    def may_have_table(self) -> bool:
        """Whether this package may have written it in front of a table."""
        plain = self.independent and not (self.block_checksums or self.content_checksum)
        return plain and self.content_nbytes is not None and self.block_most == 256 << 10


def walk(
    start: int, size: int | None, most: int, behind: int, where: str
) -> Generator[tuple[int, int], Buffer, Frame]:
    """Find the blocks of the frame at ``start`` in a source that ends at ``size`` (None: unknown).

    ``most``: how many bytes it has to decode to. ``behind``: how many bytes of the packet follow
    the frame. A generator as ``outline.outline`` is. Raises ``FormatError`` naming ``where`` for
    what is no frame, and for one that cannot decode to so many bytes.

    Of a frame that may have a table it wants to see 8 bytes behind it. Where a stream without a
    checksum may end instead, it asks for -8: at most so many.
    """
    limit = None if size is None else size - behind

    def need(at: int, nbytes: int, what: str) -> tuple[int, int]:
        if limit is not None and at + nbytes > limit:
            raise FormatError(f"{where}: truncated: {what} of its LZ4 frame at byte {at} of {size}")
        return at, nbytes

    fixed = yield need(start, 6, "the header")
    nbytes = _descriptor_nbytes(fixed, where)
    described = _descriptor((yield need(start, nbytes, "the header")), start, where)
    if described.content_nbytes not in (None, most):
        raise FormatError(
            f"{where}: an LZ4 frame of {described.content_nbytes} bytes for values of {most}"
        )
    if limit is not None and described.may_have_table:
        found = yield from _from_table(described, limit, most)
        if found is not None:
            return found
    starts, sizes = array("q"), array("I")
    at, possible, trailer = described.stop, 0, 4 * described.block_checksums
    while True:
        (stored,) = struct.unpack("<I", (yield need(at, 4, "the size of a block")))
        at += 4
        if not stored:
            break
        nbytes = stored & ~RAW
        is_raw = bool(stored & RAW)
        if not nbytes or nbytes > described.block_most or len(starts) >= most:
            raise FormatError(f"{where}: a block of {nbytes} bytes in its LZ4 frame at byte {at}")
        need(at, nbytes + trailer, f"a block of {nbytes} bytes")
        starts.append(at)
        sizes.append(stored)
        possible += nbytes if is_raw else min(described.block_most, nbytes * _MOST_PER_BYTE)
        at += nbytes + trailer
    if possible < most:
        raise FormatError(
            f"{where}: an LZ4 frame of {possible} bytes at most, for {most} of values"
        )
    checksum = None
    if described.content_checksum:
        need(at, 4, "the checksum")
        checksum, at = at, at + 4
    # Of frames that cannot have a table nobody looks at bytes that a stream may not have yet.
    table = 8 + 4 * len(starts)
    if described.may_have_table and (limit is None or at + table <= limit):
        may_end_here = limit is None and behind < 8
        begin = bytes((yield at, -8 if may_end_here else 8))
        if begin == struct.pack("<II", TABLE, table - 8):
            at += table
        elif begin and may_end_here:
            raise FormatError(
                f"{where}: expected a table of blocks behind its LZ4 frame, which in a stream "
                f"cannot be told from the next packet; read it from a file or memory"
            )
    return Frame(
        starts, sizes, described.block_most, described.independent, described.block_checksums,
        checksum, described.content_nbytes, at,
    )  # fmt: skip


def _from_table(
    described: _Descriptor, limit: int, most: int
) -> Generator[tuple[int, int], Buffer, Frame | None]:
    """The frame as the table at the end of the source has it; None if there is none of this frame.

    How long a table is, is known from how many blocks there are; it is one of this frame if blocks
    of these sizes end where it begins.
    """
    count = -(-most // described.block_most)
    nbytes = 8 + 4 * count
    table = limit - nbytes
    if table < described.stop:
        return None
    data = bytes((yield table, nbytes))
    if data[:8] != struct.pack("<II", TABLE, 4 * count):
        return None
    starts, sizes = array("q"), array("I", struct.unpack_from(f"<{count}I", data, 8))
    at, possible = described.stop + 4, 0
    for size in sizes:
        stored = size & ~RAW
        if not 0 < stored <= described.block_most:
            return None
        starts.append(at)
        possible += stored if size & RAW else stored * _MOST_PER_BYTE
        at += stored + 4
    # The size of a block that is not there, which is 0, ends the frame.
    if at != table or possible < most:
        return None
    return Frame(starts, sizes, described.block_most, True, False, None, most, limit)


def _descriptor_nbytes(fixed: Buffer, where: str) -> int:
    """How long the header of a frame is, magic number and its own check included."""
    magic, flags, blocks = struct.unpack("<IBB", bytes(fixed[:6]))
    if magic != _MAGIC:
        raise FormatError(f"{where}: expected an LZ4 frame, found {bytes(fixed[:4])!r}")
    if flags >> 6 != 1 or flags & 0x02 or blocks & 0x8F:
        raise FormatError(f"{where}: an LZ4 frame of another version, {flags:#04x} {blocks:#04x}")
    if flags & 0x01:
        raise FormatError(f"{where}: an LZ4 frame that needs a dictionary")
    return 7 + (8 if flags & 0x08 else 0)


def _descriptor(data: Buffer, start: int, where: str) -> _Descriptor:
    import xxhash

    described = bytes(data)
    flags, blocks = described[4], described[5]
    if (xxhash.xxh32_intdigest(described[4:-1]) >> 8) & 0xFF != described[-1]:
        raise ChecksumError(f"{where}: the header of its LZ4 frame does not match its check")
    most = _BLOCK_MOST.get(blocks >> 4)
    if most is None:
        raise FormatError(f"{where}: an LZ4 frame with blocks of code {blocks >> 4}")
    content = struct.unpack_from("<Q", described, 6)[0] if flags & 0x08 else None
    return _Descriptor(
        most,
        bool(flags & 0x20),
        bool(flags & 0x10),
        bool(flags & 0x04),
        content,
        start + len(described),
    )
