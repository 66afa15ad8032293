"""Parts of many remote shards, fetched in three rounds whatever their number.

Opening brings sizes and indices (or nothing is asked, where the shard is known from before), then
come the indices that are still unknown, then all chunks together. Known shards are one round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lazytensor.errors import FormatError
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Store, StoredObject
from lazytensor.io.zarr.layout import Where
from lazytensor.io.zarr.shard import ShardLayout

__all__ = ["Fetched", "Part", "fetch_shards", "open_shards"]


class Part(NamedTuple):
    """A part of a shard: the shard's key and layout, and which of its values."""

    key: str
    layout: ShardLayout
    where: Where


class Fetched(NamedTuple):
    """Handles of shards with what will be read at hand, and the keys of those that do not exist.

    A shard that changed in between is in neither.
    """

    ready: dict[str, StoredObject]
    absent: set[str]


def open_shards(
    store: Store, shards: Sequence[tuple[str, ShardLayout]], *, recall: bool = False
) -> Fetched:
    """Open shards (key and layout) and fetch their indices together; as ``Store.open_many``."""
    keys = [key for key, _ in shards]
    opened = store.open_many(keys, _ahead([layout for _, layout in shards]), recall=recall)
    ready = {key: whole for key, whole in zip(keys, opened, strict=True) if whole is not None}
    absent = set(keys) - ready.keys()
    indices = {
        key: span
        for key, layout in shards
        if key in ready and (span := layout.ahead_of(ready[key], (store.identity, key)))
    }
    _have(store, ready, indices)
    return Fetched(ready, absent)


def fetch_shards(store: Store, parts: Sequence[Part], scratch: Scratch) -> Fetched:
    """Fetch parts of shards together."""
    found = open_shards(store, [(part.key, part.layout) for part in parts], recall=True)
    ready = found.ready

    def wanted(part: Part) -> list[tuple[int, int]]:
        name = (store.identity, part.key)
        try:
            return part.layout.ranges_of(ready[part.key], name, part.where, scratch)
        except FormatError:
            # A damaged index: reading this shard will say so, with the name of the array.
            return []

    _have(store, ready, {part.key: wanted(part) for part in parts if part.key in ready})
    return found


def _ahead(layouts: Sequence[ShardLayout]) -> tuple[int, int] | None:
    """What to fetch on opening shards that may differ in size: the longest of their indices."""
    parts = [layout.ahead for layout in dict.fromkeys(layouts)]
    if not parts or None in parts:
        return None
    starts, ends = zip(*[part for part in parts if part is not None], strict=True)
    return min(starts), max(ends)


def _have(
    store: Store, ready: dict[str, StoredObject], ranges: dict[str, list[tuple[int, int]]]
) -> None:
    """Have ranges of shards at hand; those that changed since are no longer ready."""
    same = store.prefetch([(ready[key], ranges[key]) for key in ranges])
    for key, unchanged in zip(ranges, same, strict=True):
        if not unchanged:
            del ready[key]
