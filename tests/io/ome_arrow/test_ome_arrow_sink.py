"""Writing OME-Arrow: what is in the files, for whom, and what is left when something goes wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.exec.delivering import Delivery
from lazytensor.io.ome_arrow import parquet_pages, sink, sink_dataset, sink_places
from lazytensor.plan.sink import Runs
from lazytensor.plan.source import Box
from tests.io.ome_arrow.ome_arrow_peer import needs_ome_arrow, run
from tests.io.tenso.packets import distinct, same
from tests.sources import ChunkedArray

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "ome-arrow" / "ok"
DTYPES = [
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16",
    "float32", "float64", "complex64", "complex128",
]  # fmt: skip
LISTED = ["bool", "uint8", "uint16"]
ENCODINGS = ["chunks", "bytes", "list"]
VALUES = distinct("u2", (2, 3, 4, 13, 7))


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden names too."""
    return sorted(os.listdir(folder))


def source(values: np.ndarray = VALUES, chunks: Any = (1, 2, 3, 5, 4)) -> lt.LazyTensor:
    dims = ("row", *"tczyx")[-values.ndim :] if values.ndim > 5 else tuple("tczyx")
    return lt.scan_source(ChunkedArray(values, chunks, dims=dims))


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of any size are written as large ones are, planes in several pages."""
    monkeypatch.setattr(sink, "_SMALL", -1)
    monkeypatch.setattr(parquet_pages, "_MOST_NUMBERS", 16)


class TestValues:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("encoding", ENCODINGS)
    @pytest.mark.parametrize("way", ["small", "large"])
    def test_every_dtype(
        self, tmp_path: Path, dtype: str, encoding: Any, way: str, request: pytest.FixtureRequest
    ) -> None:
        if way == "large":
            request.getfixturevalue("large")
        values = distinct(dtype, VALUES.shape)
        if encoding == "list" and dtype not in LISTED:
            with pytest.raises(lt.DTypeError, match="encoding='chunks' or 'bytes'"):
                source(values).sink_ome_arrow(tmp_path / "x", encoding=encoding)
            assert names(tmp_path) == []
            return
        found = source(values).sink_ome_arrow(tmp_path / "x", encoding=encoding)
        assert same(found[0].collect(), values)
        assert names(tmp_path) == ["x"]

    @pytest.mark.parametrize("encoding", ENCODINGS)
    @pytest.mark.parametrize("way", ["small", "large"])
    @settings(
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
    )
    @given(data=st.data())
    def test_any_shape_and_grid_in_any_memory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: Any, way: str,
        data: st.DataObject,
    ) -> None:  # fmt: skip
        if way == "large":
            monkeypatch.setattr(sink, "_SMALL", -1)
            monkeypatch.setattr(sink_dataset, "_LEAST_GROUP", 100)
            monkeypatch.setattr(parquet_pages, "_MOST_NUMBERS", 5)
        rows = data.draw(st.lists(st.integers(1, 5), max_size=1))
        shape = (*rows, *(data.draw(st.integers(1, 6)) for _ in range(5)))
        values = distinct(data.draw(st.sampled_from(["?", "u1", "u2"])), shape)
        grid = tuple(data.draw(st.integers(1, n)) for n in shape)
        chunks = None
        if encoding != "list" and data.draw(st.booleans()):
            chunks = [data.draw(st.integers(1, 7)) for _ in range(5)]
        engine = lt.LocalEngine(
            threads=data.draw(st.integers(1, 3)),
            max_memory=data.draw(st.sampled_from([1 << 30, 16 << 20])),
        )
        table = source(values, grid).sink_ome_arrow(
            tmp_path / "x", encoding=encoding, chunks=chunks, mode="overwrite", engine=engine,
            compression=data.draw(st.sampled_from(["zstd", "lz4", "snappy", "gzip", None])),
        )  # fmt: skip
        images = values if rows else values[None]
        assert len(table) == len(images)
        for number, image in enumerate(images):
            assert same(table[number].collect(), image)

    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_big_endian_values_are_turned(self, tmp_path: Path, encoding: Any) -> None:
        values = VALUES.astype(">u2")
        found = lt.asarray(values, dims="tczyx").sink_ome_arrow(tmp_path / "x", encoding=encoding)
        assert same(found[0].collect(), VALUES)

    @pytest.mark.parametrize("codec", ["zstd", "lz4", "snappy", "gzip", "brotli"])
    @pytest.mark.parametrize("small", [1 << 22, -1])
    def test_chunks_that_are_compressed_themselves(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str, small: int
    ) -> None:
        monkeypatch.setattr(sink, "_SMALL", small)
        found = source().sink_ome_arrow(tmp_path / "x", encoding="bytes", chunk_compression=codec)
        assert same(found[0].collect(), VALUES)
        file = pq.ParquetFile(tmp_path / "x")
        group = file.metadata.row_group(0)
        columns = [group.column(n) for n in range(group.num_columns)]
        pixels = next(one for one in columns if one.path_in_schema.endswith("pixel_bytes"))
        assert pixels.compression == "UNCOMPRESSED"
        chunks = file.read()["ome_arrow"][0].as_py()["chunks"]
        assert {chunk["compression"] for chunk in chunks} == {codec}

    @pytest.mark.parametrize("engine", ["local", "interpret"])
    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_engines_write_the_same(self, tmp_path: Path, engine: str, encoding: Any) -> None:
        plan = lt.downsample(source() * 2, {"y": 2, "x": 2}, method="max")[:, 1:, ::-1]
        found = plan.sink_ome_arrow(tmp_path / "x", encoding=encoding, engine=engine)
        assert same(found[0].collect(), plan.collect())

    @pytest.mark.parametrize("encoding", ["bytes", "list"])
    @pytest.mark.parametrize("threads", [1, 4])
    def test_the_bytes_do_not_depend_on_threads(
        self, tmp_path: Path, large: None, encoding: Any, threads: int
    ) -> None:
        for number in range(4):
            engine = lt.LocalEngine(threads=threads, max_memory="16MiB")
            path = tmp_path / f"{number}"
            source().sink_ome_arrow(path, encoding=encoding, engine=engine)
            assert path.read_bytes() == (tmp_path / "0").read_bytes()

    def test_pages_that_come_too_early_wait_in_a_file(self, tmp_path: Path, large: None) -> None:
        for encoding in ("bytes", "list"):
            made, _ = (
                source().sink_ome_arrow(tmp_path / encoding, encoding=encoding, lazy=True)._make()
            )
            (target,) = made.targets
            made.begin()
            recorder = Recorder(target.cells)
            Delivery([recorder]).take(tuple((0, n) for n in VALUES.shape), VALUES)
            for box, values in reversed(recorder.units):
                target.write(box, values)
                target.write(box, values)  # again, which does no harm
            made.finish()
            assert same(lt.scan_ome_arrow(tmp_path / encoding).collect(), VALUES)
        assert names(tmp_path) == ["bytes", "list"]


class Recorder:
    """A target that keeps what it is given."""

    label = "recorder"
    runs: Runs = "any"

    def __init__(self, cells: tuple[int | None, ...]) -> None:
        self.cells = cells
        self.units: list[tuple[Box, np.ndarray]] = []

    def held(self, nbytes: int) -> int:
        return 0

    def write(self, box: Box, values: np.ndarray) -> None:
        self.units.append((box, values))


@needs_ome_arrow
class TestPeer:
    """Files of every way to write them; dtypes and meanings are in ``test_ome_arrow_peer``."""

    def test_the_package_reads_them(self, tmp_path: Path, large: None) -> None:
        x = source()
        calls: list[Any] = []
        for encoding, options in (
            ("bytes", {}),
            ("bytes", {"chunk_compression": "zstd"}),
            ("bytes", {"chunk_compression": "lz4", "compression": None}),
            ("list", {}),
            ("list", {"compression": "snappy"}),
            ("list", {"compression": None}),
        ):
            path = tmp_path / f"{len(calls)}"
            x.sink_ome_arrow(path, encoding=encoding, **options)  # type: ignore[call-overload]
            (x + 1).sink_ome_arrow(path, encoding=encoding, mode="append")  # type: ignore[call-overload]
            calls += [("read_file", (str(path), row), {}) for row in (0, 1)]
        crops = lt.stack([x, x + 1], axis="row")
        crops.sink_ome_arrow(tmp_path / "rows")
        (x + 2).sink_ome_arrow(tmp_path / "rows", mode="append", image_id="more")
        *files, folder = run([*calls, ("read_folder", (str(tmp_path / "rows"),), {})])
        for number, found in enumerate(files):
            assert same(found[0], VALUES + np.uint16(number % 2))
        assert [key for key, _, _ in folder] == ["image-00000", "image-00001", "more"]
        for number, (_, found, _) in enumerate(folder):
            assert same(found, VALUES + np.uint16(number))


class TestDims:
    @pytest.mark.parametrize(
        ("shape", "dims", "expected"),
        [
            ((4, 5), None, (1, 1, 1, 4, 5)),
            ((3, 4, 5), None, (1, 1, 3, 4, 5)),
            ((1, 2, 3, 4, 5), None, (1, 2, 3, 4, 5)),
            ((4, 5), ("x", "y"), (1, 1, 1, 5, 4)),
            ((4, 5, 2), ("y", "x", "c"), (1, 2, 1, 4, 5)),
            ((3, 4, 5), ("t", "Y", "X"), (3, 1, 1, 4, 5)),
            ((6,), ("z",), (1, 1, 6, 1, 1)),
            ((), (), (1, 1, 1, 1, 1)),
        ],
    )
    def test_names_say_which_is_which(
        self, tmp_path: Path, shape: Any, dims: Any, expected: Any
    ) -> None:
        values = distinct("i4", shape)
        x = lt.asarray(values) if dims is None else lt.asarray(values, dims=dims)
        found = x.sink_ome_arrow(tmp_path / "x")[0]
        assert (found.shape, found.dims) == (expected, tuple("tczyx"))
        given = "tczyx"[-values.ndim :] if dims is None else "".join(dims).lower()
        order = [given.index(dim) for dim in "tczyx" if dim in given]
        assert same(found.collect(), values.transpose(order).reshape(expected))

    @pytest.mark.parametrize(
        "dims", [None, ("a", "y", "x", "t"), ("", "z", "y", "x"), ("row", "a", "y", "x")]
    )
    def test_others_are_refused(self, tmp_path: Path, dims: Any) -> None:
        x = lt.asarray(np.zeros((2, 3, 4, 5)), dims=dims)
        with pytest.raises(lt.DimensionError, match="OME-Arrow images have dims"):
            x.sink_ome_arrow(tmp_path / "x")
        assert names(tmp_path) == []

    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_rows_are_images(self, tmp_path: Path, encoding: Any) -> None:
        x = source()
        crops = [x[:, :, :, n : n + 5, n : n + 4] for n in range(4)]
        ids = [f"cell-{n}" for n in range(4)]
        table = lt.stack(crops, axis="row").sink_ome_arrow(
            tmp_path / "x", encoding=encoding, image_id=ids, name=ids[::-1]
        )
        assert len(table) == 4
        for number, crop in enumerate(crops):
            assert same(table[number].collect(), crop.collect())
            assert table[number].attrs["id"] == ids[number]
            assert table[number].attrs["name"] == ids[3 - number]
        again = table.stack().sink_ome_arrow(tmp_path / "y", encoding=encoding)
        assert same(again.stack().collect(), table.stack().collect())

    def test_no_images_at_all(self, tmp_path: Path) -> None:
        x = lt.asarray(np.zeros((0, 4, 5), "u1"), dims=("row", "y", "x"))
        for encoding in ENCODINGS:
            assert len(x.sink_ome_arrow(tmp_path / encoding, encoding=encoding)) == 0

    def test_sizes_that_are_none(self, tmp_path: Path) -> None:
        with pytest.raises(lt.ShapeError, match="size 0 along 'y'"):
            lt.asarray(np.zeros((0, 4))).sink_ome_arrow(tmp_path / "x")
        many = lt.zeros((1 << 15, 1, 1), dtype="u1").label["c", "y", "x"]
        with pytest.raises(lt.ShapeError, match="1 to 32767"):
            many.sink_ome_arrow(tmp_path / "x", encoding="bytes")
        huge = lt.zeros((1 << 16, 1 << 16), dtype="u1")
        with pytest.raises(lt.ShapeError, match="give smaller chunks="):
            huge.sink_ome_arrow(tmp_path / "x", chunks=1 << 16)
        with pytest.raises(lt.ShapeError, match="give encoding='chunks'"):
            huge.sink_ome_arrow(tmp_path / "x", encoding="list")
        assert names(tmp_path) == []

    @pytest.mark.parametrize("dtype", ["M8[s]", lt.bfloat16])
    def test_dtypes_that_it_does_not_hold(self, tmp_path: Path, dtype: Any) -> None:
        x = lt.asarray(np.zeros((2, 3), dtype))
        with pytest.raises(lt.DTypeError, match="OME-Arrow holds no"):
            x.sink_ome_arrow(tmp_path / "x")

    def test_chunks_in_every_spelling(self, tmp_path: Path) -> None:
        x = lt.asarray(VALUES[0, 0], dims=("z", "y", "x"))
        for spelt, expected in (
            (3, (1, 1, 3, 3, 3)),
            ((1, 5, 99), (1, 1, 1, 5, 7)),
            ((1, 1, 2, 5, 6), (1, 1, 2, 5, 6)),
            ({"y": 3}, (1, 1, 4, 3, 7)),
            ("auto", (1, 1, 4, 13, 7)),
        ):
            made = x.sink_ome_arrow(tmp_path / "x", chunks=spelt, mode="overwrite")
            row = made.frame.collect().row(0, named=True)
            assert tuple(row[f"chunk_{dim}"] for dim in "tczyx") == expected
        for wrong in ((1, 2), 0, (4, 4, -1), (4, 4, 2.5), "big", True, {"a": 1}):
            with pytest.raises((lt.ShapeError, lt.DimensionError, ValueError)):
                x.sink_ome_arrow(tmp_path / "x", chunks=wrong, mode="overwrite")

    @pytest.mark.parametrize(
        ("shape", "grid", "expected"),
        [
            ((1, 1, 1, 4096, 4096), None, (1, 1, 1, 1024, 2048)),
            ((1, 3, 236, 275, 271), None, (1, 1, 8, 275, 271)),
            ((3, 2, 64, 512, 512), (1, 1, 64, 64, 64), (1, 1, 64, 64, 128)),
            ((3, 2, 4, 32, 32), None, (3, 2, 4, 32, 32)),
        ],
    )
    def test_automatic_chunks_are_of_about_a_megabyte(
        self, tmp_path: Path, shape: Any, grid: Any, expected: Any
    ) -> None:
        x = lt.virtual_chunked(
            lambda d, out: None, shape=shape, dtype="u2", chunks=grid, dims="tczyx"
        )
        made, _ = x.sink_ome_arrow(tmp_path / "x", lazy=True)._make()
        assert made.targets[0].cells == expected


class TestFiles:
    def test_schemas_are_those_of_the_package(self, tmp_path: Path) -> None:
        theirs = VECTORS / "v33_dataset_rg8_noindex.ome-arrow"
        source().sink_ome_arrow(tmp_path / "x")
        for name in ("images.parquet", "chunks.parquet"):
            ours, other = pq.read_schema(tmp_path / "x" / name), pq.read_schema(theirs / name)
            assert ours.equals(other)
            expected = {key: other.metadata[key] for key in other.metadata if b"ome" in key}
            assert expected.items() <= ours.metadata.items()
        found = json.loads((tmp_path / "x" / "_ome_arrow_dataset.json").read_text())
        expected = json.loads((theirs / "_ome_arrow_dataset.json").read_text())
        assert found.keys() == expected.keys()
        assert found["choice"].keys() == expected["choice"].keys()

    @pytest.mark.parametrize(
        ("encoding", "name"), [("bytes", "v09_bytes_int16"), ("list", "v01_default_list_u16")]
    )
    def test_the_struct_is_that_of_the_package(
        self, tmp_path: Path, encoding: Any, name: str
    ) -> None:
        source().sink_ome_arrow(tmp_path / "x", encoding=encoding)
        ours = pq.read_schema(tmp_path / "x")
        theirs = pq.read_schema(VECTORS / f"{name}.parquet")
        assert ours.field("ome_arrow").type == theirs.field(0).type
        assert pq.ParquetFile(tmp_path / "x").metadata.num_columns == 46 + (encoding == "bytes") * 2
        assert theirs.metadata[b"ome.arrow.type"] == ours.metadata[b"ome.arrow.type"]

    def test_the_index_says_where_chunks_are(self, tmp_path: Path) -> None:
        values = distinct("f8", (5, 1, 2, 9, 80, 90))
        crops = lt.asarray(values, dims=("row", *"tczyx"))
        table = crops.sink_ome_arrow(tmp_path / "x", chunks={"z": 4, "y": 33})
        index = pq.read_table(tmp_path / "x" / "index.parquet").to_pylist()
        file = pq.ParquetFile(tmp_path / "x" / "chunks.parquet")
        assert 1 < file.num_row_groups < len(index) == file.metadata.num_rows
        for number, row in enumerate(index):
            group = file.read_row_group(row["row_group_id"])
            chunk = group.slice(row["row_index_in_group"], 1).to_pylist()[0]
            place = ("image_id", "chunk_id", *"tczyx", *(f"shape_{dim}" for dim in "tczyx"))
            assert {key: chunk[key] for key in place} == {key: row[key] for key in place}
            assert (row["chunk_id"], row["fragment_path"]) == (number, "chunks.parquet")
            lo = [row[dim] for dim in "tczyx"]
            box = tuple(slice(a, a + row[f"shape_{d}"]) for a, d in zip(lo, "tczyx", strict=True))
            image = int(row["image_id"].removeprefix("image-"))
            assert chunk["pixel_bytes"] == values[image][box].tobytes()
        assert same(table[3].collect(), values[3])

    def test_row_groups_statistics_and_dictionaries(self, tmp_path: Path) -> None:
        x = lt.asarray(np.zeros((16, 300, 300), "u2"), dims="zyx")
        x.sink_ome_arrow(tmp_path / "x", chunks={"z": 8})
        x.sink_ome_arrow(tmp_path / "y", chunks={"z": 1, "y": 30})
        large, small = (pq.ParquetFile(tmp_path / n / "chunks.parquet").metadata for n in "xy")
        assert (large.num_row_groups, large.num_rows) == (2, 2)
        assert small.num_rows == 160
        assert 2 <= small.num_row_groups <= 4
        for footer in (large, small):
            for number in range(14):
                column = footer.row_group(0).column(number)
                named = column.path_in_schema
                assert column.is_stats_set == (named not in ("dtype", "pixel_bytes"))
                assert not column.has_dictionary_page
                assert column.compression == "ZSTD"

    def test_planes_are_in_the_order_of_the_pixels(self, tmp_path: Path, large: None) -> None:
        engine = lt.LocalEngine(threads=4, max_memory="16MiB")
        source().sink_ome_arrow(tmp_path / "x", encoding="list", engine=engine)
        image = pq.read_table(tmp_path / "x")["ome_arrow"].chunk(0)
        flat = image.field("planes").values.field("pixels").values
        assert same(flat.to_numpy().reshape(VALUES.shape), VALUES)
        assert image.field("chunks").null_count == 1

    def test_other_tools_read_it(self, tmp_path: Path, large: None) -> None:
        pl = pytest.importorskip("polars")
        source().sink_ome_arrow(tmp_path / "b", encoding="bytes", chunks=(1, 1, 4, 13, 7))
        source().sink_ome_arrow(tmp_path / "l", encoding="list")
        source().sink_ome_arrow(tmp_path / "c")
        chunks = pl.read_parquet(tmp_path / "b")["ome_arrow"][0]["chunks"]
        assert b"".join(one["pixel_bytes"] for one in chunks) == VALUES.tobytes()
        planes = pl.read_parquet(tmp_path / "l")["ome_arrow"][0]["planes"]
        assert np.array_equal(np.concatenate([one["pixels"] for one in planes]), VALUES.ravel())
        table = pl.read_parquet(tmp_path / "c" / "chunks.parquet")
        assert sum(map(len, table["pixel_bytes"])) == VALUES.nbytes


class TestModes:
    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_create_and_overwrite(self, tmp_path: Path, encoding: Any) -> None:
        source().sink_ome_arrow(tmp_path / "x", encoding=encoding)
        with pytest.raises(lt.SinkExistsError, match="mode='overwrite'"):
            source().sink_ome_arrow(tmp_path / "x", encoding=encoding)
        for other in ENCODINGS:
            table = source(VALUES + 1).sink_ome_arrow(
                tmp_path / "x", encoding=other, mode="overwrite"
            )
            assert same(table[0].collect(), VALUES + 1)
            assert names(tmp_path) == ["x"]
        with pytest.raises(ValueError, match="mode must be"):
            source().sink_ome_arrow(tmp_path / "x", mode="add")  # type: ignore[arg-type]

    def test_folders_of_somebody_else_stay(self, tmp_path: Path) -> None:
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "mine").write_bytes(b"mine")
        for encoding in ENCODINGS:
            for mode in ("overwrite", "append"):
                with pytest.raises(lt.SinkError):
                    source().sink_ome_arrow(tmp_path / "x", encoding=encoding, mode=mode)
        assert names(tmp_path / "x") == ["mine"]
        assert names(tmp_path) == ["x"]

    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_images_are_added(self, tmp_path: Path, encoding: Any) -> None:
        for number in range(4):
            values = (VALUES + number)[:, :, number:]
            table = source(values).sink_ome_arrow(tmp_path / "x", encoding=encoding, mode="append")
            assert len(table) == number + 1
        for number in range(4):
            assert same(table[number].collect(), (VALUES + number)[:, :, number:])
            assert table[number].attrs["id"] == f"image-{number:05d}"
        assert names(tmp_path) == ["x"]

    @pytest.mark.parametrize("with_index", [True, False])
    def test_images_are_added_to_a_dataset_of_the_package(
        self, tmp_path: Path, with_index: bool
    ) -> None:
        shutil.copytree(VECTORS / "v33_dataset_rg8_noindex.ome-arrow", tmp_path / "x")
        before = lt.open_ome_arrow(tmp_path / "x")
        values = [image.collect() for image in before]
        chunks = pq.read_table(tmp_path / "x" / "chunks.parquet", columns=["chunk_id"])
        table = source().sink_ome_arrow(tmp_path / "x", mode="append")
        if with_index:
            table = source(VALUES + 1).sink_ome_arrow(
                tmp_path / "x", mode="append", image_id="mine"
            )
        expected = [*values, VALUES, VALUES + 1][: len(table)]
        assert all(same(one.collect(), two) for one, two in zip(table, expected, strict=True))
        index = pq.read_table(tmp_path / "x" / "index.parquet")
        file = pq.ParquetFile(tmp_path / "x" / "chunks.parquet")
        assert index.num_rows == file.metadata.num_rows > chunks.num_rows
        assert len(file.read(columns=["chunk_id"]).column(0).unique()) == index.num_rows

    def test_ids_are_of_one_image_each(self, tmp_path: Path) -> None:
        source().sink_ome_arrow(tmp_path / "x", image_id="a")
        with pytest.raises(lt.SinkExistsError, match="there is an image 'a' already"):
            source().sink_ome_arrow(tmp_path / "x", image_id="a", mode="append")
        assert same(lt.scan_ome_arrow(tmp_path / "x").collect(), VALUES)
        assert names(tmp_path) == ["x"]
        two = lt.stack([source(), source()], axis="row")
        with pytest.raises(ValueError, match="'b' is given twice"):
            two.sink_ome_arrow(tmp_path / "y", image_id=["b", "b"])
        with pytest.raises(lt.DimensionError, match="1 for 2 images"):
            two.sink_ome_arrow(tmp_path / "y", image_id="b")
        with pytest.raises(TypeError, match="image_id is text"):
            two.sink_ome_arrow(tmp_path / "y", image_id=[1, 2])  # type: ignore[list-item]

    def test_rows_are_added_beside_other_columns(self, tmp_path: Path) -> None:
        source().sink_ome_arrow(tmp_path / "x", encoding="bytes", column="image")
        table = pq.read_table(tmp_path / "x").append_column("Area", pa.array([7.5]))
        pq.write_table(table, tmp_path / "x", compression="zstd")
        found = source(VALUES + 1).sink_ome_arrow(
            tmp_path / "x", encoding="bytes", column="image", mode="append"
        )
        assert same(found[0].collect(), VALUES)
        assert same(found[1].collect(), VALUES + 1)
        assert found.frame.collect()["Area"].to_list() == [7.5, None]
        for column, encoding in (("image", "list"), ("other", "bytes")):
            with pytest.raises(lt.SinkError, match="cannot be added to it"):
                source().sink_ome_arrow(
                    tmp_path / "x", encoding=encoding, column=column, mode="append"
                )  # type: ignore[call-overload]
        assert names(tmp_path) == ["x"]

    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_one_at_a_time_adds(self, tmp_path: Path, encoding: Any) -> None:
        path = tmp_path / "x"
        source().sink_ome_arrow(path, encoding=encoding)
        begun, go = threading.Event(), threading.Event()

        def read(domain: Any, out: Any) -> None:
            begun.set()
            assert go.wait(60)

        slow = lt.virtual_chunked(read, shape=(2, 3), dtype="u2")
        lazy = slow.sink_ome_arrow(path, encoding=encoding, mode="append", lazy=True)
        other = threading.Thread(target=lazy.collect)
        other.start()
        assert begun.wait(60)
        with pytest.raises(lt.SinkError, match="somebody else is adding"):
            source().sink_ome_arrow(path, encoding=encoding, mode="append")
        go.set()
        other.join()
        assert len(lt.open_ome_arrow(path)) == 2
        assert names(tmp_path) == ["x"]

    def test_what_somebody_else_has_written_meanwhile_stays(self, tmp_path: Path) -> None:
        for encoding in ENCODINGS:
            path = tmp_path / encoding
            source().sink_ome_arrow(path, encoding=encoding)
            other = tmp_path / "other"
            source(VALUES + 1).sink_ome_arrow(other, encoding=encoding)

            def read(domain: Any, out: Any, path: Path = path, other: Path = other) -> None:
                path.rename(tmp_path / "former")
                other.rename(path)

            x = lt.virtual_chunked(read, shape=(2, 3), dtype="u2")
            with pytest.raises(lt.SinkError, match="changed it meanwhile"):
                x.sink_ome_arrow(path, encoding=encoding, mode="append")
            assert same(lt.scan_ome_arrow(path).collect(), VALUES + 1)
            former = tmp_path / "former"
            shutil.rmtree(former) if former.is_dir() else former.unlink()
        assert names(tmp_path) == sorted(ENCODINGS)

    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_what_is_read_is_not_replaced(self, tmp_path: Path, encoding: Any) -> None:
        table = source().sink_ome_arrow(tmp_path / "x", encoding=encoding)
        for mode in ("overwrite", "append"):
            with pytest.raises(lt.SinkError, match="would replace what is read"):
                (table[0] * 2).sink_ome_arrow(tmp_path / "x", encoding=encoding, mode=mode)
        assert same(table[0].collect(), VALUES)

    def test_options_that_are_none(self, tmp_path: Path) -> None:
        for options, match in (
            ({"encoding": "planes"}, "encoding='planes'"),
            ({"compression": "lzma"}, "compression='lzma'"),
            ({"encoding": "bytes", "chunk_compression": "auto"}, "chunk_compression='auto'"),
            ({"chunk_compression": "zstd"}, "is for encoding='bytes'"),
            ({"encoding": "list", "chunks": 4}, "planes and no chunks"),
        ):
            with pytest.raises(ValueError, match=match):
                source().sink_ome_arrow(tmp_path / "x", **options)  # type: ignore[arg-type]


class TestRemote:
    @pytest.fixture
    def place(self) -> Any:
        fs = fsspec.filesystem("memory")
        yield "memory://ome-sinks"
        if fs.exists("/ome-sinks"):
            fs.rm("/ome-sinks", recursive=True)

    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_there_and_back(self, place: str, encoding: Any) -> None:
        url = f"{place}/x"
        table = source().sink_ome_arrow(url, encoding=encoding)
        assert same(table[0].collect(), VALUES)
        with pytest.raises(lt.SinkExistsError):
            source().sink_ome_arrow(url, encoding=encoding)
        table = source(VALUES + 1).sink_ome_arrow(url, encoding=encoding, mode="overwrite")
        assert same(table[0].collect(), VALUES + 1)
        table = source().sink_ome_arrow(url, encoding=encoding, mode="append")
        assert [same(one.collect(), VALUES) for one in table] == [False, True]

    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_what_fails_leaves_the_former_one(self, place: str, encoding: Any) -> None:
        url = f"{place}/x"
        with pytest.raises(lt.SourceError, match="ZeroDivisionError"):
            failing().sink_ome_arrow(url, encoding=encoding)
        fs = fsspec.filesystem("memory")
        assert not fs.find("/ome-sinks")
        source().sink_ome_arrow(url, encoding=encoding)
        for mode in ("overwrite", "append"):
            with pytest.raises(lt.SourceError, match="ZeroDivisionError"):
                failing().sink_ome_arrow(url, encoding=encoding, mode=mode)
        assert same(lt.scan_ome_arrow(url).collect(), VALUES)

    def test_files_that_cannot_be_sent(self, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def publish(self: Any) -> None:
            if "images" in self._place.path:
                raise lt.SinkError("no")
            sent(self)

        sent = sink_places.RemoteFile.publish
        monkeypatch.setattr(sink_places.RemoteFile, "publish", publish)
        with pytest.raises(lt.SinkError):
            source().sink_ome_arrow(f"{place}/x")
        assert not fsspec.filesystem("memory").find("/ome-sinks")


def failing(at: int = 20) -> lt.LazyTensor:
    """A tensor whose chunks cannot be read from a certain one on."""
    read = iter(range(1 << 30))

    def values(domain: Any, out: Any) -> None:
        if next(read) >= at:
            raise ZeroDivisionError

    return lt.virtual_chunked(
        values, shape=(64, 64, 512), dtype="u2", chunks=(1, 64, 512), dims="zyx"
    )


class TestFaults:
    @pytest.mark.parametrize("encoding", ENCODINGS)
    @pytest.mark.parametrize("way", ["small", "large"])
    def test_an_error_in_the_middle_leaves_what_was_there(
        self, tmp_path: Path, encoding: Any, way: str, request: pytest.FixtureRequest
    ) -> None:
        if way == "large":
            request.getfixturevalue("large")
        path = tmp_path / "x"
        engine = lt.LocalEngine(threads=3, max_memory="16MiB")
        with pytest.raises(lt.SourceError, match="ZeroDivisionError"):
            failing().sink_ome_arrow(path, encoding=encoding, engine=engine)
        assert names(tmp_path) == []
        source().sink_ome_arrow(path, encoding=encoding)
        for mode in ("overwrite", "append"):
            with pytest.raises(lt.SourceError, match="ZeroDivisionError"):
                failing().sink_ome_arrow(path, encoding=encoding, mode=mode, engine=engine)
        assert same(lt.scan_ome_arrow(path).collect(), VALUES)
        assert names(tmp_path) == ["x"]

    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_the_disk_is_full(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: Any
    ) -> None:
        def full(fd: int, parts: Any, at: int | None = None) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(sink, "write_all", full)
        monkeypatch.setattr(sink_places, "write_all", full)
        with pytest.raises(lt.SinkError, match="No space left") as raised:
            source().sink_ome_arrow(tmp_path / "x", encoding=encoding)
        assert raised.value.errno == 28
        assert names(tmp_path) == []

    def test_what_cannot_fit_is_refused_before_the_first_byte(self, tmp_path: Path) -> None:
        x = lt.zeros((2, 8192, 8192), dtype="u2").label["z", "y", "x"]
        engine = lt.LocalEngine(max_memory="32MiB")
        for options in ({"chunks": {"z": 1}}, {"encoding": "list"}):
            with pytest.raises(lt.MemoryLimitError):
                x.sink_ome_arrow(tmp_path / "x", engine=engine, **options)  # type: ignore[arg-type]
        assert names(tmp_path) == []

    def test_a_dataset_that_is_damaged(self, tmp_path: Path) -> None:
        source().sink_ome_arrow(tmp_path / "x")
        for name in ("chunks.parquet", "images.parquet"):
            good = (tmp_path / "x" / name).read_bytes()
            (tmp_path / "x" / name).write_bytes(good[:-9])
            with pytest.raises(lt.SinkError, match="cannot be added to"):
                source().sink_ome_arrow(tmp_path / "x", mode="append")
            (tmp_path / "x" / name).write_bytes(good)
        other = pa.table({"image_id": ["a"], "pixels": [b""]})
        pq.write_table(other, tmp_path / "x" / "chunks.parquet")
        with pytest.raises(lt.SinkError, match="cannot be added to it"):
            source().sink_ome_arrow(tmp_path / "x", mode="append")
        assert names(tmp_path) == ["x"]

    def test_attributes_that_are_no_json(self, tmp_path: Path) -> None:
        class Odd(ChunkedArray):
            @property
            def attrs(self) -> Mapping[str, Any]:
                return {"odd": object()}

        x = lt.scan_source(Odd(VALUES, VALUES.shape, dims="tczyx"))
        with pytest.raises(ValueError, match="the attributes are no JSON"):
            x.sink_ome_arrow(tmp_path / "x")


CHILD = """
import sys, time
import lazytensor as lt

