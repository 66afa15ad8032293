"""Fill values: every form of every data type to the exact bits, and wrong ones by name."""

from __future__ import annotations

import base64
import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import zarr
from zarr.core.buffer import cpu

import lazytensor as lt
from lazytensor.errors import FormatError
from lazytensor.io.zarr import scan
from tests.io.zarr_cases import array_v2, array_v3, read, same, v2, v3


def _named(name: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "configuration": settings}


def _ml(name: str) -> np.dtype:
    return np.dtype(vars(ml_dtypes)[name])


def _fill(data_type: Any, value: Any) -> np.ndarray:
    return read(v3(array_v3((1,), (1,), data_type, fill_value=value)))[0:1]


def _fill_v2(dtype: Any, value: Any) -> np.ndarray:
    return read(v2(array_v2((1,), (1,), dtype, fill_value=value)))[0:1]


@pytest.mark.parametrize(
    ("data_type", "value", "expected"),
    [
        ("float32", "0x7f800001", np.array([0x7F800001], "u4").view("f4")),  # a signalling NaN
        ("float16", "0xfc01", np.array([0xFC01], "u2").view("f2")),
        ("complex64", ["0x7fc00abc", -0.0], np.array([0x7FC00ABC, 1 << 31], "u4").view("c8")),
        (_named("numpy.datetime64", unit="s", scale_factor=1), "NaT", np.array(["NaT"], "M8[s]")),
        (_named("numpy.datetime64", unit="s", scale_factor=5), -7, np.array([-7], "M8[5s]")),
        (
            _named("numpy.timedelta64", unit="h", scale_factor=1),
            2**63 - 1,
            np.array([2**63 - 1]).view("m8[h]"),
        ),
        (_named("null_terminated_bytes", length_bytes=3), "YWI=", np.array([b"ab"], "S3")),
        (_named("null_terminated_bytes", length_bytes=3), [97], np.array([b"a"], "S3")),
        (_named("fixed_length_utf32", length_bytes=12), "é\U0001f600", np.array(["é😀"], "U3")),
        (_named("raw_bytes", length_bytes=2), "AQI=", np.frombuffer(b"\1\2", "V2")),
        ("int2", -2, np.array([-2], _ml("int2"))),
        ("uint4", 15, np.array([15], _ml("uint4"))),
        ("float4_e2m1fn", -6.0, np.array([-6.0]).astype(_ml("float4_e2m1fn"))),
        ("float6_e3m2fn", "0x3f", np.array([63], "u1").view(_ml("float6_e3m2fn"))),
        ("float8_e8m0fnu", 0.0, np.array([0], "u1").view(_ml("float8_e8m0fnu"))),
    ],
)
def test_fill_values_v3(data_type: Any, value: Any, expected: np.ndarray) -> None:
    assert same(_fill(data_type, value), expected)


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        (">M8[s]", 86400, np.array(["1970-01-02"], "M8[s]")),
        ("<m8[s]", "NaT", np.array(["NaT"], "m8[s]")),
        ("<M8[s]", None, np.array(["NaT"], "M8[s]")),
        (">U2", "é", np.array(["é"], "U2")),
        (">U2", 0, np.array([""], "U2")),
        ("<U2", None, np.array([""], "U2")),
        ("|S3", 0.0, np.array([b""], "S3")),
        ("|V2", 0, np.zeros(1, "V2")),
        ("<c8", 2, np.array([2], "c8")),
        ("<c8", ["NaN", "-Infinity"], np.array([complex(np.nan, -np.inf)], "c8")),
        ("<u8", "18446744073709551615", np.array([2**64 - 1], "u8")),
        ("<f4", "-1.5e3", np.array([-1500], "f4")),
        (">f4", "0x7fc00001", np.array([0x7FC00001], "u4").view("f4")),
        ("|b1", 1.0, np.array([True])),
        ("bfloat16", 0, np.zeros(1, _ml("bfloat16"))),
    ],
)
def test_fill_values_v2(dtype: str, value: Any, expected: np.ndarray) -> None:
    assert same(_fill_v2(dtype, value), expected)


