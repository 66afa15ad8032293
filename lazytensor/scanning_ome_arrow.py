"""Tensors of the images in OME-Arrow tables and datasets.

What an image is and which pieces it has is known from metadata; pixels are read when a plan that
needs them is collected. A table keeps images next to what was measured of them: it is filtered by
that before any pixel is read.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lazytensor.build_ome_arrow import image_node, stack_node
from lazytensor.errors import FormatError, OutOfBoundsError, ShapeError
from lazytensor.plan.garbage import importing
from lazytensor.tensor import LazyTensor

if TYPE_CHECKING:
    from os import PathLike

    import polars as pl

    from lazytensor.io.ome_arrow.scan import ImageTable

__all__ = ["OmeArrowTable", "open_ome_arrow", "scan_ome_arrow"]

Options = Mapping[str, Any] | None
_LAYOUT = "TCZYX"
_CHOICES = ("row", "column", "image_id")
_SIZES = ("size_t", "size_c", "size_z", "size_y", "size_x")


def scan_ome_arrow(
    source: str | PathLike[str] | bytes | Any,
    *,
    row: int = 0,
    column: str | None = None,
    image_id: str | None = None,
    layout: str = "TCZYX",
    fill_value: Any = None,
    mmap: bool = False,
    storage_options: Options = None,
) -> LazyTensor:
    """One image of an OME-Arrow table or dataset: a tensor of t, c, z, y, x with its axes.

    All layouts that are in use are read: pixels as lists of numbers or as bytes, in planes or
    chunks, in Parquet, Arrow IPC (files and streams) and memory; and folders with the tables
    ``images.parquet`` and ``chunks.parquet``. Planes and chunks lie where their own coordinates
    say, in any order. Metadata is read here, and no pixel.

    Parameters
    ----------
    source
        A path, any fsspec URL, ``(fs, path)``, ``(store, key)`` with anything that is a store, the
        bytes of a file; a folder, zip file, ``dict[str, bytes]`` or other store with a dataset or
        one table; a pyarrow table, batch, array or scalar, a Polars frame or series.
    row
        Which image of a table; negative rows count from the end.
    column
        Which column of images. By default the only one, and of several that called "ome_arrow".
    image_id
        Which image, by its id, instead of ``row``.
    layout
        Order of the dims, of the letters TZCYX (or TZCHW, in either case). A dim of size 1 may be
        left out.
    fill_value
        What pixels are that the file does not have: missing planes and chunks, null values. Without
        it they are an error when they are asked for.
    mmap
        Map a local Arrow IPC file instead of reading it: what is not compressed is then not even
        copied. It must not be truncated while a result lives.
    storage_options
        Options of the fsspec file system.

    Raises ``SourceNotFoundError`` when there is nothing, and for a null row or an ``image_id`` that
    there is not (then it is a ``KeyError`` too), ``OutOfBoundsError`` for a row out of range,
    ``FormatError`` for what is no table or has no column of images, listing the columns, and for
    records that make no sense. Reading raises ``FormatError`` naming t, c, z, y, x for pieces that
    are missing, of another length, or overlap, and for numbers that are no values of the dtype.
    Rules: the package ome-arrow 0.1.0.

    >>> record = {"pixels_meta": {"type": "uint8", "size_x": 3, "size_y": 2, "size_z": 1,
    ...                           "size_c": 1, "size_t": 1},
    ...           "planes": [{"t": 0, "c": 0, "z": 0, "pixels": [1, 2, 3, 4, 5, 6]}]}
    >>> lt.scan_ome_arrow(record)
    LazyTensor(t: 1, c: 1, z: 1, y: 2, x: 3)  uint8  6 B  chunks (1, 1, 1, 2, 3)
    >>> lt.scan_ome_arrow(record, layout="YX")[1].collect()
    array([4, 5, 6], dtype=uint8)
    """
    return _scan(
        source,
        row=row,
        column=column,
        image_id=image_id,
        layout=layout,
        fill_value=fill_value,
        mmap=mmap,
        storage_options=storage_options,
    )


def open_ome_arrow(
    source: str | PathLike[str] | bytes | Any,
    *,
    column: str | None = None,
    mmap: bool = False,
    fill_value: Any = None,
    storage_options: Options = None,
) -> OmeArrowTable:
    """The images of an OME-Arrow table or dataset, by row, and what else the table says of them.

    Metadata is read, and no pixel. ``column``: the column of images that ``t[i]`` and ``t.stack()``
    mean; by default the only one, and of several that called "ome_arrow". Other parameters and
    errors as ``scan_ome_arrow``.

    >>> import polars as pl, pyarrow as pa
    >>> sizes = {"size_x": 2, "size_y": 2, "size_z": 1, "size_c": 1, "size_t": 1}
    >>> records = [{"pixels_meta": {"type": "uint8", **sizes},
    ...             "planes": [{"t": 0, "c": 0, "z": 0, "pixels": [k, k, k, k]}]} for k in range(3)]
    >>> t = lt.open_ome_arrow(pa.table({"well": ["A01", "A02", "A01"], "image": records}))
    >>> t
    OmeArrowTable('table', 3 rows, images in 'image')
    >>> t.filter(pl.col("well") == "A01").stack().max(axis=(1, 2, 3, 4, 5)).collect()
    array([0, 2], dtype=uint8)
    """
    table = _opened(
        source,
        column=column,
        mmap=mmap,
        storage_options=storage_options,
        verified=fill_value is not None,
    )
    return OmeArrowTable._wrap(table, None, column, fill_value)


def scan_only(source: Any, **options: Any) -> LazyTensor:
    """The one image of a table, for ``lt.scan``; of several, the one that options choose.

    Raises ``FormatError`` that says how many there are and what opens them.
    """
    return _scan(source, single=not options.keys() & set(_CHOICES), **options)


def _scan(
    source: Any,
    *,
    row: int = 0,
    column: str | None = None,
    image_id: str | None = None,
    layout: str = _LAYOUT,
    fill_value: Any = None,
    mmap: bool = False,
    storage_options: Options = None,
    single: bool = False,
) -> LazyTensor:
    """``scan_ome_arrow``; ``single``: there must not be another image."""
    from lazytensor.ome_layout import laid_out

    if image_id is not None and row != 0:
        raise ValueError(f"row={row!r} and image_id={image_id!r}: choose an image by one of them")
    table = _opened(
        source,
        column=column,
        mmap=mmap,
        storage_options=storage_options,
        # Which chunks there are must be sure where those that are not there are no error.
        verified=fill_value is not None,
    )
    if single and (table.rows != 1 or len(table.columns) != 1):
        raise FormatError(
            f"{table.name} has {table.rows} rows with images in "
            f"{', '.join(map(repr, table.columns))}: use lt.open_ome_arrow, or choose with "
            f"row=, column= or image_id="
        )
    name = table.column(column)
    if image_id is None:
        number = _from_start(row, table.rows, table.name)
    else:
        number = table.row_of(image_id, name)
    found = LazyTensor._wrap(image_node(table, number, name, fill_value))
    return found if layout == _LAYOUT else laid_out(found, layout)


def _opened(source: Any, **options: Any) -> ImageTable:
    with importing():
        from lazytensor.io.ome_arrow.scan import open_table

    return open_table(source, **options)


def _from_start(row: Any, rows: int, name: str) -> int:
    number = operator.index(row)
    if not -rows <= number < rows:
        raise OutOfBoundsError(f"{name} has {rows} rows: there is no row {number}")
    return number % rows


class OmeArrowTable:
    """Images of a table, by row; made by ``open_ome_arrow``. Immutable and thread-safe.

    ``len(t)``, ``t[i]`` and ``t[i, "column"]`` (a tensor; negative rows count from the end),
    ``t[2:5]`` (a table of these rows), and iteration over the images of the default column, in
    which null rows are None, so that images and the rows of ``frame`` go side by side. Images may
    differ in size and dtype (``shapes``).
    """

    __slots__ = ("_column", "_fill", "_rows", "_table")

    _table: ImageTable
    _rows: np.ndarray | None
    _column: str | None
    _fill: Any

    def __init__(self) -> None:
        raise TypeError("open_ome_arrow makes these")

    @classmethod
    def _wrap(
        cls, table: ImageTable, rows: np.ndarray | None, column: str | None, fill_value: Any
    ) -> OmeArrowTable:
        self = object.__new__(cls)
        self._table = table
        self._rows = rows
        self._column = column
        self._fill = fill_value
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return OmeArrowTable._wrap, (self._table, self._rows, self._column, self._fill)

    def __repr__(self) -> str:
        rows = len(self) if self._rows is None else f"{len(self)} of {self._table.rows}"
        names = ", ".join(map(repr, self.columns))
        return f"OmeArrowTable({self._table.name!r}, {rows} rows, images in {names})"

    def __len__(self) -> int:
        return self._table.rows if self._rows is None else len(self._rows)

    def _number(self, row: Any) -> int:
        """The row in the file."""
        number = _from_start(row, len(self), self._table.name)
        return number if self._rows is None else int(self._rows[number])

    def _numbers(self) -> Sequence[int]:
        rows: Sequence[int] = range(self._table.rows) if self._rows is None else self._rows.tolist()
        return rows

    def _name(self, column: str | None) -> str:
        return self._table.column(self._column if column is None else column)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            rows = np.asarray(self._numbers(), np.int64)[key]
            return OmeArrowTable._wrap(self._table, rows, self._column, self._fill)
        row, column = key if isinstance(key, tuple) and len(key) == 2 else (key, None)
        if column is not None and not isinstance(column, str):
            raise TypeError(f"images are indexed by row and name of a column, not by {key!r}")
        return self._tensor(self._number(row), self._name(column))

    def _tensor(self, row: int, column: str) -> LazyTensor:
        return LazyTensor._wrap(image_node(self._table, row, column, self._fill))

    def __iter__(self) -> Iterator[LazyTensor | None]:
        name = self._name(None)
        for row in self._numbers():
            yield None if self._table.is_null(row, name) else self._tensor(row, name)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of images."""
        return self._table.columns

    @property
    def frame(self) -> pl.LazyFrame:
        """All other columns, as a Polars ``LazyFrame``: a row for each image, no pixel is read.

        Of a dataset these are the columns of ``images.parquet``.
        """
        return self._table.frame(self._rows)

    def filter(self, *predicates: Any, **constraints: Any) -> OmeArrowTable:
        """The rows for which Polars expressions on ``frame`` hold, as ``LazyFrame.filter``.

        They are evaluated now, reading no column but those that they name, and no pixel. Rows keep
        the numbers that they have in the file where errors and ``shapes`` name them.

        Raises what Polars raises: ``polars.exceptions.ColumnNotFoundError``, ...
        """
        import polars as pl

        frame, index = self.frame, "row"
        names = frame.collect_schema().names()
        while index in names:
            index += "_"
        if names:
            numbered = frame.with_row_index(index)
        else:  # a frame without columns has no rows either
            numbered = pl.LazyFrame({index: np.arange(len(self))})
        kept = (
            numbered.filter(*predicates, **constraints)
            .select(pl.col(index).cast(pl.Int64))
            .collect()
        )
        rows = np.asarray(self._numbers(), np.int64)[kept[index].to_numpy()]
        return OmeArrowTable._wrap(self._table, rows, self._column, self._fill)

    @property
    def shapes(self) -> pl.DataFrame:
        """Sizes and dtype of every image, read from metadata: a row for each row and column.

        Columns ``row`` (in the file), ``column``, ``size_t``, ``size_c``, ``size_z``, ``size_y``,
        ``size_x``, ``dtype`` (its name); null for null rows.
        """
        import polars as pl

        rows = self._numbers()
        found = [(name, self._table.metas(name)) for name in self.columns]
        table = [
            (row, name, *((None,) * 6 if meta is None else (*meta.shape, meta.dtype.name)))
            for row in rows
            for name, metas in found
            for meta in (metas[row],)
        ]
        kinds = {"row": pl.Int64, "column": pl.String, **dict.fromkeys(_SIZES, pl.Int64)}
        return pl.DataFrame(table, schema={**kinds, "dtype": pl.String}, orient="row")

    def stack(self, column: str | None = None) -> LazyTensor:
        """All images of a column as one tensor of row, t, c, z, y, x.

        Raises ``ShapeError`` naming two rows whose sizes differ, ``DTypeError`` for dtypes,
        ``KeyError`` naming a null row, ``ShapeError`` for a table without rows.
        """
        name = self._name(column)
        rows = self._numbers()
        if not rows:
            raise ShapeError(f"{self!r} has no rows that could be stacked")
        return LazyTensor._wrap(stack_node(self._table, rows, name, self._fill))
