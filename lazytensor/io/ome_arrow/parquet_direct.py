"""Pages of Parquet that hold one byte string, decoded without pyarrow.

A row of a table of chunks, and what ``sink_ome_arrow`` writes of a chunk, is a page: its bytes are
the pixels, compressed as one. pyarrow decompresses that, copies it, in memory that is fresh each
time, and builds arrays and readers around it: a half more than decompressing takes, and it cannot
read one page of a row without all others. Here it is decompressed into memory that the thread has,
one page at a time: a plane of a file of one row costs 1 to 10 ms instead of 130.

Only what is as simple as that is done here, and all of it is checked: who asks gets None for
anything unusual, be it legal or damaged, and asks pyarrow, which knows what it means, or what is
wrong with it. Nothing is allocated that headers say alone.

Rules: ``parquet.thrift`` and ``Encodings.md`` of the format; ``TCompactProtocol``.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from lazytensor.errors import ChunkDecodeError
from lazytensor.io.ome_arrow.values import codec_of
from lazytensor.io.scratch import STAGE_B, STAGE_ROW, Scratch
from lazytensor.io.store import Buffer
from lazytensor.plan.clock import decoding

__all__ = ["CODECS", "Header", "Leaf", "Strings", "header_of", "payload_of", "strings_of"]

CODECS = {"UNCOMPRESSED": None, "ZSTD": "zstd", "SNAPPY": "snappy"}
"""Compressions, by pyarrow's names, that are decoded here."""

# Numbers of parquet.thrift and of Thrift's compact protocol.
_DATA, _DICTIONARY, _DATA_2 = 0, 2, 3
_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY = 0, 2, 3, 8
_TRUE, _FALSE, _I32, _I64, _BINARY, _STRUCT = 1, 2, 5, 6, 8, 12
_ABOUT = {_DATA: 5, _DICTIONARY: 7, _DATA_2: 8}
_IS_COMPRESSED = 7
_DEEP = 3
# Fields that headers of data pages must have.
_REQUIRED = {_DATA: {1, 2, 3, 4}, _DATA_2: {1, 2, 3, 4, 5, 6}}
_NONE = {-1}
_LONGEST = {_I32: 5, _I64: 10}
# One value: a run of one, or eight packed of which it is the first.
_RUN, _PACKED = 2, 3
_LONG_INDEX = 1 << 10
_MOST_PER_BYTE = 15  # no decoder yields more than 2 ** 15 bytes for one


class _UnusualError(Exception):
    """Something that is not done here."""


class Leaf(NamedTuple):
    """A column. ``codec``: as in ``values``; ``repeated``, ``defined``: the highest levels."""

    codec: str | None
    repeated: int
    defined: int


class Header(NamedTuple):
    """A page. ``length``: of the header itself; ``stored`` and ``nbytes``: of what follows, as it
    is in the file and decompressed; ``about``: fields of the header of its kind, by number."""

    length: int
    kind: int
    stored: int
    nbytes: int
    crc: int | None
    values: int
    about: dict[int, int]


def header_of(data: Buffer) -> Header | None:
    """The header that some bytes begin with; None if it is unusual, or goes on behind them.

    >>> head = header_of(bytes.fromhex("1500151815202c15021500150615060000"))
    >>> head.kind, head.length, head.nbytes, head.stored, head.values
    (0, 17, 12, 16, 1)
    """
    try:
        found, length = _struct(data, 0, 0)
    except (_UnusualError, IndexError):
        return None
    fields: list[Any] = [found.get(number) for number in (1, 2, 3, 4)]
    kind, nbytes, stored, crc = fields
    about = found.get(_ABOUT.get(kind, 0))
    if not isinstance(about, dict):
        return None
    values: Any = about.get(1)
    numbers = (nbytes, stored, values)
    if any(type(number) is not int or number < 0 for number in numbers):
        return None
    if crc is not None and type(crc) is not int:
        return None
    # A truth value is no number, though Python thinks so.
    kinds = {_IS_COMPRESSED: bool}
    plain = {n: value for n, value in about.items() if type(value) is kinds.get(n, int)}
    return Header(length, kind, stored, nbytes, crc, values, plain)


