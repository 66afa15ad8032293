"""An element of a list or binary column as values of the image's dtype, checked.

Numbers in lists may be of any type, whatever the image says that it holds: writers put everything
in ``list<uint16>``, others in ``list<int64>``. A number has to be a value of the image's dtype, or
it is an error: what is not whole is no integer, what is out of range is not clipped, and integers
that a float cannot hold are not rounded. Only floats of another width are: those were rounded when
they were made, and their meaning is a rounded one.

Bytes are little-endian values in C order, as they are or compressed. What decoders of streams are
given is what the sizes say, never what a stream claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from math import prod
from typing import Any

import numpy as np

from lazytensor.errors import ChunkDecodeError, FormatError
from lazytensor.io.codec.bytecodec import ByteCodec, mismatch
from lazytensor.io.codec.site import Site
from lazytensor.io.scratch import STAGE_A, Scratch
from lazytensor.io.store import Buffer
from lazytensor.plan.clock import decoding
from lazytensor.plan.registry import resolve

__all__ = ["CODECS", "Values", "as_values", "codec_of", "compression_named", "holds"]

_NOT_COMPRESSED = ("", "none", "null", "false", "uncompressed")
_OWN = {"bz2": "streams:bz2", "gzip": "streams:gzip", "zstd": "zstd:zstd"}
_STREAMS = {"brotli": 1 << 21, "lz4": 255}

CODECS = ("brotli", "bz2", "gzip", "lz4", "lz4_raw", "snappy", "zstd")
"""Compressions of bytes that can be read: those that Arrow has; "lz4" is the frame format."""


class Values:
    """Turns elements into values of ``dtype``.

    ``encoded``: whether elements are bytes, else numbers. ``fill``: what null numbers are, 0-d of
    the dtype; None if they are errors.
    """

    __slots__ = ("_stored", "dtype", "encoded", "fill")

    def __init__(self, dtype: np.dtype, *, encoded: bool, fill: np.ndarray | None) -> None:
        self.dtype = dtype
        self.encoded = encoded
        self.fill = fill
        self._stored = np.dtype(np.uint8) if dtype == np.bool_ else dtype.newbyteorder("<")

    @property
    def is_plain(self) -> bool:
        """Whether bytes that are not compressed are the values, as they are in memory."""
        return self._stored == self.dtype

    def element(
        self, element: np.ndarray, extents: Sequence[int], codec: str | None
    ) -> np.ndarray | None:
        """The numbers of an element, with the dims of its piece, without a copy; None if it is
        compressed. ``FormatError`` saying expected and found length."""
        size = prod(extents)
        if not self.encoded:
            if len(element) != size:
                raise ChunkDecodeError(f"expected {size} values, found {len(element)}")
            return element.reshape(extents)
        if codec is not None and compression_named(codec) is not None:
            return None
        nbytes = size * self.dtype.itemsize
        if len(element) != nbytes:
            raise ChunkDecodeError(f"expected {nbytes} bytes, found {len(element)}")
        return element.view(self._stored).reshape(extents)

    def put(self, numbers: np.ndarray, place: np.ndarray, nulls: np.ndarray | None = None) -> None:
        """Put a part of what ``element`` gave in its place; ``nulls``: which of them are none."""
        if numbers.dtype == place.dtype and nulls is None:
            place[...] = numbers
        elif self.encoded and self.dtype == np.bool_:
            np.not_equal(numbers, 0, out=place)
        elif self.encoded:
            place[...] = numbers
        else:
            self._convert(numbers, place, nulls)

    def _convert(self, numbers: np.ndarray, place: np.ndarray, nulls: np.ndarray | None) -> None:
        if nulls is not None and nulls.any():
            if self.fill is None:
                at = tuple(int(i) for i in np.argwhere(nulls)[0])
                raise FormatError(
                    f"{int(nulls.sum())} of its pixel values are null, the first at {at} of what "
                    "is read of it (fill_value= stands in for those)"
                )
            numbers = np.where(nulls, np.zeros((), numbers.dtype), numbers)
        as_values(numbers, place)
        if nulls is not None and self.fill is not None:
            place[nulls] = self.fill

    def decode(
        self,
        element: np.ndarray,
        extents: Sequence[int],
        codec: str,
        scratch: Scratch,
        place: np.ndarray | None = None,
    ) -> np.ndarray:
        """The values of a compressed element; in ``place``, if that is contiguous and of its shape.

        Else they may be in ``scratch``.
        """
        into = None
        if place is not None and self.is_plain and place.flags.c_contiguous:
            into = place.reshape(-1).view(np.uint8).data
        nbytes = prod(extents) * self.dtype.itemsize
        with decoding():
            found = codec_of(codec).decode(element.data, nbytes, into, scratch, STAGE_A)
        if into is not None:
            assert place is not None
            return place
        return np.frombuffer(found, self._stored).reshape(extents)


def holds(dtype: np.dtype, stored: np.dtype) -> bool:
    """Whether a dtype holds every value of another one, floats of any width those of all others.

    >>> holds(np.dtype("f4"), np.dtype("u2")), holds(np.dtype("f4"), np.dtype("i4"))
    (True, False)
    """
    return _holds(np.dtype(dtype), np.dtype(stored))


@lru_cache(maxsize=256)
def _holds(dtype: np.dtype, stored: np.dtype) -> bool:
    if stored.kind in "iu" and dtype.kind in "fc":
        bits = 8 * stored.itemsize - (stored.kind == "i")
        return bits <= np.finfo(dtype).nmant + 1
    return bool(np.can_cast(stored, dtype, "safe"))


def as_values(numbers: np.ndarray, place: np.ndarray) -> None:
    """Put numbers where they have another dtype; ``FormatError`` for the first that is no value.

    >>> place = np.zeros(2, np.uint8)
    >>> as_values(np.array([1.0, 255.0]), place); place
    array([  1, 255], dtype=uint8)
    >>> as_values(np.array([1.5, 2.0]), place)
    Traceback (most recent call last):
    lazytensor.errors.FormatError: 1.5 is no value of uint8
    """
    stored, dtype = numbers.dtype, place.dtype
    if not holds(dtype, stored) and numbers.size:
        wrong = _wrong(numbers, place)
        if wrong is not None:
            at = tuple(np.argwhere(wrong)[0])
            raise FormatError(f"{numbers[at]!s} is no value of {dtype}")
        return
    np.copyto(place, numbers, casting="unsafe")


def _wrong(numbers: np.ndarray, place: np.ndarray) -> np.ndarray | None:
    """Convert, and say which numbers are something else afterwards."""
    stored, dtype = numbers.dtype, place.dtype
    if stored.kind in "iub" and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if int(numbers.min()) < limits.min or int(numbers.max()) > limits.max:
            wrong: np.ndarray = (numbers < limits.min) | (numbers > limits.max)
            return wrong
        np.copyto(place, numbers, casting="unsafe")
        return None
    with np.errstate(all="ignore"):
        np.copyto(place, numbers, casting="unsafe")
        if dtype == np.bool_:
            wrong = (numbers != 0) & (numbers != 1)
        elif dtype.kind in "iu":
            least, limit = _reach(dtype)
            whole = (np.trunc(numbers) == numbers) & (numbers >= least) & (numbers < limit)
            wrong = ~whole
        elif stored.kind == "f":
            # Rounded, but nothing may become infinite.
            wrong = np.isfinite(numbers) & ~np.isfinite(place)
        else:
            back = place.real if dtype.kind == "c" else place
            inside = np.isfinite(back) & (back < _reach(stored)[1])
            wrong = ~inside | (np.where(inside, back, 0).astype(stored) != numbers)
    return wrong if wrong.any() else None


def _reach(dtype: np.dtype) -> tuple[np.float64, np.float64]:
    """The least integer of a dtype and the one behind its last: both are exact as floats."""
    limit = 2.0 ** (8 * dtype.itemsize - (dtype.kind == "i"))
    return np.float64(-limit if dtype.kind == "i" else 0.0), np.float64(limit)


def compression_named(name: str) -> str | None:
    """The compression that a file names, whether or not it is known; None: none at all.

    >>> compression_named("ZSTD "), compression_named("None")
    ('zstd', None)
    """
    plain = name.strip().lower()
    return None if plain in _NOT_COMPRESSED else plain


def codec_of(name: str) -> ByteCodec:
    """The decoder of a compression that a file names; ``ChunkDecodeError`` for an unknown one."""
    return _codec(name.lower())


@cache
def _codec(name: str) -> ByteCodec:
    if name in _OWN:
        make = resolve(f"lazytensor.io.codec.{_OWN[name]}")
        found: ByteCodec = make(Site({}, "ome-arrow"))
        return found
    if name in _STREAMS:
        return _Stream(name)
    if name == "snappy":
        return _Snappy()
    if name == "lz4_raw":
        return _Block()
    raise ChunkDecodeError(
        f"compression {name!r} is not known; known are {', '.join(map(repr, CODECS))}"
    )


class _ArrowCodec(ByteCodec):
    """What is decoded by libraries that trust their caller to know the size.

    ``most``: no decoder yields more bytes for one stored byte.
    """

    most: int

    def announced(self, data: Buffer, most: int) -> int:
        """Nothing that could be trusted: ``most``."""
        return most

    def decode(
        self, data: Buffer, size: int, out: memoryview | None, scratch: Scratch, slot: int
    ) -> Buffer:
        """Decode to exactly ``size`` bytes."""
        import pyarrow as pa

        if size > self.most * len(data):
            raise mismatch(self.name, size, f"{len(data)} stored bytes")
        target = scratch.take(slot, size) if out is None else out
        try:
            found = self._decode(pa, data, target)
        except (OSError, ValueError, RuntimeError) as error:
            if isinstance(error, ChunkDecodeError):
                raise
            raise ChunkDecodeError(f"{self.name}: {error}; expected {size} bytes") from error
        if found != size:
            raise mismatch(self.name, size, found if found < size else "more")
        return target

    def _decode(self, pa: Any, data: Buffer, target: memoryview) -> int:
        """Fill ``target``; how many bytes there are, or more than fit if there are more."""
        raise TypeError(f"{type(self).__name__} does not decode")


class _Stream(_ArrowCodec):
    """Streams, which are read as far as there is room and one byte further."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.most = _STREAMS[name]

    def _decode(self, pa: Any, data: Buffer, target: memoryview) -> int:
        stream = pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(data)), self.name)
        found, size = 0, len(target)
        while found < size:
            more = stream.readinto(target[found:])
            if not more:
                return found
            found += more
        return found + len(stream.read(1))


