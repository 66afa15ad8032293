"""Every data type of zarr, from metadata to a collected tensor."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorstore
import zarr

import lazytensor as lt
from lazytensor.errors import DTypeError, FormatError
from lazytensor.io.zarr import scan
from lazytensor.io.zarr.dtypes import parse_dtype_v2, parse_dtype_v3
from tests.engines import ENGINES
from tests.io.zarr_cases import array_v2, array_v3, read, same, v2, v3

STRING = np.dtypes.StringDType()
ML_NAMES = [
    "bfloat16",
    "float8_e3m4",
    "float8_e4m3",
    "float8_e4m3b11fnuz",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "float6_e2m3fn",
    "float6_e3m2fn",
    "float4_e2m1fn",
    "int2",
    "int4",
    "uint2",
    "uint4",
]
MASKS = {"int2": 3, "uint2": 3, "int4": 15, "uint4": 15, "float4_e2m1fn": 15}
MASKS |= {"float6_e2m3fn": 63, "float6_e3m2fn": 63}
RECORD = [
    ("a", "<i4"),
    ("b", "<f8"),
    ("c", "S3"),
    ("d", "<U2"),
    ("n", [("x", "u1"), ("y", "<u2")]),
    ("t", "<M8[s]"),
    ("f", "?"),
]


@pytest.fixture(autouse=True)
def _zarr_may_warn() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="zarr")
        yield


def _named(name: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "configuration": settings}


def _ml(name: str) -> np.dtype:
    return np.dtype(vars(ml_dtypes)[name])


def distinct(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Values of any dtype that differ from each other as far as it allows."""
    dtype = np.dtype(dtype)
    count = np.arange(1, 1 + int(np.prod(shape))).reshape(shape)
    if dtype.names:
        out = np.zeros(shape, dtype)
        for name in dtype.names:
            out[name] = distinct(shape, dtype[name])
        return out
    match dtype.kind:
        case "U" | "T":
            words = [chr(0x4E00 + n) + "é" * (n % 2) for n in count.ravel()]
            return np.array(words, dtype).reshape(shape)
        case "S":
            return np.array([b"%d" % n for n in count.ravel()], dtype).reshape(shape)
        case "M" | "m":
            return count.astype("i8").view(dtype)
        case "V" if dtype.type is np.void:
            data = b"".join(int(n).to_bytes(dtype.itemsize, "big") for n in count.ravel())
            return np.frombuffer(data, dtype).reshape(shape)
        case "b":
            return count % 3 == 1
    return count.astype(dtype)


# Names of data types


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("complex_float32", "c8"),
        ("complex_float64", "c16"),
        ({"name": "uint16"}, "u2"),
        ({"name": "uint16", "configuration": {}}, "u2"),
        ("r8", "V1"),
        ("r4096", "V512"),
        (_named("raw_bytes", length_bytes=5), "V5"),
        (_named("null_terminated_bytes", length_bytes=5), "S5"),
        (_named("fixed_length_utf32", length_bytes=12), "U3"),
        (_named("numpy.datetime64", unit="ns", scale_factor=1), "M8[ns]"),
        (_named("numpy.datetime64", unit="μs", scale_factor=7), "M8[7us]"),
        (_named("numpy.datetime64", unit="generic", scale_factor=1), "M8"),
        (_named("numpy.timedelta64", unit="D", scale_factor=2**31 - 1), "m8[2147483647D]"),
        ("string", STRING),
        *((name, _ml(name)) for name in ML_NAMES),
    ],
)
def test_names_v3(value: Any, expected: Any) -> None:
    assert parse_dtype_v3(value, "zarr.json") == np.dtype(expected)


