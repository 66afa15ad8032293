"""Images in the rows of a column: what each is, and where its pixels are, without reading a pixel.

A group is read once, all of its metadata with one call, and kept while there is room; then a row
of it costs no more than looking at some arrays. What is kept is found without a lock: two threads
may read the same group at the same time, and a fork has nothing to wait for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lazytensor.errors import FormatError, OutOfBoundsError, SourceNotFoundError
from lazytensor.io.ome_arrow.arrow_files import arrow_errors
from lazytensor.io.ome_arrow.container import Container, Path
from lazytensor.io.ome_arrow.fields import ImageColumn, PieceList
from lazytensor.io.ome_arrow.model import Image, ImageMeta, Pieces, Units
from lazytensor.io.ome_arrow.piece_lists import GroupPieces, undressed, valid
from lazytensor.io.ome_arrow.record_leaves import GroupMetas
from lazytensor.io.ome_arrow.units import units_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["NullImageError", "Records"]

_KEPT_BYTES = 64 << 20
_KEPT_GROUPS = 1024
_GROUP_BYTES = 16 << 10  # what the objects of a group take besides its buffers, about


class NullImageError(SourceNotFoundError, KeyError):
    """A row has no image: it is null. Also a ``KeyError``, as of any mapping."""

    def __str__(self) -> str:
        """The message as it is; that of a ``KeyError`` would be quoted."""
        return str(self.args[0]) if self.args else ""


class Records:
    """The images of one column of a table, by row. Immutable, thread-safe, and safe to fork.

    Its copy in another process (pickle) begins with nothing kept.
    """

    def __init__(self, container: Container, column: ImageColumn) -> None:
        """Raises ``FormatError`` for a column of which no image can be read, whatever the row."""
        if column.problem is not None:
            raise FormatError(f"{container.label}: {column.problem}")
        self.container = container
        self.column = column
        self._groups: dict[int, _Group] = {}
        self._units: dict[Path, Units] = {}
        self._used = 0

    def __reduce__(self) -> tuple[Any, ...]:
        """What makes it again: the container and the column."""
        return Records, (self.container, self.column)

    @property
    def rows(self) -> int:
        """How many rows the table has."""
        return int(self.container.starts[-1])

    @property
    def encoded(self) -> bool:
        """Whether chunks are bytes; the planes of a column can be numbers even so."""
        return self.column.encoded

    def is_null(self, row: int) -> bool:
        """Whether a row has no image: it is null, or all that should describe an image is.

        Raises ``OutOfBoundsError`` for a row that the table does not have.
        """
        group, within = self._place(row)
        return group.meta.is_null(within)

    def image(self, row: int) -> Image:
        """The image in a row, which counts from 0.

        Raises ``OutOfBoundsError`` for a row that the table does not have, ``NullImageError`` for
        one that is null, ``FormatError`` for a record that makes no sense: sizes that are none,
        pieces outside of the image, chunks in another order than ZYX.
        """
        group, within = self._place(row)
        where = self.where(row)
        if group.meta.is_null(within):
            raise NullImageError(f"{where}: there is no image, the row is null")
        meta = group.meta.of(within, where)
        pieces, units = self._pieces(group, within, meta, where)
        return Image(meta, pieces, units, where, {"row": int(row), "column": self.column.name})

    def metas(self) -> list[ImageMeta | None]:
        """What the records say of their images, in order of the rows; None for null rows.

        Looks at no piece. Raises ``FormatError`` for the first record that makes no sense.
        """
        return [meta for number in range(self._count) for meta in self._metas_of(number)]

    def where(self, row: int) -> str:
        """How errors call a row.

        ``"crops.parquet[12, 'ome_arrow']"``.
        """
        return f"{self.container.label}[{row}, {self.column.name!r}]"

    @property
    def _count(self) -> int:
        return len(self.container.starts) - 1

    def _metas_of(self, number: int) -> Iterator[ImageMeta | None]:
        first, stop = (int(row) for row in self.container.starts[number : number + 2])
        if first == stop:
            return iter(())
        kept = self._groups.get(number)
        meta = self._described(number) if kept is None else kept.meta
        return meta.all(lambda row: self.where(first + row))

    def _described(self, number: int) -> GroupMetas:
        paths, label = self.column.meta, self._label(number)
        with arrow_errors(label):
            return GroupMetas(self._read(number, paths), paths, label)

    def _label(self, number: int) -> str:
        return f"{self.container.label}: {self.column.name} in group {number}"

    def _place(self, row: int) -> tuple[_Group, int]:
        if not 0 <= row < self.rows:
            raise OutOfBoundsError(
                f"{self.container.label}: row {row} is out of bounds: there are {self.rows} rows"
            )
        # Of several groups that start at the same row, all but the last are empty.
        number = int(self.container.starts.searchsorted(row, "right")) - 1
        group = self._groups.get(number) or self._load(number)
        return group, int(row) - int(self.container.starts[number])

    def _load(self, number: int) -> _Group:
        label = self._label(number)
        with arrow_errors(label):
            group = _Group(number, self._read(number, self.column.index), self.column, label)
        if not self.container.zero_copy:
            group.nbytes += int(self.container.decoded_nbytes(number, self.column.index))
        if group.nbytes <= _KEPT_BYTES:
            if self._used + group.nbytes > _KEPT_BYTES or len(self._groups) >= _KEPT_GROUPS:
                for old in list(self._groups)[: len(self._groups) // 2 + 1]:
                    self._groups.pop(old, None)
                self._used = sum(kept.nbytes for kept in list(self._groups.values()))
            self._groups[number] = group
            self._used += group.nbytes
        return group

    def _read(self, number: int, paths: tuple[Path, ...]) -> pa.StructArray:
        batch = self.container.read(number, paths)
        array = batch.column(batch.schema.get_field_index(self.column.name))
        expected = int(np.diff(self.container.starts[number : number + 2])[0])
        if len(array) != expected:
            raise FormatError(
                f"{self._label(number)}: expected {expected} rows, found {len(array)}"
            )
        return undressed(array)

    def _pieces(
        self, group: _Group, within: int, meta: ImageMeta, where: str
    ) -> tuple[Pieces, Units]:
        lists = [group.lists[spec.field] for spec in self.column.lists]
        found = next((pieces for pieces in lists if pieces.count(within)), None)
        if found is None:
            if not lists:
                raise FormatError(
                    f"{where}: expected planes or chunks, found a column in which all are null"
                )
            found = lists[-1]
        pieces = found.of(within, group.number, meta.shape, meta.dtype, where)
        return pieces, self._units_of(found.spec, found.encoded(within))

    def _units_of(self, spec: PieceList, encoded: bool) -> Units:
        name = spec.encoded if encoded else spec.numbers
        assert name is not None
        path = spec.path(name)
        units = self._units.get(path)
        if units is None:
            units = units_of(self.container, path[:1], path, encoded=encoded)
            self._units[path] = units
        return units


class _Group:
    """Metadata and pieces of the rows of one group."""

    def __init__(self, number: int, array: pa.StructArray, column: ImageColumn, label: str) -> None:
        self.number = number
        self.meta = GroupMetas(array, column.meta, label)
        rows = valid(array)
        self.lists = {
            spec.field: GroupPieces(array.field(spec.field), rows, spec, label)
            for spec in column.lists
        }
        self.nbytes = _GROUP_BYTES + sum(pieces.nbytes for pieces in self.lists.values())
