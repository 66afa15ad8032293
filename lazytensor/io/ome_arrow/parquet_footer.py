"""Footers of Parquet files, as far as row groups are moved from one file to another.

pyarrow writes a file from its beginning to its end, in one thread. Row groups that several threads
encode, each as a small file, are put together here: their bytes are copied, and what their footers
say of them is added up, with the places of pages moved. Footers are structs of Thrift's compact
protocol (``parquet.thrift``); of their fields, which are kept by number, only those are understood
that say where something lies. Nothing here is for files of unknown origin: those are pyarrow's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = [
    "Fields", "Value", "file_end", "footer", "moved", "parsed", "row_group_of", "schema_of",
    "thrift", "with_column",
]  # fmt: skip

MAGIC = b"PAR1"
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)
I32, I64, BINARY, LIST, STRUCT = 5, 6, _BINARY, _LIST, _STRUCT
"""Types of values."""

# Fields of a RowGroup, a ColumnChunk and ColumnMetaData that are offsets in the file.
_COLUMNS, _GROUP_OFFSET, _ORDINAL = 1, 5, 7
_META = 3
_CHUNK_OFFSETS = (2, 4, 6)
_META_OFFSETS = (9, 10, 11, 14)
_PATH, _UNCOMPRESSED, _COMPRESSED = 3, 6, 7
_TOTAL, _TOTAL_COMPRESSED = 2, 6
# Fields of FileMetaData.
_ROWS, _GROUPS, _PAIRS = 3, 4, 5


class Value(NamedTuple):
    """A value: its type of Thrift, and integers, bytes, ``Fields``, or the type of the items of a
    list and the list of them."""

    type: int
    value: Any


Fields = dict[int, Value]
"""A struct: its values by the numbers of the fields."""


def parsed(data: bytes | memoryview) -> Fields:
    """The struct that some bytes begin with.

    >>> fields = {1: Value(I32, -7), 20: Value(BINARY, b"ab")}
    >>> parsed(thrift(fields)) == fields
    True
    """
    return _Reader(bytes(data)).struct()


class _Reader:
    """Reads values of the compact protocol, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def varint(self) -> int:
        data, at, value, shift = self._data, self._at, 0, 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                self._at = at
                return value
            shift += 7

    def take(self, nbytes: int) -> bytes:
        self._at += nbytes
        return self._data[self._at - nbytes : self._at]

    def struct(self) -> Fields:
        found: Fields = {}
        number = 0
        while head := self.take(1)[0]:
            number = number + (head >> 4) if head >> 4 else _unzigzag(self.varint())
            found[number] = Value(head & 15, self.value(head & 15))
        return found

    def value(self, type_: int) -> Any:
        if type_ in (_TRUE, _FALSE):
            return None
        if type_ in _INTEGERS:
            return _unzigzag(self.varint())
        if type_ == _BINARY:
            return self.take(self.varint())
        if type_ == _STRUCT:
            return self.struct()
        if type_ == _BYTE:
            return self.take(1)
        if type_ == _DOUBLE:
            return self.take(8)
        if type_ not in (_LIST, _SET):
            raise ValueError(f"type {type_} in a footer, which has none of it")
        head = self.take(1)[0]
        length = self.varint() if head >> 4 == 15 else head >> 4
        items = head & 15
        # Truth values in lists are a byte each.
        kind = _BYTE if items in (_TRUE, _FALSE) else items
        return items, [self.value(kind) for _ in range(length)]


def thrift(fields: Mapping[int, Value]) -> bytes:
    """The bytes of a struct."""
    out = bytearray()
    _put_struct(out, fields)
    return bytes(out)


def _put_struct(out: bytearray, fields: Mapping[int, Value]) -> None:
    last = 0
    for number in sorted(fields):
        type_, value = fields[number]
        if number - last < 16:
            out.append((number - last) << 4 | type_)
        else:
            out.append(type_)
            _put_varint(out, _zigzag(number))
        last = number
        _put(out, type_, value)
    out.append(0)


def _put(out: bytearray, type_: int, value: Any) -> None:
    if type_ in (_TRUE, _FALSE):
        return
    if type_ in _INTEGERS:
        _put_varint(out, _zigzag(value))
    elif type_ == _BINARY:
        _put_varint(out, len(value))
        out += value
    elif type_ == _STRUCT:
        _put_struct(out, value)
    elif type_ in (_BYTE, _DOUBLE):
        out += value
    else:
        items, values = value
        _put_list_head(out, items, len(values))
        kind = _BYTE if items in (_TRUE, _FALSE) else items
        for item in values:
            _put(out, kind, item)


