"""Hand-made zarr documents and stores, and reading them whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np

from lazytensor.io.zarr import ZarrSource, scan


def read_all(source: ZarrSource) -> np.ndarray:
    """Everything, into memory that held something else before."""
    out = np.frombuffer(b"\xa5" * max(1, source.spec.nbytes), np.uint8)[: source.spec.nbytes]
    out = out.copy().view(source.spec.dtype).reshape(source.spec.shape)
    source.read_into(tuple((0, n) for n in source.spec.shape), out)
    return out


def distinct(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Values that differ from each other as far as the dtype allows, with a sign where it has one.

    >>> distinct((3,), "i2")
    array([ 0, -1,  2], dtype=int16)
    """
    dtype = np.dtype(dtype)
    count = np.arange(prod(shape), dtype=np.int64)
    if dtype.kind == "b":
        return (count % 3 == 1).reshape(shape)
    if dtype.kind in "ifc":
        count = np.where(count % 2, -count, count)
    return count.astype(dtype).reshape(shape)


def array_v3(
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    data_type: Any = "uint16",
    codecs: list[Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """A ``zarr.json`` of an array; ``changes`` replace keys."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
        "chunk_key_encoding": {"name": "default"},
        "codecs": [little()] if codecs is None else codecs,
        "fill_value": 0,
        **changes,
    }


def array_v2(
    shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str = "<u2", **changes: Any
) -> dict[str, Any]:
    """A ``.zarray``; ``changes`` replace keys."""
    return {
        "zarr_format": 2,
        "shape": list(shape),
        "chunks": list(chunks),
        "dtype": dtype,
        "compressor": None,
        "fill_value": 0,
        "order": "C",
        "filters": None,
        **changes,
    }


def little() -> dict[str, Any]:
    """The plain ``bytes`` codec."""
    return {"name": "bytes", "configuration": {"endian": "little"}}


def group_v3(**changes: Any) -> dict[str, Any]:
    """A ``zarr.json`` of a group."""
    return {"zarr_format": 3, "node_type": "group", **changes}


def store(**objects: Any) -> dict[str, bytes]:
    """A dict store; documents are written as JSON, ``__`` in names stands for ``/``."""
    return {
        key.replace("__", "/"): value if isinstance(value, bytes) else json.dumps(value).encode()
        for key, value in objects.items()
    }


def v3(document: Mapping[str, Any], chunks: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """A store with one v3 array at its root."""
    return {"zarr.json": json.dumps(document).encode(), **(chunks or {})}


def v2(document: Mapping[str, Any], chunks: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """A store with one v2 array at its root."""
    return {".zarray": json.dumps(document).encode(), **(chunks or {})}


def read(data: Mapping[str, bytes], **options: Any) -> np.ndarray:
    """The whole array at the root of a dict store."""
    return read_all(scan(data, **options))


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    """Same dtype, shape and bytes (so that NaN payloads and signs of zero count)."""
    return (
        found.dtype == expected.dtype
        and found.shape == expected.shape
        and found.tobytes() == np.ascontiguousarray(expected).tobytes()
    )


def shard(chunks: list[bytes | None], *, start: bool = False, crc: bool = True) -> bytes:
    """A shard with its inner chunks one after the other; None is left out."""
    from lazytensor.io.codec.checksums import crc32c

    size = 16 * len(chunks) + (4 if crc else 0)
    at, entries, body = (size if start else 0), [], b""
    for chunk in chunks:
        entries += [2**64 - 1] * 2 if chunk is None else [at + len(body), len(chunk)]
        body += chunk or b""
    index = np.array(entries, "<u8").tobytes()
    if crc:
        index += crc32c(index).to_bytes(4, "little")
    return index + body if start else body + index


def sharding(
    chunks: tuple[int, ...], codecs: list[Any] | None = None, **settings: Any
) -> dict[str, Any]:
    """A ``sharding_indexed`` codec."""
    index: Callable[[], list[Any]] = lambda: [little(), {"name": "crc32c"}]  # noqa: E731
    return {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": list(chunks),
            "codecs": [little()] if codecs is None else codecs,
            "index_codecs": index(),
            **settings,
        },
    }
