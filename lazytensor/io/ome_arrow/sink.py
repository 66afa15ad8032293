"""Writing images into rows of a Parquet file: a row group for some small ones, or for a large one.

Small images are computed whole, and as many as make a row group are encoded together. A large one
comes in chunks or planes, from any thread and in any order. They are made into pages at once, which
go into the file in the order of the pixels: those that come too early wait, in memory as far as a
few of them, and in a file without a name beyond that. So memory does not depend on how large an
image is. (Who reads it has to read a row as a whole; but see ``sink_dataset``.)
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from lazytensor.errors import ShapeError, SinkError
from lazytensor.io.ome_arrow.parquet_growing import (
    Encoding,
    GrowingParquet,
    footer_start,
    has_columns,
)
from lazytensor.io.ome_arrow.parquet_pages import codec
from lazytensor.io.ome_arrow.schemas import Written, little
from lazytensor.io.ome_arrow.sink_dataset import ids_beside
from lazytensor.io.ome_arrow.sink_inline import (
    Layout,
    image_values,
    inline_schema,
    numbers,
    rows_table,
)
from lazytensor.io.ome_arrow.sink_pages import RowPages
from lazytensor.io.ome_arrow.sink_places import NOTE, Held, Mode, copy_bytes
from lazytensor.io.staging import StagedFile, named, write_all
from lazytensor.io.staging_remote import Place, RemoteFile
from lazytensor.plan.sink import Runs, Target
from lazytensor.plan.source import Box

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["InlineSink"]

_SMALL = 1 << 20
_MOST_ROWS = 64
"""Bytes of an image that is written in one go; of several such together, and rows, at most."""

_MOST_BYTES = (1 << 31) - (1 << 20)
_MOST_NUMBERS = (1 << 31) - 1
"""Bytes of a page, and numbers in the lists of a row, of which 31 bits say where they end."""

# Beside the values: in C order, compressed, a page, and what it becomes. Numbers of lists have two
# levels of two bytes and four bytes of their own.
_COPIES, _COPIES_LISTED = 5, 12


class InlineSink:
    """A Parquet file with a column of images.

    ``chunks``: extents along t, c, z, y, x, the first two of which become 1; None for lists of the
    numbers of planes. ``mode``: ``"append"`` adds rows to what is there, if there is something.
    Raises ``ShapeError`` for chunks and images that are too large.
    """

    def __init__(
        self,
        place: Place,
        written: Written,
        chunks: tuple[int, ...] | None,
        *,
        column: str,
        compression: str | None,
        chunk_compression: str | None = None,
        mode: Mode = "create",
    ) -> None:
        self.label = f"OME-Arrow {place.name}"
        self.places: tuple[str, ...] = (place.uri,)
        extents = written.shape[2:] if chunks is None else chunks[2:]
        pieces = (1, 1, *(extents if chunks is not None else (1, *extents[1:])))
        self._layout = Layout(written, chunks is not None, pieces, chunk_compression)
        _check_sizes(self._layout)
        self._place = place
        self._column = column
        self._compression = compression
        self._mode = mode
        self._file: StagedFile | None = None
        self._held: Held | None = None
        self._fetched: str | None = None
        self._growing: GrowingParquet | None = None
        nbytes = prod(written.shape) * written.dtype.itemsize
        kind = _Rows if nbytes <= _SMALL else _Pages
        self._target: _Rows | _Pages = kind(self.label, self._layout, column, compression)
        self.targets: tuple[Target | np.ndarray, ...] = (self._target,)

    def begin(self) -> None:
        """Make the file, with what is there; raises ``SinkError``."""
        mode = self._mode
        former = None
        if mode == "append":
            with named(self.label, "cannot be added to"):
                former = self._former()
            mode = "create" if former is None else "overwrite"
        if self._place.fs is None:
            self._file = StagedFile(self._place.path, mode, self.label, mark=NOTE)
        else:
            self._file = RemoteFile(self._place, mode, self.label)
        self._file.begin()
        leaf = ".pixel_bytes" if self._layout.encoded else ".pixels.list.element"
        part = "chunks" if self._layout.encoded else "planes"
        pixels = f"{self._column}.{part}.list.element{leaf}"
        encoding = Encoding(
            self._compression,
            plain=(self._column,),
            dictionary=() if self._layout.encoded else (pixels,),
            uncompressed=(pixels,) if self._layout.compression is not None else (),
        )
        schema, taken = inline_schema(self._column, self._layout), list[str]()
        more: dict[str, Any] = {"pixels": pixels}
        if former is not None:
            schema, footer, taken = _columns(former, self._column, self._layout, self.label)
            more |= {"base": footer, "start": footer_start(former)}
            with named(self.label, "cannot be copied"), open(former, "rb") as file:
                copy_bytes(file.fileno(), self._file.descriptor, more["start"])
        self._growing = GrowingParquet(schema, encoding, self._write, **more)
        ids = ids_beside(taken, self._layout.written, self.label)
        self._target.begin(self._growing, schema, ids, os.path.dirname(self._file.own))

    def _former(self) -> str | None:
        """The file that is there, on this machine."""
        fs, path = self._place.fs, self._place.path
        if fs is None:
            if not os.path.lexists(path):
                return None
            if not os.path.isfile(path):
                raise SinkError(f"{self.label}: what is there is no file that has rows")
            self._held = Held(path, [path], self.label)
            return path
        fs.invalidate_cache()
        if not fs.exists(path):
            return None
        file, self._fetched = tempfile.mkstemp(prefix="lazytensor-")
        os.close(file)
        fs.get_file(path, self._fetched)
        return self._fetched

    def _write(self, at: int, parts: Sequence[Any]) -> None:
        file = self._file
        assert file is not None
        with named(self.label, f"at byte {at}"):
            write_all(file.descriptor, parts, at)

    def finish(self) -> None:
        """Write what the file ends with, and put it into its place."""
        assert self._growing is not None
        assert self._file is not None
        self._target.finish()
        self._growing.finish()
        self._target.close()
        if self._held is not None:
            self._held.check()
        self._file.publish()
        self._release()

    def abort(self) -> None:
        """Remove the file."""
        self._target.close()
        if self._file is not None:
            self._file.abort()
        self._release()

    def _release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.release()
        fetched, self._fetched = self._fetched, None
        if fetched is not None:
            with suppress(FileNotFoundError):
                os.unlink(fetched)


def _check_sizes(layout: Layout) -> None:
    shape, dtype = layout.written.shape, layout.written.dtype
    if layout.encoded and prod(layout.pieces) * dtype.itemsize > _MOST_BYTES:
        raise ShapeError(
            f"chunks {layout.pieces} of {dtype} have more than {_MOST_BYTES} bytes, a chunk has at "
            f"most so many: give smaller chunks="
        )
    if not layout.encoded and prod(shape) > _MOST_NUMBERS:
        raise ShapeError(
            f"an image of {shape} has more than the {_MOST_NUMBERS} numbers that the lists of a "
            f"row hold: give encoding='chunks'"
        )


def _columns(
    path: str, column: str, layout: Layout, label: str
) -> tuple[pa.Schema, Any, list[str]]:
    """The columns of a file that rows are added to, its footer, and ids of its images."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    expected = inline_schema(column, layout).field(column).type
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            found = schema.field(column).type if column in schema.names else None
            if found != expected or not has_columns(file, schema):
                raise SinkError(
                    f"{label}: rows with a column {column!r} of images as "
                    f"{'bytes' if layout.encoded else 'lists'}, of ome-arrow 0.1.0, cannot be "
                    f"added to it: {'it has none' if found is None else 'its type is another one'}"
                )
            full = [field.name for field in schema if not (field.nullable or field.name == column)]
            if full:
                raise SinkError(
                    f"{label}: rows cannot be added to it, in which other columns are null: its "
                    f"column {full[0]!r} takes no nulls"
                )
            images = file.read(columns=[f"{column}.id"])[column].combine_chunks()
            taken = [one for one in images.field("id").to_pylist() if one is not None]
            missing = len(images) - len(taken)
            return schema, file.metadata, [*taken, *[""] * missing]
    except (pa.ArrowException, KeyError) as error:
        raise SinkError(f"{label}: rows cannot be added to it: {error}") from error