@pytest.mark.parametrize("name", ["struct", "structured"])
@pytest.mark.parametrize("pairs", [True, False])
def test_structures_v3(name: str, pairs: bool) -> None:
    def field(label: str, kind: Any) -> Any:
        return [label, kind] if pairs else {"name": label, "data_type": kind}

    inner = _named(name, fields=[field("x", "uint8"), field("b", "bfloat16")])
    time = _named("numpy.datetime64", unit="s", scale_factor=1)
    value = _named(name, fields=[field("a", "int32"), field("n", inner), field("t", time)])
    expected = [("a", "i4"), ("n", [("x", "u1"), ("b", _ml("bfloat16"))]), ("t", "M8[s]")]
    assert parse_dtype_v3(value, "zarr.json") == np.dtype(expected)


def _nested(depth: int) -> Any:
    kind: Any = "uint8"
    for _ in range(depth):
        kind = _named("struct", fields=[["a", kind]])
    return kind


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("uint12", FormatError, "'uint12'"),
        (None, FormatError, "found None"),
        ([], FormatError, "expected a name"),
        ("bytes", DTypeError, "'bytes' is not supported: NumPy holds.*fixed-length"),
        ("variable_length_bytes", DTypeError, "fixed-length"),
        ("object", DTypeError, "never read"),
        ("json", DTypeError, "JSON"),
        ("complex_bfloat16", DTypeError, "no such dtype"),
        ("r12", FormatError, "multiple of 8"),
        ("r99999999999", FormatError, "multiple of 8"),
        ("r-8", FormatError, "'r-8'"),
        ("numpy.datetime64", FormatError, "unit: expected a string, found nothing"),
        (_named("numpy.datetime64", unit="y", scale_factor=1), FormatError, "unit"),
        (_named("numpy.datetime64", unit="s", scale_factor=0), FormatError, "scale_factor"),
        (_named("numpy.datetime64", unit="s", scale_factor=2**31), FormatError, "scale_factor"),
        (_named("numpy.datetime64", unit="generic", scale_factor=2), FormatError, "scale"),
        (_named("null_terminated_bytes", length_bytes=0), FormatError, "length_bytes"),
        (_named("null_terminated_bytes", length_bytes=2**50), FormatError, "length_bytes"),
        (_named("fixed_length_utf32", length_bytes=6), FormatError, "multiple of 4"),
        (_named("raw_bytes"), FormatError, "length_bytes: expected a non-negative integer"),
        (_named("struct"), FormatError, "fields: expected a list"),
        (_named("struct", fields=[]), FormatError, "expected fields"),
        (_named("struct", fields=[["a"]]), FormatError, r"fields\[0\]: expected a name"),
        (_named("struct", fields=[["", "u1"]]), FormatError, r"fields\[0\]: expected a name"),
        (_named("struct", fields=[[3, "uint8"]]), FormatError, "name of a field, found 3"),
        (_named("struct", fields=[["a", "uint8"]] * 2), FormatError, "more than once"),
        (_named("struct", fields=[["a", "string"]]), FormatError, "no fixed size"),
        (_named("struct", fields=[["a", "int4"]]), DTypeError, "'a': int4 in a structure"),
        (_named("struct", fields=[["a", "u1"]]), FormatError, r"fields\[0\] 'a': expected"),
        (_named("struct", fields=[["a", "r8000000"], ["b", "r8000000"]]), FormatError, "in all"),
        (_nested(17), FormatError, "nested more than 16 deep"),
        (_nested(200), FormatError, "nested more than 16 deep"),
    ],
)
def test_wrong_names_v3(value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        parse_dtype_v3(value, "zarr.json: data_type")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (">M8[10ms]", ">M8[10ms]"),
        ("<m8", "<m8"),
        ("|S7", "S7"),
        (">U3", ">U3"),
        ("|V3", "V3"),
        ("bfloat16", _ml("bfloat16")),
        ([["a", "<i4"], ["b", ">f8", [2, 3]]], [("a", "<i4"), ("b", ">f8", (2, 3))]),
        ([["n", [["x", "|u1"], ["y", ">U2"]]]], [("n", [("x", "u1"), ("y", ">U2")])]),
        ([["a", "|i1"], ["", "|V3"]], [("a", "i1"), ("f1", "V3")]),
    ],
)
def test_names_v2(value: Any, expected: Any) -> None:
    assert parse_dtype_v2(value, ".zarray") == np.dtype(expected)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("<f16", DTypeError, "machine"),
        ("<U0", DTypeError, "1 to"),
        ("|S9999999999", FormatError, "expected a dtype"),
        ("|S9999999", DTypeError, "1 to"),
        ("<M8[25s/3]", FormatError, "expected a dtype"),
        ("<M8[99999999999s]", FormatError, "expected a dtype"),
        ("<i4,<i4", FormatError, "expected a dtype"),
        ("int32", FormatError, "expected a dtype"),
        ({"name": "<i4"}, FormatError, "expected a dtype"),
        ([], FormatError, "expected fields"),
        (["<i4"], FormatError, r"dtype\[0\]: expected a name and a dtype"),
        ([["a", "|O"]], DTypeError, "'|O'"),
        ([["a", "<i4"], ["a", "<i4"]], FormatError, "more than once"),
        ([["a", "<i4", [2**40]]], FormatError, "in all"),
        ([["a", "<i4", "x"]], FormatError, "expected a list"),
        ([[["title", "a"], "<i4"]], FormatError, "name of a field"),
    ],
)
def test_wrong_names_v2(value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        parse_dtype_v2(value, ".zarray: dtype")


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        ("pickle", "'pickle' is not supported: reading a pickle can run any program"),
        ("json2", "JSON"),
        ("msgpack2", "MessagePack"),
        ("vlen-bytes", "byte strings"),
        ("vlen-array", "arrays of variable length"),
        ("new", "never read"),
    ],
)
def test_objects_are_refused_with_the_reason(codec: str, message: str) -> None:
    document = array_v2((2,), (2,), "|O", fill_value=None, filters=[{"id": codec}])
    with pytest.raises(DTypeError, match=message) as caught:
        scan(v2(document))
    assert "rewrite the array" in str(caught.value)


