"""Folders of packets: what is read of them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.io.tenso.chunked import (
    FORMAT,
    ChunkKeys,
    key_template,
    open_chunked,
    parse_metadata,
)
from lazytensor.io.tenso.encode import dense_parts, quantized_parts
from lazytensor.plan.quantization import QuantizedArray
from lazytensor.testing import CountingStore
from tests.io.tenso.packets import DTYPES, distinct, same

DOCUMENT: dict[str, Any] = {
    "format": FORMAT, "version": 1, "shape": [5, 3], "chunks": [2, 2], "dtype": "uint16",
    "fill_value": 7, "key": "c/{i}/{j}", "compress": False, "integrity": True, "quant": None,
}  # fmt: skip
VALUES = distinct("u2", (5, 3))


def stored(
    values: np.ndarray, chunks: tuple[int, ...], compress: bool = False, **more: Any
) -> dict[str, bytes]:
    """The files of an array, made without the sink."""
    document = {
        **DOCUMENT,
        "shape": list(values.shape),
        "chunks": list(chunks),
        "dtype": values.dtype.name,
        "fill_value": [0, 0] if values.dtype.kind == "c" else bool(0) if values.dtype == "?" else 0,
        "key": key_template("c", values.ndim),
        "compress": compress,
        **more,
    }
    files = {"tenso.json": json.dumps(document).encode()}
    counts = [-(-n // size) for n, size in zip(values.shape, chunks, strict=True)]
    for index in np.ndindex(*counts):
        part = tuple(slice(i * n, i * n + n) for i, n in zip(index, chunks, strict=True))
        packet = dense_parts(
            np.asarray(values[part], order="C"),
            integrity=True,
            compress=compress,
            seekable=compress,
        )
        files[ChunkKeys("c", "/").key(index)] = b"".join(packet)
    return files


def tensor(files: dict[str, bytes], **options: Any) -> lt.LazyTensor:
    return lt.scan_source(open_chunked(files, **options))


def changed(**fields: Any) -> dict[str, bytes]:
    files = stored(VALUES, (2, 2), fill_value=7)
    document = {**json.loads(files["tenso.json"]), **fields}
    gone = [key for key, value in document.items() if value is ...]
    for key in gone:
        del document[key]
    return {**files, "tenso.json": json.dumps(document).encode()}


class TestReading:
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("compress", [False, True])
    def test_every_dtype(self, dtype: Any, compress: bool) -> None:
        values = distinct(dtype, (5, 7))
        x = tensor(stored(values, (2, 3), compress))
        assert same(x.collect(), values)
        assert same(x[1:4, ::2].collect(), values[1:4, ::2])

    @given(data=st.data())
    def test_slices_as_numpy_has_them(self, data: st.DataObject) -> None:
        shape = tuple(data.draw(st.lists(st.integers(0, 7), max_size=3)))
        chunks = tuple(data.draw(st.integers(1, 8)) for _ in shape)
        values = distinct("i4", shape)
        x = tensor(stored(values, chunks, data.draw(st.booleans())))
        key = tuple(data.draw(st.slices(n)) for n in shape)
        assert same(x[key].collect(), values[key])
        with lt.Config(cache_bytes="1MiB"):
            assert same(x[key].collect(), values[key])

    def test_a_chunk_that_is_not_there_is_the_fill_value(self) -> None:
        files = stored(VALUES, (2, 2), fill_value=7)
        del files["c/1/0"]
        expected = VALUES.copy()
        expected[2:4, :2] = 7
        assert same(tensor(files).collect(), expected)

    def test_what_it_says_of_itself(self) -> None:
        axis = {"name": "y", "kind": "space", "unit": "micrometer", "scale": 0.5, "offset": 1.0}
        files = changed(
            dims=["y", None], axes=[axis, {"name": "", "labels": ["a", "b", "c"]}],
            origin=[10, -2], attributes={"by": "me"},
        )  # fmt: skip
        source = open_chunked(files)
        x = lt.scan_source(source)
        assert (x.shape, x.dims, x.chunks) == ((5, 3), ("y", ""), (2, 2))
        assert x.axes[0] == lt.Axis("y", "space", "micrometer", 0.5, 1.0)
        assert x.axes[1].labels == ("a", "b", "c")
        assert (source.origin, dict(x.attrs)) == ((10, -2), {"by": "me"})
        assert x.storage is not None
        assert x.storage.format == "tenso chunks"
        assert x.storage.statistics()["units_stored"] == 6
        assert x.storage.statistics()["units_total"] == 6
        assert "scan tenso" in x.explain()

    def test_the_origin_is_that_of_the_tensor(self) -> None:
        x = lt.scan_tenso((changed(origin=[10, -2]), ""))
        assert x.origin == (10, -2)
        assert same(x.collect(), VALUES)

    def test_quantized_packets_are_the_floats_they_stand_for(self) -> None:
        data = np.arange(6, dtype=np.int8).reshape(2, 3)
        halves = [
            QuantizedArray(data[:, part], np.float32([scale]), np.float32([1]), "qint8")
            for part, scale in ((slice(0, 2), 0.5), (slice(2, 3), 2.0))
        ]
        quant = {"dtype": "qint8", "scheme": "per_tensor", "axis": 0, "group_size": 0}
        document = {
            **DOCUMENT, "shape": [2, 3], "dtype": "float32", "quant": quant, "fill_value": 0.0
        }  # fmt: skip
        files = {"tenso.json": json.dumps(document).encode()}
        for j, half in enumerate(halves):
            files[f"c/0/{j}"] = b"".join(quantized_parts(half, integrity=True))
        expected = np.concatenate([half.dequantize() for half in halves], axis=1)
        assert same(tensor(files).collect(), expected)
        assert same(tensor(files)[1, 1:].collect(), expected[1, 1:])
        document["quant"] = {**quant, "dtype": "quint8"}
        files["tenso.json"] = json.dumps(document).encode()
        with pytest.raises(lt.ChunkDecodeError, match="expected values of Quant"):
            tensor(files).collect()

    def test_only_wanted_chunks_are_read(self, tmp_path: Path) -> None:
        for key, data in stored(distinct("u2", (64, 64)), (16, 16)).items():
            path = tmp_path / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        counting = CountingStore(tmp_path)
        x = tensor(counting)
        asked = x[20:30, 20:40]
        estimated = asked.estimate(exact=True)
        counting.log.clear()
        asked.collect()
        read = {str(entry[1]) for entry in counting.log}
        assert {key for key in read if key.startswith("c/")} == {"c/1/1", "c/1/2"}
        assert (estimated.chunks_read, estimated.bytes_read) == (2, 2 * (64 + 512 + 8))

    def test_decoded_bytes_of_chunks_that_are_cut_off(self) -> None:
        x = tensor(stored(VALUES, (2, 2)))
        assert x.estimate(exact=True).bytes_decoded == VALUES.nbytes
        lt.metrics(reset=True)
        x.collect()
        assert lt.metrics()["bytes_decoded"] == VALUES.nbytes

    def test_plans_are_written_down_and_read_back(self, tmp_path: Path) -> None:
        x = lt.asarray(VALUES).sink_tenso(tmp_path / "x", chunks=(2, 2))
        text = (x[1:] + 1).serialize()
        assert '"tenso-chunks"' in str(text)
        assert same(lt.LazyTensor.deserialize(text).collect(), VALUES[1:] + np.uint16(1))

    def test_metadata_that_changed_is_noticed(self, tmp_path: Path) -> None:
        x = lt.asarray(VALUES).sink_tenso(tmp_path / "x", chunks=(2, 2))
        (tmp_path / "x" / "tenso.json").write_text(json.dumps({**DOCUMENT, "shape": [4, 3]}))
        with pytest.raises(lt.SourceChangedError):
            x.collect()

    def test_thirty_two_dims(self) -> None:
        values = distinct("u1", (2, *(1,) * 30, 3))
        assert same(tensor(stored(values, (1,) * 32)).collect(), values)


class TestDamage:
    def test_checksums(self) -> None:
        files = stored(VALUES, (2, 2))
        files["c/1/1"] = files["c/1/1"][:64] + b"\xff" + files["c/1/1"][65:]
        with pytest.raises(lt.ChecksumError, match="key 'c/1/1'"):
            tensor(files).collect()
        assert tensor(files, verify="never").collect().shape == (5, 3)
        np.testing.assert_array_equal(tensor(files)[:2].collect(), VALUES[:2])
        assert tensor(files).sum()._node is not tensor(files, verify="never").sum()._node

    @pytest.mark.parametrize(
        ("packet", "says"),
        [
            (b"", "truncated"),
            (b"nothing at all", "expected a tenso packet"),
            (b"".join(dense_parts(np.zeros((2, 2), "u2")))[:-1], "truncated"),
            (b"".join(dense_parts(np.zeros((2, 2), "u2"))) + b"x", "behind a packet"),
            (b"".join(dense_parts(np.zeros((2, 3), "u2"))), "where chunks have"),
            (b"".join(dense_parts(np.zeros((1, 2), "u2"))), "where chunks have"),
            (b"".join(dense_parts(np.zeros((2, 2), "i2"))), "expected values of uint16"),
            (b"".join(dense_parts(np.zeros((2, 2, 1), "u2"))), "where chunks have"),
        ],
    )
    def test_a_packet_that_is_not_what_it_should_be(self, packet: bytes, says: str) -> None:
        files = {**stored(VALUES, (2, 2)), "c/0/0": packet}
        with pytest.raises(lt.FormatError, match=says) as error:
            tensor(files).collect()
        assert "key 'c/0/0'" in str(error.value)

    @pytest.mark.parametrize(
        ("fields", "says"),
        [
            ({"format": "zarr"}, "format: expected 'lazytensor-tenso-chunks', found 'zarr'"),
            ({"version": 2}, "version: expected 1"),
            ({"version": True}, "version: expected 1"),
            ({"shape": ...}, "shape: expected a value, found nothing"),
            ({"quant": ...}, "quant: expected a value, found nothing"),
            ({"shape": [5, -1]}, "shape: expected integers"),
            ({"shape": [1] * 33}, "shape: expected at most 32 dims"),
            ({"chunks": [2]}, "chunks: expected 2 integers"),
            ({"chunks": [0, 2]}, "chunks: expected integers from 1"),
            ({"chunks": [1 << 16, 1 << 16]}, "chunks: expected chunks of at most"),
            ({"dtype": "int3"}, "dtype: 'int3' is not supported"),
            ({"dtype": 3}, "dtype: expected a string"),
            ({"fill_value": "x"}, "fill_value: expected a fill value of uint16"),
            ({"fill_value": 70000}, "fill_value: expected a fill value of uint16"),
            ({"compress": 1}, "compress: expected true or false"),
            ({"integrity": None}, "integrity: expected true or false"),
            ({"key": "c/{i}"}, "key: expected a name and a number for each dim"),
            ({"key": "../{i}/{j}"}, "key: expected a name"),
            ({"key": "/c/{i}/{j}"}, "key: expected a name"),
            ({"key": "c/{j}/{i}"}, "key: expected a name"),
            ({"key": "a/b/{i}/{j}"}, "key: expected a name"),
            ({"key": "c/{i}/{j}/../../x"}, "key: expected a name"),
            ({"dims": ["y"]}, "dims: expected 2 names"),
            ({"axes": [{}]}, "axes: expected 2 objects"),
            ({"axes": [{"scale": "x"}, {}]}, "scale: expected a finite number"),
            ({"axes": [{"size": 3}, {}]}, "expected no key 'size'"),
            ({"axes": [{"labels": [1]}, {}]}, "labels: expected a list of strings"),
            ({"origin": [1.5, 0]}, "origin: expected 2 integers"),
            ({"attributes": []}, "attributes: expected an object"),
            ({"more": 1}, "expected no key 'more'"),
            ({"quant": "qint8"}, "quant: expected an object"),
            ({"quant": {"dtype": "qint8"}}, "scheme: expected one of"),
        ],
    )  # fmt: skip
    def test_metadata_that_breaks_the_rules(self, fields: dict[str, Any], says: str) -> None:
        with pytest.raises((lt.FormatError, lt.DTypeError)) as error:
            tensor(changed(**fields))
        assert says in str(error.value)
        assert "tenso.json" in str(error.value)

    @pytest.mark.parametrize(
        ("quant", "says"),
        [
            ({"scheme": "per_tensor", "axis": 1, "group_size": 0}, "axis"),
            ({"scheme": "per_channel", "axis": 2, "group_size": 0}, "axis"),
            ({"scheme": "per_group", "axis": 0, "group_size": 0}, "group_size"),
            ({"scheme": "per_tensor", "axis": 0, "group_size": 4}, "group_size"),
            ({"scheme": "per_tensor", "axis": 0, "group_size": 0, "x": 1}, "no key 'x'"),
        ],
    )
    def test_quantization_that_breaks_the_rules(self, quant: dict[str, Any], says: str) -> None:
        with pytest.raises(lt.FormatError, match=says):
            tensor(changed(dtype="float32", fill_value=0.0, quant={"dtype": "qint8", **quant}))
        fits = {"dtype": "qint8", "scheme": "per_tensor", "axis": 0, "group_size": 0}
        with pytest.raises(lt.FormatError, match="float32, what quantized packets are read as"):
            tensor(changed(quant=fits))

    def test_no_json(self) -> None:
        with pytest.raises(lt.FormatError, match="expected JSON"):
            tensor({"tenso.json": b"{"})
        with pytest.raises(lt.SourceNotFoundError, match=r"tenso\.json"):
            tensor({"other": b""})

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
            ),
            max_leaves=6,
        ),
        st.sampled_from(sorted({*DOCUMENT, "dims", "axes", "origin", "attributes"})),
    )  # fmt: skip
    def test_any_value_of_any_key_is_read_or_refused(self, value: Any, key: str) -> None:
        refused = None
        try:
            parse_metadata({**DOCUMENT, key: value}, "tenso.json")
        except (lt.FormatError, lt.DTypeError) as error:
            refused = error
        assert refused is None or "tenso.json" in str(refused)


def test_keys_mean_one_chunk_and_no_other() -> None:
    keys = ChunkKeys("c-12ab", ".")
    assert keys.key((3, 0)) == "c-12ab.3.0"
    assert keys.indices("c-12ab.3.0", (4, 1)) == (3, 0)
    for odd in ("c-12ab.3.1", "c-12ab.03.0", "c.3.0", "c-12ab.3", "c-12ab.3.0.0", "c-12ab.-1.0"):
        assert keys.indices(odd, (4, 1)) is None
