"""Tables with everything in them that nested columns can have, and what should be found in them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PLANES = ("image", "planes", "pixels")
CHUNKS = ("image", "chunks", "pixel_bytes")
ROWS = ("payload",)

LISTS = {
    "list": pa.list_,
    "large_list": pa.large_list,
    "list_view": pa.list_view,
    "large_list_view": pa.large_list_view,
}
BYTES = {
    "binary": pa.binary(),
    "large_binary": pa.large_binary(),
    "binary_view": pa.binary_view(),
}


def table_type(
    outer: str = "list", inner: str = "list", binary: str = "large_binary", number: Any = None
) -> pa.Schema:
    """Images with planes of numbers and chunks of bytes, and other columns around them."""
    number = pa.uint16() if number is None else number
    plane = pa.struct([("z", pa.int32()), ("pixels", LISTS[inner](number)), ("t", pa.int16())])
    chunk = pa.struct([("pixel_bytes", BYTES[binary]), ("codec", pa.string()), ("z", pa.int64())])
    image = pa.struct(
        [
            ("type", pa.string()),
            ("planes", LISTS[outer](plane)),
            ("meta", pa.struct([("size", pa.int32()), ("names", pa.list_(pa.string()))])),
            ("chunks", LISTS[outer](chunk)),
            ("masks", pa.null()),
        ]
    )
    return pa.schema(
        [
            ("before", pa.int64()),
            ("image", image),
            ("well", pa.string()),
            ("payload", BYTES[binary]),
            ("kind", pa.dictionary(pa.int8(), pa.string())),
        ]
    )


def records(rng: np.random.Generator, rows: int, *, nulls: bool = True) -> list[dict[str, Any]]:
    """Rows as Python has them."""

    def maybe(value: Any, chance: float = 0.15) -> Any:
        return None if nulls and rng.random() < chance else value

    def plane() -> Any:
        pixels = [maybe(int(v), 0.05) for v in rng.integers(0, 999, rng.integers(0, 5))]
        return maybe({"z": int(rng.integers(9)), "pixels": maybe(pixels), "t": maybe(0)})

    def chunk() -> Any:
        data = bytes(rng.integers(0, 255, rng.integers(0, 40), np.uint8))
        return maybe({"pixel_bytes": maybe(data), "codec": maybe("zstd"), "z": 1})

    def image() -> Any:
        return {
            "type": "ome.arrow",
            "planes": maybe([plane() for _ in range(rng.integers(0, 4))]),
            "meta": maybe({"size": int(rng.integers(9)), "names": maybe(["a", None])}),
            "chunks": maybe([chunk() for _ in range(rng.integers(0, 4))]),
            "masks": None,
        }

    return [
        {
            "before": i,
            "image": maybe(image()),
            "well": maybe("ABC"[i % 3] + "01"),
            "payload": maybe(bytes(range(i % 50))),
            "kind": maybe(["round", "flat"][i % 2]),
        }
        for i in range(rows)
    ]


def pieces_of(rows: list[dict[str, Any]]) -> Iterator[tuple[tuple[str, ...], bool, Any]]:
    """Each path, whether it is of bytes, and its pieces."""
    for path, encoded in ((PLANES, False), (CHUNKS, True), (ROWS, True)):
        lists = [] if len(path) == 1 else [row["image"] and row["image"][path[1]] for row in rows]
        if len(path) == 1:
            yield path, encoded, [row[path[0]] for row in rows]
        else:
            items = [item for each in lists if each is not None for item in each]
            yield path, encoded, [None if item is None else item[path[2]] for item in items]


def parquet(table: pa.Table, **options: Any) -> bytes:
    """A Parquet file."""
    out = io.BytesIO()
    pq.write_table(table, out, **{"row_group_size": 4, **options})
    return out.getvalue()


def ipc(table: pa.Table, *, stream: bool = False, codec: str | None = None) -> bytes:
    """An IPC file or stream of batches of 4 rows."""
    out = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=codec, unify_dictionaries=not stream)
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(out, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=4)
    return out.getvalue()