def _put_list_head(out: bytearray, items: int, length: int) -> None:
    out.append(min(length, 15) << 4 | items)
    if length >= 15:
        _put_varint(out, length)


def _put_varint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _zigzag(value: int) -> int:
    return (value << 1) ^ (value >> 63)


def _unzigzag(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def _shift(fields: Fields, numbers: Sequence[int], by: int) -> None:
    for number in numbers:
        if number in fields:
            type_, value = fields[number]
            fields[number] = Value(type_, value + by)


def footer_of(file: memoryview) -> memoryview:
    """The footer of a file (``thrift``)."""
    length = int.from_bytes(file[-8:-4], "little")
    return file[-8 - length : -8]


def schema_of(file: memoryview) -> bytes:
    """What a footer begins with: version and schema."""
    fields = parsed(footer_of(file))
    return thrift({n: value for n, value in fields.items() if n < _ROWS})[:-1]


def row_group_of(file: memoryview, schema: bytes) -> tuple[memoryview, Fields]:
    """Of a file of one row group: the bytes of its pages, and what its footer says of them, with
    places counted from the first of these bytes. ``schema``: what its footer begins with."""
    found = footer_of(file)
    if bytes(found[: len(schema)]) != schema:
        raise ValueError("the columns of a row group are not those of the file")
    reader = _Reader(bytes(found[len(schema) :]))
    # Rows, and row groups, of which there is one.
    for _ in (_ROWS, _GROUPS):
        head = reader.take(1)[0]
        value = reader.value(head & 15)
    (group,) = value[1]
    pages = file[len(MAGIC) : len(file) - 8 - len(found)]
    return pages, moved(group, -len(MAGIC))


def moved(group: Fields, by: int) -> Fields:
    """What is said of a row group whose pages are moved by so many bytes; it has no number yet."""
    new = dict(group)
    new.pop(_ORDINAL, None)
    _shift(new, (_GROUP_OFFSET,), by)
    items, columns = new[_COLUMNS].value
    chunks = []
    for column in columns:
        chunk = dict(column)
        # Writers leave out, as 0, the place of what is said of a column elsewhere, too.
        _shift(chunk, [n for n in _CHUNK_OFFSETS if n in chunk and chunk[n].value], by)
        meta = dict(chunk[_META].value)
        _shift(meta, _META_OFFSETS, by)
        chunk[_META] = Value(STRUCT, meta)
        chunks.append(chunk)
    new[_COLUMNS] = Value(LIST, (items, chunks))
    return new


def with_column(group: Fields, path: str, made: Callable[[Fields], Fields]) -> Fields:
    """What is said of a row group, one column of which is another one.

    ``made``: gives a ColumnChunk for the ColumnMetaData of the former one.
    """
    items, columns = group[_COLUMNS].value
    chunks = []
    for column in columns:
        names = b".".join(column[_META].value[_PATH].value[1]).decode()
        chunks.append(made(column[_META].value) if names == path else column)
    new = {**group, _COLUMNS: Value(LIST, (items, chunks))}
    for number, part in ((_TOTAL, _UNCOMPRESSED), (_TOTAL_COMPRESSED, _COMPRESSED)):
        total = sum(chunk[_META].value[part].value for chunk in chunks)
        new[number] = Value(I64, total)
    return new


def footer(like: memoryview, groups: Sequence[bytes], rows: int) -> bytes:
    """The footer of a file of some row groups (``thrift``), with the schema and the metadata of a
    file that has none."""
    fields = parsed(footer_of(like))
    fields[_ROWS] = Value(I64, rows)
    before = {n: value for n, value in fields.items() if n < _GROUPS}
    out = bytearray(thrift(before)[:-1])
    out.append((_GROUPS - max(before)) << 4 | LIST)
    _put_list_head(out, STRUCT, len(groups))
    out += b"".join(groups)
    after = bytearray()
    _put_struct(after, {n - _GROUPS: value for n, value in fields.items() if n > _GROUPS})
    return bytes(out + after)


def file_end(data: bytes) -> bytes:
    """What a file ends with, its footer included."""
    return data + struct.pack("<I", len(data)) + MAGIC
