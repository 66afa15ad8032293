"""One chunk that is a tenso packet, as the reader of chunked arrays sees it.

The packet says everything again: shape, dtype, compression, checksum, for quantized ones scales and
zero points. It is believed where it agrees with the array's metadata, and an error where it does
not. Packets at the edge are cut off by the array, so shapes may be smaller than a full chunk's.

Nearly all packets of an array begin with the very same bytes, so those are compared before anything
is parsed.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import prod
from typing import NamedTuple

import numpy as np

from lazytensor.errors import ChunkDecodeError
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer, Store, StoredObject
from lazytensor.io.tenso.decode import decode_body, decode_quantized
from lazytensor.io.tenso.outline import Dense, Packet, Quantized, drive, outline
from lazytensor.io.zarr.layout import Where, stored_bytes
from lazytensor.plan.clock import decoding
from lazytensor.plan.counters import count
from lazytensor.plan.source import window

__all__ = ["Quant", "TensoLayout"]

_BEGIN = 64
_MOST_BEFORE = 1 << 12
_KINDS = 256


class Quant(NamedTuple):
    """How the packets of an array are quantized, as its metadata states it.

    ``dtype``: ``"qint8"``, ...; ``axis``, ``group_size`` are 0 where the scheme has none.
    """

    dtype: str
    scheme: str
    axis: int
    group_size: int


class _Plain(NamedTuple):
    """A packet whose beginning is known."""

    packet: Dense
    nbytes: int


class TensoLayout:
    """Packets of up to ``shape``.

    ``dtype``: of the values, float32 where they are quantized. ``quant``: None, or how all packets
    are. ``verify``: whether checksums are compared.
    """

    is_sharded = False
    cut_off = True

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype, quant: Quant | None, *, verify: bool
    ) -> None:
        self.shape = shape
        self.grain = shape
        self.dtype = dtype
        self.quant = quant
        self.verify = verify
        nbytes = prod(shape) * max(1, dtype.itemsize)
        # LZ4 makes blocks no longer than they are, with four bytes and a table entry for each.
        self.most = nbytes + nbytes // 1024 + _MOST_BEFORE
        if quant is not None:
            # Parameters may be as many as elements.
            self.most += 8 * prod(shape)
        self._known: dict[bytes, _Plain] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (self.shape, self.dtype, self.quant, self.verify)

    def read(
        self, store: Store, key: str, where: Where, place: np.ndarray, scratch: Scratch
    ) -> bool:
        """Read and decode the packet."""
        data = stored_bytes(store, key, self.most, scratch)
        if data is None:
            return False
        count("bytes_read", len(data))
        self.read_buffer(data, where, place, scratch)
        return True

    def read_part(
        self,
        whole: StoredObject,
        key: Hashable,
        where: Where,
        place: np.ndarray,
        scratch: Scratch,
        store: Store | None,
    ) -> None:
        """Read the whole packet through its handle and decode it."""
        count("bytes_read", whole.size)
        self.read_buffer(whole.read(0, whole.size, scratch), where, place, scratch)

    def read_buffer(self, data: Buffer, where: Where, place: np.ndarray, scratch: Scratch) -> None:
        """Decode."""
        view = memoryview(data)
        packet = self._packet(view)
        self._check(packet, where)
        with decoding():
            if isinstance(packet, Quantized):
                self._read_quantized(packet, view, where, place)
            else:
                self._read_dense(packet, view, where, place)
        count("bytes_decoded", prod(packet.shape) * self.dtype.itemsize)
        count("units_read")

    def _packet(self, view: memoryview) -> Dense | Quantized:
        known = self._known.get(bytes(view[:_BEGIN]))
        if known is not None and len(view) == known.nbytes:
            return known.packet
        found: Packet = drive(
            outline(len(view), where="tenso"), lambda start, nbytes: view[start : start + nbytes]
        )
        if not isinstance(found, Dense | Quantized):
            raise ChunkDecodeError(f"tenso: a chunk that is {type(found).__name__.lower()}")
        if found.stop != len(view):
            raise ChunkDecodeError(
                f"tenso: {len(view) - found.stop} bytes behind a packet of {found.stop}"
            )
        if isinstance(found, Dense) and found.frame is None and found.body[0] == _BEGIN:
            if len(self._known) >= _KINDS:
                self._known.clear()
            self._known[bytes(view[:_BEGIN])] = _Plain(found, len(view))
        return found

    def _check(self, packet: Dense | Quantized, where: Where) -> None:
        expected, held = self.quant or self.dtype, _kind(packet)
        if held != expected:
            raise ChunkDecodeError(f"tenso: expected values of {expected}, found {held}")
        shape = packet.shape
        fits = len(shape) == len(self.shape) and all(
            part.stop <= n <= most for part, n, most in zip(where, shape, self.shape, strict=True)
        )
        if not fits:
            raise ChunkDecodeError(
                f"tenso: a packet of {shape}, where chunks have {self.shape} and "
                f"{tuple(part.stop for part in where)} is looked at"
            )

    def _read_dense(self, packet: Dense, view: memoryview, where: Where, place: np.ndarray) -> None:
        stored = view[packet.body[0] : packet.stop]
        fits = place.shape == packet.shape and place.dtype == self.dtype
        if fits and (packet.frame is None or place.flags.c_contiguous):
            decode_body(packet, stored, place, verify=self.verify, where="tenso")
            return
        values = decode_body(packet, stored, verify=self.verify, where="tenso")
        place[...] = window(values, where)

    def _read_quantized(
        self, packet: Quantized, view: memoryview, where: Where, place: np.ndarray
    ) -> None:
        found = decode_quantized(
            packet,
            lambda start, nbytes: view[start : start + nbytes],
            verify=self.verify,
            where="tenso",
        )
        place[...] = window(found.dequantize(), where)


def _kind(packet: Dense | Quantized) -> Quant | np.dtype:
    """What the values of a packet are."""
    if isinstance(packet, Quantized):
        return Quant(packet.qdtype, packet.scheme, packet.axis, packet.group_size)
    return packet.dtype.newbyteorder("=")


def _restore(
    shape: tuple[int, ...], dtype: np.dtype, quant: Quant | None, verify: bool
) -> TensoLayout:
    return TensoLayout(shape, dtype, quant, verify=verify)
