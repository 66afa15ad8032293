"""Writing results: what is written, in which mode, and what is left when something goes wrong."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.io import staging
from lazytensor.io import tenso as packets
from lazytensor.io.tenso.encode import dense_parts
from tests.io.tenso.packets import DTYPES, distinct, same
from tests.io.tenso.peer import needs_tenso
from tests.sources import ChunkedArray

VALUES = distinct("u2", (20, 13, 7))


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden names too."""
    return sorted(os.listdir(folder))


def source(values: np.ndarray = VALUES, chunks: tuple[int, ...] = (8, 4, 4)) -> lt.LazyTensor:
    return lt.scan_source(ChunkedArray(values, chunks))


class TestPacket:
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("integrity", [False, True])
    def test_the_bytes_are_those_of_dumps(
        self, tmp_path: Path, dtype: Any, integrity: bool
    ) -> None:
        values = distinct(dtype, (9, 5))
        found = source(values, (4, 2)).sink_tenso(tmp_path / "x", integrity=integrity)
        expected = bytes(packets.dumps(values, check_integrity=integrity))
        assert (tmp_path / "x").read_bytes() == expected
        assert same(found.collect(), values)
        assert names(tmp_path) == ["x"]

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_any_shape_and_grid_in_any_memory(self, tmp_path: Path, data: st.DataObject) -> None:
        shape = tuple(data.draw(st.lists(st.integers(0, 12), max_size=4)))
        values = distinct(data.draw(st.sampled_from(["?", "u1", "f4", "c16"])), shape)
        chunks = tuple(data.draw(st.integers(1, max(1, n))) for n in shape)
        engine = lt.LocalEngine(
            threads=data.draw(st.integers(1, 3)),
            max_memory=data.draw(st.sampled_from([1 << 30, 1 << 21, 1 << 20])),
        )
        compress = data.draw(st.booleans())
        found = source(values, chunks).sink_tenso(
            tmp_path / "x", engine=engine, compress=compress, mode="overwrite"
        )
        parts = dense_parts(values, integrity=True, compress=compress, seekable=compress)
        assert (tmp_path / "x").read_bytes() == b"".join(parts)
        assert same(found.collect(), values)

    @pytest.mark.parametrize("threads", [1, 2, 5])
    @pytest.mark.parametrize("compress", [False, True])
    def test_the_bytes_do_not_depend_on_threads(
        self, tmp_path: Path, threads: int, compress: bool
    ) -> None:
        values = np.random.default_rng(0).integers(0, 9, (40, 300, 301)).astype("u2")
        x = source(values, (7, 100, 50))
        for limit in ("64MiB", "3MiB"):
            engine = lt.LocalEngine(threads=threads, max_memory=limit)
            x.sink_tenso(tmp_path / "x", compress=compress, engine=engine, mode="overwrite")
            parts = dense_parts(values, integrity=True, compress=compress, seekable=compress)
            assert (tmp_path / "x").read_bytes() == b"".join(parts)

    def test_every_chunk_is_read_once_where_memory_suffices(self, tmp_path: Path) -> None:
        stored = ChunkedArray(np.arange(64**3, dtype="f4").reshape(64, 64, 64), (16, 16, 16))
        for options in ({}, {"compress": True}, {"chunks": 16}, {"chunks": 32}, {"chunks": 8}):
            stored.boxes.clear()
            lt.scan_source(stored).sink_tenso(tmp_path / "x", mode="overwrite", **options)
            read = sum(len(stored.cells_of(box)) for box in stored.boxes)
            assert read == 64, options

    def test_what_is_computed_on_the_way(self, tmp_path: Path) -> None:
        x = source()
        plan = lt.downsample(x.astype("f4") * 2 + x.mean(), (2, 2, 2))[1:, ::-1]
        found = plan.sink_tenso(tmp_path / "x")
        np.testing.assert_array_equal(found.collect(), plan.collect())
        largest = x.max(axis=0).sink_tenso(tmp_path / "y")
        np.testing.assert_array_equal(largest.collect(), VALUES.max(axis=0))
        assert int(x.sum().sink_tenso(tmp_path / "z").collect()) == VALUES.sum()

    def test_more_elements_than_a_packet_has(self, tmp_path: Path) -> None:
        x = lt.zeros((1 << 10, 1 << 10, 1 << 10), dtype="u1")
        with pytest.raises(lt.ShapeError, match="chunks= writes one packet a chunk"):
            x.sink_tenso(tmp_path / "x")
        with pytest.raises(lt.ShapeError, match="a chunk: shape"):
            x.sink_tenso(tmp_path / "x", chunks=1 << 10)
        assert names(tmp_path) == []

    def test_dtypes_that_packets_do_not_hold(self, tmp_path: Path) -> None:
        x = lt.asarray(np.zeros(3, "M8[s]"))
        for chunks in (None, 2):
            with pytest.raises(lt.DTypeError, match="tenso packets hold no"):
                x.sink_tenso(tmp_path / "x", chunks=chunks)

    def test_big_endian_values_are_turned(self, tmp_path: Path) -> None:
        values = np.arange(6, dtype=">f4").reshape(2, 3)
        for name, chunks in (("x", None), ("y", 2)):
            found = lt.asarray(values).sink_tenso(tmp_path / name, chunks=chunks)
            assert same(found.collect(), values.astype("f4"))

    @needs_tenso
    def test_the_package_reads_packets_and_chunks(self, tmp_path: Path) -> None:
        values = np.arange(40, dtype="f4").reshape(8, 5)
        lt.asarray(values).sink_tenso(tmp_path / "p")
        lt.asarray(values).sink_tenso(tmp_path / "z", compress=True)
        lt.asarray(values).sink_tenso(tmp_path / "d", chunks=(4, 3), compress=True)
        lt.dump_tenso({"a": values, "g": {"b": values + 1}}, tmp_path / "b")
        lt.asarray(values).sink_tenso(tmp_path / "q", quantize="quint8")
        script = textwrap.dedent(
            f"""
            import os, tenso, numpy as np
            os.chdir({str(tmp_path)!r})
            values = np.arange(40, dtype="f4").reshape(8, 5)
            read = lambda name: tenso.loads(open(name, "rb").read())
            assert np.array_equal(read("p"), values)
            assert np.array_equal(read("z"), values)
            assert np.array_equal(read("d/c/1/1"), values[4:, 3:])
            assert np.array_equal(read("b")["g"]["b"], values + 1)
            assert abs(read("q").dequantize() - values).max() < 0.1
            """
        )
        subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


