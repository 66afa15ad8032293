"""Zarr and n5 stores written byte by byte, without any of the readers that are compared.

A reader that agrees with these bytes agrees with the specification as it is written here, and the
other readers say whether that is how everybody understands it. Only the compressors themselves
come from a library (numcodecs).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "LITTLE",
    "VALUES",
    "Case",
    "Write",
    "blocks",
    "distinct",
    "gzip_members",
    "n5",
    "named",
    "put",
    "shard",
    "sharding",
    "v2",
    "v2_document",
    "v3",
    "v3_document",
    "with_crc32c",
]

LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
_ABSENT = 2**64 - 1
Encode = Callable[[np.ndarray], bytes]
Write = Callable[[Path], np.ndarray | None]


@dataclass(frozen=True)
class Case:
    """One row. ``write``: writes into a folder and returns the values. ``format``: ``zarr2``,
    ``zarr3`` or ``n5``; ``inside``: path of the array in its group; ``zipped``: how, if at all;
    ``needs``: a module without which the case cannot be written."""

    name: str
    topic: str
    write: Write
    format: str = "zarr3"
    inside: str = ""
    zipped: int | None = None
    needs: str = "numpy"


def distinct(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """Values that differ as far as the dtype allows, of both signs where it has two."""
    dtype = np.dtype(dtype)
    count = np.arange(prod(shape), dtype=np.int64)
    if dtype.kind == "b":
        return (count % 3 == 1).reshape(shape)
    if dtype.kind in "ifc":
        count = np.where(count % 2, -count, count)
    return count.astype(dtype).reshape(shape)


VALUES = distinct((7, 9), "int32")


def named(name: str, **settings: Any) -> dict[str, Any]:
    """A v3 codec with its configuration."""
    return {"name": name, "configuration": settings}


def with_crc32c(block: np.ndarray) -> bytes:
    """The bytes of a block and their checksum."""
    import google_crc32c

    data = block.tobytes()
    return data + google_crc32c.value(data).to_bytes(4, "little")


def put(folder: Path, key: str, data: bytes | dict[str, Any]) -> None:
    """Write one object; a dict as JSON."""
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.dumps(data).encode() if isinstance(data, dict) else data)


def blocks(
    values: np.ndarray, chunks: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Each chunk, whole: what lies outside the array is garbage that nobody may see."""
    counts = [-(-extent // size) for extent, size in zip(values.shape, chunks, strict=True)]
    for index in product(*map(range, counts)):
        cut = tuple(slice(i * n, (i + 1) * n) for i, n in zip(index, chunks, strict=True))
        part = values[cut]
        block = _garbage(chunks, values.dtype)
        block[tuple(slice(0, n) for n in part.shape)] = part
        yield index, block


def _garbage(shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    if dtype.kind in "biufc":
        return np.full(shape, 77).astype(dtype)
    data = b"\x5a" * (prod(shape) * dtype.itemsize)
    return np.frombuffer(data, dtype).reshape(shape).copy()


def v3_document(shape: Sequence[int], chunks: Sequence[int], **changes: Any) -> dict[str, Any]:
    """A ``zarr.json``; ``changes`` replace keys."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": "uint16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [LITTLE],
        "fill_value": 0,
        **changes,
    }


def v2_document(shape: Sequence[int], chunks: Sequence[int], **changes: Any) -> dict[str, Any]:
    """A ``.zarray``; ``changes`` replace keys."""
    return {
        "zarr_format": 2,
        "shape": list(shape),
        "chunks": list(chunks),
        "dtype": "<u2",
        "compressor": None,
        "fill_value": 0,
        "order": "C",
        "filters": None,
        **changes,
    }


def v3(
    folder: Path,
    values: np.ndarray,
    chunks: Sequence[int],
    *,
    encode: Encode = np.ndarray.tobytes,
    key: Callable[[tuple[int, ...]], str] = lambda index: "/".join(["c", *map(str, index)]),
    **changes: Any,
) -> np.ndarray:
    """Write a v3 array and return its values; ``encode`` makes an object of a chunk."""
    changes.setdefault("data_type", values.dtype.name)
    changes.setdefault("fill_value", {"b": False, "c": [0, 0]}.get(values.dtype.kind, 0))
    put(folder, "zarr.json", v3_document(values.shape, chunks, **changes))
    for index, block in blocks(values, chunks):
        put(folder, key(index), encode(block))
    return values


def v2(
    folder: Path,
    values: np.ndarray,
    chunks: Sequence[int],
    *,
    encode: Encode = np.ndarray.tobytes,
    separator: str = ".",
    **changes: Any,
) -> np.ndarray:
    """Write a v2 array and return its values; filters and compressor are applied by numcodecs."""
    from numcodecs import get_codec

    changes.setdefault("dtype", values.dtype.str)
    changes.setdefault("fill_value", {"b": False, "S": None, "U": None}.get(values.dtype.kind, 0))
    if separator != ".":
        changes["dimension_separator"] = separator
    put(folder, ".zarray", v2_document(values.shape, chunks, **changes))
    steps = [*(changes.get("filters") or []), *filter(None, [changes.get("compressor")])]
    codecs = [get_codec(dict(step)) for step in steps]
    for index, block in blocks(values, chunks):
        data: Any = block if codecs else encode(block)
        for codec in codecs:
            data = codec.encode(data)
        put(folder, separator.join(map(str, index)) or "0", bytes(data))
    return values


def sharding(
    inner: Sequence[int], *, crc: bool = True, endian: str = "little", **changes: Any
) -> dict[str, Any]:
    """A ``sharding_indexed`` codec; ``changes`` replace settings."""
    index = [{"name": "bytes", "configuration": {"endian": endian}}]
    settings = {
        "chunk_shape": list(inner),
        "codecs": [LITTLE],
        "index_codecs": index + ([{"name": "crc32c"}] if crc else []),
        **changes,
    }
    return {"name": "sharding_indexed", "configuration": settings}


def shard(
    block: np.ndarray,
    inner: Sequence[int],
    *,
    encode: Encode = np.ndarray.tobytes,
    skip: Callable[[tuple[int, ...]], bool] = lambda index: False,
    start: bool = False,
    crc: bool = True,
    endian: str = "little",
    gap: int = 0,
    backwards: bool = False,
    share: bool = False,
) -> bytes:
    """One shard. ``skip``: inner chunks left out; ``gap``: unused bytes before each inner chunk;
    ``share``: equal inner chunks are stored once."""
    import google_crc32c

    parts = [(i, b) for i, (_, b) in enumerate(blocks(block, inner))]
    at = [index for index, _ in blocks(block, inner)]
    entries = np.full((len(parts), 2), _ABSENT, np.uint64)
    size = 16 * len(parts) + (4 if crc else 0)
    body, known = b"", dict[bytes, int]()
    for number, part in reversed(parts) if backwards else parts:
        if skip(at[number]):
            continue
        data = encode(part)
        if not (share and data in known):
            body += b"\xee" * gap
            known[data] = len(body) + (size if start else 0)
            body += data
        entries[number] = known[data], len(data)
        if not share:
            known.clear()
    index = entries.astype("<u8" if endian == "little" else ">u8").tobytes()
    if crc:
        index += google_crc32c.value(index).to_bytes(4, "little")
    return index + body if start else body + index


def gzip_members(data: bytes, size: int) -> bytes:
    """A gzip file of several members, as ``cat a.gz b.gz`` makes it."""
    import gzip

    return b"".join(gzip.compress(data[i : i + size]) for i in range(0, len(data), size))


def n5(
    folder: Path,
    values: np.ndarray,
    chunks: Sequence[int],
    compression: dict[str, Any],
    compress: Callable[[bytes], bytes] = bytes,
) -> np.ndarray:
    """Write an n5 array whose axes in C order are those of ``values``; edge blocks are cut."""
    put(
        folder,
        "attributes.json",
        {
            "dimensions": list(values.shape[::-1]),
            "blockSize": list(chunks[::-1]),
            "dataType": values.dtype.name,
            "compression": compression,
        },
    )
    for index, _ in blocks(values, chunks):
        cut = tuple(slice(i * n, (i + 1) * n) for i, n in zip(index, chunks, strict=True))
        part = values[cut]
        header = np.array([0, part.ndim], ">u2").tobytes()
        header += np.array(part.shape[::-1], ">u4").tobytes()
        payload = compress(part.astype(part.dtype.newbyteorder(">")).tobytes())
        put(folder, "/".join(map(str, index[::-1])), header + payload)
    return values