# From stored bytes to values


@pytest.mark.parametrize("name", MASKS)
def test_bits_that_belong_to_no_value_are_ignored(name: str) -> None:
    stored = np.arange(256, dtype="u1").reshape(16, 16)
    expected = (stored & MASKS[name]).view(_ml(name))
    plain = v3(array_v3((16, 15), (16, 16), name), {"c/0/0": stored.tobytes()})
    assert same(read(plain), np.ascontiguousarray(expected[:, :15]))
    turned = array_v3((16, 16), (16, 16), name, [_named("transpose", order=[1, 0]), "bytes"])
    assert same(read(v3(turned, {"c/0/0": stored.tobytes()})), np.ascontiguousarray(expected.T))


@pytest.mark.parametrize("endian", ["little", "big"])
def test_byte_order_reaches_into_structures(endian: str) -> None:
    order = "<>"[endian == "big"]
    kind = _named(
        "struct",
        fields=[
            ["a", "int32"],
            ["u", _named("fixed_length_utf32", length_bytes=8)],
            ["n", _named("struct", fields=[["f", "bool"], ["h", "bfloat16"]])],
            ["r", "r24"],
        ],
    )
    fields = [("a", "i4"), ("u", "U2"), ("n", [("f", "?"), ("h", _ml("bfloat16"))]), ("r", "V3")]
    expected = np.array([(-3, "é😀", (True, 1.5), b"abc"), (4, "x", (False, -2.0), b"def")], fields)
    raw = b"".join(
        np.array(row["a"]).astype(f"{order}i4").tobytes()
        + np.array(row["u"]).astype(f"{order}U2").tobytes()
        + (b"\x07" if row["n"]["f"] else b"\0")
        + np.array(row["n"]["h"]).view("u2").astype(f"{order}u2").tobytes()
        + row["r"].tobytes()
        for row in expected
    )
    fill = {"a": 1, "u": "", "n": {"f": False, "h": 0}, "r": "AAAA"}
    codecs = [_named("bytes", endian=endian)]
    found = read(v3(array_v3((2,), (2,), kind, codecs, fill_value=fill), {"c/0": raw}))
    assert same(found, expected)


