"""What a decoder is, the checks that make it safe on damaged input, and blosc and lz4.

The libraries underneath trust their input in places: some return success when they filled only a
part of the output, read a header without looking at the length, or return the first member of
several. So every decoder here knows the size that must come out, compares it with the header first
(which also stops decompression bombs: nothing larger than announced is ever allocated), and
compares it with what came out afterwards.

All decoders release the GIL while they work.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import Any

from lazytensor.errors import ChunkDecodeError
from lazytensor.io.codec.direct import decode_blosc, decode_lz4
from lazytensor.io.codec.site import Site
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer

__all__ = ["BloscCodec", "ByteCodec", "Lz4Codec", "blosc", "lz4", "mismatch", "not_above"]

_BLOSC_HEADER = 16
_BLOSC_MEMCPYED = 2
_LZ4_HEADER = 4
_LARGE_LZ4 = 16 << 10
# No decoder yields more bytes than this for one byte of input. A header that promises more is
# damaged, and the memory is not asked for.
_LZ4_MOST = 255


class ByteCodec(ABC):
    """One step of decoding from bytes to bytes. Immutable and thread-safe.

    ``name``: as in the metadata. ``is_view``: without an ``out``, what it decodes to is a part of
    what it was given.
    """

    name: str
    is_view = False

    @abstractmethod
    def decode(
        self, data: Buffer, size: int, out: memoryview | None, scratch: Scratch, slot: int
    ) -> Buffer:
        """Decode ``data`` to exactly ``size`` bytes.

        They are in ``out`` (of that size) if one is given, else wherever is cheapest, which may be
        ``slot`` of the scratch or ``data`` itself. Raises ``ChunkDecodeError``.
        """

    def decode_bounded(self, data: Buffer, most: int, scratch: Scratch, slot: int) -> Buffer:
        """Decode ``data`` to as many bytes as there are, at most ``most``."""
        return self.decode(data, self.announced(data, most), None, scratch, slot)

    @abstractmethod
    def announced(self, data: Buffer, most: int) -> int:
        """Decoded size according to the header; ``ChunkDecodeError`` if above ``most``."""

    def encoded_size(self, size: int) -> int | None:
        """Encoded bytes of ``size`` decoded ones where they are always as many, else None.

        ``ChunkDecodeError`` if nothing decodes to so many bytes.
        """
        return None

    def encoded_bound(self, size: int) -> int:
        """No sane encoder makes more than this of ``size`` bytes."""
        return size + size // 8 + 4096

    def __repr__(self) -> str:
        return self.name


def mismatch(name: str, expected: int, got: object) -> ChunkDecodeError:
    """The error for another decoded size than expected."""
    return ChunkDecodeError(f"{name}: expected {expected} decoded bytes, found {got}")


def not_above(name: str, announced: int, most: int) -> int:
    """``announced``, if that is no more than ``most``; else ``ChunkDecodeError``."""
    if announced > most:
        raise ChunkDecodeError(f"{name}: expected at most {most} decoded bytes, found {announced}")
    return announced


class BloscCodec(ByteCodec):
    """blosc 1 with any inner compressor and shuffle; the header says which."""

    name = "blosc"

    def announced(self, data: Buffer, most: int) -> int:
        """Decoded size in the header."""
        if len(data) < _BLOSC_HEADER:
            raise ChunkDecodeError(
                f"blosc: expected a header of {_BLOSC_HEADER} bytes, found {len(data)} bytes"
            )
        return not_above("blosc", int.from_bytes(data[4:8], "little"), most)

    def decode(
        self, data: Buffer, size: int, out: memoryview | None, scratch: Scratch, slot: int
    ) -> Buffer:
        """Decode to exactly ``size`` bytes."""
        if self.announced(data, size) != size:
            raise mismatch("blosc", size, int.from_bytes(data[4:8], "little"))
        self._check_header(data, size)
        target = scratch.take(slot, size) if out is None else out
        if not size:
            return target
        try:
            decode_blosc(data, target)
        except (RuntimeError, ValueError) as error:
            raise ChunkDecodeError(f"blosc: {error}") from error
        return target

    @staticmethod
    def _check_header(data: Buffer, size: int) -> None:
        block = int.from_bytes(data[8:12], "little")
        packed = int.from_bytes(data[12:16], "little")
        copied = data[2] & _BLOSC_MEMCPYED
        starts = 0 if copied or not block else 4 * -(-size // block)
        least = _BLOSC_HEADER + (size if copied else starts)
        if not least <= packed <= len(data):
            raise ChunkDecodeError(
                f"blosc: expected {least} to {len(data)} packed bytes, header says {packed}"
            )
        if size and not (0 < block <= size and data[3]):
            raise ChunkDecodeError(
                f"blosc: block of {block} bytes, type of {data[3]} bytes in a chunk of {size}"
            )


@cache
def _lz4_block() -> Any:
    import lz4.block

    return lz4.block


class Lz4Codec(ByteCodec):
    """A 32-bit size and one LZ4 block, as numcodecs frames it."""

    name = "lz4"

    def announced(self, data: Buffer, most: int) -> int:
        """Decoded size in the header."""
        if len(data) < _LZ4_HEADER:
            raise ChunkDecodeError(f"lz4: expected a header of 4 bytes, found {len(data)} bytes")
        return not_above("lz4", int.from_bytes(data[:_LZ4_HEADER], "little"), most)

    def decode(
        self, data: Buffer, size: int, out: memoryview | None, scratch: Scratch, slot: int
    ) -> Buffer:
        """Decode to exactly ``size`` bytes."""
        announced = self.announced(data, size)
        if announced != size or size > _LZ4_MOST * len(data):
            raise mismatch("lz4", size, f"{announced} announced in {len(data)} stored bytes")
        try:
            if size <= _LARGE_LZ4:
                decoded: Buffer = _lz4_block().decompress(data)
            else:
                target = scratch.take(slot, size) if out is None else out
                decoded = target[: decode_lz4(memoryview(data)[_LZ4_HEADER:], target)]
        except (RuntimeError, ValueError, _lz4_block().LZ4BlockError) as error:
            raise ChunkDecodeError(f"lz4: {error}") from error
        if len(decoded) != size:
            raise mismatch("lz4", size, len(decoded))
        if out is None:
            return decoded
        if size <= _LARGE_LZ4:
            out[:] = decoded
        return out


def blosc(site: Site) -> BloscCodec:
    """Without settings: chunks say how they were made."""
    return BloscCodec()


def lz4(site: Site) -> Lz4Codec:
    """Without settings that matter for decoding."""
    return Lz4Codec()
