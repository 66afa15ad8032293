"""``region=`` and ``mode="append"``: arrays that are there, and what else lies in them."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.io import staging
from tests.io.zarr_write.encoding import by_tensorstore, by_zarr
from tests.io.zarr_write.test_sink_faults import Broken
from tests.io.zarr_write.test_sink_results import VALUES, content, files

GRID = np.arange(20 * 30, dtype="i4").reshape(20, 30) + 1


def there(place: Any, values: np.ndarray = GRID, **options: Any) -> lt.LazyTensor:
    return lt.asarray(values, dims=("y", "x")).sink_zarr(place, **{"chunks": 5, **options})


LAYOUTS: list[dict[str, Any]] = [
    {},
    {"zarr_format": 2},
    {"chunks": 5, "shards": 10},
    {"chunks": (7, 50)},
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(data=st.data())
def test_any_region(tmp_path: Path, layout: dict[str, Any], data: st.DataObject) -> None:
    place = tmp_path / "x"
    there(place, mode="overwrite", **layout)
    expected = GRID.copy()
    for _ in range(2):
        box = [sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in GRID.shape]
        region = tuple(slice(*edges) for edges in box)
        values = np.full(expected[region].shape, data.draw(st.integers(0, 2)), "i4")
        found = lt.asarray(values).sink_zarr(place, region=region, align="rmw")
        expected[region] = values
        np.testing.assert_array_equal(found.collect(), expected)
        assert found.dims == ("y", "x")
    np.testing.assert_array_equal(by_zarr(place), expected)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(data=st.data())
def test_any_end(tmp_path: Path, layout: dict[str, Any], data: st.DataObject) -> None:
    place = tmp_path / "x"
    there(place, mode="overwrite", **layout)
    expected = GRID
    for _ in range(2):
        axis = data.draw(st.integers(0, 1))
        shape = list(expected.shape)
        shape[axis] = data.draw(st.integers(0, 12))
        values = np.full(shape, data.draw(st.integers(0, 2)), "i4")
        lt.asarray(values).sink_zarr(place, mode="append", axis=axis, align="rmw")
        expected = np.concatenate([expected, values], axis=axis)
        np.testing.assert_array_equal(lt.scan_zarr(place).collect(), expected)
    np.testing.assert_array_equal(by_tensorstore(place), expected)


def test_what_is_cut_is_refused(tmp_path: Path) -> None:
    there(tmp_path / "x")
    before = content(tmp_path)
    x = lt.ones((5, 23), dtype="i4")
    with pytest.raises(lt.ShapeError, match=r"3:8, 4:27 cuts .* write 0:10, 0:30, or align='rmw'"):
        x.sink_zarr(tmp_path / "x", region=(slice(3, 8), slice(4, 27)))
    with pytest.raises(ValueError, match="align must be one of"):
        x.sink_zarr(tmp_path / "x", region=(slice(3, 8), slice(4, 27)), align="no")  # type: ignore[arg-type]
    there(tmp_path / "y", GRID[:18])
    with pytest.raises(lt.ShapeError, match=r"18:20, 0:30 cuts"):
        lt.ones((2, 30), dtype="i4").sink_zarr(tmp_path / "y", mode="append")
    assert {key: data for key, data in content(tmp_path).items() if key[0] == "x"} == before


def test_how_regions_are_said(tmp_path: Path) -> None:
    x = lt.zeros((5, 30), dtype="i4")
    domain = lt.IndexDomain(inclusive_min=(5, 0), shape=(5, 30))
    regions: list[Any] = [
        slice(5, 10),
        (slice(5, 10),),
        {"y": slice(5, 10)},
        {0: slice(5, 10)},
        domain,
    ]
    for region in regions:
        there(tmp_path / "x", mode="overwrite")
        found = x.sink_zarr(tmp_path / "x", region=region)
        assert int((found.collect() == 0).sum()) == 150
    wrong: list[tuple[Any, type[Exception]]] = [
        (slice(5, 11), lt.ShapeError),
        (slice(15, 25), lt.OutOfBoundsError),
        (slice(-5, None), lt.OutOfBoundsError),
        (slice(0, 10, 2), TypeError),
        ((3,), TypeError),
        ({"z": slice(0, 5)}, lt.DimensionError),
    ]
    for region, error in wrong:
        with pytest.raises(error):
            x.sink_zarr(tmp_path / "x", region=region)


def test_what_does_not_fit_is_said_at_once(tmp_path: Path) -> None:
    there(tmp_path / "x")
    x = lt.zeros((5, 30), dtype="i4")
    region = slice(0, 5)
    with pytest.raises(lt.DTypeError, match="cast the tensor first"):
        x.astype("f4").sink_zarr(tmp_path / "x", region=region)
    with pytest.raises(lt.DimensionError, match="dim 0 is called 'x'"):
        x.label["x", "y"].sink_zarr(tmp_path / "x", region=region)
    for option in ({"chunks": 5}, {"mode": "overwrite"}, {"fill_value": 3}, {"consolidated": True}):
        with pytest.raises(ValueError, match="is settled"):
            x.sink_zarr(tmp_path / "x", region=region, **option)  # type: ignore[arg-type]
    with pytest.raises(lt.ShapeError, match="other extents differ"):
        x[:, :4].sink_zarr(tmp_path / "x", mode="append")
    with pytest.raises(lt.SourceNotFoundError):
        x.sink_zarr(tmp_path / "none", region=region)
    x.sink_zarr(tmp_path / "g", "a")
    with pytest.raises(lt.FormatError, match="is a group"):
        x.sink_zarr(tmp_path / "g", region=region)


def test_the_array_itself_may_be_read_for_what_is_cut_only(tmp_path: Path) -> None:
    x = there(tmp_path / "x")
    with pytest.raises(lt.SinkError, match="would replace what is read"):
        x[5:10].sink_zarr(tmp_path / "x", region=slice(0, 5))
    with pytest.raises(lt.SinkError, match="would replace what is read"):
        x[5:8].sink_zarr(tmp_path / "x", region=slice(1, 4), align="rmw")


def test_objects_that_become_empty_are_removed(tmp_path: Path) -> None:
    there(tmp_path / "x")
    zeros = lt.zeros((10, 30), dtype="i4")
    zeros.sink_zarr(tmp_path / "x", region=slice(10, 20))
    assert len(files(tmp_path / "x")) == 2 * 6 + 1
    zeros.sink_zarr(tmp_path / "x", region=slice(0, 10), write_empty=True)
    assert len(files(tmp_path / "x")) == 2 * 6 + 1
    zeros[:0].sink_zarr(tmp_path / "x", region=slice(3, 3))
    assert (lt.scan_zarr(tmp_path / "x").collect() == 0).all()


@pytest.mark.parametrize("options", [{"region": slice(0, 20)}, {"mode": "append"}], ids=str)
def test_a_run_that_fails_changes_nothing(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lt.asarray(VALUES).sink_zarr(tmp_path / "x", chunks=4)
    before = content(tmp_path)
    broken = lt.scan_source(Broken(VALUES, (4, 4, 4)))
    with pytest.raises(lt.SourceError, match="the disk is gone"):
        broken.sink_zarr(tmp_path / "x", **options)
    puts = iter(range(100))
    put = staging.StagedFolder.put

    def full(self: Any, key: str, parts: Any) -> None:
        if next(puts) > 10:
            raise lt.SinkError(f"key {key!r}: full")
        put(self, key, parts)

    monkeypatch.setattr(staging.StagedFolder, "put", full)
    with pytest.raises(lt.SinkError, match="key 'c/"):
        lt.asarray(VALUES + 1).sink_zarr(tmp_path / "x", **options)
    assert content(tmp_path) == before


def test_the_content_is_another_one(tmp_path: Path) -> None:
    attributes = {"lazytensor": {"content": "c0ffee"}, "by": "me"}
    for zarr_format in (2, 3):
        place = tmp_path / str(zarr_format)
        there(place, attributes=attributes, zarr_format=zarr_format)
        found = lt.zeros((5, 30), dtype="i4").sink_zarr(place, region=slice(0, 5))
        assert found.attrs["by"] == "me"
        assert found.attrs["lazytensor"]["content"] != "c0ffee"


def test_what_was_opened_before_sees_that_it_is_old(tmp_path: Path) -> None:
    x = there(tmp_path / "x")
    lt.zeros((5, 30), dtype="i4").sink_zarr(tmp_path / "x", region=slice(0, 5))
    with pytest.raises(lt.SourceChangedError):
        x.collect()


def test_consolidated_metadata_does_not_fall_behind(tmp_path: Path) -> None:
    for zarr_format in (2, 3):
        place = tmp_path / str(zarr_format)
        group = {"a": lt.asarray(GRID), "b": lt.asarray(GRID)}
        lt.dump_zarr(group, place, consolidated=True, zarr_format=zarr_format, chunks=5)
        more = lt.zeros((5, 30), dtype="i4")
        more.sink_zarr(place, "a", mode="append")
        more.sink_zarr(place, "c/d", zarr_format=zarr_format)
        opened = lt.open_zarr(place, consolidated=True)
        assert opened["a"].shape == (25, 30) and opened["c/d"].shape == (5, 30)


def test_writers_of_disjoint_regions_lose_nothing(tmp_path: Path) -> None:
    """Also where they share objects, if these are read and written again."""
    x = there(tmp_path / "x", np.zeros((64, 64), "i4"), chunks=16)
    errors: list[BaseException] = []

    def write(n: int) -> None:
        region = (slice(4 * n, 4 * n + 4), slice(None))
        try:
            lt.full((4, 64), n + 1, dtype="i4").sink_zarr(
                tmp_path / "x", region=region, align="rmw"
            )
        except lt.SinkError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    expected = np.repeat(np.arange(16, dtype="i4") + 1, 4)[:, None] * np.ones((1, 64), "i4")
    np.testing.assert_array_equal(lt.scan_zarr(tmp_path / "x").collect(), expected)
    assert x.shape == (64, 64) and not [name for name in files(tmp_path / "x") if ".tmp" in name]


def test_several_who_append_lose_nothing(tmp_path: Path) -> None:
    """Whoever finds that it has grown meanwhile says so, and may try again."""
    lt.zeros(4, dtype="i4").sink_zarr(tmp_path / "x", chunks=4)

    def append(n: int) -> None:
        while True:
            try:
                lt.full(4, n, dtype="i4").sink_zarr(tmp_path / "x", mode="append")
            except (lt.SinkError, lt.SourceChangedError):
                continue
            return

    threads = [threading.Thread(target=append, args=(n + 1,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = lt.scan_zarr(tmp_path / "x").collect()
    assert sorted(found.tolist()) == sorted(np.repeat(np.arange(9), 4).tolist())


def test_lazy_appends_find_the_end_when_they_are_collected(tmp_path: Path) -> None:
    x = lt.ones(4, dtype="i4")
    sink = x.sink_zarr(tmp_path / "x", chunks=4, mode="append", lazy=True)
    assert os.listdir(tmp_path) == []
    for n in range(1, 4):
        assert sink.collect().shape == (4 * n,)


@pytest.mark.parametrize("kind", ["dict", "memory"])
def test_other_places(tmp_path: Path, kind: str) -> None:
    place: Any = {} if kind == "dict" else f"memory://regions{tmp_path}"
    there(place)
    found = lt.zeros((3, 30), dtype="i4").sink_zarr(place, region=slice(2, 5), align="rmw")
    expected = GRID.copy()
    expected[2:5] = 0
    np.testing.assert_array_equal(found.collect(), expected)
    lt.zeros((15, 30), dtype="i4").sink_zarr(place, region=slice(5, 20))
    found = lt.asarray(GRID[:5]).sink_zarr(place, mode="append")
    assert found.shape == (25, 30)
    np.testing.assert_array_equal(found[20:].collect(), GRID[:5])
    if kind == "dict":
        assert len([key for key in place if key.startswith("c/")]) == 2 * 6
        assert json.loads(place["zarr.json"])["shape"] == [25, 30]


def test_zip_files_are_not_changed(tmp_path: Path) -> None:
    there(tmp_path / "x.zip")
    with pytest.raises(ValueError, match="not changed"):
        lt.zeros((5, 30), dtype="i4").sink_zarr(tmp_path / "x.zip", region=slice(0, 5))
