"""Tables of images: rows, columns, filters by what else is in the table, stacks."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

import lazytensor as lt
from lazytensor.io.store_counting import CountingStore
from tests.io.ome_arrow.ome_arrow_files import BYTES, dataset, image, ipc, parquet, record, table

SHAPES = [(1, 2, 1, 6, 7), (1, 2, 1, 6, 7), None, (2, 1, 3, 4, 5), (1, 2, 1, 6, 7)]
IMAGES = [None if shape is None else image(shape, seed=n) for n, shape in enumerate(SHAPES)]
LABELS = [image((1, 1, 1, 4, 4), "u1", seed=10 + n) for n in range(5)]
WELLS, AREAS = ["A01", "A02", "A01", "B01", "A01"], [1.0, 2.0, 3.0, None, 5.0]
PACKS: dict[str, Callable[[pa.Table], Any]] = {
    "memory": lambda made: made,
    "polars": pl.from_arrow,
    "parquet": lambda made: parquet(made, row_group_size=2),
    "one row group": parquet,
    "ipc": lambda made: ipc(made, rows=2),
    "stream": lambda made: ipc(made, stream=True, rows=3),
}


def of_images(images: list[Any]) -> list[Any]:
    return [None if values is None else record(values) for values in images]


def whole(labels: bool = True) -> pa.Table:
    made = table(of_images(IMAGES), well=WELLS, area=AREAS)
    if not labels:
        return made
    return made.append_column("label", table(of_images(LABELS)).column("ome_arrow"))


@pytest.fixture(params=PACKS)
def source(request: pytest.FixtureRequest) -> Any:
    return PACKS[request.param](whole())


def test_rows(source: Any) -> None:
    t = lt.open_ome_arrow(source)
    assert len(t) == 5 and t.columns == ("ome_arrow", "label")
    for row in (0, 1, 3, 4, -1, -2, np.int64(3)):
        np.testing.assert_array_equal(t[row].collect(), IMAGES[row])
        np.testing.assert_array_equal(t[row, "label"].collect(), LABELS[row])
    for row in (5, -6):
        with pytest.raises(lt.OutOfBoundsError, match=str(row)):
            t[row]
    with pytest.raises(KeyError, match=r"2, 'ome_arrow'"):
        t[2]
    for wrong in (1.0, "label", (0, 1), (0, "label", 1), None, ...):
        with pytest.raises(TypeError):
            t[wrong]
    with pytest.raises(lt.FormatError, match=r"'ome_arrow', 'label'"):
        t[0, "well"]


def test_iteration_gives_none_for_null_rows(source: Any) -> None:
    """So that images go side by side with rows of the frame."""
    t = lt.open_ome_arrow(source)
    for found, values, well in zip(t, IMAGES, t.frame.collect()["well"], strict=True):
        assert well in WELLS
        if values is None:
            assert found is None
        else:
            np.testing.assert_array_equal(found.collect(), values)
    assert [found.shape for found in lt.open_ome_arrow(source, column="label")] == [
        (1, 1, 1, 4, 4)
    ] * 5


def test_frame(source: Any) -> None:
    frame = lt.open_ome_arrow(source).frame
    assert isinstance(frame, pl.LazyFrame)
    assert_frame_equal(frame.collect(), pl.DataFrame({"well": WELLS, "area": AREAS}))
    mean = frame.group_by("well").agg(pl.col("area").mean()).sort("well").collect()
    assert mean["area"].to_list() == [3.0, 2.0, None]


def test_filters(source: Any) -> None:
    t = lt.open_ome_arrow(source)
    some = t.filter(pl.col("well") == "A01")
    assert len(some) == 3 and len(t) == 5
    np.testing.assert_array_equal(some[-1].collect(), IMAGES[4])
    with pytest.raises(KeyError, match=r"2, 'ome_arrow'"):  # its number in the file
        some[1]
    assert_frame_equal(
        some.frame.collect(), pl.DataFrame({"well": ["A01"] * 3, "area": [1.0, 3.0, 5.0]})
    )
    fewer = some.filter(pl.col("area") != 3)
    assert fewer.shapes["row"].unique().to_list() == [0, 4]
    np.testing.assert_array_equal(fewer.stack().collect(), np.stack([IMAGES[0], IMAGES[4]]))
    assert len(t.filter(pl.col("area") > 1, well="A01")) == 2
    assert len(t.filter(pl.col("area") > pl.col("area").mean())) == 2
    # Of what is left by then: the mean of 1, 3, 5.
    assert len(some.filter(pl.col("area") >= pl.col("area").mean())) == 2
    assert len(t.filter(pl.lit(False))) == 0 and len(t.filter(pl.lit(True))) == 5
    assert len(t.filter([True, False, True, False, False])) == 2
    nobody = t.filter(pl.col("well") == "H12")
    assert list(nobody) == [] and nobody.frame.collect().height == 0
    assert nobody.shapes.height == 0 and len(nobody.filter(pl.col("area") > 0)) == 0
    with pytest.raises(lt.ShapeError, match="no rows"):
        nobody.stack()
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        t.filter(pl.col("nothing") == 1)
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        t.filter(pl.col("ome_arrow").is_null())  # which is not in the frame


def test_slices(source: Any) -> None:
    t = lt.open_ome_arrow(source)
    assert len(t[1:4]) == 3 and t[::-2].shapes["row"].unique(maintain_order=True).to_list() == [
        4, 2, 0,
    ]  # fmt: skip
    assert t[::-1].frame.collect()["well"].to_list() == WELLS[::-1]
    np.testing.assert_array_equal(t[::-1].filter(pl.col("area") == 5)[0].collect(), IMAGES[4])
    assert len(t[9:]) == 0


def test_shapes(source: Any) -> None:
    found = lt.open_ome_arrow(source).shapes
    assert found.columns == [
        "row", "column", "size_t", "size_c", "size_z", "size_y", "size_x", "dtype",
    ]  # fmt: skip
    assert found["row"].to_list() == [row for row in range(5) for _ in range(2)]
    expected = [
        (row, name, *(values.shape if values is not None else (None,) * 5),
         None if values is None else values.dtype.name)
        for row in range(5)
        for name, values in (("ome_arrow", IMAGES[row]), ("label", LABELS[row]))
    ]  # fmt: skip
    assert found.rows() == expected


def test_stack(source: Any) -> None:
    t = lt.open_ome_arrow(source)
    labels = t.stack("label")
    assert labels.dims == ("row", "t", "c", "z", "y", "x") and labels.shape == (5, 1, 1, 1, 4, 4)
    np.testing.assert_array_equal(labels.collect(), np.stack(LABELS))
    np.testing.assert_array_equal(labels[::2, ..., 1].collect(), np.stack(LABELS)[::2, ..., 1])
    with pytest.raises(KeyError, match=r"2, 'ome_arrow'"):
        t.stack()
    with pytest.raises(lt.ShapeError) as raised:
        t.filter(pl.col("well") != "A01").stack()
    assert "[1, 'ome_arrow']" in str(raised.value) and "[3, 'ome_arrow']" in str(raised.value)


def test_a_stack_of_dtypes() -> None:
    mixed = [record(LABELS[0]), record(LABELS[1].astype("u2"))]
    with pytest.raises(lt.DTypeError) as raised:
        lt.open_ome_arrow(table(mixed)).stack()
    assert "[0, 'ome_arrow']" in str(raised.value) and "[1, 'ome_arrow']" in str(raised.value)


def test_a_stack_of_a_folder() -> None:
    files = dataset({"a": LABELS[0], "b": LABELS[1], "c": IMAGES[0]})
    t = lt.open_ome_arrow(files)
    np.testing.assert_array_equal(t[:2].stack().collect(), np.stack(LABELS[:2]))
    with pytest.raises(lt.ShapeError, match=r"'a'.*'c'"):
        t.stack()
    chosen = t.filter(pl.col("image_id").is_in(["a", "c"]))
    assert len(chosen) == 2 and chosen.shapes["row"].to_list() == [0, 2]
    assert "channels_json" in t.frame.collect_schema().names()


def test_several_columns_and_none_that_is_meant() -> None:
    made = whole().rename_columns(["well", "area", "image", "label"])
    t = lt.open_ome_arrow(made)
    with pytest.raises(lt.FormatError, match=r"'image', 'label'"):
        t[0]
    with pytest.raises(lt.FormatError, match=r"'image', 'label'"):
        next(iter(t))
    assert t[0, "label"].shape == LABELS[0].shape
    assert lt.open_ome_arrow(made, column="label")[0].shape == LABELS[0].shape
    with pytest.raises(lt.FormatError, match="'nothing'"):
        lt.open_ome_arrow(made, column="nothing")


def test_a_table_of_nothing_but_images() -> None:
    t = lt.open_ome_arrow(table(of_images(LABELS)))
    assert t.frame.collect().width == 0
    assert len(t.filter(pl.lit(True))) == 5 and len(t.filter(pl.lit(False))) == 0


def test_a_column_called_row() -> None:
    t = lt.open_ome_arrow(table(of_images(LABELS), row=[5, 6, 7, 8, 9], row_=[0] * 5))
    kept = t.filter(pl.col("row") > 7)
    assert kept.shapes["row"].to_list() == [3, 4]
    assert kept.frame.collect()["row"].to_list() == [8, 9]


def test_names_of_columns() -> None:
    """Dots and odd letters are names."""
    made = table(
        of_images(LABELS), column="img.raw", **{"a.b": [1, 2, 3, 4, 5], "ü": list("abcde")}
    )
    t = lt.open_ome_arrow(parquet(made))
    assert t.columns == ("img.raw",)
    assert len(t.filter(pl.col("a.b") > 3)) == 2
    np.testing.assert_array_equal(t.filter(pl.col("ü") == "c")[0].collect(), LABELS[2])


def test_fill_value() -> None:
    broken = record(IMAGES[3])
    key = "chunks" if broken.get("chunks") else "planes"
    broken[key] = broken[key][1:]
    t = lt.open_ome_arrow(table([broken]), fill_value=7)
    assert (t[0].collect() == 7).any() and (t.stack().collect() == 7).any()
    with pytest.raises(lt.FormatError, match="missing"):
        lt.open_ome_arrow(table([broken]))[0].collect()


def test_filtering_reads_no_pixel() -> None:
    """Nor a column that is not asked for."""
    crops = [record(image((1, 1, 1, 128, 128), seed=n), encoded=True) for n in range(32)]
    texts = ["".join(chr(97 + (n * k) % 26) for k in range(4000)) for n in range(32)]
    made = table(crops, BYTES, number=list(range(32)), text=texts)
    data = parquet(
        made, row_group_size=4, compression="none", use_dictionary=False, write_statistics=False
    )
    store = CountingStore({"x.parquet": data})
    t = lt.open_ome_arrow(store)
    opened = store.bytes
    assert opened <= 128 << 10 < len(data)
    store.reset()
    kept = t.filter(pl.col("number") >= 28)
    assert len(kept) == 4 and store.bytes < 16 << 10
    assert kept.frame.select("number").collect().height == 4 and store.bytes < 32 << 10
    store.reset()
    assert t.shapes.height == 32 and store.bytes < 128 << 10
    store.reset()
    np.testing.assert_array_equal(kept[1].collect(), image((1, 1, 1, 128, 128), seed=29))
    assert store.bytes < 5 * 2 * 128 * 128  # its row group has four


def test_pickling(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(parquet(whole(), row_group_size=2))
    for source in (path, whole()):
        t = lt.open_ome_arrow(source, fill_value=1).filter(pl.col("well") == "A01")
        again = pickle.loads(pickle.dumps(t))
        assert len(again) == 3 and repr(again) == repr(t)
        np.testing.assert_array_equal(again[2].collect(), IMAGES[4])
        assert again.frame.collect().height == 3


def test_repr() -> None:
    t = lt.open_ome_arrow(whole())
    assert "5 rows" in repr(t) and "'ome_arrow', 'label'" in repr(t)
    assert "3 of 5 rows" in repr(t.filter(pl.col("well") == "A01"))
    with pytest.raises(TypeError, match="open_ome_arrow"):
        lt.OmeArrowTable()


def test_threads(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(parquet(whole(), row_group_size=1))
    t = lt.open_ome_arrow(path)

    def read(number: int) -> bool:
        row = (0, 1, 3, 4)[number % 4]
        kept = t.filter(pl.col("well") == WELLS[row])
        return bool(
            (t[row].collect() == IMAGES[row]).all() and len(kept) == WELLS.count(WELLS[row])
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(32)))
