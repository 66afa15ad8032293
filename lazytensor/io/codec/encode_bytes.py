"""Encoders from bytes to bytes: compressors, checksums, the byte shuffle.

Their settings are those of the metadata, checked when an encoder is made; what a setting is where
it is absent follows numcodecs (v2) and zarr-python (v3).
"""

from __future__ import annotations

import binascii
import zlib as _zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from lazytensor.io.codec.bytecodec import ByteCodec
from lazytensor.io.codec.checksums import Checksum32Codec
from lazytensor.io.codec.encode import ChecksumEncoder, Encoder, Take
from lazytensor.io.codec.encode_direct import (
    BLOSC_OVERHEAD,
    BloscSettings,
    encode_blosc,
    encode_lz4,
    encode_zstd,
    lz4_bound,
    zstd_bound,
)
from lazytensor.io.codec.filters import ShuffleCodec
from lazytensor.io.codec.site import Site
from lazytensor.io.codec.streams import LzmaCodec
from lazytensor.io.store import Buffer

__all__ = [
    "BLOSC_NAMES", "base64", "blosc", "bz2", "checksum", "fletcher32", "gzip", "lz4", "lzma",
    "shuffle", "zlib", "zstd",
]  # fmt: skip

BLOSC_NAMES = ("blosclz", "lz4", "lz4hc", "zlib", "zstd")
"""Compressors inside Blosc; the builds of it that there are have no snappy."""

_SHUFFLES = ("noshuffle", "shuffle", "bitshuffle")
_MOST_BLOSC = (1 << 31) - 1 - BLOSC_OVERHEAD
_MOST_LZ4 = 0x7E000000
_MOST_ITEM = 255
_LEAST_ZSTD, _MOST_ZSTD = -(1 << 17), 22
_MOST_ACCELERATION = 65537
# isal has no higher levels; what asks for more is worth more time.
_MOST_ISAL = 3
_GZIP, _ZLIB = 31, 15
_LZMA_RAW = 3
_LZMA_CHECKS = 15


class _Bytes(Encoder):
    """A library function, ``run``; ``bound`` and ``most`` are as in ``Encoder``."""

    def __init__(
        self,
        name: str,
        run: Callable[[memoryview, Take], Buffer],
        bound: Callable[[int], int],
        most: int = Encoder.most,
    ) -> None:
        self.name = name
        self.most = most
        self._run = run
        self._bound = bound

    def encode(self, data: memoryview, take: Take) -> Buffer:
        """Ask it."""
        return self._run(data, take)

    def bound(self, size: int) -> int:
        """As the library states it."""
        return self._bound(size)


def _stream_bound(size: int) -> int:
    """What deflate, bzip2 and LZMA add at most to what they cannot compress."""
    return size + size // 50 + 1024


def blosc(site: Site, codec: ByteCodec | None) -> Encoder:
    """``cname``, ``clevel``, ``shuffle``, ``blocksize``, and in v3 ``typesize``."""
    item = 1 if site.dtype is None else site.dtype.itemsize
    item = site.integer("typesize", 1, _MOST_ITEM, item if item <= _MOST_ITEM else 1)
    settings = BloscSettings(
        name=site.choice("cname", BLOSC_NAMES, "lz4"),
        level=site.integer("clevel", 0, 9, 5),
        shuffle=_blosc_shuffle(site, item),
        block=site.integer("blocksize", 0, _MOST_BLOSC, 0),
        item=item,
    )

    def run(data: memoryview, take: Take) -> Buffer:
        return encode_blosc(data, take, settings)

    return _Bytes("blosc", run, lambda size: size + BLOSC_OVERHEAD, _MOST_BLOSC)


def _blosc_shuffle(site: Site, item: int) -> int:
    """A number in v2, of which -1 leaves the choice to numcodecs; a name in v3."""
    if isinstance(site.settings.get("shuffle"), str):
        return _SHUFFLES.index(site.choice("shuffle", _SHUFFLES, "shuffle"))
    found = site.integer("shuffle", -1, 2, 1)
    if found >= 0:
        return found
    return 2 if item == 1 else 1


def zstd(site: Site, codec: ByteCodec | None) -> Encoder:
    """``level`` (0: the library's own, 3) and ``checksum``."""
    level = site.integer("level", _LEAST_ZSTD, _MOST_ZSTD, 0)
    checksum = site.settings.get("checksum", False)
    if type(checksum) is not bool:
        raise site.wrong("checksum", "true or false")

    def run(data: memoryview, take: Take) -> Buffer:
        return encode_zstd(data, take, level, checksum=checksum)

    return _Bytes("zstd", run, zstd_bound)