class TestFolder:
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_any_shape_and_chunks(self, tmp_path: Path, data: st.DataObject) -> None:
        shape = tuple(data.draw(st.lists(st.integers(0, 12), max_size=3)))
        values = distinct(data.draw(st.sampled_from(["?", "i2", "f8"])), shape)
        grid = tuple(data.draw(st.integers(1, max(1, n))) for n in shape)
        chunks = [data.draw(st.integers(1, 14)) for _ in shape]
        found = source(values, grid).sink_tenso(
            tmp_path / "x",
            chunks=chunks,
            mode="overwrite",
            compress=data.draw(st.booleans()),
            engine=lt.LocalEngine(threads=data.draw(st.integers(1, 3))),
        )
        assert same(found.collect(), values)
        assert found.chunks == tuple(min(c, max(1, n)) for c, n in zip(chunks, shape, strict=True))

    def test_names_axes_coordinates_and_attributes_stay(self, tmp_path: Path) -> None:
        from lazytensor.sample import write_sample

        image = lt.scan(write_sample(tmp_path / "image.zarr"), level=2)[:, 2:, ::2]
        found = image.sink_tenso(tmp_path / "x", chunks="auto")
        assert (found.dims, found.axes, found.domain) == (image.dims, image.axes, image.domain)
        assert dict(found.attrs) == dict(image.attrs)
        np.testing.assert_array_equal(found.collect(), image.collect())

    def test_chunks_of_zeros_are_left_out_and_signed_zeros_are_not(self, tmp_path: Path) -> None:
        values = np.zeros((4, 4))
        values[3, 3], values[0, 3] = 1.0, -0.0
        found = lt.asarray(values).sink_tenso(tmp_path / "x", chunks=2)
        chunks = [path for path in (tmp_path / "x" / "c").rglob("*") if path.is_file()]
        assert sorted(f"{path.parent.name}/{path.name}" for path in chunks) == ["0/1", "1/1"]
        assert found.collect().tobytes() == values.tobytes()

    def test_chunks_in_every_spelling(self, tmp_path: Path) -> None:
        x = lt.asarray(VALUES, dims=("z", "y", "x"))
        for spelt, expected in (
            (4, (4, 4, 4)),
            ((5, 6, 99), (5, 6, 7)),
            (np.int64(4), (4, 4, 4)),
            (tuple(np.array([5, 6, 99])), (5, 6, 7)),
            ({"y": 3}, (20, 3, 7)),
            ("auto", (20, 13, 7)),
        ):
            assert x.sink_tenso(tmp_path / "x", chunks=spelt, mode="overwrite").chunks == expected
        for wrong in ((1, 2), 0, (4, 4, -1), (4, 4, 2.5), "big", True):
            with pytest.raises((lt.ShapeError, ValueError)):
                x.sink_tenso(tmp_path / "x", chunks=wrong, mode="overwrite")

    def test_automatic_chunks_are_cells_of_about_a_megabyte(self, tmp_path: Path) -> None:
        for shape, grid in (((4096, 4096), (64, 64)), ((4096, 4096), (4096, 4096))):
            x = lt.virtual_chunked(lambda d, out: None, shape=shape, dtype="u2", chunks=grid)
            sink = x.sink_tenso(tmp_path / "x", chunks="auto", lazy=True)
            (target,) = sink._make().sink.targets
            nbytes = 2 * int(np.prod(target.cells))
            assert 1 << 19 <= nbytes <= 1 << 24, target.cells


