"""From values to the bytes of a packet, as tenso 0.24 writes them.

A packet is written in parts: its header, views of the values where they lie, its checksum. Its
length is known, and everything that could be wrong with it has been found, before the first part is
made; a checksum is computed piece by piece while the pieces are in the cache, for whoever writes
them next. So nothing is copied that need not be, and a failed write is the disk's fault.

Differs from tenso 0.24 where that one writes what is not true: big-endian values are converted,
masked arrays are refused, and so is what does not fit into the 32-bit sizes of a bundle.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import Literal, NamedTuple

import numpy as np

from lazytensor.errors import DTypeError, ShapeError
from lazytensor.io.tenso.header import (
    MAX_ELEMENTS,
    MAX_NDIM,
    QUANTIZED,
    STRINGS,
    Flag,
    code_of,
    make_header,
)
from lazytensor.io.tenso.lz4 import frame_parts
from lazytensor.io.tenso.outline import FOOTER
from lazytensor.io.tenso.sparse import PARTS, is_sparse
from lazytensor.io.tenso.strings import StringTensor, as_strings
from lazytensor.native.nibbles import pack_pairs
from lazytensor.plan.quantization import SCHEMES, QuantizedArray, layout_of, qtype_of

__all__ = [
    "Encoded", "Options", "begin", "bundle_parts", "check_shape", "dense_parts", "encode",
    "pack_nibbles", "quantized_parts", "storable",
]  # fmt: skip

Buffer = bytes | bytearray | memoryview

_MAX_U32 = (1 << 32) - 1
_MAX_ENTRIES = 255
_MAX_DEPTH = 64
_MAX_ALIGNMENT = 1 << 32
_LITTLE: Literal["=", "<"] = "=" if sys.byteorder == "little" else "<"
_PIECE = 4 << 20  # hashed, and then written while it is in a cache; files are slow with less


class Options(NamedTuple):
    """How packets are written: as ``lt.io.tenso.dumps`` has it."""

    strict: bool = False
    integrity: bool = False
    compress: bool = False
    alignment: int = 64
    seekable: bool = False


class Encoded(NamedTuple):
    """A packet of ``nbytes``; its ``parts`` are made while they are asked for, once."""

    nbytes: int
    parts: Iterable[Buffer]


def encode(obj: object, options: Options, where: str = "the object", depth: int = 0) -> Encoded:
    """The packet of an array, a quantized array, strings, a matrix of scipy or a mapping of these.

    Everything is checked before this returns. Raises ``DTypeError`` for what packets do not hold,
    ``ShapeError`` for what is too large, both naming ``where``.
    """
    check_alignment(options.alignment)
    # First, since one kind of sparse matrices is a dict; packets of their own lie in it.
    sparse = is_sparse(obj)
    if depth + sparse > _MAX_DEPTH:
        raise ShapeError(f"{where}: packets lie more than {_MAX_DEPTH} deep in each other")
    if sparse:
        return _sparse(obj, options, where)
    if isinstance(obj, Mapping):
        return _bundle(obj, options, where, depth)
    if isinstance(obj, QuantizedArray):
        return _quantized(obj, options, where)
    if isinstance(obj, StringTensor):
        return _strings(obj, options)
    if not hasattr(obj, "__array__"):
        way_out = "collect() it first" if hasattr(obj, "collect") else "np.asarray() makes an array"
        raise DTypeError(
            f"{where}: packets hold arrays, scipy's matrices, quantized arrays, strings and dicts "
            f"of these, no {type(obj).__name__}; {way_out}"
        )
    values = _values(obj, where)
    if values.dtype.kind in "TU":
        return _strings(as_strings(values), options)
    return _dense(values, options, where)


def check_alignment(alignment: int) -> None:
    """Raise ``ValueError`` for an alignment that is not a power of two, or beyond 2**32."""
    if alignment < 1 or alignment & (alignment - 1) or alignment > _MAX_ALIGNMENT:
        raise ValueError(f"alignment={alignment}: expected a power of two up to 2**32")


def check_shape(shape: tuple[int, ...], where: str = "the array") -> None:
    """Raise ``ShapeError`` for a shape that no packet of one array can have."""
    if len(shape) > MAX_NDIM:
        raise ShapeError(f"{where}: {len(shape)} dims, where a packet has at most {MAX_NDIM}")
    if prod(shape) > MAX_ELEMENTS or any(n > _MAX_U32 for n in shape):
        raise ShapeError(
            f"{where}: shape {shape} exceeds the {MAX_ELEMENTS} elements of a packet; sink_tenso "
            f"with chunks= writes one packet a chunk"
        )


def _values(obj: object, where: str) -> np.ndarray:
    """As a NumPy array, nothing copied and nothing converted yet."""
    if isinstance(obj, np.ma.MaskedArray):
        raise DTypeError(
            f"{where}: packets have no place for a mask; write .filled(value), or a dict of the "
            f".data and the .mask"
        )
    return np.asarray(obj)


def storable(array: object, where: str = "the array") -> np.ndarray:
    """The values as they are stored: C-contiguous, little endian. Copies only if it must.

    Raises ``DTypeError`` for masked arrays and dtypes without a code, ``ShapeError`` for shapes
    that are too large.

    >>> storable(np.arange(3, dtype=">u2")).dtype
    dtype('uint16')
    """
    values = _values(array, where)
    code_of(values.dtype)
    check_shape(values.shape, where)
    return values.astype(values.dtype.newbyteorder(_LITTLE), order="C", copy=False)


def begin(
    flags: Flag, code: int, shape: tuple[int, ...], alignment: int, between: bytes = b""
) -> bytes:
    """Everything in front of a body: the header, what lies ``between`` it and the alignment, which
    is stated unless it is 64, and zeros up to where the body begins.

    >>> len(begin(Flag(0), 1, (2, 3), 64)), len(begin(Flag(0), 1, (2, 3), 16))
    (64, 32)
    """
    if alignment == 64:
        head = make_header(flags | Flag.ALIGNED, code, shape) + between
    else:
        exponent = alignment.bit_length() - 1
        head = make_header(flags | Flag.CUSTOM_ALIGNMENT, code, shape) + between
        head += bytes((exponent,))
    return head + bytes(-len(head) % alignment)


def _hashed(parts: Iterable[Buffer], unseen: Buffer = b"") -> Iterator[Buffer]:
    """The parts of a body in pieces, then the checksum of ``unseen`` and all of them."""
    import xxhash

    hasher = xxhash.xxh3_64(unseen)
    for part in parts:
        view = memoryview(part)
        for at in range(0, view.nbytes, _PIECE):
            piece = view[at : at + _PIECE]
            hasher.update(piece)
            yield piece
    yield struct.pack("<Q", hasher.intdigest())


def _with_body(
    head: bytes, body: Iterable[Buffer], nbytes: int, integrity: bool, hashed: Buffer = b""
) -> Encoded:
    """A packet whose body has ``nbytes``; the checksum covers what is in ``hashed``, too."""

    def parts() -> Iterator[Buffer]:
        yield head
        yield from _hashed(body, hashed) if integrity else body

    return Encoded(len(head) + nbytes + (FOOTER if integrity else 0), parts())


def _bytes_of(values: np.ndarray) -> memoryview:
    """The bytes of a contiguous array of any dtype, no copy."""
    return values.reshape(-1).view(np.uint8).data


def _is_stored_so(values: np.ndarray) -> bool:
    """Whether memory holds what a packet does."""
    little = values.dtype == values.dtype.newbyteorder(_LITTLE)
    return values.flags.c_contiguous and little


def _pieces(values: np.ndarray) -> Iterator[Buffer]:
    """The body of an array: a view of it, or copies of parts of it, one after the other."""
    if values.nbytes > _PIECE and not _is_stored_so(values):
        rows = max(1, _PIECE * len(values) // values.nbytes)
        for at in range(0, len(values), rows):
            yield from _pieces(values[at : at + rows] if len(values) > 1 else values[0])
    else:
        yield _bytes_of(storable(values))


def _dense(array: np.ndarray, options: Options, where: str) -> Encoded:
    code = code_of(array.dtype)
    check_shape(array.shape, where)
    if options.strict and not array.flags.c_contiguous:
        raise ValueError(f"{where} is not C-contiguous: strict=False copies it")
    flags = Flag.INTEGRITY if options.integrity else Flag(0)
    if not options.compress:
        head = begin(flags, code, array.shape, options.alignment)
        return _with_body(head, _pieces(array), array.nbytes, options.integrity)
    head = begin(flags | Flag.COMPRESSION, code, array.shape, options.alignment)
    frame = frame_parts(_bytes_of(storable(array)), seekable=options.seekable)
    return _with_body(head, frame, sum(map(len, frame)), options.integrity)


def dense_parts(
    array: np.ndarray,
    *,
    integrity: bool = False,
    compress: bool = False,
    alignment: int = 64,
    seekable: bool = False,
) -> list[Buffer]:
    """The packet of an array in parts, which are views of it where they can be.

    ``seekable``: with ``compress``, in independent blocks of 256 KiB behind which a table says
    where they are, so that parts of the array are read without the rest; tenso 0.24 loads that too.
    Raises as ``storable`` does.

    >>> [len(part) for part in dense_parts(np.arange(3), integrity=True)]
    [64, 24, 8]
    """
    check_alignment(alignment)
    options = Options(False, integrity, compress, alignment, seekable)
    return list(_dense(_values(array, "the array"), options, "the array").parts)


def _quantized(q: QuantizedArray, options: Options, where: str) -> Encoded:
    data = np.asarray(q.data)
    qtype = qtype_of(q.dtype)
    check_shape(data.shape, where)
    if options.strict and not data.flags.c_contiguous:
        raise ValueError(f"{where} is not C-contiguous: strict=False copies it")
    if data.dtype != qtype.storage:
        raise DTypeError(f"{where}: expected {qtype.storage} values of {q.dtype}, got {data.dtype}")
    layout = layout_of(data.shape, q.scheme, q.axis, q.group_size)
    if layout.group_size > _MAX_U32:
        raise ShapeError(f"{where}: groups of {layout.group_size} elements; at most {_MAX_U32}")
    numbers = SCHEMES.index(layout.scheme), layout.axis, layout.group_size, layout.number
    meta = struct.pack("<BBII", *numbers) + _parameters(q, layout.number, where).tobytes()
    flags = Flag.INTEGRITY if options.integrity else Flag(0)
    code = next(code for code, name in QUANTIZED.items() if name == q.dtype)
    head = begin(flags, code, data.shape, options.alignment, meta)
    flat = np.ascontiguousarray(data).reshape(-1)
    if qtype.bits == 4:
        packed = np.empty(-(-flat.size // 2), np.uint8)
        pack_nibbles(flat, packed)
        flat = packed
    return _with_body(head, [_bytes_of(flat)], flat.nbytes, options.integrity, meta)


def _parameters(q: QuantizedArray, count: int, where: str) -> np.ndarray:
    """Scales, then zero points; ``ShapeError`` unless there are so many of each."""
    both = [np.asarray(one, "<f4").reshape(-1) for one in (q.scales, q.zero_points)]
    if any(one.size != count for one in both):
        raise ShapeError(
            f"{where}: {q.scheme} has {count} scales and zero points, not {both[0].size} and "
            f"{both[1].size}"
        )
    return np.concatenate(both)


def quantized_parts(
    q: QuantizedArray, *, integrity: bool = False, alignment: int = 64
) -> list[Buffer]:
    """The packet of a quantized array in parts.

    Raises ``ShapeError`` where the number of scales is not what the scheme asks for.
    """
    check_alignment(alignment)
    return list(_quantized(q, Options(integrity=integrity, alignment=alignment), "q").parts)


def pack_nibbles(data: np.ndarray, out: np.ndarray) -> None:
    """Values of 4 bits, two a byte, the first in the low half; a last half byte without one is 0.

    ``data``: int8 or uint8 of n elements, one dim, of which the low four bits count. ``out``: uint8
    of (n + 1) // 2.

    >>> out = np.empty(2, np.uint8)
    >>> pack_nibbles(np.array([1, -1, 7], np.int8), out)
    >>> out
    array([241,   7], dtype=uint8)
    """
    done = pack_pairs(data, out)
    if done == data.size:
        return
    raw, out = data[done:].view(np.uint8), out[done // 2 :]
    high = raw[1::2]
    np.bitwise_and(raw[0::2], 0x0F, out=out)
    pairs = out[: len(high)]
    np.bitwise_or(pairs, high << 4, out=pairs)


def _strings(text: StringTensor, options: Options) -> Encoded:
    """Strings are never compressed, and always at a multiple of 64: nothing else is written."""
    check_shape((len(text),), "the strings")
    flags = Flag.STRING | (Flag.INTEGRITY if options.integrity else Flag(0))
    head = begin(flags, STRINGS, (len(text),), 64)
    offsets = np.ascontiguousarray(text.offsets, "<u8")
    body = [_bytes_of(offsets), memoryview(text.payload)]
    return _with_body(head, body, offsets.nbytes + text.nbytes, options.integrity)


def _sized(value: Encoded, where: str) -> bytes:
    """The 32 bits in front of a packet in a packet."""
    if value.nbytes > _MAX_U32:
        raise ShapeError(
            f"{where}: {value.nbytes} bytes; a packet within another has less than 4 GiB: write "
            f"it to a file of its own"
        )
    return struct.pack("<I", value.nbytes)


def _sparse(matrix: object, options: Options, where: str) -> Encoded:
    """The three arrays of a matrix; as tenso does it, without checksums and never compressed."""
    kind, shape = matrix.format, matrix.shape  # type: ignore[attr-defined]
    if kind not in PARTS:
        raise DTypeError(f"{where}: packets hold coo, csr and csc matrices, no {kind}: .tocsr()")
    if len(shape) != 2 or max(shape) > _MAX_U32:
        raise ShapeError(f"{where}: a sparse matrix of shape {shape}; packets hold those of 2 dims")
    flag = Flag[kind.upper()]
    parts: list[Iterable[Buffer]] = [[make_header(flag, 0, tuple(map(int, shape)))]]
    nbytes = 18
    for name in PARTS[kind]:
        inner = _dense(np.asarray(getattr(matrix, name)), Options(), f"{where}, {name}")
        parts += [[_sized(inner, f"{where}, {name}")], inner.parts]
        nbytes += 4 + inner.nbytes
    return Encoded(nbytes, _chained(parts))


def _bundle(entries: Mapping[object, object], options: Options, where: str, depth: int) -> Encoded:
    if len(entries) > _MAX_ENTRIES:
        raise ShapeError(
            f"{where}: {len(entries)} entries, where a bundle has at most {_MAX_ENTRIES}: nest "
            f"them, or write one packet each"
        )
    header = struct.pack("<4sBHBBx", b"TNSO", 4, Flag.BUNDLE, 0, len(entries))
    parts: list[Iterable[Buffer]] = [[header]]
    nbytes = len(header)
    for key, value in entries.items():
        if not isinstance(key, str):
            raise DTypeError(f"{where}: keys of a bundle are strings, not {type(key).__name__}")
        name = key.encode()
        if len(name) > _LONGEST_KEY:
            raise ShapeError(f"{where}: a key of {len(name)} bytes; they have at most 1 MiB")
        inner = encode(value, options, f"{where}[{key!r}]", depth + 1)
        size = _sized(inner, f"{where}[{key!r}]")
        parts += [[struct.pack("<I", len(name)), name, size], inner.parts]
        nbytes += 8 + len(name) + inner.nbytes
    return Encoded(nbytes, _chained(parts))


_LONGEST_KEY = 1 << 20


def bundle_parts(
    mapping: Mapping[str, object],
    *,
    integrity: bool = False,
    compress: bool = False,
    alignment: int = 64,
) -> list[Buffer]:
    """The packet of a mapping, nested ones included, in parts.

    >>> [len(part) for part in bundle_parts({"a": np.arange(3)})]
    [10, 4, 1, 4, 64, 24]
    """
    options = Options(integrity=integrity, compress=compress, alignment=alignment)
    return list(encode(mapping, options, "the bundle").parts)


def _chained(parts: Iterable[Iterable[Buffer]]) -> Iterator[Buffer]:
    for some in parts:
        yield from some
