"""What the records of a group say of images as a whole: a column per field, a record per row.

``as_py`` of a record would make Python objects of all its pixels where those are in memory anyway,
and of its pieces. So fields are taken one by one; in a table of thousands of rows, all of a field
at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.ome_arrow.arrow_files import arrow_errors
from lazytensor.io.ome_arrow.container import Path
from lazytensor.io.ome_arrow.fields import category, plain
from lazytensor.io.ome_arrow.metadata import meta_of, moment_text, shortest
from lazytensor.io.ome_arrow.model import ImageMeta
from lazytensor.io.ome_arrow.nested import undressed, valid
from lazytensor.io.ome_arrow.piece_lists import lists_of
from lazytensor.io.zarr.document import describe

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["GroupMetas"]

_CHANNELS = "channels"
_ORDER = "chunk_order"
_CHANNEL_KINDS = ("integer", "float", "text", "bool")
_Convert = Callable[[Any], Any] | None


class GroupMetas:
    """What is known of the images of a group, by the number of the row in it."""

    def __init__(self, array: pa.StructArray, paths: tuple[Path, ...], label: str) -> None:
        """``array``: the column; ``paths``: fields of records; ``label``: names the group."""
        self._rows = valid(array)
        self._length = len(array)
        top: dict[str, _Leaf] = {}
        nested: dict[str, dict[str, _Leaf | _Channels]] = {"pixels_meta": {}, "chunk_grid": {}}
        structs = {
            name: undressed(array.field(name)) for name in {p[1] for p in paths if len(p) > 2}
        }
        parents = {name: valid(struct) for name, struct in structs.items()}
        for _, name, *rest in paths:
            if not rest:
                top[name] = _leaf(array.field(name))
                continue
            child = structs[name].field(rest[0])
            made = _Channels(child, label) if rest[0] == _CHANNELS else _leaf(child)
            nested[name][rest[0]] = made
        self._top, self._parents = top, parents
        self._pixels, self._order = nested["pixels_meta"], nested["chunk_grid"].get(_ORDER)
        self._empty = self._described_by_nothing()

    def is_null(self, row: int) -> bool:
        """Whether a row says nothing at all."""
        if self._rows is not None and not self._rows[row]:
            return True
        return self._empty is not None and bool(self._empty[row])

    def of(self, row: int, where: str) -> ImageMeta:
        """What the record in a row, which is not null, says. Raises ``FormatError``."""
        with arrow_errors(where):
            record = {name: leaf.at(row) for name, leaf in self._top.items()}
            parent = self._parents["pixels_meta"]
            if parent is None or parent[row]:
                record["pixels_meta"] = {name: leaf.at(row) for name, leaf in self._pixels.items()}
            if self._order is not None and self._has_grid(row):
                _check_order(self._order.at(row), where)
            return meta_of(record, where)

    def all(self, where: Callable[[int], str]) -> Iterator[ImageMeta | None]:
        """What all records say, None for those that are null. Raises ``FormatError``."""
        with arrow_errors(where(0)):
            tops = {name: leaf.all() for name, leaf in self._top.items()}
            pixels = {name: leaf.all() for name, leaf in self._pixels.items()}
            orders = None if self._order is None else self._order.all()
        top_names, pixel_names = tuple(tops), tuple(pixels)
        top_rows = list(zip(*tops.values(), strict=True)) if tops else [()] * self._length
        parent = self._parents["pixels_meta"]
        for row, values in enumerate(zip(*pixels.values(), strict=True)):
            if self.is_null(row):
                yield None
                continue
            record: dict[str, Any] = dict(zip(top_names, top_rows[row], strict=True))
            if parent is None or parent[row]:
                record["pixels_meta"] = dict(zip(pixel_names, values, strict=True))
            if orders is not None and self._has_grid(row):
                _check_order(orders[row], where(row))
            yield meta_of(record, where(row))

    def _has_grid(self, row: int) -> bool:
        parent = self._parents["chunk_grid"]
        return parent is None or bool(parent[row])

    def _described_by_nothing(self) -> np.ndarray | None:
        """Which records are nothing but nulls: what a null row becomes in a data frame of dicts."""
        parent = self._parents["pixels_meta"]
        empty = None if parent is None else ~parent
        sizes = [leaf.there() for name, leaf in self._pixels.items() if name.startswith("size_")]
        if all(there is not None for there in sizes):
            without = ~np.logical_or.reduce([there for there in sizes if there is not None])
            empty = without if empty is None else empty | without
        if empty is None or not empty.any():
            return None
        for leaf in self._top.values():
            there = leaf.there()
            if there is None:
                return None
            empty &= ~there
        return empty


class _Leaf:
    """One field of all records, with values as ``meta_of`` takes them."""

    def __init__(self, array: pa.Array) -> None:
        self._array = undressed(array)
        self._there = valid(self._array)
        self._convert: _Convert = None

    def there(self) -> np.ndarray | None:
        """Where there is a value, None: everywhere."""
        return self._there

    def at(self, row: int) -> Any:
        """The value in a row, None where it is null."""
        return self._array[row].as_py()

    def all(self) -> list[Any]:
        """The values of all rows."""
        values: list[Any] = self._array.to_pylist()
        return values


class _Numbers(_Leaf):
    """Numbers, and what is stored as one: times."""

    def __init__(self, array: pa.Array) -> None:
        import pyarrow as pa

        super().__init__(array)
        kind, stored = self._array.type, self._array
        if category(kind) == "time":
            self._convert = _moment(kind)
            stored = stored.view(pa.int32() if pa.types.is_date32(kind) else pa.int64())
        elif category(kind) == "float":
            self._convert = _shortening(kind)
        if self._there is not None:
            stored = stored.fill_null(0)
        self._values = np.asarray(stored.to_numpy(zero_copy_only=False))

    def at(self, row: int) -> Any:
        if self._there is not None and not self._there[row]:
            return None
        value = self._values.item(row)
        return value if self._convert is None else self._convert(value)

    def all(self) -> list[Any]:
        values: list[Any] = self._values.tolist()
        convert, there = self._convert, self._there
        if convert is not None:
            values = [convert(value) for value in values]
        if there is not None:
            values = [
                value if is_there else None for value, is_there in zip(values, there, strict=True)
            ]
        return values


_MADE = {"integer": _Numbers, "float": _Numbers, "time": _Numbers}


def _leaf(array: pa.Array) -> _Leaf:
    return _MADE.get(category(array.type), _Leaf)(array)


class _Channels:
    """Lists of channels, which are the same in most rows: tuples of dicts, each made once."""

    def __init__(self, array: pa.Array, label: str) -> None:
        self._starts, self._counts, items = lists_of(array, f"{label}: {_CHANNELS}")
        self._there = valid(undressed(array))
        self._leaves: list[pa.Array] = []
        self._names: list[str] = []
        self._converts: list[_Convert] = []
        self._made: dict[Any, tuple[dict[str, Any], ...]] = {}
        self._items = valid(items)
        if category(items.type) != "struct":
            return
        for number, field in enumerate(items.type):
            kind = category(field.type)
            if kind in _CHANNEL_KINDS:
                self._leaves.append(undressed(items.field(number)))
                self._names.append(field.name)
                self._converts.append(_shortening(field.type) if kind == "float" else None)

    def there(self) -> np.ndarray | None:
        """Where there is a list, None: everywhere."""
        return self._there

    def at(self, row: int) -> Any:
        """The channels of a row; none of a null one."""
        start = int(self._starts[row])
        return self._prepared(start, start + int(self._counts[row]), self._leaves)

    def all(self) -> list[Any]:
        """The channels of all rows."""
        if not self._counts.any():
            return [()] * len(self._counts)
        used = self._counts > 0
        low = int(self._starts[used].min())
        high = int((self._starts + self._counts)[used].max())
        leaves = [leaf[low:high].to_pylist() for leaf in self._leaves]
        return [
            self._prepared(start, start + count, leaves, low)
            for start, count in zip(self._starts.tolist(), self._counts.tolist(), strict=True)
        ]

    def _prepared(
        self, start: int, stop: int, leaves: list[Any], low: int = 0
    ) -> tuple[dict[str, Any], ...]:
        if start == stop:
            return ()
        part = slice(start - low, stop - low)
        columns = [leaf[part] for leaf in leaves]
        rows = [column if isinstance(column, list) else column.to_pylist() for column in columns]
        there = None if self._items is None else self._items[start:stop].tobytes()
        key = (stop - start, there, *map(tuple, rows))
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = tuple(self._channels(rows, start, stop))
        return made

    def _channels(self, rows: list[list[Any]], start: int, stop: int) -> Iterator[dict[str, Any]]:
        for number in range(stop - start):
            if self._items is not None and not self._items[start + number]:
                yield {}
                continue
            yield {
                name: value if value is None or convert is None else convert(value)
                for name, convert, value in zip(
                    self._names, self._converts, (row[number] for row in rows), strict=True
                )
            }


def _check_order(order: Any, where: str) -> None:
    if order is not None and order.strip().upper() != "ZYX":
        raise FormatError(
            f"{where}: chunk_grid.chunk_order: expected 'ZYX', found {describe(order)}"
        )


def _shortening(kind: pa.DataType) -> _Convert:
    """What makes the shortest decimal number of a float that was one of fewer bits."""
    import pyarrow as pa

    kind = plain(kind)
    if pa.types.is_float32(kind):
        return _shortest_single
    return _shortest_half if pa.types.is_float16(kind) else None


@lru_cache(4096)
def _shortest_single(value: float) -> float:
    return shortest(np.float32(value))


@lru_cache(4096)
def _shortest_half(value: float) -> float:
    return shortest(np.float16(value))


def _moment(kind: pa.DataType) -> Callable[[int], str | None]:
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return partial(_iso, unit=kind.unit, zone="" if kind.tz is None else "+00:00")
    return partial(_iso, unit="D" if pa.types.is_date32(kind) else "ms", zone="")


def _iso(value: int, unit: str, zone: str) -> str | None:
    text = moment_text(np.array(value, np.int64).view(f"M8[{unit}]")[()])
    return text if text is None else text + zone