@pytest.mark.parametrize(
    ("data_type", "value"),
    [
        ("float32", "0x7fc0"),
        ("float32", "0X7fc00000"),
        ("float8_e4m3fn", "Infinity"),
        ("float8_e4m3fn", 1e9),
        ("float4_e2m1fn", "NaN"),
        ("float6_e2m3fn", "0x40"),
        ("float8_e8m0fnu", -1.0),
        ("complex64", 1.0),
        ("complex64", ["NaN", "nan"]),
        ("int2", 2),
        ("uint2", -1),
        ("int64", "7"),
        (_named("numpy.datetime64", unit="s", scale_factor=1), 2**63),
        (_named("numpy.datetime64", unit="s", scale_factor=1), "2020-01-01"),
        (_named("numpy.datetime64", unit="s", scale_factor=1), None),
        (_named("numpy.datetime64", unit="s", scale_factor=1), True),
        (_named("null_terminated_bytes", length_bytes=3), "YWJjZA=="),
        (_named("null_terminated_bytes", length_bytes=3), "é"),
        (_named("null_terminated_bytes", length_bytes=3), 0),
        (_named("fixed_length_utf32", length_bytes=8), "abc"),
        (_named("fixed_length_utf32", length_bytes=8), 0),
        (_named("raw_bytes", length_bytes=2), "AQ=="),
        (_named("raw_bytes", length_bytes=2), [1, -1]),
        (_named("struct", fields=[["a", "uint8"]]), 0),
        (_named("struct", fields=[["a", "uint8"]]), "AQI="),
        (_named("struct", fields=[["a", "uint8"]]), {}),
        (_named("struct", fields=[["a", "uint8"]]), {"a": 1, "b": 1}),
        (_named("struct", fields=[["a", "uint8"]]), {"a": 256}),
        (_named("struct", fields=[["a", "uint8"]]), [1, 2]),
    ],
)
def test_wrong_fill_values_are_named(data_type: Any, value: Any) -> None:
    with pytest.raises(FormatError, match=r"zarr\.json: fill_value.*expected a fill value"):
        scan(v3(array_v3((1,), (1,), data_type, fill_value=value)))


def _pairs(fields: list[Any]) -> list[Any]:
    return [[name, _pairs(kind) if isinstance(kind, list) else kind] for name, kind in fields]


@pytest.mark.parametrize("order", "<>")
def test_fill_values_of_structures_v2(order: str) -> None:
    fields = [("a", f"{order}i4"), ("b", f"{order}f8"), ("n", [("x", f"{order}U2"), ("f", "|b1")])]
    value = np.array([(7, -0.0, ("é", True))], fields)
    expected = value.astype(value.dtype.newbyteorder("="))
    text = base64.b64encode(value.tobytes()).decode()
    assert same(_fill_v2(_pairs(fields), text), expected)
    assert same(_fill_v2(_pairs(fields), [7, -0.0, ["é", True]]), expected)
    assert same(_fill_v2(_pairs(fields), None), np.zeros(1, expected.dtype))
    assert same(_fill_v2(_pairs(fields), 0), np.zeros(1, expected.dtype))


def test_fill_values_of_structures_v3() -> None:
    inner = _named("struct", fields=[{"name": "x", "data_type": "bool"}])
    kind = _named("struct", fields=[["a", "int64"], ["b", "float32"], ["n", inner]])
    expected = np.array([(2**53 + 1, 0, (True,))], [("a", "i8"), ("b", "f4"), ("n", [("x", "?")])])
    expected["b"] = np.array([0x7FC00123], "u4").view("f4")
    as_object = {"a": 2**53 + 1, "b": "0x7fc00123", "n": {"x": True}}
    assert same(_fill(kind, as_object), expected)
    little_endian = expected.astype(expected.dtype.newbyteorder("<")).tobytes()
    dirty = little_endian[:-1] + b"\x05"  # any byte but zero is True
    assert same(_fill(kind, base64.b64encode(dirty).decode()), expected)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        *((code, None) for code in ("|b1", "<f4", ">c8", "<M8[s]", "<m8", "<U2", "|S2", "|V2")),
        ([["a", "<i4"], ["t", "<M8[s]"]], None),
        ("|O", None),
        ("|O", 0),
        ("|O", "é"),
        ("|b1", 0),
        ("<i4", "7"),
        ("<i4", 2.0),
        ("<f4", "1.5"),
        ("<f4", 10**30),
        ("<u8", 2**64 - 1),
        (">M8[s]", "NaT"),
        ("<c16", ["NaN", "-Infinity"]),
    ],
)
def test_fill_values_v2_as_zarr_python_reads_them(dtype: Any, value: Any) -> None:
    filters = [{"id": "vlen-utf8"}] if dtype == "|O" else None
    document = array_v2((1,), (1,), dtype, fill_value=value, filters=filters)
    stored = {".zarray": cpu.Buffer.from_bytes(json.dumps(document).encode())}
    expected = zarr.open_array(zarr.storage.MemoryStore(stored), mode="r", zarr_format=2)[...]
    found = lt.scan_zarr(v2(document)).collect()
    if dtype == "|O":
        assert found.tolist() == expected.tolist()
        return
    assert same(found, expected.astype(expected.dtype.newbyteorder("=")))
