"""Nodes of tenso packets: the plan of what is stored in one.

As the other ``build`` modules this knows nodes and no tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Scan, View

__all__ = ["chunked_node", "packet_node", "quantized_parts", "scan_node"]


def scan_node(source: Any, *, storage_options: Mapping[str, Any] | None = None) -> Node:
    """The one array in a packet or a folder of chunks; as ``lt.scan_tenso``."""
    from lazytensor.io.tenso.chunked import TensoChunks
    from lazytensor.io.tenso.scan import scan

    found = scan(source, storage_options=storage_options)
    return chunked_node(found) if isinstance(found, TensoChunks) else packet_node(found)


def packet_node(entry: Any) -> Node:
    """A packet (``io.tenso.scan.Entry``); of a quantized one what its integers stand for."""
    if not entry.is_quantized:
        return Scan(entry.source())
    from lazytensor.build_quantize import dequantize

    packet = entry.packet
    values, scales, zero_points = quantized_parts(entry)
    return dequantize(
        values,
        scales,
        zero_points,
        scheme=packet.scheme,
        axis=packet.axis,
        group_size=packet.group_size,
    )


def quantized_parts(entry: Any) -> tuple[Node, Any, Any]:
    """Values, scales and zero points; few parameters are read now, many when they are needed."""
    take = _read if entry.has_few_parameters else Scan
    return (
        Scan(entry.source()),
        take(entry.source("scales")),
        take(entry.source("zero_points")),
    )


def _read(source: Any) -> np.ndarray:
    out = np.empty(source.spec.shape, source.spec.dtype)
    source.read_into(((0, out.size),), out)
    return out


def chunked_node(source: Any) -> Node:
    """A folder of chunks (``io.tenso.chunked.TensoChunks``), its first element at its origin."""
    node = Scan(source)
    if not any(source.origin):
        return node
    return View(node, IndexTransform.identity(node.domain).translate_to[source.origin])
