"""Decoders from bytes to bytes, and the checks that make them safe on damaged input.

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
from typing import Any, cast

import numpy as np

from lazytensor.errors import ChecksumError, ChunkDecodeError
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer

__all__ = [
    "BloscCodec",
    "ByteCodec",
    "Crc32cCodec",
    "DeflateCodec",
    "Lz4Codec",
    "crc32c",
    "mismatch",
    "not_above",
]

_BLOSC_HEADER = 16
_BLOSC_MEMCPYED = 2
_LZ4_HEADER = 4
_LARGE_LZ4 = 16 << 10
# No decoder yields more bytes than this for one byte of input. A header that promises more is
# damaged, and the memory is not asked for.
_LZ4_MOST = 255
_DEFLATE_MOST = 1033


class ByteCodec(ABC):
    """One step of decoding from bytes to bytes. Immutable and thread-safe.

    ``name``: as in the metadata.
    """

    name: str

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


@cache
def _blosc() -> Any:
    from numcodecs import blosc

    # blosc's own threads serialise on one lock, and do not survive a fork.
    blosc.use_threads = False
    return blosc


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
            _blosc().decompress(data, target)
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


class DeflateCodec(ByteCodec):
    """gzip (any number of members) or zlib."""

    def __init__(self, name: str, *, gzip: bool) -> None:
        self.name = name
        self._gzip = gzip

    def announced(self, data: Buffer, most: int) -> int:
        """The format announces nothing; ``most``, if the input can hold that much."""
        return min(most, _DEFLATE_MOST * len(data))

    def decode(
        self, data: Buffer, size: int, out: memoryview | None, scratch: Scratch, slot: int
    ) -> Buffer:
        """Decode to exactly ``size`` bytes."""
        decoded = self._inflate(data, size)
        if len(decoded) != size:
            raise mismatch(self.name, size, f"{len(decoded)}{'+' * (len(decoded) > size)}")
        if out is None:
            return decoded
        out[:] = decoded
        return out

    def decode_bounded(self, data: Buffer, most: int, scratch: Scratch, slot: int) -> Buffer:
        """Decode to as many bytes as there are, at most ``most``."""
        decoded = self._inflate(data, most)
        if len(decoded) > most:
            raise mismatch(self.name, most, "more")
        return decoded

    def _inflate(self, data: Buffer, most: int) -> bytes:
        """All members; at most one byte more than ``most``."""
        from isal import isal_zlib

        damaged = cast("type[Exception]", isal_zlib.error)
        parts: list[bytes] = []
        rest, room = bytes(data), most + 1
        while rest and room:
            member = isal_zlib.decompressobj(31 if self._gzip else 15)
            try:
                part = member.decompress(rest, room)
                if not part and not member.eof:
                    # An empty member can need one more call to see its own end.
                    part = member.decompress(member.unconsumed_tail, room)
            except damaged as error:
                raise ChunkDecodeError(f"{self.name}: {error}") from error
            parts.append(part)
            room -= len(part)
            if not member.eof:
                if room:
                    raise ChunkDecodeError(
                        f"{self.name}: the stream ends after {most + 1 - room} of {most} bytes"
                    )
                break
            rest = member.unused_data.lstrip(b"\0") if self._gzip else member.unused_data
            if rest and not self._gzip:
                raise ChunkDecodeError(f"{self.name}: {len(rest)} bytes follow the stream")
        if not data:
            raise ChunkDecodeError(f"{self.name}: no bytes stored")
        return parts[0] if len(parts) == 1 else b"".join(parts)


@cache
def _lz4_block() -> Any:
    import lz4.block

    return lz4.block


@cache
def _numcodecs_lz4() -> Any:
    from numcodecs import lz4

    return lz4


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
                decoded = _numcodecs_lz4().decompress(data, target)
        except (RuntimeError, ValueError, _lz4_block().LZ4BlockError) as error:
            raise ChunkDecodeError(f"lz4: {error}") from error
        if len(decoded) != size:
            raise mismatch("lz4", size, len(decoded))
        if out is not None and decoded is not out:
            out[:] = decoded
            return out
        return decoded


@cache
def _google_crc32c() -> Any:
    import google_crc32c

    return google_crc32c


def crc32c(data: Buffer) -> int:
    """CRC-32C (Castagnoli) of a buffer.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    value: int = _google_crc32c().value(np.frombuffer(data, np.uint8) if len(data) else b"")
    return value


class Crc32cCodec(ByteCodec):
    """Four bytes of CRC-32C after the data (little endian)."""

    name = "crc32c"

    def announced(self, data: Buffer, most: int) -> int:
        """Stored size less the checksum."""
        if len(data) < 4:
            raise ChunkDecodeError(f"crc32c: expected at least 4 bytes, found {len(data)}")
        return not_above("crc32c", len(data) - 4, most)

    def decode(
        self, data: Buffer, size: int, out: memoryview | None, scratch: Scratch, slot: int
    ) -> Buffer:
        """The data without the checksum; ``ChecksumError`` when it does not match."""
        found = self.announced(data, len(data))
        if found != size:
            raise mismatch("crc32c", size, found)
        view = memoryview(data)
        body, stored = view[:-4], int.from_bytes(view[-4:], "little")
        computed = crc32c(body)
        if computed != stored:
            raise ChecksumError(f"crc32c: expected {stored:08x}, computed {computed:08x}")
        if out is None:
            return body
        out[:] = body
        return out

    def encoded_bound(self, size: int) -> int:
        """Four bytes more."""
        return size + 4
