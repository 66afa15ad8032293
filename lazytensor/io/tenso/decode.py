"""From the bytes of a packet to values.

``decode_body`` is for whoever has the stored bytes of one array. ``decode_packet`` is for whoever
can read bytes by offset, and makes what the packet says: an array, a quantized array, strings, a
matrix of scipy, or a dict of these. Values that lie as NumPy wants them are views of the bytes they
were read into; what these may be used for is up to the reader.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from lazytensor.errors import ChecksumError, ChunkDecodeError, FormatError
from lazytensor.io.tenso.lz4 import decode_frame
from lazytensor.io.tenso.outline import Bundle, Dense, Packet, Quantized, Sparse, Strings
from lazytensor.io.tenso.sparse import check_indices, make_matrix
from lazytensor.io.tenso.strings import StringTensor
from lazytensor.native.nibbles import unpack_pairs
from lazytensor.plan.quantization import QTYPES, QuantizedArray

__all__ = [
    "Decoded", "PieceReader", "Read", "check_body", "compare_checksum", "decode_body",
    "decode_packet", "decode_quantized", "unpack_nibbles",
]  # fmt: skip

Buffer = bytes | bytearray | memoryview
Read = Callable[[int, int], Buffer]
Decoded = Any
"""``np.ndarray | QuantizedArray | StringTensor | dict[str, Decoded]``, or a matrix of scipy."""


class PieceReader(ABC):
    """A ``Read`` that can show the bytes as they arrive, while they are in the cache."""

    @abstractmethod
    def __call__(self, start: int, nbytes: int) -> Buffer:
        """Bytes [start, start + nbytes) of the source."""

    @abstractmethod
    def shown(self, start: int, nbytes: int, show: Callable[[memoryview], object]) -> Buffer:
        """The same, each piece given to ``show`` as soon as it is there."""


def check_body(hashed: Buffer, footer: Buffer, where: str = "packet") -> None:
    """Raise ``ChecksumError`` if the XXH3-64 of some bytes is not the one that is stored."""
    import xxhash

    compare_checksum(xxhash.xxh3_64_intdigest(hashed), footer, where)


def compare_checksum(computed: int, footer: Buffer, where: str) -> None:
    """Raise ``ChecksumError`` if a checksum is not the one in the eight bytes behind a body."""
    (stored,) = struct.unpack("<Q", bytes(footer))
    if computed != stored:
        raise ChecksumError(
            f"{where}: the values are not those that were written: expected XXH3 {stored:016x}, "
            f"computed {computed:016x}"
        )


def decode_body(
    packet: Dense,
    stored: Buffer,
    out: np.ndarray | None = None,
    *,
    verify: bool,
    where: str = "packet",
) -> np.ndarray:
    """The values of an array from its stored bytes, those of [packet.body[0], packet.stop).

    Parameters
    ----------
    out
        Array of the packet's shape and, in native byte order, dtype; blocks of LZ4 are decoded
        straight into it if it is C-contiguous. Without it, values that are stored as they are, are
        a view of ``stored``, read-only if that is.
    verify
        Compare the checksum, if there is one, first; ``ChecksumError`` if it does not match.
    where
        Named in errors.

    >>> from lazytensor.io.tenso import dumps
    >>> from lazytensor.io.tenso.outline import drive, outline
    >>> data = dumps(np.arange(3.0), compress=True)
    >>> packet = drive(outline(len(data)), lambda start, n: data[start : start + n])
    >>> decode_body(packet, data[packet.body[0] : packet.stop], verify=True)
    array([0., 1., 2.])
    """
    start, stop = packet.body
    view = memoryview(stored)
    if view.nbytes != packet.stop - start:
        raise FormatError(
            f"{where}: expected {packet.stop - start} stored bytes, found {view.nbytes}"
        )
    body = view[: stop - start]
    if verify and packet.checksum is not None:
        check_body(body, view[stop - start :], where)
    if packet.frame is None:
        return _from_plain(packet, body, out)
    return _from_frame(packet, body, out, where)


def _from_plain(packet: Dense, body: memoryview, out: np.ndarray | None) -> np.ndarray:
    values = np.frombuffer(body, np.uint8)
    if packet.dtype == np.bool_:
        return _as_bool(values, packet.shape, out)
    found = values.view(packet.dtype).reshape(packet.shape)
    if out is None:
        return found if found.dtype.isnative else found.astype(found.dtype.newbyteorder("="))
    out[...] = found
    return out


def _as_bool(values: np.ndarray, shape: tuple[int, ...], out: np.ndarray | None) -> np.ndarray:
    """Every byte that is not 0 is true: of others NumPy's loops make neither."""
    if out is not None:
        np.not_equal(values.reshape(shape), 0, out=out)
        return out
    if values.size and values.max() > 1:
        values = np.not_equal(values, 0)
    return values.view(np.bool_).reshape(shape)


def _from_frame(packet: Dense, body: memoryview, out: np.ndarray | None, where: str) -> np.ndarray:
    assert packet.frame is not None
    native = packet.dtype.newbyteorder("=")
    fits = out is not None and out.flags.c_contiguous and out.dtype == packet.dtype
    target = out if out is not None and fits else np.empty(packet.shape, packet.dtype)
    try:
        decode_frame(packet.frame, body, packet.body[0], target)
    except ChecksumError as error:
        raise ChecksumError(f"{where}: {error}") from None
    except ChunkDecodeError as error:
        raise ChunkDecodeError(f"{where}: {error}") from None
    if packet.dtype == np.bool_:
        np.not_equal(target.view(np.uint8), 0, out=target)
    if out is None:
        return target if target.dtype.isnative else target.astype(native)
    if target is not out:
        out[...] = target
    return out


