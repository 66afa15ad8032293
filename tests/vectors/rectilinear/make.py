"""Writes ``arrays.json``: arrays in rectilinear grids, by writers newer than the tests' own.

Made with Python 3.13, zarr 3.4.2 and zarrs 0.2.3: ``python make.py``. The values are what
zarr-python reads back.
"""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import zarr

HERE = Path(__file__).parent
BATCHED = "zarr.core.codec_pipeline.BatchedCodecPipeline"
ZARRS = "zarrs.ZarrsCodecPipeline"
LITTLE: dict[str, Any] = {"name": "bytes", "configuration": {"endian": "little"}}
ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
VALUES = np.arange(7 * 9, dtype="u2").reshape(7, 9) * 3


def shards(inner: list[int], location: str) -> dict[str, Any]:
    """Compressed chunks in shards."""
    configuration = {
        "chunk_shape": inner,
        "codecs": [LITTLE, ZSTD],
        "index_codecs": [LITTLE, {"name": "crc32c"}],
        "index_location": location,
    }
    return {"name": "sharding_indexed", "configuration": configuration}


# name: values, chunk shapes, codecs, what encodes the chunks
ARRAYS: dict[str, tuple[np.ndarray, list[Any], list[Any], str]] = {
    "raw": (VALUES, [[2, 5], [[4, 2], 1]], [LITTLE], BATCHED),
    "zstd and a regular dimension": (VALUES + 1, [[[1, 3], 4], 4], [LITTLE, ZSTD], BATCHED),
    "chunks that hang over": (VALUES + 2, [[[2, 3], 3, 4], [[3, 2], 6]], [LITTLE], BATCHED),
    "shards": (VALUES[:6] + 3, [[4, 2], [6, 3]], [shards([2, 3], "end")], BATCHED),
    "zarrs": (VALUES + 4, [[[2, 3], 3], [4, [5, 1]]], [LITTLE], ZARRS),
    "shards of zarrs": (VALUES + 5, [[2, [4, 2]], [3, 9]], [shards([2, 3], "start")], ZARRS),
}


def write(
    folder: Path, values: np.ndarray, chunk_shapes: list[Any], codecs: list[Any], pipeline: str
) -> dict[str, str]:
    """One array; what the writer makes of it, in base64."""
    configuration = {"kind": "inline", "chunk_shapes": chunk_shapes}
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": values.shape,
        "data_type": values.dtype.name,
        "chunk_grid": {"name": "rectilinear", "configuration": configuration},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": codecs,
        "fill_value": 0,
        "attributes": {},
    }
    (folder / "zarr.json").write_text(json.dumps(document))
    with zarr.config.set({"array.rectilinear_chunks": True, "codec_pipeline.path": pipeline}):
        zarr.open_array(folder, mode="r+")[...] = values
        assert np.array_equal(zarr.open_array(folder, mode="r")[...], values)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): base64.b64encode(path.read_bytes()).decode()
        for path in files
    }


def main() -> None:
    """Write the vectors."""
    out = {}
    for name, (values, *rest) in ARRAYS.items():
        with tempfile.TemporaryDirectory() as folder:
            objects = write(Path(folder), values, *rest)
        out[name] = {"dtype": values.dtype.str, "values": values.tolist(), "objects": objects}
    (HERE / "arrays.json").write_text(json.dumps(out, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