class TestQuantized:
    @pytest.mark.parametrize("dtype", ["qint8", "quint8", "qint4", "quint4"])
    @pytest.mark.parametrize(
        "scheme",
        [
            {},
            {"scheme": "per_channel", "axis": -1},
            {"scheme": "per_channel", "axis": "y"},
            {"scheme": "per_group", "group_size": 17},
            {"mode": "tenso"},
        ],
        ids=str,
    )
    def test_a_packet_is_that_of_the_quantized_tensor(
        self, tmp_path: Path, dtype: str, scheme: dict[str, Any]
    ) -> None:
        values = np.random.default_rng(1).normal(size=(21, 6, 5)).astype("f4")
        stored = ChunkedArray(values, (4, 3, 5), dims=("z", "y", "x"))
        x = lt.scan_source(stored)
        found = x.sink_tenso(tmp_path / "x", quantize={"dtype": dtype, **scheme})
        q = lt.quantize(x, dtype, **scheme)
        expected = bytes(packets.dumps(q.collect(), check_integrity=True))
        assert (tmp_path / "x").read_bytes() == expected
        np.testing.assert_array_equal(found.collect(), q.dequantize().collect())
        q.sink_tenso(tmp_path / "x", mode="overwrite", engine=lt.LocalEngine(threads=3))
        assert (tmp_path / "x").read_bytes() == expected

    @pytest.mark.parametrize("dtype", ["quint8", "qint4"])
    @pytest.mark.parametrize(
        "scheme",
        [{}, {"scheme": "per_channel", "axis": 1}, {"scheme": "per_group", "group_size": 9}],
        ids=str,
    )
    def test_packets_of_a_folder_have_parameters_of_their_own(
        self, tmp_path: Path, dtype: str, scheme: dict[str, Any]
    ) -> None:
        values = np.random.default_rng(2).normal(size=(8, 6)).astype("f4")
        values[:4] *= 100
        values[7, 5] = np.nan
        x = lt.asarray(values)
        found = x.sink_tenso(tmp_path / "x", chunks=(4, 4), quantize={"dtype": dtype, **scheme})
        assert (found.dtype, found.shape) == (np.float32, values.shape)
        for rows, columns in ((0, 0), (0, 4), (4, 0), (4, 4)):
            part = (slice(rows, rows + 4), slice(columns, columns + 4))
            expected = lt.quantize(values[part], dtype, **scheme).collect().dequantize()
            np.testing.assert_array_equal(found[part].collect(), expected)

    @pytest.mark.parametrize("scheme", [{}, {"scheme": "per_channel", "axis": 1}])
    def test_a_quantized_tensor_in_chunks_keeps_its_parameters(
        self, tmp_path: Path, scheme: dict[str, Any]
    ) -> None:
        values = np.random.default_rng(3).normal(size=(8, 6)).astype("f4")
        q = lt.quantize(values, "qint8", **scheme)
        found = q.sink_tenso(tmp_path / "x", chunks=(3, 4))
        np.testing.assert_array_equal(found.collect(), q.dequantize().collect())

    def test_what_cannot_be(self, tmp_path: Path) -> None:
        x = lt.asarray(np.arange(12.0).reshape(3, 4))
        path = tmp_path / "x"
        groups = lt.quantize(x, scheme="per_group", group_size=5)
        with pytest.raises(ValueError, match="chunks would cut them"):
            groups.sink_tenso(path, chunks=2)
        for chunks in (None, 2):
            with pytest.raises(ValueError, match="not compressed"):
                x.sink_tenso(path, quantize="qint8", compress=True, chunks=chunks)
            with pytest.raises(lt.DTypeError, match="int5"):
                x.sink_tenso(path, quantize="int5", chunks=chunks)
            with pytest.raises(ValueError, match="unknown key 'bits'"):
                x.sink_tenso(path, quantize={"bits": 4}, chunks=chunks)
            with pytest.raises(TypeError, match="a dict of arguments"):
                x.sink_tenso(path, quantize=8, chunks=chunks)
            with pytest.raises(lt.DTypeError, match="real numbers"):
                x.astype("c8").sink_tenso(path, quantize="qint8", chunks=chunks)
        nan = lt.asarray(np.full((2, 2), np.nan))
        for chunks, where in ((None, ""), (2, "key 'c/0/0': ")):
            with pytest.raises(ValueError, match=f"{where}there is a NaN"):
                nan.sink_tenso(path, chunks=chunks, quantize={"nan": "raise"})
        assert names(tmp_path) == []


