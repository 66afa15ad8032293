"""What reading parts of an array will fetch and decode, found without reading any of it.

Reading and this must agree to the byte, so the questions are the same: which objects a part
touches, which of their chunks, and which byte ranges are read as one. What is looked at are sizes
of objects and indices of shards. An index that is read here is not kept, so that a look changes
nothing: reading afterwards will read it as if nobody had looked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import islice, product
from math import prod
from typing import NamedTuple, cast

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.codec.pipeline import MOST_CHUNK_BYTES
from lazytensor.io.scratch import KEPT_BYTES, thread_scratch
from lazytensor.io.store import Store, StoredObject
from lazytensor.io.zarr.ahead import touched
from lazytensor.io.zarr.layout import Layout, PlainLayout, Where, pieces
from lazytensor.io.zarr.metadata import ArrayMetadata
from lazytensor.io.zarr.reading import MOST_SHARDS, reads_compiled
from lazytensor.io.zarr.shard import ShardLayout, Window, group_ranges, outside
from lazytensor.io.zarr.shard_batch import open_shards
from lazytensor.io.zarr.shard_index import ABSENT, KNOWN, WILL_BE_KNOWN
from lazytensor.plan.source import Fetched, Read, UnitSize

__all__ = ["fetched", "reading_nbytes", "unit_sizes"]


_ROW = 256 << 10
"""Short rows of several chunks are put side by side in so many bytes."""

_Named = Callable[[str, FormatError], FormatError]


class _Part(NamedTuple):
    """A part of an object. ``partly``: no more of a file is read than lies between its elements.
    ``reading``: the number of the reading that it is read by."""

    key: str
    layout: Layout
    where: Where
    partly: bool
    reading: int


def fetched(
    store: Store,
    meta: ArrayMetadata,
    prefix: str,
    reads: Sequence[Read],
    named: _Named,
    readings: Sequence[int] = (),
) -> Fetched:
    """What carrying out ``reads`` will take from ``store``.

    ``prefix`` begins all keys; ``named`` makes of an error one with the name of the object.
    ``readings``: the number of the reading that each read is a part of, each of its own by default.
    """
    numbered = zip(reads, readings or range(len(reads)), strict=True)
    parts = [part for read, n in numbered for part in _parts(store, meta, prefix, read, n)]
    if meta.layout.is_sharded:
        return _in_shards(store, parts, meta.dtype.itemsize, named)
    sizes = _sizes(store, list(dict.fromkeys(part.key for part in parts)))
    stored = {
        part.key: _elements(meta, prefix, part) for part in parts if sizes[part.key] is not None
    }
    return Fetched(
        sum(_of_file(part) or sizes[part.key] or 0 for part in parts if part.key in stored),
        len(stored),
        sum(stored.values()) * meta.dtype.itemsize,
    )


def _elements(meta: ArrayMetadata, prefix: str, part: _Part) -> int:
    """How many values an object holds."""
    if not getattr(part.layout, "cut_off", False):
        return prod(part.layout.shape)
    indices = meta.keys.indices(part.key[len(prefix) :], meta.counts) or ()
    along = zip(indices, part.layout.shape, meta.shape, strict=True)
    return prod(min(size, n - i * size) for i, size, n in along)


def _of_file(part: _Part) -> int | None:
    """Bytes that are read of a chunk's file, where that is not all of it."""
    if not part.partly or not isinstance(part.layout, PlainLayout):
        return None
    return part.layout.read_of_file(part.where)


def _parts(
    store: Store, meta: ArrayMetadata, prefix: str, read: Read, reading: int
) -> Iterator[_Part]:
    """The objects that a read touches, in the order in which it does."""
    box, steps = read
    partly = False
    if meta.grid is None and all(lo < hi for lo, hi in box):
        cells = [
            pieces(lo, hi, size, step)
            for (lo, hi), step, size in zip(box, steps, meta.chunk_shape, strict=True)
        ]
        partly = reads_compiled(store, meta.layout, cells)
    for key, layout, where in touched(meta, prefix, read):
        yield _Part(key, layout, where, partly, reading)


