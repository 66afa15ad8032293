"""Writes ``types.zip`` and ``types.json``: arrays of a zarr-python newer than the tests' own.

Made with Python 3.13, zarr 3.4.2 and NumPy 2.5.5: ``python make.py``. Struct data types with fields
as objects, and their fill values as objects, are only written since zarr 3.2. The expected values
are those that zarr-python reads back.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import zarr

HERE = Path(__file__).parent
STRING = np.dtypes.StringDType()
POINT = [("x", "<u2"), ("y", "<f4")]
RECORD = [("id", "<i8"), ("p", POINT), ("s", "S3"), ("u", "<U2"), ("t", "<M8[s]"), ("ok", "?")]


def records(count: int) -> np.ndarray:
    """Distinct records."""
    rows = [
        (2**53 + 1 + i, (i, i / 4 - 1), b"s%d" % i, "é" + chr(0x4E00 + i), 1000 * i, i % 2 == 0)
        for i in range(count)
    ]
    return np.array(rows, RECORD)


# name: values, fill value, further options
ARRAYS: dict[str, tuple[np.ndarray, Any, dict[str, Any]]] = {
    "record": (records(5), records(9)[8], {}),
    "record big endian": (
        records(5),
        records(9)[7],
        {"serializer": zarr.codecs.BytesCodec(endian="big")},
    ),
    "record v2": (
        records(5).astype(np.dtype(RECORD).newbyteorder(">")),
        records(9)[6],
        {"zarr_format": 2, "compressors": None},
    ),
    "record in shards": (records(5), records(9)[5], {"shards": (4,)}),
    "datetime": (
        np.arange(5).view("M8[10ms]"),
        np.datetime64("NaT"),
        {"serializer": zarr.codecs.BytesCodec(endian="big")},
    ),
    "timedelta v2": (
        np.arange(5).view("m8[D]"),
        np.timedelta64(-3, "D"),
        {"zarr_format": 2, "compressors": None},
    ),
    "text": (np.array(["a", "éa", "", "日本", "😀"]), "?", {}),
    "text v2": (np.array(["a", "éa", "", "日本", "😀"], ">U2"), "?!", {"zarr_format": 2}),
    "bytes": (np.array([b"a", b"bc", b"", b"def", b"g"]), b"zz", {}),
    "raw": (np.arange(5, dtype="<u4").view("V4"), b"\1\2\3\4", {}),
    "complex": (np.arange(5) * (1 - 2j), complex(np.nan, -np.inf), {}),
    "string": (np.array(["", "a", "é" * 20, "日本", "😀"], STRING), "fill é", {}),
    "string v2": (np.array(["", "a", "é" * 20, "日本", "😀"], STRING), "fill", {"zarr_format": 2}),
}


def main() -> None:
    """Write everything anew: the last element stands in a chunk that is left out."""
    store = zarr.storage.ZipStore(HERE / "types.zip", mode="w", compression=zipfile.ZIP_DEFLATED)
    expected = {}
    for name, (values, fill, options) in ARRAYS.items():
        array = zarr.create_array(
            store,
            name=name,
            shape=(7,),
            chunks=(2,),
            dtype=values.dtype,
            fill_value=fill,
            **options,
        )
        array[:5] = values
        found = array[...]
        native = found.dtype if found.dtype.kind == "T" else found.dtype.newbyteorder("=")
        expected[name] = {"dtype": str(native)} | (
            {"values": found.tolist()}
            if found.dtype.kind == "T"
            else {"bytes": found.astype(native).tobytes().hex()}
        )
    store.close()
    (HERE / "types.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
