"""Columns of a container as a Polars ``LazyFrame``, which reads what is asked of it when it is.

Polars' own readers cannot leave out leaves of nested columns, do not know our stores, and would not
notice that a file has changed; so Polars asks the container, for the columns that a query is left
with, one group of rows after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.ome_arrow.container import Container
from lazytensor.io.ome_arrow.nested import is_list

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

__all__ = ["lazy_frame"]


def lazy_frame(container: Container, columns: Sequence[str]) -> pl.LazyFrame:
    """A ``LazyFrame`` of some columns, in the order given; nothing is read before it is collected.

    A column of a type that Polars does not have (unions, calendar intervals, decimals of 256 bits)
    has the dtype ``Null``; reading it raises ``FormatError``, and so do files that are damaged.
    ``SourceChangedError`` where the file is another one by then.
    """
    import polars as pl
    from polars.io.plugins import register_io_source

    frame = getattr(container, "frame", None)
    if frame is not None:
        made: pl.LazyFrame = frame.lazy().select(columns)
        return made
    dtypes = {name: _dtype(container.schema.field(name).type) for name in columns}

    def read(
        names: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, size: int | None
    ) -> Iterator[pl.DataFrame]:
        wanted = list(columns) if names is None else list(names)
        if predicate is not None:
            wanted += [name for name in predicate.meta.root_names() if name not in wanted]
        _refuse(container, wanted, dtypes)
        frames = _groups(container, wanted, n_rows, dtypes)
        yield from (frame if predicate is None else frame.filter(predicate) for frame in frames)

    schema = pl.Schema({name: pl.Null() if kind is None else kind for name, kind in dtypes.items()})
    return register_io_source(read, schema=schema, is_pure=True)


def _refuse(
    container: Container, names: Sequence[str], dtypes: Mapping[str, pl.DataType | None]
) -> None:
    for name in names:
        if dtypes[name] is None:
            raise FormatError(
                f"{container.label}: Polars has no dtype for column {name!r} of type "
                f"{container.schema.field(name).type}; leave it out with .frame.drop({name!r})"
            )


def _groups(
    container: Container,
    names: Sequence[str],
    n_rows: int | None,
    dtypes: Mapping[str, pl.DataType | None],
) -> Iterator[pl.DataFrame]:
    """The rows of each group, up to ``n_rows``; without rows, one frame without any."""
    import polars as pl

    left = int(container.starts[-1]) if n_rows is None else min(n_rows, int(container.starts[-1]))
    schema = {name: dtypes[name] for name in names}
    if not left:
        yield pl.DataFrame(schema=schema)
        return
    for group in range(len(container.starts) - 1):
        rows = int(container.starts[group + 1] - container.starts[group])
        if not rows:
            continue
        yield _frame(container, group, names, rows).head(left)
        left -= rows
        if left <= 0:
            return


def _frame(container: Container, group: int, names: Sequence[str], rows: int) -> pl.DataFrame:
    import polars as pl
    import pyarrow as pa

    if not names:
        return pl.DataFrame(height=rows)
    batches = container.read_parts(group, [(name,) for name in names])
    columns = {
        name: pa.chunked_array([_taken(batch.column(name)) for batch in batches]) for name in names
    }
    try:
        frame = pl.from_arrow(pa.table(columns))
    except (pl.exceptions.PolarsError, pa.ArrowException, ValueError) as error:
        raise FormatError(
            f"{container.label}: Polars cannot hold {list(names)}: {error}"
        ) from error
    assert isinstance(frame, pl.DataFrame)
    return frame


def _dtype(kind: pa.DataType) -> pl.DataType | None:
    """What Polars makes of a type; None if nothing."""
    import polars as pl
    import pyarrow as pa

    if _is_alien(kind):
        return None
    try:
        column = pl.from_arrow(pa.table({"": _taken(pa.nulls(0, _stored_type(kind)))}))
    except (pl.exceptions.PolarsError, pa.ArrowException, ValueError):
        return None
    assert isinstance(column, pl.DataFrame)
    return column.dtypes[0]


def _stored_type(kind: pa.DataType) -> pa.DataType:
    """Without an extension: Polars would make one too, which few operations know."""
    import pyarrow as pa

    while isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind


def _is_alien(kind: pa.DataType) -> bool:
    """Whether Polars does not have a type, or would end the process over it."""
    import pyarrow as pa

    types = pa.types
    kind = _stored_type(kind)
    if is_list(kind):
        # Views of lists are rewritten, but not those in other columns.
        items = _stored_type(kind.value_type)
        return _is_view(items) or _is_alien(items)
    inner = kind
    if types.is_struct(inner):
        return any(_is_view(field.type) or _is_alien(field.type) for field in inner)
    if types.is_map(inner):
        return _is_alien(inner.key_type) or _is_alien(inner.item_type)
    if types.is_dictionary(inner):
        return _is_alien(inner.value_type)
    if types.is_run_end_encoded(inner):
        return _is_alien(inner.value_type)
    return bool(types.is_union(inner) or types.is_interval(inner) or types.is_decimal256(inner))


def _taken(array: pa.Array) -> pa.Array:
    """An array as one that Polars takes: no extensions, no runs, no views of lists."""
    import pyarrow as pa
    import pyarrow.compute as pc

    while isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_run_end_encoded(array.type):
        return pc.run_end_decode(array)
    if not _is_view(array.type):
        return array
    # Not by a cast: some versions of Arrow make lists without offsets of it.
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.cumsum([0, *lengths], dtype=np.int64))
    nulls = array.is_null() if array.null_count else None
    return pa.LargeListArray.from_arrays(offsets, array.flatten(), mask=nulls)


def _is_view(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind))
