"""Tables in memory: Arrow's tables, batches, arrays and scalars, records, Polars frames.

Nothing is read, and groups are the record batches that the table consists of.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lazytensor.io.ome_arrow.arrow_files import arrow_errors
from lazytensor.io.ome_arrow.container import Path
from lazytensor.io.ome_arrow.nested import check_names, pruned, wanted
from lazytensor.io.ome_arrow.unit_cache import UnitCache
from lazytensor.io.store_memory import Identity

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["COLUMN", "MemoryContainer", "table_of"]

COLUMN = "ome_arrow"
"""What the column of an array without a name is called."""


def table_of(source: Any) -> tuple[pa.Table, Any] | None:
    """A table of what is one, or one image of one, and the Polars frame that it is; else None.

    A ``LazyFrame`` is collected, all of it and now: what an image consists of is in its rows.
    Raises ``FormatError`` for a record that Arrow cannot hold.
    """
    import pyarrow as pa

    if isinstance(source, pa.Table):
        return source, None
    if isinstance(source, pa.RecordBatch):
        return pa.Table.from_batches([source]), None
    if isinstance(source, (pa.Array, pa.ChunkedArray)):
        return pa.table({COLUMN: source}), None
    if isinstance(source, pa.StructScalar):
        return pa.table({COLUMN: _array_of(source)}), None
    if isinstance(source, Mapping) and "pixels_meta" in source:
        with arrow_errors("the record"):
            return pa.table({COLUMN: pa.array([dict(source)])}), None
    if type(source).__module__.partition(".")[0] == "polars":
        return _of_polars(source)
    if hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__"):
        with arrow_errors(f"the {type(source).__name__}"):
            return pa.table(source), None
    return None


def _of_polars(source: Any) -> tuple[pa.Table, Any] | None:
    import polars as pl

    if isinstance(source, pl.LazyFrame):
        source = source.collect()
    if isinstance(source, pl.Series):
        source = source.to_frame(source.name or COLUMN)
    if not isinstance(source, pl.DataFrame):
        return None
    # Views of strings and bytes as they are; older types would be copies.
    return source.to_arrow(compat_level=pl.CompatLevel.newest()), source


def _array_of(scalar: Any) -> pa.Array:
    """An array of one scalar; the items of lists are not copied."""
    import pyarrow as pa

    kind = scalar.type
    if scalar.is_valid and isinstance(scalar, pa.StructScalar) and len(kind):
        children = [_array_of(scalar[i]) for i in range(len(kind))]
        return pa.StructArray.from_arrays(children, fields=list(kind))
    if scalar.is_valid and pa.types.is_list(kind):
        offsets = pa.array([0, len(scalar.values)], pa.int32())
        return pa.ListArray.from_arrays(offsets, scalar.values, type=kind)
    if scalar.is_valid and pa.types.is_large_list(kind):
        offsets = pa.array([0, len(scalar.values)], pa.int64())
        return pa.LargeListArray.from_arrays(offsets, scalar.values, type=kind)
    return pa.array([scalar if scalar.is_valid else None], kind)


class MemoryContainer:
    """A table in memory; see ``container.Container``. It is pickled with all its values.

    ``frame``: the Polars frame that the table is, or None.
    """

    remote = False
    zero_copy = True
    by_element = False
    suffix = "arrow"
    document: Mapping[str, Any] | None = None

    def __init__(self, table: pa.Table, frame: Any = None, label: str = "table") -> None:
        check_names(table.schema, label)
        with arrow_errors(label):
            # Tables are made by anybody; offsets that lead out of their buffers would be read.
            table.validate(full=True)
        self.label = label
        self.schema = table.schema
        self.metadata: Mapping[bytes, bytes] = table.schema.metadata or {}
        self.frame = frame
        self.cache = UnitCache()
        self.identity: Hashable = ("table", Identity(table))
        self._table = table
        self._batches = table.to_batches()
        lengths = [batch.num_rows for batch in self._batches]
        self.starts = np.cumsum([0, *lengths], dtype=np.int64)

    def __reduce__(self) -> tuple[Any, ...]:
        return MemoryContainer, (self._table, self.frame, self.label)

    def read(self, group: int, paths: Sequence[Path]) -> pa.RecordBatch:
        """Views; see ``Container.read``."""
        import pyarrow as pa

        tree, batch = wanted(paths), self._batches[group]
        names = [name for name in self.schema.names if name in tree]
        columns = [pruned(batch.column(name), tree[name]) for name in names]
        fields = [
            self.schema.field(name).with_type(column.type)
            for name, column in zip(names, columns, strict=True)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))

    def read_parts(self, group: int, paths: Sequence[Path]) -> list[pa.RecordBatch]:
        """The same, which may be several batches."""
        return [self.read(group, paths)]

    def stored_nbytes(self, group: int, paths: Sequence[Path]) -> int:
        """0."""
        return 0

    def decoded_nbytes(self, group: int, paths: Sequence[Path]) -> int:
        """0."""
        return 0

    def check(self) -> None:
        """Arrow's arrays do not change."""
