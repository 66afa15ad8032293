"""Blocks of LZ4 frames: decoded straight into their places, and written.

A frame that tenso writes has blocks that need nothing of each other, all but the last full. Each is
decoded by one call of the C library from where it is stored into where its values belong: there is
no buffer between, the GIL is free meanwhile, and any range of blocks can be decoded alone. Frames
of other writers, whose blocks refer to those before them or have any size, are decoded from the
first block to the last.

What is written is byte for byte what tenso 0.24 writes (lz4_flex does it there): blocks of 64 KiB,
256 KiB or 4 MiB, none of the optional checksums, blocks that do not get smaller as they are. A
*seekable* frame, which tenso loads as well, has blocks of 256 KiB made by liblz4, states how long
the content is, and is followed by a skippable frame with the stored sizes of its blocks (u32 each,
bit 31: as they are).
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Callable
from functools import cache

import numpy as np

from lazytensor.errors import ChecksumError, ChunkDecodeError, FormatError
from lazytensor.io.tenso.frame import RAW, TABLE, Frame
from lazytensor.native import symbol, wait
from lazytensor.native.addresses import address_of, address_of_words

__all__ = [
    "SEEKABLE_BLOCK", "IrregularBlocksError", "TensoCompressor", "block_nbytes",
    "compress_block", "decode_blocks", "decode_frame", "frame_begin", "frame_end", "frame_parts",
]  # fmt: skip

Buffer = bytes | bytearray | memoryview

SEEKABLE_BLOCK = 256 << 10
"""Decoded bytes of the blocks of a seekable frame, the last one may have fewer."""

_HISTORY = 64 << 10
_CODES = {64 << 10: 4, 256 << 10: 5, 4 << 20: 7}
_MAGIC = 0x184D2204
_END = bytes(4)
_TABLE = 1 << 12
_MOST = 4 << 20
_WAITING_SECONDS = 120.0
"""How long a compilation is waited for; a compiler that takes longer hangs."""

_FARTHEST_PLACE = (1 << 31) - 1
"""Bytes of a frame after which the compressor of tenso forgets what it has seen."""


class IrregularBlocksError(ChunkDecodeError):
    """A block before the last is not full: blocks of such a frame are not found alone."""


@cache
def _decompressor() -> Callable[[int, int, int, int], int] | None:
    """``LZ4_decompress_safe(source, target, stored, capacity)``, if it can be called by address."""
    address = symbol("LZ4_decompress_safe")
    if address is None:
        return None
    kind = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int
    )
    return kind(address)


class _Blocks:
    """The blocks of a frame in a buffer, and the memory that they are decoded into."""

    def __init__(self, frame: Frame, stored: Buffer, base: int, out: np.ndarray) -> None:
        if not (out.flags.c_contiguous and out.flags.writeable):
            raise ValueError("blocks are decoded into memory that is contiguous and writable")
        self.frame = frame
        self.base = base
        self.source = np.frombuffer(stored, np.uint8)
        self.target = out.reshape(-1).view(np.uint8)
        self._decompress = _decompressor()
        self._from = address_of(self.source) - base
        self._to = address_of(self.target)

    def check_stored(self, first: int, last: int) -> None:
        """Raise ``FormatError`` unless the bytes of blocks [first, last) are in the buffer."""
        if first >= last:
            return
        frame, behind = self.frame, 4 * self.frame.block_checksums
        stop = frame.starts[last - 1] + (frame.sizes[last - 1] & ~RAW) + behind
        if frame.starts[first] < self.base or stop > self.base + len(self.source):
            raise FormatError(
                f"LZ4 blocks {first} to {last} lie at bytes {frame.starts[first]} to {stop}; there "
                f"are those from {self.base} to {self.base + len(self.source)}"
            )

    def decode(self, number: int, at: int) -> int:
        """Decode one block to ``at`` of the target; how many bytes it had."""
        frame = self.frame
        start, nbytes = frame.starts[number], frame.sizes[number] & ~RAW
        room = min(frame.block_most, len(self.target) - at)
        if frame.block_checksums:
            self._check(number, start, nbytes)
        if frame.sizes[number] & RAW:
            if nbytes > room:
                raise self._wrong(number, f"{nbytes} bytes, where {room} are left")
            self.target[at : at + nbytes] = self._bytes(start, nbytes)
            return nbytes
        if self._decompress is None or not (frame.independent or at == 0):
            return self._decode_plainly(number, start, nbytes, at, room)
        made = self._decompress(self._from + start, self._to + at, nbytes, room)
        if made < 0:
            raise self._wrong(number, f"damaged, or more than {room} bytes")
        return made

    def _decode_plainly(self, number: int, start: int, nbytes: int, at: int, room: int) -> int:
        """The same by the package, with what blocks before it hold for it to refer to."""
        import lz4.block

        history = b"" if self.frame.independent else self.target[max(0, at - _HISTORY) : at]
        packed = self._bytes(start, nbytes).tobytes()
        try:
            values = lz4.block.decompress(packed, uncompressed_size=room, dict=bytes(history))
        except (lz4.block.LZ4BlockError, ValueError) as error:
            raise self._wrong(number, str(error)) from None
        self.target[at : at + len(values)] = np.frombuffer(values, np.uint8)
        return len(values)

    def _bytes(self, start: int, nbytes: int) -> np.ndarray:
        return self.source[start - self.base : start - self.base + nbytes]

    def _check(self, number: int, start: int, nbytes: int) -> None:
        import xxhash

        (stated,) = struct.unpack("<I", self._bytes(start + nbytes, 4).tobytes())
        computed = xxhash.xxh32_intdigest(self._bytes(start, nbytes).data)
        if computed != stated:
            raise ChecksumError(
                f"LZ4 block {number}: expected checksum {stated:08x}, computed {computed:08x}"
            )

    def _wrong(self, number: int, what: str) -> ChunkDecodeError:
        count = len(self.frame.starts)
        return ChunkDecodeError(
            f"LZ4 block {number} of {count} (byte {self._where(number)}): {what}"
        )

    def _where(self, number: int) -> int:
        return self.frame.starts[number]


def decode_blocks(
    frame: Frame, stored: Buffer, base: int, first: int, last: int, out: np.ndarray
) -> None:
    """Decode blocks [first, last) of a frame whose blocks are independent into ``out``.

    ``stored``: bytes of the source from offset ``base`` on, with all of these blocks. ``out``:
    C-contiguous, of ``last - first`` full blocks, or less by what the last block of the frame has
    less. Raises ``IrregularBlocksError`` if a block before the last of the frame is not full,
    ``ChunkDecodeError`` for one that is damaged, ``ChecksumError`` where blocks have checksums.
    """
    blocks = _Blocks(frame, stored, base, out)
    blocks.check_stored(first, last)
    total, at = blocks.target.nbytes, 0
    for number in range(first, last):
        expected = min(frame.block_most, total - at)
        made = blocks.decode(number, at)
        if made != expected:
            kind = IrregularBlocksError if number < len(frame.starts) - 1 else ChunkDecodeError
            raise kind(f"LZ4 block {number}: expected {expected} decoded bytes, found {made}")
        at += made
    if at != total:
        raise ChunkDecodeError(f"LZ4 frame: expected {total} decoded bytes, found {at}")


def decode_frame(frame: Frame, stored: Buffer, base: int, out: np.ndarray) -> None:
    """Decode all of any frame into ``out``, which has exactly so many bytes, C-contiguous.

    ``stored``: bytes of the source from offset ``base`` on. Raises as ``decode_blocks`` does, and
    ``ChecksumError`` if the frame has a checksum of its content that does not match.
    """
    blocks = _Blocks(frame, stored, base, out)
    blocks.check_stored(0, len(frame.starts))
    total, at = blocks.target.nbytes, 0
    for number in range(len(frame.starts)):
        at += blocks.decode(number, at)
    if at != total:
        raise ChunkDecodeError(f"LZ4 frame: expected {total} decoded bytes, found {at}")
    if frame.content_checksum is None:
        return
    import xxhash

    (stated,) = struct.unpack("<I", blocks._bytes(frame.content_checksum, 4).tobytes())
    computed = xxhash.xxh32_intdigest(blocks.target.data)
    if computed != stated:
        raise ChecksumError(f"LZ4 frame: expected checksum {stated:08x}, computed {computed:08x}")


def block_nbytes(nbytes: int, *, seekable: bool) -> int:
    """Decoded bytes of a block in the frame of a body of ``nbytes``.

    >>> [block_nbytes(n, seekable=False) >> 10 for n in (0, 65536, 65537, 1 << 20)]
    [64, 64, 256, 4096]
    """
    if seekable:
        return SEEKABLE_BLOCK
    return next((size for size in _CODES if nbytes <= size), 4 << 20)


def frame_begin(nbytes: int, *, seekable: bool) -> bytes:
    """What a frame begins with whose content has ``nbytes``.

    >>> frame_begin(10, seekable=False).hex()
    '04224d18604082'
    """
    import xxhash

    code = _CODES[block_nbytes(nbytes, seekable=seekable)] << 4
    described = bytes((0x60, code))
    if seekable:
        described = bytes((0x68, code)) + struct.pack("<Q", nbytes)
    check = xxhash.xxh32_intdigest(described) >> 8 & 0xFF
    return struct.pack("<I", _MAGIC) + described + bytes((check,))


def compress_block(values: Buffer) -> tuple[int, Buffer]:
    """A block: its size as it is stored, with the bit ``RAW``, and what follows that."""
    import lz4.block

    return _smaller(lz4.block.compress(values, store_size=False), values)


def _smaller(packed: Buffer, values: Buffer) -> tuple[int, Buffer]:
    if len(packed) < len(values):
        return len(packed), packed
    return len(values) | RAW, values


class TensoCompressor:
    """Compresses the blocks of one frame, in their order, byte for byte as tenso does.

    The compiled code that finds its matches is waited for, some seconds the first time on a
    machine; where there can be none, or it does not come, blocks are those of ``compress_block``,
    which every reader reads as well.
    """

    def __init__(self) -> None:
        little = sys.byteorder == "little"
        self._run = wait("lz4_compress", timeout=_WAITING_SECONDS) if little else None
        self._table = np.zeros(_TABLE, np.uint32)
        self._before = 0

    def block(self, values: Buffer) -> tuple[int, Buffer]:
        """The next block, as ``compress_block`` gives it."""
        if self._run is None:
            return compress_block(values)
        source = np.frombuffer(values, np.uint8)
        room = np.empty(source.size + source.size // 255 + 64, np.uint8)
        if self._before + _MOST + _HISTORY >= _FARTHEST_PLACE:
            self._table[...] = self._before = 0
        words = np.array(
            [
                address_of(source),
                source.size,
                address_of(room),
                address_of(self._table),
                self._before,
            ],
            np.int64,
        )
        made = self._run(address_of_words(words))
        self._before += source.size
        return _smaller(room[:made].data, values)


def frame_end(sizes: list[int], *, seekable: bool) -> bytes:
    """What a frame ends with whose blocks have these sizes as ``compress_block`` gave them."""
    if not seekable:
        return _END
    return _END + struct.pack(f"<II{len(sizes)}I", TABLE, 4 * len(sizes), *sizes)


def frame_parts(body: memoryview, *, seekable: bool) -> list[Buffer]:
    """The frame of a body (bytes, one dim) in parts; what does not get smaller is not copied."""
    step = block_nbytes(body.nbytes, seekable=seekable)
    parts: list[Buffer] = [frame_begin(body.nbytes, seekable=seekable)]
    sizes: list[int] = []
    compress = compress_block if seekable else TensoCompressor().block
    for at in range(0, body.nbytes, step):
        size, packed = compress(body[at : at + step])
        sizes.append(size)
        parts += [struct.pack("<I", size), packed]
    parts.append(frame_end(sizes, seekable=seekable))
    return parts
