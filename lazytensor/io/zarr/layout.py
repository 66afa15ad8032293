"""How the values of one stored object are laid out, and reading a part of them.

Two kinds: a plain object is one encoded chunk; a shard holds many, found through its index, each of
which may be a shard again. Both answer the same question: put the part ``where`` of your values
into ``place``. Shards are read through one handle, so index and chunks always belong together, and
chunks that lie near each other are read with one request.
"""

from __future__ import annotations

from collections.abc import Hashable
from itertools import product
from typing import Any, Protocol

import numpy as np

from lazytensor.errors import ChunkDecodeError
from lazytensor.io.codec.pipeline import ByteChain, ChunkDecoder
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer, MemoryObject, Store, StoredObject, merge_ranges
from lazytensor.io.zarr.shard_index import ABSENT, ShardIndex
from lazytensor.plan.counters import count

__all__ = ["Layout", "PlainLayout", "ShardLayout", "pieces"]

Where = tuple[slice, ...]
# Indexes an array without dimensions so that it yields a view and not a scalar.
_WHOLE: tuple[Any, ...] = (...,)
Piece = tuple[int, slice, slice]


def pieces(lo: int, hi: int, size: int) -> list[Piece]:
    """Cut positions ``[lo, hi)`` at multiples of ``size``.

    Returns ``(cell, part of the cell, part of [lo, hi))`` in ascending order.

    >>> pieces(3, 9, 4)
    [(0, slice(3, 4, None), slice(0, 1, None)), (1, slice(0, 4, None), slice(1, 5, None)), \
(2, slice(0, 1, None), slice(5, 6, None))]
    """
    found = []
    for cell in range(lo // size, -(-hi // size) if hi > lo else 0):
        start = cell * size
        a, b = max(lo, start), min(hi, start + size)
        found.append((cell, slice(a - start, b - start), slice(a - lo, b - lo)))
    return found


class Layout(Protocol):
    """The values of one stored object, of ``shape``, readable in cells of ``grain``."""

    shape: tuple[int, ...]
    grain: tuple[int, ...]
    is_sharded: bool

    def read(
        self, store: Store, key: str, where: Where, place: np.ndarray, scratch: Scratch
    ) -> bool:
        """Fill ``place`` with the part ``where``; False if there is no such object."""
        ...

    def read_buffer(self, data: Buffer, where: Where, place: np.ndarray, scratch: Scratch) -> None:
        """Fill ``place`` from the bytes of the whole object."""
        ...

    def read_part(
        self,
        whole: StoredObject,
        key: Hashable,
        where: Where,
        place: np.ndarray,
        scratch: Scratch,
        store: Store | None,
    ) -> None:
        """Fill ``place`` through a handle."""
        ...

    def stored_size(
        self, whole: StoredObject, key: Hashable, at: tuple[int, ...], scratch: Scratch
    ) -> int | None:
        """Stored bytes of the cell that holds position ``at``; None if it is not stored."""
        ...


class PlainLayout:
    """One encoded chunk."""

    is_sharded = False

    def __init__(self, decoder: ChunkDecoder) -> None:
        self.decoder = decoder
        self.shape = decoder.shape
        self.grain = decoder.shape

    def read(
        self, store: Store, key: str, where: Where, place: np.ndarray, scratch: Scratch
    ) -> bool:
        """Read and decode the object, without any copy if it is raw and fits the place."""
        decoder = self.decoder
        target = decoder.target(place) if decoder.raw else None
        if target is None:
            data = store.get(key, scratch)
            if data is None:
                return False
            count("bytes_read", len(data))
            self.read_buffer(data, where, place, scratch)
            return True
        size = store.get_into(key, target)
        if size is not None and size != decoder.nbytes:
            raise ChunkDecodeError(f"expected {decoder.nbytes} bytes, found {size}")
        if size is None:
            return False
        count("bytes_read", size)
        count("bytes_decoded", size)
        count("units_read")
        return True

    def read_buffer(self, data: Buffer, where: Where, place: np.ndarray, scratch: Scratch) -> None:
        """Decode."""
        self.decoder.decode_into(data, where, place, scratch)
        count("bytes_decoded", self.decoder.nbytes)
        count("units_read")

    def read_part(
        self,
        whole: StoredObject,
        key: Hashable,
        where: Where,
        place: np.ndarray,
        scratch: Scratch,
        store: Store | None,
    ) -> None:
        """Read the whole object through its handle and decode it."""
        count("bytes_read", whole.size)
        self.read_buffer(whole.read(0, whole.size, scratch), where, place, scratch)

    def stored_size(
        self, whole: StoredObject, key: Hashable, at: tuple[int, ...], scratch: Scratch
    ) -> int | None:
        """Size of the object."""
        return whole.size


class _Window(StoredObject):
    """An inner chunk of a shard, as an object of its own."""

    __slots__ = ("_base", "_whole", "size", "token")

    def __init__(self, whole: StoredObject, base: int, size: int) -> None:
        self._whole = whole
        self._base = base
        self.size = size
        self.token = whole.token

    def read(self, start: int, nbytes: int, scratch: Scratch | None = None) -> Buffer:
        """Exactly ``nbytes`` bytes from ``start`` of the window; the caller keeps inside it."""
        return self._whole.read(self._base + start, nbytes, scratch)


class ShardLayout:
    """Many encoded chunks and an index.

    ``shape``: of the shard, in the array's axes. ``axes``: axis ``i`` of the stored shard is the
    array's axis ``axes[i]``. ``inner``: layout of an inner chunk, in the axes of the stored shard.
    ``fill``: value of inner chunks that are not stored. ``outer``: decoders of the whole shard; if
    there are any, it can only be read whole.
    """

    is_sharded = True

    def __init__(
        self,
        shape: tuple[int, ...],
        axes: tuple[int, ...],
        inner: Layout,
        index: ShardIndex,
        fill: np.ndarray,
        outer: ByteChain,
    ) -> None:
        self.shape = shape
        self.axes = axes
        self.inner = inner
        self.index = index
        self.fill = fill
        self.outer = outer
        grain = dict(zip(axes, inner.grain, strict=True))
        partial = not outer.codecs
        self.grain = tuple(grain[a] for a in range(len(axes))) if partial else shape
        self._most = index.stored_nbytes + 2 * fill.itemsize * int(np.prod(shape, dtype=object))

    def read(
        self, store: Store, key: str, where: Where, place: np.ndarray, scratch: Scratch
    ) -> bool:
        """Read the index and the inner chunks needed, through one handle."""
        whole = store.open(key)
        if whole is None:
            return False
        with whole:
            self.read_part(whole, (store.identity, key), where, place, scratch, store)
        return True

    def read_buffer(self, data: Buffer, where: Where, place: np.ndarray, scratch: Scratch) -> None:
        """Decode what is needed of a shard in memory."""
        self.read_part(MemoryObject(data), None, where, place, scratch, None)

    def _opened(self, whole: StoredObject) -> StoredObject:
        """The shard proper, once the decoders around it are through."""
        if not self.outer.codecs:
            return whole
        return MemoryObject(self.outer.decode_all(whole.read(0, whole.size), self._most))

    def read_part(
        self,
        whole: StoredObject,
        key: Hashable,
        where: Where,
        place: np.ndarray,
        scratch: Scratch,
        store: Store | None,
    ) -> None:
        """Read the inner chunks that ``where`` touches, those near each other together."""
        shard = self._opened(whole)
        index = self.index.read(shard, key, scratch)
        turned = place.transpose(self.axes)
        cells = [
            pieces(where[a].start, where[a].stop, size)
            for a, size in zip(self.axes, self.inner.shape, strict=True)
        ]
        part = index[tuple(slice(c[0][0], c[-1][0] + 1) if c else slice(0) for c in cells)]
        wanted: list[tuple[Where, np.ndarray]] = []
        ranges: list[tuple[int, int]] = []
        for (offset, size), inside, spot in zip(
            part.reshape(-1, 2).tolist(),
            product(*[[piece[1] for piece in dim] for dim in cells]),
            product(*[[piece[2] for piece in dim] for dim in cells]),
            strict=True,
        ):
            place = turned[spot or _WHOLE]
            if offset == size == ABSENT:
                place[...] = self.fill
                continue
            if offset + size > shard.size:
                raise ChunkDecodeError(
                    f"inner chunk at {[part.start for part in spot]} of the part read: the index "
                    f"says bytes [{offset}, {offset + size}) of a shard of {shard.size} bytes"
                )
            wanted.append((inside, place))
            ranges.append((offset, offset + size))
        self._read_ranges(shard, key, ranges, wanted, scratch, store)

    def _read_ranges(
        self,
        shard: StoredObject,
        key: Hashable,
        ranges: list[tuple[int, int]],
        wanted: list[tuple[Where, np.ndarray]],
        scratch: Scratch,
        store: Store | None,
    ) -> None:
        inner = self.inner
        if inner.is_sharded:
            for (start, end), (where, spot) in zip(ranges, wanted, strict=True):
                window = _Window(shard, start, end - start)
                inner.read_part(window, (key, start), where, spot, scratch, store)
            return
        gap, limit = (0, 1 << 20) if store is None else (store.gap, store.merge_limit)
        groups = merge_ranges(ranges, gap, limit)
        buffers = shard.read_many([(lo, hi) for lo, hi, _ in groups], scratch)
        for (lo, _, members), buffer in zip(groups, buffers, strict=True):
            view = memoryview(buffer)
            count("bytes_read", len(view))
            for at in members:
                start, end = ranges[at]
                where, spot = wanted[at]
                inner.read_buffer(view[start - lo : end - lo], where, spot, scratch)

    def stored_size(
        self, whole: StoredObject, key: Hashable, at: tuple[int, ...], scratch: Scratch
    ) -> int | None:
        """Size of the inner chunk according to the index."""
        if self.outer.codecs:
            return whole.size
        turned = tuple(at[a] for a in self.axes)
        cell = tuple(p // size for p, size in zip(turned, self.inner.shape, strict=True))
        offset, size = self.index.read(whole, key, scratch)[cell].tolist()
        if offset == size == ABSENT:
            return None
        if not self.inner.is_sharded or offset + size > whole.size:
            return int(size)
        rest = tuple(p % extent for p, extent in zip(turned, self.inner.shape, strict=True))
        return self.inner.stored_size(_Window(whole, offset, size), (key, offset), rest, scratch)
