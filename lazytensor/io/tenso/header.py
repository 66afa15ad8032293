"""The header that every tenso packet begins with.

Version 4, which tenso 0.24 writes, has ten bytes: ``TNSO``, the version, 16 flags, a dtype code, a
number of dims (of a bundle: of entries) and a reserved byte; versions 3 and 2 have eight, with 8
flags and nothing reserved. The dims follow as 32-bit numbers. All numbers are little endian.

Rule: the tenso 0.24.0 source distribution, ``crates/tenso/src/lib.rs``. Unlike there, a flag that
nobody has defined is an error, since it may change the layout.
"""

from __future__ import annotations

import struct
from enum import IntFlag
from math import prod
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from lazytensor.errors import DTypeError, FormatError
from lazytensor.plan.registry import scalar_type

__all__ = [
    "CODES", "LONGEST", "MAGIC", "MAX_ELEMENTS", "MAX_NDIM", "QUANTIZED", "STRINGS", "Flag",
    "Header", "code_of", "dtype_of", "header_nbytes", "make_header", "parse_header",
]  # fmt: skip

MAGIC = b"TNSO"
MAX_NDIM = 32
MAX_ELEMENTS = 1_000_000_000
_MAX_EXTENT = (1 << 32) - 1
_LARGEST = (1 << 63) - 1
_PREFIX = {4: 10, 3: 8, 2: 8}
LONGEST = 10 + 4 * MAX_NDIM + 1
"""No header of a packet, with the byte of its alignment, has more bytes."""


class Flag(IntFlag):
    """What a packet is and has."""

    ALIGNED = 0x1
    INTEGRITY = 0x2
    COMPRESSION = 0x4
    COO = 0x8
    BUNDLE = 0x10
    CSR = 0x20
    CSC = 0x40
    CUSTOM_ALIGNMENT = 0x80
    STRING = 0x100
    RAGGED = 0x200
    GPU_REFERENCE = 0x400


_KNOWN = int(Flag(sum(Flag)))

CODES = MappingProxyType(
    {
        1: "float32", 2: "int32", 3: "float64", 4: "int64", 5: "uint8", 6: "uint16", 7: "bool",
        8: "float16", 9: "int8", 10: "int16", 11: "uint32", 12: "uint64", 13: "complex64",
        14: "complex128", 15: "bfloat16",
    }
)  # fmt: skip
"""Names of the dtypes of dense packets by code."""

QUANTIZED = MappingProxyType({16: "qint8", 17: "quint8", 18: "qint4", 19: "quint4"})
STRINGS = 20
_BY_NAME = {name: code for code, name in CODES.items()}


class Header(NamedTuple):
    """A header as it was read. ``nbytes``: of it and the dims.

    ``number``: of dims, of a bundle (which has none) of its entries.
    """

    version: int
    flags: Flag
    code: int
    number: int
    shape: tuple[int, ...]
    nbytes: int

    @property
    def kind(self) -> str:
        """What follows: ``"dense"``, ``"quantized"``, ``"bundle"``, ``"coo"``, ..."""
        for flag, kind in _KINDS:
            if self.flags & flag:
                return kind
        return "quantized" if self.code in QUANTIZED else "dense"


# In the order in which the package looks at them.
_KINDS = (
    (Flag.GPU_REFERENCE, "gpu reference"),
    (Flag.BUNDLE, "bundle"),
    (Flag.COO, "coo"),
    (Flag.CSR, "csr"),
    (Flag.CSC, "csc"),
    (Flag.STRING, "string"),
    (Flag.RAGGED, "ragged"),
)


def header_nbytes(start: bytes | bytearray | memoryview, where: str) -> int:
    """How long the header is, dims included, whose first ten bytes (or all there are) these are.

    Raises ``FormatError`` for what is no packet.

    >>> header_nbytes(make_header(Flag.ALIGNED, 1, (2, 3)), "packet")
    18
    """
    begin = bytes(start[:10])
    if not begin.startswith(MAGIC):
        raise FormatError(f"{where}: expected a tenso packet, found {begin[:4]!r} at its start")
    if len(begin) < 8 or len(begin) < (prefix := _prefix(begin[4], where)):
        raise FormatError(f"{where}: truncated: a header of {len(begin)} bytes")
    bundle = begin[5] & Flag.BUNDLE
    return prefix if bundle else prefix + 4 * begin[8 if prefix == 10 else 7]


