"""How one packet is stored, for ``x.storage``."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["TensoStorage"]


@dataclass(frozen=True, slots=True)
class TensoStorage:
    """Facts about one array in a tenso packet.

    ``path``: keys of the bundles that it is in. ``chunks``: the virtual chunks that plans are cut
    at, which are no units of the file. ``codecs``: ``({"name": "lz4", ...},)`` or none.
    ``metadata``: what the header says.
    """

    uri: str
    path: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    codecs: tuple[Any, ...]
    metadata: Mapping[str, Any]
    key: Hashable
    sizes: tuple[int, int] = field(repr=False)
    format: str = "tenso"
    shards: tuple[int, ...] | None = None
    fill_value: Any = None
    order: str = "C"

    def statistics(self) -> dict[str, int]:
        """Counts and bytes: a packet is one unit, which exists."""
        stored, decoded = self.sizes
        return {
            "units_stored": 1,
            "units_total": 1,
            "bytes_stored": stored,
            "bytes_total": decoded,
        }
