"""What our encoders and documents make, zarr-python, tensorstore, zarrs and our reader read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numcodecs
import numpy as np
import pytest
import zarr.codecs.numcodecs as zn
from zarr import codecs as zc

from lazytensor.io.zarr import scan
from tests.io.zarr_cases import distinct, read, same
from tests.io.zarr_write.encoding import by_tensorstore, by_zarr, by_zarrs, put, written

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
NUMBERS = ["bool", *INTEGERS, "float16", "float32", "float64", "complex64", "complex128"]
SHAPES = [((7, 9), (3, 4)), ((5,), (8,)), ((2, 3, 4, 5, 6), (1, 2, 4, 3, 5)), ((6, 1), (1, 1)),
          ((), ()), ((0, 3), (2, 2))]  # fmt: skip
# All four read them.
COMMON: dict[str, Any] = {
    "none": None,
    "zstd": "zstd",
    "zstd 19": "zstd:19",
    "zstd checksum": {"name": "zstd", "configuration": {"level": 3, "checksum": True}},
    "gzip": "gzip",
    "gzip 9": "gzip:9",
    "gzip 0": "gzip:0",
    "blosc": "blosc",
    "blosc bits": numcodecs.Blosc("zstd", 3, numcodecs.Blosc.BITSHUFFLE),
    "blosc auto": numcodecs.Blosc("lz4hc", 9, numcodecs.Blosc.AUTOSHUFFLE),
    "blosc none": numcodecs.Blosc("blosclz", 1, numcodecs.Blosc.NOSHUFFLE),
    "blosc v3": zc.BloscCodec(cname="zlib", clevel=1, shuffle="bitshuffle"),
}
# tensorstore does not know them.
WIDE: dict[str, Any] = {
    "lz4": "lz4",
    "zlib": "zlib:6",
    "bz2": "bz2",
    "lzma": "lzma",
    "pcodec": "pcodec",
    "crc32": numcodecs.CRC32(),
    "adler32 behind": numcodecs.Adler32("end"),
    "fletcher32": "fletcher32",
    "jenkins": "jenkins_lookup3",
    "base64": numcodecs.Base64(),
    "several": ["shuffle", "lz4", "crc32c"],
    "lzma raw": numcodecs.LZMA(format=3, filters=[{"id": 3, "dist": 2}, {"id": 33, "preset": 1}]),
}
LAYOUTS = ["v2 C", "v2 F", "v3 C", "v3 F", "v3 shards C", "v3 shards F"]


def read_any(store: dict[str, bytes]) -> np.ndarray:
    """As ``read``, strings too."""
    source = scan(store)
    out = np.empty(source.spec.shape, source.spec.dtype)
    source.read_into(tuple((0, n) for n in source.spec.shape), out)
    return out


def options_of(layout: str, chunks: tuple[int, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {"zarr_format": int(layout[1]), "order": layout[-1]}
    if "shards" in layout:
        found["shards"] = tuple(2 * n for n in chunks)
    return found


def agree(path: Path, store: dict[str, bytes], values: np.ndarray, *readers: Any) -> None:
    put(path, store)
    assert same(read(store), values)
    for reader in readers:
        assert same(reader(path), values), reader


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", NUMBERS)
def test_dtypes(tmp_path: Path, dtype: str, layout: str) -> None:
    values = distinct((7, 9), dtype)
    store = written(values, (3, 4), **options_of(layout, (3, 4)))
    readers = [by_zarr, by_tensorstore]
    if layout[1] == "3":
        readers.append(by_zarrs)
    agree(tmp_path, store, values, *readers)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("compressor", COMMON)
def test_common_compressors(tmp_path: Path, compressor: str, layout: str) -> None:
    values = distinct((7, 9), "u2")
    store = written(values, (3, 4), compressor=COMMON[compressor], **options_of(layout, (3, 4)))
    readers = [by_zarr]
    if "checksum" not in compressor or layout[1] == "3":  # tensorstore: an unknown key of v2
        readers.append(by_tensorstore)
    if layout[1] == "3":
        readers.append(by_zarrs)
    agree(tmp_path, store, values, *readers)


@pytest.mark.parametrize("layout", ["v2 C", "v2 F", "v3 C", "v3 shards F"])
@pytest.mark.parametrize("compressor", WIDE)
def test_other_compressors(tmp_path: Path, compressor: str, layout: str) -> None:
    values = distinct((7, 9), "i4")
    store = written(values, (3, 4), compressor=WIDE[compressor], **options_of(layout, (3, 4)))
    has_it = layout[1] == "2" or compressor != "base64"  # zarr-python
    agree(tmp_path, store, values, *([by_zarr] if has_it else []))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("shape", "chunks"), SHAPES)
def test_shapes(
    tmp_path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], layout: str
) -> None:
    values = distinct(shape, "i4")
    readers = [by_zarr, by_tensorstore]
    agree(tmp_path, written(values, chunks, **options_of(layout, chunks)), values, *readers)


FILTERS: dict[str, tuple[str, Any]] = {
    "delta": ("i4", "delta"),
    "delta smaller": ("u2", numcodecs.Delta("<u2", "i2")),
    "scale": ("f8", numcodecs.FixedScaleOffset(offset=-10, scale=8, dtype="<f8", astype="<i2")),
    "scale integers": ("u2", numcodecs.FixedScaleOffset(offset=40, scale=1, dtype="<u2",
                                                        astype="<i2")),
    "astype": ("i8", numcodecs.AsType("<i2", "<i8")),
    "shuffle": ("f4", "shuffle"),
    "packbits": ("bool", "packbits"),
    "two": ("f8", [numcodecs.FixedScaleOffset(0, 8, "<f8", "<i4"), numcodecs.Delta("<i4")]),
}  # fmt: skip


@pytest.mark.parametrize("layout", ["v2 C", "v2 F", "v3 C", "v3 F", "v3 shards C"])
@pytest.mark.parametrize("name", FILTERS)
def test_filters(tmp_path: Path, name: str, layout: str) -> None:
    dtype, filters = FILTERS[name]
    values = distinct((7, 9), dtype)
    store = written(values, (3, 4), filters=filters, **options_of(layout, (3, 4)))
    agree(tmp_path, store, values, by_zarr)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("name", ["quantize", "bitround"])
def test_codecs_that_lose_digits_lose_what_numcodecs_loses(
    tmp_path: Path, name: str, zarr_format: int
) -> None:
    values = np.random.default_rng(5).normal(size=(7, 9)).astype("f4")
    codec = {"quantize": numcodecs.Quantize(2, "<f4"), "bitround": numcodecs.BitRound(5)}[name]
    store = written(values, (3, 4), filters=codec, zarr_format=zarr_format)
    expected = codec.decode(codec.encode(values.copy())).reshape(values.shape)
    assert not same(values, expected)
    put(tmp_path, store)
    assert same(read(store), expected.view("f4"))
    assert same(by_zarr(tmp_path), expected.view("f4"))


def test_codecs_of_values_of_v3(tmp_path: Path) -> None:
    values = distinct((7, 9), "f8") / 4
    filters = [
        {"name": "scale_offset", "configuration": {"scale": 4, "offset": -20}},
        {"name": "cast_value", "configuration": {"data_type": "uint8"}},
        {"name": "packbits", "configuration": {"padding_encoding": "first_byte"}},
    ]
    store = written(values, (3, 4), filters=filters, compressor="crc32c", fill_value=1.5)
    assert same(read(store), values)
    assert len(store["c/0/0"]) == 12 + 1 + 4


def test_zarr_pythons_codecs_of_v3_are_taken(tmp_path: Path) -> None:
    values = distinct((7, 9), "i4")
    with pytest.warns(UserWarning, match="Numcodecs codecs"):
        delta = zn.Delta(dtype="<i4")
    store = written(values, (3, 4), filters=delta, compressor=[zc.GzipCodec(), zc.Crc32cCodec()])
    names = [codec["name"] for codec in json.loads(store["zarr.json"])["codecs"]]
    assert names == ["numcodecs.delta", "bytes", "gzip", "crc32c"]
    agree(tmp_path, store, values, by_zarr)


OTHER_TYPES: dict[str, np.ndarray] = {
    "S": np.array([b"a", b"", b"abc"], "S3"),
    "U": np.array(["é", "", "abc"], "U3"),
    "V": np.array([b"abc", b"\0\1\2", b"\0\0\0"], "V3"),
    "M8": np.array(["2020-01-01T00:00:10", "NaT", "1970-01-01"], "M8[10s]"),
    "m8": np.array([1, -5, 0], "m8[ms]"),
    "struct": np.array([(1, True, 2.5), (0, False, 0), (3, True, -0.0)],
                       [("a", "<u2"), ("b", "?"), ("c", "<f8")]),
    "text": np.array(["é", "", "a longer text"], np.dtypes.StringDType()),
}  # fmt: skip


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("name", OTHER_TYPES)
def test_other_types(tmp_path: Path, name: str, zarr_format: int) -> None:
    values = OTHER_TYPES[name]
    store = written(values, (2,), zarr_format=zarr_format)
    put(tmp_path, store)
    for found in (read_any(store), by_zarr(tmp_path)):
        assert found.dtype == values.dtype
        assert found.tolist() == values.tolist()


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("name", ["bfloat16", "int4", "uint4", "int2", "float8_e4m3fn",
                                  "float8_e5m2", "float4_e2m1fn"])  # fmt: skip
def test_small_types(tmp_path: Path, name: str, zarr_format: int) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name))
    values = np.arange(-4, 5).clip(0 if name[0] == "u" else -2, 1).astype(dtype).reshape(3, 3)
    store = written(values, (2, 2), zarr_format=zarr_format)
    assert same(read(store), values)
    if zarr_format == 3 and name not in ("uint4", "float4_e2m1fn"):  # not of tensorstore
        agree(tmp_path, store, values, by_tensorstore)


FILLS: list[tuple[str, Any]] = [
    ("f4", np.nan), ("f8", np.inf), ("f8", -np.inf), ("f4", -0.0), ("f2", 0.1),
    ("f4", np.uint32(0x7FC00ABC).view("f4")), ("u8", 2**64 - 1), ("i8", -(2**63)),
    ("i8", 2**53 + 1), ("c8", 1 - 2j), ("c16", complex(np.nan, -0.0)), ("?", True),
    ("S3", b"ab"), ("U3", "é"), ("M8[s]", np.datetime64("NaT")), ("m8[s]", 5), ("V2", b"\1\2"),
    ("T", "no"), ("f4", None), ("M8[s]", None), ("bfloat16", np.nan), ("bfloat16", 1.5),
]  # fmt: skip


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(("code", "fill"), FILLS, ids=str)
def test_fill_values_to_the_last_bit(
    tmp_path: Path, code: str, fill: Any, zarr_format: int
) -> None:
    dtype = np.dtype(getattr(ml_dtypes, code, code)) if code != "T" else np.dtypes.StringDType()
    values = np.zeros(3, dtype)
    values[...] = "NaT" if fill is None and dtype.kind == "M" else (0 if fill is None else fill)
    if code == "T":
        values[...] = fill
    payload = zarr_format == 2 and isinstance(fill, np.float32)
    if payload:  # which v2 has no way to write: then chunks are stored
        assert "0" in written(values, (2,), fill_value=fill, zarr_format=2)
        return
    store = written(values, (2,), fill_value=fill, zarr_format=zarr_format)
    assert not {"0", "c/0"} & set(store)
    put(tmp_path, store)
    found = [read_any(store)]
    if code != "bfloat16":
        found.append(by_zarr(tmp_path))
    for array in found:
        assert array.tolist() == values.tolist() if code == "T" else same(array, values)


@pytest.mark.parametrize("layout", ["v2 C", "v3 F", "v3 shards C"])
def test_the_end_of_edge_chunks_holds_the_fill_value(layout: str) -> None:
    values = distinct((4, 5), "u2") + 1
    store = written(values, (3, 4), fill_value=77, compressor=None, **options_of(layout, (3, 4)))
    document = json.loads(store["zarr.json" if layout[1] == "3" else ".zarray"])
    document["shape"] = [6, 8]
    name = "zarr.json" if layout[1] == "3" else ".zarray"
    found = read({**store, name: json.dumps(document).encode()})
    assert same(found[:4, :5], values)
    assert (found[4:] == 77).all()
    assert (found[:, 5:] == 77).all()
