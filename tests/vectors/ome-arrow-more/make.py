"""Write files with ome-arrow 0.1.0 into ``files.zip``, and what was put into them.

    pip install ome-arrow==0.1.0 && python make.py

Not part of the tests: they read what it wrote (pyarrow 26.0.1, NumPy 2.4.6). What the package
writes by itself, in ways and of types that the vectors of ``../ome-arrow`` leave out; what only
takes a table of Arrow data is made by the tests (``ome_arrow_files.py``). The zip entries are dated
1980, so that running it again gives the same bytes.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from ome_arrow.dataset import write_ome_arrow_dataset
from ome_arrow.export import to_ome_parquet
from ome_arrow.ingest import from_numpy

HERE = Path(__file__).resolve().parent
WHEN = dt.datetime(2024, 2, 29, 12, 30, 45, 123456)
DTYPES = ["int8", "uint16", "uint32", "uint64", "float16", "float64", "complex64", "complex128"]


def values_of(dtype: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Bits of every kind, and no NaN that a digest could not tell from another."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype).kind
    if kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    drawn = rng.standard_normal(shape) * 100
    if kind == "c":
        drawn = drawn + 1j * rng.standard_normal(shape)
    return drawn.astype(dtype)


def facts_of(image: np.ndarray, **place: Any) -> dict[str, Any]:
    """An entry of the manifest."""
    little = np.ascontiguousarray(image, image.dtype.newbyteorder("<"))
    return {
        **place,
        "shape": list(image.shape),
        "dtype": image.dtype.name,
        "sha256": hashlib.sha256(little.tobytes()).hexdigest(),
    }


def inline(home: Path, name: str, image: np.ndarray, **options: Any) -> dict[str, Any]:
    """A file of one record."""
    made = from_numpy(
        image,
        image_id=name,
        name=f"{name}.tiff",
        acquisition_datetime=WHEN,
        clamp_to_uint16=False,
        **options,
    )
    to_ome_parquet(made, str(home / f"{name}.parquet"), column_name="ome_arrow")
    said = ", ".join(f"{key}={value!r}" for key, value in options.items())
    return {
        "file": f"{name}.parquet",
        "writer": f"from_numpy(clamp_to_uint16=False, {said})",
        "images": [facts_of(image, column="ome_arrow", row=0)],
    }


def dataset(home: Path, name: str, images: list[np.ndarray], **options: Any) -> dict[str, Any]:
    """A folder."""
    write_ome_arrow_dataset(images, home / f"{name}.ome-arrow", **options)
    manifest = home / f"{name}.ome-arrow" / "_ome_arrow_dataset.json"
    document = json.loads(manifest.read_text())
    document.pop("package_versions")
    manifest.write_text(json.dumps(document, indent=1) + "\n")
    ids = pq.read_table(home / f"{name}.ome-arrow" / "images.parquet")["image_id"].to_pylist()
    said = ", ".join(f"{key}={value!r}" for key, value in options.items())
    return {
        "file": f"{name}.ome-arrow",
        "writer": f"write_ome_arrow_dataset({said})",
        "images": [
            facts_of(image, image_id=key, row=row)
            for row, (key, image) in enumerate(zip(ids, images, strict=True))
        ],
    }


def entries_in(home: Path) -> list[dict[str, Any]]:
    """Write everything."""
    small, shape = (1, 1, 2, 5, 7), (2, 2, 3, 9, 10)
    u16 = (np.arange(np.prod(shape)) * 37 % 65_521).astype("u2").reshape(shape)
    flat = np.repeat(np.arange(24, dtype="u2"), 20).reshape(1, 1, 2, 12, 20)
    entries = [
        inline(home, f"bytes-{dtype}", values_of(dtype, small, seed),
               chunk_encoding="bytes", chunk_shape=(1, 3, 4))
        for seed, dtype in enumerate(DTYPES)
    ]  # fmt: skip
    entries += [
        inline(home, f"bytes-{codec}", flat, chunk_encoding="bytes", chunk_shape=(1, 12, 16),
               chunk_compression=codec)
        for codec in ("lz4", "snappy", "fast", "small", "brotli")
    ]  # fmt: skip
    entries += [
        inline(home, "list-planes", u16, build_chunks=False),
        inline(home, "list-chunks", u16, chunk_shape=(2, 4, 10), channel_names=["DAPI", "GFP"],
               physical_size_x=0.25, physical_size_y=0.5, physical_size_z=2.0),
        inline(home, "list-float32", np.array([[1, 0], [3, 65_535]], "f4")[None, None, None]),
        dataset(home, "dataset-planes", [u16, values_of("float64", small, 9)], layout="z-plane"),
        dataset(home, "dataset-blocks", [u16, values_of("int32", (1, 3, 2, 8, 6), 11)],
                chunk_shape=(2, 2, 2, 4, 6), chunk_rows_per_row_group=5),
        dataset(home, "dataset-image", [u16 > 30_000],
                layout="image", compression="lz4"),
    ]  # fmt: skip
    return entries


def main() -> None:
    """Write everything, into one file."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        entries = entries_in(home)
        with zipfile.ZipFile(
            HERE / "files.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9
        ) as file:
            for path in sorted(path for path in home.rglob("*") if path.is_file()):
                entry = zipfile.ZipInfo(path.relative_to(home).as_posix())
                entry.compress_type = zipfile.ZIP_DEFLATED
                file.writestr(entry, path.read_bytes())
    manifest = {"generator": "ome-arrow 0.1.0, pyarrow 26.0.1, numpy 2.4.6", "valid": entries}
    (HERE / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