@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<M8[us]", ">M8[us]", ">U3", "|S3", "|V5"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_subarrays_and_scalars_in_structures_v2(dtype: str, order: str) -> None:
    fields = [("a", dtype), ("b", ">i2", (2, 2)), ("f", "?", (2,))]
    values = np.zeros((3, 2), fields)
    values["a"] = distinct((3, 2), dtype)
    values["b"] = np.arange(24).reshape(3, 2, 2, 2)
    values["f"] = [True, False]
    document = array_v2(
        (3, 2),
        (3, 2),
        [["a", dtype], ["b", ">i2", [2, 2]], ["f", "|b1", [2]]],  # type: ignore[arg-type]
        order=order,
    )
    expected = values.astype(values.dtype.newbyteorder("="))
    found = read(v2(document, {"0.0": values.tobytes(order)}))
    assert same(found, expected)
    assert same(lt.from_array(found).field("a").collect(), np.ascontiguousarray(expected["a"]))


# What others write

WRITTEN = {
    "bool": "?",
    "int64": "i8",
    "float16": "f2",
    "complex64": "c8",
    "datetime": "M8[10ms]",
    "datetime without unit": "M8",
    "timedelta": "m8[D]",
    "bytes": "S5",
    "text": "U3",
    "raw": "V4",
    "record": RECORD,
    "string": STRING,
}


# zarr-python cannot compress dates in structures.
FORMATS: dict[str, dict[str, Any]] = {
    "v2": {"zarr_format": 2, "compressors": None},
    "v3": {"zarr_format": 3},
    "v3 shards": {"zarr_format": 3, "shards": (4, 6)},
}
# Nor can it write structures and raw bytes into shards (a vector below has some).
PAIRS = [
    (name, form)
    for name in WRITTEN
    for form in FORMATS
    if form != "v3 shards" or name not in ("raw", "record")
]


def _write(path: Path, values: np.ndarray, **options: Any) -> Any:
    """Chunks of 2 by 3, the last of which are not stored, and others only partly filled."""
    array = zarr.create_array(
        str(path), shape=values.shape, chunks=(2, 3), dtype=values.dtype, **options
    )
    array[:3, :5] = values[:3, :5]
    return array


@pytest.mark.parametrize(("name", "form"), PAIRS)
@pytest.mark.parametrize("engine", ENGINES)
def test_zarr_python_and_plans(tmp_path: Path, name: str, form: str, engine: str) -> None:
    expected = _write(tmp_path, distinct((5, 7), WRITTEN[name]), **FORMATS[form])[...]
    run: Any = {"engine": ENGINES[engine]}
    x = lt.scan_zarr(tmp_path)
    assert x.dtype == expected.dtype and _equal(x.collect(**run), expected)
    assert _equal(x[1:, ::-2][:, [2, 0, 0]].collect(**run), expected[1:, ::-2][:, [2, 0, 0]])
    assert _equal(x[3, 2].collect(**run), expected[3, 2])
    copy = lt.LazyTensor.deserialize(x[2:, 1:].serialize())
    assert _equal(copy.collect(**run), expected[2:, 1:])
    joined = lt.concat([x[:1], x[4:]], axis=0)
    assert _equal(joined.collect(**run), np.concatenate([expected[:1], expected[4:]]))
    if x.dtype.kind != "V":
        assert _equal((x == x[:, :1]).collect(**run), expected == expected[:, :1])
    for field in x.dtype.names or ():
        found = x.field(field)[1:, ::3].collect(**run)
        assert _equal(found, expected[field][1:, ::3])
    if name == "record":
        found = x.field("n").field("y").collect(**run)
        assert _equal(found, expected["n"]["y"])


def _equal(found: Any, expected: Any) -> bool:
    """Equal to the bit, except that strings are equal where they read the same."""
    found = np.asarray(found)
    expected = np.asarray(expected, found.dtype if found.ndim == 0 else None)
    if expected.dtype.kind == "T":
        return found.dtype == expected.dtype and bool(np.array_equal(found, expected))
    return same(np.ascontiguousarray(found).reshape(found.shape), expected)


