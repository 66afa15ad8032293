"""How one zarr array is stored, for ``x.storage``."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from lazytensor.io.store import Store, join_key
from lazytensor.io.zarr.keys import KeyEncoding

__all__ = ["ZarrStorage"]


@dataclass(frozen=True, slots=True)
class ZarrStorage:
    """Facts about one zarr array.

    ``chunks``: shape of what is decoded at once; ``shards``: shape of what is stored in one object
    when that holds several chunks, else None. Both are those of the largest where they differ.
    ``codecs`` and ``metadata`` are as in the file.
    """

    uri: str
    path: str
    format: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    codecs: tuple[Any, ...]
    fill_value: Any
    order: str
    metadata: Mapping[str, Any]
    key: Hashable
    itemsize: int = field(repr=False)
    keys: KeyEncoding = field(repr=False)
    counts: tuple[int, ...] = field(repr=False)
    store: Store = field(repr=False)

    def statistics(self) -> dict[str, int]:
        """What is stored, from a listing; no pixel is read.

        ``units_stored`` and ``bytes_stored`` count the objects that exist (shards, where there are
        any, else chunks), ``units_total`` the places for them, ``bytes_total`` the decoded array.
        """
        prefix = join_key(self.path)
        skip = len(prefix) + 1 if prefix else 0
        sizes = [
            size
            for key, size in self.store.walk(prefix)
            if self.keys.indices(key[skip:], self.counts) is not None
        ]
        return {
            "units_stored": len(sizes),
            "units_total": prod(self.counts),
            "bytes_stored": sum(sizes),
            "bytes_total": prod(self.shape) * self.itemsize,
        }
