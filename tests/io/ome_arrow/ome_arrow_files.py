"""OME-Arrow files made with pyarrow alone: every layout, and every way to get one wrong.

A *record* is a dict as ``to_pylist`` would give it. ``record`` makes a good one; tests change what
they want to be wrong in it, and pack it as Parquet, Arrow IPC or a table.
"""

from __future__ import annotations

import datetime as dt
import io
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = [
    "BYTES", "INFERRED", "LISTS", "Record", "boxes", "dataset", "dataset_tables", "image", "ipc",
    "packed", "parquet", "record", "stored", "struct", "table",
]  # fmt: skip

Record = dict[str, Any]
WHEN = dt.datetime(2024, 2, 29, 12, 30, 45, 123456)
DIMS = "tczyx"
_CHANNEL = pa.struct(
    {
        "id": pa.string(),
        "name": pa.string(),
        "emission_um": pa.float32(),
        "excitation_um": pa.float32(),
        "illumination": pa.string(),
        "color_rgba": pa.uint32(),
    }
)
_META = {
    "dimension_order": pa.string(),
    "type": pa.string(),
    "size_x": pa.int32(),
    "size_y": pa.int32(),
    "size_z": pa.int32(),
    "size_c": pa.int16(),
    "size_t": pa.int32(),
    "physical_size_x": pa.float32(),
    "physical_size_y": pa.float32(),
    "physical_size_z": pa.float32(),
    "physical_size_x_unit": pa.string(),
    "physical_size_y_unit": pa.string(),
    "physical_size_z_unit": pa.string(),
    "channels": pa.list_(_CHANNEL),
}
_GRID = {
    "order": pa.string(),
    "chunk_t": pa.int32(),
    "chunk_c": pa.int16(),
    "chunk_z": pa.int32(),
    "chunk_y": pa.int32(),
    "chunk_x": pa.int32(),
    "chunk_order": pa.string(),
}
_PLACE = {
    "t": pa.int32(),
    "c": pa.int16(),
    "z": pa.int32(),
    "y": pa.int32(),
    "x": pa.int32(),
    "shape_z": pa.int32(),
    "shape_y": pa.int32(),
    "shape_x": pa.int32(),
}
_ENCODED = {"dtype": pa.string(), "compression": pa.string(), "pixel_bytes": pa.large_binary()}


def struct(
    *,
    encoded: bool = False,
    values: pa.DataType | None = None,
    without: Sequence[str] = (),
    changed: Mapping[str, pa.DataType] | None = None,
) -> pa.StructType:
    """The type of a column: ``values`` in lists (uint16), or bytes; ``changed`` fields at the top.

    >>> struct(without=["masks"]).get_field_index("masks")
    -1
    """
    numbers = pa.list_(pa.uint16() if values is None else values)
    chunk = pa.struct(_PLACE | (_ENCODED if encoded else {"pixels": numbers}))
    plane = pa.struct({"z": pa.int32(), "t": pa.int32(), "c": pa.int16(), "pixels": numbers})
    fields = {
        "type": pa.string(),
        "version": pa.string(),
        "id": pa.string(),
        "name": pa.string(),
        "image_type": pa.string(),
        "acquisition_datetime": pa.timestamp("us"),
        "pixels_meta": pa.struct(_META),
        "chunk_grid": pa.struct(_GRID),
        "chunks": pa.list_(chunk),
        "planes": pa.list_(plane),
        "masks": pa.null(),
    }
    fields |= changed or {}
    return pa.struct({name: kind for name, kind in fields.items() if name not in without})


LISTS, BYTES = struct(), struct(encoded=True)
INFERRED = None
"""For ``table``: let Arrow infer the type of records, as it does of a data frame of dicts."""


def image(shape: Sequence[int] = (2, 2, 3, 5, 7), dtype: Any = "u2", seed: int = 0) -> np.ndarray:
    """Values of the whole range of integers, of any sign, and no two neighbours alike."""
    kind, rng = np.dtype(dtype), np.random.default_rng(seed)
    if kind.kind == "b":
        return rng.random(shape) < 0.5
    if kind.kind in "iu":
        info = np.iinfo(kind)
        return rng.integers(info.min, info.max, shape, kind, endpoint=True)
    drawn = rng.standard_normal(shape) * 100
    return (drawn + 1j * drawn[..., ::-1] if kind.kind == "c" else drawn).astype(kind)