def slow(domain, out):
    print("reading", flush=True)
    time.sleep(0.01)
    out[...] = 5

path, encoding, mode = sys.argv[1:]
x = lt.virtual_chunked(slow, shape=(400, 64, 64), dtype="u2", chunks=(4, 64, 64), dims="zyx")
x = lt.pad(x, ((0, 0), (0, 64 * 7), (0, 0)))
x.sink_ome_arrow(path, encoding=encoding, mode=mode, engine=lt.LocalEngine(2))
print("done", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks to tell who was killed")
class TestKilled:
    @pytest.mark.parametrize("mode", ["overwrite", "append"])
    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_the_former_one_is_intact_and_what_is_left_is_cleared_away(
        self, tmp_path: Path, encoding: Any, mode: Any
    ) -> None:
        path = tmp_path / "x"
        source().sink_ome_arrow(path, encoding=encoding)
        command = [sys.executable, "-c", CHILD, str(path), encoding, mode]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(30):
                child.stdout.readline()
            assert len(names(tmp_path)) == 2
            child.kill()
        assert same(lt.scan_ome_arrow(path).collect(), VALUES)
        after = source(VALUES + 1).sink_ome_arrow(path, encoding=encoding, mode=mode)
        assert same(after[-1].collect(), VALUES + 1)
        assert names(tmp_path) == ["x"]


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
class TestMemory:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"chunks": {"z": 4, "y": 64}},
            {"encoding": "bytes"},
            {"encoding": "bytes", "chunk_compression": "zstd"},
            {"encoding": "list"},
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
                    read, shape=(4 * slabs, 512, 512), dtype="u2", chunks=(4, 512, 512), dims="zyx"
                )
                return x.sink_ome_arrow({str(tmp_path / "x")!r}, engine=engine, mode="overwrite",
                                        **{options!r})

            go(8)
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
