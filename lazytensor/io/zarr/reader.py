"""Reading boxes of one zarr array, whichever way suits what is stored and where.

A box is a plain loop over the stored objects it touches, with nothing in it that could be worked
out before: names are joined from strings, parts are slices made once per dimension, bytes go
through the thread's scratch. That is about 5 to 10 µs for each chunk beyond reading and decoding;
where there is compiled code (``codec.compiled``), the loop is in it.

Values go into an array, or to a consumer (``io.handed``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice, product
from math import prod
from typing import cast

import numpy as np

from lazytensor.errors import FormatError, SourceError, SourceNotFoundError
from lazytensor.io.codec.compiled import Cells
from lazytensor.io.handed import Handed, Place, divides, fill, part_of, put
from lazytensor.io.scratch import Arena, Scratch, thread_arena, thread_scratch
from lazytensor.io.store import Buffer, Store
from lazytensor.io.zarr.ahead import objects_of, shards_of
from lazytensor.io.zarr.grids import Cell, CellGrid
from lazytensor.io.zarr.layout import Piece, PlainLayout, Where, cell_of, pieces
from lazytensor.io.zarr.metadata import ArrayMetadata
from lazytensor.io.zarr.objects import decode_objects
from lazytensor.io.zarr.reading import (
    FilesReading,
    Plain,
    ShardPart,
    ShardsReading,
    paired_parts,
    reads_compiled,
    shard_parts,
    single_cells,
    together,
)
from lazytensor.io.zarr.shard import ShardLayout
from lazytensor.io.zarr.shard_batch import Part
from lazytensor.native import file_functions
from lazytensor.plan.counters import count
from lazytensor.plan.source import Box, Consumer, Reading, window

__all__ = ["Reader"]

_LOOK_AHEAD = 64
_ALONE = 1 << 20
_Task = tuple[str, Where, Where]


class Reader:
    """What reads boxes of one array.

    ``prefix``: of the array's keys. ``label``: its name in errors. ``missing``: ``"fill"`` or
    ``"raise"``, what becomes of objects that do not exist.
    """

    __slots__ = ("_label", "_meta", "_missing", "_prefix", "_store")

    def __init__(
        self, store: Store, meta: ArrayMetadata, prefix: str, label: str, missing: str
    ) -> None:
        self._store = store
        self._meta = meta
        self._prefix = prefix
        self._label = label
        self._missing = missing

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
        tasks = self._tasks(cells)
        if isinstance(meta.layout, ShardLayout):
            self._read_sharded(meta.layout, tasks, out, scratch)
        elif self._store.batch > 1:
            while batch := list(islice(tasks, self._store.batch)):
                self._read_batch(batch, out, scratch)
        else:
            for key, where, spot in tasks:
                self._read_object(key, where, window(out, spot), scratch)

    def read_through(self, box: Box, steps: Sequence[int], consumer: Consumer) -> bool:
        """Give a consumer the values of a ``read_strided``, cell by cell; False if not possible."""
        meta = self._meta
        if meta.grid is not None:
            return False
        shape = [-(-(hi - lo) // step) for (lo, hi), step in zip(box, steps, strict=True)]
        if 0 in shape:
            return True
        cells = self._pieces(box, steps)
        handed = Handed(consumer, meta.dtype, [0] * len(shape), shape)
        if isinstance(meta.layout, PlainLayout):
            if not (divides(cells, consumer.factors) and meta.layout.hands_over(cells)):
                return False
        elif not (
            isinstance(meta.layout, ShardLayout) and meta.layout.hands_over(cells, consumer.factors)
        ):
            return False
        reading = self._begin_reading(cells, handed)
        if reading is not None:
            with closing(reading):
                reading.work()
                reading.end()
            return True
        scratch = thread_scratch()
        if isinstance(meta.layout, ShardLayout):
            self._read_sharded(meta.layout, self._tasks(cells), handed, scratch)
            return True
        compiled = meta.layout.compiled(cells, handed, meta.fill_value)
        if compiled is None:
            return False
        self._read_compiled(compiled, cells, handed, scratch)
        return True

    def shared_read(self, box: Box, steps: Sequence[int], out: np.ndarray) -> Reading | None:
        """A ``read_strided`` that several threads may work on, or None where there is none.

        The caller lets threads ``work``, then calls ``end``, and ``close`` in any case.
        """
        if self._meta.grid is not None or not out.size or self._is_little(out.size):
            return None
        return self._begin_reading(self._pieces(box, steps), out)

    def cell_strides(self, count: int) -> tuple[int, ...] | None:
        """Bytes between the elements of a cell that ``read_cells`` hands over; None: not possible.

        ``count``: about how many cells there are.
        """
        if self._store.folder is None or file_functions() is None or self._meta.grid is not None:
            return None
        inner = single_cells(self._meta.layout)
        return None if inner is None else inner.cell_strides(count)

    @property
    def whole_cells(self) -> bool:
        """Whether all of a cell is read for any part of it, as when it is read by itself."""
        inner = single_cells(self._meta.layout)
        if inner is None:
            return False
        return inner.read_whole or (self._meta.layout.is_sharded and inner.stands_alone)

    def read_cells(
        self, cells: Sequence[np.ndarray], numbers: np.ndarray, consumer: Consumer
    ) -> Reading | None:
        """Begin to hand over parts of single cells; None where ``cell_strides`` has none."""
        meta, layout, folder = self._meta, self._meta.layout, self._store.folder
        inner = single_cells(layout)
        if self.cell_strides(len(numbers)) is None or folder is None or inner is None:
            return None
        dims: list[list[Piece]] = [
            [
                (cell, slice(lo - cell * size, hi - cell * size), slice(place, place + hi - lo))
                for cell, lo, hi, place in dim.tolist()
            ]
            for dim, size in zip(cells, layout.grain, strict=True)
        ]
        handed = Handed(consumer, meta.dtype, [0] * len(dims), meta.shape)
        chosen = np.unravel_index(numbers, [len(dim) for dim in dims])
        index = np.stack([dim[i, 0] for dim, i in zip(cells, chosen, strict=True)], axis=1)
        plain = self._plain(handed)
        if isinstance(layout, ShardLayout):
            parts = paired_parts(layout, index, numbers, self._key_of)
            compiled = inner.compiled(dims, handed, layout.fill, len(numbers))
            if compiled is None or parts is None:
                return None
            return self._begun(
                ShardsReading(compiled, dims, handed, layout, self._store, plain), parts
            )
        compiled = inner.compiled(dims, handed, meta.fill_value, len(numbers))
        if compiled is None:
            return None
        names = [self._key_of(one) for one in index.tolist()]
        return FilesReading(compiled, dims, folder, names, plain, numbers)

    def _key_of(self, index: Sequence[int]) -> str:
        return self._prefix + self._meta.keys.key(tuple(index))

    def shares(self, box: Box, steps: Sequence[int]) -> bool:
        """Whether ``shared_read`` would begin one, were the shards opened that it opens."""
        elements = prod(-(-(hi - lo) // step) for (lo, hi), step in zip(box, steps, strict=True))
        if self._meta.grid is not None or not elements or self._is_little(elements):
            return False
        return reads_compiled(self._store, self._meta.layout, self._pieces(box, steps))

    def _is_little(self, elements: int) -> bool:
        """Whether so many elements are read before another thread would have started."""
        layout = self._meta.layout
        plain = isinstance(layout, PlainLayout) and layout.reads_parts
        return plain and elements * self._meta.dtype.itemsize <= _ALONE

    def _pieces(self, box: Box, steps: Sequence[int]) -> list[list[Piece]]:
        return [
            pieces(lo, hi, size, step)
            for (lo, hi), step, size in zip(box, steps, self._meta.chunk_shape, strict=True)
        ]

    def _begin_reading(self, cells: list[list[Piece]], out: Place) -> Reading | None:
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
        inner = together(layout, cells)
        if inner is None:
            return None
        assert isinstance(layout, ShardLayout)
        boxes = layout.inner_cells(cells)
        turned = out if isinstance(out, Handed) else out.transpose(layout.axes)
        compiled = inner.compiled(boxes, turned, layout.fill)
        if compiled is None:
            return None
        reading = ShardsReading(compiled, boxes, turned, layout, store, self._plain(out))
        return self._begun(reading, shard_parts(layout, cells, boxes, self._keys(cells)))

    def _begun(self, reading: ShardsReading, parts: Sequence[ShardPart]) -> Reading | None:
        """A reading that has begun; None, and closed, where that cannot be."""
        try:
            if reading.begin(parts):
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

    def _plain(self, out: Place) -> Plain:
        def read(key: str, where: Where, spot: Where) -> None:
            place, scratch = part_of(out, spot), thread_scratch()
            if isinstance(self._meta.layout, ShardLayout):
                self._read_shard(self._meta.layout, key, where, place, scratch)
            else:
                put(place, lambda values: self._read_object(key, where, values, scratch))

        return Plain(read, self.miss, self.named)

    def _keys(self, cells: list[list[Piece]]) -> Iterator[str]:
        """The keys of the objects, in C order."""
        keys = self._meta.keys
        if not cells:
            return iter([self._prefix + keys.scalar])
        prefix, join = self._prefix + keys.prefix, keys.separator.join
        indices = product(*[[str(piece[0]) for piece in dim] for dim in cells])
        return (prefix + join(index) for index in indices)

    def _read_object(self, key: str, where: Where, place: np.ndarray, scratch: Scratch) -> None:
        """One chunk that is an object."""
        try:
            found = self._meta.layout.read(self._store, key, where, place, scratch)
        except FormatError as error:
            raise self.named(key, error) from error
        if not found:
            self._fill(key, place)

    def _read_shard(
        self, layout: ShardLayout, key: str, where: Where, place: Place, scratch: Scratch
    ) -> None:
        """A part of one shard."""
        try:
            found = layout.read(self._store, key, where, place, scratch)
        except FormatError as error:
            raise self.named(key, error) from error
        if not found:
            self._fill(key, place)

    def _read_sharded(
        self, layout: ShardLayout, tasks: Iterable[_Task], out: Place, scratch: Scratch
    ) -> None:
        """Parts of shards, one by one, or those of a remote store several at once."""
        if not self._store.remote:
            for key, where, spot in tasks:
                self._read_shard(layout, key, where, part_of(out, spot), scratch)
            return
        parts = ((Part(key, layout, where), part_of(out, spot)) for key, where, spot in tasks)
        while some := list(islice(parts, self._store.batch)):
            self._read_shards(some, scratch)

    def _tasks(self, cells: list[list[Piece]]) -> Iterator[_Task]:
        """Key, part of the object, and where that goes, for each object, in C order."""
        return zip(
            self._keys(cells),
            product(*[[piece[1] for piece in dim] for dim in cells]),
            product(*[[piece[2] for piece in dim] for dim in cells]),
            strict=True,
        )

    def _read_compiled(
        self, compiled: Cells, cells: list[list[Piece]], out: Place, scratch: Scratch
    ) -> None:
        """Portion by portion; what the compiled code leaves alone, the plain way."""
        arena = thread_arena()
        objects = self._objects(self._keys(cells), arena)
        for number, key, data in decode_objects(compiled, objects, arena, scratch):
            where, spot = cell_of(cells, number)
            decode = partial(self._meta.layout.read_buffer, data, where, scratch=scratch)
            try:
                put(part_of(out, spot), decode)
            except FormatError as error:
                raise self.named(key, error) from error

    def _objects(self, keys: Iterator[str], arena: Arena) -> Iterator[tuple[str, Buffer | None]]:
        """Keys and bytes of objects; those that do not exist are counted, or refused."""
        store = self._store
        while batch := list(islice(keys, max(store.batch, _LOOK_AHEAD))):
            if store.batch > 1:
                found: Iterable[Buffer | None] = objects_of(store, batch)
            else:
                found = (store.get(key, arena) for key in batch)
            for key, data in zip(batch, found, strict=True):
                if data is None:
                    self.miss(key)
                yield key, data

    def _read_batch(self, batch: list[_Task], out: np.ndarray, scratch: Scratch) -> None:
        """Fetch several objects with one request to the store."""
        found = objects_of(self._store, [key for key, _, _ in batch])
        count("bytes_read", sum(len(data) for data in found if data is not None))
        for (key, where, spot), data in zip(batch, found, strict=True):
            place = window(out, spot)
            if data is None:
                self._fill(key, place)
                continue
            try:
                self._meta.layout.read_buffer(data, where, place, scratch)
            except FormatError as error:
                raise self.named(key, error) from error

    def _read_shards(self, batch: Sequence[tuple[Part, Place]], scratch: Scratch) -> None:
        """Parts of several shards, fetched together."""
        store = self._store
        ready, absent = shards_of(store, [part for part, _ in batch], scratch)
        for (key, layout, where), place in batch:
            whole = ready.get(key)
            try:
                if whole is not None:
                    layout.read_part(whole, (store.identity, key), where, place, scratch, store)
                elif key in absent or not layout.read(store, key, where, place, scratch):
                    self._fill(key, place)
            except FormatError as error:
                raise self.named(key, error) from error

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
            found = objects_of(store, [key for key, _ in batch])
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
            raise self.named(key, error) from error
        if not found:
            self._fill(key, place)

    def named(self, key: str, error: FormatError) -> FormatError:
        """The same error with the name of the object in front."""
        return type(error)(f"{self._label}, key {key!r}: {error}")

    def miss(self, key: str) -> None:
        """Count an object that does not exist, or refuse it."""
        if self._missing == "raise":
            raise SourceNotFoundError(
                f"{self._label}: key {key!r} is not stored; missing='fill' reads such chunks as "
                "the fill value"
            )
        count("chunks_missing")

    def _fill(self, key: str, place: Place) -> None:
        self.miss(key)
        fill(place, self._meta.fill_value)
