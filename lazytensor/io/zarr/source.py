"""The zarr driver: one array as a ``Source``.

Reading a box is a plain loop over the stored objects it touches, with nothing in it that could be
worked out before: names are joined from strings, parts are slices made once per dimension, bytes go
through the thread's scratch. That is about 5 to 10 µs for each chunk beyond reading and decoding.

The read grid that the plan sees is that of the innermost chunks, because those are what can be read
alone; which shard holds a chunk only matters here.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice, product
from math import prod
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from lazytensor.errors import (
    FormatError,
    SerializationError,
    SourceChangedError,
    SourceError,
    SourceNotFoundError,
)
from lazytensor.io.codec.compiled import Cells
from lazytensor.io.scratch import Arena, Scratch, thread_arena, thread_scratch
from lazytensor.io.store import Buffer, Store, join_key
from lazytensor.io.zarr.costs import fetched, reading_nbytes, unit_sizes
from lazytensor.io.zarr.grids import Cell, CellGrid
from lazytensor.io.zarr.layout import Piece, PlainLayout, Where, cell_of, pieces
from lazytensor.io.zarr.metadata import ArrayMetadata
from lazytensor.io.zarr.node import Node
from lazytensor.io.zarr.objects import decode_objects
from lazytensor.io.zarr.presence import stored_objects
from lazytensor.io.zarr.reading import (
    FilesReading,
    Plain,
    ShardsReading,
    reads_compiled,
    shard_parts,
    together,
)
from lazytensor.io.zarr.shard import ShardLayout
from lazytensor.io.zarr.shard_batch import Part, fetch_shards
from lazytensor.io.zarr.storage import ZarrStorage
from lazytensor.native import file_functions
from lazytensor.plan.counters import count
from lazytensor.plan.source import Box, Fetched, Read, Reading, Storage, UnitSize, window
from lazytensor.plan.spec import Axis, TensorSpec, make_spec

__all__ = ["Pyramid", "ZarrSource"]

_MISSING = ("fill", "raise")
_LOOK_AHEAD = 64
_Task = tuple[str, Where, np.ndarray]


class Pyramid:
    """The resolutions of one image, finest first; shared by the sources of all of them."""

    __slots__ = ("levels",)

    def __init__(self) -> None:
        self.levels: tuple[ZarrSource, ...] = ()


class ZarrSource:
    """One zarr array, readable by box from any thread.

    ``node``: where its metadata was found (must be an array). ``dims``, ``axes``: names and world
    meaning, those of the metadata by default. ``missing``: ``"fill"`` reads absent objects as the
    fill value, ``"raise"`` makes them a ``SourceNotFoundError``; chunks that a shard's index
    declares empty are the fill value either way. ``reopen``: what ``to_json`` answers instead of
    naming the array itself. ``pyramid``: the resolutions it belongs to.

    Raises ``DimensionError`` when ``dims`` or ``axes`` have the wrong length.
    """

    array: np.ndarray | None = None
    padded = True

    def __init__(
        self,
        store: Store,
        node: Node,
        *,
        dims: Sequence[str | None] | None = None,
        axes: Sequence[Axis] | None = None,
        missing: str = "fill",
        missing_status: Sequence[int] = (404,),
        reopen: Mapping[str, Any] | None = None,
        pyramid: Pyramid | None = None,
    ) -> None:
        if missing not in _MISSING:
            raise ValueError(f"missing must be one of {_MISSING}, not {missing!r}")
        meta = node.metadata
        assert isinstance(meta, ArrayMetadata)
        self._store = store
        self._node = node
        self._meta = meta
        self._missing = missing
        self._missing_status = tuple(missing_status)
        self._dims = None if dims is None else tuple(dims)
        self._reopen = None if reopen is None else dict(reopen)
        self._pyramid = pyramid
        self._prefix = join_key(node.path, "") + "/" if node.path else ""
        self.spec: TensorSpec = make_spec(
            meta.shape,
            meta.dtype,
            dims=meta.dimension_names if dims is None else dims,
            axes=axes,
            chunks=meta.read_cells,
            together=meta.cells_together,
        )
        self.label = f"zarr {store.name}/{node.path}".rstrip("/")
        self.key: Hashable = (
            "zarr",
            store.identity,
            node.path,
            node.token,
            self.spec.axes,
            missing,
            self._missing_status,
        )

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The array's attributes, read only."""
        return MappingProxyType(dict(self._meta.attributes))

    @property
    def remote(self) -> bool:
        """Whether every read is a round trip over a network."""
        return self._store.remote

    @property
    def levels(self) -> tuple[ZarrSource, ...]:
        """All resolutions of the image this array belongs to, finest first; else empty."""
        return () if self._pyramid is None else self._pyramid.levels

    @property
    def storage(self) -> Storage:
        """How the array is stored."""
        meta = self._meta
        facts = ZarrStorage(
            uri=self._store.uri or self._store.name,
            path=self._node.path,
            format=meta.format,
            shape=meta.shape,
            chunks=meta.layout.grain,
            shards=meta.chunk_shape if meta.layout.is_sharded else None,
            codecs=meta.codecs,
            fill_value=meta.fill_value[()],
            order=meta.order,
            metadata=MappingProxyType(dict(meta.document)),
            key=self.key,
            itemsize=meta.dtype.itemsize,
            keys=meta.keys,
            counts=meta.counts,
            store=self._store,
        )
        return cast("Storage", facts)  # the protocol cannot say that its fields are read only

    def __repr__(self) -> str:
        return f"ZarrSource({self.label!r}, shape={self._meta.shape}, dtype={self._meta.dtype})"

    def read_into(self, box: Box, out: np.ndarray) -> None:
        """Fill ``out`` with the values of ``box``.

        Raises ``FormatError`` (``ChunkDecodeError``, ``ChecksumError``) for damaged objects and
        ``SourceError`` where reading fails, naming array and key.
        """
        self.read_strided(box, (1,) * len(box), out)

    def read_strided(self, box: Box, steps: Sequence[int], out: np.ndarray) -> None:
        """Fill ``out`` with every ``steps[d]``-th value of ``box`` along each dimension ``d``.

        The first value is that at the lower corner; steps are positive. Errors as ``read_into``.
        Chunks that hold none of the values are not read.
        """
        if not out.size:
            return
        scratch = thread_scratch()
        meta = self._meta
        if meta.grid is not None:
            self._read_cells(meta.grid, box, steps, out, scratch)
            return
        cells = self._pieces(box, steps)
        reading = self._begin_reading(cells, out)
        if reading is not None:
            with closing(reading):
                reading.work()
                reading.end()
            return
        if isinstance(meta.layout, PlainLayout):
            compiled = meta.layout.compiled(cells, out, meta.fill_value)
            # Raw bytes that need no turning are read straight into their place instead.
            if compiled is not None and not (compiled.direct and meta.layout.decoder.raw):
                self._read_compiled(compiled, cells, out, scratch)
                return
        tasks = self._tasks(cells, out)
        if self._store.batch > 1 and not meta.layout.is_sharded:
            while batch := list(islice(tasks, self._store.batch)):
                self._read_batch(batch, scratch)
            return
        if self._store.remote and isinstance(meta.layout, ShardLayout):
            shards = meta.layout
            parts = ((Part(key, shards, where), place) for key, where, place in tasks)
            while some := list(islice(parts, self._store.batch)):
                self._read_shards(some, scratch)
            return
        store, layout = self._store, meta.layout
        for key, where, place in tasks:
            try:
                found = layout.read(store, key, where, place, scratch)
            except FormatError as error:
                raise self._named(key, error) from error
            if not found:
                self._fill(key, place)

    def shared_read(self, box: Box, steps: Sequence[int], out: np.ndarray) -> Reading | None:
        """A ``read_strided`` that several threads may work on, or None where there is none.

        The caller lets threads ``work``, then calls ``end``, and ``close`` in any case.
        """
        if self._meta.grid is not None or not out.size:
            return None
        return self._begin_reading(self._pieces(box, steps), out)

    def shares(self, box: Box, steps: Sequence[int]) -> bool:
        """Whether ``shared_read`` would begin one, were the shards opened that it opens."""
        elements = prod(-(-(hi - lo) // step) for (lo, hi), step in zip(box, steps, strict=True))
        if self._meta.grid is not None or not elements:
            return False
        return reads_compiled(self._store, self._meta.layout, self._pieces(box, steps), elements)

    def _pieces(self, box: Box, steps: Sequence[int]) -> list[list[Piece]]:
        return [
            pieces(lo, hi, size, step)
            for (lo, hi), step, size in zip(box, steps, self._meta.chunk_shape, strict=True)
        ]

    def _begin_reading(self, cells: list[list[Piece]], out: np.ndarray) -> Reading | None:
        """Reading in compiled code, where objects are files and their chunks of the known kind."""
        layout, store = self._meta.layout, self._store
        if store.folder is None or file_functions() is None:
            return None
        if isinstance(layout, PlainLayout):
            compiled = layout.compiled(cells, out, self._meta.fill_value)
            if compiled is None:
                return None
            keys = list(self._keys(cells))
            return FilesReading(compiled, cells, store.folder, keys, self._plain(out))
        inner = together(layout, cells, out.size)
        if inner is None:
            return None
        assert isinstance(layout, ShardLayout)
        boxes = layout.inner_cells(cells)
        turned = out.transpose(layout.axes)
        compiled = inner.compiled(boxes, turned, layout.fill)
        if compiled is None:
            return None
        reading = ShardsReading(compiled, boxes, turned, layout, store, self._plain(out))
        try:
            if reading.begin(shard_parts(layout, cells, boxes, self._keys(cells))):
                return reading
        except SourceError:
            # The plain way opens one shard at a time, and says what is wrong with which.
            reading.close()
            return None
        except BaseException:
            reading.close()
            raise
        reading.close()
        return None

    def _plain(self, out: np.ndarray) -> Plain:
        def read(key: str, where: Where, spot: Where) -> None:
            place = window(out, spot)
            try:
                found = self._meta.layout.read(self._store, key, where, place, thread_scratch())
            except FormatError as error:
                raise self._named(key, error) from error
            if not found:
                self._fill(key, place)

        return Plain(read, self._miss, self._named)

    def _keys(self, cells: list[list[Piece]]) -> Iterator[str]:
        """The keys of the objects, in C order."""
        keys = self._meta.keys
        if not cells:
            return iter([self._prefix + keys.scalar])
        prefix, join = self._prefix + keys.prefix, keys.separator.join
        indices = product(*[[str(piece[0]) for piece in dim] for dim in cells])
        return (prefix + join(index) for index in indices)

    def _tasks(self, cells: list[list[Piece]], out: np.ndarray) -> Iterator[_Task]:
        """Key, part of the object, and place, for each object, in C order."""
        for key, where, spot in zip(
            self._keys(cells),
            product(*[[piece[1] for piece in dim] for dim in cells]),
            product(*[[piece[2] for piece in dim] for dim in cells]),
            strict=True,
        ):
            yield key, where, window(out, spot)

    def _read_compiled(
        self, compiled: Cells, cells: list[list[Piece]], out: np.ndarray, scratch: Scratch
    ) -> None:
        """Portion by portion; what the compiled code leaves alone, the plain way."""
        arena = thread_arena()
        objects = self._objects(self._keys(cells), arena)
        for number, key, data in decode_objects(compiled, objects, arena, scratch):
            where, spot = cell_of(cells, number)
            try:
                self._meta.layout.read_buffer(data, where, window(out, spot), scratch)
            except FormatError as error:
                raise self._named(key, error) from error

    def _objects(self, keys: Iterator[str], arena: Arena) -> Iterator[tuple[str, Buffer | None]]:
        """Keys and bytes of objects; those that do not exist are counted, or refused."""
        store = self._store
        while batch := list(islice(keys, max(store.batch, _LOOK_AHEAD))):
            if store.batch > 1:
                found: Iterable[Buffer | None] = store.get_many(batch)
            else:
                found = (store.get(key, arena) for key in batch)
            for key, data in zip(batch, found, strict=True):
                if data is None:
                    self._miss(key)
                yield key, data

    def _read_batch(self, batch: list[_Task], scratch: Scratch) -> None:
        """Fetch several objects with one request to the store."""
        found = self._store.get_many([key for key, _, _ in batch])
        count("bytes_read", sum(len(data) for data in found if data is not None))
        for (key, where, place), data in zip(batch, found, strict=True):
            if data is None:
                self._fill(key, place)
                continue
            try:
                self._meta.layout.read_buffer(data, where, place, scratch)
            except FormatError as error:
                raise self._named(key, error) from error

    def _read_shards(self, batch: Sequence[tuple[Part, np.ndarray]], scratch: Scratch) -> None:
        """Parts of several shards, fetched together."""
        store = self._store
        ready, absent = fetch_shards(store, [part for part, _ in batch], scratch)
        for (key, layout, where), place in batch:
            whole = ready.get(key)
            try:
                if whole is not None:
                    layout.read_part(whole, (store.identity, key), where, place, scratch, store)
                elif key in absent or not layout.read(store, key, where, place, scratch):
                    self._fill(key, place)
            except FormatError as error:
                raise self._named(key, error) from error

    def _read_cells(
        self,
        grid: CellGrid,
        box: Box,
        steps: Sequence[int],
        out: np.ndarray,
        scratch: Scratch,
    ) -> None:
        """Cell by cell: for grids and formats that the loop over like objects is not made for."""
        meta, store = self._meta, self._store
        cells = (
            (self._prefix + meta.keys.key(cell.indices), cell) for cell in grid.cells(box, steps)
        )
        if store.remote and meta.layout.is_sharded:
            parts = (
                (Part(key, cast("ShardLayout", cell.layout), cell.where), window(out, cell.spot))
                for key, cell in cells
            )
            while some := list(islice(parts, store.batch)):
                self._read_shards(some, scratch)
            return
        if store.batch == 1 or meta.layout.is_sharded:
            for key, cell in cells:
                self._read_cell(key, cell, None, window(out, cell.spot), scratch)
            return
        while batch := list(islice(cells, store.batch)):
            found = store.get_many([key for key, _ in batch])
            for (key, cell), data in zip(batch, found, strict=True):
                place = window(out, cell.spot)
                if data is None:
                    self._fill(key, place)
                else:
                    self._read_cell(key, cell, data, place, scratch)

    def _read_cell(
        self, key: str, cell: Cell, data: Buffer | None, place: np.ndarray, scratch: Scratch
    ) -> None:
        """One cell, from its bytes if they are here already."""
        try:
            if data is not None:
                count("bytes_read", len(data))
                cell.layout.read_buffer(data, cell.where, place, scratch)
                return
            found = cell.layout.read(self._store, key, cell.where, place, scratch)
        except FormatError as error:
            raise self._named(key, error) from error
        if not found:
            self._fill(key, place)

    def _named(self, key: str, error: FormatError) -> FormatError:
        """The same error with the name of the object in front."""
        return type(error)(f"{self.label}, key {key!r}: {error}")

    def _miss(self, key: str) -> None:
        """Count an object that does not exist, or refuse it."""
        if self._missing == "raise":
            raise SourceNotFoundError(
                f"{self.label}: key {key!r} is not stored; missing='fill' reads such chunks as "
                "the fill value"
            )
        count("chunks_missing")

    def _fill(self, key: str, place: np.ndarray) -> None:
        self._miss(key)
        place[...] = self._meta.fill_value

    def unit_sizes(self, cells: list[tuple[int, ...]]) -> UnitSize:
        """Stored sizes of cells of the read grid, from file sizes and shard indices."""
        return unit_sizes(self._store, self._meta, self._prefix, cells, self._named)

    def reading_nbytes(self, nbytes: int) -> int:
        """Bytes that a thread holds beside the values while it reads so many bytes of them."""
        return reading_nbytes(self._store, self._meta, nbytes)

    def fetched(self, reads: Sequence[Read]) -> Fetched:
        """What carrying out ``reads`` will fetch, from file sizes and shard indices."""
        return fetched(self._store, self._meta, self._prefix, reads, self._named)

    @property
    def fill_value(self) -> np.ndarray:
        """What chunks that are not stored read as."""
        return self._meta.fill_value

    def stored_objects(self, limit: int) -> np.ndarray | None:
        """Indices of the chunks, or shards, that exist, if ``limit`` names tell."""
        if self._missing != "fill":
            return None
        return stored_objects(self._store, self._node.path, self._meta, limit)

    def check(self) -> None:
        """``SourceChangedError`` if the metadata file is not the one that was read."""
        if self._store.changed(self._node.key, self._node.token):
            raise SourceChangedError(
                f"{self.label}: {self._node.key} has changed since it was opened; scan it again"
            )

    def to_json(self) -> dict[str, Any]:
        """How to open it again; ``SerializationError`` for arrays that only live in memory."""
        if self._store.uri is None:
            raise SerializationError(
                f"{self.label} lives in the memory of this process and cannot be opened elsewhere; "
                "write it to a folder or a URL first"
            )
        if self._reopen is not None:
            return {**self._reopen, "uri": self._store.uri}
        document: dict[str, Any] = {
            "format": "zarr",
            "uri": self._store.uri,
            "path": self._node.path,
        }
        if self._dims is not None:
            document["dims"] = list(self._dims)
        if self._missing != "fill":
            document["missing"] = self._missing
        if self._missing_status != (404,):
            document["missing_status"] = list(self._missing_status)
        return document
