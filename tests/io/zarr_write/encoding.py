"""Arrays written chunk by chunk into a dict, with nothing but encoders and documents."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore
import zarr

from lazytensor.io.zarr.documents import ArrayDocuments, array_documents
from lazytensor.io.zarr.encode import object_encoder


def documents(values: np.ndarray, chunks: tuple[int, ...], **options: Any) -> ArrayDocuments:
    return array_documents(values.shape, values.dtype, chunks=chunks, **options)


def objects(
    values: np.ndarray, found: ArrayDocuments, *, write_empty: bool = False
) -> dict[str, bytes]:
    """The stored objects by name; those that hold nothing but the fill value are left out."""
    meta = found.metadata
    encoder = object_encoder(meta, write_empty=write_empty)
    stored = {}
    for at in product(*map(range, meta.counts)):
        window = values[
            tuple(slice(i * n, (i + 1) * n) for i, n in zip(at, meta.chunk_shape, strict=True))
        ]
        if write_empty or not encoder.is_empty(window):
            stored[meta.keys.key(at)] = b"".join(encoder.encode(window))
    return stored


def written(values: np.ndarray, chunks: tuple[int, ...], **options: Any) -> dict[str, bytes]:
    """A store with an array at its root."""
    write_empty = options.pop("write_empty", False)
    found = documents(values, chunks, **options)
    return {**objects(values, found, write_empty=write_empty), **found.files}


def put(path: Path, store: Mapping[str, bytes]) -> Path:
    """The same as files."""
    for name, data in store.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return path


def by_zarr(path: Path) -> np.ndarray:
    """All of it, as zarr-python reads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = zarr.open_array(str(path), mode="r")[...]
    return np.asarray(found)


def by_zarrs(path: Path) -> np.ndarray:
    """All of it, as zarrs reads it."""
    import zarrs  # noqa: F401 - makes its codec pipeline known

    pipeline = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline", "codec_pipeline.strict": True}
    with zarr.config.set(pipeline):
        return by_zarr(path)


def by_tensorstore(path: Path) -> np.ndarray:
    """All of it, as tensorstore reads it."""
    driver = "zarr3" if (path / "zarr.json").exists() else "zarr"
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}}
    found = tensorstore.open(spec, read=True, open=True).result()
    return np.asarray(found.read().result())
