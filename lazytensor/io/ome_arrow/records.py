"""Images in the rows of a column: what each is, and where its pixels are, without reading a pixel.

A group is read once, all of its metadata with one call, and kept while there is room; then a row
of it costs no more than looking at some arrays. What is kept is found without a lock: two threads
may read the same group at the same time, and a fork has nothing to wait for.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lazytensor.errors import FormatError, OutOfBoundsError
from lazytensor.io.ome_arrow.arrow_files import arrow_errors
from lazytensor.io.ome_arrow.container import Container, Path
from lazytensor.io.ome_arrow.fields import ImageColumn
from lazytensor.io.ome_arrow.model import Image, ImageMeta, NoImageError, Pieces, Units
from lazytensor.io.ome_arrow.nested import undressed, valid
from lazytensor.io.ome_arrow.piece_lists import GroupPieces
from lazytensor.io.ome_arrow.record_leaves import GroupMetas
from lazytensor.io.ome_arrow.units import units_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Records"]

_KEPT_BYTES = 64 << 20
_KEPT_GROUPS = 1024
_KEPT_IMAGES = 64
_KEPT_PIECES = 4096
_GROUP_BYTES = 16 << 10  # what the objects of a group take besides its buffers, about


_Seen = tuple[ImageMeta, Pieces, Path, bool]
_seen: dict[Hashable, _Seen] = {}


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

        Raises ``OutOfBoundsError`` for a row that the table does not have, ``NoImageError`` for
        one that is null, ``FormatError`` for a record that makes no sense: sizes that are none,
        pieces outside of the image, chunks in another order than ZYX.
        """
        where = self.where(row)
        meta, pieces, path, encoded = self._seen(row, where) or self._look(row, where)
        place = {"row": int(row), "column": self.column.name}
        return Image(meta, pieces, self._units_of(path, encoded), where, place)

    def _look(self, row: int, where: str) -> _Seen:
        group, within = self._place(row)
        if group.meta.is_null(within):
            raise NoImageError(f"{where}: there is no image, the row is null")
        meta = group.meta.of(within, where)
        found = meta, *self._pieces(group, within, meta, where)
        if self.rows == 1 and len(found[1]) <= _KEPT_PIECES and self._lasts:
            for old in list(_seen)[: max(0, len(_seen) + 1 - _KEPT_IMAGES)]:
                _seen.pop(old, None)
            _seen[self._key(where)] = found
        return found

    def _seen(self, row: int, where: str) -> _Seen | None:
        """What is known of the image that is all of a file; nothing of it is a view."""
        return _seen.get(self._key(where)) if row == 0 and self.rows == 1 and self._lasts else None

    def _key(self, where: str) -> Hashable:
        return self.container.identity, where

    @property
    def _lasts(self) -> bool:
        """Whether the table is the same wherever its identity is."""
        return bool(getattr(self.container, "lasts", False))

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
    ) -> tuple[Pieces, Path, bool]:
        lists = [group.lists[spec.field] for spec in self.column.lists]
        found = next((pieces for pieces in lists if pieces.count(within)), None)
        if found is None:
            if not lists:
                raise FormatError(
                    f"{where}: expected planes or chunks, found a column in which all are null"
                )
            found = lists[-1]
        pieces = found.of(within, group.number, meta.shape, meta.dtype, where)
        encoded = found.encoded(within)
        name = found.spec.encoded if encoded else found.spec.numbers
        assert name is not None
        return pieces, found.spec.path(name), encoded

    def _units_of(self, path: Path, encoded: bool) -> Units:
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