def boxes(shape: Sequence[int], chunk: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Boxes of a grid, in C order."""
    starts = (range(0, n, step) for n, step in zip(shape, chunk, strict=True))
    for origin in itertools.product(*starts):
        yield tuple(
            slice(o, min(n, o + step)) for o, n, step in zip(origin, shape, chunk, strict=True)
        )


def stored(values: np.ndarray, codec: str | None = None) -> bytes:
    """What ``pixel_bytes`` holds of values."""
    raw = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    return raw if codec is None else bytes(pa.Codec(codec).compress(raw))


def _grid_of(chunk: Sequence[int]) -> dict[str, Any]:
    sizes = {f"chunk_{d}": n for d, n in zip(DIMS, (1, 1, *chunk), strict=True)}
    return {"order": "TCZYX", **sizes, "chunk_order": "ZYX"}


def record(
    values: np.ndarray,
    *,
    chunk: Sequence[int] | None = None,
    planes: bool | None = None,
    encoded: bool = False,
    codec: str | None = None,
    **meta: Any,
) -> Record:
    """A record of ``values`` (t, c, z, y, x): planes, or chunks of (z, y, x), or both.

    ``encoded``: chunks are bytes, compressed by a ``codec``. ``meta``: fields of ``pixels_meta``
    that are to be others.
    """
    if chunk is None and encoded:
        chunk = (1, *values.shape[3:])
    if planes is None:
        planes = chunk is None
    pixels_meta: dict[str, Any] = {
        "dimension_order": "XYZCT",
        "type": values.dtype.name,
        **{f"size_{d}": n for d, n in zip(DIMS, values.shape, strict=True)},
        **{f"physical_size_{d}": size for d, size in (("x", 0.25), ("y", 0.5), ("z", 2.0))},
        **{f"physical_size_{d}_unit": "µm" for d in "xyz"},
        "channels": [
            {"id": f"ch-{c}", "name": f"C{c}", "emission_um": 0.5, "excitation_um": 0.4,
             "illumination": "Epifluorescence", "color_rgba": 0xFF0000FF}
            for c in range(values.shape[1])
        ],
    }  # fmt: skip
    return {
        "type": "ome.arrow",
        "version": "0.1.0",
        "id": "image-1",
        "name": "one.tiff",
        "image_type": "image",
        "acquisition_datetime": WHEN,
        "pixels_meta": pixels_meta | meta,
        "chunk_grid": _grid_of(chunk) if chunk else None,
        "chunks": list(_chunks(values, chunk, encoded, codec)) if chunk else None,
        "planes": list(_planes(values)) if planes else [],
        "masks": None,
    }


def _planes(values: np.ndarray) -> Iterator[Record]:
    for t, c, z in np.ndindex(*values.shape[:3]):
        yield {"z": z, "t": t, "c": c, "pixels": values[t, c, z].ravel().tolist()}


def _chunks(
    values: np.ndarray, chunk: Sequence[int], encoded: bool, codec: str | None
) -> Iterator[Record]:
    for box in boxes(values.shape, (1, 1, *chunk)):
        part = values[box]
        place = {d: s.start for d, s in zip(DIMS, box, strict=True)}
        shape = {f"shape_{d}": n for d, n in zip("zyx", part.shape[2:], strict=True)}
        if encoded:
            pixels = {
                "dtype": values.dtype.name,
                "compression": codec,
                "pixel_bytes": stored(part, codec),
            }
        else:
            pixels = {"pixels": part.ravel().tolist()}
        yield {**place, **shape, **pixels}


def table(
    records: Sequence[Record | None],
    kind: pa.DataType | None = LISTS,
    column: str = "ome_arrow",
    **columns: Any,
) -> pa.Table:
    """A table of records, ``columns`` before them. ``INFERRED``: whatever Arrow makes of them."""
    return pa.table({**columns, column: pa.array(records, type=kind)})


def parquet(made: pa.Table, **options: Any) -> bytes:
    """The bytes of a Parquet file."""
    file = io.BytesIO()
    pq.write_table(made, file, **{"compression": "zstd", **options})
    return file.getvalue()


def ipc(
    made: pa.Table, *, stream: bool = False, rows: int = 1 << 20, codec: str | None = None
) -> bytes:
    """The bytes of an Arrow IPC file or stream, in batches of so many ``rows``."""
    file = io.BytesIO()
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(file, made.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(made, max_chunksize=rows)
    return file.getvalue()


def packed(values: np.ndarray, **options: Any) -> bytes:
    """A Parquet file of one record, as ``record`` makes it."""
    kind = BYTES if options.get("encoded") else LISTS
    return parquet(table([record(values, **options)], kind))


_IMAGES = pa.schema(
    {
        "image_id": pa.string(),
        "name": pa.string(),
        "image_type": pa.string(),
        "dtype": pa.string(),
        **{f"size_{d}": pa.int32() for d in DIMS},
        "layout": pa.string(),
        **{f"chunk_{d}": pa.int32() for d in DIMS},
        "compression": pa.string(),
        "channels_json": pa.string(),
    }
)
_POSITIONS = {d: pa.int32() for d in DIMS} | {f"shape_{d}": pa.int32() for d in DIMS}
_CHUNKS = pa.schema(
    {
        "image_id": pa.string(),
        "chunk_id": pa.int64(),
        **_POSITIONS,
        "dtype": pa.string(),
        "pixel_bytes": pa.large_binary(),
    }
)
_INDEX = pa.schema(
    {
        "image_id": pa.string(),
        "chunk_id": pa.int64(),
        "row_group_id": pa.int32(),
        "row_index_in_group": pa.int32(),
        "fragment_path": pa.string(),
        **_POSITIONS,
    }
)
_LAYOUT = {
    "ome.arrow.type": "ome.arrow",
    "ome.arrow.version": "0.1.0",
    "ome.arrow.layout": "typed-chunk-dataset",
}
Rows = list[dict[str, Any]]


def dataset_tables(
    images: Mapping[str, np.ndarray], chunk: Sequence[int], group: int
) -> dict[str, Rows]:
    """Rows of the tables of a folder: ``images``, ``chunks`` and ``index``."""
    rows: dict[str, Rows] = {"images": [], "chunks": [], "index": []}
    for key, values in images.items():
        rows["images"].append(
            {
                "image_id": key,
                "name": key,
                "image_type": None,
                "dtype": values.dtype.name,
                **{f"size_{d}": n for d, n in zip(DIMS, values.shape, strict=True)},
                "layout": "block",
                **{f"chunk_{d}": n for d, n in zip(DIMS, chunk, strict=True)},
                "compression": "zstd",
                "channels_json": json.dumps([{"name": f"C{c}"} for c in range(values.shape[1])]),
            }
        )
        for box in boxes(values.shape, chunk):
            number, part = len(rows["chunks"]), values[box]
            place = {d: s.start for d, s in zip(DIMS, box, strict=True)}
            place |= {f"shape_{d}": n for d, n in zip(DIMS, part.shape, strict=True)}
            name = {"image_id": key, "chunk_id": number}
            rows["chunks"].append(
                {**name, **place, "dtype": values.dtype.name, "pixel_bytes": stored(part)}
            )
            where = {"row_group_id": number // group, "row_index_in_group": number % group}
            rows["index"].append({**name, **place, **where, "fragment_path": "chunks.parquet"})
    return rows


def dataset(
    images: Mapping[str, np.ndarray] | Sequence[np.ndarray],
    chunk: Sequence[int] = (1, 1, 2, 3, 4),
    *,
    group: int = 1,
    index: bool = True,
    change: Callable[[dict[str, Rows]], Any] | None = None,
) -> dict[str, bytes]:
    """The files of a folder; ``change`` may spoil the rows of its tables before they are written.

    >>> sorted(dataset([image()], index=False))
    ['_ome_arrow_dataset.json', 'chunks.parquet', 'images.parquet']
    """
    if not isinstance(images, Mapping):
        images = {f"image-{number:05d}": values for number, values in enumerate(images)}
    rows = dataset_tables(images, chunk, group)
    if change is not None:
        change(rows)
    schemas = {"images": _IMAGES, "chunks": _CHUNKS, "index": _INDEX}
    files = {}
    for name, schema in schemas.items():
        if name == "index" and not index:
            continue
        made = pa.Table.from_pylist(rows[name], schema=schema).replace_schema_metadata(_LAYOUT)
        options = {"row_group_size": group} if name == "chunks" else {}
        files[f"{name}.parquet"] = parquet(made, **options)
    document = {
        "type": "ome.arrow",
        "version": "0.1.0",
        "layout": "typed-chunk-dataset",
        "image_count": len(rows["images"]),
        "chunk_count": len(rows["chunks"]),
    }
    files["_ome_arrow_dataset.json"] = json.dumps(document).encode()
    return files