class _Rows:
    """Writes small images, some in a row group."""

    runs: Runs = "any"

    def __init__(self, label: str, layout: Layout, column: str, compression: str | None) -> None:
        self.label = label
        written = layout.written
        self._layout = layout
        self._column = column
        nbytes = prod(written.shape) * written.dtype.itemsize
        most = max(1, min(_MOST_ROWS, _SMALL // nbytes))
        self._rows = min(most, max(1, written.images))
        self.cells: tuple[int | None, ...] = (
            written.shape if written.rows is None else (self._rows, *written.shape)
        )
        self._held = nbytes * self._rows * (_COPIES if layout.encoded else _COPIES_LISTED)
        self._lock = threading.Lock()
        self._have: set[int] = set()
        self._add: Callable[[int, pa.Table], int] | None = None
        self._table: Callable[[int, int, Any], pa.Table] | None = None

    def begin(
        self, growing: GrowingParquet, schema: pa.Schema, ids: Sequence[str], folder: str
    ) -> None:
        """Begin to write."""
        self._have.clear()
        self._add = lambda first, table: growing.add(growing.encoded(table), order=first)
        self._table = lambda first, end, pixels: rows_table(
            self._layout, first, ids[first:end], pixels, schema, self._column
        )

    def held(self, nbytes: int) -> int:
        """A row group on its way into the file."""
        return self._held

    def write(self, box: Box, values: np.ndarray) -> None:
        """Write a row group."""
        assert self._add is not None
        assert self._table is not None
        rows = self._layout.written.rows is not None
        first, end = box[0] if rows else (0, 1)
        with self._lock:
            if first in self._have:
                return
            self._have.add(first)
        try:
            images = list(values) if rows else [values]
            encoder = codec(self._layout.compression, parquet=False)
            compressed = None
            if encoder is not None:
                compressed = lambda data: encoder.compress(data, asbytes=True)  # noqa: E731
            pixels = image_values(self._layout, images, compressed)
            self._add(first, self._table(first, end, pixels))
        except BaseException:
            self._have.discard(first)  # whoever tries again may
            raise

    def finish(self) -> None:
        """All is written already."""

    def close(self) -> None:
        """Nothing is kept."""


class _Pages:
    """Writes large images page by page, each in a row group of its own."""

    runs: Runs = "any"

    def __init__(self, label: str, layout: Layout, column: str, compression: str | None) -> None:
        self.label = label
        self._layout = layout
        written = layout.written
        self.cells: tuple[int | None, ...] = (
            layout.pieces if written.rows is None else (1, *layout.pieces)
        )
        self._column = column
        self._compression = None if layout.compression is not None else compression
        self._nbytes = prod(layout.pieces) * written.dtype.itemsize
        self._lock = threading.Lock()
        self._have = np.zeros((written.images, prod(layout.grid)), bool)
        self._rows: dict[int, RowPages] = {}
        self._open: Callable[[int], RowPages] | None = None

    def begin(
        self, growing: GrowingParquet, schema: pa.Schema, ids: Sequence[str], folder: str
    ) -> None:
        """Begin to write; ``folder``: where files without a name may be."""
        self._have[:] = False
        alone = len(ids) == 1

        def opened(row: int) -> RowPages:
            table = rows_table(self._layout, row, ids[row : row + 1], None, schema, self._column)
            return RowPages(
                growing,
                growing.encoded(table),
                row,
                count=prod(self._layout.grid),
                dictionary=0 if self._layout.encoded else 1 << 8 * self._itemsize,
                compression=self._compression,
                chunk_compression=self._layout.compression,
                alone=alone,
                folder=folder,
                kept=2 * self._nbytes,
            )

        self._open = opened

    @property
    def _itemsize(self) -> int:
        return self._layout.written.dtype.itemsize

    def held(self, nbytes: int) -> int:
        """A piece on its way into the file, and those that wait."""
        return _COPIES * self._nbytes

    def write(self, box: Box, values: np.ndarray) -> None:
        """Write a chunk or plane."""
        row = 0 if self._layout.written.rows is None else box[0][0]
        places = [lo // n for (lo, _), n in zip(box[-5:], self._layout.pieces, strict=True)]
        number = int(np.ravel_multi_index(places, self._layout.grid))
        with self._lock:
            if self._have[row, number]:
                return
            self._have[row, number] = True
            pages = self._rows.get(row)
            if pages is None:
                assert self._open is not None
                self._rows[row] = pages = self._open(row)
        dtype = little(self._layout.written.dtype)
        data = np.ascontiguousarray(values, dtype).reshape(-1)
        try:
            with named(self.label, f"the pages of image {row}"):
                complete = pages.put(
                    number, data.view(np.uint8) if self._layout.encoded else numbers(data)
                )
        except BaseException:
            self._have[row, number] = False  # whoever tries again may
            raise
        if complete:
            with named(self.label, f"the pages of image {row}"):
                pages.finish()
            with self._lock:
                del self._rows[row]

    def finish(self) -> None:
        """All is written already."""

    def close(self) -> None:
        """Remove the files that were needed."""
        rows, self._rows = self._rows, {}
        for pages in rows.values():
            pages.close()
