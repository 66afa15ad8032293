"""What a packet says of itself, in words."""

from __future__ import annotations

from math import prod
from typing import Any

from lazytensor.io.tenso.header import CODES, Flag
from lazytensor.io.tenso.outline import Bundle, Dense, Packet, Quantized, Sparse, Strings

__all__ = ["describe"]


def describe(packet: Packet) -> dict[str, Any]:
    """The dict of ``lt.io.tenso.packet_info``."""
    header = packet.header
    info = {
        "kind": header.kind,
        "version": header.version,
        "flags": tuple(flag.name for flag in Flag if header.flags & flag),
        "dtype": None,
        "shape": (),
        "compression": None,
        "integrity": bool(header.flags & Flag.INTEGRITY),
    }
    info |= _DESCRIBE[type(packet)](packet)
    return info | {"packet_nbytes": packet.stop - packet.start}


def _dense(packet: Dense) -> dict[str, Any]:
    return {
        "dtype": CODES[packet.header.code],
        "shape": packet.shape,
        "compression": None if packet.frame is None else "lz4",
        "offset": packet.body[0] - packet.start,
        "nbytes": packet.nbytes,
    }


def _quantized(packet: Quantized) -> dict[str, Any]:
    return {
        "dtype": packet.qdtype,
        "shape": packet.shape,
        "scheme": packet.scheme,
        "axis": packet.axis,
        "group_size": packet.group_size,
        "parameters": packet.parameters,
        "offset": packet.body[0] - packet.start,
        "nbytes": packet.body[1] - packet.body[0],
    }


def _sparse(packet: Sparse) -> dict[str, Any]:
    parts = {name: describe(part) for name, part in packet.parts.items()}
    return {
        "dtype": parts["data"]["dtype"],
        "shape": packet.shape,
        "elements": prod(packet.parts["data"].shape),
        "nbytes": sum(part["nbytes"] for part in parts.values()),
        "parts": parts,
    }


def _strings(packet: Strings) -> dict[str, Any]:
    return {
        "dtype": "string",
        "shape": (packet.length,),
        "offset": packet.offsets - packet.start,
        "nbytes": packet.payload[1] - packet.payload[0],
    }


def _bundle(packet: Bundle) -> dict[str, Any]:
    entries = {key: describe(entry) for key, entry in packet.entries.items()}
    return {"nbytes": sum(entry["nbytes"] for entry in entries.values()), "entries": entries}


_DESCRIBE: dict[type, Any] = {
    Dense: _dense,
    Quantized: _quantized,
    Sparse: _sparse,
    Strings: _strings,
    Bundle: _bundle,
}