def _varint(data: Buffer, at: int, most: int) -> tuple[int, int]:
    value = 0
    for number in range(most):
        byte = data[at + number]
        value |= (byte & 127) << (7 * number)
        if byte < 128:
            return value, at + number + 1
    raise _UnusualError


def _struct(data: Buffer, at: int, depth: int) -> tuple[dict[int, Any], int]:
    """Fields by number, and where the next thing begins."""
    if depth > _DEEP:
        raise _UnusualError
    found: dict[int, Any] = {}
    number = 0
    while head := data[at]:
        at += 1
        kind, step = head & 15, head >> 4
        number += step
        if not step or number in found:  # numbers in full, which writers have no use for here
            raise _UnusualError
        if kind in _LONGEST:
            raw = data[at]
            at += 1
            if raw > 127:
                raw, at = _varint(data, at - 1, _LONGEST[kind])
                if raw >> (32 if kind == _I32 else 64):
                    raise _UnusualError
            # None of those of 64 bits is looked at.
            found[number] = (raw >> 1) ^ -(raw & 1) if kind == _I32 else None
        elif kind in (_TRUE, _FALSE):
            found[number] = kind == _TRUE
        elif kind == _BINARY:
            length, at = _varint(data, at, _LONGEST[_I32])
            at += length
            found[number] = None
        elif kind == _STRUCT:
            found[number], at = _struct(data, at, depth + 1)
        else:
            raise _UnusualError
    return found, at + 1


def payload_of(
    data: Buffer, leaf: Leaf, most: int, first: bool, scratch: Scratch
) -> memoryview | None:
    """The one byte string in some pages, which are all of ``data``; None if that is unusual.

    ``most``: bytes that the pages have at most when they are decompressed. ``first``: of its row.
    It may be a view of ``data``, or of ``scratch``.
    """
    view = memoryview(data)
    try:
        head = _header(view)
        if head.nbytes > most:
            return None
        if head.values != 1:
            return None
        if head.kind != _DICTIONARY:
            return _plain(_values(view, head, leaf, first, scratch, STAGE_B))
        known = _plain(_dictionary(view, head, leaf, scratch))
        rest = view[head.length + head.stored :]
        if len(rest) > _LONG_INDEX or not _names_first(bytes(rest), leaf, first):
            return None
        return known
    except (_UnusualError, ChunkDecodeError, IndexError):
        return None


@lru_cache(maxsize=64)
def _names_first(page: bytes, leaf: Leaf, first: bool) -> bool:
    """Whether a data page says: the first value of the dictionary. In a file all of them are the
    same few bytes."""
    view = memoryview(page)
    try:
        head = _header(view)
        return head.values == 1 and _is_first(_values(view, head, leaf, first, Scratch()))
    except (_UnusualError, ChunkDecodeError, IndexError):
        return False


def strings_of(data: Buffer, leaf: Leaf, most: int, values: int) -> list[Strings] | None:
    """All byte strings in the pages that are all of ``data``, page by page, in memory of their own.

    None if something is unusual, or one is null. ``most``: as above; ``values``: how many there
    are, each in a row, or (``leaf.repeated``) all of them in the list of a row.
    """
    view, known = memoryview(data), None
    found: list[Strings] = []
    fresh = _Fresh()
    try:
        while view:
            head = _header(view)
            if head.nbytes > most:
                return None
            end = head.length + head.stored
            if head.kind == _DICTIONARY:
                if known is not None or found:
                    return None
                known = _apart(_dictionary(view, head, leaf, fresh), head, leaf, head.values)
            else:
                found.append(_strings(view[:end], head, leaf, not found, known, fresh))
            view, values = view[end:], values - (head.values if head.kind != _DICTIONARY else 0)
        return found if not values else None
    except (_UnusualError, ChunkDecodeError, IndexError):
        return None


