"""Packets in buffers, and what was decoded made as a caller wants it: copied, or read-only."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazytensor.io.tenso.decode import Decoded, decode_packet
from lazytensor.io.tenso.outline import Packet, drive, outline
from lazytensor.io.tenso.strings import StringTensor
from lazytensor.plan.quantization import QuantizedArray

__all__ = ["as_bytes", "check_sparse", "outline_in", "packet_in", "settled"]


def as_bytes(data: Any) -> memoryview:
    """The bytes of a buffer in their order, read-only; copied only where they lie apart.

    >>> bytes(as_bytes(np.arange(6, dtype=np.uint8)[::-2]))
    b'\\x05\\x03\\x01'
    """
    view = memoryview(data).toreadonly()
    if view.c_contiguous and 0 not in (view.shape or ()):
        return view.cast("B")
    return memoryview(view.tobytes())


def outline_in(view: memoryview, start: int, legacy: bool, where: str) -> Packet:
    """The outline of the packet at ``start`` of a buffer."""
    parsing = outline(len(view), start=start, legacy=legacy, where=where)
    return drive(parsing, lambda at, nbytes: view[at : at + nbytes])


def packet_in(
    view: memoryview, start: int, *, sparse: str, legacy: bool, where: str
) -> tuple[Decoded, int]:
    """What the packet at ``start`` of a buffer holds, and where it ends."""
    packet = outline_in(view, start, legacy, where)
    value = decode_packet(
        packet, lambda at, nbytes: view[at : at + nbytes], sparse=sparse, where=where
    )
    return value, packet.stop


def check_sparse(sparse: str) -> None:
    """Raise ``ValueError`` for what says nothing about sparse matrices."""
    if sparse not in ("scipy", "raise"):
        raise ValueError(f"sparse={sparse!r} is neither 'scipy' nor 'raise'")


def settled(value: Decoded, *, copy: bool, writable: bool) -> Decoded:
    """What was decoded, its arrays where processors want them and writable or not.

    ``copy``: in memory of their own. ``writable`` without ``copy`` is for values whose memory
    nobody else has.
    """
    if isinstance(value, np.ndarray):
        array = value.copy() if copy else np.require(value, requirements="A")
        array.flags.writeable = writable
        return array
    if isinstance(value, dict):
        return {key: settled(one, copy=copy, writable=writable) for key, one in value.items()}
    if isinstance(value, QuantizedArray):
        arrays = {
            name: settled(getattr(value, name), copy=copy, writable=writable)
            for name in ("data", "scales", "zero_points")
        }
        return value._replace(**arrays)
    if isinstance(value, StringTensor):
        return StringTensor.packed(value.offsets.copy(), bytes(value.payload)) if copy else value
    return value.copy() if copy else value
