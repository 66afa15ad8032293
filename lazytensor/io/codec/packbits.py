"""Values packed to as many bits as they have: two formats that share a name.

numcodecs' ``packbits`` packs booleans, the highest bit of a byte first, behind a byte that says how
many bits are padding. The ``packbits`` of zarr v3 (zarr-extensions, ``codecs/packbits``) packs any
fixed number of bits of any number type, lowest bit first, with that byte in front, behind, or not
at all.
"""

from __future__ import annotations

import numpy as np

from lazytensor.errors import ChunkDecodeError
from lazytensor.io.codec.bytecodec import ByteCodec, mismatch
from lazytensor.io.codec.small import SMALL_INTEGERS, SMALL_TYPES
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer

__all__ = ["PADDING_PLACES", "FlagsCodec", "PackBitsCodec", "bits_of"]

PADDING_PLACES = ("none", "first_byte", "last_byte")

# A multiple of eight elements fills whole bytes, whatever their width.
_BLOCK = 1 << 14


def bits_of(dtype: np.dtype) -> int | None:
    """Bits that one component of a number type has; None for what is no number.

    >>> bits_of(np.dtype("bool")), bits_of(np.dtype("complex64")), bits_of(np.dtype("S3"))
    (1, 32, None)
    """
    if dtype.kind == "b":
        return 1
    if dtype.name in SMALL_TYPES:
        return SMALL_TYPES[dtype.name]
    is_ml_float = dtype.name.startswith(("bfloat", "float8"))
    if dtype.kind not in "iufc" and not is_ml_float:
        return None
    return 8 * dtype.itemsize // (2 if dtype.kind == "c" else 1)


class _PackedCodec(ByteCodec):
    """Elements of ``element_bits`` bits that decode to ``element_bytes`` bytes."""

    name = "packbits"
    element_bits = 1
    element_bytes = 1
    padding = "first_byte"

    def encoded_size(self, size: int) -> int:
        """Whole bytes for all bits, and the byte that counts those left over."""
        count, rest = divmod(size, self.element_bytes)
        if rest:
            raise ChunkDecodeError(f"packbits: {size} bytes are no whole number of elements")
        return -(-count * self.element_bits // 8) + (self.padding != "none")

    def encoded_bound(self, size: int) -> int:
        """Never more than the values, and two bytes."""
        return size + 2

    def announced(self, data: Buffer, most: int) -> int:
        """Elements that fit the bits that are not padding."""
        bits = 8 * len(self._packed(data)) - self._left_over(data)
        return min(bits // self.element_bits * self.element_bytes, most)

    def _packed(self, data: Buffer) -> memoryview:
        view = memoryview(data)
        return {"none": view, "first_byte": view[1:], "last_byte": view[:-1]}[self.padding]

    def _left_over(self, data: Buffer) -> int:
        if self.padding == "none":
            return 0
        if len(data) < 2 or (found := data[0 if self.padding == "first_byte" else -1]) > 7:
            raise ChunkDecodeError(
                "packbits: expected packed bytes and one that counts up to 7 bits of padding, "
                f"found {bytes(data[:16])!r}"
            )
        return int(found)

    def _bits(self, data: Buffer, size: int) -> np.ndarray:
        """The packed bytes, if they and their padding are what ``size`` bytes pack to."""
        expected = self.encoded_size(size)
        if len(data) != expected:
            raise mismatch("packbits", size, f"{len(data)} stored bytes, not {expected}")
        left = -(size // self.element_bytes * self.element_bits) % 8
        if self.padding != "none" and self._left_over(data) != left:
            raise ChunkDecodeError(
                f"packbits: expected {left} bits of padding, found {self._left_over(data)}"
            )
        return np.frombuffer(self._packed(data), np.uint8)


class FlagsCodec(_PackedCodec):
    """Booleans as numcodecs packs them; one byte each when decoded."""

    def decode(
        self, data: Buffer, size: int, out: memoryview | None, scratch: Scratch, slot: int
    ) -> Buffer:
        """Decode to exactly ``size`` flags."""
        packed = self._bits(data, size)
        target = scratch.take(slot, size) if out is None else out
        flags = np.frombuffer(target, np.uint8)
        step = 8 * _BLOCK
        for at in range(0, size, step):
            part = flags[at : at + step]
            part[:] = np.unpackbits(packed[at // 8 : (at + step) // 8], count=len(part))
        return target


class PackBitsCodec(_PackedCodec):
    """Bits ``first`` to ``last`` of each component of a number, as zarr v3 packs them.

    Bits that are not stored are zero, or the sign of a signed integer. ``padding``: where the
    number of padding bits stands, one of ``PADDING_PLACES``.
    """

    def __init__(self, dtype: np.dtype, first: int, last: int, padding: str) -> None:
        components = 2 if dtype.kind == "c" else 1
        self.dtype = dtype
        self.first = first
        self.last = last
        self.padding = padding
        self.element_bytes = dtype.itemsize
        self.element_bits = components * (last - first + 1)
        self._components = components
        self._width = 8 * dtype.itemsize // components
        self._bits_known = bits_of(dtype) or 0
        self._signed = dtype.kind == "i" or SMALL_INTEGERS.get(dtype.name, (0,))[0] < 0
        self._small = self.element_bits == self._bits_known and self._bits_known in (2, 4)

    def decode(
        self, data: Buffer, size: int, out: memoryview | None, scratch: Scratch, slot: int
    ) -> Buffer:
        """Decode to exactly ``size`` bytes of values, little endian on any machine."""
        packed = self._bits(data, size)
        target = scratch.take(slot, size) if out is None else out
        values = np.frombuffer(target, np.uint8)
        count = size // self.element_bytes
        for at in range(0, count, _BLOCK):
            n = min(_BLOCK, count - at)
            bits = packed[at * self.element_bits // 8 :][: -(-n * self.element_bits // 8)]
            part = self._unpacked(bits, n)
            values[at * self.element_bytes : (at + n) * self.element_bytes] = part
        return target

    def _unpacked(self, packed: np.ndarray, count: int) -> np.ndarray:
        """The bytes of ``count`` values."""
        stored = self.last - self.first + 1
        if self._small:
            return _parts(packed, stored)[:count]
        bits = np.unpackbits(packed, count=count * self.element_bits, bitorder="little")
        if stored == self._width:
            return np.packbits(bits, bitorder="little")
        if self._bits_known == 1:  # booleans
            return bits
        rows = bits.reshape(count * self._components, stored)
        wide = np.zeros((len(rows), self._width), np.uint8)
        wide[:, self.first : self.last + 1] = rows
        if self._signed:
            wide[:, self.last + 1 : self._bits_known] = rows[:, -1:]
        return np.packbits(wide, bitorder="little")


def _parts(packed: np.ndarray, bits: int) -> np.ndarray:
    """Halves or quarters of each byte, lowest first."""
    parts = np.empty((len(packed), 8 // bits), np.uint8)
    for i in range(8 // bits):
        parts[:, i] = packed >> (i * bits) & ((1 << bits) - 1)
    return parts.reshape(-1)