def lz4(site: Site, codec: ByteCodec | None) -> Encoder:
    """``acceleration``."""
    acceleration = site.integer("acceleration", 1, _MOST_ACCELERATION, 1)

    def run(data: memoryview, take: Take) -> Buffer:
        return encode_lz4(data, take, acceleration)

    return _Bytes("lz4", run, lz4_bound, _MOST_LZ4)


def gzip(site: Site, codec: ByteCodec | None) -> Encoder:
    """``level``; the header holds neither a name nor a time."""
    return _deflate("gzip", site, _GZIP)


def zlib(site: Site, codec: ByteCodec | None) -> Encoder:
    """``level``."""
    return _deflate("zlib", site, _ZLIB)


def _deflate(name: str, site: Site, window: int) -> Encoder:
    level = site.integer("level", -1, 9, 1)

    def run(data: memoryview, take: Take) -> Buffer:
        if not 0 < level <= _MOST_ISAL:
            return _zlib.compress(data, level, wbits=window)
        from isal import isal_zlib

        packed: bytes = isal_zlib.compress(data, level, wbits=window)
        return packed

    return _Bytes(name, run, _stream_bound)


def bz2(site: Site, codec: ByteCodec | None) -> Encoder:
    """``level``."""
    level = site.integer("level", 1, 9, 1)

    def run(data: memoryview, take: Take) -> Buffer:
        import bz2 as library

        return library.compress(data, level)

    return _Bytes("bz2", run, _stream_bound)


def lzma(site: Site, codec: ByteCodec | None) -> Encoder:
    """``format``, ``check``, ``preset`` and ``filters`` of the standard library."""
    import lzma as library

    assert isinstance(codec, LzmaCodec)
    if codec.format not in (library.FORMAT_XZ, library.FORMAT_ALONE, _LZMA_RAW):
        raise site.wrong("format", "1 (xz), 2 (lzma) or 3 (raw)")
    options: dict[str, Any] = {
        "format": codec.format,
        "check": site.integer("check", -1, _LZMA_CHECKS, -1),
        "filters": site.settings.get("filters"),
    }
    if options["filters"] is None:
        options["preset"] = site.integer("preset", 0, 9, library.PRESET_DEFAULT)

    def run(data: memoryview, take: Take) -> Buffer:
        return library.compress(data, **options)

    try:
        library.compress(b"", **options)
    except (library.LZMAError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise site.wrong("filters", f"settings that lzma knows ({error})") from error
    return _Bytes("lzma", run, _stream_bound)


def base64(site: Site, codec: ByteCodec | None) -> Encoder:
    """Without settings."""

    def run(data: memoryview, take: Take) -> Buffer:
        return binascii.b2a_base64(data, newline=False)

    return _Bytes("base64", run, lambda size: -(-size // 3) * 4)


def shuffle(site: Site, codec: ByteCodec | None) -> Encoder | None:
    """None for elements of one byte, which stay where they are."""
    assert isinstance(codec, ShuffleCodec)
    item = codec.element_size
    if item == 1:
        return None
    return _Bytes("shuffle", partial(_shuffled, item), lambda size: size)


def _shuffled(item: int, data: memoryview, take: Take) -> Buffer:
    """NumPy's copy is faster here than numcodecs' loop, and needs no GIL."""
    out = take(len(data))
    source = np.frombuffer(data, np.uint8).reshape(-1, item)
    np.frombuffer(out, np.uint8).reshape(item, -1)[...] = source.T
    return out


class _Checksum32(ChecksumEncoder):
    def __init__(self, codec: Checksum32Codec) -> None:
        self.name = codec.name
        self.at_start = codec.at_start
        self._compute = codec.compute

    def digest(self, data: Buffer) -> bytes:
        """Little endian."""
        return self._compute(data).to_bytes(4, "little")


class _Fletcher32(ChecksumEncoder):
    name = "fletcher32"

    def digest(self, data: Buffer) -> bytes:
        """numcodecs gives it only behind the data."""
        from numcodecs.fletcher32 import Fletcher32

        return bytes(memoryview(Fletcher32().encode(data))[-4:])


def checksum(site: Site, codec: ByteCodec | None) -> Encoder:
    """``crc32``, ``crc32c``, ``adler32``, ``jenkins_lookup3``: where the decoder looks for it."""
    assert isinstance(codec, Checksum32Codec)
    return _Checksum32(codec)


def fletcher32(site: Site, codec: ByteCodec | None) -> Encoder:
    """Without settings."""
    return _Fletcher32()
