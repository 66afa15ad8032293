"""Reading a zarr array through the cache of decoded chunks on the disk.

It is the second level: what is kept in memory (``cached``) is not looked for here, and what is read
here may be kept there. Every read of a remote store goes this way while the option is on, whatever
its size, since asking a disk costs less than asking a network; local stores do where the option
``disk_cache_local`` says so. Chunks are read as a whole then. Code that decodes straight into
results is not used, and neither is reading ahead.

An entry is as good as the object that it was decoded from, so it is kept with the object's token,
and compared with the one that the store tells, once in each run: without this cache every run reads
what is there now, and with it, too. So entries save transfer and decoding, and not the round trip
in which the tokens of many objects are asked for at once; an object that has no entry is not asked
for its token before. Objects without a token are not kept, and neither are chunks that are not
stored, files that changed in the last two seconds, and arrays in memory.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, product
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from lazytensor.errors import DTypeError, FormatError, ShapeError, SourceError
from lazytensor.io.handed import Place
from lazytensor.io.scratch import thread_scratch
from lazytensor.io.store import Store
from lazytensor.io.zarr.layout import Piece, Where, pieces
from lazytensor.io.zarr.metadata import ArrayMetadata
from lazytensor.io.zarr.reader import Reader
from lazytensor.io.zarr.shard import ShardLayout
from lazytensor.io.zarr.shard_batch import Part
from lazytensor.plan.caching import DISK_CACHING, DiskCaching
from lazytensor.plan.counters import count
from lazytensor.plan.source import Box, Consumer, Reading, window

if TYPE_CHECKING:
    # What uses the cache imports it: few processes do, and it is much to import.
    from lazytensor.io.disk_cache import DiskCache, Entry

__all__ = ["DiskReader"]

_PORTION = 32 << 20
"""Bytes of chunks that are looked for, and read, at once."""

_SETTLED_NS = 2_000_000_000
_MOST_TOKENS = 1 << 16


class _Chunk(NamedTuple):
    """A chunk that is wanted: of which object, what of it, and where that goes.

    ``entry``: its place in the cache. ``inside``: its part of the object; ``shape``: as far as it
    lies in the array.
    """

    key: str
    entry: Entry
    inside: Where
    shape: tuple[int, ...]
    where: Where
    place: np.ndarray

    def values(self, dtype: np.dtype) -> np.ndarray:
        """Where to put all of it: its place, if it fits there as it is."""
        place = self.place
        fits = place.shape == self.shape and place.dtype == dtype and place.flags.c_contiguous
        return place if fits else np.empty(self.shape, dtype)


class DiskReader(Reader):
    """See the module; where the cache is not used, a ``Reader`` and nothing else.

    ``identity``: what else than store and metadata tells the array from others.
    """

    __slots__ = ("_identity", "_known_kind", "_known_name", "_tokens")

    def __init__(
        self,
        store: Store,
        meta: ArrayMetadata,
        prefix: str,
        label: str,
        missing: str,
        identity: tuple[Hashable, ...],
    ) -> None:
        super().__init__(store, meta, prefix, label, missing)
        self._identity = identity
        self._known_kind: tuple[np.dtype | None] | None = None
        self._known_name: str | None = None
        self._tokens: dict[str, tuple[int, Hashable]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        seen = (self._store, self._meta, self._prefix, self._label, self._missing, self._identity)
        return DiskReader, seen

    @property
    def caches(self) -> bool:
        """Whether reads of this context go through the cache on the disk."""
        return DISK_CACHING.get() is not None and self._use() is not None

    def _use(self) -> DiskCaching | None:
        use = DISK_CACHING.get()
        if use is None or not (self._store.remote or use.local) or self._kind is None:
            return None
        return use if self._name else None

    @property
    def _kind(self) -> np.dtype | None:
        """The dtype by which packets hold the values; None if none suits."""
        if self._known_kind is None:
            self._known_kind = (_kind_of(self._meta),)
        return self._known_kind[0]

    @property
    def _name(self) -> str:
        """What all processes call the array; empty for one that others cannot know."""
        if self._known_name is None:
            self._known_name = _name_of(self._store, self._meta, (self._prefix, *self._identity))
        return self._known_name

    def held_nbytes(self, nbytes: int) -> int:
        """Bytes of chunks that a thread holds while it reads so many bytes of values."""
        if not self.caches:
            return 0
        chunk = self._chunk_nbytes
        # Of as many values, chunks that are partly wanted may be twice as long along each dim.
        return max(chunk, min(_PORTION, nbytes << len(self._meta.shape))) + chunk

    @property
    def _chunk_nbytes(self) -> int:
        return prod(self._meta.layout.grain) * self._meta.dtype.itemsize

    def read_strided(self, box: Box, steps: Sequence[int], out: np.ndarray) -> None:
        """As ``Reader.read_strided``."""
        use = self._use()
        if use is None or not out.size:
            super().read_strided(box, steps, out)
            return
        from lazytensor.io.disk_cache import disk_cache

        cache = disk_cache(use.folder, use.nbytes)
        chunks = self._chunks(box, steps, out)
        while some := list(islice(chunks, max(1, _PORTION // max(1, self._chunk_nbytes)))):
            absent = self._load(cache, use, some)
            count("disk_cache_hits", len(some) - len(absent))
            if absent:
                count("disk_cache_misses", len(absent))
                self._fetch(cache, use, absent)

    def read_through(self, box: Box, steps: Sequence[int], consumer: Consumer) -> bool:
        """As ``Reader.read_through``: what is kept need not be decoded."""
        return not self.caches and super().read_through(box, steps, consumer)

    def cell_strides(self, count: int) -> tuple[int, ...] | None:
        """As ``Reader.cell_strides``."""
        return None if self.caches else super().cell_strides(count)

    def read_cells(
        self, cells: Sequence[np.ndarray], numbers: np.ndarray, consumer: Consumer
    ) -> Reading | None:
        """As ``Reader.read_cells``."""
        return None if self.caches else super().read_cells(cells, numbers, consumer)

    def shared_read(self, box: Box, steps: Sequence[int], out: np.ndarray) -> Reading | None:
        """As ``Reader.shared_read``."""
        return None if self.caches else super().shared_read(box, steps, out)

    def shares(self, box: Box, steps: Sequence[int]) -> bool:
        """As ``Reader.shares``."""
        return not self.caches and super().shares(box, steps)

    def _chunks(self, box: Box, steps: Sequence[int], out: np.ndarray) -> Iterator[_Chunk]:
        from lazytensor.io.disk_cache import entry_of

        meta, name, dtype = self._meta, self._name, cast("np.dtype", self._kind)
        grain, objects = meta.layout.grain, meta.chunk_shape
        raw = () if dtype == meta.dtype else (meta.dtype.itemsize,)
        cells = [
            pieces(lo, hi, size, step)
            for (lo, hi), step, size in zip(box, steps, grain, strict=True)
        ]
        for cell in cast("Iterator[tuple[Piece, ...]]", product(*cells)):
            index = [at for at, _, _ in cell]
            starts = [at * size for at, size in zip(index, grain, strict=True)]
            shape = tuple(
                [min(size, n - lo) for size, n, lo in zip(grain, meta.shape, starts, strict=True)]
            )
            object_index = [lo // size for lo, size in zip(starts, objects, strict=True)]
            inside = tuple(
                [
                    slice(lo % size, lo % size + n)
                    for lo, size, n in zip(starts, objects, shape, strict=True)
                ]
            )
            yield _Chunk(
                self._key_of(object_index),
                entry_of(f"{name} {index}", (*shape, *raw), dtype),
                inside,
                shape,
                tuple([where for _, where, _ in cell]),
                window(out, [spot for _, _, spot in cell]),
            )

    def _token(self, key: str, use: DiskCaching) -> Hashable | None:
        """The token of an object, if it need not be asked for."""
        known = self._tokens.get(key)
        return None if known is None or known[0] != use.since else known[1]

    def _learn(self, key: str, token: Hashable | None, use: DiskCaching) -> None:
        if not _proves(token):
            self._tokens.pop(key, None)
            return
        if len(self._tokens) >= _MOST_TOKENS:
            self._tokens.clear()
        self._tokens[key] = use.since, token

    def _ask(self, keys: Iterable[str], use: DiskCaching) -> None:
        """Learn the tokens of objects that are not known."""
        wanted = [key for key in dict.fromkeys(keys) if self._token(key, use) is None]
        if not wanted:
            return
        for key, token in zip(wanted, self._store.token_many(wanted), strict=True):
            self._learn(key, token, use)

    def _load(self, cache: DiskCache, use: DiskCaching, chunks: Sequence[_Chunk]) -> list[_Chunk]:
        """Take chunks from the cache; those that it does not have."""
        self._ask(
            [
                chunk.key
                for chunk in chunks
                if self._token(chunk.key, use) is None and cache.token_of(chunk.entry) is not None
            ],
            use,
        )
        absent = []
        for chunk in chunks:
            token = self._token(chunk.key, use)
            values = chunk.values(self._meta.dtype)
            if token is None or not cache.load(
                chunk.entry, _token_digest(token), _bytes_of(values)
            ):
                absent.append(chunk)
            elif values is not chunk.place:
                chunk.place[...] = window(values, chunk.where)
        return absent

    def _fetch(self, cache: DiskCache, use: DiskCaching, chunks: Sequence[_Chunk]) -> None:
        """Read chunks from the store, and keep them."""
        if isinstance(self._meta.layout, ShardLayout) or not self._store.remote:
            # Before anything is read: what changes in between will be seen to have changed.
            self._ask([chunk.key for chunk in chunks], use)
        values = [chunk.values(self._meta.dtype) for chunk in chunks]
        stored = self._read(chunks, values, use)
        for chunk, found, is_stored in zip(chunks, values, stored, strict=True):
            token = self._token(chunk.key, use)
            if is_stored and token is not None and self._is_settled(token):
                cache.keep(chunk.entry, _token_digest(token), _bytes_of(found))
            if found is not chunk.place:
                chunk.place[...] = window(found, chunk.where)

    def _read(
        self, chunks: Sequence[_Chunk], values: Sequence[np.ndarray], use: DiskCaching
    ) -> list[bool]:
        """Read whole chunks, each into an array; whether each is stored, as far as that shows."""
        layout, scratch = self._meta.layout, thread_scratch()
        if isinstance(layout, ShardLayout):
            parts: list[tuple[Part, Place]] = [
                (Part(chunk.key, layout, chunk.inside), array)
                for chunk, array in zip(chunks, values, strict=True)
            ]
            self._read_shards(parts, scratch)
            return [True] * len(chunks)
        if not self._store.remote:
            for chunk, array in zip(chunks, values, strict=True):
                self._read_object(chunk.key, chunk.inside, array, scratch)
            return [True] * len(chunks)
        batch = max(1, self._store.batch)
        return [
            is_stored
            for at in range(0, len(chunks), batch)
            for is_stored in self._read_whole(chunks[at : at + batch], values[at:], use)
        ]

    def _read_whole(
        self, chunks: Sequence[_Chunk], values: Sequence[np.ndarray], use: DiskCaching
    ) -> list[bool]:
        """Chunks that are objects of a remote store, which tells their tokens with them."""
        scratch = thread_scratch()
        loaded = self._store.load_many([chunk.key for chunk in chunks])
        for chunk, found, array in zip(chunks, loaded, values, strict=False):
            if isinstance(found, SourceError):
                raise found
            if found is None:
                self._fill(chunk.key, array)
                continue
            count("bytes_read", len(found.data))
            self._learn(chunk.key, found.token, use)
            try:
                self._meta.layout.read_buffer(found.data, chunk.inside, array, scratch)
            except FormatError as error:
                raise self.named(chunk.key, error) from error
        return [found is not None for found in loaded]

    def _is_settled(self, token: Hashable) -> bool:
        """Whether a file is so old that its time tells all further changes."""
        if self._store.folder is None:
            return True
        _, mtime_ns, _ = cast("tuple[int, int, int]", token)
        return time.time_ns() - mtime_ns > _SETTLED_NS


def _token_digest(token: Hashable) -> bytes:
    from lazytensor.io.disk_cache import digest

    return digest(repr(token))


def _bytes_of(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1).view(np.uint8)


def _proves(token: Hashable | None) -> bool:
    """Whether a token says all it should, and the same in every process."""
    if isinstance(token, tuple):
        return all(map(_proves, token))
    return isinstance(token, (str, bytes, int, float))


def _kind_of(meta: ArrayMetadata) -> np.dtype | None:
    """The dtype by which packets hold the values, which may be bytes; None if none suits."""
    dtype = meta.dtype
    if meta.grid is not None or dtype.hasobject or dtype.kind == "T" or not dtype.itemsize:
        return None
    from lazytensor.io.tenso.encode import check_shape
    from lazytensor.io.tenso.header import code_of

    try:
        code_of(dtype)
        kind = dtype if dtype.isnative and sys.byteorder == "little" else np.dtype(np.uint8)
    except DTypeError:
        kind = np.dtype(np.uint8)
    try:
        check_shape(meta.layout.grain if kind == dtype else (*meta.layout.grain, dtype.itemsize))
    except ShapeError:
        return None
    return kind


def _name_of(store: Store, meta: ArrayMetadata, identity: tuple[Hashable, ...]) -> str:
    told = (store.identity, identity)
    if store.uri is None or not _is_plain(told):
        return ""
    from lazytensor.io.disk_cache import digest

    return digest(repr((told, meta.dtype.str, sys.byteorder, _sorted(meta.document)))).hex()


def _is_plain(value: Any) -> bool:
    """Whether ``repr`` says everything, and the same everywhere."""
    if isinstance(value, (tuple, list)):
        return all(map(_is_plain, value))
    return value is None or type(value) in (str, bytes, int, float, bool)


def _sorted(document: Any) -> Any:
    if isinstance(document, Mapping):
        return sorted((str(key), _sorted(value)) for key, value in document.items())
    if isinstance(document, (list, tuple)):
        return [_sorted(value) for value in document]
    return document
