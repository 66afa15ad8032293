"""Damaged metadata of every kind: read, or refused with a typed error; never anything else."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.errors import (
    DTypeError,
    FormatError,
    LazyTensorError,
    ShapeError,
    SourceNotFoundError,
)
from tests.io.zarr_cases import array_v2, array_v3, group_v3, sharding

# Names twice and attributes that are no names are warned of.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

REFUSALS = (FormatError, DTypeError, ShapeError, SourceNotFoundError)
WORDS = [
    "", "bytes", "zstd", "blosc", "crc32c", "regular", "rectilinear", "default", "v2", "transpose",
    "sharding_indexed", "vlen-utf8", "string", "uint8", "<M8[s]", "|O", "<U3", "NaT", "NaN", "0x1",
    "AAAA", "C", "F", "/", ".", "little", "s", "inline", "array", "group", "..", "a/b", "\ud800",
]  # fmt: skip
KEYS = ["name", "configuration", "id", "must_understand", "metadata", "fields", "shape", "a", ""]
NUMBERS = [0, 1, -1, 2, 3, 255, 2**31, 2**62, 2**63, 2**64, 10**40, 1e300, -0.0]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from(NUMBERS)
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=6,
)
STRUCT = {
    "name": "struct",
    "configuration": {
        "fields": [
            {"name": "a", "data_type": "int16"},
            ["n", {"name": "struct", "configuration": {"fields": [["x", "r16"]]}}],
        ]
    },
}
TIME = {"name": "numpy.datetime64", "configuration": {"unit": "s", "scale_factor": 1}}
GRID = {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": [[[2, 2]], 3]}}
ARRAYS = {
    "v3": [
        array_v3((4, 4), (2, 2), codecs=[sharding((1, 2)), "crc32c"]),
        array_v3((4, 4), (2, 2), STRUCT, fill_value={"a": 1, "n": {"x": [1, 2]}}),
        array_v3((4, 4), (2, 2), TIME, fill_value="NaT", dimension_names=["y", None]),
        array_v3((4,), (2,), "string", ["vlen-utf8", "zstd"], fill_value="é", attributes={"x": 1}),
        array_v3((4, 4), (2, 2), "complex64", fill_value=["NaN", "0x00000001"]),
        array_v3((4, 4), (2, 2), chunk_grid=GRID),
    ],
    "v2": [
        array_v2((4, 4), (2, 2), compressor={"id": "zstd"}),
        array_v2((4, 4), (2, 2), [["a", "<i2"], ["n", [["x", "|V2"]], [2]]], fill_value="AAAAAAAA"),
        array_v2((4,), (2,), "|O", fill_value="", filters=[{"id": "vlen-utf8"}]),
        array_v2((4,), (2,), ">M8[10s]", fill_value=None, filters=[{"id": "shuffle"}]),
    ],
}
GROUPS = [
    {"zarr.json": group_v3(consolidated_metadata={
        "kind": "inline",
        "must_understand": False,
        "metadata": {"a": array_v3((4,), (2,)), "g": group_v3(), "g/b": array_v3((2,), (2,))},
    })},
    {".zmetadata": {
        "zarr_consolidated_format": 1,
        "metadata": {
            ".zgroup": {"zarr_format": 2},
            "a/.zarray": array_v2((4,), (2,)),
            "a/.zattrs": {"_ARRAY_DIMENSIONS": ["x"]},
        },
    }},
]  # fmt: skip


def _changed(document: Any, data: st.DataObject) -> Any:
    """The document with something in it replaced, dropped, added, repeated or wrapped."""
    document = copy.deepcopy(document)
    for _ in range(data.draw(st.integers(1, 3))):
        place = document
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            inside = place[key]
            if not isinstance(inside, (dict, list)) or not inside or data.draw(st.booleans()):
                break
            place = inside
        if keys:
            _change(place, key, data)
    return document


def _change(place: Any, key: Any, data: st.DataObject) -> None:
    match data.draw(st.sampled_from(["replace", "drop", "add", "repeat", "wrap"])):
        case "replace":
            place[key] = data.draw(JSON)
        case "drop":
            del place[key]
        case "add" if isinstance(place, dict):
            place[data.draw(st.sampled_from(KEYS))] = data.draw(JSON)
        case "add":
            place.append(data.draw(JSON))
        case "repeat" if isinstance(place, list):
            place.extend([place[key]] * data.draw(st.integers(1, 70)))
        case _:
            place[key] = [place[key]]


def _encoded(document: Any) -> bytes:
    return json.dumps(document).encode()


@given(data=st.data(), version=st.sampled_from(sorted(ARRAYS)))
def test_damaged_arrays(data: st.DataObject, version: str) -> None:
    document = _changed(data.draw(st.sampled_from(ARRAYS[version])), data)
    key = {"v3": "zarr.json", "v2": ".zarray"}[version]
    x = None
    with suppress(*REFUSALS):
        x = lt.scan_zarr({key: _encoded(document)})
    if x is None:
        return
    assert repr(x) and x.storage is not None
    if x.size and x.dtype.itemsize < 1 << 10:
        corner = x[(0,) * x.ndim]
        # Nothing is stored: the fill value, unless chunks claim an absurd size.
        with suppress(LazyTensorError):
            assert corner.collect().dtype == x.dtype


@given(data=st.data(), which=st.sampled_from(range(len(GROUPS))))
def test_damaged_groups(data: st.DataObject, which: int) -> None:
    [(key, document)] = GROUPS[which].items()
    encoded = _encoded(_changed(document, data))
    with suppress(*REFUSALS):
        for path, node in lt.open_zarr({key: encoded}).walk():
            assert path and repr(node)


@given(data=st.binary(max_size=40), key=st.sampled_from(["zarr.json", ".zarray", ".zmetadata"]))
def test_what_is_no_document(data: bytes, key: str) -> None:
    with suppress(*REFUSALS):
        lt.open_zarr({key: data})


@given(at=st.integers(0, 600), byte=st.integers(0, 255))
def test_flipped_bytes(at: int, byte: int) -> None:
    encoded = bytearray(_encoded(ARRAYS["v3"][1]))
    encoded[at % len(encoded)] = byte
    with suppress(*REFUSALS):
        assert lt.scan_zarr({"zarr.json": bytes(encoded)}).ndim == 2
