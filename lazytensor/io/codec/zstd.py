"""Zstandard, with the two decoders that are fastest for small and for large chunks.

A context of its own for each thread makes small chunks cheap; large ones are decoded straight into
the destination. Both are one-shot calls, which notice when the input ends early. Files made of
several frames, or of frames that do not state their size, take a slower path that walks the frames.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import cache

from lazytensor.errors import ChunkDecodeError
from lazytensor.io.codec.bytecodec import ByteCodec, mismatch, not_above
from lazytensor.io.codec.direct import decode_zstd
from lazytensor.io.codec.site import Site
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer

__all__ = ["ZstdCodec", "zstd"]

# Above this many decoded bytes a fresh context and no copy beat a kept context and one copy.
_LARGE = 128 << 10
# A block of 128 KiB can be 4 bytes long; no input yields more. A header that promises more is
# damaged, and the memory is not asked for.
_MOST_PER_BYTE = 32 << 10

_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = 0x184D2A5
_DICTIONARY_BYTES = (0, 1, 2, 4)
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)
_REPEATED = 1


class _Contexts(threading.local):
    """A decompression context is costly to make (10 µs) and serves one thread at a time."""

    def __init__(self) -> None:
        import zstandard

        self.errors = zstandard.ZstdError
        self.decompress = zstandard.ZstdDecompressor().decompress
        self.content_size = zstandard.frame_content_size


@cache
def _kit() -> _Contexts:
    return _Contexts()


class ZstdCodec(ByteCodec):
    """Zstandard: one or several frames, with or without their content size and checksum."""

    name = "zstd"

    def announced(self, data: Buffer, most: int) -> int:
        """Content size of the first frame, or ``most`` where it is not written."""
        kit = _kit()
        try:
            found: int = kit.content_size(data)
        except kit.errors as error:
            raise ChunkDecodeError(f"zstd: {error}; {len(data)} bytes stored") from error
        return most if found < 0 else not_above("zstd", found, most)

    def decode(
        self, data: Buffer, size: int, out: memoryview | None, scratch: Scratch, slot: int
    ) -> Buffer:
        """Decode to exactly ``size`` bytes."""
        announced = self.announced(data, size)
        if size > _MOST_PER_BYTE * len(data):
            raise mismatch("zstd", size, f"{len(data)} stored bytes")
        if size >= _LARGE and announced == size:
            target = scratch.take(slot, size) if out is None else out
            if self._decode_sized(data, target):
                return target
        decoded = self._decode_bytes(data, size)
        if len(decoded) != size:
            raise mismatch("zstd", size, len(decoded))
        if out is None:
            return decoded
        out[:] = decoded
        return out

    @staticmethod
    def _decode_sized(data: Buffer, target: memoryview) -> bool:
        """Decode one frame that states its size; False when it is not as simple as that."""
        return _kit().content_size(data) == len(target) and decode_zstd(data, target)

    @staticmethod
    def _decode_bytes(data: Buffer, most: int) -> bytes:
        """Decode all frames to at most ``most`` bytes."""
        kit = _kit()
        if not kit.content_size(data):  # an empty frame hides those after it from ``decompress``
            return b"".join(_decode_frames(data, most))
        try:
            decoded: bytes = kit.decompress(data, max_output_size=most or 1, allow_extra_data=False)
            return decoded
        except kit.errors:
            return b"".join(_decode_frames(data, most))

    def decode_bounded(self, data: Buffer, most: int, scratch: Scratch, slot: int) -> Buffer:
        """Decode to as many bytes as there are, at most ``most``."""
        self.announced(data, most)
        decoded = self._decode_bytes(data, min(most, _MOST_PER_BYTE * len(data)))
        not_above("zstd", len(decoded), most)  # it is never told to stop before the first byte
        return decoded


def _decode_frames(data: Buffer, most: int) -> Iterator[bytes]:
    """The content of each frame; ``ChunkDecodeError`` as soon as there is more than ``most``."""
    kit = _kit()
    for frame in _frames(memoryview(data)):
        try:
            not_above("zstd", kit.content_size(frame), most)
            part = kit.decompress(frame, max_output_size=most or 1)
        except kit.errors as error:
            raise ChunkDecodeError(f"zstd: {error}") from error
        most -= not_above("zstd", len(part), most)
        yield part


def _frames(data: memoryview) -> Iterator[memoryview]:
    """Each frame of data, found by its block headers (RFC 8878 §3.1.1)."""
    at = 0
    while at < len(data):
        start, magic = at, int.from_bytes(data[at : at + 4], "little")
        if magic >> 4 == _SKIPPABLE:
            at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
            continue
        if bytes(data[at : at + 4]) != _MAGIC:
            raise ChunkDecodeError(f"zstd: no frame begins at byte {at} of {len(data)}")
        at = _frame_end(data, at)
        if at > len(data):
            raise ChunkDecodeError(f"zstd: the input ends at byte {len(data)}, inside a frame")
        yield data[start:at]


def _frame_end(data: memoryview, start: int) -> int:
    """Where the frame at ``start`` ends; beyond the data if that is cut off."""
    flags = data[start + 4] if start + 4 < len(data) else 0
    single_segment = flags >> 5 & 1
    at = start + 5 + (1 - single_segment) + _DICTIONARY_BYTES[flags & 3]
    at += _CONTENT_SIZE_BYTES[flags >> 6] or single_segment
    last = 0
    while not last and at < len(data):
        header = int.from_bytes(data[at : at + 3], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        at += 3 + (1 if kind == _REPEATED else size)
    return at + 4 * (flags >> 2 & 1) if last else len(data) + 1


def zstd(site: Site) -> ZstdCodec:
    """Without settings: frames say how they were made."""
    return ZstdCodec()
