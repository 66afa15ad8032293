"""Parts of many remote shards, fetched in three rounds whatever their number.

Opening brings sizes and indices (or nothing is asked, where the shard is known from before), then
come the indices that are still unknown, then all chunks together. Known shards are one round.
Shards in shards have two more, of their indices and their chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Store, StoredObject
from lazytensor.io.zarr.layout import Where
from lazytensor.io.zarr.shard import ShardLayout, next_round

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
    keys = list(dict.fromkeys([key for key, _ in shards]))
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
    """Fetch parts of shards together; there may be several of one shard."""
    found = open_shards(store, [(part.key, part.layout) for part in parts], recall=True)
    ready = found.ready
    left = {
        i: part.layout.rounds(ready[part.key], (store.identity, part.key), part.where, scratch)
        for i, part in enumerate(parts)
        if part.key in ready
    }
    asked: set[str] = set()
    while left:
        wanted: dict[str, list[tuple[int, int]]] = {}
        for i, rounds in list(left.items()):
            key = parts[i].key
            ranges = next_round(rounds) if key in ready else None
            if ranges is None:
                del left[i]
            elif ranges:
                wanted.setdefault(key, []).extend(ranges)
        _have(store, ready, wanted)
        asked |= wanted.keys()
    # Of the others too: it tells which are not what they were.
    _have(store, ready, {key: [] for key in ready.keys() - asked})
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
    if not ranges:
        return
    same = store.prefetch([(ready[key], ranges[key]) for key in ranges])
    for key, unchanged in zip(ranges, same, strict=True):
        if not unchanged:
            del ready[key]
