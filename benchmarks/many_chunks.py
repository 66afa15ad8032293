"""Arrays of very many tiny chunks, to see what a chunk costs beyond its bytes.

A cost that grows with the number of chunks is the mark of a planner that lists them, of a scheduler
that keeps something for each, or of a directory that is looked through again and again.

Each kind makes an array of the same values, all ones, in chunks of 8 x 8 uint16, as wide as high or
ten times as wide. What opens it is called anew for every time that is taken.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lazytensor as lt

__all__ = ["KINDS", "MOST_FILES", "Kind", "elements_of"]

EDGE = 8
PER_SHARD = (10, 100)
"""Chunks of a shard along each dim."""

MOST_FILES = 100_000
"""Files that are made at most: more of them take longer than all the rest."""

Open = Callable[[], lt.LazyTensor]

_CHUNK = np.ones((EDGE, EDGE), "<u2")
_BYTES = {"name": "bytes", "configuration": {"endian": "little"}}


class Kind(NamedTuple):
    """``make(count, folder)`` makes an array of so many chunks and returns what opens it."""

    label: str
    make: Callable[[int, Path], Open]
    most: int | None = None


def elements_of(count: int) -> int:
    """Elements of an array of so many chunks, which is what they add up to."""
    return count * EDGE * EDGE


def _grid(count: int) -> tuple[int, int]:
    """Chunks along each dim of ``count``, a power of ten.

    >>> _grid(1000), _grid(10_000)
    ((10, 100), (100, 100))
    """
    digits = len(str(count)) - 1
    return 10 ** (digits // 2), 10 ** (digits - digits // 2)


def _fill(domain: Any, out: np.ndarray) -> None:
    out[...] = 1


def _virtual(count: int, folder: Path) -> Open:
    rows, columns = _grid(count)
    shape = (rows * EDGE, columns * EDGE)
    return lambda: lt.virtual_chunked(_fill, shape=shape, dtype="uint16", chunks=(EDGE, EDGE))


def _metadata(count: int, chunk: tuple[int, int], codecs: list[Any]) -> bytes:
    rows, columns = _grid(count)
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [rows * EDGE, columns * EDGE],
        "data_type": "uint16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": codecs,
        "attributes": {},
    }
    return json.dumps(document).encode()


def _memory(count: int, folder: Path) -> Open:
    rows, columns = _grid(count)
    data = _CHUNK.tobytes()
    store = {f"c/{i}/{j}": data for i in range(rows) for j in range(columns)}
    store["zarr.json"] = _metadata(count, (EDGE, EDGE), [_BYTES])
    return lambda: lt.scan_zarr(store)


def _files(count: int, folder: Path) -> Open:
    rows, columns = _grid(count)
    home = folder / f"files-{count}"
    data = _CHUNK.tobytes()
    for i in range(rows):
        row = home / "c" / str(i)
        row.mkdir(parents=True)
        for j in range(columns):
            handle = os.open(row / str(j), os.O_WRONLY | os.O_CREAT, 0o644)
            os.write(handle, data)
            os.close(handle)
    (home / "zarr.json").write_bytes(_metadata(count, (EDGE, EDGE), [_BYTES]))
    return lambda: lt.scan_zarr(home)


def _shards(count: int, folder: Path) -> Open:
    rows, columns = _grid(count)
    home = folder / f"shards-{count}"
    inner = PER_SHARD[0] * PER_SHARD[1]
    index = np.empty((inner, 2), "<u8")
    index[:, 0], index[:, 1] = np.arange(inner) * _CHUNK.nbytes, _CHUNK.nbytes
    shard = _CHUNK.tobytes() * inner + index.tobytes()
    for i in range(rows // PER_SHARD[0]):
        row = home / "c" / str(i)
        row.mkdir(parents=True)
        for j in range(columns // PER_SHARD[1]):
            (row / str(j)).write_bytes(shard)
    settings = {
        "chunk_shape": [EDGE, EDGE],
        "codecs": [_BYTES],
        "index_codecs": [_BYTES],
        "index_location": "end",
    }
    codecs = [{"name": "sharding_indexed", "configuration": settings}]
    outer = (PER_SHARD[0] * EDGE, PER_SHARD[1] * EDGE)
    (home / "zarr.json").write_bytes(_metadata(count, outer, codecs))
    return lambda: lt.scan_zarr(home)


KINDS = (
    Kind("`virtual_chunked`", _virtual),
    Kind("zarr in memory", _memory),
    Kind("zarr, a file a chunk", _files, MOST_FILES),
    Kind("zarr, 1 000 chunks a shard", _shards),
)
