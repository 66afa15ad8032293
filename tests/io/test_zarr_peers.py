"""What zarr-python and tensorstore write, we read bit for bit."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import tensorstore
import zarr
from zarr import codecs as zc

from lazytensor.errors import SourceNotFoundError
from lazytensor.io.zarr import scan
from tests.io.zarr_cases import distinct, read_all, same

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DTYPES = ["bool", *INTEGERS, "float16", "float32", "float64", "complex64", "complex128"]
SHAPES = [((7, 9), (3, 4)), ((5,), (8,)), ((2, 3, 4, 5, 6), (1, 2, 4, 3, 5)), ((6, 1), (1, 1))]
V3_COMPRESSORS = {
    "none": (),
    "zstd": (zc.ZstdCodec(level=3, checksum=True),),
    "gzip": (zc.GzipCodec(level=6),),
    "blosc lz4 shuffle": (zc.BloscCodec(cname="lz4", shuffle="shuffle"),),
    "blosc zstd bitshuffle": (zc.BloscCodec(cname="zstd", shuffle="bitshuffle"),),
    "blosclz": (zc.BloscCodec(cname="blosclz", clevel=9, shuffle="noshuffle"),),
    "crc32c": (zc.Crc32cCodec(),),
    "gzip zstd crc32c": (zc.GzipCodec(), zc.ZstdCodec(), zc.Crc32cCodec()),
}
V2_COMPRESSORS: dict[str, Any] = {
    "none": None,
    "zstd": numcodecs.Zstd(),
    "gzip": numcodecs.GZip(),
    "zlib": numcodecs.Zlib(),
    "lz4": numcodecs.LZ4(),
    "blosc": numcodecs.Blosc("zstd", 3, numcodecs.Blosc.BITSHUFFLE),
}


@pytest.fixture(autouse=True)
def _zarr_may_warn() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def written(path: Path, values: np.ndarray, chunks: tuple[int, ...], **options: Any) -> np.ndarray:
    """``values``, once zarr-python wrote them; negative ones stand for chunks left out."""
    array = zarr.create_array(
        str(path), shape=values.shape, chunks=chunks, dtype=values.dtype, **options
    )
    array[...] = values
    return values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_dtypes(tmp_path: Path, dtype: str, zarr_format: int) -> None:
    values = distinct((7, 9), dtype)
    written(tmp_path, values, (3, 4), zarr_format=zarr_format)
    assert same(read_all(scan(tmp_path)), values)


@pytest.mark.parametrize("compressor", V3_COMPRESSORS)
@pytest.mark.parametrize(("shape", "chunks"), SHAPES)
def test_v3_codecs(
    tmp_path: Path, compressor: str, shape: tuple[int, ...], chunks: tuple[int, ...]
) -> None:
    values = distinct(shape, "int32")
    written(tmp_path, values, chunks, compressors=V3_COMPRESSORS[compressor])
    assert same(read_all(scan(tmp_path)), values)


@pytest.mark.parametrize("compressor", V2_COMPRESSORS)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("filters", ["none", "shuffle", "delta", "delta shuffle"])
def test_v2_codecs(tmp_path: Path, compressor: str, order: Any, filters: str) -> None:
    table: dict[str, list[Any] | None] = {
        "none": None,
        "shuffle": [numcodecs.Shuffle(4)],
        "delta": [numcodecs.Delta("<i4", "<i2")],
        "delta shuffle": [numcodecs.Delta("<i4"), numcodecs.Shuffle(4)],
    }
    values = distinct((7, 10), "int32")
    written(
        tmp_path,
        values,
        (3, 4),
        zarr_format=2,
        order=order,
        filters=table[filters],
        compressors=V2_COMPRESSORS[compressor],
    )
    assert same(read_all(scan(tmp_path)), values)


@pytest.mark.parametrize("dtype", [">i2", ">u8", ">f4", ">f8", ">c16", "|S5", "|V3"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_v2_stored_types(tmp_path: Path, dtype: str, order: Any) -> None:
    values = distinct((5, 6), "i8")
    stored = (
        np.frombuffer(values.tobytes()[: 30 * int(dtype[2:])], dtype).reshape(5, 6)
        if dtype[1] in "SV"
        else values.astype(dtype)
    )
    written(tmp_path, stored, (2, 4), zarr_format=2, order=order, compressors=None)
    assert same(read_all(scan(tmp_path)), stored.astype(stored.dtype.newbyteorder("=")))


@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_v3_byte_order_and_transpose(tmp_path: Path, endian: Any, order: Any) -> None:
    values = distinct((5, 6, 7), "float32")
    written(
        tmp_path,
        values,
        (2, 3, 4),
        filters=[zc.TransposeCodec(order=order), zc.TransposeCodec(order=(1, 0, 2))],
        serializer=zc.BytesCodec(endian=endian),
        compressors=[zc.ZstdCodec()],
    )
    assert same(read_all(scan(tmp_path)), values)


@pytest.mark.parametrize(
    "key_encoding",
    [
        {"name": "default", "separator": "/"},
        {"name": "default", "separator": "."},
        {"name": "v2", "separator": "."},
        {"name": "v2", "separator": "/"},
    ],
)
@pytest.mark.parametrize("shape", [(), (5,), (4, 5)])
def test_key_encodings(tmp_path: Path, key_encoding: Any, shape: tuple[int, ...]) -> None:
    values = distinct(shape, "uint16") + np.uint16(3)
    written(tmp_path, values, (2,) * len(shape), chunk_key_encoding=key_encoding)
    source = scan(tmp_path)
    assert same(read_all(source), values)
    facts = source.storage.statistics()
    assert facts["units_stored"] == facts["units_total"]


@pytest.mark.parametrize("separator", ["/", "."])
@pytest.mark.parametrize("shape", [(), (5,), (4, 5)])
def test_v2_keys(tmp_path: Path, separator: Any, shape: tuple[int, ...]) -> None:
    values = distinct(shape, "uint16") + np.uint16(3)
    key_encoding: Any = {"name": "v2", "separator": separator}
    written(tmp_path, values, (2,) * len(shape), zarr_format=2, chunk_key_encoding=key_encoding)
    assert same(read_all(scan(tmp_path)), values)


@pytest.mark.parametrize("shape", [(0,), (4, 0), (0, 0, 3)])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_empty_arrays(tmp_path: Path, shape: tuple[int, ...], zarr_format: int) -> None:
    zarr.create_array(
        str(tmp_path), shape=shape, chunks=(2,) * len(shape), dtype="u2", zarr_format=zarr_format
    )
    assert read_all(scan(tmp_path)).shape == shape


@pytest.mark.parametrize("location", ["start", "end"])
@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("compressor", ["none", "zstd", "blosc lz4 shuffle"])
def test_shards(tmp_path: Path, location: Any, checked: bool, compressor: str) -> None:
    values = distinct((13, 17), "uint16")
    values[4:8, 6:12] = 0  # whole inner chunks equal to the fill value are left out
    index: list[Any] = [zc.BytesCodec()] + ([zc.Crc32cCodec()] if checked else [])
    sharding = zc.ShardingCodec(
        chunk_shape=(2, 3),
        codecs=[zc.BytesCodec(), *V3_COMPRESSORS[compressor]],
        index_codecs=index,
        index_location=location,
    )
    written(tmp_path, values, (8, 6), serializer=sharding, compressors=None)
    source = scan(tmp_path)
    assert same(read_all(source), values)
    assert source.storage.chunks == source.spec.chunks == (2, 3)
    assert source.storage.shards == (8, 6)


@pytest.mark.parametrize("around", ["nested", "gzip outside", "transposed inside"])
def test_shards_in_company(tmp_path: Path, around: str) -> None:
    values = distinct((9, 20), "int32")
    inner: list[Any] = [zc.BytesCodec(), zc.GzipCodec()]
    if around == "nested":
        inner = [zc.ShardingCodec(chunk_shape=(2, 5), codecs=inner)]
    if around == "transposed inside":
        inner = [zc.TransposeCodec(order=(1, 0)), *inner]
    written(
        tmp_path,
        values,
        (8, 20),
        serializer=zc.ShardingCodec(chunk_shape=(4, 10), codecs=inner),
        compressors=[zc.GzipCodec()] if around == "gzip outside" else None,
    )
    source = scan(tmp_path)
    assert same(read_all(source), values)
    grain = {"nested": (2, 5), "gzip outside": (8, 20), "transposed inside": (4, 10)}
    assert source.spec.chunks == grain[around]


def _tensorstore(path: Path, driver: str, metadata: dict[str, Any], dtype: str) -> Any:
    spec = {
        "driver": driver,
        "kvstore": {"driver": "file", "path": str(path)},
        "metadata": metadata,
        "dtype": dtype,
        "create": True,
    }
    return tensorstore.open(spec).result()


@pytest.mark.parametrize(
    "dtype", ["bool", "uint64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int4"]
)
@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("endian", ["little", "big"])
def test_tensorstore_v3(tmp_path: Path, dtype: str, sharded: bool, endian: str) -> None:
    plain = [{"name": "bytes", "configuration": {"endian": endian}}, {"name": "zstd"}]
    plain[1]["configuration"] = {"level": 1}
    # The shard is stored transposed, and its chunks are not square.
    inner = {"chunk_shape": [2, 4], "codecs": plain, "index_location": "start"}
    codecs = [
        {"name": "transpose", "configuration": {"order": [1, 0]}},
        {"name": "sharding_indexed", "configuration": inner},
    ]
    array = _tensorstore(
        tmp_path,
        "zarr3",
        {
            "shape": [11, 9],
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [8, 6]}},
            "codecs": codecs if sharded else plain,
            "data_type": dtype,
        },
        dtype,
    )
    values = (np.arange(99).reshape(11, 9) % 8).astype(array.dtype.numpy_dtype)
    array.write(values).result()
    source = scan(tmp_path)
    assert same(read_all(source), values)
    assert source.spec.chunks == ((4, 2) if sharded else (8, 6))


@pytest.mark.parametrize("dtype", ["<u2", ">f8", "|b1", "bfloat16"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_tensorstore_v2(tmp_path: Path, dtype: str, order: str) -> None:
    metadata = {
        "shape": [7, 5],
        "chunks": [3, 4],
        "dtype": dtype,
        "order": order,
        "compressor": {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1},
    }
    name = {"<u2": "uint16", ">f8": "float64", "|b1": "bool"}.get(dtype, dtype)
    array = _tensorstore(tmp_path, "zarr", metadata, name)
    values = (np.arange(35).reshape(7, 5) % 2).astype(array.dtype.numpy_dtype)
    array.write(values).result()
    assert same(read_all(scan(tmp_path)), values)


@pytest.mark.parametrize(
    "kind", ["array", "group", "local store", "memory store", "zip store", "fsspec store"]
)
def test_open_zarr_objects(tmp_path: Path, kind: str) -> None:
    values = distinct((5, 4), "int16")
    store: Any = (
        zarr.storage.MemoryStore() if kind == "memory store" else zarr.storage.LocalStore(tmp_path)
    )
    array = zarr.create_array(store, name="g/a", shape=(5, 4), chunks=(2, 2), dtype="i2")
    array[...] = values
    match kind:
        case "array":
            found = scan(array)
        case "fsspec store":
            found = scan(zarr.storage.FsspecStore.from_url(f"file://{tmp_path}"), "g/a")
        case "group":
            found = scan(zarr.open_group(store, path="g"), "a")
        case "zip store":
            packed = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "g")
            found = scan(zarr.storage.ZipStore(packed, mode="r"), "a")
        case _:
            found = scan(store, "g/a")
    assert same(read_all(found), values)


def test_zarr_stores_of_other_kinds_are_asked_themselves() -> None:
    with pytest.raises(SourceNotFoundError, match=r"no zarr array or group at .*memory"):
        scan(zarr.storage.LoggingStore(zarr.storage.MemoryStore(), log_level="ERROR"))


def test_xarray_dimension_names(tmp_path: Path) -> None:
    array = zarr.create_array(str(tmp_path), shape=(2, 3), dtype="u1", zarr_format=2)
    array.attrs["_ARRAY_DIMENSIONS"] = ["y", "x"]
    array.attrs["note"] = {"a": [1]}
    source = scan(tmp_path)
    assert source.spec.dims == ("y", "x") and source.attrs["note"] == {"a": [1]}
    zarr.create_array(str(tmp_path / "3"), shape=(2, 3), dtype="u1", dimension_names=["t", None])
    assert scan(tmp_path, "3").spec.dims == ("t", "")
    assert scan(tmp_path, "3", dims=("a", "b")).spec.dims == ("a", "b")
