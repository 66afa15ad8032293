"""Parquet files, of which single leaves of single row groups are read.

Only ``ParquetFile.read*(columns=...)`` leaves out leaves of nested columns, so it is what reads.
The footer is what costs (5 ms where there are many row groups), and is decoded once for each state
of a file. Readers on top of it are no matter for two threads at once, so each takes one of its own,
which reads whatever handle it is given and holds none in between.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.ome_arrow.arrow_files import ArrowFile, arrow_errors, document_of, may_be_shared
from lazytensor.io.ome_arrow.container import Constants, Path
from lazytensor.io.ome_arrow.model import Unit
from lazytensor.io.ome_arrow.nested import check_names, leaves
from lazytensor.io.ome_arrow.parquet_direct import CODECS, Leaf
from lazytensor.io.ome_arrow.parquet_units import Pages, Paging
from lazytensor.io.ome_arrow.unit_cache import UnitCache, unit_cache
from lazytensor.io.store import StoredObject
from lazytensor.io.stored import Stored

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ParquetContainer"]

_KEPT = 32
"""Footers that a process keeps."""


class _Footer:
    """What the footer says. Leaves are counted in the order of the file."""

    def __init__(self, whole: StoredObject, name: str, *, counted: bool) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with arrow_errors(f"{name}: the footer"):
            file = ArrowFile(whole, whole.size, counted=counted)
            opened = pq.ParquetFile(pa.PythonFile(file, mode="r"), pre_buffer=False)
            self.metadata = opened.metadata
            self.schema: pa.Schema = opened.schema_arrow
            found = [opened.schema.column(i) for i in range(self.metadata.num_columns)]
            self.names = [leaf.path for leaf in found]
            self.levels = [
                (leaf.physical_type, leaf.max_repetition_level, leaf.max_definition_level)
                for leaf in found
            ]
            rows = [
                self.metadata.row_group(i).num_rows for i in range(self.metadata.num_row_groups)
            ]
        check_names(self.schema, name)
        if min(rows, default=0) < 0 or sum(rows) > np.iinfo(np.int64).max:
            raise FormatError(f"{name}: row groups of {rows} rows cannot be")
        self.starts = np.cumsum([0, *rows], dtype=np.int64)
        self.leaves = [leaf for field in self.schema for leaf in leaves(field.type, (field.name,))]
        if len(self.leaves) != len(self.names):
            # Some type of Arrow takes other leaves than thought: columns are read as a whole.
            tops = {field.name: field.type for field in self.schema}
            self.leaves = [((top,), tops[top]) for top in (_top(path, tops) for path in self.names)]
        self.matching: dict[tuple[Path, ...], list[int]] = {}
        self.paged: dict[Path, int | None] = {}

    def columns(self, paths: Sequence[Path]) -> list[int]:
        """The leaves below some paths."""
        key = tuple(paths)
        found = self.matching.get(key)
        if found is None:
            found = [
                i
                for i, (leaf, _) in enumerate(self.leaves)
                if any(leaf[: len(path)] == path[: len(leaf)] for path in key)
            ]
            if len(self.matching) < _KEPT:
                self.matching[key] = found
        return found

    def is_paged(self, column: int) -> bool:
        """Whether a leaf is of byte strings, in no more than one list."""
        import pyarrow as pa

        kind, types = self.leaves[column][1], pa.types
        physical, repeated, _ = self.levels[column]
        is_bytes = (types.is_binary, types.is_large_binary, types.is_binary_view)
        return physical == "BYTE_ARRAY" and repeated < 2 and any(is_(kind) for is_ in is_bytes)


def _has_no_null(chunk: Any) -> bool:
    """Whether a column chunk says that it has no nulls."""
    statistics = chunk.statistics
    return statistics is not None and statistics.has_null_count and statistics.null_count == 0


def _top(path: str, tops: Mapping[str, Any]) -> str:
    """The column that a leaf ``a.b.list.element`` is of; names may have dots in them."""
    parts = path.split(".")
    names = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
    return next((name for name in names if name in tops), parts[0])


_footers: OrderedDict[Hashable, _Footer] = OrderedDict()
_lock = threading.Lock()


def _after_fork_in_child() -> None:
    global _footers, _lock
    _footers, _lock = OrderedDict(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class ParquetContainer(Constants):
    """A Parquet file; see ``container.Container``."""

    zero_copy = False
    by_element = False
    suffix = "parquet"

    def __init__(self, stored: Stored, whole: StoredObject | None = None) -> None:
        self._stored = stored
        self.label = stored.name
        self.remote = stored.remote
        self.document = document_of(stored)
        self._shared = may_be_shared(stored)
        self.cache = unit_cache() if self._shared else UnitCache()
        self.identity: Hashable = ("parquet", stored.identity)
        self.lasts = stored.token is not None and stored.store.uri is not None
        if self._shared:
            self.cache.turn_to(("parquet", stored.store.identity, stored.key), self.identity)
        self._footer = self._find_footer(whole)
        self._idle: list[tuple[ArrowFile, Any]] = []
        self.schema = self._footer.schema
        self.metadata: Mapping[bytes, bytes] = self._footer.metadata.metadata or {}
        self.starts = self._footer.starts

    def __reduce__(self) -> tuple[Any, ...]:
        return ParquetContainer, (self._stored,)

    @cached_property
    def _counted(self) -> bool:
        return self._stored.buffer() is None

    def _find_footer(self, whole: StoredObject | None) -> _Footer:
        if self._shared:
            with _lock:
                found = _footers.get(self.identity)
                if found is not None:
                    _footers.move_to_end(self.identity)
                    return found
        made: list[_Footer] = []

        def work(opened: StoredObject) -> None:
            made[:] = [_Footer(opened, self.label, counted=self._counted)]

        if whole is not None:
            work(whole)
        else:
            self._stored.using(work, (-min(self._stored.size, 1 << 16), 0))
        if self._shared:
            with _lock:
                _footers[self.identity] = made[0]
                while len(_footers) > _KEPT:
                    _footers.popitem(last=False)
        return made[0]

    def read(self, group: int, paths: Sequence[Path]) -> pa.RecordBatch:
        """Decoded leaves; see ``Container.read``."""
        import pyarrow as pa

        table = self._table(group, paths)
        with arrow_errors(self._where(group)):
            parts = table.combine_chunks().to_batches()
        if len(parts) == 1:
            return parts[0]
        if parts:
            raise FormatError(f"{self._where(group)} is more than one batch of Arrow can hold")
        rows = int(self.starts[group + 1] - self.starts[group])
        empty = [pa.array([], field.type) for field in table.schema]
        if rows and empty:
            raise FormatError(f"{self._where(group)} has no rows, and {rows} in the footer")
        return pa.RecordBatch.from_arrays(empty, schema=table.schema)

    def read_parts(self, group: int, paths: Sequence[Path]) -> list[pa.RecordBatch]:
        """The same, which may be several batches."""
        return list(self._table(group, paths).to_batches())

    def _where(self, group: int) -> str:
        return f"{self.label}: row group {group}"

    def _table(self, group: int, paths: Sequence[Path]) -> pa.Table:
        footer = self._footer
        found: list[Any] = []
        columns = footer.columns(paths)
        names = [footer.names[i] for i in columns]

        def work(whole: StoredObject) -> None:
            if self.remote:
                ranges = [self._range(group, i) for i in columns]
                self._stored.store.prefetch([(whole, ranges)])
            with arrow_errors(self._where(group)):
                file, reader = self._reader()
                file.turn_to(whole)
                found[:] = [reader.read_row_group(group, columns=names, use_threads=False)]
                # One that failed, or was interrupted, is not used again.
                file.turn_to(None)
                self._idle.append((file, reader))

        self._stored.using(work)
        table: pa.Table = found[0]
        rows = int(self.starts[group + 1] - self.starts[group])
        if names and table.num_rows != rows:
            raise FormatError(
                f"{self._where(group)} has {table.num_rows} rows, and {rows} in the footer"
            )
        return table

    def _reader(self) -> tuple[ArrowFile, Any]:
        """A reader that nobody else uses, and the file that it will read."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with suppress(IndexError):
            return self._idle.pop()
        file = ArrowFile(None, self._stored.size, counted=self._counted)
        reader = pq.ParquetFile(
            pa.PythonFile(file, mode="r"),
            metadata=self._footer.metadata,
            pre_buffer=False,
            page_checksum_verification=True,
        )
        return file, reader

    def _range(self, group: int, column: int) -> tuple[int, int]:
        """The bytes of a leaf, as far as the file has them."""
        with arrow_errors(self._where(group)):
            return self._bounds(self._footer.metadata.row_group(group).column(column))

    def _bounds(self, chunk: Any) -> tuple[int, int]:
        start = chunk.data_page_offset
        if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
            start = chunk.dictionary_page_offset
        nbytes = chunk.total_compressed_size
        start = min(max(start, 0), self._stored.size)
        return start, min(max(start + nbytes, start), self._stored.size)

    def paged_unit(self, group: int, pixels: Path, where: str, key: Hashable) -> Unit | None:
        """The byte strings of a leaf without pyarrow, one by one if they have pages of their own.

        That is a ``parquet_units.Paging``. None where they are not what is read without pyarrow.
        """
        column = None if self.remote else self._paged_column(pixels)
        if column is None:
            return None
        rows = int(self.starts[group + 1] - self.starts[group])
        _, repeated, defined = self._footer.levels[column]
        with arrow_errors(self._where(group)):
            chunk = self._footer.metadata.row_group(group).column(column)
            codec, values = chunk.compression, chunk.num_values
            most, nbytes = chunk.total_uncompressed_size, chunk.total_compressed_size
            start, stop = self._bounds(chunk)
            if codec not in CODECS or stop - start != nbytes or chunk.file_path:
                return None
        # A list of one item may be a list of none, and one of several is of one row.
        if not (rows == 1 < values if repeated else rows == values):
            return None
        place = Pages(self._stored, start, stop, Leaf(CODECS[codec], repeated, defined), most)
        bounds = place.bounds(values)
        if bounds is None:
            return place.together(values, where, counted=self._counted)
        return Paging(
            place, bounds, key=key, where=where, counted=self._counted,
            sound=lambda: _has_no_null(chunk),
        )  # fmt: skip

    def _paged_column(self, pixels: Path) -> int | None:
        """The leaf at a path, if it is one of byte strings, in no more than one list."""
        footer = self._footer
        if pixels not in footer.paged:
            columns = footer.columns([pixels])
            alone = len(columns) == 1 and footer.leaves[columns[0]][0] == pixels
            good = alone and footer.is_paged(columns[0])
            footer.paged[pixels] = columns[0] if good else None
        return footer.paged[pixels]

    def constants(self, group: int, names: Sequence[str]) -> dict[str, Any] | None:
        """Values of columns that, says the footer, have one value in all of a group, and no null.

        None unless it says so of every column.
        """
        footer, found = self._footer, dict[str, Any]()
        single = int(self.starts[group + 1] - self.starts[group]) == 1
        with arrow_errors(self._where(group)):
            column = footer.metadata.row_group(group).column
            for i in footer.columns(tuple([(name,) for name in names])):
                known = column(i).statistics
                least = None if known is None else known.min
                if least is None or (not single and known.null_count != 0):
                    return None
                # Long texts are cut off, up or down; a single number is the least and the most.
                if (not single or isinstance(least, (str, bytes))) and least != known.max:
                    return None
                found[footer.names[i]] = least
        return found if len(found) == len(names) else None

    def stored_nbytes(self, group: int, paths: Sequence[Path]) -> int:
        """See ``Container``."""
        ranges = [self._range(group, i) for i in self._footer.columns(paths)]
        return sum(stop - start for start, stop in ranges)

    def decoded_nbytes(self, group: int, paths: Sequence[Path]) -> int:
        """See ``Container``: as many numbers as the footer says, of bytes what is stored."""
        total = 0
        for i in self._footer.columns(paths):
            with arrow_errors(self._where(group)):
                chunk = self._footer.metadata.row_group(group).column(i)
                values, nbytes = chunk.num_values, chunk.total_uncompressed_size
            kind: Any = self._footer.leaves[i][1]
            try:
                total += max(values, 0) * kind.bit_width // 8
            except ValueError:
                total += max(nbytes, 0)
        return total

    def check(self) -> None:
        """See ``Container``."""
        self._stored.check()
