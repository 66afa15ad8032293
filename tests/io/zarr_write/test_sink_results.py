"""What ``sink_zarr`` and ``dump_zarr`` write, read back by us and by others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lazytensor as lt
from tests.io.zarr_write.encoding import by_tensorstore, by_zarr, by_zarrs
from tests.sources import ChunkedArray

VALUES = np.random.default_rng(0).integers(0, 99, (20, 13, 7)).astype("u2")


def source(values: np.ndarray = VALUES, chunks: tuple[int, ...] = (8, 4, 4)) -> lt.LazyTensor:
    return lt.scan_source(ChunkedArray(values, chunks))


def files(folder: Path) -> list[str]:
    """Everything below a folder, hidden names too."""
    found = []
    for path, _, names in os.walk(folder):
        found += [os.path.relpath(os.path.join(path, name), folder) for name in names]
    return sorted(name.replace(os.sep, "/") for name in found)


def content(folder: Path) -> dict[str, bytes]:
    return {key: (folder / key).read_bytes() for key in files(folder)}


LAYOUTS: list[dict[str, Any]] = [
    {"zarr_format": 3, "chunks": (8, 4, 4)},
    {"zarr_format": 3, "chunks": (4, 2, 4), "shards": (8, 6, 8)},
    {"zarr_format": 3, "chunks": 5, "key_encoding": "v2"},
    {"zarr_format": 2, "chunks": (8, 4, 4)},
    {"zarr_format": 2, "chunks": (30, 3, 2), "key_encoding": "/"},
]


@pytest.mark.parametrize("compressor", ["zstd", "blosc", "gzip", None])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_everybody_reads_it(tmp_path: Path, layout: dict[str, Any], compressor: Any) -> None:
    place = tmp_path / "x"
    found = source().sink_zarr(place, compressor=compressor, **layout)
    np.testing.assert_array_equal(found.collect(), VALUES)
    for read in (by_zarr, by_zarrs, by_tensorstore):
        np.testing.assert_array_equal(read(place), VALUES)
    assert os.listdir(tmp_path) == ["x"]
    assert not [name for name in files(place) if name.rpartition("/")[2].startswith(".l")]


@pytest.mark.parametrize("dtype", ["?", "i1", "u8", "f2", "f8", "c8", "M8[s]", "U3", "S3", "T"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_dtypes(tmp_path: Path, dtype: str, zarr_format: int) -> None:
    if dtype == "T":
        values = np.array(["a", "", "longer than others", "b"] * 3, np.dtypes.StringDType())
    elif dtype in ("U3", "S3"):
        values = np.array(["a", "", "ccc", "b"] * 3, dtype)
    else:
        values = np.arange(12).astype(dtype)
    found = lt.asarray(values).sink_zarr(tmp_path / "x", chunks=5, zarr_format=zarr_format)
    np.testing.assert_array_equal(found.collect(), values)
    assert found.dtype == values.dtype


def test_bfloat16_and_other_byte_orders(tmp_path: Path) -> None:
    x = lt.arange(7).astype(lt.bfloat16)
    found = x.sink_zarr(tmp_path / "b", chunks=3)
    np.testing.assert_array_equal(found.collect().astype("f4"), np.arange(7, dtype="f4"))
    values = np.arange(6, dtype=">f4").reshape(2, 3)
    found = lt.asarray(values).sink_zarr(tmp_path / "x", chunks=2)
    np.testing.assert_array_equal(found.collect(), values)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_any_shape_chunks_and_engine(tmp_path: Path, data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(0, 12), max_size=3)))
    values = np.arange(np.prod(shape, dtype=int)).astype("i4").reshape(shape) % 5
    chunks = tuple(data.draw(st.integers(1, 14)) for _ in shape)
    shards = tuple(n * data.draw(st.integers(1, 3)) for n in chunks)
    engine = data.draw(
        st.sampled_from(
            [lt.LocalEngine(threads=2), lt.LocalEngine(max_memory=1 << 20), lt.InterpretEngine()]
        )
    )
    read = tuple(data.draw(st.integers(1, 5)) for _ in shape)
    found = source(values, read).sink_zarr(
        tmp_path / "x",
        chunks=chunks,
        shards=data.draw(st.sampled_from([None, shards])) if shape else None,
        fill_value=data.draw(st.sampled_from([0, 3])),
        write_empty=data.draw(st.booleans()),
        engine=engine,
        mode="overwrite",
    )
    np.testing.assert_array_equal(found.collect(), values)
    np.testing.assert_array_equal(by_zarr(tmp_path / "x"), values)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_bytes_do_not_depend_on_threads_or_blocks(tmp_path: Path, threads: int) -> None:
    options: dict[str, Any] = {"chunks": (4, 4, 4), "shards": (8, 8, 8), "attributes": {}}
    source().sink_zarr(tmp_path / "a", **options)
    for limit in ("64MiB", "1MiB"):
        engine = lt.LocalEngine(threads=threads, max_memory=limit)
        (source() + 0).sink_zarr(tmp_path / "b", engine=engine, mode="overwrite", **options)
        assert content(tmp_path / "a") == content(tmp_path / "b")


def test_every_chunk_is_read_once(tmp_path: Path) -> None:
    stored = ChunkedArray(np.arange(64**3, dtype="f4").reshape(64, 64, 64), (16, 16, 16))
    for options in ({}, {"chunks": 16}, {"chunks": 8, "shards": 32}, {"chunks": 24}):
        stored.boxes.clear()
        lt.scan_source(stored).sink_zarr(tmp_path / "x", mode="overwrite", **options)
        read = sum(len(stored.cells_of(box)) for box in stored.boxes)
        assert read == 64, options


def test_what_is_computed_on_the_way(tmp_path: Path) -> None:
    x = source()
    plan = lt.downsample(x.astype("f4") * 2 + x.mean(), (2, 2, 2))[1:, ::-1]
    found = plan.sink_zarr(tmp_path / "x", chunks=3)
    np.testing.assert_array_equal(found.collect(), plan.collect())
    assert int(x.sum().sink_zarr(tmp_path / "z").collect()) == VALUES.sum()


class TestEmpty:
    def test_chunks_of_the_fill_value_are_left_out(self, tmp_path: Path) -> None:
        values = np.full((8, 8), np.nan, "f4")
        values[:4, 4:] = 1
        options: dict[str, Any] = {"chunks": 4, "fill_value": np.float32("nan")}
        found = lt.asarray(values).sink_zarr(tmp_path / "x", **options)
        np.testing.assert_array_equal(found.collect(), values)
        assert files(tmp_path / "x") == ["c/0/1", "zarr.json"]
        lt.asarray(values).sink_zarr(tmp_path / "y", write_empty=True, **options)
        assert len(files(tmp_path / "y")) == 5

    def test_zero_is_not_its_negative(self, tmp_path: Path) -> None:
        lt.asarray(np.array([-0.0, 0.0])).sink_zarr(tmp_path / "x", chunks=1)
        assert files(tmp_path / "x") == ["c/0", "zarr.json"]

    def test_a_constant_is_metadata_however_large(self, tmp_path: Path) -> None:
        x = lt.zeros((100_000, 100_000), dtype="u1")
        before = lt.metrics()["tasks"]
        found = x.sink_zarr(tmp_path / "x", chunks=10)  # 10^8 chunks
        assert lt.metrics()["tasks"] == before
        assert found.shape == x.shape and files(tmp_path / "x") == ["zarr.json"]
        assert found[5, 5].collect() == 0

    def test_a_constant_that_is_not_the_fill_value_is_written(self, tmp_path: Path) -> None:
        found = lt.ones((100, 100), dtype="u1").sink_zarr(tmp_path / "x", chunks=5)
        assert len(files(tmp_path / "x")) == 401 and (found.collect() == 1).all()

    def test_what_is_mostly_empty_takes_few_tasks(self, tmp_path: Path) -> None:
        data: dict[str, bytes] = {}
        big = lt.zeros((1 << 20, 1 << 20), dtype="u1").sink_zarr(data, chunks=1 << 10)
        data["c/700/31"] = (lt.ones(1 << 20, dtype="u1")).collect().tobytes()
        raw: dict[str, bytes] = {}
        lt.zeros((1 << 20, 1 << 20), dtype="u1").sink_zarr(raw, chunks=1 << 10, compressor=None)
        raw["c/700/31"] = data["c/700/31"]
        before = lt.metrics()["tasks"]
        (lt.scan_zarr(raw) * 2).sink_zarr(tmp_path / "x", chunks=1 << 10)
        assert lt.metrics()["tasks"] - before < 20
        assert files(tmp_path / "x") == ["c/700/31", "zarr.json"]
        assert big.shape == (1 << 20, 1 << 20)

    @pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2)])
    def test_no_dims_and_no_elements(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        values = np.full(shape, 3, "i2")
        for zarr_format in (2, 3):
            place = tmp_path / str(zarr_format)
            found = lt.asarray(values).sink_zarr(place, zarr_format=zarr_format)
            np.testing.assert_array_equal(found.collect(), values)
            np.testing.assert_array_equal(by_zarr(place), values)


class TestMeaning:
    @pytest.mark.parametrize("zarr_format", [2, 3])
    def test_dims_and_axes_come_back(self, tmp_path: Path, zarr_format: int) -> None:
        axes = [
            lt.Axis("c", "channel", labels=("DNA", "ER")),
            lt.Axis("y", "space", "micrometer", 0.5, 3.0),
            lt.Axis(),
        ]
        values = np.arange(12).reshape(2, 2, 3)
        x = lt.scan_source(ChunkedArray(values, (2, 2, 3), dims=("c", "y", ""), axes=axes))
        found = x.sink_zarr(tmp_path / "x", zarr_format=zarr_format)
        assert found.dims == ("c", "y", "")
        assert found.schema.axes == x.schema.axes
        np.testing.assert_array_equal(found.sel(c="ER").collect(), values[1])
        again = found[:, 1:].sink_zarr(tmp_path / "y", zarr_format=zarr_format)
        assert again.schema.axes[1].offset == 3.5

    def test_attributes_are_those_of_what_is_read(self, tmp_path: Path) -> None:
        x = source().label["z", "y", "x"]
        first = x.sink_zarr(tmp_path / "a", attributes={"by": "me"}, zarr_format=2)
        assert first.attrs["by"] == "me"
        second = first.sink_zarr(tmp_path / "b")
        assert dict(second.attrs) == {"by": "me"} and second.dims == ("z", "y", "x")
        assert dict(second.sink_zarr(tmp_path / "c", attributes={}).attrs) == {}

    def test_axes_that_break_the_rules_are_passed_over(self) -> None:
        data: dict[str, bytes] = {}
        attributes = {"lazytensor": {"axes": [{"name": 3}]}}
        lt.arange(3).sink_zarr(data, attributes=attributes, lazy=True)
        with pytest.warns(UserWarning, match="mean nothing"):
            lt.arange(3).sink_zarr(data, attributes=attributes)


class TestArguments:
    def test_chunks_and_shards(self, tmp_path: Path) -> None:
        x = source().label["z", "y", "x"]
        found = x.sink_zarr(tmp_path / "a", chunks={"z": 5}, shards={"z": 10})
        assert found.storage.chunks == (5, 13, 7) and found.storage.shards == (10, 13, 7)
        found = x.sink_zarr(tmp_path / "b", shards=(12, 12, 12))
        assert found.storage.shards == (12, 12, 12)
        with pytest.raises(lt.ShapeError, match="no multiple"):
            x.sink_zarr(tmp_path / "c", chunks=5, shards=12)
        with pytest.raises(lt.ShapeError, match="positive"):
            x.sink_zarr(tmp_path / "c", chunks=0)
        with pytest.raises(ValueError, match="expected 'auto'"):
            x.sink_zarr(tmp_path / "c", chunks="all")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"compressor": "snappy9"}, "snappy9"),
            ({"zarr_format": 4}, "zarr_format"),
            ({"zarr_format": 2, "shards": 8}, "v2 has none"),
            ({"fill_value": 70000}, "no value of uint16"),
            ({"attributes": {"a": {1}}}, "attributes"),
        ],
    )
    def test_what_the_format_cannot_hold_is_said_at_once(
        self, tmp_path: Path, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(lt.FormatError, match=message):
            source().sink_zarr(tmp_path / "x", lazy=True, **{"chunks": 4, **options})
        assert os.listdir(tmp_path) == []

    def test_a_mode_that_there_is_not(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="mode must be one of"):
            source().sink_zarr(tmp_path / "x", mode="w")  # type: ignore[arg-type]

    def test_memory_for_an_object_is_missing(self, tmp_path: Path) -> None:
        x = lt.zeros((1 << 13, 1 << 13), dtype="u1") + lt.arange(1 << 13).astype("u1")
        with pytest.raises(lt.MemoryLimitError):
            x.sink_zarr(tmp_path / "x", chunks=1 << 13, engine=lt.LocalEngine(max_memory="16MiB"))
        assert os.listdir(tmp_path) == []


class TestLazy:
    def test_sinks_share_what_they_read(self, tmp_path: Path) -> None:
        stored = ChunkedArray(VALUES.astype("i4"), (8, 4, 4))
        x = lt.scan_source(stored)
        sinks = [
            x.sink_zarr(tmp_path / "a", chunks=(8, 4, 4), lazy=True),
            (x * 2).sink_zarr(tmp_path / "b", chunks=(16, 4, 8), lazy=True),
        ]
        assert os.listdir(tmp_path) == []
        total, a, b = lt.collect_all([x.sum(), *sinks])
        assert int(total) == VALUES.sum()
        np.testing.assert_array_equal(a.collect(), VALUES)
        np.testing.assert_array_equal(b.collect(), VALUES.astype("i4") * 2)
        sinks[0].estimate()
        assert "sink zarr" in sinks[0].explain()

    def test_two_sinks_of_one_plan_read_it_once(self, tmp_path: Path) -> None:
        stored = ChunkedArray(VALUES.astype("i4"), (8, 4, 4))
        x = lt.scan_source(stored)
        sinks = [
            x.sink_zarr(tmp_path / "a", chunks=(8, 4, 4), lazy=True),
            x.sink_zarr(tmp_path / "b", chunks=(16, 8, 8), lazy=True),
        ]
        lt.collect_all(sinks)
        assert sum(len(stored.cells_of(box)) for box in stored.boxes) == 3 * 4 * 2

    def test_what_would_be_replaced_is_not_read(self, tmp_path: Path) -> None:
        x = source().sink_zarr(tmp_path / "x", "a")
        for path in ("a", ""):
            with pytest.raises(lt.SinkError, match="would replace what is read"):
                (x + 1).sink_zarr(tmp_path / "x", path, mode="overwrite")
        sinks = [x.sink_zarr(tmp_path / "y", lazy=True) for _ in range(2)]
        with pytest.raises(lt.SinkError, match="both written"):
            lt.collect_all(sinks)
        np.testing.assert_array_equal(x.collect(), VALUES)


class TestDump:
    @pytest.mark.parametrize("zarr_format", [2, 3])
    @pytest.mark.parametrize("consolidated", [False, True])
    def test_a_group(self, tmp_path: Path, zarr_format: int, consolidated: bool) -> None:
        x = source().label["z", "y", "x"]
        group = lt.dump_zarr(
            {"a": x, "g/b": x + 1, "more": {"c": np.arange(3), "empty": {}}},
            tmp_path / "x",
            attributes={"by": "me"},
            zarr_format=zarr_format,
            consolidated=consolidated,
        )
        assert dict(group.attrs) == {"by": "me"} and set(group) == {"a", "g", "more"}
        np.testing.assert_array_equal(group["g/b"].collect(), VALUES + 1)
        np.testing.assert_array_equal(group["more/c"].collect(), np.arange(3))
        opened = zarr.open_group(str(tmp_path / "x"), mode="r", use_consolidated=consolidated)
        np.testing.assert_array_equal(np.asarray(opened["g/b"]), VALUES + 1)
        assert set(opened["more"]) == {"c", "empty"}
        if consolidated:
            assert lt.open_zarr(tmp_path / "x", consolidated=True)["a"].shape == x.shape

    def test_as_a_whole(self, tmp_path: Path) -> None:
        lt.dump_zarr({"a": lt.arange(3), "b": lt.arange(4)}, tmp_path / "x", "deep/er")
        with pytest.raises(lt.SinkExistsError):
            lt.dump_zarr({"a": lt.arange(3)}, tmp_path / "x", "deep/er")
        group = lt.dump_zarr({"c": lt.arange(3)}, tmp_path / "x", "deep/er", mode="overwrite")
        assert list(group) == ["c"]
        assert list(lt.open_zarr(tmp_path / "x")["deep"]) == ["er"]
        assert len(lt.dump_zarr({}, tmp_path / "none")) == 0

    def test_names(self, tmp_path: Path) -> None:
        x = lt.arange(3)
        with pytest.raises(ValueError, match="two tensors"):
            lt.dump_zarr({"g/b": x, "g": {"b": x}}, tmp_path / "x")
        with pytest.raises(ValueError, match="an array and a group"):
            lt.dump_zarr({"g": x, "g/b": x}, tmp_path / "x")
        for name in ("", "a//b", ".a", "__a", 3):
            with pytest.raises(ValueError, match="no name"):
                lt.dump_zarr({name: x}, tmp_path / "x")  # type: ignore[dict-item]
        with pytest.raises(lt.DTypeError, match="is None"):
            lt.dump_zarr({"a": None}, tmp_path / "x")
        assert os.listdir(tmp_path) == []


class TestNpy:
    @pytest.mark.parametrize("dtype", ["?", "u2", ">f4", "c16", "M8[ns]", "U4", "S3"])
    @pytest.mark.parametrize("shape", [(), (0, 3), (5,), (20, 13, 7)])
    def test_numpy_reads_it(self, tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
        values = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
        found = source(values, tuple(4 for _ in shape)).sink_npy(tmp_path / "x.npy")
        np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), values)
        np.testing.assert_array_equal(found.collect(), values)
        np.save(tmp_path / "y.npy", values.astype(values.dtype.newbyteorder("<")))
        assert (tmp_path / "x.npy").read_bytes() == (tmp_path / "y.npy").read_bytes()

    def test_structures(self, tmp_path: Path) -> None:
        for name in ("a", "ü", "λ"):
            values = np.zeros(3, [(name, "u2"), ("b", "f4", (2,))])
            values[name] = [1, 2, 3]
            lt.asarray(values).sink_npy(tmp_path / f"{name}.npy")
            np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), values)

    def test_what_numpy_does_not_know(self, tmp_path: Path) -> None:
        for x in (lt.arange(3).astype(lt.bfloat16), lt.asarray(np.array(["a"], "T"))):
            with pytest.raises(lt.DTypeError, match=r"\.npy files hold no"):
                x.sink_npy(tmp_path / "x.npy")

    def test_places_and_modes(self, tmp_path: Path) -> None:
        x = source()
        x.sink_npy(tmp_path / "x.npy")
        with pytest.raises(lt.SinkExistsError):
            x.sink_npy(tmp_path / "x.npy")
        (x + 1).sink_npy(tmp_path / "x.npy", mode="overwrite")
        np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), VALUES + 1)
        found = x.sink_npy("memory://npys/x.npy", mode="overwrite")
        np.testing.assert_array_equal(found.collect(), VALUES)
        assert os.listdir(tmp_path) == ["x.npy"]
