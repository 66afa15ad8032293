"""A small OME-Zarr image, made with NumPy, ``json`` and ``gzip`` alone.

The demo needs something to look at on a machine without data. The image is written by hand so that
reading it is a test of the reader and not of a writer of ours: zarr v3, OME metadata 0.5, two
channels of blobs in a few planes, three pyramid levels, and chunks that are all zero left out, as
the format allows.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["write_sample"]

_SHAPE = (2, 8, 256, 320)
_CHUNKS = (1, 4, 64, 64)
_LEVELS = 3
_PIXEL_UM = (1.0, 0.5, 0.25, 0.25)
_CHANNELS = (("nuclei", "00A0FF", 40, 9.0), ("spots", "FFB000", 160, 2.5))
"""Label, colour, number of blobs, radius in pixels."""


def write_sample(folder: str | os.PathLike[str]) -> Path:
    """Write the image as the group ``folder`` and return its path; always the same image.

    ``folder`` is created. Files of an earlier sample are overwritten; nothing is removed.
    """
    root = Path(folder)
    values = np.stack([_blobs(*channel[2:], seed=c) for c, channel in enumerate(_CHANNELS)])
    _write_json(root, {"zarr_format": 3, "node_type": "group", "attributes": _ome_attributes()})
    for level in range(_LEVELS):
        _write_array(root / str(level), values)
        values = _halved(values)
    return root


def _blobs(count: int, radius: float, *, seed: int) -> np.ndarray:
    """Gaussian blobs ``(z, y, x)`` of uint16; far from them, exactly 0."""
    rng = np.random.default_rng(seed)
    shape = _SHAPE[1:]
    axes = np.meshgrid(*map(np.arange, shape), indexing="ij", sparse=True)
    volume = np.zeros(shape)
    # The lower right corner stays empty: its chunks are the missing ones.
    room = np.array([shape[0], shape[1] - 4 * radius, shape[2] * 0.72])
    for center in rng.random((count, 3)) * room:
        brightness = rng.uniform(800, 4000)
        z, y, x = (
            np.exp(-(((axis - at) / (radius * stretch)) ** 2))
            for axis, at, stretch in zip(axes, center, (0.6, 1, 1), strict=True)
        )
        volume += brightness * z * (y * x)
    return np.minimum(volume, 65535).astype(np.uint16)


def _halved(values: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels of every plane."""
    *outer, height, width = values.shape
    blocks = values.reshape(*outer, height // 2, 2, width // 2, 2)
    means: np.ndarray = np.rint(blocks.mean(axis=(-3, -1)))
    return means.astype(values.dtype)


def _write_array(folder: Path, values: np.ndarray) -> None:
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(values.shape),
        "data_type": "uint16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(_CHUNKS)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "gzip", "configuration": {"level": 5}},
        ],
        "fill_value": 0,
        "dimension_names": ["c", "z", "y", "x"],
        "attributes": {},
    }
    _write_json(folder, metadata)
    counts = (
        range(-(-extent // chunk)) for extent, chunk in zip(values.shape, _CHUNKS, strict=True)
    )
    for index in itertools.product(*counts):
        chunk = _chunk(values, index)
        if chunk.any():
            path = folder.joinpath("c", *map(str, index))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(chunk.astype("<u2").tobytes(), 5, mtime=0))


def _chunk(values: np.ndarray, index: tuple[int, ...]) -> np.ndarray:
    """One chunk, filled up with zeros where the array ends inside it."""
    part = values[
        tuple(slice(i * size, (i + 1) * size) for i, size in zip(index, _CHUNKS, strict=True))
    ]
    missing = [(0, size - extent) for size, extent in zip(_CHUNKS, part.shape, strict=True)]
    return np.pad(part, missing)


def _ome_attributes() -> dict[str, Any]:
    kinds = {"c": {"type": "channel"}} | {
        name: {"type": "space", "unit": "micrometer"} for name in "zyx"
    }
    datasets = []
    for level in range(_LEVELS):
        factor = 2**level
        scale = [*_PIXEL_UM[:2], *(size * factor for size in _PIXEL_UM[2:])]
        # The centre of the first pixel of a level is that of the pixels it averages.
        shift = [0.0, 0.0, *(size * (factor - 1) / 2 for size in _PIXEL_UM[2:])]
        transforms = [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": shift},
        ]
        datasets.append({"path": str(level), "coordinateTransformations": transforms})
    axes = [{"name": name, **kind} for name, kind in kinds.items()]
    window = {"min": 0, "max": 65535, "start": 0, "end": 4000}
    channels = [
        {"label": label, "color": color, "active": True, "window": window}
        for label, color, *_ in _CHANNELS
    ]
    multiscale = {"name": "sample", "axes": axes, "datasets": datasets}
    return {"ome": {"version": "0.5", "multiscales": [multiscale], "omero": {"channels": channels}}}


def _write_json(folder: Path, document: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "zarr.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