class _Snappy(_ArrowCodec):
    """Snappy, which states its size in front."""

    name = "snappy"
    most = 64

    def _decode(self, pa: Any, data: Buffer, target: memoryview) -> int:
        stated = _varint(data)
        if stated != len(target):
            return stated
        found = pa.decompress(pa.py_buffer(data), stated, codec="snappy")
        target[:] = memoryview(found).cast("B")
        return stated


class _Block(_ArrowCodec):
    """A block of LZ4 without a frame."""

    name = "lz4_raw"
    most = 255

    def _decode(self, pa: Any, data: Buffer, target: memoryview) -> int:
        from lz4.block import LZ4BlockError, decompress

        try:
            found = decompress(data, uncompressed_size=len(target))
        except LZ4BlockError as error:
            raise ChunkDecodeError(f"lz4_raw: {error}; expected {len(target)} bytes") from error
        if len(found) == len(target):
            target[:] = found
        return len(found)


def _varint(data: Buffer) -> int:
    """A number in base 128, least digit first.

    >>> _varint(bytes([0x80, 0x01]))
    128
    """
    value = 0
    for at, byte in enumerate(bytes(data[:10])):
        value |= (byte & 127) << (7 * at)
        if byte < 128:
            return value
    raise ChunkDecodeError("snappy: the size in front of the data does not end")
