"""Metadata: every legal form is read, every illegal one is named with file and key."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazytensor.errors import DTypeError, FormatError, LazyTensorError, SourceNotFoundError
from lazytensor.io.store_memory import DictStore
from lazytensor.io.zarr import ArrayMetadata, open_node, scan, sniff
from lazytensor.io.zarr.keys import KeyEncoding
from tests.io.zarr_cases import (
    array_v2,
    array_v3,
    group_v3,
    little,
    read,
    same,
    sharding,
    store,
    v2,
    v3,
)


def _fill_v3(data_type: str, value: Any) -> np.ndarray:
    return read(v3(array_v3((2,), (2,), data_type, fill_value=value)))


@pytest.mark.parametrize(
    ("data_type", "value", "expected"),
    [
        ("bool", True, True),
        ("uint64", 2**64 - 1, 2**64 - 1),
        ("int64", -(2**63), -(2**63)),
        ("int64", 2**53 + 1, 2**53 + 1),
        ("uint8", 255, 255),
        ("int16", 7.0, 7),
        ("float32", 0.1, np.float32(0.1)),
        ("float64", 1, 1.0),
        ("float64", -0.0, -0.0),
        ("float16", "Infinity", np.inf),
        ("float64", "-Infinity", -np.inf),
        ("complex64", [1.5, "-Infinity"], complex(1.5, -np.inf)),
    ],
)
def test_fill_values_v3(data_type: str, value: Any, expected: Any) -> None:
    assert same(_fill_v3(data_type, value), np.full(2, expected, data_type))


@pytest.mark.parametrize(
    ("data_type", "value", "bits"),
    [
        ("float32", "NaN", 0x7FC00000),
        ("float32", "0x7fc00abc", 0x7FC00ABC),
        ("float32", "0xffc00001", 0xFFC00001),
        ("float64", "NaN", 0x7FF8000000000000),
        ("float64", "0x7ff8000000000123", 0x7FF8000000000123),
        ("float16", "0x7e01", 0x7E01),
        ("bfloat16", "NaN", 0x7FC0),
        ("bfloat16", "0x7fc1", 0x7FC1),
        ("bfloat16", 1.5, 0x3FC0),
        ("float8_e5m2", "Infinity", 0x7C),
        ("float8_e4m3fn", 2.0, 0x40),
    ],
)
def test_fill_values_keep_their_bits(data_type: str, value: Any, bits: int) -> None:
    found = _fill_v3(data_type, value)
    assert found.view(f"u{found.itemsize}").tolist() == [bits, bits]


def test_fill_values_of_complex_keep_both_payloads() -> None:
    found = _fill_v3("complex128", ["0x7ff8000000000001", "-Infinity"])
    assert found.view("u8").tolist()[:2] == [0x7FF8000000000001, 0xFFF0000000000000]


@pytest.mark.parametrize("value", ["AQID", [1, 2, 3]])
def test_fill_values_of_raw_bytes(value: Any) -> None:
    assert _fill_v3("r24", value).tobytes() == b"\1\2\3" * 2


def test_fill_values_of_small_integers() -> None:
    found = _fill_v3("int4", -8)
    assert found.dtype == np.dtype(ml_dtypes.int4) and found.astype(int).tolist() == [-8, -8]


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("<u2", None, 0),
        (">i4", -5, -5),
        ("|b1", True, True),
        ("|b1", 0, False),
        ("<f8", "NaN", np.nan),
        ("<f4", "-Infinity", -np.inf),
        ("<f8", -0.0, -0.0),
        ("<u8", 2**64 - 1, 2**64 - 1),
        ("<i4", 3.0, 3),
        ("<c8", [1.0, 2.0], 1 + 2j),
        ("|S3", "YWI=", b"ab"),
        ("|S3", "", b""),
        ("|S3", 0, b""),
    ],
)
def test_fill_values_v2(dtype: str, value: Any, expected: Any) -> None:
    found = read(v2(array_v2((2,), (2,), dtype, fill_value=value)))
    assert same(found, np.full(2, expected, np.dtype(dtype).newbyteorder("=")))


@pytest.mark.parametrize(
    ("data_type", "value"),
    [
        ("uint8", 256),
        ("uint8", -1),
        ("uint8", "1"),
        ("uint8", 1.5),
        ("uint8", True),
        ("uint8", None),
        ("int64", 1e300),
        ("int4", 8),
        ("bool", 1),
        ("float32", "nan"),
        ("float32", "0xzz"),
        ("float32", "0x1ffffffff"),
        ("float32", "0x-1"),
        ("float32", True),
        ("float32", [1.0]),
        ("float64", 10**400),
        ("complex64", [1.0]),
        ("complex64", "NaN, NaN"),
        ("r16", "AQID"),
        ("r16", [1, 256]),
        ("r16", "!!"),
        ("r16", 0),
    ],
)
def test_fill_values_that_do_not_fit_are_refused(data_type: str, value: Any) -> None:
    with pytest.raises(FormatError, match=r"zarr\.json: fill_value: expected a fill value of"):
        scan(v3(array_v3((2,), (2,), data_type, fill_value=value)))


BAD_V3: list[tuple[dict[str, Any], str]] = [
    ({"shape": [-1]}, "shape"),
    ({"shape": [2.0]}, "shape"),
    ({"shape": ["2"]}, "shape"),
    ({"shape": [True]}, "shape"),
    ({"shape": [2**62]}, "shape"),
    ({"shape": 3}, "shape: expected a list, found 3"),
    ({"shape": [1] * 65}, "65 dimensions"),
    ({"shape": [2, 2]}, "chunk_shape: expected 2 integers"),
    ({"data_type": "object"}, "'object' is not supported"),
    ({"data_type": "r7"}, "multiple of 8"),
    ({"data_type": "r0"}, "multiple of 8"),
    ({"data_type": {"name": "numpy.datetime64", "configuration": {"unit": "s"}}}, "scale_factor"),
    ({"data_type": 3}, "data_type"),
    ({"node_type": "table"}, "node_type: expected one of"),
    ({"zarr_format": 4}, "zarr_format: expected 3, found 4"),
    ({"chunk_grid": {"name": "hexagonal", "configuration": {}}}, "'hexagonal' is not supported"),
    ({"chunk_grid": {"name": "regular"}}, "chunk_shape"),
    ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0]}}}, "chunk_shape"),
    ({"chunk_grid": {"configuration": {}}}, "name: expected a string, found nothing"),
    ({"chunk_grid": 7}, "chunk_grid"),
    ({"chunk_key_encoding": {"name": "suffix"}}, "'suffix' is not supported"),
    ({"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "-"}}}, "separator"),
    ({"codecs": []}, "codec from array to bytes, found none"),
    ({"codecs": [little(), little()]}, "'bytes' follows 'bytes'"),
    ({"codecs": [{"name": "gzip"}, little()]}, "needs bytes"),
    ({"codecs": [little(), {"name": "transpose", "configuration": {"order": [0]}}]}, "follows"),
    ({"codecs": [{"name": "transpose", "configuration": {"order": [1]}}, little()]}, "permutation"),
    ({"codecs": [{"name": "transpose"}, little()]}, "permutation"),
    ({"codecs": [little(), {"name": "bitround", "configuration": {}}]}, "'bitround'"),
    ({"codecs": [little(), "pickle"]}, "'pickle' is not supported"),
    ({"codecs": [little(), 3]}, "codecs[1]"),
    ({"codecs": [{"name": "bytes", "configuration": {"endian": "middle"}}]}, "endian"),
    ({"codecs": [{"name": "bytes", "configuration": []}]}, "configuration"),
    ({"codecs": "bytes"}, "codecs: expected a list"),
    ({"codecs": [sharding((3,))]}, "divisors of the shard's shape (4,)"),
    ({"codecs": [sharding((2, 2))]}, "chunk_shape"),
    ({"codecs": [sharding((2,), index_codecs=[little(), "gzip"])]}, "index_codecs[1]"),
    ({"codecs": [sharding((2,), index_codecs=[])]}, "index_codecs"),
    ({"codecs": [sharding((2,), index_location="middle")]}, "index_location"),
    ({"codecs": [sharding((2,), codecs=["delta"])]}, "codecs: codecs[0]"),
    ({"dimension_names": ["a", "b"]}, "dimension_names"),
    ({"dimension_names": [3]}, "dimension_names"),
    ({"dimension_names": "a"}, "dimension_names"),
    ({"attributes": []}, "attributes: expected an object"),
    ({"storage_transformers": [{"name": "x"}]}, "storage_transformers"),
    ({"new_thing": 1}, "new_thing"),
    ({"new_thing": {"name": "x"}}, "new_thing"),
    ({"new_thing": {"must_understand": True}}, "new_thing"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_V3)
def test_bad_v3_metadata_is_named(changes: dict[str, Any], message: str) -> None:
    document = array_v3((4,), (4,)) | changes
    with pytest.raises((FormatError, DTypeError)) as caught:
        scan(store(**{"x__zarr.json": document}), "x")
    assert message.replace("codecs: codecs", "codecs") in str(caught.value)
    assert "memory/x/zarr.json: " in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"zarr_format": 3}, "zarr_format: expected 2, found 3"),
        ({"chunks": [0]}, "chunks"),
        ({"chunks": [2, 2]}, "chunks"),
        ({"dtype": "|O"}, "'|O' with the filter None is not supported"),
        ({"dtype": "uint16"}, "expected a dtype"),
        ({"dtype": "<q9"}, "expected a dtype"),
        ({"dtype": "<f16"}, "machine"),
        ({"dtype": "<u2,<u2"}, "expected a dtype"),
        ({"order": "K"}, "order: expected one of"),
        ({"dimension_separator": ""}, "dimension_separator"),
        ({"compressor": {"id": "pickle"}}, "'pickle' is not supported"),
        ({"compressor": {"cname": "x"}}, "compressor: id"),
        ({"compressor": "zstd"}, "compressor: expected an object"),
        ({"filters": [{"id": "jpegls"}]}, "filters[0]: codec 'jpegls'"),
        ({"filters": {}}, "filters: expected a list"),
        ({"filters": ["delta"]}, "filters: expected a list of objects"),
        ({"fill_value": "x"}, "fill_value"),
    ],
)
def test_bad_v2_metadata_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((FormatError, DTypeError)) as caught:
        scan(v2(array_v2((4,), (4,)) | changes))
    assert message in str(caught.value) and "memory/.zarray: " in str(caught.value)


@pytest.mark.parametrize("key", ["shape", "data_type", "chunk_grid", "codecs", "fill_value"])
def test_missing_keys_are_named(key: str) -> None:
    document = array_v3((4,), (4,))
    del document[key]
    with pytest.raises(FormatError, match=re.escape(f"zarr.json: {key}: expected")):
        scan(v3(document))


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"3", b"\xff\xfe", b'{"a": ' + b"9" * 5000 + b"}", b"[" * 100_000],
)
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    for name in ("zarr.json", ".zarray", ".zgroup"):
        with pytest.raises(FormatError, match=re.escape(name)):
            scan({name: data})


def test_leniency_that_costs_nothing() -> None:
    document = array_v3(
        (2,),
        (2,),
        codecs=["bytes", {"name": "secret", "must_understand": False}, "crc32c"],
        chunk_key_encoding="default",
        storage_transformers=[],
        extra={"must_understand": False, "x": 1},
        attributes=None,
        dimension_names=None,
    )
    assert read(v3(document)).tolist() == [0, 0]
    early = array_v3((2, 3), (2, 3), "uint8", codecs=[
        {"name": "transpose", "configuration": {"order": "F"}}, "bytes"
    ])  # fmt: skip
    chunk = np.arange(6, dtype="u1").reshape(2, 3)
    assert same(read(v3(early, {"c/0/0": chunk.T.tobytes()})), chunk)
    tolerant = array_v2((2,), (2,), filters=[], surplus={"x": 1})
    assert read(v2(tolerant)).tolist() == [0, 0]


def test_zarr_json_goes_before_zarray() -> None:
    data = v3(array_v3((1,), (1,), fill_value=3)) | v2(array_v2((1,), (1,), fill_value=2))
    assert read(data).tolist() == [3]


def test_byte_order_mark_is_read() -> None:
    document = json.dumps(array_v3((1,), (1,))).encode()
    assert read({"zarr.json": b"\xef\xbb\xbf" + document}).tolist() == [0]


def test_nan_in_attributes_is_read() -> None:
    source = scan(v3(array_v3((1,), (1,), attributes={"x": math.nan, "y": 2**70})))
    assert math.isnan(source.attrs["x"]) and source.attrs["y"] == 2**70


def test_names_twice_are_dropped_with_a_warning() -> None:
    data = v3(array_v3((1, 1, 2), (1, 1, 2), dimension_names=["a", "a", "x"]))
    with pytest.warns(UserWarning, match="more than once"):
        source = scan(data)
    assert source.spec.dims == ("", "", "x")


def test_groups_and_absent_paths_say_what_to_do() -> None:
    data = store(
        **{
            "zarr.json": group_v3(),
            "a__zarr.json": array_v3((1,), (1,)),
            "g__zarr.json": group_v3(),
        }
    )
    with pytest.raises(FormatError, match=r"arrays in it: a; groups: g\).*path=.*open_zarr"):
        scan(data)
    with pytest.raises(SourceNotFoundError, match="no zarr array or group at memory/nothing"):
        scan(data, "nothing")
    ome = store(**{"zarr.json": group_v3(attributes={"ome": {}})})
    with pytest.raises(FormatError, match="open_ome_zarr"):
        scan(ome)
    assert sniff(ome) == "ome-zarr"
    assert (sniff(data), sniff(data, "a"), sniff(data, "b")) == ("zarr-group", "zarr-array", None)
    assert sniff({}) is None and sniff(3) is None
    with pytest.raises(SourceNotFoundError):
        sniff("nowhere/at/all")


def test_an_implicit_group_is_found() -> None:
    data = store(**{"a__b__.zarray": array_v2((1,), (1,))})
    node = open_node(DictStore(data), "a")
    assert not isinstance(node.metadata, ArrayMetadata)


@given(
    kind=st.sampled_from(["default", "v2"]),
    separator=st.sampled_from("/."),
    indices=st.lists(st.integers(0, 10**12), max_size=5),
)
def test_keys_and_indices_are_inverse(kind: str, separator: str, indices: list[int]) -> None:
    keys = KeyEncoding(kind, separator)
    counts = [i + 1 for i in indices]
    assert keys.indices(keys.key(indices), counts) == tuple(indices)
    if indices:
        assert keys.indices(keys.key(indices), [*counts[:-1], indices[-1]]) is None


@pytest.mark.parametrize("name", ["0.01", "0.-1", "0", "0.1.2", "zarr.json", "0.²", ".0", "0.9"])
def test_names_that_mean_no_chunk(name: str) -> None:
    assert KeyEncoding("v2", ".").indices(name, [4, 4]) is None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 2**64)
    | st.floats()
    | st.sampled_from(["bytes", "zstd", "regular", "uint8", "NaN", "0x1", "C", "/", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "configuration", "order", "id"]), inner, max_size=3
        )
    ),
    max_leaves=5,
)


@given(data=st.data(), version=st.sampled_from([2, 3]))
def test_random_changes_of_metadata_are_read_or_refused(data: st.DataObject, version: int) -> None:
    document = (
        array_v2((4, 4), (2, 2), compressor={"id": "zstd"})
        if version == 2
        else array_v3((4, 4), (2, 2), codecs=[sharding((1, 2)), "crc32c"])
    )
    place: Any = document
    while True:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(list(keys)))
        if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(JSON)
    try:
        source = scan(v2(document) if version == 2 else v3(document))
        out = np.empty((1,) * source.spec.ndim, source.spec.dtype)
        if source.spec.size:
            source.read_into(((0, 1),) * source.spec.ndim, out)
    except LazyTensorError:
        return
