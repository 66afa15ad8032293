"""The image of ``ome_arrow.py`` and its files, written by the package ome-arrow itself.

Run as a program, ``ome_arrow_data.py FOLDER``, by an interpreter that has the package, it writes
what the package writes. This folder must not be where Python looks for modules then: the benchmark
is called as the package is.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["BYTES", "COLUMN", "FOLDER", "IPC", "LIST", "PIXELS", "make_files", "package", "part_of"]

LIST, BYTES, FOLDER, IPC = "list.parquet", "bytes.parquet", "blocks.ome-arrow", "planes.arrow"
COLUMN = "ome_arrow"
PIXELS = {
    LIST: f"{COLUMN}.chunks.list.element.pixels",
    BYTES: f"{COLUMN}.chunks.list.element.pixel_bytes",
}
"""Where the files keep pixels; in the default file of the package they are in planes, too."""
BLOCK = (1, 1, 16, 128, 128)
SHAPE, SMALL = (1, 3, 236, 275, 271), (1, 2, 24, 150, 140)
_IMAGE = "image.npy"
_HERE = Path(__file__).resolve().parent


def part_of(image: np.ndarray) -> np.ndarray:
    """What is written: 9.5 MB of 105, for lists are written at 20 MB/s."""
    return np.ascontiguousarray(image[:, :1, :64])


def package() -> Any:
    """The package ome-arrow, whatever else is called so."""
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != _HERE]
    import ome_arrow
    import ome_arrow.core
    import ome_arrow.dataset
    import ome_arrow.export
    import ome_arrow.ingest
    import ome_arrow.meta

    return ome_arrow


def image_of(images: Path, *, quick: bool) -> np.ndarray:
    """Real planes, repeated; synthetic ones where there are none in ``images``."""
    shape = SMALL if quick else SHAPE
    store = images / "idr0062A_6001240_z100-139.zarr"
    if store.exists():
        import lazytensor as lt

        planes = lt.open_ome_zarr(store)[0][0].collect()
    else:
        from data import volume

        planes = np.stack([volume(max(shape[3:]))] * 2)
    while planes.ndim > 4:
        planes = planes[0]
    channels = np.stack([planes[0], planes[1], planes[0][::-1]])[: shape[1]]
    depth = np.arange(shape[2]) % planes.shape[1]
    return np.ascontiguousarray(channels[None, :, depth, : shape[3], : shape[4]], "u2")


def make_files(folder: Path, images: Path, python: str, *, quick: bool) -> None:
    """The image and all files of it, unless they are there."""
    if (folder / IPC).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / _IMAGE, image_of(images, quick=quick))
    subprocess.run([python, "-W", "ignore", __file__, str(folder)], check=True)
    _write_ipc(folder)


def read_image(folder: Path) -> np.ndarray:
    """The image that the files hold."""
    image: np.ndarray = np.load(folder / _IMAGE)
    return image


def _write_with_package(folder: Path) -> None:
    """The package's defaults, but for the name of the column and the shape of chunks of a folder.

    Its ``to_ome_parquet`` would take minutes, and all memory, to turn this into Python numbers and
    back; the record and the writer are the same.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = package()
    image = read_image(folder)
    kinds = {LIST: found.meta.OME_ARROW_STRUCT, BYTES: found.meta.OME_ARROW_BYTE_STRUCT}
    for name, kind in kinds.items():
        encoding = "bytes" if name == BYTES else "list"
        record = found.ingest.from_numpy(image, clamp_to_uint16=False, chunk_encoding=encoding)
        fields = [
            pa.nulls(1) if field.name == "masks" else pa.array([record[field.name]], field.type)
            for field in kind
        ]
        column = pa.StructArray.from_arrays(fields, fields=list(kind))
        pq.write_table(pa.table({COLUMN: column}), folder / name, compression="zstd")
    found.dataset.write_ome_arrow_dataset([image], folder / FOLDER, chunk_shape=BLOCK)


def _write_ipc(folder: Path) -> None:
    """One record of planes, uncompressed; the package has no writer of this."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = read_image(folder)
    file = pq.ParquetFile(folder / LIST)
    kind = file.schema_arrow.field(COLUMN).type
    most = [field.name for field in kind if field.name not in ("planes", "chunks", "masks")]
    rest = file.read(columns=[f"{COLUMN}.{name}" for name in most]).column(COLUMN)
    held = rest.combine_chunks()
    planes = kind.field("planes").type
    t, c, z = (axis.ravel() for axis in np.indices(image.shape[:3], "i4"))
    pixels = pa.ListArray.from_arrays(
        np.arange(t.size + 1, dtype="i4") * image[0, 0, 0].size, image.reshape(-1)
    )
    places = {"t": t, "c": c.astype("i2"), "z": z, "pixels": pixels}
    items = pa.StructArray.from_arrays(
        [pa.array(places[field.name]) for field in planes.value_type],
        [field.name for field in planes.value_type],
    )
    record = {name: held.field(name) for name in most}
    record["planes"] = pa.ListArray.from_arrays(np.array([0, t.size], "i4"), items)
    column = pa.StructArray.from_arrays(list(record.values()), list(record))
    made = pa.table({COLUMN: column})
    with pa.ipc.new_file(str(folder / IPC), made.schema) as writer:
        writer.write_table(made)


if __name__ == "__main__":
    _write_with_package(Path(sys.argv[1]))