class Strings(NamedTuple):
    """Byte strings ``data[starts[i]:stops[i]]``."""

    data: np.ndarray
    starts: np.ndarray
    stops: np.ndarray


class _Fresh(Scratch):
    """Memory that is not used again."""

    def take(self, slot: int, nbytes: int) -> memoryview:
        return np.empty(nbytes, np.uint8).data


def _strings(
    page: memoryview, head: Header, leaf: Leaf, first: bool, known: Strings | None, fresh: Scratch
) -> Strings:
    """The byte strings of a data page."""
    encoding = head.about.get(2 if head.kind == _DATA else 4)
    if encoding == _PLAIN:
        found = _values(page, head, leaf, first, fresh, STAGE_B)
        return _apart(found, head, leaf, head.values)
    index = _values(page, head, leaf, first, fresh)
    if known is None or not 0 < index[0] <= 32:
        raise _UnusualError
    numbers = _numbers(index[1:], index[0], head.values)
    if numbers.max(initial=0) >= len(known.starts):
        raise _UnusualError
    return Strings(known.data, known.starts[numbers], known.stops[numbers])


def _apart(data: memoryview, head: Header, leaf: Leaf, many: int) -> Strings:
    """Byte strings, each with its length in front."""
    if 4 * many > len(data):
        raise _UnusualError
    starts, at = [], 0
    for _ in range(many):
        starts.append(at + 4)
        at += 4 + int.from_bytes(data[at : at + 4], "little")
    if at != len(data) or (starts and starts[-1] > at):
        raise _UnusualError
    own = np.frombuffer(data, np.uint8)
    if leaf.codec is None or not head.about.get(_IS_COMPRESSED, True):
        own = own.copy()
    begins = np.array([*starts, at + 4], np.int64)
    return Strings(own, begins[:-1], begins[1:] - 4)