def _sizes(store: Store, keys: Sequence[str]) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    left = iter(keys)
    while batch := list(islice(left, store.batch)):
        found.update(zip(batch, store.size_many(batch), strict=True))
    return found


def _in_shards(store: Store, parts: Sequence[_Part], itemsize: int, named: _Named) -> Fetched:
    """The same for parts of shards, each of which is opened once."""
    by_key: dict[str, tuple[ShardLayout, list[_Wanted]]] = {}
    shards: dict[int, set[str]] = defaultdict(set)
    for part in parts:
        shards[part.reading].add(part.key)
    for i, part in enumerate(parts):
        # What is too much for one reading is read part by part.
        alone = len(shards[part.reading]) > MOST_SHARDS
        wanted = _Wanted(part.where, part.partly, ~i if alone else part.reading)
        by_key.setdefault(part.key, (cast("ShardLayout", part.layout), []))[1].append(wanted)
    total = Fetched(0, 0, 0)
    for key, whole in _opened(store, [(key, layout) for key, (layout, _) in by_key.items()]):
        layout, wheres = by_key[key]
        try:
            found = _in_shard(store, whole, (store.identity, key), layout, wheres)
        except FormatError as error:
            raise named(key, error) from error
        total = Fetched(*map(sum, zip(total, found, strict=True)))
    return total._replace(decoded_bytes=total.decoded_bytes * itemsize)


def _opened(
    store: Store, shards: Sequence[tuple[str, ShardLayout]]
) -> Iterator[tuple[str, StoredObject]]:
    """Handles of those shards that exist, valid until the next one is asked for."""
    left = iter(shards)
    while batch := list(islice(left, store.batch)):
        found = open_shards(store, batch)
        for key, _ in batch:
            # One that changed while it was opened is opened once more.
            whole = None if key in found.absent else found.ready.get(key) or store.open(key)
            if whole is not None:
                with whole:
                    yield key, whole


def _in_shard(
    store: Store,
    whole: StoredObject,
    name: Hashable,
    layout: ShardLayout,
    wheres: Sequence[_Wanted],
) -> Fetched:
    """Of one shard; decoded are elements here, as nobody knows yet what they are."""
    if layout.outer.codecs:
        return Fetched(whole.size * len(wheres), 1, prod(layout.shape))
    index, kept = layout.index.look(whole, name, thread_scratch())
    nbytes = (
        0
        if kept == KNOWN
        else layout.index.stored_nbytes
        * (1 if kept == WILL_BE_KNOWN else len({wanted.reading for wanted in wheres}))
    )
    touched = np.zeros(index.shape[:-1], bool)
    inner: dict[tuple[int, int], list[_Wanted]] = {}
    for where, partly, reading in wheres:
        cells = layout.cells_of(where)
        touched[np.ix_(*[[piece[0] for piece in dim] for dim in cells])] = True
        entries = layout.entries_of(index, where)
        there = (entries != ABSENT).any(axis=1)
        if layout.inner.is_sharded:
            insides = product(*[[piece[1] for piece in dim] for dim in cells])
            for (start, size), stored, inside in zip(entries.tolist(), there, insides, strict=True):
                if stored:
                    inner.setdefault((start, size), []).append(_Wanted(inside, False, reading))
            continue
        if partly and isinstance(layout.inner, PlainLayout) and layout.inner.stands_alone:
            insides = product(*[[piece[1] for piece in dim] for dim in cells])
            each = [layout.inner.read_of_file(inside) or 0 for inside in insides]
            nbytes += int(np.array(each, np.int64)[there].sum())
        else:
            nbytes += _joined(entries[there], store)
    if layout.inner.is_sharded:
        found = [
            _in_shard(
                store,
                Window(whole, start, size),
                (name, start),
                cast("ShardLayout", layout.inner),
                insides,
            )
            for (start, size), insides in inner.items()
        ]
        return Fetched(*map(sum, zip((nbytes, 0, 0), *found, strict=True)))
    units = int((touched & (index != ABSENT).any(axis=-1)).sum())
    return Fetched(nbytes, units, units * prod(layout.inner.shape))