def decode_packet(
    packet: Packet,
    read: Read,
    *,
    verify: bool = True,
    sparse: str = "scipy",
    where: str = "packet",
) -> Decoded:
    """What a packet holds: ``read(start, nbytes)`` gives bytes of the source.

    Parameters
    ----------
    verify
        Compare all checksums that there are.
    sparse
        ``"scipy"``: matrices become scipy's. ``"raise"``: they raise ``FormatError``.

    Raises ``FormatError`` and its children ``ChecksumError`` and ``ChunkDecodeError``, naming
    ``where`` and the key.
    """
    match packet:
        case Dense():
            return _dense(packet, read, verify, where)
        case Bundle():
            return {
                key: decode_packet(
                    inner, read, verify=verify, sparse=sparse, where=f"{where}[{key!r}]"
                )
                for key, inner in packet.entries.items()
            }
        case Quantized():
            return decode_quantized(packet, read, verify=verify, where=where)
        case Sparse():
            return _sparse(packet, read, verify, sparse, where)
        case Strings():
            return _strings(packet, read, verify, where)


def _dense(packet: Dense, read: Read, verify: bool, where: str) -> np.ndarray:
    start, stop = packet.body
    if not (verify and packet.checksum is not None and isinstance(read, PieceReader)):
        stored = read(start, packet.stop - start)
        return decode_body(packet, stored, verify=verify, where=where)
    import xxhash

    hasher = xxhash.xxh3_64()
    left = stop - start

    def show(piece: memoryview) -> None:
        nonlocal left
        hasher.update(piece[:left])
        left = max(0, left - len(piece))

    stored = read.shown(start, packet.stop - start, show)
    compare_checksum(hasher.intdigest(), memoryview(stored)[stop - start :], where)
    return decode_body(packet, stored, verify=False, where=where)


def decode_quantized(
    packet: Quantized, read: Read, *, verify: bool = True, where: str = "packet"
) -> QuantizedArray:
    """The values, one an element, and parameters of a quantized packet."""
    start, stop = packet.body
    stored = memoryview(read(start, packet.stop - start))
    body = stored[: stop - start]
    meta = memoryview(read(packet.meta, packet.zero_points + 4 * packet.parameters - packet.meta))
    if verify and packet.checksum is not None:
        import xxhash

        hasher = xxhash.xxh3_64(meta)
        hasher.update(body)
        compare_checksum(hasher.intdigest(), stored[stop - start :], where)
    skipped = packet.scales - packet.meta
    both = np.frombuffer(meta, "<f4", 2 * packet.parameters, skipped).astype(np.float32)
    qtype = QTYPES[packet.qdtype]
    if qtype.bits == 4:
        data = np.empty(packet.shape, qtype.storage)
        unpack_nibbles(np.frombuffer(body, np.uint8), 0, data.size, qtype.signed, data.reshape(-1))
    else:
        data = np.frombuffer(body, qtype.storage).reshape(packet.shape)
    return QuantizedArray(
        data, both[: packet.parameters], both[packet.parameters :], packet.qdtype, packet.scheme,
        packet.axis, packet.group_size,
    )  # fmt: skip


def _sparse(packet: Sparse, read: Read, verify: bool, sparse: str, where: str) -> Any:
    if sparse == "raise":
        raise FormatError(
            f"{where}: a sparse matrix ({packet.kind}) of shape {packet.shape}; sparse='scipy' "
            f"makes one, lt.scan_tenso reads parts of it as dense arrays"
        )
    parts = {
        name: _dense(part, read, verify, f"{where}, {name}") for name, part in packet.parts.items()
    }
    # scipy's loops want their numbers where processors do; in a bundle they lie anywhere.
    parts = {name: np.require(part, requirements="A") for name, part in parts.items()}
    check_indices(packet.kind, packet.shape, parts, where)
    return make_matrix(packet.kind, packet.shape, parts, where)


def _strings(packet: Strings, read: Read, verify: bool, where: str) -> StringTensor:
    stored = memoryview(read(packet.offsets, packet.stop - packet.offsets))
    body = stored[: packet.payload[1] - packet.offsets]
    if verify and packet.checksum is not None:
        check_body(body, stored[len(body) :], where)
    offsets = np.frombuffer(body, "<u8", packet.length + 1)
    return StringTensor.packed(offsets, body[8 * (packet.length + 1) :], where)


def unpack_nibbles(packed: np.ndarray, start: int, n: int, signed: bool, out: np.ndarray) -> None:
    """Values [start, start + n) of 4 bits, two a byte, the first in the low half, into ``out``.

    ``packed``: uint8, one dim. ``out``: int8 (``signed``, -8 to 7) or uint8 of ``n`` elements.

    >>> out = np.empty(3, np.int8)
    >>> unpack_nibbles(np.array([0xF1, 0x87], np.uint8), 1, 3, True, out)
    >>> out
    array([-1,  7, -8], dtype=int8)
    """
    first, last = start // 2, -(-(start + n) // 2)
    pieces = packed[first:last]
    odd = start % 2
    if not odd:
        done = unpack_pairs(pieces, out, signed=signed)
        if done == n:
            return
        pieces, out = pieces[done // 2 :], out[done:]
    raw = out.view(np.uint8)
    low, high = raw[odd::2], raw[1 - odd :: 2]
    np.bitwise_and(pieces[odd : odd + len(low)], 0x0F, out=low)
    np.right_shift(pieces[: len(high)], 4, out=high)
    if signed:
        # The sign is bit 3: 8..15 stand for -8..-1.
        np.bitwise_xor(raw, 8, out=raw)
        np.subtract(raw, 8, out=raw)
