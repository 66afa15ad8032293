"""Codecs in files: what zarr-python and hand-made stores encode, through whole arrays."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
import zarr.codecs.numcodecs as zn
from hypothesis import given
from hypothesis import strategies as st
from numcodecs.pcodec import PCodec
from zarr import codecs as zc

import lazytensor as lt
from lazytensor.errors import ChecksumError, DTypeError, FormatError
from tests.io.zarr_cases import array_v2, array_v3, distinct, little, read, same, shard, v2, v3

LOSSY = ("quantize", "bitround")


@pytest.fixture(autouse=True)
def _zarr_may_warn() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def written(path: Path, values: np.ndarray, chunks: tuple[int, ...], **options: Any) -> Any:
    array = zarr.create_array(
        str(path),
        shape=values.shape,
        chunks=chunks,
        dtype=options.pop("dtype", values.dtype),
        **options,
    )
    array[...] = values
    return array


def eighths(dtype: str = "f8") -> np.ndarray:
    return (np.arange(35).reshape(5, 7) / 8).astype(dtype)


V2_FILTERS: dict[str, tuple[np.ndarray, list[Any]]] = {
    "delta smaller": (np.arange(35, dtype="i4").reshape(5, 7), [numcodecs.Delta("<i4", "i1")]),
    "delta big endian": (np.arange(35, dtype=">i4").reshape(5, 7), [numcodecs.Delta(">i4")]),
    "scale": (eighths(), [numcodecs.FixedScaleOffset(1, 8, "<f8", "<i2")]),
    "scale delta": (
        eighths(),
        [numcodecs.FixedScaleOffset(0, 8, "<f8", "<i4"), numcodecs.Delta("<i4", "i1")],
    ),
    "scale delta shuffle": (
        eighths("f4"),
        [
            numcodecs.FixedScaleOffset(0, 8, "<f4", "<i4"),
            numcodecs.Delta("<i4", "<i2"),
            numcodecs.Shuffle(2),
        ],
    ),
    "astype": (np.arange(35.0).reshape(5, 7), [numcodecs.AsType("<u2", "<f8")]),
    "quantize": (eighths("f8"), [numcodecs.Quantize(2, "<f8", "<f4")]),
    "bitround": (eighths("f4"), [numcodecs.BitRound(9)]),
    "packbits": (np.arange(35).reshape(5, 7) % 3 == 0, [numcodecs.PackBits()]),
    "categorize": (
        np.array(["a", "bc", "a", "déf", "", "bc"], "<U3").reshape(2, 3),
        [numcodecs.Categorize(["a", "bc", "déf"], "<U3")],
    ),
    "checksums": (
        distinct((5, 7), "i4"),
        [numcodecs.CRC32(), numcodecs.Adler32(location="end"), numcodecs.Fletcher32()],
    ),
    "jenkins": (distinct((5, 7), "i4"), [numcodecs.JenkinsLookup3(initval=3)]),
    "codecs as filters": (distinct((5, 7), "i4"), [numcodecs.Zlib(1), numcodecs.LZMA()]),
}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("compressor", [None, numcodecs.BZ2(1), numcodecs.Zstd()])
@pytest.mark.parametrize("name", V2_FILTERS)
def test_v2_filters(tmp_path: Path, name: str, compressor: Any, order: str) -> None:
    values, filters = V2_FILTERS[name]
    options = {"filters": filters, "compressors": compressor, "order": order}
    array = written(tmp_path, values, (2, 3), zarr_format=2, **options)
    expected = array[...]
    found = lt.scan_zarr(tmp_path).collect()
    assert found.dtype == values.dtype.newbyteorder("=")
    assert (found == expected).all()
    assert name in LOSSY or (found == values).all()


@pytest.mark.parametrize("dtype", ["u2", "i8", "f2", "f4", "M8[s]"])
def test_v2_pcodec(tmp_path: Path, dtype: str) -> None:
    values = distinct((5, 7), "i8").astype(dtype)
    written(tmp_path, values, (2, 3), zarr_format=2, compressors=PCodec())
    assert same(lt.scan_zarr(tmp_path).collect(), values)


def cases_v3() -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    """Values, and what zarr-python is told to do with them."""
    return {
        "delta": (
            np.arange(35, dtype="i4").reshape(5, 7),
            {"filters": [zn.Delta(dtype="<i4", astype="i1")]},
        ),
        "scale": (
            eighths(),
            {"filters": [zn.FixedScaleOffset(offset=1, scale=8, dtype="<f8", astype="<i2")]},
        ),
        "scale delta": (
            eighths(),
            {
                "filters": [
                    zn.FixedScaleOffset(offset=0, scale=8, dtype="<f8", astype="<i4"),
                    zn.Delta(dtype="<i4", astype="i1"),
                ]
            },
        ),
        "scale big endian": (
            eighths(),
            {
                "filters": [zn.FixedScaleOffset(offset=0, scale=8, dtype="<f8", astype=">i4")],
                "serializer": zc.BytesCodec(endian="big"),
            },
        ),
        "astype transpose": (
            np.arange(35.0).reshape(5, 7),
            {
                "filters": [
                    zn.AsType(encode_dtype="<u2", decode_dtype="<f8"),
                    zc.TransposeCodec(order=(1, 0)),
                ]
            },
        ),
        "quantize": (eighths("f4"), {"filters": [zn.Quantize(digits=4, dtype="<f4")]}),
        "bitround": (eighths("f4"), {"filters": [zn.BitRound(keepbits=9)]}),
        "packbits": (np.arange(35).reshape(5, 7) % 3 == 0, {"filters": [zn.PackBits()]}),
        "pcodec": (distinct((5, 7), "f4"), {"serializer": zn.PCodec(level=4)}),
        "checksums": (
            distinct((5, 7), "i4"),
            {
                "compressors": [
                    zn.CRC32(),
                    zn.Adler32(),
                    zn.Fletcher32(),
                    zn.JenkinsLookup3(),
                    zn.CRC32C(),
                ]
            },
        ),
        "shuffle": (distinct((5, 7), "f8"), {"compressors": [zn.Shuffle(), zn.LZMA(preset=1)]}),
        "bz2 zlib lz4": (distinct((5, 7), "f8"), {"compressors": [zn.BZ2(), zn.Zlib(), zn.LZ4()]}),
        "blosc zstd gzip": (
            distinct((5, 7), "f8"),
            {"compressors": [zn.Blosc(), zn.Zstd(), zn.GZip()]},
        ),
        "sharded": (
            np.arange(35, dtype="i4").reshape(5, 7),
            {"filters": [zn.Delta(dtype="<i4", astype="i1")], "shards": (4, 6)},
        ),
    }


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # "not in the specification", each of them
    V3_CODECS = cases_v3()


@pytest.mark.parametrize("name", V3_CODECS)
def test_v3_codecs_of_numcodecs(tmp_path: Path, name: str) -> None:
    values, options = V3_CODECS[name]
    array = written(tmp_path, values, (2, 3), **{"compressors": None, **options})
    expected = values if name == "scale big endian" else array[...]
    found = lt.scan_zarr(tmp_path).collect()
    assert found.dtype == values.dtype and (found == expected).all()
    assert name in LOSSY or (found == values).all()


VECTORS = Path(__file__).parent.parent / "vectors" / "codecs"


@pytest.mark.parametrize("name", sorted(json.loads((VECTORS / "codecs.json").read_text())))
def test_what_a_newer_zarr_python_wrote(name: str) -> None:
    """Written by the script beside the vectors; the expected values are what it read back."""
    expected = json.loads((VECTORS / "codecs.json").read_text())[name]
    found = lt.scan_zarr(VECTORS / "codecs.zip", name).collect()
    values = np.frombuffer(bytes.fromhex(expected["bytes"]), expected["dtype"])
    assert same(found, values.reshape(found.shape))


def delta_of(values: np.ndarray) -> np.ndarray:
    return np.diff(values.reshape(-1), prepend=values.dtype.type(0))


def test_transposes_before_and_after_a_delta() -> None:
    """An ordered codec sees the values in the order that the transposes before it made."""
    values = (np.arange(24, dtype="i4") ** 2).reshape(2, 3, 4)
    first, second = (2, 0, 1), (1, 2, 0)
    turned = np.ascontiguousarray(values.transpose(first))
    stored = delta_of(turned).reshape(turned.shape).transpose(second)
    codecs = [
        {"name": "transpose", "configuration": {"order": list(first)}},
        {"name": "numcodecs.delta", "configuration": {"dtype": "<i4"}},
        {"name": "transpose", "configuration": {"order": list(second)}},
        {"name": "bytes", "configuration": {"endian": "big"}},
    ]
    document = array_v3((2, 3, 4), (2, 3, 4), "int32", codecs)
    data = v3(document, {"c/0/0/0": np.ascontiguousarray(stored).astype(">i4").tobytes()})
    assert (read(data) == values).all()


@pytest.mark.parametrize("shape", [[[0, 1], 4], [6, -1], [[0], [1, 2]], [24], [2, 3, 1, 4], [-1]])
def test_reshaping_keeps_the_order(shape: list[Any]) -> None:
    values = distinct((2, 3, 4), "i4")
    reshape = {"name": "reshape", "configuration": {"shape": shape}}
    document = array_v3((2, 3, 4), (2, 3, 4), "int32", [reshape, little()])
    assert (read(v3(document, {"c/0/0/0": values.tobytes()})) == values).all()


def test_axes_are_turned_on_both_sides_of_a_reshape() -> None:
    values = distinct((2, 3, 4), "i4")
    stored = np.ascontiguousarray(values.transpose(2, 0, 1).reshape(8, 3).T)
    codecs = [
        {"name": "transpose", "configuration": {"order": [2, 0, 1]}},
        {"name": "reshape", "configuration": {"shape": [[0, 1], 3]}},
        {"name": "transpose", "configuration": {"order": [1, 0]}},
        little(),
    ]
    document = array_v3((2, 3, 4), (2, 3, 4), "int32", codecs)
    assert (read(v3(document, {"c/0/0/0": stored.tobytes()})) == values).all()


@pytest.mark.parametrize(
    "shape",
    [
        *[[], [5], [-1, -1], [0, -1], [[1], [0], 4], [[1, 0], 4], [[0, 2], 3], [[5]], [True, 24]],
        *["24", [2.0, 12], [7, -1], [3, [0], 4], [1 << 70]],
    ],
)
def test_shapes_that_do_not_fit_are_named(shape: Any) -> None:
    reshape = {"name": "reshape", "configuration": {"shape": shape}}
    document = array_v3((2, 3, 4), (2, 3, 4), "int32", [reshape, little()])
    with pytest.raises(FormatError, match="shape"):
        lt.scan_zarr(v3(document))


SCALED = [
    {"name": "scale_offset", "configuration": {"scale": 4, "offset": 1}},
    {"name": "cast_value", "configuration": {"data_type": "int16", "out_of_range": "clamp"}},
]


def test_scaled_values_in_shards() -> None:
    """Inner chunks are decoded alone; missing ones hold the fill value as it can be encoded."""
    values = np.array([1.25, -3, 100, 7.75], "f4")
    stored = [np.array((values[at : at + 2] - 1) * 4, "<i2").tobytes() for at in (0, 2)]
    sharding = {
        "name": "sharding_indexed",
        "configuration": {"chunk_shape": [2], "codecs": [little()]},
    }
    document = array_v3((12,), (6,), "float32", [*SCALED, sharding], fill_value=0.3)
    data = v3(document, {"c/0": shard([stored[0], None, stored[1]])})
    x = lt.scan_zarr(data)
    assert x.chunks == (2,)
    # In a shard 0.3 is stored as round((0.3 - 1) * 4) = -3, which stands for 0.25.
    expected = np.array([1.25, -3, 0.25, 0.25, 100, 7.75, *[0.3] * 6], "f4")
    assert same(x.collect(), expected)
    assert same(x[4:9].collect(), expected[4:9])


@pytest.mark.parametrize(
    "before",
    [
        {"name": "numcodecs.delta", "configuration": {"dtype": "<i4"}},
        {"name": "reshape", "configuration": {"shape": [-1]}},
        {
            "name": "numcodecs.fixedscaleoffset",
            "configuration": {"dtype": "<i4", "scale": 1, "offset": 1},
        },
    ],
)
def test_codecs_that_a_shard_cannot_follow_are_named(before: dict[str, Any]) -> None:
    sharding = {
        "name": "sharding_indexed",
        "configuration": {"chunk_shape": [2], "codecs": [little()]},
    }
    document = array_v3((4,), (4,), "int32", [before, sharding])
    with pytest.raises(FormatError, match=r"'sharding_indexed' after .* not supported"):
        lt.scan_zarr(v3(document))


def test_a_fill_value_that_cannot_be_encoded_is_named() -> None:
    sharding = {
        "name": "sharding_indexed",
        "configuration": {"chunk_shape": [2], "codecs": [little()]},
    }
    document = array_v3((4,), (4,), "float32", [SCALED[1], sharding], fill_value="NaN")
    with pytest.raises(FormatError, match="the fill value cannot be encoded"):
        lt.scan_zarr(v3(document))


def test_packed_flags_are_an_array_of_bytes() -> None:
    values = np.arange(30).reshape(5, 6) % 4 == 1
    codecs = [
        {"name": "numcodecs.packbits"},
        {"name": "transpose", "configuration": {"order": [0]}},
        {"name": "numcodecs.delta", "configuration": {"dtype": "u1"}},
        "bytes",
    ]
    stored = delta_of(numcodecs.PackBits().encode(values))
    document = array_v3((5, 6), (5, 6), "bool", codecs, fill_value=False)
    assert (read(v3(document, {"c/0/0": stored.tobytes()})) == values).all()


@pytest.mark.parametrize("data_type", ["bool", "int4", "uint2", "float4_e2m1fn", "uint16"])
def test_packbits_of_v3(data_type: str) -> None:
    bits = {"bool": 1, "int4": 4, "uint2": 2, "float4_e2m1fn": 4, "uint16": 16}[data_type]
    patterns = [n * 7 % (1 << bits) for n in range(15)]
    number = sum(pattern << (bits * i) for i, pattern in enumerate(patterns))
    stored = number.to_bytes(-(-15 * bits // 8), "little")
    document = array_v3((3, 5), (3, 5), data_type, ["packbits", "crc32c"])
    document["fill_value"] = False if data_type == "bool" else 0
    crc = numcodecs.CRC32C(location="end").encode(stored).tobytes()
    found = read(v3(document, {"c/0/0": crc}))
    codes = found.view("u2" if bits == 16 else "u1")
    assert codes.reshape(-1).tolist() == patterns
    with pytest.raises(ChecksumError):
        read(v3(document, {"c/0/0": bytes([crc[0] ^ 1]) + crc[1:]}))


@pytest.mark.parametrize(
    ("data_type", "codecs", "message"),
    [
        ("string", [little()], "'bytes' does not encode StringDType"),
        ("int32", ["vlen-utf8"], "'vlen-utf8' does not encode int32"),
        ("int32", [little(), "numcodecs.delta"], "'numcodecs.delta' follows 'bytes'"),
        ("int32", ["packbits", little()], "'bytes' follows 'packbits'"),
        ("int32", ["crc32c", little()], "'crc32c' needs bytes"),
        ("int32", [little(), "pickle"], "reading a pickle can run any program"),
        ("int32", [little(), "gdeflate"], "'gdeflate' is not supported; known are"),
    ],
)
def test_lists_that_make_no_sense_are_named(
    data_type: str, codecs: list[Any], message: str
) -> None:
    document = array_v3((3,), (3,), data_type, codecs)
    document["fill_value"] = "" if data_type == "string" else 0
    with pytest.raises(FormatError, match=message):
        lt.scan_zarr(v3(document))


def test_codecs_that_may_be_skipped_are_skipped() -> None:
    unknown = {"name": "acme.hint", "must_understand": False}
    document = array_v3((3,), (3,), "int32", [unknown, little(), unknown])
    values = np.arange(3, dtype="i4")
    assert (read(v3(document, {"c/0": values.tobytes()})) == values).all()


@pytest.mark.parametrize("codec", ["pickle", "json2", "msgpack2", "vlen-bytes", "vlen-array", None])
def test_objects_are_refused_by_name(codec: str | None) -> None:
    filters = [{"id": codec}] if codec else None
    document = array_v2((3,), (3,), "|O", filters=filters, fill_value=None)
    with pytest.raises(DTypeError, match="'\\|O'"):
        lt.scan_zarr(v2(document))
    document = array_v2((3,), (3,), "<i4", filters=filters or [{"id": "x"}])
    with pytest.raises(FormatError, match="is not supported"):
        lt.scan_zarr(v2(document))


def test_filters_whose_types_do_not_divide_are_named() -> None:
    filters = [{"id": "delta", "dtype": "<i4"}]
    document = array_v2((3,), (3,), "<i2", filters=filters)
    with pytest.raises(FormatError, match="filters: delta: 6 bytes are no whole number of int32"):
        lt.scan_zarr(v2(document))


def test_without_pcodec_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from lazytensor.io.codec import optional

    monkeypatch.setitem(sys.modules, "pcodec", None)
    optional._standalone.cache_clear()
    document = array_v3((3,), (3,), "int32", ["numcodecs.pcodec"])
    with pytest.raises(FormatError, match=r"lazytensor-engine\[codecs\]"):
        lt.scan_zarr(v3(document, {"c/0": b"pco!"})).collect()
    optional._standalone.cache_clear()


def _turn(data: st.DataObject, values: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    order = data.draw(st.permutations(range(values.ndim)))
    return {"name": "transpose", "configuration": {"order": order}}, values.transpose(order)


def _reshape(data: st.DataObject, values: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    shape = data.draw(st.sampled_from([[-1], [2, -1], [4, 6], [3, 2, 4], [1, 24, 1]]))
    return {"name": "reshape", "configuration": {"shape": shape}}, values.reshape(shape)


def _delta(data: st.DataObject, values: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    config = {"name": "numcodecs.delta", "configuration": {"dtype": values.dtype.str}}
    return config, delta_of(values).reshape(values.shape)


def _scale(data: st.DataObject, values: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    config = {"name": "scale_offset", "configuration": {"scale": 2, "offset": -1}}
    return config, (values + 1) * 2


def _widen(data: st.DataObject, values: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    name = data.draw(st.sampled_from(["int32", "int64", "float64"]))
    return {"name": "cast_value", "configuration": {"data_type": name}}, values.astype(name)


def _astype(data: st.DataObject, values: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    config = {"encode_dtype": "<i8", "decode_dtype": values.dtype.str}
    return {"name": "numcodecs.astype", "configuration": config}, values.astype("i8")


@given(data=st.data())
def test_any_list_of_array_codecs_is_undone(data: st.DataObject) -> None:
    """Encoded by NumPy step by step; what order, axes and types do to each other is ours."""
    values = data.draw(st.permutations(range(24)))
    array = expected = np.array(values, "i4").reshape(2, 3, 4)
    steps = st.sampled_from([_turn, _turn, _reshape, _delta, _scale, _widen, _astype])
    codecs: list[Any] = []
    for step in data.draw(st.lists(steps, max_size=6)):
        codec, array = step(data, array)
        codecs.append(codec)
    endian = data.draw(st.sampled_from(["little", "big"]))
    codecs.append({"name": "bytes", "configuration": {"endian": endian}})
    order = "<" if endian == "little" else ">"
    stored = np.ascontiguousarray(array).astype(array.dtype.newbyteorder(order)).tobytes()
    document = array_v3((2, 3, 4), (2, 3, 4), "int32", codecs)
    assert same(read(v3(document, {"c/0/0/0": stored})), expected)


@pytest.mark.parametrize("between", [numcodecs.CRC32(), numcodecs.Shuffle(1)], ids=str)
@pytest.mark.parametrize("compressor", [numcodecs.Blosc(), numcodecs.Zstd()], ids=type)
def test_a_codec_that_passes_its_input_on_does_not_share_memory_with_the_next(
    tmp_path: Path, between: Any, compressor: Any
) -> None:
    values = (np.arange(90_000) % 30_000).astype("f4").reshape(300, 300)
    filters = [numcodecs.AsType("i2", "f4"), between]
    array = written(
        tmp_path, values, values.shape, zarr_format=2, filters=filters, compressors=compressor
    )
    assert same(array[...], values)
    assert same(lt.scan_zarr(tmp_path)[:, 1:].collect(), values[:, 1:])