class TestBundle:
    def test_the_bytes_are_those_of_dumps(self, tmp_path: Path) -> None:
        x = source()
        q = lt.quantize(x, "quint4")
        found = lt.dump_tenso(
            {"a": x, "g": {"b": x[::2] + 1, "none": {}}, "q": q, "n": np.arange(3)}, tmp_path / "x"
        )
        values = {
            "a": VALUES,
            "g": {"b": VALUES[::2] + np.uint16(1), "none": {}},
            "q": q.collect(),
            "n": np.arange(3),
        }
        expected = bytes(packets.dumps(values, check_integrity=True))
        assert (tmp_path / "x").read_bytes() == expected
        assert list(found) == ["a", "g/b", "q", "n"]
        np.testing.assert_array_equal(found["g/b"].collect(), values["g"]["b"])  # type: ignore[index]

    def test_what_tensors_share_is_read_once(self, tmp_path: Path) -> None:
        stored = ChunkedArray(VALUES, (8, 4, 4))
        x = lt.scan_source(stored)
        lt.dump_tenso({"x": x, "sum": x.sum(), "twice": x * 2}, tmp_path / "x")
        assert len(stored.boxes) == len(set(stored.boxes))
        assert sum(len(stored.cells_of(box)) for box in stored.boxes) == len(stored.cells_read())

    def test_what_cannot_be(self, tmp_path: Path) -> None:
        path = tmp_path / "x"
        with pytest.raises(TypeError, match="takes a dict"):
            lt.dump_tenso([1], path)  # type: ignore[arg-type]
        with pytest.raises(lt.ShapeError, match="256 entries, where a bundle has at most 255"):
            lt.dump_tenso({str(i): np.zeros(1) for i in range(256)}, path)
        with pytest.raises(lt.ShapeError, match="less than 4 GiB"):
            lt.dump_tenso({"a": lt.zeros((1 << 29,), dtype="f8")}, path)
        with pytest.raises(lt.DTypeError, match="keys of a bundle are strings"):
            lt.dump_tenso({1: np.zeros(1)}, path)  # type: ignore[dict-item]
        with pytest.raises(lt.DTypeError, match="'a' is None"):
            lt.dump_tenso({"a": None}, path)
        with pytest.raises(ValueError, match="two tensors would be called 'a/b'"):
            lt.dump_tenso({"a/b": np.zeros(1), "a": {"b": np.zeros(1)}}, path)
        assert names(tmp_path) == []

    def test_an_empty_one(self, tmp_path: Path) -> None:
        assert dict(lt.dump_tenso({}, tmp_path / "x")) == {}


class TestModes:
    @pytest.mark.parametrize("chunks", [None, 4])
    def test_create_refuses_what_is_there(self, tmp_path: Path, chunks: Any) -> None:
        x = lt.asarray(VALUES)
        (tmp_path / "x").write_bytes(b"precious")
        with pytest.raises(lt.SinkExistsError, match="mode='overwrite'") as error:
            x.sink_tenso(tmp_path / "x", chunks=chunks)
        assert isinstance(error.value, FileExistsError)
        assert (tmp_path / "x").read_bytes() == b"precious"
        with pytest.raises(ValueError, match="mode must be one of"):
            x.sink_tenso(tmp_path / "x", chunks=chunks, mode="append")  # type: ignore[arg-type]
        assert names(tmp_path) == ["x"]

    @pytest.mark.parametrize("after", [None, 4])
    @pytest.mark.parametrize("before", [None, 4])
    def test_overwrite_replaces_files_and_folders(
        self, tmp_path: Path, before: Any, after: Any
    ) -> None:
        lt.zeros((5, 5)).sink_tenso(tmp_path / "x", chunks=before)
        found = lt.asarray(VALUES).sink_tenso(tmp_path / "x", chunks=after, mode="overwrite")
        assert same(found.collect(), VALUES)
        assert names(tmp_path) == ["x"]

    @pytest.mark.parametrize("after", [None, 4])
    def test_without_an_exchange(
        self, tmp_path: Path, after: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(staging, "_renameat2", lambda: None)
        lt.zeros((5, 5)).sink_tenso(tmp_path / "x", chunks=2)
        found = lt.asarray(VALUES).sink_tenso(tmp_path / "x", chunks=after, mode="overwrite")
        assert same(found.collect(), VALUES)
        assert names(tmp_path) == ["x"]

    @pytest.mark.parametrize("chunks", [None, 4])
    def test_folders_of_somebody_else_stay(self, tmp_path: Path, chunks: Any) -> None:
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "thesis.tex").write_text("all of it")
        with pytest.raises(lt.SinkExistsError, match="remove it yourself"):
            lt.asarray(VALUES).sink_tenso(tmp_path / "x", chunks=chunks, mode="overwrite")
        assert names(tmp_path / "x") == ["thesis.tex"]
        assert names(tmp_path) == ["x"]

    def test_folders_on_the_way_are_made(self, tmp_path: Path) -> None:
        found = lt.asarray(VALUES).sink_tenso(tmp_path / "a" / "b" / "x")
        assert same(found.collect(), VALUES)

    def test_what_is_read_is_not_overwritten(self, tmp_path: Path) -> None:
        path = tmp_path / "x"
        for chunks in (None, 4):
            x = lt.asarray(VALUES).sink_tenso(path, chunks=chunks, mode="overwrite")
            with pytest.raises(lt.SinkError, match="would replace what is read"):
                (x + 1).sink_tenso(path, mode="overwrite")
            with pytest.raises(lt.SinkError, match="would replace what is read"):
                (x + 1).sink_tenso(tmp_path / "." / "x", chunks=2, mode="overwrite")
            assert same(x.collect(), VALUES)
        kept = x.persist()
        assert same((kept + 1).sink_tenso(path, mode="overwrite").collect(), VALUES + np.uint16(1))
        np.save(tmp_path / "a.npy", VALUES)
        for y in (lt.scan_npy(tmp_path / "a.npy"), lt.asarray(np.load(tmp_path / "a.npy", "r"))):
            with pytest.raises(lt.SinkError, match="would replace what is read"):
                y.sink_tenso(tmp_path / "a.npy", mode="overwrite")

    def test_what_is_read_may_lie_beside(self, tmp_path: Path) -> None:
        before = source().sink_tenso(tmp_path / "x")
        after = (before + 1).sink_tenso(tmp_path / "y")
        np.testing.assert_array_equal(after.collect(), VALUES + 1)

    def test_two_sinks_of_one_place(self, tmp_path: Path) -> None:
        x = lt.asarray(VALUES)
        one = x.sink_tenso(tmp_path / "x", lazy=True)
        for other in (one, x.sink_tenso(tmp_path / "x" / "y", chunks=4, lazy=True)):
            with pytest.raises(lt.SinkError, match="both written"):
                lt.collect_all([one, other])
        assert names(tmp_path) == []

    @pytest.mark.parametrize("path", [3, b"", None, {}])
    def test_no_place(self, path: Any) -> None:
        with pytest.raises((TypeError, lt.LazyTensorError)):
            lt.asarray(VALUES).sink_tenso(path)

    def test_zip_files(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="zip files are read only"):
            lt.asarray(VALUES).sink_tenso(tmp_path / "x.zip")


