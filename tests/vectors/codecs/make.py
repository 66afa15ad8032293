"""Writes ``codecs.zip`` and ``codecs.json``: codecs of a zarr-python newer than the tests' own.

Made with Python 3.13, zarr 3.4.2, numcodecs 0.17.1 and cast-value-rs 0.4.2: ``python make.py``. The
expected values are those that zarr-python reads back; a third of the chunks is left out.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BytesCodec, CastValue, ScaleOffset, ShardingCodec, TransposeCodec
from zarr.codecs import numcodecs as zn

HERE = Path(__file__).parent
EIGHTHS = np.arange(-12, 12).reshape(4, 6) / 8
HOLES = np.where(EIGHTHS == 0.5, np.nan, EIGHTHS)
INTEGERS = np.arange(-12, 12, dtype="i4").reshape(4, 6) * 5 + 3
NAN_IS_99 = {"encode": [["NaN", 99]], "decode": [[99, "NaN"]]}
BIG = BytesCodec(endian="big")
SHARDED = ShardingCodec(chunk_shape=(2, 3))  # behind the filters, not around them


def arrays() -> dict[str, tuple[np.ndarray, Any, dict[str, Any]]]:
    """Name: values, fill value, further options."""
    scale = ScaleOffset(scale=8, offset=-2)
    narrow = CastValue(data_type="int16", rounding="towards-zero", out_of_range="clamp")
    mapped = CastValue(data_type="int8", scalar_map=NAN_IS_99)
    turn = TransposeCodec(order=(1, 0))
    return {
        "scale": (EIGHTHS, 0.3, {"filters": [scale]}),
        "scale integers": (INTEGERS, 8, {"filters": [ScaleOffset(scale=2, offset=3)]}),
        "cast": (EIGHTHS, 0, {"filters": [narrow]}),
        "cast mapped": (HOLES.astype("f4") * 8, "NaN", {"filters": [mapped]}),
        "scale cast": (EIGHTHS, 0.3, {"filters": [scale, narrow], "serializer": BIG}),
        "scale cast turned": (EIGHTHS, 0.3, {"filters": [scale, turn, narrow]}),
        "scale cast in shards": (EIGHTHS, 0.3, {"filters": [scale, narrow], "serializer": SHARDED}),
        "mapped in shards": (HOLES * 8, "NaN", {"filters": [mapped], "serializer": SHARDED}),
        "turned in shards": (
            EIGHTHS,
            0.3,
            {"filters": [scale, turn, narrow], "serializer": SHARDED},
        ),
        "delta": (INTEGERS, 7, {"filters": [zn.Delta(dtype="<i4", astype="<i2")]}),
        "packbits": (INTEGERS % 2 == 0, True, {"filters": [zn.PackBits()]}),
        "pcodec": (EIGHTHS, 0.3, {"serializer": zn.PCodec(level=2)}),
        "checksums": (INTEGERS, 7, {"compressors": [zn.CRC32(), zn.Fletcher32(), zn.BZ2()]}),
    }


def main() -> None:
    """Write everything anew."""
    warnings.simplefilter("ignore")
    store = zarr.storage.ZipStore(HERE / "codecs.zip", mode="w")
    expected = {}
    for name, (values, fill, options) in arrays().items():
        array = zarr.create_array(
            store,
            name=name,
            shape=(6, 6),
            chunks=(6, 6) if "shards" in name else (2, 3),
            dtype=values.dtype,
            fill_value=np.nan if fill == "NaN" else fill,
            **{"compressors": None, **options},
        )
        array[:4] = values
        found = array[...]
        expected[name] = {"dtype": str(found.dtype), "bytes": found.tobytes().hex()}
    store.close()
    (HERE / "codecs.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
