"""Shards written whole: many encoded chunks and an index, the other direction of ``ShardLayout``.

Inner chunks stand in C order, one behind the other; those that hold nothing but the fill value are
left out. While a shard is encoded there are its values, what is encoded of them, and one inner
chunk brought in order.
"""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np

from lazytensor.io.codec.checksums import crc32c
from lazytensor.io.codec.encode import EncodeChain, Room
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer
from lazytensor.io.zarr.encode_chunk import ObjectEncoder
from lazytensor.io.zarr.shard import ShardLayout
from lazytensor.io.zarr.shard_index import ABSENT

__all__ = ["ShardEncoder"]


class ShardEncoder(ObjectEncoder):
    """Many encoded chunks and an index.

    ``inner``: of an inner chunk, in the axes of the stored shard. ``outer``: of the whole shard.
    ``write_empty``: inner chunks are stored whatever they hold, if any of them lies in the array.
    """

    def __init__(
        self,
        layout: ShardLayout,
        inner: ObjectEncoder,
        outer: EncodeChain,
        fill: np.ndarray,
        *,
        write_empty: bool,
    ) -> None:
        super().__init__(layout.shape, inner.dtype, fill)
        self.inner = inner
        self.write_empty = write_empty
        self._axes = layout.axes
        self._index = layout.index
        self._outer = outer

    def memory(self) -> tuple[int, int]:
        """Encoded chunks follow each other; beside them there is one that is being encoded."""
        each, aside = self.inner.memory()
        encoded = prod(self._index.counts) * each + self._index.stored_nbytes
        if self._outer.is_raw:
            return encoded, aside
        packed, more = self._outer.most(encoded)
        return packed, aside + more + 2 * encoded

    def put(self, values: np.ndarray, room: Room, scratch: Scratch, *, keep_empty: bool) -> bool:
        """Encode what there is, chunk by chunk."""
        if self._outer.is_raw:
            return self._put(values, room, scratch, keep_empty=keep_empty)
        # Encoded as a whole once it is there: in memory of its own.
        inside, aside = Room(), Scratch()
        if not self._put(values, inside, aside, keep_empty=keep_empty):
            return False
        self._outer.encode(b"".join(inside.parts()), room, scratch)
        return True

    def _put(self, values: np.ndarray, room: Room, scratch: Scratch, *, keep_empty: bool) -> bool:
        turned = values.transpose(self._axes)
        head = room.hold(self._index.stored_nbytes) if self._index.at_start else None
        before = room.nbytes - (len(head) if head is not None else 0)
        index = np.full((prod(self._index.counts), 2), ABSENT, np.uint64)
        stored = False
        for number, at in enumerate(product(*map(range, self._index.counts))):
            window = turned[
                tuple(slice(i * n, (i + 1) * n) for i, n in zip(at, self.inner.shape, strict=True))
            ]
            start = room.nbytes
            if window.size and self.inner.put(window, room, scratch, keep_empty=self.write_empty):
                index[number] = start - before, room.nbytes - start
                stored = True
        if not stored and not keep_empty:
            if head is not None:
                room.drop(head)
            return False
        if head is not None:
            head[:] = self._encoded(index)
        else:
            room.add(self._encoded(index))
        return True

    def _encoded(self, index: np.ndarray) -> Buffer:
        data = index.astype(self._index.dtype).tobytes()
        for _ in self._index.chain.codecs:  # of checksums, there is this one
            data += crc32c(data).to_bytes(4, "little")
        return data
