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

__all__ = ["Fetched", "fetch_shards"]


class Fetched(NamedTuple):
    """Handles of shards with what will be read at hand, and the keys of those that do not exist.

    A shard that changed in between is in neither.
    """

    ready: dict[str, StoredObject]
    absent: set[str]


def fetch_shards(
    store: Store, layout: ShardLayout, parts: Sequence[tuple[str, Where]], scratch: Scratch
) -> Fetched:
    """Fetch the parts of shards (key and part) together."""
    keys = [key for key, _ in parts]
    opened = dict(zip(keys, store.open_many(keys, layout.ahead, recall=True), strict=True))
    ready = {key: whole for key, whole in opened.items() if whole is not None}
    absent = set(keys) - ready.keys()

    def name(key: str) -> tuple[object, str]:
        return store.identity, key

    def have(ranges: dict[str, list[tuple[int, int]]]) -> None:
        same = store.prefetch([(ready[key], ranges[key]) for key in ranges])
        for key, unchanged in zip(ranges, same, strict=True):
            if not unchanged:
                del ready[key]

    def wanted(key: str, where: Where) -> list[tuple[int, int]]:
        try:
            return layout.ranges_of(ready[key], name(key), where, scratch)
        except FormatError:
            # A damaged index: reading this shard will say so, with the name of the array.
            return []

    have({key: span for key in ready if (span := layout.ahead_of(ready[key], name(key)))})
    have({key: wanted(key, where) for key, where in parts if key in ready})
    return Fetched(ready, absent)
