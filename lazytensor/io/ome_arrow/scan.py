"""Tables of images, opened: which rows and columns there are, and which of them is meant.

The one place for the rules of ``row``, ``column`` and ``image_id``, whatever the images are in. A
dataset is a table with one column, called as everybody calls it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lazytensor.errors import FormatError, SerializationError, SourceNotFoundError
from lazytensor.io.ome_arrow.container import Container
from lazytensor.io.ome_arrow.dataset import Dataset, open_dataset
from lazytensor.io.ome_arrow.fill import fill_of, fill_to_json
from lazytensor.io.ome_arrow.folder import Folder
from lazytensor.io.ome_arrow.model import DIMS, Image, ImageMeta, NoImageError
from lazytensor.io.ome_arrow.sniff import folder_at, located
from lazytensor.io.ome_arrow.source import OmeArrowSource, StackSource
from lazytensor.io.store_open import make_store

if TYPE_CHECKING:
    import polars as pl

    from lazytensor.io.ome_arrow.fields import ImageColumn
    from lazytensor.io.ome_arrow.records import Records

__all__ = ["MAIN", "ImageTable", "from_json", "open_table", "stack_of"]

MAIN = "ome_arrow"
"""The column that is meant if there are several, and the one that a dataset has."""

_FORMAT = "ome-arrow"
_PLACE = ("format", "uri", "key", "mmap")


class ImageTable(Protocol):
    """Images in rows. Immutable, thread-safe, survives a fork, and is pickled as its place.

    ``name``: for messages. ``rows``: how many. ``columns``: those with images.
    """

    name: str
    rows: int
    columns: tuple[str, ...]

    def column(self, name: str | None) -> str:
        """The column that is meant; ``FormatError`` listing them for several or another one."""
        ...

    def image(self, row: int, column: str) -> Image:
        """An image; an error that is a ``KeyError`` too for a null row."""
        ...

    def is_null(self, row: int, column: str) -> bool:
        """Whether there is no image in a row."""
        ...

    def metas(self, column: str) -> Sequence[ImageMeta | None]:
        """What all rows say of their images; None for null rows."""
        ...

    def origin(self, row: int) -> tuple[int, ...]:
        """Coordinates of the first element of an image."""
        ...

    def row_of(self, image_id: str, column: str) -> int:
        """The row of an image with an id; an error that is a ``KeyError`` too without one."""
        ...

    def document(self, row: int, column: str) -> Mapping[str, Any] | None:
        """What ``from_json`` opens; None for what is only in memory."""
        ...

    def frame(self, rows: np.ndarray | None) -> pl.LazyFrame:
        """All columns without images, of some rows in the order given; None: of all."""
        ...


def open_table(
    source: Any,
    *,
    column: str | None = None,
    mmap: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    verified: bool = False,
) -> ImageTable:
    """The table at a place: of a file, of a dataset, or in memory.

    ``column``: one that there has to be. ``verified``: whether an index of a dataset is left alone.
    As ``lt.open_ome_arrow`` otherwise.
    """
    from lazytensor.io.ome_arrow.containers import open_container

    found = located(source, storage_options)
    if not isinstance(found, Folder):
        try:
            found = open_container(found, mmap=mmap, storage_options=storage_options)
        except SourceNotFoundError:
            folder = folder_at(source, storage_options)
            if folder is None:
                raise
            found = folder
    table: ImageTable
    if isinstance(found, Folder):
        table = DatasetTable(open_dataset(found._replace(mapped=mmap), verified=verified))
    else:
        table = FileTable(found)
    if column is not None:
        table.column(column)
    return table


class FileTable:
    """Rows of one table; see ``ImageTable``."""

    def __init__(self, container: Container) -> None:
        from lazytensor.io.ome_arrow.fields import choose, image_columns

        self._container = container
        self.name = container.label
        self.rows = int(container.starts[-1])
        self._columns: dict[str, ImageColumn] = image_columns(container.schema)
        if not self._columns:
            choose(container.schema, None, self.name)  # which says what there is instead
        self.columns = tuple(self._columns)
        self._records: dict[str, Records] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return FileTable, (self._container,)

    def column(self, name: str | None) -> str:
        """See ``ImageTable``."""
        from lazytensor.io.ome_arrow.fields import choose

        return choose(self._container.schema, name, self.name).name

    def records(self, column: str) -> Records:
        """The images of a column."""
        found = self._records.get(column)
        if found is None:
            from lazytensor.io.ome_arrow.records import Records

            made = Records(self._container, self._columns[column])
            found = self._records.setdefault(column, made)
        return found

    def image(self, row: int, column: str) -> Image:
        """See ``ImageTable``."""
        return self.records(column).image(row)

    def is_null(self, row: int, column: str) -> bool:
        """See ``ImageTable``."""
        return self.records(column).is_null(row)

    def metas(self, column: str) -> Sequence[ImageMeta | None]:
        """See ``ImageTable``."""
        return self.records(column).metas()

    def origin(self, row: int) -> tuple[int, ...]:
        """See ``ImageTable``; records have none."""
        return (0,) * len(DIMS)

    def row_of(self, image_id: str, column: str) -> int:
        """See ``ImageTable``; ids are those in the records."""
        ids = self._ids(column)
        found = [row for row, name in enumerate(ids) if name == str(image_id)]
        if not found:
            raise NoImageError(
                f"{self.name}: no image in column {column!r} has the id {image_id!r}"
            )
        if len(found) > 1:
            raise FormatError(
                f"{self.name}: rows {found[0]} and {found[1]} of column {column!r} both have the "
                f"id {image_id!r}: choose with row="
            )
        return found[0]

    def _ids(self, column: str) -> list[str | None]:
        metas = self.metas(column)
        return [None if meta is None else meta.attrs.get("id") for meta in metas]

    def document(self, row: int, column: str) -> Mapping[str, Any] | None:
        """See ``ImageTable``."""
        place = self._container.document
        return None if place is None else {**place, "row": row, "column": column}

    def frame(self, rows: np.ndarray | None) -> pl.LazyFrame:
        """See ``ImageTable``."""
        from lazytensor.io.ome_arrow.polars_frame import lazy_frame

        names = self._container.schema.names
        others = [name for name in names if name not in self._columns]
        return _of_rows(lazy_frame(self._container, others), rows)


class DatasetTable:
    """The images of a dataset; see ``ImageTable``."""

    columns: tuple[str, ...] = (MAIN,)

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.name = f"ome-arrow dataset {dataset.name}"
        self.rows = len(dataset)

    def __reduce__(self) -> tuple[Any, ...]:
        return DatasetTable, (self.dataset,)

    def column(self, name: str | None) -> str:
        """See ``ImageTable``."""
        if name not in (None, MAIN):
            raise FormatError(
                f"{self.name}: expected no column {name!r}: a dataset has one column of images, "
                f"{MAIN!r}"
            )
        return MAIN

    def image(self, row: int, column: str) -> Image:
        """See ``ImageTable``."""
        return self.dataset.image(row)

    def is_null(self, row: int, column: str) -> bool:
        """See ``ImageTable``; there are none."""
        return False

    @cached_property
    def _metas(self) -> list[ImageMeta]:
        return [self.dataset.meta(row) for row in range(self.rows)]

    def metas(self, column: str) -> Sequence[ImageMeta | None]:
        """See ``ImageTable``."""
        return self._metas

    def origin(self, row: int) -> tuple[int, ...]:
        """See ``ImageTable``."""
        return self.dataset.origin(row)

    def row_of(self, image_id: str, column: str) -> int:
        """See ``ImageTable``."""
        return self.dataset.number(image_id)

    def document(self, row: int, column: str) -> Mapping[str, Any] | None:
        """See ``ImageTable``."""
        folder = self.dataset.folder
        if folder.store.uri is None:
            return None
        return {
            "format": _FORMAT,
            "uri": folder.store.uri,
            "key": folder.root,
            "mmap": folder.mapped,
            "image_id": self.dataset.ids[row],
        }

    def frame(self, rows: np.ndarray | None) -> pl.LazyFrame:
        """See ``ImageTable``."""
        from lazytensor.io.ome_arrow.polars_frame import lazy_frame

        images = self.dataset.images
        return _of_rows(lazy_frame(images, images.schema.names), rows)


def _of_rows(frame: pl.LazyFrame, rows: np.ndarray | None) -> pl.LazyFrame:
    if rows is None:
        return frame
    from lazytensor.io.ome_arrow.polars_rows import rows_of

    return rows_of(frame, rows)


def stack_of(
    table: ImageTable, rows: Sequence[int], column: str, fill_value: Any = None
) -> StackSource:
    """The images of some rows, one behind the other; errors as ``StackSource``."""
    images = [table.image(row, column) for row in rows]
    fill = fill_of(fill_value, images[0].meta.dtype) if images else None
    place = table.document(0, column) if images else None
    document: dict[str, Any] | None = None
    if place is not None:
        document = {name: place[name] for name in _PLACE if name in place}
        document |= {"rows": list(rows), "column": column}
        if fill is not None:
            document["fill_value"] = fill_to_json(fill)
    return StackSource(
        images,
        fill_value=fill,
        reopen=document,
        label=f"ome-arrow {table.name}[{len(images)} rows, {column!r}]",
    )


def from_json(
    document: Mapping[str, Any], *, storage_options: Mapping[str, Any] | None = None
) -> OmeArrowSource | StackSource:
    """The source that ``to_json`` of one described, else ``SerializationError``."""
    uri, key, mmap = document.get("uri"), document.get("key"), document.get("mmap", False)
    column, image_id = document.get("column"), document.get("image_id")
    row, rows = document.get("row", 0), document.get("rows")
    good = (
        document.get("format") == _FORMAT
        and isinstance(uri, str)
        and isinstance(key, str)
        and isinstance(mmap, bool)
        and all(text is None or isinstance(text, str) for text in (column, image_id))
        and type(row) is int
        and (rows is None or (isinstance(rows, list) and all(type(n) is int for n in rows)))
    )
    if not good:
        raise SerializationError(f"expected an OME-Arrow image, found {dict(document)!r:.99}")
    fill = document.get("fill_value")
    place = make_store(uri, storage_options), str(key)
    table = open_table(
        place, column=column, mmap=bool(mmap), storage_options=storage_options,
        verified=fill is not None,
    )  # fmt: skip
    name = table.column(column)
    if rows is not None:
        return stack_of(table, rows, name, fill)
    number = row if image_id is None else table.row_of(image_id, name)
    image = table.image(number, name)
    return OmeArrowSource(image, fill_value=fill, reopen=table.document(number, name))
