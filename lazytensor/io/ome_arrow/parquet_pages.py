"""Pages of one column of a row that is too large to be in memory: made and written one by one.

A row of Parquet cannot be split into row groups, and pyarrow encodes a row group as a whole. But a
column of it is nothing but pages one behind the other, and what is below a list may go on in the
next page. So pixels are made into pages chunk by chunk, and only what is said of them beside is
encoded by pyarrow (``parquet_growing``).

Numbers of a list get a dictionary of all numbers that there are (256 or 65536), in which each is
its own index; what a page holds of them are then the pixels as they are in memory. That is as fast
as bytes, and readers are twice as fast with it as with plain numbers, which have four bytes each.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from lazytensor.io.ome_arrow.parquet_footer import I32, I64, LIST, STRUCT, Fields, Value, thrift
from lazytensor.io.store import Buffer

__all__ = ["Page", "byte_pages", "codec", "column_chunk", "dictionary_page", "number_pages"]

# Numbers of parquet.thrift.
_CODECS = {None: 0, "snappy": 1, "gzip": 2, "brotli": 4, "zstd": 6, "lz4": 7}
_PLAIN, _RLE, _DICTIONARY = 0, 3, 8
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_INT32, _BYTE_ARRAY = 1, 6
_LEVEL = 1

# Of column.chunks[].pixel_bytes and column.planes[].pixels[], all optional: how often something is
# repeated above a value, and how much of what it lies in is there.
_BYTES_REPEATED, _BYTES_DEFINED = 1, 5
_LIST_REPEATED, _LIST_DEFINED = 2, 7

_MOST_NUMBERS = 1 << 19
"""Numbers of a page: what readers decode at once."""


class Page(NamedTuple):
    """Some pages: their bytes, headers included, and as they count in a footer."""

    parts: Sequence[Buffer]
    nbytes: int
    uncompressed: int
    values: int


def codec(name: str | None, *, parquet: bool) -> Any:
    """pyarrow's codec of a name, in which Parquet differs in one case; None for none."""
    import pyarrow as pa

    if name is None:
        return None
    if name == "zstd":
        return pa.Codec(name, compression_level=_LEVEL)
    return pa.Codec("lz4_raw" if name == "lz4" and parquet else name)


def _page(body: Sequence[Buffer], values: int, encoding: int, compression: str | None) -> Page:
    """A data page."""
    said: Fields = {
        1: Value(I32, values),
        2: Value(I32, encoding),
        3: Value(I32, _RLE),
        4: Value(I32, _RLE),
    }
    return _with_header(_DATA_PAGE, body, 5, said, compression, values)


def _with_header(
    kind: int,
    body: Sequence[Buffer],
    number: int,
    said: Fields,
    compression: str | None,
    values: int,
) -> Page:
    uncompressed = sum(memoryview(part).nbytes for part in body)
    if compression is not None:
        body = [codec(compression, parquet=True).compress(b"".join(body), asbytes=True)]
    nbytes = sum(memoryview(part).nbytes for part in body)
    header = thrift(
        {
            1: Value(I32, kind),
            2: Value(I32, uncompressed),
            3: Value(I32, nbytes),
            number: Value(STRUCT, said),
        }
    )
    return Page([header, *body], len(header) + nbytes, len(header) + uncompressed, values)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _levels(*runs: tuple[int, int]) -> bytes:
    """Levels of a page, as runs: how many, of which. They take less than a byte each."""
    data = b"".join(_varint(count << 1) + bytes([level]) for count, level in runs if count)
    return struct.pack("<I", len(data)) + data


def byte_pages(payload: Buffer, *, first: bool, compression: str | None) -> Page:
    """The page of one chunk. ``first``: of its row."""
    repeated = _levels((1, 0 if first else _BYTES_REPEATED))
    defined = _levels((1, _BYTES_DEFINED))
    length = struct.pack("<I", memoryview(payload).nbytes)
    return _page([repeated, defined, length, payload], 1, _PLAIN, compression)


def number_pages(values: np.ndarray, *, first: bool, compression: str | None) -> Page:
    """The pages of one plane: of uint8 or uint16, in C order, of one dim. ``first``: of its row."""
    found = []
    for start in range(0, len(values), _MOST_NUMBERS):
        some = values[start : start + _MOST_NUMBERS]
        n = len(some)
        begins = 1 if start == 0 else 0
        repeated = _levels((begins, 0 if first else 1), (n - begins, _LIST_REPEATED))
        # Indices come in groups of eight, which are one run.
        groups = -(-n // 8)
        head = bytes([8 * values.itemsize]) + _varint(groups << 1 | 1)
        rest = bytes((groups * 8 - n) * values.itemsize)
        body: list[Any] = [repeated, _levels((n, _LIST_DEFINED)), head, some.view(np.uint8), rest]
        found.append(_page(body, n, _DICTIONARY, compression))
    return Page(
        [part for page in found for part in page.parts],
        sum(page.nbytes for page in found),
        sum(page.uncompressed for page in found),
        sum(page.values for page in found),
    )


@lru_cache(8)
def dictionary_page(count: int, compression: str | None) -> Page:
    """A dictionary of the numbers from zero."""
    body = np.arange(count, dtype="<i4").tobytes()
    said: Fields = {1: Value(I32, count), 2: Value(I32, _PLAIN)}
    return _with_header(_DICTIONARY_PAGE, [body], 7, said, compression, 0)


def column_chunk(
    like: Fields, at: int, pages: Page, compression: str | None, dictionary: Page | None
) -> Fields:
    """What a footer says of a column whose pages lie at a place in the file.

    ``like``: what it says of that column of another file; ``pages``: all of them together, the
    first of which is the ``dictionary``, if any.
    """
    numbers = [_PLAIN, _RLE] if dictionary is None else [_PLAIN, _RLE, _DICTIONARY]
    path = like[3]
    begin = at + (0 if dictionary is None else dictionary.nbytes)
    meta: Fields = {
        1: Value(I32, _BYTE_ARRAY if dictionary is None else _INT32),
        2: Value(LIST, (I32, numbers)),
        3: path,
        4: Value(I32, _CODECS[compression]),
        5: Value(I64, pages.values),
        6: Value(I64, pages.uncompressed),
        7: Value(I64, pages.nbytes),
        9: Value(I64, begin),
    }
    if dictionary is not None:
        meta[11] = Value(I64, at)
    return {2: Value(I64, 0), 3: Value(STRUCT, meta)}
