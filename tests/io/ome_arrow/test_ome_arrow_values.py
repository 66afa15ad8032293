"""Elements become values of the image's dtype, or an error that says which number is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lazytensor.errors import ChunkDecodeError, DTypeError, FormatError
from lazytensor.io.ome_arrow.fill import fill_of, fill_to_json
from lazytensor.io.ome_arrow.values import Values, as_values, codec_of, holds
from lazytensor.io.scratch import Scratch, thread_scratch
from tests.io.ome_arrow.ome_arrow_pieces import as_bytes, compressed, distinct

CODECS = ("zstd", "zstd-unsized", "lz4", "lz4_raw", "snappy", "gzip", "brotli", "bz2")
INTEGERS = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")


def converted(numbers: Any, dtype: str) -> np.ndarray:
    place = np.zeros(np.shape(numbers), dtype)
    as_values(np.asarray(numbers), place)
    return place


@pytest.mark.parametrize("stored", INTEGERS)
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_have_to_fit(stored: str, dtype: str) -> None:
    have, want = np.iinfo(stored), np.iinfo(dtype)
    lo, hi = max(have.min, want.min), min(have.max, want.max)
    np.testing.assert_array_equal(
        converted(np.array([lo, 0, 1, hi], stored), dtype), np.array([lo, 0, 1, hi], dtype)
    )
    assert holds(np.dtype(dtype), np.dtype(stored)) == (lo == have.min and hi == have.max)
    for wrong in (want.min - 1, want.max + 1):
        if have.min <= wrong <= have.max:
            with pytest.raises(FormatError, match=f"{wrong} is no value of {np.dtype(dtype)}"):
                converted(np.array([0, wrong], stored), dtype)


@pytest.mark.parametrize("stored", ["f2", "f4", "f8"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_floats_have_to_be_whole_to_be_integers(stored: str, dtype: str) -> None:
    want = np.iinfo(dtype)
    good = [0.0, 1.0, -0.0, 100.0, *([-100.0] if want.min else [])]
    np.testing.assert_array_equal(converted(np.array(good, stored), dtype), np.array(good, dtype))
    limit = 2.0 ** (8 * np.dtype(dtype).itemsize - (want.min < 0))
    beyond = [limit, -1.0 if not want.min else -2 * limit]
    for wrong in (0.5, np.nan, np.inf, -np.inf, *beyond):
        with np.errstate(over="ignore"):
            number = np.array([1.0, wrong]).astype(stored)
        with pytest.raises(FormatError, match=f"is no value of {np.dtype(dtype)}"):
            converted(number, dtype)
    if want.min and stored == "f8":
        assert converted(np.array([-limit]), dtype)[0] == want.min


def test_integers_that_floats_cannot_hold() -> None:
    cases = {"f2": 11, "f4": 24, "f8": 53}
    for dtype, bits in cases.items():
        for stored in ("i8", "u8"):
            good = [0, 1, 2**bits - 1, 2**bits] if bits > 11 else [0, 1, 2**bits]
            found = converted(np.array(good, stored), dtype)
            assert [int(value) for value in found.tolist()] == good
            with pytest.raises(FormatError, match=f"{2**bits + 1} is no value of"):
                converted(np.array([0, 2**bits + 1], stored), dtype)
    for wrong in (2**63 - 1, -(2**63) + 1):
        with pytest.raises(FormatError):
            converted(np.array([wrong], "i8"), "f8")
    with pytest.raises(FormatError):
        converted(np.array([2**64 - 1], "u8"), "f8")
    assert converted(np.array([-(2**63)], "i8"), "f4")[0] == -(2.0**63)
    assert converted(np.array([2**63], "u8"), "f4")[0] == 2.0**63
    with pytest.raises(FormatError):
        converted(np.array([70000], "i4"), "f2")
    assert converted(np.array([3, 5], "u2"), "c8").tolist() == [3, 5]
    with pytest.raises(FormatError):
        converted(np.array([2**24 + 1], "i4"), "c8")


def test_floats_are_rounded_to_floats_but_stay_finite() -> None:
    found = converted(np.array([0.1, np.nan, np.inf, -np.inf, 1e-300]), "f4")
    np.testing.assert_array_equal(found, np.array([0.1, np.nan, np.inf, -np.inf, 0], "f4"))
    with pytest.raises(FormatError, match=r"1e\+300 is no value of float32"):
        converted(np.array([1e300]), "f4")
    assert converted(np.array([0.5], "f4"), "f8")[0] == 0.5
    assert converted(np.array([0.5], "f4"), "c16")[0] == 0.5


def test_booleans_are_0_and_1() -> None:
    np.testing.assert_array_equal(converted(np.array([0, 1], "u2"), "?"), [False, True])
    np.testing.assert_array_equal(converted(np.array([0.0, 1.0]), "?"), [False, True])
    for wrong in (2, -1, 256):
        with pytest.raises(FormatError, match=f"{wrong} is no value of bool"):
            converted(np.array([wrong], "i4"), "?")


def values_of(dtype: Any, **options: Any) -> Values:
    return Values(np.dtype(dtype), **{"encoded": True, "fill": None, **options})


def test_bytes_are_little_endian() -> None:
    data = np.frombuffer(b"\x01\x02\x03\x04", np.uint8)
    found = values_of("u2").element(data, (2,), None)
    assert found is not None
    assert found.tolist() == [0x0201, 0x0403]
    place = np.zeros(2, np.uint16)
    values_of("u2").put(found, place)
    assert place.tolist() == [0x0201, 0x0403]


def test_every_byte_that_is_not_0_is_true() -> None:
    values, place = values_of("?"), np.zeros(4, np.bool_)
    data = np.array([0, 1, 2, 255], np.uint8)
    found = values.element(data, (4,), None)
    assert found is not None
    values.put(found, place)
    assert place.view(np.uint8).tolist() == [0, 1, 1, 1]
    packed = np.frombuffer(compressed(_pa(), data.tobytes(), "zstd"), np.uint8)
    values.put(values.decode(packed, (4,), "zstd", thread_scratch(), place), place)
    assert place.view(np.uint8).tolist() == [0, 1, 1, 1]


def _pa() -> Any:
    import pyarrow as pa

    return pa


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "c16", "?"])
def test_codecs(codec: str, dtype: str) -> None:
    name = codec.partition("-")[0]
    for shape in [(3, 50, 70), (1, 1, 1), (2, 300, 400)]:
        array = distinct(shape, dtype)
        data = np.frombuffer(compressed(_pa(), as_bytes(array).tobytes(), codec), np.uint8)
        values = values_of(dtype)
        assert values.element(data, shape, name) is None
        assert values.element(data, shape, name.upper()) is None
        place = np.zeros_like(array)
        found = values.decode(data, shape, name.upper(), Scratch(), place)
        if found is not place:
            values.put(found, place)
        np.testing.assert_array_equal(place, array)
        loose = np.zeros((*shape, 2), dtype)[..., 0]
        values.put(values.decode(data, shape, name, Scratch(), loose), loose)
        np.testing.assert_array_equal(loose, array)


@pytest.mark.parametrize("codec", CODECS)
def test_damaged_and_wrong_streams(codec: str) -> None:
    name = codec.partition("-")[0]
    array = distinct((40, 50), "u2")
    data = compressed(_pa(), as_bytes(array).tobytes(), codec)
    values = values_of("u2")

    def decode(stored: bytes, shape: tuple[int, ...] = (40, 50)) -> None:
        place = np.zeros(shape, np.uint16)
        values.decode(np.frombuffer(stored, np.uint8), shape, name, Scratch(), place)

    for shape in [(40, 51), (40, 49), (80, 50), (1, 1), (1, 1999)]:
        with pytest.raises(ChunkDecodeError):
            decode(data, shape)
    for stored in (b"", data[:-5], data[: len(data) // 2], b"\xff" * 40, b"\0" * 8):
        with pytest.raises(ChunkDecodeError):
            decode(stored)
    if name not in ("lz4_raw", "snappy"):  # the only ones without a check of any kind
        assert codec_of(name) is codec_of(name.upper())


@pytest.mark.parametrize("codec", [*CODECS[:1], *CODECS[2:]])
def test_nothing_is_allocated_that_a_file_merely_claims(codec: str) -> None:
    data = np.frombuffer(compressed(_pa(), b"0123456789", codec), np.uint8)
    values = values_of("u1")
    with pytest.raises(ChunkDecodeError):
        values.decode(data, (1 << 20, 1 << 20, 100), codec, Scratch())


def test_unknown_codecs_are_named() -> None:
    with pytest.raises(ChunkDecodeError, match="'lzma9' is not known; known are 'brotli'"):
        codec_of("lzma9")


@pytest.mark.parametrize("name", ["", "none", "NONE", "uncompressed", None])
def test_no_codec(name: str | None) -> None:
    data = as_bytes(distinct((4, 5), "i4"))
    found = values_of("i4").element(data, (4, 5), name)
    np.testing.assert_array_equal(found, distinct((4, 5), "i4"))


def test_lengths() -> None:
    with pytest.raises(ChunkDecodeError, match="expected 20 values, found 60"):
        values_of("i4", encoded=False).element(np.zeros(60), (4, 5), None)
    with pytest.raises(ChunkDecodeError, match="expected 80 bytes, found 20"):
        values_of("i4").element(np.zeros(20, np.uint8), (4, 5), None)


def test_fill_values_in_documents() -> None:
    cases = [
        ("u2", 7), ("f4", 0.5), ("f8", np.nan), ("f8", -np.inf), ("?", True), ("c8", 1 + 2j),
        ("c16", complex(np.nan, 1)), ("i8", -(2**63)), ("u8", 2**64 - 1),
    ]  # fmt: skip
    for dtype, value in cases:
        fill = fill_of(value, np.dtype(dtype))
        assert fill is not None
        again = fill_of(fill_to_json(fill), np.dtype(dtype))
        assert again is not None
        np.testing.assert_array_equal(again, fill)
        np.testing.assert_array_equal(fill, np.array(value, dtype))
    assert fill_of(None, np.dtype("u1")) is None
    with pytest.raises(DTypeError):
        fill_of(1j, np.dtype("f4"))
