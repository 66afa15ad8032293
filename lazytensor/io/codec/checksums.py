"""Checksums that stand before or after the bytes they were computed of.

Decoding compares and drops the four bytes; what is left is a view, no copy. Each algorithm comes
from a library. Where they stand differs: numcodecs puts ``crc32`` and ``adler32`` in front unless
told otherwise, everything else behind.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from lazytensor.errors import ChecksumError, ChunkDecodeError
from lazytensor.io.codec.bytecodec import ByteCodec, mismatch, not_above
from lazytensor.io.codec.site import Site
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer

__all__ = [
    "Checksum32Codec", "ChecksumCodec", "Crc32cCodec", "Fletcher32Codec", "crc32c", "fletcher32",
    "jenkins",
]  # fmt: skip

_BYTES = 4


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


@cache
def _lookup3() -> Any:
    from numcodecs.jenkins import jenkins_lookup3

    return jenkins_lookup3


def jenkins(initial: int) -> Callable[[Buffer], int]:
    """Bob Jenkins' lookup3 as HDF5 has it, seeded with ``initial``.

    >>> hex(jenkins(0)(b"Four score and seven years ago"))
    '0x17770551'
    """
    return lambda data: int(_lookup3()(np.frombuffer(data, np.uint8), initial))


class ChecksumCodec(ByteCodec):
    """The data and four bytes of checksum."""

    is_view = True

    @abstractmethod
    def check(self, data: memoryview) -> memoryview:
        """The data proper of at least four bytes; ``ChecksumError`` if that is not what it was."""

    def announced(self, data: Buffer, most: int) -> int:
        """Stored size less the checksum."""
        if len(data) < _BYTES:
            raise ChunkDecodeError(f"{self.name}: expected at least 4 bytes, found {len(data)}")
        return not_above(self.name, len(data) - _BYTES, most)

    def decode(
        self, data: Buffer, size: int, out: memoryview | None, scratch: Scratch, slot: int
    ) -> Buffer:
        """The data without the checksum; ``ChecksumError`` when it does not match."""
        found = self.announced(data, len(data))
        if found != size:
            raise mismatch(self.name, size, found)
        body = self.check(memoryview(data))
        if out is None:
            return body
        out[:] = body
        return out

    def encoded_size(self, size: int) -> int:
        """Four bytes more."""
        return size + _BYTES

    def encoded_bound(self, size: int) -> int:
        """Four bytes more."""
        return size + _BYTES


class Checksum32Codec(ChecksumCodec):
    """A 32-bit number, little endian.

    ``compute``: the checksum of a buffer. ``at_start``: it stands in front.
    """

    def __init__(self, name: str, compute: Callable[[Buffer], int], *, at_start: bool) -> None:
        self.name = name
        self.compute = compute
        self.at_start = at_start

    def check(self, data: memoryview) -> memoryview:
        """Compute the checksum and compare."""
        body = data[_BYTES:] if self.at_start else data[:-_BYTES]
        stored = int.from_bytes(data[:_BYTES] if self.at_start else data[-_BYTES:], "little")
        computed = self.compute(body)
        if computed != stored:
            raise ChecksumError(f"{self.name}: expected {stored:08x}, computed {computed:08x}")
        return body


class Crc32cCodec(Checksum32Codec):
    """CRC-32C, after the data unless ``at_start``."""

    def __init__(self, *, at_start: bool = False) -> None:
        super().__init__("crc32c", crc32c, at_start=at_start)


class Fletcher32Codec(ChecksumCodec):
    """Fletcher's checksum as HDF5 has it, after the data.

    numcodecs shows only the comparison and not the number.
    """

    name = "fletcher32"

    def check(self, data: memoryview) -> memoryview:
        """Let numcodecs compare; it cannot do that with no data."""
        from numcodecs.fletcher32 import Fletcher32

        body = data[:-_BYTES]
        if not body:
            raise ChunkDecodeError("fletcher32: expected more than a checksum, found 4 bytes")
        try:
            Fletcher32().decode(data)
        except RuntimeError as error:
            raise ChecksumError(f"fletcher32: {error}") from error
        return body


def fletcher32(site: Site) -> Fletcher32Codec:
    """Without settings."""
    return Fletcher32Codec()
