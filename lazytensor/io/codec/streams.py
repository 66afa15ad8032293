"""gzip, zlib, bz2 and lzma, formats that do not say how many bytes come out; and base64.

Their decoders are fed piece by piece and told how much room there is, so a decompression bomb
stops one byte after the size that the metadata declares. Single-shot functions are not used: they
decode all there is, or only the first of several members, and say nothing.

gzip and zlib are decoded by isal, which is within 5 % of libdeflate for one member and reads any
number of them.
"""

from __future__ import annotations

import binascii
from abc import abstractmethod
from functools import cache
from typing import Any

from lazytensor.errors import ChunkDecodeError
from lazytensor.io.codec.bytecodec import ByteCodec, mismatch, not_above
from lazytensor.io.codec.site import Site
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer

__all__ = [
    "MOST_DICTIONARY", "Base64Codec", "Bz2Codec", "DeflateCodec", "LzmaCodec", "bz2", "gzip",
    "zlib",
]  # fmt: skip

MOST_DICTIONARY = 128 << 20
"""LZMA asks for the memory of its dictionary, whose size the file states, before it decodes."""

_LZMA_MEMORY = MOST_DICTIONARY + (1 << 20)
_LZMA_RAW = 3
_STEP = 4096
"""Bytes that a member after the first is fed at the beginning."""


class StreamCodec(ByteCodec):
    """Members one after another, each with its own end.

    ``several``: further members may follow the first. ``padded``: so may zeros.
    """

    several = True
    padded = False

    @abstractmethod
    def _member(self) -> Any:
        """A new decompressor, as in the standard library."""

    @abstractmethod
    def _errors(self) -> tuple[type[Exception], ...]:
        """What a decompressor raises for damaged input."""

    def announced(self, data: Buffer, most: int) -> int:
        """The formats announce nothing: ``most``."""
        return most

    def decode(
        self, data: Buffer, size: int, out: memoryview | None, scratch: Scratch, slot: int
    ) -> Buffer:
        """Decode to exactly ``size`` bytes."""
        decoded = self._expand(data, size)
        if len(decoded) != size:
            raise mismatch(self.name, size, f"{len(decoded)}{'+' * (len(decoded) > size)}")
        if out is None:
            return decoded
        out[:] = decoded
        return out

    def decode_bounded(self, data: Buffer, most: int, scratch: Scratch, slot: int) -> Buffer:
        """Decode to as many bytes as there are, at most ``most``."""
        decoded = self._expand(data, most)
        if len(decoded) > most:
            raise mismatch(self.name, most, "more")
        return decoded

    def _expand(self, data: Buffer, most: int) -> bytes:
        """All members; at most one byte more than ``most``.

        The first, nearly always the only one, is fed all there is. A decompressor hands back what
        follows its member as a copy, so those after it are fed little by little: a million small
        members would else copy the rest of the data a million times.
        """
        view, at, room = memoryview(data), 0, most + 1
        if not view:
            raise ChunkDecodeError(f"{self.name}: no bytes stored")
        parts: list[bytes] = []
        step = len(view)
        while at < len(view) and room:
            member = self._member()
            while at < len(view) and room and not member.eof:
                fed = view[at : at + step]
                parts.append(self._run(member, fed, room))
                room -= len(parts[-1])
                at += len(fed)
                step *= 2
            if not member.eof:
                if not room:
                    break
                raise ChunkDecodeError(
                    f"{self.name}: the stream ends after {most + 1 - room} of {most} bytes"
                )
            at -= len(member.unused_data)
            if self.padded:
                at = _past_zeros(view, at)
            if at < len(view) and not self.several:
                raise ChunkDecodeError(f"{self.name}: {len(view) - at} bytes follow the stream")
            step = _STEP
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _run(self, member: Any, data: Buffer, room: int) -> bytes:
        try:
            part: bytes = member.decompress(data, room)
            if not part and not member.eof:
                # An empty member of isal can need one more call to see its own end.
                part = member.decompress(getattr(member, "unconsumed_tail", b""), room)
        except self._errors() as error:
            raise ChunkDecodeError(f"{self.name}: {error}") from error
        return part