class _Wanted(NamedTuple):
    """A part of a shard, whether compiled code reads it (``reads_compiled``), and the number of
    the reading: an index is read once by each."""

    where: Where
    partly: bool
    reading: int


def _joined(entries: np.ndarray, store: Store) -> int:
    """Bytes of chunks with what lies between those that are read as one."""
    starts, sizes = entries.astype(np.int64).T
    order = np.argsort(starts, kind="stable")
    ends = (starts + sizes)[order]
    groups = group_ranges(starts[order], ends, store.gap, store.merge_limit)
    return sum(hi - lo for _, lo, hi in groups)


def reading_nbytes(store: Store, meta: ArrayMetadata, nbytes: int) -> int:
    """What a thread holds beside the values while it reads so many bytes of them.

    An encoded chunk (a stretch of a shard), and as it is between its decoders; of a store that is
    asked for many objects at once all of those. No chunk is taken to be larger than its values.
    """
    inner, index = meta.layout, 0
    while isinstance(inner, ShardLayout):
        # As it is stored, as it is decoded, and as it is kept.
        index += 3 * inner.index.nbytes
        inner = inner.inner
    chunk = prod(inner.shape) * meta.dtype.itemsize
    if chunk > MOST_CHUNK_BYTES:
        # None that is stored can be read, and those that are not take nothing.
        return 0
    encoded = max(chunk, store.merge_limit) if meta.layout.is_sharded else chunk
    if store.batch > 1:
        encoded = max(encoded, min(store.batch * chunk, nbytes))
    # Only of chunks whose room is kept is there a second stage.
    stages = chunk + min(chunk, KEPT_BYTES) if meta.codecs else 0
    return encoded + stages + index + _ROW


def unit_sizes(
    store: Store,
    meta: ArrayMetadata,
    prefix: str,
    cells: Sequence[tuple[int, ...]],
    named: _Named,
) -> UnitSize:
    """Stored sizes of cells of the read grid, from file sizes and shard indices."""
    by_object: dict[str, tuple[Layout, list[tuple[int, ...]]]] = {}
    for cell in cells:
        at = [
            i * dim if isinstance(dim, int) else dim[i]
            for i, dim in zip(cell, meta.read_cells, strict=True)
        ]
        indices, inside, layout = meta.locate(at)
        key = prefix + meta.keys.key(indices)
        by_object.setdefault(key, (layout, []))[1].append(inside)
    if meta.layout.is_sharded:
        shards = [(key, cast("ShardLayout", layout)) for key, (layout, _) in by_object.items()]
        sizes: list[int | None] = []
        for key, whole in _opened(store, shards):
            layout, positions = by_object[key]
            name = (store.identity, key)
            try:
                sizes += _sizes_in_shard(whole, name, cast("ShardLayout", layout), positions)
            except FormatError as error:
                raise named(key, error) from error
    else:
        found = _sizes(store, list(by_object))
        sizes = [found[key] for key, (_, positions) in by_object.items() for _ in positions]
    stored = [size for size in sizes if size is not None]
    return UnitSize(len(cells), sum(stored), len(cells) - len(stored))


def _sizes_in_shard(
    whole: StoredObject, name: Hashable, layout: ShardLayout, positions: Sequence[tuple[int, ...]]
) -> list[int | None]:
    """Stored sizes of the inner chunks that hold some positions of a shard."""
    if layout.outer.codecs:
        return [whole.size] * len(positions)
    index, _ = layout.index.look(whole, name, thread_scratch())
    sizes: list[int | None] = []
    for at in positions:
        turned = tuple(at[a] for a in layout.axes)
        cell = tuple(p // size for p, size in zip(turned, layout.inner.shape, strict=True))
        offset, size = index[cell].tolist()
        if offset == size == ABSENT:
            sizes.append(None)
            continue
        if offset + size > whole.size:
            raise outside(offset, size, whole, list(at))
        if not isinstance(layout.inner, ShardLayout):
            sizes.append(size)
            continue
        rest = tuple(p % extent for p, extent in zip(turned, layout.inner.shape, strict=True))
        part = Window(whole, offset, size)
        sizes += _sizes_in_shard(part, (name, offset), layout.inner, [rest])
    return sizes
