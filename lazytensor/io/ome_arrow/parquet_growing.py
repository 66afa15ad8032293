"""Parquet files that grow by row groups which several threads encode at the same time.

Each row group is encoded by pyarrow as a file of its own in memory, and its bytes are put where
there is room; what the file ends with says where they are. So nothing waits for anything but its
own encoding, and what a file has already is not decoded when it is extended.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lazytensor.io.ome_arrow.parquet_footer import (
    MAGIC,
    Fields,
    file_end,
    footer,
    moved,
    row_group_of,
    schema_of,
    thrift,
    with_column,
)
from lazytensor.io.store import Buffer

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "CODECS", "Encoding", "GrowingParquet", "RowGroup", "footer_start", "has_columns",
    "parquet_bytes",
]  # fmt: skip

CODECS = ("zstd", "lz4", "snappy", "gzip", "brotli")
"""Compressions of Parquet."""

_LEVELS = {"zstd": 1}
"""Levels of compression; higher ones of zstd are much slower, and hardly smaller for pixels."""


class Encoding(NamedTuple):
    """How columns are encoded.

    ``compression``: of ``CODECS``, or None. ``plain``: columns without statistics, which of pixels
    would hold them again. ``dictionary``: leaves (dotted paths) that have one; ``uncompressed``:
    those that are compressed already.
    """

    compression: str | None
    plain: tuple[str, ...] = ()
    dictionary: tuple[str, ...] = ()
    uncompressed: tuple[str, ...] = ()


class RowGroup(NamedTuple):
    """An encoded row group: the bytes of its pages, what a footer says of it (places counted from
    the first of these bytes), and how many rows it has."""

    data: Sequence[Buffer]
    nbytes: int
    fields: Fields
    rows: int


def parquet_bytes(table: pa.Table, encoding: Encoding) -> pa.Buffer:
    """A whole file, of one row group; of none for a table without rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Statistics are of use for the columns that say where something is, and a cost for others.
    columns = [name for name in table.column_names if name not in encoding.plain]
    leaves = [n for n in columns if not pa.types.is_nested(table.schema.field(n).type)]
    compression: Any = encoding.compression or "none"
    if encoding.uncompressed:
        compression = dict.fromkeys(_leaf_paths(table.schema), compression)
        compression |= dict.fromkeys(encoding.uncompressed, "none")
    out = pa.BufferOutputStream()
    with pq.ParquetWriter(
        out,
        table.schema,
        compression=compression,
        compression_level=None if encoding.uncompressed else _LEVELS.get(compression),
        use_dictionary=list(encoding.dictionary) or False,
        write_statistics=leaves,
    ) as writer:
        if table.num_rows:
            writer.write_table(table, row_group_size=table.num_rows)
    return out.getvalue()


def _leaf_paths(schema: pa.Schema) -> list[str]:
    """The leaves of columns, as Parquet calls them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = pa.BufferOutputStream()
    pq.ParquetWriter(out, schema).close()
    found = pq.ParquetFile(pa.BufferReader(out.getvalue())).schema
    return [found.column(number).path for number in range(len(found))]


def has_columns(file: Any, schema: pa.Schema) -> bool:
    """Whether the columns of a file (pyarrow's) are those that are written of a schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ours = parquet_bytes(schema.empty_table(), Encoding(None))
    same: bool = pq.ParquetFile(pa.BufferReader(ours)).schema.equals(file.schema)
    return same


def footer_start(path: str) -> int:
    """Bytes of a file before its footer."""
    with open(path, "rb") as file:
        file.seek(-8, os.SEEK_END)
        return file.tell() - int.from_bytes(file.read(4), "little")


class GrowingParquet:
    """A file that grows.

    ``schema``: with the metadata of the file. ``write(at, parts)`` writes bytes, from any thread.
    ``base``: the footer (pyarrow's) of a file whose first ``start`` bytes this one begins with
    already. ``pixels``: path of the leaf that ``add`` may find elsewhere.
    """

    def __init__(
        self,
        schema: pa.Schema,
        encoding: Encoding,
        write: Callable[[int, Sequence[Buffer]], Any],
        *,
        base: Any = None,
        start: int = len(MAGIC),
        pixels: str = "",
    ) -> None:
        self._empty = memoryview(parquet_bytes(schema.empty_table(), encoding))
        self._schema = schema_of(self._empty)
        self._encoding = encoding
        self._pixels = pixels
        self._write = write
        self._base = base
        self._end = start
        self._rows = 0
        self._groups: list[tuple[int, bytes]] = []
        self._lock = threading.Lock()
        if base is None:
            write(0, [MAGIC])

    def encoded(self, table: pa.Table) -> RowGroup:
        """Some rows, encoded; from any thread."""
        file = memoryview(parquet_bytes(table, self._encoding))
        data, fields = row_group_of(file, self._schema)
        return RowGroup([data], len(data), fields, table.num_rows)

    def put(self, nbytes: int, parts: Sequence[Buffer]) -> int:
        """Write bytes where there is room; where that is. From any thread."""
        return self.put_all(nbytes, [parts])

    def put_all(self, nbytes: int, pieces: Iterable[Sequence[Buffer]]) -> int:
        """Write so many bytes, in pieces, as ``put``."""
        with self._lock:
            at, self._end = self._end, self._end + nbytes
        done = at
        for parts in pieces:
            self._write(done, parts)
            done += sum(memoryview(part).nbytes for part in parts)
        return at

    def add(
        self,
        group: RowGroup,
        order: int | None = None,
        *,
        elsewhere: Callable[[Fields], Fields] | None = None,
    ) -> int:
        """Add a row group; its number, if they come in the order in which they are added.

        ``order``: what they are sorted by in the end instead. ``elsewhere``: makes, of what is said
        of the column of pixels, what is said of one that was written before. From any thread.
        """
        fields = moved(group.fields, self.put(group.nbytes, group.data))
        if elsewhere is not None:
            fields = with_column(fields, self._pixels, elsewhere)
        said = thrift(fields)
        with self._lock:
            number = len(self._groups)
            self._groups.append((number if order is None else order, said))
            self._rows += group.rows
        before: int = 0 if self._base is None else self._base.num_row_groups
        return before + number

    def finish(self, metadata: Mapping[str, str] | None = None) -> None:
        """Write what the file ends with. ``metadata``: entries to be added to the schema's."""
        groups = [said for _, said in sorted(self._groups, key=lambda pair: pair[0])]
        end = file_end(footer(self._empty, groups, self._rows))
        if self._base is not None:
            end = self._extended(end)
        self._write(self._end, [end])

    def _extended(self, end: bytes) -> bytes:
        """The end of a file that has the row groups of the former one, too."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        base = self._base
        if self._groups:
            base.append_row_groups(pq.read_metadata(pa.BufferReader(MAGIC + end)))
        out = pa.BufferOutputStream()
        base.write_metadata_file(out)
        return bytes(out.getvalue().to_pybytes()[len(MAGIC) :])