def _numbers(data: memoryview, width: int, many: int) -> np.ndarray:
    """Numbers of so many bits, as runs and packed in groups of eight, of which none is left."""
    found, left, at = [np.zeros(0, np.int64)], many, 0
    while left:
        head, at = _varint(data, at, _LONGEST[_I32])
        nbytes = (head >> 1) * width if head & 1 else -(-width // 8)
        part = np.frombuffer(data[at : at + nbytes], np.uint8)
        at += nbytes
        if len(part) != nbytes or head < 2:
            raise _UnusualError
        if head & 1:
            bits = np.unpackbits(part, bitorder="little").reshape(-1, width).astype(np.int64)
            some = (bits << np.arange(width)).sum(axis=1)[:left]
        elif head >> 1 <= left:
            some = np.full(head >> 1, int.from_bytes(part.tobytes(), "little"), np.int64)
        else:
            raise _UnusualError
        found.append(some)
        left -= len(some)
    if at != len(data):
        raise _UnusualError
    return np.concatenate(found)


def _dictionary(data: memoryview, head: Header, leaf: Leaf, scratch: Scratch) -> memoryview:
    """What is in the dictionary page that some data begins with."""
    if head.about.get(2) not in (_PLAIN, _PLAIN_DICTIONARY):
        raise _UnusualError
    body = _body(data[: head.length + head.stored], head)
    return _unpacked(body, head.nbytes, leaf.codec, scratch, STAGE_B)


def _header(data: memoryview) -> Header:
    found = header_of(data)
    if found is None:
        raise _UnusualError
    return found


def _body(data: memoryview, head: Header) -> memoryview:
    """What follows a header, which is all of the data."""
    body = data[head.length :]
    if len(body) != head.stored:
        raise _UnusualError
    if head.crc is not None and zlib.crc32(body) != head.crc & 0xFFFFFFFF:
        raise _UnusualError
    return body


def _unpacked(
    body: memoryview, nbytes: int, codec: str | None, scratch: Scratch, slot: int
) -> memoryview:
    if codec is None:
        if len(body) != nbytes:
            raise _UnusualError
        return body
    if nbytes > len(body) << _MOST_PER_BYTE:
        raise _UnusualError
    # Without a place of ours, small ones would be decoded into fresh memory.
    target = scratch.take(slot, nbytes)
    with decoding():
        codec_of(codec).decode(body, nbytes, target, scratch, slot)
    return target


def _values(
    data: memoryview,
    head: Header,
    leaf: Leaf,
    first: bool,
    scratch: Scratch,
    slot: int | None = None,
) -> memoryview:
    """What a data page has behind the levels, of values none of which is null; all of the data.

    ``slot``: for plain values; without, it has an index into a dictionary.
    """
    if not _REQUIRED.get(head.kind, _NONE) <= head.about.keys():
        raise _UnusualError
    body, about = _body(data, head), head.about
    encoding = about.get(2 if head.kind == _DATA else 4)
    if encoding not in ((_PLAIN_DICTIONARY, _RLE_DICTIONARY) if slot is None else (_PLAIN,)):
        raise _UnusualError
    levels = (leaf.repeated, 0 if first else leaf.repeated), (leaf.defined, leaf.defined)
    many = head.values
    room = STAGE_ROW if slot is None else slot
    if head.kind == _DATA:
        found = _unpacked(body, head.nbytes, leaf.codec, scratch, room)
        for (highest, expected), coded in zip(levels, (about.get(4), about.get(3)), strict=True):
            if highest:
                end = 4 + int.from_bytes(found[:4], "little")
                if coded != _RLE or end > len(found):
                    raise _UnusualError
                _check_levels(found[4:end], highest, expected, many)
                found = found[end:]
        return found
    lengths = about[6], about[5]
    at = sum(lengths)
    if about[2] != 0 or about[3] < 0 or min(lengths) < 0 or at > min(head.stored, head.nbytes):
        raise _UnusualError
    _check_levels(body[: lengths[0]], *levels[0], many)
    _check_levels(body[lengths[0] : at], *levels[1], many)
    return _unpacked(
        body[at:],
        head.nbytes - at,
        leaf.codec if about.get(_IS_COMPRESSED, True) else None,
        scratch,
        room,
    )


def _check_levels(data: memoryview, highest: int, lead: int, many: int) -> None:
    """Whether levels are the highest, but the first, which is another one."""
    if many == 1:
        _check_level(data, highest, lead)
        return
    width = highest.bit_length()
    if not width and not len(data):
        return
    if not 0 < width <= 8:
        raise _UnusualError
    found = _numbers(data, width, many)
    if many and (found[0] != lead or (found[1:] != highest).any()):
        raise _UnusualError


def _check_level(data: memoryview, highest: int, expected: int) -> None:
    """Whether the level of a single value is the expected one, in as few bytes as it takes."""
    width = highest.bit_length()
    if not width and not len(data):
        return
    if not 0 < width <= 8:
        raise _UnusualError
    kind = data[0]
    if len(data) != (1 + width if kind == _PACKED else 2) or kind not in (_RUN, _PACKED):
        raise _UnusualError
    found = data[1] if kind == _RUN else data[1] & (1 << width) - 1
    if found != expected:
        raise _UnusualError


def _is_first(data: memoryview) -> bool:
    """Whether the index of a single value into a dictionary is 0."""
    width, kind = data[0], data[1]
    nbytes = -(-width // 8) if kind == _RUN else width
    return (
        0 < width <= 32
        and kind in (_RUN, _PACKED)
        and len(data) == 2 + nbytes
        and not any(data[2:])
    )


def _plain(data: memoryview) -> memoryview:
    """A byte string with its length in front, and nothing behind."""
    if len(data) < 4 or int.from_bytes(data[:4], "little") != len(data) - 4:
        raise _UnusualError
    return data[4:]
