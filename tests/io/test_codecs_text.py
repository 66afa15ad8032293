"""Strings in files: what zarr-python and hand-made stores hold, and what damage does to them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.errors import ChunkDecodeError, FormatError
from lazytensor.io.codec import text
from tests.io.zarr_cases import array_v2, array_v3, v2, v3

STRINGS = np.dtypes.StringDType()
WORDS = ["", "a", "naïve", "日本語", "x" * 300, "\0", "tail\0", "🙂🙂", "end"]


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


def words(shape: tuple[int, ...]) -> np.ndarray:
    count = int(np.prod(shape))
    return np.array([f"{WORDS[i % 9]}{i or ''}" for i in range(count)], STRINGS).reshape(shape)


@pytest.mark.parametrize("compressors", [None, "auto"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_strings(tmp_path: Path, zarr_format: int, compressors: Any) -> None:
    values = words((5, 7))
    options = {"zarr_format": zarr_format, "compressors": compressors}
    written(tmp_path, values, (2, 3), dtype=str, fill_value="none", **options)
    x = lt.scan_zarr(tmp_path)
    assert x.dtype == STRINGS
    assert (x.collect() == values).all()
    assert (x[1:, ::2].collect() == values[1:, ::2]).all()


def test_strings_in_shards_and_in_other_orders(tmp_path: Path) -> None:
    values = words((6, 6))
    array = zarr.create_array(
        str(tmp_path / "a"), shape=(6, 6), chunks=(2, 3), shards=(4, 6), dtype=str
    )
    array[:4] = values[:4]
    found = lt.scan_zarr(tmp_path / "a").collect()
    assert (found[:4] == values[:4]).all() and (found[4:] == "").all()
    written(tmp_path / "f", values, (4, 3), dtype=str, zarr_format=2, order="F")
    assert (lt.scan_zarr(tmp_path / "f").collect() == values).all()
    codecs = [{"name": "transpose", "configuration": {"order": [1, 0]}}, "vlen-utf8", "zstd"]
    document = array_v3((6, 6), (6, 6), "string", codecs, fill_value="")
    payload = numcodecs.VLenUTF8().encode(values.T.astype(object).reshape(-1))
    data = v3(document, {"c/0/0": bytes(numcodecs.Zstd().encode(payload))})
    assert (lt.scan_zarr(data)[1:, 2].collect() == values[1:, 2]).all()


def test_strings_may_be_reshaped_but_not_turned_after_that() -> None:
    values = words((4, 6))
    reshape = {"name": "reshape", "configuration": {"shape": [3, 8]}}
    turn = {"name": "transpose", "configuration": {"order": [1, 0]}}
    payload = bytes(numcodecs.VLenUTF8().encode(values.T.astype(object).reshape(-1)))
    document = array_v3((4, 6), (4, 6), "string", [turn, reshape, "vlen-utf8"], fill_value="")
    assert (lt.scan_zarr(v3(document, {"c/0/0": payload})).collect() == values).all()
    document["codecs"].insert(2, turn)
    with pytest.raises(FormatError, match=r"'vlen-utf8' after \[transpose\]"):
        lt.scan_zarr(v3(document))


def test_categories_of_any_length() -> None:
    labels = ["a" * 40, "bc", "déf"]
    codes = np.array([[1, 2, 0], [3, 9, 2]], "u1")
    filters = [{"id": "categorize", "labels": labels, "dtype": "|O", "astype": "|u1"}]
    document = array_v2((2, 3), (2, 3), "|O", filters=filters, fill_value="?")
    found = lt.scan_zarr(v2(document, {"0.0": codes.tobytes()})).collect()
    assert found.tolist() == [[labels[0], "bc", ""], ["déf", "", "bc"]]
    for wrong, message in [(b"1234567", "at most 6 bytes"), (b"12345", "categorize: expected 6")]:
        with pytest.raises(ChunkDecodeError, match=message):
            lt.scan_zarr(v2(document, {"0.0": wrong})).collect()


def text_store(payload: bytes, count: int = 3) -> dict[str, bytes]:
    document = array_v3((count,), (count,), "string", ["vlen-utf8"], fill_value="")
    return v3(document, {"c/0": payload})


def framed(*parts: bytes, count: int | None = None) -> bytes:
    header = (len(parts) if count is None else count).to_bytes(4, "little")
    return header + b"".join(len(part).to_bytes(4, "little") + part for part in parts)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "expected 3 strings in at least 16 bytes, found 0 in 0"),
        (b"\x03\0\0", "found 3 in 3"),
        (framed(b"a", b"b"), "found 2"),
        (framed(b"a", b"b", b"c", b"d"), "found 4"),
        (framed(b"a", b"b", count=3), "in at least 16 bytes, found 3 in 14"),
        (framed(b"abc", b"defg", count=3), "corrupt"),
        (framed(b"a", b"b", b"c")[:-1], "corrupt"),
        (framed(b"a", b"b", b"c") + b"!", "1 bytes follow"),
        (framed(b"a", b"b", "ü".encode()) + b"!", "1 bytes follow"),
        (framed(b"a", b"b")[:4].replace(b"\2", b"\3") + b"\xff" * 12, "corrupt"),
        (framed(b"a", b"\xff\xfe", b"c"), "utf-8"),
        (framed(b"a", b"\xed\xa0\x80", b"c"), "utf-8"),
        (framed(b"a", b"\xe6\x97", b"\xa5c"), "utf-8"),
    ],
)
def test_damaged_strings_are_errors(payload: bytes, message: str) -> None:
    with pytest.raises(ChunkDecodeError, match=message) as caught:
        lt.scan_zarr(text_store(payload)).collect()
    assert "c/0" in str(caught.value)


@given(data=st.data())
def test_damaged_strings_never_crash(data: st.DataObject) -> None:
    """Any bytes are so many strings or an error."""
    payload = bytearray(framed(*[word.encode() for word in WORDS]))
    for at in data.draw(st.lists(st.integers(0, len(payload) - 1), max_size=5)):
        payload[at] = data.draw(st.sampled_from([0, 1, 9, 0x7F, 0x80, 0xC3, 0xFF]))
    end = data.draw(st.integers(0, len(payload)) | st.just(len(payload)))
    tail = data.draw(st.binary(max_size=5))
    try:
        found = text.Utf8Reader().read(bytes(payload[:end]) + tail, len(WORDS))
    except ChunkDecodeError:
        return
    assert framed(*[word.encode() for word in found.tolist()]) == bytes(payload[:end]) + tail


def test_strings_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = framed(b"a" * 1000, b"b", b"c")
    assert lt.scan_zarr(text_store(payload)).collect()[1:].tolist() == ["b", "c"]
    monkeypatch.setattr(text, "MOST_TEXT_BYTES", 1000)
    with pytest.raises(ChunkDecodeError, match="at most 1000 bytes"):
        lt.scan_zarr(text_store(payload)).collect()
    document = array_v3((3,), (3,), "string", ["vlen-utf8", "gzip"], fill_value="")
    bomb = bytes(numcodecs.GZip().encode(payload))
    with pytest.raises(ChunkDecodeError, match="gzip: expected 1000 decoded bytes, found more"):
        lt.scan_zarr(v3(document, {"c/0": bomb})).collect()
