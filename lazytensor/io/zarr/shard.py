"""Shards: many encoded chunks and an index in one object.

A shard is read through one handle, so index and chunks always belong together, and chunks that lie
near each other are read with one request. What was read together is decoded together, by one
compiled call where there is one for these chunks (``codec.compiled``).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from functools import partial
from itertools import compress, pairwise, product

import numpy as np

from lazytensor.errors import ChunkDecodeError, FormatError
from lazytensor.io.codec.compiled import Cells, units_in_memory
from lazytensor.io.codec.pipeline import ByteChain
from lazytensor.io.codec.text import MOST_TEXT_BYTES
from lazytensor.io.handed import Handed, Place, divides, part_of, put
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer, MemoryObject, Store, StoredObject, merge_ranges
from lazytensor.io.zarr.layout import Layout, Piece, PlainLayout, Where, cell_of, pieces
from lazytensor.io.zarr.shard_index import ABSENT, ShardIndex
from lazytensor.native.addresses import address_of_bytes
from lazytensor.plan.clock import decoding
from lazytensor.plan.counters import count
from lazytensor.plan.source import window

__all__ = ["ShardLayout", "Window", "group_ranges", "next_round", "outside"]


def _merging(store: Store | None) -> tuple[int, int]:
    """Gap and limit of byte ranges that are read as one; what is in memory has no gaps to save."""
    return (0, 1 << 20) if store is None else (store.gap, store.merge_limit)


def _entries(index: np.ndarray, cells: Sequence[Sequence[Piece]]) -> np.ndarray:
    """Offset and size of each of the cells, in C order: ``(n, 2)``."""
    dims = [[piece[0] for piece in dim] for dim in cells]
    if all(dim and dim[-1] - dim[0] == len(dim) - 1 for dim in dims):
        part = index[tuple(slice(dim[0], dim[-1] + 1) for dim in dims)]
    else:
        part = index[np.ix_(*dims)]
    found: np.ndarray = part.reshape(-1, 2)
    return found


def group_ranges(
    starts: np.ndarray, ends: np.ndarray, gap: int, limit: int
) -> Iterator[tuple[slice, int, int]]:
    """Runs of ascending byte ranges at most ``gap`` apart and ``limit`` long: members, lo, hi.

    As ``merge_ranges`` has it, for thousands of ranges.

    >>> starts, ends = np.array([0, 4, 90]), np.array([4, 12, 95])
    >>> [(lo, hi) for _, lo, hi in group_ranges(starts, ends, 10, 100)]
    [(0, 12), (90, 95)]
    """
    if not len(starts):
        return
    lo, hi = int(starts[0]), int(ends[-1])
    if 0 <= hi - lo <= limit and _follow(starts, ends, gap):
        yield slice(0, len(starts)), lo, hi
        return
    reach = np.maximum.accumulate(ends)
    breaks = np.flatnonzero(starts[1:] > reach[:-1] + gap) + 1
    for a, b in pairwise([0, *breaks.tolist(), len(starts)]):
        while a < b:
            lo = int(starts[a])
            c = a + max(1, int(np.searchsorted(reach[a:b], lo + limit, "right")))
            yield slice(a, c), lo, int(ends[a:c].max())
            a = c


def _follow(starts: np.ndarray, ends: np.ndarray, gap: int) -> bool:
    """Whether each range begins at the end of the one before, or at most so far behind it."""
    gaps = starts[1:] - ends[:-1]
    return bool(gaps.min(initial=0) >= 0) and bool(gaps.max(initial=0) <= gap)


def next_round(rounds: Iterator[list[tuple[int, int]]]) -> list[tuple[int, int]] | None:
    """The next of ``ShardLayout.rounds``; None after the last, and where an index is damaged:
    reading will say so, with the name of the array."""
    try:
        return next(rounds, None)
    except FormatError:
        return None


def outside(offset: int, size: int, shard: StoredObject, at: list[int]) -> ChunkDecodeError:
    """The error for an inner chunk that does not lie in its shard."""
    return ChunkDecodeError(
        f"inner chunk at {at}: the index says bytes [{offset}, {offset + size}) of a shard of "
        f"{shard.size} bytes"
    )


def _too_long(size: int, most: int, at: list[int]) -> ChunkDecodeError:
    return ChunkDecodeError(f"inner chunk at {at}: expected at most {most} bytes, found {size}")


class Window(StoredObject):
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
    there are any, it can only be read whole, and has at most ``most`` bytes once decoded.
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
        chunks = 2 * math.prod(index.counts) * inner.most
        if fill.dtype.kind == "T":  # what holds for one chunk of strings holds for all in a shard
            chunks = min(chunks, MOST_TEXT_BYTES)
        self.most = index.stored_nbytes + chunks
        # Of a shard in a shard only the index and what is needed are read.
        self.longest = ABSENT if inner.is_sharded else inner.most

    def hands_over(self, shards: Sequence[Sequence[Piece]], factors: Sequence[int]) -> bool:
        """Whether compiled code can give a consumer the inner chunks of a box of shards.

        It takes them along the array's axes, so shards that are stored turned are not for it.
        """
        if not isinstance(self.inner, PlainLayout) or self.axes != tuple(range(len(self.axes))):
            return False
        cells = self.inner_cells(shards)
        return divides(cells, factors) and self.inner.hands_over(cells)

    def read(self, store: Store, key: str, where: Where, place: Place, scratch: Scratch) -> bool:
        """Read the index and the inner chunks needed, through one handle."""
        name = (store.identity, key)

        def work(whole: StoredObject) -> None:
            self.read_part(whole, name, where, place, scratch, store)

        return store.using(key, work, self.ahead)

    @property
    def ahead(self) -> tuple[int, int] | None:
        """The part of a shard that is read first: its index."""
        return None if self.outer.codecs else self.index.part

    def ahead_of(self, whole: StoredObject, key: Hashable) -> list[tuple[int, int]]:
        """Half-open byte ranges to have at hand before ``rounds``: of the index, or all."""
        return [(0, whole.size)] if self.outer.codecs else self.index.unread(whole, key)

    def rounds(
        self, whole: StoredObject, key: Hashable, where: Where, scratch: Scratch
    ) -> Iterator[list[tuple[int, int]]]:
        """Half-open byte ranges that reading the part ``where`` will ask for, for fetching ahead.

        In rounds, since the index of a shard in a shard tells where its chunks are: what a round
        names must be at hand before the next one is asked for, and first of all ``ahead_of``.
        Nothing of what an unsound index says: reading tells.
        """
        if self.outer.codecs:
            return
        cells = self.cells_of(where)
        part = _entries(self.index.read(whole, key, scratch), cells)
        starts, sizes = part.T
        sound = (part != ABSENT).any(axis=1) & self.sound(starts, sizes, whole.size)
        begins, lengths = starts[sound].tolist(), sizes[sound].tolist()
        if not isinstance(self.inner, ShardLayout):
            yield [(start, start + size) for start, size in zip(begins, lengths, strict=True)]
            return
        windows = [Window(whole, start, size) for start, size in zip(begins, lengths, strict=True)]
        names = [(key, start) for start in begins]
        yield [
            (start + lo, start + hi)
            for start, window, name in zip(begins, windows, names, strict=True)
            for lo, hi in self.inner.ahead_of(window, name)
        ]
        insides = compress(product(*[[piece[1] for piece in dim] for dim in cells]), sound.tolist())
        left = {
            start: self.inner.rounds(window, name, inside, scratch)
            for start, window, name, inside in zip(begins, windows, names, insides, strict=True)
        }
        while left:
            found: list[tuple[int, int]] = []
            for start, rounds in list(left.items()):
                ranges = next_round(rounds)
                if ranges is None:
                    del left[start]
                else:
                    found += [(start + lo, start + hi) for lo, hi in ranges]
            yield found

    def inner_cells(self, shards: Sequence[Sequence[Piece]]) -> list[list[Piece]]:
        """The inner chunks of a box of shards, along each axis of the stored shards.

        ``shards``: along the array's axes. Chunks are counted, and places given, in the whole box.
        """
        found: list[list[Piece]] = []
        for axis, size, counts in zip(self.axes, self.inner.shape, self.index.counts, strict=True):
            dim: list[Piece] = []
            for shard, where, spot in shards[axis]:
                for cell, part, place in pieces(where.start, where.stop, size, where.step or 1):
                    moved = slice(spot.start + place.start, spot.start + place.stop)
                    dim.append((shard * counts + cell, part, moved))
            found.append(dim)
        return found

    def sound(self, starts: np.ndarray, sizes: np.ndarray, end: int | np.ndarray) -> np.ndarray:
        """Which chunks lie inside a shard of ``end`` bytes and are no longer than one can be.

        ``end`` is one for all, or ``uint64`` with one for each. Chunks that all claim the whole
        shard would be read once for each of them.
        """
        most = np.minimum(np.uint64(self.longest), np.asarray(end, np.uint64))
        fits = np.minimum(sizes, most)
        inside: np.ndarray = (sizes == fits) & (starts <= end - fits)
        return inside

    def entries_of(self, index: np.ndarray, where: Where) -> np.ndarray:
        """Offset and size of each inner chunk that a part touches, in C order: ``(n, 2)``."""
        return _entries(index, self.cells_of(where))

    def cells_of(self, where: Where) -> list[list[Piece]]:
        """The inner chunks that a part touches, along each axis of the stored shard."""
        return [
            pieces(where[a].start, where[a].stop, size, where[a].step or 1)
            for a, size in zip(self.axes, self.inner.shape, strict=True)
        ]

    def read_buffer(self, data: Buffer, where: Where, place: np.ndarray, scratch: Scratch) -> None:
        """Decode what is needed of a shard in memory."""
        self.read_part(MemoryObject(data), None, where, place, scratch, None)

    def _opened(self, whole: StoredObject) -> StoredObject:
        """The shard proper, once the decoders around it are through."""
        if not self.outer.codecs:
            return whole
        stored = whole.read(0, whole.size)
        with decoding():
            return MemoryObject(self.outer.decode_all(stored, self.most))

    def read_part(
        self,
        whole: StoredObject,
        key: Hashable,
        where: Where,
        place: Place,
        scratch: Scratch,
        store: Store | None,
    ) -> None:
        """Read the inner chunks that ``where`` touches, those near each other together.

        A ``place`` that hands values over is one of which ``hands_over`` is true.
        """
        shard = self._opened(whole)
        index = self.index.read(shard, key, scratch)
        turned = place if isinstance(place, Handed) else place.transpose(self.axes)
        cells = self.cells_of(where)
        part = _entries(index, cells)
        if isinstance(self.inner, PlainLayout):
            compiled = self.inner.compiled(cells, turned, self.fill)
            if compiled and self._read_compiled(
                compiled, shard, part, cells, turned, scratch, store
            ):
                return
        put(turned, lambda out: self._read_plain(shard, key, part, cells, out, scratch, store))

    def _read_plain(
        self,
        shard: StoredObject,
        key: Hashable,
        part: np.ndarray,
        cells: list[list[Piece]],
        turned: np.ndarray,
        scratch: Scratch,
        store: Store | None,
    ) -> None:
        """Chunk by chunk."""
        wanted: list[tuple[Where, np.ndarray]] = []
        ranges: list[tuple[int, int]] = []
        for (offset, size), inside, spot in zip(
            part.tolist(),
            product(*[[piece[1] for piece in dim] for dim in cells]),
            product(*[[piece[2] for piece in dim] for dim in cells]),
            strict=True,
        ):
            place = window(turned, spot)
            if offset == size == ABSENT:
                place[...] = self.fill
                continue
            if offset + size > shard.size:
                raise outside(offset, size, shard, [piece.start for piece in spot])
            if size > self.longest:
                raise _too_long(size, self.longest, [piece.start for piece in spot])
            wanted.append((inside, place))
            ranges.append((offset, offset + size))
        self._read_ranges(shard, key, ranges, wanted, scratch, store)

    def _read_compiled(
        self,
        compiled: Cells,
        shard: StoredObject,
        part: np.ndarray,
        cells: list[list[Piece]],
        turned: Place,
        scratch: Scratch,
        store: Store | None,
    ) -> bool:
        """The same with compiled code; False, and nothing done, for an index that is not sound."""
        stored = (part != ABSENT).any(axis=1)
        numbers = np.flatnonzero(stored)
        starts, sizes = part[numbers].T
        if not self.sound(starts, sizes, shard.size).all():
            return False
        starts, sizes = starts.astype(np.int64), sizes.astype(np.int64)
        order = np.argsort(starts, kind="stable")
        numbers, starts, sizes = numbers[order], starts[order], sizes[order]
        gap, limit = _merging(store)
        groups = list(group_ranges(starts, starts + sizes, gap, limit))
        buffers = shard.read_many([(lo, hi) for _, lo, hi in groups], scratch)
        for (members, lo, hi), buffer in zip(groups, buffers, strict=True):
            count("bytes_read", hi - lo)
            # In the order of their places again: neighbours are put in place together.
            order = members.start + np.argsort(numbers[members])
            offsets = starts[order] - lo
            units = units_in_memory(
                numbers[order], offsets + address_of_bytes(buffer), sizes[order]
            )
            left = [] if compiled.decode(units, scratch) else units.odd()
            done = len(order) - len(left)
            count("units_read", done)
            count("bytes_decoded", done * compiled.recipe.nbytes)
            for at in left:
                view = memoryview(buffer)[offsets[at] : offsets[at] + sizes[order[at]]]
                inside, spot = cell_of(cells, int(numbers[order[at]]))
                put(
                    part_of(turned, spot),
                    partial(self.inner.read_buffer, view, inside, scratch=scratch),
                )
        absent = np.flatnonzero(~stored)
        if absent.size:
            nowhere = np.zeros(absent.size, np.int64)
            compiled.decode(units_in_memory(absent, nowhere, nowhere - 1), scratch)
        return True

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
                window = Window(shard, start, end - start)
                inner.read_part(window, (key, start), where, spot, scratch, store)
            return
        gap, limit = _merging(store)
        groups = merge_ranges(ranges, gap, limit)
        buffers = shard.read_many([(lo, hi) for lo, hi, _ in groups], scratch)
        for (lo, _, members), buffer in zip(groups, buffers, strict=True):
            view = memoryview(buffer)
            count("bytes_read", len(view))
            for at in members:
                start, end = ranges[at]
                where, spot = wanted[at]
                inner.read_buffer(view[start - lo : end - lo], where, spot, scratch)