def _prefix(version: int, where: str) -> int:
    if version not in _PREFIX:
        known = ", ".join(map(str, sorted(_PREFIX)))
        raise FormatError(f"{where}: tenso version {version} is none of {known}")
    return _PREFIX[version]


def parse_header(data: bytes | bytearray | memoryview, where: str) -> Header:
    """The header at the start of ``data``, checked in itself.

    Raises ``FormatError`` naming ``where`` for what is no packet, has flags that are not known,
    more than 32 dims or 10^9 elements, or a shape that no array can have.

    >>> parse_header(make_header(Flag.ALIGNED, 1, (2, 3)), "packet").shape
    (2, 3)
    """
    nbytes = header_nbytes(data, where)
    if len(data) < nbytes:
        raise FormatError(f"{where}: truncated: {len(data)} bytes of a header of {nbytes}")
    version = data[4]
    if _PREFIX[version] == 10:
        raw, code, count = struct.unpack_from("<HBB", data, 5)
    else:
        raw, code, count = data[5], data[6], data[7]
    if raw & ~_KNOWN:
        raise FormatError(f"{where}: flags {raw & ~_KNOWN:#06x} are not known")
    flags = Flag(raw)
    if flags & Flag.BUNDLE:
        return Header(version, flags, code, count, (), nbytes)
    if count > MAX_NDIM:
        raise FormatError(f"{where}: {count} dims, where a packet has at most {MAX_NDIM}")
    shape = struct.unpack_from(f"<{count}I", data, nbytes - 4 * count)
    return Header(version, flags, code, count, _checked(flags, shape, where), nbytes)


def _checked(flags: Flag, shape: tuple[int, ...], where: str) -> tuple[int, ...]:
    """The shape, if an array may have it. A sparse one may be as large as it likes."""
    if flags & (Flag.COO | Flag.CSR | Flag.CSC):
        return shape
    # NumPy makes no array whose extents, zeros left out, multiply to more than an address.
    if prod(shape) > MAX_ELEMENTS or prod(max(1, n) for n in shape) * 16 > _LARGEST:
        raise FormatError(f"{where}: shape {shape} exceeds the {MAX_ELEMENTS} elements of a packet")
    return shape


def make_header(flags: Flag, code: int, shape: tuple[int, ...]) -> bytes:
    """A header of version 4 with its dims, as tenso 0.24 writes it.

    >>> make_header(Flag.ALIGNED, 1, (2, 3)).hex(" ", 2)
    '544e 534f 0401 0001 0200 0200 0000 0300 0000'
    """
    return struct.pack(f"<4sBHBBx{len(shape)}I", MAGIC, 4, flags, code, len(shape), *shape)


def dtype_of(code: int, where: str) -> np.dtype:
    """The dtype of a dense packet with this code, little endian.

    Raises ``FormatError`` for a code that dense packets do not have.

    >>> dtype_of(6, "packet")
    dtype('uint16')
    """
    name = CODES.get(code)
    if name is None:
        raise FormatError(f"{where}: dtype code {code} is none of a dense packet")
    if name == "bfloat16":
        return scalar_type(name)
    # Through its letters, so that it is the dtype that everybody has where that is little endian.
    return np.dtype(np.dtype(name).newbyteorder("<").str)


def code_of(dtype: np.dtype) -> int:
    """The code of a dtype; ``DTypeError`` naming those that there are, where it has none.

    >>> code_of(np.dtype(">u2"))
    6
    """
    code = _BY_NAME.get(dtype.name)
    if code is None:
        raise DTypeError(f"tenso packets hold no {dtype}; they hold {', '.join(CODES.values())}")
    return code