@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_facts_of_an_array(tmp_path: Path, name: str, form: str) -> None:
    array = _write(tmp_path, distinct((5, 7), WRITTEN[name]), **FORMATS[form])
    x = lt.scan_zarr(tmp_path)
    assert repr(x).startswith("LazyTensor(5, 7)") and "chunks (2, 3)" in repr(x)
    assert x.estimate(exact=True).chunks_read == x.estimate().chunks_total == 9
    facts = x.storage
    assert facts is not None
    assert facts.statistics()["units_stored"] == (1 if "shards" in form else 4)
    assert facts.chunks == (2, 3) and len(repr(facts)) < 5000
    fill = array.fill_value
    if fill is None:  # zarr-python 3.1 keeps the null of v2 and reads zeros
        fill = np.zeros((), x.dtype)[()]
    assert _equal(np.asarray(facts.fill_value, x.dtype), np.asarray(fill, x.dtype))


@pytest.mark.parametrize("name", ["datetime", "text", "bytes", "raw", "record", "string"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_fill_values_of_zarr_python(tmp_path: Path, name: str, zarr_format: int) -> None:
    value = distinct((3,), WRITTEN[name])[2]
    array = zarr.create_array(
        str(tmp_path),
        shape=(3,),
        chunks=(2,),
        dtype=WRITTEN[name],
        fill_value=value,
        zarr_format=zarr_format,
    )
    expected = np.full(3, value, WRITTEN[name])
    assert _equal(array[...], expected) and _equal(lt.scan_zarr(tmp_path).collect(), expected)


def _tensorstore(path: Path, metadata: dict[str, Any]) -> Any:
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
    return tensorstore.open(spec | {"metadata": metadata, "create": True}).result()


@pytest.mark.parametrize(
    ("data_type", "fill"),
    [
        ("int2", -1),
        ("int4", -8),
        ("float4_e2m1fn", -1.5),
        ("float8_e3m4", "Infinity"),
        ("float8_e4m3fn", "NaN"),
        ("float8_e4m3fnuz", "NaN"),
        ("float8_e4m3b11fnuz", -2.0),
        ("float8_e5m2", "-Infinity"),
        ("float8_e5m2fnuz", "0x7f"),
        ("float8_e8m0fnu", 0.0),
        ("bfloat16", "0x7fc1"),
    ],
)
def test_tensorstore(tmp_path: Path, data_type: str, fill: Any) -> None:
    grid = _named("regular", chunk_shape=[2, 3])
    array = _tensorstore(
        tmp_path, {"shape": [5, 7], "chunk_grid": grid, "data_type": data_type, "fill_value": fill}
    )
    dtype = _ml(data_type)
    bits = np.arange(35, dtype=f"u{dtype.itemsize}").reshape(5, 7) % 64
    array[:4, :6].write(
        (bits & MASKS.get(data_type, np.iinfo(bits.dtype).max)).view(dtype)[:4, :6]
    ).result()
    expected = array.read().result()
    bits = expected.view(f"u{dtype.itemsize}") & MASKS.get(data_type, np.iinfo(bits.dtype).max)
    for engine in ("local", "interpret"):
        x = lt.scan_zarr(tmp_path)
        assert same(x.collect(engine=engine), bits.view(dtype))
        assert same(x[::2, 1].collect(engine=engine), bits[::2, 1].copy().view(dtype))


# Checked-in arrays of writers newer than those that run beside these tests

VECTORS = Path(__file__).parent.parent / "vectors" / "zarr"


@pytest.mark.parametrize("name", sorted(json.loads((VECTORS / "types.json").read_text())))
def test_vectors(name: str) -> None:
    """The whole array, against what its writer read back."""
    expected = json.loads((VECTORS / "types.json").read_text())[name]
    x = lt.scan_zarr(VECTORS / "types.zip", name)
    found = x.collect()
    assert str(found.dtype) == expected["dtype"]
    if found.dtype.kind == "T":
        assert found.tolist() == expected["values"]
        return
    assert found.tobytes().hex() == expected["bytes"]
