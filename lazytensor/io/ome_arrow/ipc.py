"""Arrow IPC files and streams, of which single fields of single record batches are read.

Where a file is in memory or mapped, and its batches are not compressed, arrays are views of it.
Where it is not, of pixels only is read where they are, and then the pieces that are asked for: so a
large file takes no memory, and nothing of it stays mapped while values live. Compressed buffers are
decompressed one by one, and others than the wanted ones not at all.

What is not made of plain buffers (dictionaries, unions, the other byte order) Arrow reads itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.ome_arrow.arrow_files import (
    ArrowFile,
    arrow_errors,
    as_buffer,
    document_of,
    may_be_shared,
)
from lazytensor.io.ome_arrow.container import LazyUnits, Path
from lazytensor.io.ome_arrow.elements import Spans, bits_of, found_below, picked, spans_of
from lazytensor.io.ome_arrow.ipc_contents import Contents, contents_of
from lazytensor.io.ome_arrow.ipc_layout import Layout, Slot, buffers_of, is_plain, layout_of, made
from lazytensor.io.ome_arrow.ipc_messages import Batch
from lazytensor.io.ome_arrow.model import Unit
from lazytensor.io.ome_arrow.nested import is_list, pruned, wanted
from lazytensor.io.ome_arrow.unit_cache import UnitCache, unit_cache
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import StoredObject
from lazytensor.io.stored import Stored
from lazytensor.plan.counters import count

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["IpcContainer"]

_RATIO = {"lz4": 300, "zstd": 40_000}
"""More than this no byte of a compressed buffer can become."""
_SLACK = 1 << 20
_TAIL = 1 << 16


_KEPT = 32
"""Files of which a process remembers what is in them."""

_Layouts = dict[tuple[int, ...], Layout]
_contents: dict[Hashable, tuple[Contents, _Layouts]] = {}


class IpcContainer(LazyUnits):
    """A file or stream of record batches; see ``container.Container``."""

    suffix = "arrow"

    def __init__(self, stored: Stored, *, stream: bool, whole: StoredObject | None = None) -> None:
        self._stored = stored
        self._stream = stream
        self.label = stored.name
        self.remote = stored.remote
        self.document = document_of(stored)
        self.identity: Hashable = ("ipc", stored.identity)
        self.lasts = stored.token is not None and stored.store.uri is not None
        self._in_memory = stored.buffer() is not None
        self.cache = unit_cache() if may_be_shared(stored) else UnitCache()
        if may_be_shared(stored):
            self.cache.turn_to(("ipc", stored.store.identity, stored.key), self.identity)
        contents, self._layouts = self._find_contents(whole)
        self._contents = contents
        self.schema = contents.schema
        self.metadata: Mapping[bytes, bytes] = contents.schema.metadata or {}
        rows = [batch.rows for batch in contents.batches]
        if sum(rows) > np.iinfo(np.int64).max:
            raise FormatError(f"{self.label}: record batches of {rows} rows cannot be")
        self.starts = np.cumsum([0, *rows], dtype=np.int64)
        packed = any(batch.codec for batch in contents.batches)
        self.zero_copy = self._in_memory and not packed and contents.plain
        self.by_element = not self._in_memory and not self.remote and not packed and contents.plain

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._stored, self._stream)

    def _find_contents(self, whole: StoredObject | None) -> tuple[Contents, _Layouts]:
        """What is in the file, and how it is laid out as far as that is known; kept for others."""
        stored, key = self._stored, (self.identity, self._stream)
        known = _contents.get(key) if self.lasts else None
        if known is not None:
            return known
        made_of: list[Contents] = []

        def work(opened: StoredObject) -> None:
            counted = not self._in_memory
            made_of[:] = [contents_of(opened, stored, stream=self._stream, counted=counted)]

        if whole is not None:
            work(whole)
        else:
            stored.using(work)
        found = made_of[0], _Layouts()
        if self.lasts:
            # Whoever comes in between replaces it by the same.
            for old in list(_contents)[: max(0, len(_contents) + 1 - _KEPT)]:
                _contents.pop(old, None)
            _contents[key] = found
        return found

    @cached_property
    def _memory(self) -> pa.Buffer:
        return as_buffer(self._stored.buffer())

    def _columns(self, group: int) -> tuple[Slot, ...]:
        batch = self._contents.batches[group]
        layout = self._layouts.get(batch.variadic)
        if layout is None:
            layout = self._layouts[batch.variadic] = layout_of(self.schema, batch.variadic)
        return layout.of(batch)

    def _where(self, group: int) -> str:
        return f"{self.label}: record batch {group}"

    def _fetch(self, group: int, numbers: Sequence[int]) -> dict[int, pa.Buffer]:
        """Buffers as Arrow wants them."""
        batch = self._contents.batches[group]
        found: dict[int, pa.Buffer] = {}
        places = {i: (int(batch.buffers[i, 0]), int(batch.buffers[i, 1])) for i in numbers}
        if self._in_memory:
            for i, (start, nbytes) in places.items():
                found[i] = self._memory.slice(start, nbytes)
        else:
            ranges = [(start, start + nbytes) for start, nbytes in places.values() if nbytes]

            def work(whole: StoredObject) -> None:
                self._stored.store.prefetch([(whole, ranges)])
                for i, (start, nbytes) in places.items():
                    found[i] = as_buffer(whole.read(start, nbytes) if nbytes else b"")

            self._stored.using(work)
            count("bytes_read", sum(stop - start for start, stop in ranges))
        if batch.codec is None:
            return found
        with arrow_errors(self._where(group)):
            return {i: _unpacked(buffer, batch.codec) for i, buffer in found.items()}

    def read(self, group: int, paths: Sequence[Path]) -> pa.RecordBatch:
        """Views, or copies of what is asked for; see ``Container.read``."""
        import pyarrow as pa

        tree, batch = wanted(paths), self._contents.batches[group]
        with arrow_errors(self._where(group)):
            slots = [slot for slot in self._columns(group) if slot.name in tree]
            plain = [s for s in slots if self._contents.plain and is_plain(s, tree[s.name])]
            numbers = [i for slot in plain for i in buffers_of(slot, tree[slot.name])]
            buffers = self._fetch(group, numbers)
            arrays = {s.name: made(s, tree[s.name], batch, buffers) for s in plain}
            for array in arrays.values():
                # Offsets and strings, which may lead anywhere; numbers are not looked at.
                array.validate(full=True)
            others = [slot.name for slot in slots if slot.name not in arrays]
            if others:
                rest = self._through_arrow(group, others)
                arrays |= {name: pruned(rest.column(name), tree[name]) for name in others}
            fields, columns = [], []
            for slot in slots:
                field, array = self.schema.field(slot.name), arrays[slot.name]
                fields.append(field.with_type(array.type))
                columns.append(array)
            return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))

    def read_parts(self, group: int, paths: Sequence[Path]) -> list[pa.RecordBatch]:
        """The same, which is one batch."""
        return [self.read(group, paths)]

    def _through_arrow(self, group: int, names: Sequence[str]) -> pa.RecordBatch:
        """Columns as Arrow reads them: of a file these alone, of a stream the whole batch."""
        import pyarrow as pa

        found: list[Any] = []
        options = pa.ipc.IpcReadOptions(
            included_fields=[self.schema.get_field_index(name) for name in names]
        )
        contents = self._contents

        def work(whole: StoredObject) -> None:
            counted = not self._in_memory
            with arrow_errors(self._where(group)):
                if not self._stream:
                    self._stored.store.prefetch([(whole, self._ranges(group, names))])
                    file = pa.PythonFile(ArrowFile(whole, whole.size, counted=counted), mode="r")
                    found[:] = [pa.ipc.open_file(file, options=options).get_batch(group)]
                    return
                before = [block for at, block in contents.dictionaries if at <= group]
                blocks = [contents.schema_block, *before, contents.blocks[group]]
                ranges = [(b.offset, b.stop) for b in blocks]
                self._stored.store.prefetch([(whole, ranges)])
                data = b"".join(whole.read(b.offset, b.stop - b.offset) for b in blocks)
                count("bytes_read", len(data) if counted else 0)
                with pa.ipc.open_stream(pa.py_buffer(data), options=options) as reader:
                    found[:] = [reader.read_next_batch()]

        self._stored.using(work)
        batch: pa.RecordBatch = found[0]
        batch.validate(full=True)
        return batch

    def _ranges(self, group: int, names: Sequence[str]) -> list[tuple[int, int]]:
        """What Arrow looks at of a file to read some columns of a batch."""
        contents, size = self._contents, self._stored.size
        batch, block = contents.batches[group], contents.blocks[group]
        ranges = [(0, 8), (max(size - _TAIL, 0), size)]
        ranges += [(each.offset, each.stop) for _, each in contents.dictionaries]
        ranges.append((block.offset, block.start))
        slots = [slot for slot in self._columns(group) if slot.name in names]
        numbers = [i for slot in slots for i in buffers_of(slot, {})]
        ranges += [(int(at), int(at + nbytes)) for at, nbytes in batch.buffers[numbers]]
        return ranges

    def itemsize(self, pixels: Path, encoded: bool) -> int | None:
        """Bytes of an item of what ``lazy_unit`` has as elements; None where it gives no unit."""
        if not self._contents.batches:
            return None
        column = next((slot for slot in self._columns(0) if slot.name == pixels[0]), None)
        slot = None if column is None else _below(column, pixels[1:])
        form = None if slot is None else _form(slot, encoded)
        return None if form is None else form[0].itemsize

    def lazy_unit(self, group: int, pixels: Path, encoded: bool, where: str) -> Unit | None:
        """A unit whose elements are read when they are asked for; None if they had better not."""
        if not self.by_element:
            return None
        top, *names = pixels
        tree, batch = wanted([pixels]), self._contents.batches[group]
        with arrow_errors(self._where(group)):
            column = next((s for s in self._columns(group) if s.name == top), None)
            slot = None if column is None else _below(column, names)
            form = None if slot is None else _form(slot, encoded)
            if column is None or slot is None or form is None:
                return None
            dtype, items = form
            buffers = self._fetch(group, list(buffers_of(column, tree[top], slot)))
            array = made(column, tree[top], batch, buffers, slot)
            array.validate(full=True)
            found = found_below(array, tuple(names), where)
            spans = picked(spans_of(found.array, where), found)
            bits = None
            start, nbytes = (int(n) for n in batch.buffers[items])
            if slot.children and batch.nodes[slot.children[0].node, 1]:
                bitmap = slot.children[0].first
                bitmap_bytes: Any = self._fetch(group, [bitmap])[bitmap]
                bits = np.frombuffer(bitmap_bytes, np.uint8)
            most = int(spans.stops.max(initial=0))
            if most * dtype.itemsize > nbytes or (bits is not None and most > 8 * len(bits)):
                raise FormatError(f"{where}: {most} items lead out of a buffer of {nbytes} bytes")
        return _StoredElements(self._stored, start, dtype, spans, bits, where)

    def stored_nbytes(self, group: int, paths: Sequence[Path]) -> int:
        """See ``Container``."""
        if self.zero_copy:
            return 0
        tree, batch = wanted(paths), self._contents.batches[group]
        with arrow_errors(self._where(group)):
            numbers = [
                i
                for slot in self._columns(group)
                if slot.name in tree
                for i in buffers_of(slot, tree[slot.name])
            ]
        return int(batch.buffers[numbers, 1].sum()) if numbers else 0

    def decoded_nbytes(self, group: int, paths: Sequence[Path]) -> int:
        """See ``Container``: from the lengths of arrays where buffers are compressed."""
        if self.zero_copy:
            return 0
        batch = self._contents.batches[group]
        stored = self.stored_nbytes(group, paths)
        if batch.codec is None:
            return stored
        tree, total = wanted(paths), 0
        for column in self._columns(group):
            if column.name in tree:
                total += _decoded(column, tree[column.name], batch)
        return max(total, stored)

    def check(self) -> None:
        """See ``Container``."""
        self._stored.check()


def _restore(stored: Stored, stream: bool) -> IpcContainer:
    return IpcContainer(stored, stream=stream)


def _decoded(slot: Slot, names: Mapping[str, Any], batch: Batch) -> int:
    total = 0
    try:
        total = int(batch.nodes[slot.node, 0]) * slot.type.bit_width // 8
    except ValueError:
        total = int(batch.buffers[slot.first : slot.last, 1].sum())
    for child in slot.children:
        if is_list(slot.type):
            total += _decoded(child, names, batch)
        elif not names or child.name in names:
            total += _decoded(child, names.get(child.name, {}), batch)
    return total


def _unpacked(buffer: pa.Buffer, codec: str) -> pa.Buffer:
    """A compressed buffer: its length, then a frame; a length of -1 says that it is none."""
    import pyarrow as pa

    if not buffer.size:
        return buffer
    if buffer.size < 8:
        raise FormatError(f"a compressed buffer of {buffer.size} bytes has no length")
    nbytes = int.from_bytes(memoryview(buffer)[:8], "little", signed=True)
    packed = buffer.slice(8)
    if nbytes == -1:
        return packed
    if not 0 <= nbytes <= _RATIO[codec] * packed.size + _SLACK:
        raise FormatError(f"a compressed buffer of {packed.size} bytes claims to hold {nbytes}")
    if not nbytes:
        return pa.py_buffer(b"")
    return pa.Codec(codec).decompress(packed, decompressed_size=nbytes)


def _below(slot: Slot, names: Sequence[str]) -> Slot | None:
    """The slot of a field, where all on the way to it are lists and structs."""
    import pyarrow as pa

    for name in names:
        while is_list(slot.type):
            slot = slot.children[0]
        if not pa.types.is_struct(slot.type):
            return None
        matches = [child for child in slot.children if child.name == name]
        if len(matches) != 1:
            return None
        slot = matches[0]
    return slot


def _form(slot: Slot, encoded: bool) -> tuple[np.dtype, int] | None:
    """The dtype of the items of lists or bytes, and the buffer that they are in."""
    import pyarrow as pa

    kind, types = slot.type, pa.types
    if encoded and (types.is_binary(kind) or types.is_large_binary(kind)):
        return np.dtype(np.uint8), slot.first + 2
    if encoded and types.is_fixed_size_binary(kind):
        return np.dtype(np.uint8), slot.first + 1
    if encoded or not is_list(kind):
        return None
    items = slot.children[0]
    if types.is_integer(items.type) or types.is_floating(items.type):
        return np.dtype(items.type.to_pandas_dtype()), items.first + 1
    return None


class _StoredElements:
    """Pixels that lie in a file as they are; see ``model.Unit``."""

    def __init__(
        self,
        stored: Stored,
        start: int,
        dtype: np.dtype,
        spans: Spans,
        bits: np.ndarray | None,
        where: str,
    ) -> None:
        self._stored, self._start, self._dtype = stored, start, dtype
        self._spans, self._bits, self._where = spans, bits, where

    @property
    def nbytes(self) -> int:
        """Bytes that keeping it takes."""
        bits = 0 if self._bits is None else self._bits.nbytes
        return 1000 + 3 * self._spans.starts.nbytes + bits

    def __len__(self) -> int:
        return len(self._spans)

    def element(self, number: int, scratch: Scratch) -> np.ndarray:
        """The pixels of one piece, read now."""
        start, stop = self._spans.span(number, self._where)
        first, nbytes = start * self._dtype.itemsize, (stop - start) * self._dtype.itemsize
        found: list[Any] = [b""]

        def work(whole: StoredObject) -> None:
            found[:] = [whole.read(self._start + first, nbytes, scratch)]

        if nbytes:
            self._stored.using(work)
            count("bytes_read", nbytes)
        values = np.frombuffer(found[0], self._dtype)
        values.flags.writeable = False
        return values

    def nulls(self, number: int) -> np.ndarray | None:
        """Which numbers of a piece are null; None if none is."""
        if self._bits is None:
            return None
        start, stop = self._spans.span(number, self._where)
        return bits_of(self._bits, start, stop)
