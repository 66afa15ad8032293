"""LZ4 as Java's lz4 library writes streams: blocks with a header and a checksum each.

That is what N5 calls ``lz4``; it has nothing to do with the LZ4 frame format, nor with the framing
of numcodecs. A header is: the text ``LZ4Block``, a token (method in the high four bits), and three
32-bit numbers, little endian: stored size, decoded size, and 28 bits of XXH32 of the decoded bytes.
An empty block ends the stream.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from lazytensor.errors import ChecksumError, ChunkDecodeError
from lazytensor.io.codec.bytecodec import ByteCodec, mismatch, not_above
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer

__all__ = ["Lz4BlocksCodec"]

_HEADER = struct.Struct("<8sBIII")
_MAGIC = b"LZ4Block"
_RAW, _LZ4 = 0x10, 0x20
_SEED = 0x9747B28C
_CHECKED_BITS = 0x0FFFFFFF
# No block of LZ4 yields more bytes than this for one stored byte.
_LZ4_MOST = 255


class _Block(NamedTuple):
    packed: memoryview
    is_raw: bool
    size: int
    check: int


class Lz4BlocksCodec(ByteCodec):
    """A stream of ``LZ4BlockOutputStream``."""

    name = "lz4"

    def announced(self, data: Buffer, most: int) -> int:
        """Decoded sizes of all blocks together."""
        return not_above(self.name, sum(block.size for block in _blocks(data)), most)

    def decode(
        self, data: Buffer, size: int, out: memoryview | None, scratch: Scratch, slot: int
    ) -> Buffer:
        """Decode to exactly ``size`` bytes; ``ChecksumError`` when a checksum does not match."""
        announced = self.announced(data, size)
        if announced != size:
            raise mismatch(self.name, size, announced)
        target = scratch.take(slot, size) if out is None else out
        at = 0
        for block in _blocks(data):
            target[at : at + block.size] = _unpack(block)
            at += block.size
        return target


def _blocks(data: Buffer) -> Iterator[_Block]:
    """The blocks up to the empty one, their headers checked."""
    view, at = memoryview(data), 0
    while at < len(view):
        if len(view) - at < _HEADER.size:
            raise ChunkDecodeError(
                f"lz4: expected a block header of {_HEADER.size} bytes, found {len(view) - at}"
            )
        magic, token, stored, size, check = _HEADER.unpack_from(view, at)
        at += _HEADER.size
        if magic != _MAGIC or token & 0xF0 not in (_RAW, _LZ4):
            raise ChunkDecodeError(f"lz4: expected a block of LZ4Block, found {magic!r}")
        if not size:
            return
        is_raw = token & 0xF0 == _RAW
        possible = size == stored if is_raw else size <= _LZ4_MOST * stored
        if stored > len(view) - at or not possible:
            raise ChunkDecodeError(
                f"lz4: a block of {stored} bytes for {size} decoded ones, where {len(view) - at} "
                "bytes are left"
            )
        yield _Block(view[at : at + stored], is_raw, size, check)
        at += stored


def _unpack(block: _Block) -> Buffer:
    import lz4.block
    import xxhash

    values: Buffer = block.packed
    if not block.is_raw:
        try:
            values = lz4.block.decompress(block.packed, uncompressed_size=block.size)
        except lz4.block.LZ4BlockError as error:
            raise ChunkDecodeError(f"lz4: {error}") from error
    if len(values) != block.size:
        raise mismatch("lz4", block.size, len(values))
    computed = xxhash.xxh32_intdigest(values, _SEED)
    if (computed ^ block.check) & _CHECKED_BITS:
        raise ChecksumError(f"lz4: expected {block.check:07x}, computed {computed:08x}")
    return values
