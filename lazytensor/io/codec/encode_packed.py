"""Encoders that make a stream of their own of values: packed bits, pcodec, strings.

The inverse of ``packbits``, ``optional`` and ``text``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lazytensor.errors import FormatError, SinkError
from lazytensor.io.codec.bytecodec import ByteCodec
from lazytensor.io.codec.encode import Encoder, Take
from lazytensor.io.codec.encode_values import label_numbers
from lazytensor.io.codec.optional import PcodecCodec
from lazytensor.io.codec.packbits import FlagsCodec, PackBitsCodec, bits_of
from lazytensor.io.codec.rescale import integer_range
from lazytensor.io.codec.site import Site
from lazytensor.io.codec.small import value_mask
from lazytensor.io.codec.text import MOST_TEXT_BYTES
from lazytensor.io.scratch import STAGE_A, Scratch
from lazytensor.io.store import Buffer

__all__ = ["TextWriter", "categories_writer", "packbits", "pcodec", "utf8_writer"]

TextWriter = Callable[[np.ndarray], Buffer]
"""Makes the bytes of a chunk of its strings (1-d of ``StringDType``)."""

_BLOCK = 1 << 14
_WHERE_PADDING = {"none": (0, 0), "first_byte": (1, 0), "last_byte": (0, 1)}


class _Packed(Encoder):
    """``packbits`` in either form: bits of elements, and where the number of those left over is."""

    name = "packbits"

    def __init__(self, codec: FlagsCodec | PackBitsCodec) -> None:
        self._codec = codec
        self._mask: int | None = None
        if isinstance(codec, PackBitsCodec) and codec.last - codec.first + 1 != bits_of(
            codec.dtype
        ):
            self._mask = value_mask(codec.dtype.name) or 255

    def bound(self, size: int) -> int:
        """Never more than the values, and two bytes."""
        return self._codec.encoded_bound(size)

    def encode(self, data: memoryview, take: Take) -> Buffer:
        """Block by block, each of whole bytes."""
        codec = self._codec
        count = len(data) // codec.element_bytes
        out = take(codec.encoded_size(len(data)))
        before, after = _WHERE_PADDING[codec.padding]
        packed = np.frombuffer(out, np.uint8)[before : len(out) - after]
        for at in range(0, count, _BLOCK):
            part = data[at * codec.element_bytes : (at + _BLOCK) * codec.element_bytes]
            found = self._pack(np.frombuffer(part, np.uint8))
            packed[at * codec.element_bits // 8 :][: len(found)] = found
        if before or after:
            out[0 if before else -1] = -(count * codec.element_bits) % 8
        self._check(data, out)
        return out

    def _pack(self, values: np.ndarray) -> np.ndarray:
        """The bits of the bytes of some elements."""
        codec = self._codec
        if isinstance(codec, FlagsCodec):
            return np.packbits(values != 0)
        if codec.dtype.kind == "b":
            return np.packbits(values != 0, bitorder="little")
        width = 8 * codec.dtype.itemsize // (2 if codec.dtype.kind == "c" else 1)
        bits = np.unpackbits(values, bitorder="little").reshape(-1, width)
        return np.packbits(bits[:, codec.first : codec.last + 1], bitorder="little")

    def _check(self, data: memoryview, out: memoryview) -> None:
        """``SinkError`` if bits that are not stored would be missed."""
        codec = self._codec
        if isinstance(codec, FlagsCodec) or self._mask is None:
            return
        values = np.frombuffer(data, np.uint8)
        again = np.frombuffer(codec.decode(out, len(data), None, Scratch(), STAGE_A), np.uint8)
        if not np.array_equal(values & self._mask, again & self._mask):
            raise SinkError(
                f"packbits: there are values that bits {codec.first} to {codec.last} cannot hold"
            )


def packbits(site: Site, codec: ByteCodec | None) -> Encoder:
    """numcodecs' or that of v3, as the decoder is."""
    assert isinstance(codec, (FlagsCodec, PackBitsCodec))
    return _Packed(codec)


class _Pcodec(Encoder):
    name = "pcodec"

    def __init__(self, dtype: np.dtype, library: Any) -> None:
        self._dtype = dtype
        self._library = library

    def bound(self, size: int) -> int:
        """Its pages have headers, and their number depends on the settings."""
        return size + size // 8 + 4096

    def encode(self, data: memoryview, take: Take) -> Buffer:
        """One standalone file."""
        packed: bytes = self._library.encode(np.frombuffer(data, self._dtype))
        return packed


def pcodec(site: Site, codec: ByteCodec | None) -> Encoder:
    """The settings of numcodecs' codec, which asks the package of that name."""
    from numcodecs.pcodec import PCodec

    assert isinstance(codec, PcodecCodec)
    settings = {key: value for key, value in site.settings.items() if key != "id"}
    try:
        library = PCodec(**settings)
        library.encode(np.zeros(1, codec.dtype))
    except ImportError as error:
        raise FormatError(
            f"{site.where}: the package that encodes pcodec is not installed; "
            "`pip install lazytensor-engine[codecs]` brings it"
        ) from error
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise FormatError(f"{site.where}: {error}") from error
    return _Pcodec(codec.dtype, library)


def utf8_writer(site: Site) -> TextWriter:
    """``vlen-utf8``: a count, then the length and the UTF-8 bytes of each string."""
    return _utf8


def _utf8(strings: np.ndarray) -> Buffer:
    from numcodecs.vlen import VLenUTF8

    try:
        found: bytearray = VLenUTF8().encode(strings.astype(object))
    except (TypeError, ValueError, UnicodeEncodeError) as error:
        raise SinkError(f"vlen-utf8: {error}") from error
    if len(found) > MOST_TEXT_BYTES:
        raise SinkError(
            f"vlen-utf8: a chunk of {len(found)} bytes of text; at most {MOST_TEXT_BYTES} can be "
            "read: make the chunks smaller"
        )
    return found


def categories_writer(site: Site) -> TextWriter:
    """``categorize``, for strings of any length."""
    stored = site.number_type("astype", np.dtype("u1"))
    labels = np.array(["", *site.settings["labels"]], np.dtypes.StringDType())
    bounds = integer_range(stored)
    if bounds is None or len(labels) - 1 > bounds[1]:
        raise site.wrong("astype", f"an integer type that counts {len(labels) - 1} labels")

    def write(strings: np.ndarray) -> Buffer:
        return label_numbers(strings, labels).astype(stored).tobytes()

    return write
