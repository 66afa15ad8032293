"""Metadata documents: what they say, how codecs may be named, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import tensorstore
import zarr

from lazytensor.errors import DimensionError, DTypeError, FormatError, ShapeError
from lazytensor.io.zarr.documents import array_documents, group_documents
from lazytensor.io.zarr.keys import KeyEncoding
from tests.io.zarr_write.encoding import by_tensorstore, put, written


def made(**options: Any) -> Any:
    given = {"shape": (4, 6), "dtype": np.dtype("u2"), "chunks": (2, 3), **options}
    return array_documents(given.pop("shape"), given.pop("dtype"), **given)


def v3(**options: Any) -> Any:
    return json.loads(made(**options).files["zarr.json"])


def v2(**options: Any) -> Any:
    return json.loads(made(zarr_format=2, **options).files[".zarray"])


def test_a_document_of_v3() -> None:
    found = v3(shards=(4, 6), order="F", attributes={"a": 1}, dimension_names=("y", None))
    assert found == {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [4, 6],
        "data_type": "uint16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 6]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [2, 3],
                    "codecs": [
                        {"name": "transpose", "configuration": {"order": [1, 0]}},
                        {"name": "bytes", "configuration": {"endian": "little"}},
                        {"name": "zstd", "configuration": {"level": 1, "checksum": False}},
                    ],
                    "index_codecs": [
                        {"name": "bytes", "configuration": {"endian": "little"}},
                        {"name": "crc32c"},
                    ],
                    "index_location": "end",
                },
            }
        ],
        "attributes": {"a": 1},
        "dimension_names": ["y", None],
        "storage_transformers": [],
    }


def test_a_document_of_v2() -> None:
    found = made(
        zarr_format=2, compressor="blosc", filters="delta", dimension_names=("y", "x"), order="F"
    )
    assert list(found.files) == [".zattrs", ".zarray"]
    assert json.loads(found.files[".zattrs"]) == {"_ARRAY_DIMENSIONS": ["y", "x"]}
    assert json.loads(found.files[".zarray"]) == {
        "zarr_format": 2,
        "shape": [4, 6],
        "chunks": [2, 3],
        "dtype": "<u2",
        "compressor": {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0},
        "fill_value": 0,
        "order": "F",
        "filters": [{"id": "delta", "dtype": "<u2"}],
        "dimension_separator": ".",
    }
    assert found.metadata.dimension_names == ("y", "x")


def test_xarray_reads_the_names_of_v2(tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    array = written(np.ones((4, 6)), (2, 3), zarr_format=2, dimension_names=("y", "x"))
    store = {f"a/{name}": data for name, data in array.items()} | group_documents(zarr_format=2)
    with xarray.open_zarr(str(put(tmp_path, store)), consolidated=False, chunks=None) as found:
        assert found["a"].dims == ("y", "x")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_groups(tmp_path: Path, zarr_format: int) -> None:
    put(tmp_path, group_documents({"a": [1, "é"]}, zarr_format=zarr_format))  # type: ignore[arg-type]
    found = zarr.open_group(str(tmp_path), mode="r")
    assert found.metadata.zarr_format == zarr_format
    assert found.attrs.asdict() == {"a": [1, "é"]}


KEYS: list[tuple[int, Any, str]] = [
    (3, None, "c/1/1"), (3, "default", "c/1/1"), (3, ".", "c.1.1"), (3, "v2", "1.1"),
    (3, KeyEncoding("v2", "/"), "1/1"), (2, None, "1.1"), (2, "v2", "1.1"), (2, "/", "1/1"),
]  # fmt: skip


@pytest.mark.parametrize(("zarr_format", "encoding", "key"), KEYS)
def test_names_of_chunks(tmp_path: Path, zarr_format: int, encoding: Any, key: str) -> None:
    values = np.arange(24, dtype="u2").reshape(4, 6)
    store = written(values, (2, 3), zarr_format=zarr_format, key_encoding=encoding)
    assert key in store
    assert np.array_equal(by_tensorstore(put(tmp_path, store)), values)


BLOSC = {"cname": "lz4", "clevel": 9, "shuffle": "shuffle", "typesize": 2, "blocksize": 0}
SPELLINGS: list[tuple[Any, dict[str, Any]]] = [
    ("zstd:5", {"name": "zstd", "configuration": {"level": 5, "checksum": False}}),
    ("zstd:-3", {"name": "zstd", "configuration": {"level": -3, "checksum": False}}),
    ({"id": "zstd", "level": 2},
     {"name": "zstd", "configuration": {"level": 2, "checksum": False}}),
    ("blosc:9", {"name": "blosc", "configuration": BLOSC}),
    (numcodecs.Blosc("lz4", 9, -1), {"name": "blosc", "configuration": BLOSC}),
    ({"name": "numcodecs.zstd", "configuration": {"level": 1}},
     {"name": "zstd", "configuration": {"level": 1, "checksum": False}}),
    (numcodecs.GZip(6), {"name": "gzip", "configuration": {"level": 6}}),
    ("crc32c", {"name": "crc32c"}),
    ("lz4", {"name": "numcodecs.lz4", "configuration": {"acceleration": 1}}),
]  # fmt: skip


@pytest.mark.parametrize(("given", "document"), SPELLINGS)
def test_spellings_of_codecs(given: Any, document: dict[str, Any]) -> None:
    assert v3(compressor=given)["codecs"][1:] == [document]


def test_codecs_of_v3_for_v2() -> None:
    document = {"name": "blosc", "configuration": BLOSC}
    expected = {"id": "blosc", "cname": "lz4", "clevel": 9, "shuffle": 1, "blocksize": 0}
    assert v2(compressor=document)["compressor"] == expected
    assert v2(compressor={"name": "numcodecs.lz4"})["compressor"] == {"id": "lz4"}
    found = v2(compressor=["gzip:1", "crc32c"], filters=["shuffle"])
    assert [step["id"] for step in found["filters"]] == ["shuffle", "gzip"]
    assert found["compressor"] == {"id": "crc32c"}


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"chunks": (2,)}, ShapeError, "chunks: .* number of dimensions"),
    ({"chunks": (2, 0)}, ShapeError, "chunks: expected integers from 1"),
    ({"shape": (2, -1)}, ShapeError, "shape: expected integers from 0"),
    ({"shape": (2, 1.5)}, ShapeError, "shape: expected integers"),
    ({"shards": (3, 6)}, ShapeError, "no multiple of the chunks"),
    ({"shards": (4, 6), "zarr_format": 2}, FormatError, "zarr v2 has none; write zarr_format=3"),
    ({"zarr_format": 4}, FormatError, "expected 2 or 3"),
    ({"order": "K"}, FormatError, "'C' or 'F'"),
    ({"dtype": np.dtype("O")}, DTypeError, "cannot hold object: cast to"),
    ({"dtype": np.dtype("g")}, DTypeError, "cannot hold"),
    ({"dtype": np.dtype([("a", "f4", (2,))])}, DTypeError, "zarr v3 cannot hold"),
    ({"fill_value": 70000}, FormatError, "70000 is no value of uint16"),
    ({"fill_value": 1.5}, FormatError, "1.5 is no value of uint16"),
    ({"fill_value": np.nan}, FormatError, "nan is no value of uint16"),
    ({"fill_value": "x"}, FormatError, "'x' is no value of uint16"),
    ({"fill_value": [1, 2]}, FormatError, "is no value of uint16"),
    ({"fill_value": 1e60, "dtype": np.dtype("f4")}, FormatError, "no value of float32"),
    ({"fill_value": 1j, "dtype": np.dtype("f4")}, FormatError, "no value of float32"),
    ({"fill_value": b"abcd", "dtype": np.dtype("S3")}, FormatError, "no value of"),
    ({"attributes": {"a": np.nan}}, FormatError, "attributes: .*finite numbers"),
    ({"attributes": {"a": object()}}, FormatError, "object is not JSON"),
    ({"dimension_names": ("x",)}, DimensionError, "expected 2 names"),
    ({"dimension_names": ("x", 1)}, DimensionError, "expected 2 names"),
    ({"zarr_format": 2, "dimension_names": ("y", "x"),
      "attributes": {"_ARRAY_DIMENSIONS": ["a", "b"]}}, DimensionError, "leave the attribute out"),
    ({"key_encoding": "v9"}, FormatError, "expected default, v2, '/' or '.'"),
    ({"key_encoding": "default", "zarr_format": 2}, FormatError, "expected v2, '/' or '.'"),
    ({"compressor": "snappy"}, FormatError, "'snappy' is not supported; known are"),
    ({"compressor": "snappy", "zarr_format": 2}, FormatError, "known are .*zstd"),
    ({"compressor": 5}, FormatError, "compressor: expected a name, 'name:level'"),
    ({"compressor": "zstd:high"}, FormatError, "expected a level, such as 'zstd:5'"),
    ({"compressor": "crc32c:5"}, FormatError, "expected a level"),
    ({"compressor": "zstd:99"}, FormatError, "level: expected an integer from -131072 to 22"),
    ({"compressor": "gzip:10"}, FormatError, "level: expected an integer"),
    ({"compressor": "blosc:10"}, FormatError, "clevel: expected an integer from 0 to 9"),
    ({"compressor": {"id": "blosc", "cname": "snappy"}}, FormatError, "cname: expected one of"),
    ({"compressor": {"id": "blosc", "shuffle": "some"}}, FormatError, "shuffle: expected one of"),
    ({"compressor": {"id": "zstd", "checksum": 1}}, FormatError, "checksum: expected true or"),
    ({"compressor": {"id": "lzma", "format": 0}}, FormatError, "format: expected 1"),
    ({"compressor": {"id": "lzma", "filters": [{"id": 99}]}}, FormatError, "filters"),
    ({"compressor": {"id": "pcodec", "nonsense": 1}}, FormatError, "nonsense"),
    ({"compressor": "pickle"}, FormatError, "any program"),
    ({"compressor": "zfpy"}, FormatError, "zfpy"),
    ({"compressor": {"name": "bytes"}}, FormatError, "part of the layout"),
    ({"filters": {"name": "transpose"}}, FormatError, "part of the layout"),
    ({"filters": {"name": "sharding_indexed"}, "zarr_format": 2}, FormatError, "of zarr v3"),
    ({"filters": {"name": "cast_value"}, "zarr_format": 2}, FormatError, "of zarr v3"),
    ({"filters": ["shuffle", "delta"]}, FormatError, "'numcodecs.delta' follows 'bytes'"),
    ({"filters": "delta", "dtype": np.dtype("?")}, FormatError, "bools have no differences"),
    ({"filters": "quantize"}, FormatError, "expected floats"),
    ({"filters": "quantize", "dtype": np.dtype("f4")}, FormatError, "digits"),
    ({"filters": "bitround", "dtype": np.dtype("f4")}, FormatError, "keepbits"),
    ({"filters": "bitround"}, FormatError, "expected floats"),
    ({"filters": {"id": "bitround", "keepbits": 24}, "dtype": np.dtype("f4")}, FormatError,
     "keepbits: expected an integer from 0 to 23"),
    ({"filters": "packbits"}, FormatError, "expected an array of bool"),
    ({"filters": numcodecs.AsType("<f4", "<c8"), "dtype": np.dtype("c8")}, FormatError,
     "that can hold the values"),
    ({"filters": numcodecs.FixedScaleOffset(0, 0, "<f4", "<i2"), "dtype": np.dtype("f4")},
     FormatError, "scale other than 0"),
    ({"shape": (1 << 20, 1 << 20), "chunks": (1 << 16, 1 << 16), "compressor": "blosc"},
     FormatError, "blosc encodes at most .* make the chunks smaller"),
    ({"shape": (1 << 63, 1)}, FormatError, "shape"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "error", "message"), REFUSED)
def test_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        made(**options)


def test_padding_in_structures_is_not_described() -> None:
    dtype = np.dtype({"names": ["a", "b"], "formats": ["u1", "u4"], "offsets": [0, 4]})
    assert made(dtype=dtype).metadata.dtype.itemsize == 5


def test_numpy_in_attributes() -> None:
    found = v3(attributes={"scale": np.float32(0.5), "shape": np.array([1, 2]), "t": (1, 2)})
    assert found["attributes"] == {"scale": 0.5, "shape": [1, 2], "t": [1, 2]}


def test_big_endian_is_written_little() -> None:
    assert v2(dtype=np.dtype(">u2"))["dtype"] == "<u2"
    assert made(dtype=np.dtype(">u2")).metadata.dtype == np.dtype("u2")


def test_documents_are_the_same_every_time() -> None:
    options: dict[str, Any] = {"attributes": {"b": 1, "a": 2}, "compressor": "blosc"}
    assert made(**options).files == made(**options).files


def test_tensorstore_has_the_same_view(tmp_path: Path) -> None:
    options: dict[str, Any] = {"fill_value": 7, "dimension_names": ("y", "x"), "shards": (4, 6)}
    put(tmp_path, made(compressor="blosc", **options).files)
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{tmp_path}/"}}
    found = tensorstore.open(spec, read=True, open=True).result()
    assert found.domain.labels == ("y", "x")
    assert found.fill_value == 7
    assert found.chunk_layout.read_chunk.shape == (2, 3)
    assert found.chunk_layout.write_chunk.shape == (4, 6)