class TestRemote:
    @pytest.fixture
    def place(self) -> Any:
        fs = fsspec.filesystem("memory")
        yield "memory://sinks"
        if fs.exists("/sinks"):
            fs.rm("/sinks", recursive=True)

    @pytest.mark.parametrize("chunks", [None, 4])
    def test_there_and_back(self, place: str, chunks: Any) -> None:
        url = f"{place}/a/x"
        found = source().sink_tenso(url, chunks=chunks)
        assert same(found.collect(), VALUES)
        with pytest.raises(lt.SinkExistsError):
            source().sink_tenso(url, chunks=chunks)
        found = (source() + 1).sink_tenso(url, chunks=chunks, mode="overwrite")
        assert same(found.collect(), VALUES + np.uint16(1))
        keys = fsspec.filesystem("memory").find("/sinks")
        assert len({key.split("/")[4] for key in keys if "/c-" in key}) <= 1
        assert len(keys) == (1 if chunks is None else 1 + 5 * 4 * 2)

    def test_a_file_system_and_a_path(self, place: str) -> None:
        fs = fsspec.filesystem("memory")
        found = source().sink_tenso((fs, "/sinks/y"))
        assert same(found.collect(), VALUES)
        with pytest.raises(lt.SinkError, match="would replace what is read"):
            (found + 1).sink_tenso((fs, "/sinks/y"), mode="overwrite")

    @pytest.mark.parametrize("chunks", [None, 4])
    def test_what_fails_leaves_the_former_one(self, place: str, chunks: Any) -> None:
        fs, url = fsspec.filesystem("memory"), f"{place}/z"
        before = source().sink_tenso(url, chunks=chunks)
        keys = set(fs.find("/sinks"))
        with pytest.raises(ZeroDivisionError):
            failing(20).sink_tenso(url, chunks=chunks, mode="overwrite")
        assert set(fs.find("/sinks")) == keys
        assert same(before.collect(), VALUES)

    def test_a_store_that_refuses(self, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
        fs = fsspec.filesystem("memory")
        put = type(fs).pipe_file

        def pipe_file(self: Any, path: str, value: bytes, **options: Any) -> Any:
            if path.endswith("/2/1/0"):
                raise OSError("quota exceeded")
            return put(self, path, value, **options)

        monkeypatch.setattr(type(fs), "pipe_file", pipe_file)
        with pytest.raises(lt.SinkError, match=r"key 'c-\w+/2/1/0': quota exceeded"):
            source().sink_tenso(f"{place}/w", chunks=4)
        assert fs.find("/sinks") == []

    def test_two_that_overwrite_at_once(self, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
        fs, url = fsspec.filesystem("memory"), f"{place}/two"
        source().sink_tenso(url, chunks=4)
        put = type(fs).pipe_file
        calls: list[str] = []

        def pipe_file(self: Any, path: str, value: bytes, **options: Any) -> Any:
            put(self, path, value, **options)
            calls.append(path)
            if len(calls) == 10:
                # Another one begins and is done, while this one is in the middle.
                (source() + 2).sink_tenso(url, chunks=4, mode="overwrite")

        monkeypatch.setattr(type(fs), "pipe_file", pipe_file)
        found = (source() + 1).sink_tenso(url, chunks=4, mode="overwrite")
        assert same(found.collect(), VALUES + np.uint16(1))
        assert len({key.split("/")[3] for key in fs.find("/sinks") if "/c-" in key}) == 1

    def test_what_is_no_part_of_the_former_one_stays(self, place: str) -> None:
        fs, url = fsspec.filesystem("memory"), f"{place}/notes"
        source().sink_tenso(url, chunks=4)
        fs.pipe_file("/sinks/notes/README", b"mine")
        source().sink_tenso(url, chunks=4, mode="overwrite")
        assert fs.cat_file("/sinks/notes/README") == b"mine"
        assert len(fs.find("/sinks/notes")) == 2 + 5 * 4 * 2

    @pytest.mark.parametrize("mode", ["create", "overwrite"])
    def test_what_a_killed_process_has_left_is_in_nobodys_way(self, place: str, mode: Any) -> None:
        fs, url = fsspec.filesystem("memory"), f"{place}/killed"
        source().sink_tenso(url, chunks=4)
        fs.rm_file("/sinks/killed/tenso.json")
        found = source().sink_tenso(url, chunks=4, mode=mode)
        assert same(found.collect(), VALUES)
        fs.pipe_file("/sinks/other/c-0123/0", b"mine")
        with pytest.raises(lt.SinkExistsError):
            source().sink_tenso(f"{place}/other", chunks=4, mode=mode)

    def test_a_file_system_without_puts_that_happen_at_once(
        self, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from lazytensor.io import staging_remote

        monkeypatch.setattr(staging_remote, "_AT_ONCE", frozenset())
        for chunks in (None, 4):
            found = source().sink_tenso(f"{place}/v{chunks}", chunks=chunks)
            assert same(found.collect(), VALUES)
        assert not [key for key in fsspec.filesystem("memory").find("/sinks") if ".tmp" in key]


class TestLazy:
    def test_nothing_is_touched_before_it_is_collected(self, tmp_path: Path) -> None:
        stored = ChunkedArray(VALUES, (8, 4, 4))
        x = lt.scan_source(stored)
        with lt.testing.raise_if_collects():
            sinks = [
                x.sink_tenso(tmp_path / "a", lazy=True),
                x.sink_tenso(tmp_path / "b", chunks=4, lazy=True),
                x.sink_tenso(tmp_path / "c", quantize="qint8", lazy=True),
                lt.dump_tenso({"x": x}, tmp_path / "d", lazy=True),
            ]
            with pytest.raises(RuntimeError, match="sink inside raise_if_collects"):
                sinks[0].collect()
        assert all(isinstance(sink, lt.LazySink) for sink in sinks)
        assert repr(sinks[0]) == f"LazySink('tenso {tmp_path}/a')"
        for sink in sinks:
            assert str(tmp_path) in sink.explain()
            assert "scan test chunked" in sink.explain()
            assert sink.estimate().chunks_read >= stored.spec.grid[0].count  # type: ignore[union-attr]
        assert stored.boxes == []
        assert names(tmp_path) == []
        found = lt.collect_all([x.sum(), *sinks, x])
        assert int(found[0]) == VALUES.sum()
        for tensor in (found[1], found[2], found[4]["x"], found[5]):
            np.testing.assert_array_equal(tensor, VALUES)
        assert max(map(stored.boxes.count, stored.boxes)) == 1
        with pytest.raises(lt.SinkExistsError):
            sinks[0].collect()

    def test_the_estimate_is_that_of_what_runs(self, tmp_path: Path) -> None:
        stored = ChunkedArray(np.zeros((256, 256, 64), "f4"), (32, 64, 64))
        x = lt.scan_source(stored) + 1
        engine = lt.LocalEngine(threads=2, max_memory="16MiB")
        for options in ({}, {"chunks": (64, 64, 64)}, {"compress": True}):
            sink = x.sink_tenso(tmp_path / "x", lazy=True, mode="overwrite", **options)
            found = sink.estimate(engine=engine)
            lt.metrics(reset=True)
            sink.collect(engine=engine)
            assert found.tasks == lt.metrics()["tasks"], options
            assert found.chunks_read == len(stored.cells_read())
            assert 0 < found.peak_memory <= 16 << 20

    def test_sinks_share_what_they_read(self, tmp_path: Path) -> None:
        stored = ChunkedArray(VALUES, (8, 4, 4))
        x = lt.scan_source(stored)
        sinks = [
            x.sink_tenso(tmp_path / "a", chunks=(4, 4, 4), lazy=True),
            x.sink_tenso(tmp_path / "b", chunks=(4, 4, 4), compress=True, lazy=True),
            x.sink_tenso(tmp_path / "c", chunks=(8, 3, 4), lazy=True),
            x.sink_tenso(tmp_path / "d", lazy=True),
        ]
        for tensor in lt.collect_all(sinks):
            np.testing.assert_array_equal(tensor, VALUES)
        assert max(map(stored.boxes.count, stored.boxes)) == 1

    @pytest.mark.parametrize("engine", ["local", "interpret"])
    def test_engines_write_the_same(self, tmp_path: Path, engine: str) -> None:
        plan = source().astype("f4") / 3
        plan.sink_tenso(tmp_path / "x", engine=engine)
        expected = VALUES.astype("f4") / np.float32(3)
        assert (tmp_path / "x").read_bytes() == bytes(packets.dumps(expected, check_integrity=True))
        found = plan.sink_tenso(tmp_path / "y", chunks=(3, 5, 7), engine=engine)
        assert same(found.collect(), expected)

    def test_collect_all_in_the_background_with_arrays(self, tmp_path: Path) -> None:
        x, out = source(), np.empty_like(VALUES)
        sink = x.sink_tenso(tmp_path / "x", lazy=True)
        handle = lt.collect_all([sink, x], out=[None, out], background=True)
        found = handle.result(timeout=60)
        assert found[1] is out
        np.testing.assert_array_equal(found[0], out)
        with pytest.raises(ValueError, match="takes no array in out"):
            lt.collect_all([sink], out=[out])

    def test_progress(self, tmp_path: Path) -> None:
        seen: list[tuple[int, int]] = []
        source().sink_tenso(tmp_path / "x", chunks=4, progress=lambda *now: seen.append(now))
        assert seen
        assert seen[-1][0] == seen[-1][1]


def failing(at: int = 0, error: Exception | None = None) -> lt.LazyTensor:
    """A tensor that cannot be computed from row ``at`` on."""

    def fail(block: np.ndarray, domain: Any) -> np.ndarray:
        if domain.inclusive_max[0] >= at:
            raise error or ZeroDivisionError("half way")
        return block

    x = lt.asarray(np.ones((200, 13, 7)), chunks=(2, 13, 7))
    return lt.map_blocks(fail, x, dtype="f8")


OPTIONS = [{}, {"compress": True}, {"chunks": 4}, {"quantize": "quint4"}]


class TestFaults:
    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    @pytest.mark.parametrize("mode", ["create", "overwrite"])
    @pytest.mark.parametrize("threads", [1, 2])
    def test_an_error_in_the_middle_leaves_what_was_there(
        self, tmp_path: Path, options: dict[str, Any], mode: Any, threads: int
    ) -> None:
        path = tmp_path / "new" / "x"
        if mode == "overwrite":
            before = lt.asarray(VALUES).sink_tenso(path, chunks=options.get("chunks"))
        engine = lt.LocalEngine(threads=threads)
        with pytest.raises(ZeroDivisionError, match="half way"):
            failing(150).sink_tenso(path, mode=mode, engine=engine, **options)
        if mode == "overwrite":
            assert same(before.collect(), VALUES)
            assert names(path.parent) == ["x"]
        else:
            assert names(tmp_path) == []

    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    def test_the_disk_is_full(
        self, tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        left = [4]

        def write(fd: int, views: Any, at: Any) -> int:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, "No space left on device")
            return real(fd, views, at)

        real = staging._write_some
        monkeypatch.setattr(staging, "_write_some", write)
        values = np.random.default_rng(0).normal(size=(200, 50, 30)).astype("f4")
        x = lt.asarray(values, chunks=(10, 50, 30))
        engine = lt.LocalEngine(threads=2, max_memory="2MiB")
        with pytest.raises(lt.SinkError, match="No space left") as error:
            x.sink_tenso(tmp_path / "x", engine=engine, **options)
        assert str(tmp_path / "x") in str(error.value)
        assert ("key 'c/" in str(error.value)) == ("chunks" in options)
        assert names(tmp_path) == []

    def test_there_is_no_room_for_all_of_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(staging, "fallocate", lambda *args: errno.ENOSPC)
        stored = ChunkedArray(VALUES, (8, 4, 4))
        with pytest.raises(lt.SinkError, match=r"no room for 3712 bytes: .*No space left"):
            lt.scan_source(stored).sink_tenso(tmp_path / "x")
        assert stored.boxes == []
        assert names(tmp_path) == []

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_folder_that_may_not_be_written_to(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        try:
            with pytest.raises(lt.SinkError, match="Permission denied"):
                source().sink_tenso(tmp_path / "x")
        finally:
            tmp_path.chmod(0o700)

    def test_a_place_below_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        for chunks in (None, 4):
            with pytest.raises(lt.SinkError):
                source().sink_tenso(tmp_path / "file" / "x", chunks=chunks)

    def test_what_cannot_fit_is_refused_before_the_first_byte(self, tmp_path: Path) -> None:
        stored = ChunkedArray(np.zeros((512, 512)), (512, 512))
        engine = lt.LocalEngine(max_memory="1MiB")
        for chunks in (None, 512):
            with pytest.raises(lt.MemoryLimitError, match="raise max_memory"):
                lt.scan_source(stored).sink_tenso(tmp_path / "x", chunks=chunks, engine=engine)
        assert stored.boxes == []
        assert names(tmp_path) == []

    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    def test_ctrl_c(self, tmp_path: Path, options: dict[str, Any]) -> None:
        before = lt.asarray(VALUES).sink_tenso(tmp_path / "x", chunks=options.get("chunks"))
        pressed = threading.Event()

        def press(block: np.ndarray, domain: Any) -> np.ndarray:
            if domain.inclusive_min[0] >= 50 and not pressed.is_set():
                pressed.set()
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.05)
            return block

        x = lt.asarray(np.ones((200, 13, 7)), chunks=(2, 13, 7))
        with pytest.raises(KeyboardInterrupt):
            lt.map_blocks(press, x, dtype="f8").sink_tenso(
                tmp_path / "x", mode="overwrite", engine=lt.LocalEngine(threads=2), **options
            )
        assert same(before.collect(), VALUES)
        assert names(tmp_path) == ["x"]

    def test_cancelled_in_the_background(self, tmp_path: Path) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def wait(block: np.ndarray) -> np.ndarray:
            begun.set()
            assert go_on.wait(60)
            return block

        x = lt.asarray(np.ones((64, 1 << 16)), chunks=(4, 1 << 16))
        sink = lt.map_blocks(wait, x, dtype="f8").sink_tenso(
            tmp_path / "x", chunks=(4, 1 << 16), lazy=True
        )
        handle = lt.collect_all([sink], background=True)
        assert begun.wait(60)
        handle.cancel()
        go_on.set()
        assert handle.exception(timeout=60) is not None
        assert names(tmp_path) == []

    def test_one_of_several_sinks_fails(self, tmp_path: Path) -> None:
        good = source().sink_tenso(tmp_path / "good", lazy=True)
        bad = failing(150).sink_tenso(tmp_path / "bad", chunks=4, lazy=True)
        with pytest.raises(ZeroDivisionError):
            lt.collect_all([good, bad, lt.asarray(VALUES)])
        assert names(tmp_path) == []
        (tmp_path / "bad").write_bytes(b"here first")
        with pytest.raises(lt.SinkExistsError):
            lt.collect_all([good, bad])
        assert names(tmp_path) == ["bad"]


CHILD = """
import sys, time
import numpy as np
import lazytensor as lt

def slow(domain, out):
    print("reading", flush=True)
    time.sleep(0.01)
    out[...] = 5

path, chunks, compress = sys.argv[1], int(sys.argv[2]) or None, bool(int(sys.argv[3]))
x = lt.virtual_chunked(slow, shape=(400, 64, 64), dtype="u2", chunks=(4, 64, 64))
x.sink_tenso(path, chunks=chunks, compress=compress, mode="overwrite", engine=lt.LocalEngine(2))
print("done", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks to tell who was killed")
class TestKilled:
    @pytest.mark.parametrize(("chunks", "compress"), [(0, 0), (0, 1), (32, 0)])
    def test_the_former_one_is_intact_and_what_is_left_is_cleared_away(
        self, tmp_path: Path, chunks: int, compress: int
    ) -> None:
        path = tmp_path / "x"
        before = lt.asarray(VALUES).sink_tenso(path, chunks=chunks or None)
        command = [sys.executable, "-c", CHILD, str(path), str(chunks), str(compress)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(30):
                child.stdout.readline()
            meanwhile = names(tmp_path)
            assert len(meanwhile) == 2
            # Whoever writes to the same place meanwhile leaves alone what is being written.
            lt.asarray(VALUES).sink_tenso(path, chunks=chunks or None, mode="overwrite")
            assert names(tmp_path) == meanwhile
            child.kill()
        before = lt.scan_tenso(path)
        assert same(before.collect(), VALUES)
        assert names(tmp_path) == meanwhile
        after = (lt.asarray(VALUES) + 1).sink_tenso(path, mode="overwrite")
        assert same(after.collect(), VALUES + np.uint16(1))
        assert names(tmp_path) == ["x"]

    @pytest.mark.parametrize("chunks", [0, 32])
    def test_killed_at_any_moment(self, tmp_path: Path, chunks: int) -> None:
        path = tmp_path / "x"
        lt.asarray(VALUES).sink_tenso(path, chunks=chunks or None)
        rng = np.random.default_rng(chunks)
        command = [sys.executable, "-c", CHILD, str(path), str(chunks), "0"]
        for _ in range(5):
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
                assert child.stdout is not None
                child.stdout.readline()
                time.sleep(float(rng.random()) * 0.8)
                child.kill()
            values = lt.scan_tenso(path).collect()
            whole = values.shape == (400, 64, 64) and (values == 5).all()
            assert whole or same(values, VALUES)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
class TestMemory:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"compress": True},
            {"chunks": 128},
            {"quantize": "qint8"},
            {"chunks": 128, "compress": True},
        ],
        ids=str,
    )
    def test_much_is_written_through_little(self, tmp_path: Path, options: dict[str, Any]) -> None:
        script = textwrap.dedent(
            f"""
            from pathlib import Path
            import lazytensor as lt

            def status(key):
                lines = Path("/proc/self/status").read_text().splitlines()
                return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key))

            def read(domain, out):
                out[...] = domain.inclusive_min[0] % 251

            engine = lt.LocalEngine(max_memory={48 << 20}, threads=2)

            def go(slabs):
                x = lt.virtual_chunked(
                    read, shape=(4 * slabs, 512, 512), dtype="u2", chunks=(4, 512, 512)
                )
                return x.sink_tenso({str(tmp_path / "x")!r}, engine=engine, mode="overwrite",
                                    **{options!r})

            go(4)
            Path("/proc/self/clear_refs").write_text("5")
            before = status("VmRSS:")
            go(150)
            print(status("VmHWM:") - before)
            """
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=True
        )
        # 300 MiB of values; the bound, and what the interpreter and the allocator take.
        assert int(done.stdout) < (48 << 20) + (44 << 20)
