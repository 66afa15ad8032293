"""The index of a shard: where each inner chunk lies in the object.

Read once per content of the object: a cache keyed by what changes with the content (inode, time
and size, or an ETag) makes the next read of the same shard one request shorter.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import prod

import numpy as np

from lazytensor.errors import ChunkDecodeError
from lazytensor.io.cache import ArrayCache
from lazytensor.io.codec.pipeline import ByteChain
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import StoredObject
from lazytensor.plan.counters import count

__all__ = ["ABSENT", "FORGOTTEN", "KNOWN", "WILL_BE_KNOWN", "ShardIndex"]

ABSENT = (1 << 64) - 1
"""Offset and size of an inner chunk that is not stored."""

KNOWN, WILL_BE_KNOWN, FORGOTTEN = range(3)
"""What reading finds of an index: it is kept from before; it will be kept; it never is."""

_MOST_KEPT = 64 << 20
_CACHE = ArrayCache(_MOST_KEPT)


class ShardIndex:
    """How the index of a shard is stored.

    ``counts``: inner chunks per dimension. ``dtype``: 64-bit unsigned, in the byte order stored.
    ``chain``: decoders of the index bytes. ``at_start``: it stands before the chunks, not after.
    """

    __slots__ = ("_meaning", "at_start", "chain", "counts", "dtype", "nbytes", "stored_nbytes")

    def __init__(
        self, counts: tuple[int, ...], dtype: np.dtype, chain: ByteChain, *, at_start: bool
    ) -> None:
        self.counts = counts
        self.dtype = dtype
        self.chain = chain
        self.at_start = at_start
        self.nbytes = 16 * prod(counts)
        self.stored_nbytes = self.nbytes + 4 * len(chain.codecs)
        # The same bytes are other numbers to other metadata.
        self._meaning = (counts, dtype.str, at_start, self.stored_nbytes)

    @property
    def part(self) -> tuple[int, int]:
        """Where it stands, as a half-open byte range; ``(-n, 0)`` is the last ``n`` bytes."""
        return (0, self.stored_nbytes) if self.at_start else (-self.stored_nbytes, 0)

    def unread(self, shard: StoredObject, key: Hashable) -> list[tuple[int, int]]:
        """The byte range that ``read`` would ask for; none if the index is known or not there."""
        if shard.size < self.stored_nbytes:
            return []
        if shard.token is not None and _CACHE.get((key, shard.token, self._meaning)) is not None:
            return []
        start = 0 if self.at_start else shard.size - self.stored_nbytes
        return [(start, start + self.stored_nbytes)]

    def read(self, shard: StoredObject, key: Hashable, scratch: Scratch) -> np.ndarray:
        """Offsets and sizes, ``uint64`` of shape ``(*counts, 2)``, read only.

        ``key`` identifies the shard for the cache. Raises ``ChunkDecodeError`` or
        ``ChecksumError``; nothing is allocated before the object is known to be long enough.
        """
        index, kept = self.look(shard, key, scratch)
        if kept == WILL_BE_KNOWN:
            _CACHE.put((key, shard.token, self._meaning), index)
        elif kept == KNOWN:
            count("cache_hits")
        return index

    def look(self, shard: StoredObject, key: Hashable, scratch: Scratch) -> tuple[np.ndarray, int]:
        """As ``read``, but nothing is kept; and what ``read`` would find instead."""
        known = None if shard.token is None else _CACHE.get((key, shard.token, self._meaning))
        if known is not None:
            return known, KNOWN
        start = 0 if self.at_start else shard.size - self.stored_nbytes
        if shard.size < self.stored_nbytes:
            raise ChunkDecodeError(
                f"shard: expected an index of {self.stored_nbytes} bytes, found {shard.size} bytes"
            )
        stored = shard.read(start, self.stored_nbytes, scratch)
        count("bytes_read", self.stored_nbytes)
        decoded = self.chain.decode(stored, self.nbytes, None, scratch)
        index = np.frombuffer(decoded, self.dtype).reshape(*self.counts, 2).astype(np.uint64)
        index.flags.writeable = False
        kept = shard.token is not None and index.nbytes <= _MOST_KEPT
        return index, WILL_BE_KNOWN if kept else FORGOTTEN