def _past_zeros(view: memoryview, at: int) -> int:
    """The position of the first byte from ``at`` on that is not zero."""
    while at < len(view):
        piece = bytes(view[at : at + _STEP])
        rest = piece.lstrip(b"\0")
        at += len(piece) - len(rest)
        if rest:
            break
    return at


@cache
def _isal() -> Any:
    from isal import isal_zlib

    return isal_zlib


class DeflateCodec(StreamCodec):
    """gzip (any number of members) or zlib."""

    def __init__(self, name: str, *, gzip: bool) -> None:
        self.name = name
        self.several = self.padded = gzip
        self._window = 31 if gzip else 15

    def _member(self) -> Any:
        return _isal().decompressobj(self._window)

    def _errors(self) -> tuple[type[Exception], ...]:
        return (_isal().error,)


class Bz2Codec(StreamCodec):
    """bzip2, any number of streams."""

    name = "bz2"

    def _member(self) -> Any:
        import bz2

        return bz2.BZ2Decompressor()

    def _errors(self) -> tuple[type[Exception], ...]:
        return (OSError, ValueError)


class LzmaCodec(StreamCodec):
    """xz, the older lzma format, or a raw stream of ``filters``.

    ``format``: as in the standard library's ``lzma``: 0 either container, 1 xz, 2 lzma, 3 raw.
    """

    name = "lzma"
    padded = True

    def __init__(self, format: int, filters: list[dict[str, int]] | None) -> None:
        self.format = format
        self.filters = filters

    def is_valid(self) -> bool:
        """Whether there is a decoder for these settings."""
        wrong: tuple[type[Exception], ...] = (*self._errors(), ValueError, TypeError, OverflowError)
        try:
            self._member()
        except wrong:
            return False
        return True

    def _member(self) -> Any:
        import lzma

        if self.format == _LZMA_RAW:
            return lzma.LZMADecompressor(self.format, filters=self.filters)
        return lzma.LZMADecompressor(self.format, memlimit=_LZMA_MEMORY)

    def _errors(self) -> tuple[type[Exception], ...]:
        import lzma

        return (lzma.LZMAError,)


class Base64Codec(ByteCodec):
    """Bytes as text, four characters for three."""

    name = "base64"

    def announced(self, data: Buffer, most: int) -> int:
        """Three bytes for four characters, less one for each sign of padding."""
        padding = bytes(data[-2:]).count(b"=")
        return not_above(self.name, max(len(data) // 4 * 3 - padding, 0), most)

    def encoded_size(self, size: int) -> int:
        """Four characters for every three bytes begun."""
        return -(-size // 3) * 4

    def encoded_bound(self, size: int) -> int:
        """Four characters for every three bytes begun."""
        return -(-size // 3) * 4

    def decode(
        self, data: Buffer, size: int, out: memoryview | None, scratch: Scratch, slot: int
    ) -> Buffer:
        """Decode to exactly ``size`` bytes."""
        if len(data) != self.encoded_size(size):
            raise mismatch(self.name, size, f"{len(data)} characters")
        try:
            decoded = binascii.a2b_base64(data, strict_mode=True)
        except binascii.Error as error:
            raise ChunkDecodeError(f"base64: {error}") from error
        if len(decoded) != size:
            raise mismatch(self.name, size, len(decoded))
        if out is None:
            return decoded
        out[:] = decoded
        return out


def bz2(site: Site) -> Bz2Codec:
    """Without settings that matter for decoding, as the others here."""
    return Bz2Codec()


def gzip(site: Site) -> DeflateCodec:
    """A stream with the header of gzip."""
    return DeflateCodec("gzip", gzip=True)


def zlib(site: Site) -> DeflateCodec:
    """A stream with the header of zlib."""
    return DeflateCodec("zlib", gzip=False)
