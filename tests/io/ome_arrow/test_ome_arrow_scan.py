"""Which image is meant: by row, column and id, in files, folders and memory; and by ``lt.scan``."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import lazytensor as lt
from lazytensor.cli import main
from lazytensor.io.store_counting import CountingStore
from tests.io.ome_arrow.ome_arrow_files import (
    BYTES,
    INFERRED,
    dataset,
    image,
    ipc,
    packed,
    parquet,
    record,
    table,
)

IMAGES = [image(seed=0), image((1, 2, 1, 4, 6), seed=1), image((1, 1, 1, 3, 3), seed=2)]
RECORDS = [record(values) | {"id": f"id {n}"} for n, values in enumerate(IMAGES)]
ROWS = [RECORDS[0], None, RECORDS[1], RECORDS[2]]
TABLE = table(ROWS, well=["A01", "A01", "B02", "B03"])
TWO = TABLE.append_column("label", TABLE.column("ome_arrow").take([3, 2, 1, 0]))
NEITHER = TWO.rename_columns(["well", "image", "label"])
ONE = packed(IMAGES[0])


def of_row(row: int) -> np.ndarray:
    return IMAGES[row - (row > 1)]


@pytest.mark.parametrize("row", [0, 2, 3, -1, -4, np.int64(2)])
def test_rows(row: int) -> None:
    x = lt.scan_ome_arrow(parquet(TABLE, row_group_size=2), row=row)
    np.testing.assert_array_equal(x.collect(), of_row(int(row) % 4))


@pytest.mark.parametrize("row", [4, -5, 1 << 70])
def test_rows_that_there_are_not(row: int) -> None:
    for source in (parquet(TABLE), TABLE, dataset(IMAGES)):
        with pytest.raises(lt.OutOfBoundsError, match=r"[34] rows"):
            lt.scan_ome_arrow(source, row=row)


@pytest.mark.parametrize("row", [1.0, "1", None])
def test_rows_that_are_no_numbers(row: Any) -> None:
    with pytest.raises(TypeError):
        lt.scan_ome_arrow(TABLE, row=row)


def test_null_rows() -> None:
    for source in (TABLE, parquet(TABLE), ipc(TABLE)):
        with pytest.raises(lt.SourceNotFoundError, match=r"1, 'ome_arrow'.*null") as raised:
            lt.scan_ome_arrow(source, row=1)
        assert isinstance(raised.value, KeyError)


def test_columns() -> None:
    np.testing.assert_array_equal(lt.scan_ome_arrow(TWO).collect(), IMAGES[0])
    x = lt.scan_ome_arrow(TWO, column="label", row=3)
    np.testing.assert_array_equal(x.collect(), IMAGES[0])
    with pytest.raises(lt.FormatError, match=r"'image', 'label'"):
        lt.scan_ome_arrow(NEITHER)
    with pytest.raises(lt.FormatError, match="'well'"):
        lt.scan_ome_arrow(TWO, column="well")
    with pytest.raises(lt.FormatError, match="'nothing'"):
        lt.scan_ome_arrow(TWO, column="nothing")
    with pytest.raises(lt.FormatError, match="'label'"):
        lt.scan_ome_arrow(dataset(IMAGES), column="label")
    assert lt.scan_ome_arrow(dataset(IMAGES), column="ome_arrow").shape == IMAGES[0].shape


@pytest.mark.parametrize("pack", [parquet, ipc])
def test_tables_without_images(pack: Callable[[pa.Table], bytes]) -> None:
    plain = pack(pa.table({"well": ["A01"], "area": [3.0]}))
    for call in (lt.scan_ome_arrow, lt.open_ome_arrow, lt.scan):
        with pytest.raises(lt.FormatError, match=r"'well', 'area'"):
            call(plain)


def test_ids() -> None:
    for source in (TABLE, parquet(TABLE), ipc(TABLE, rows=1)):
        x = lt.scan_ome_arrow(source, image_id="id 1")
        np.testing.assert_array_equal(x.collect(), IMAGES[1])
        with pytest.raises(lt.SourceNotFoundError, match="'nobody'") as raised:
            lt.scan_ome_arrow(source, image_id="nobody")
        assert isinstance(raised.value, KeyError)
    with pytest.raises(ValueError, match="image_id"):
        lt.scan_ome_arrow(TABLE, row=2, image_id="id 1")
    with pytest.raises(lt.FormatError, match="rows 0 and 1"):
        lt.scan_ome_arrow(table([RECORDS[0], RECORDS[0]]), image_id="id 0")


def test_layouts() -> None:
    (t, c, z, y, x), values = IMAGES[0].shape, IMAGES[0]
    assert lt.scan_ome_arrow(ONE, layout="zyxct").shape == (z, y, x, c, t)
    found = lt.scan_ome_arrow(ONE, layout="TZCHW").collect()
    np.testing.assert_array_equal(found, values.transpose(0, 2, 1, 3, 4))
    small = packed(IMAGES[2])
    assert lt.scan_ome_arrow(small, layout="YX").dims == ("y", "x")
    np.testing.assert_array_equal(
        lt.scan_ome_arrow(small, layout="XY").collect(), IMAGES[2][0, 0, 0].T
    )
    with pytest.raises(lt.ShapeError, match="T"):
        lt.scan_ome_arrow(ONE, layout="CZYX")
    for layout in ("TCZYXX", "TCZYQ", "TCZYHX"):
        with pytest.raises(ValueError, match=layout):
            lt.scan_ome_arrow(ONE, layout=layout)


MEMORY: dict[str, Callable[[], Any]] = {
    "table": lambda: TABLE,
    "batch": lambda: TABLE.combine_chunks().to_batches()[0],
    "chunked": lambda: TABLE.column("ome_arrow"),
    "array": lambda: TABLE.column("ome_arrow").combine_chunks(),
    "reader": lambda: TABLE.to_reader(),
    "polars": lambda: pl.from_arrow(TABLE),
    "lazy": lambda: pl.from_arrow(TABLE).lazy(),
    "series": lambda: pl.from_arrow(TABLE)["ome_arrow"],
}


@pytest.mark.parametrize("kind", MEMORY)
def test_in_memory(kind: str) -> None:
    x = lt.scan_ome_arrow(MEMORY[kind](), row=2)
    np.testing.assert_array_equal(x.collect(), IMAGES[1])
    with pytest.raises(lt.SerializationError):
        x.serialize()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(x)).collect(), IMAGES[1])
    with pytest.raises(lt.FormatError, match="4 rows"):
        lt.scan(MEMORY[kind]())


def test_one_value_in_memory() -> None:
    for one in (TABLE.column("ome_arrow")[0], RECORDS[0]):
        for scan in (lt.scan, lt.scan_ome_arrow):
            np.testing.assert_array_equal(scan(one).collect(), IMAGES[0])


NAMES = ["x.parquet", "x.arrow", "x.feather", "x.bin", "x"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pack", ["parquet", "ipc", "stream"])
def test_scan_of_a_file(name: str, pack: str, tmp_path: Path) -> None:
    one = table([RECORDS[1]])
    data = {"parquet": parquet, "ipc": ipc, "stream": lambda t: ipc(t, stream=True)}[pack](one)
    (tmp_path / name).write_bytes(data)
    memory = f"memory://o4-scan/{pack}/{name}"
    fsspec.filesystem("memory").pipe_file(memory, data)
    sources: list[Any] = [tmp_path / name, str(tmp_path / name), data, memoryview(data)]
    if name not in ("x", "x.bin"):  # of a URL the name is all there is
        sources += [memory, (fsspec.filesystem("memory"), f"/o4-scan/{pack}/{name}")]
    for source in sources:
        np.testing.assert_array_equal(lt.scan(source).collect(), IMAGES[1])
    np.testing.assert_array_equal(lt.scan_ome_arrow(memory).collect(), IMAGES[1])


def test_scan_of_a_folder(tmp_path: Path) -> None:
    for name, data in dataset([IMAGES[0]]).items():
        (tmp_path / name).write_bytes(data)
    np.testing.assert_array_equal(lt.scan(tmp_path).collect(), IMAGES[0])
    np.testing.assert_array_equal(lt.scan(dataset([IMAGES[0]])).collect(), IMAGES[0])


@pytest.mark.parametrize("source", [TABLE, TWO, parquet(TABLE), dataset(IMAGES)])
def test_scan_of_several(source: Any) -> None:
    with pytest.raises(lt.FormatError, match=r"[34] rows.*open_ome_arrow"):
        lt.scan(source)
    np.testing.assert_array_equal(lt.scan(source, row=-1).collect(), IMAGES[2])
    with pytest.raises(lt.FormatError, match=r"'image', 'label'.*open_ome_arrow"):
        lt.scan(NEITHER.slice(0, 1))
    x = lt.scan(NEITHER.slice(0, 1), column="image")
    np.testing.assert_array_equal(x.collect(), IMAGES[0])


def test_vortex_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.vortex"
    path.write_bytes(b"VTXF" + bytes(100) + b"VTXF")
    for call in (lt.scan, lt.scan_ome_arrow, lt.open_ome_arrow):
        with pytest.raises(lt.FormatError, match=r"Vortex.*Parquet"):
            call(path)
        with pytest.raises(lt.FormatError, match="Vortex"):
            call(path.read_bytes())


def test_nothing_there(tmp_path: Path) -> None:
    for call in (lt.scan, lt.scan_ome_arrow, lt.open_ome_arrow):
        for source in (tmp_path / "no.parquet", str(tmp_path / "no.ome-arrow"),
                       "memory://o4-nothing/x.parquet", "memory://o4-nothing/x.ome-arrow",
                       ({"a.parquet": b""}, "b.parquet")):  # fmt: skip
            if call is lt.scan and isinstance(source, tuple):
                continue
            with pytest.raises(lt.SourceNotFoundError):
                call(source)


def test_folders_of_several_tables(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(ONE)
    np.testing.assert_array_equal(lt.scan_ome_arrow(tmp_path).collect(), IMAGES[0])
    (tmp_path / "readme.txt").write_text("one table")
    np.testing.assert_array_equal(lt.scan_ome_arrow(tmp_path).collect(), IMAGES[0])
    (tmp_path / "b.parquet").write_bytes(ONE)
    with pytest.raises(lt.FormatError, match=r"'a\.parquet', 'b\.parquet'"):
        lt.scan_ome_arrow(tmp_path)
    np.testing.assert_array_equal(lt.scan_ome_arrow((tmp_path, "b.parquet")).collect(), IMAGES[0])
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("in/one.parquet", ONE)
    np.testing.assert_array_equal(lt.scan_ome_arrow(tmp_path / "x.zip").collect(), IMAGES[0])
    with pytest.raises(lt.SourceError):
        lt.scan_ome_arrow({})


@pytest.mark.parametrize("source", [3, None, 1.5, object(), [1, 2], np.zeros((2, 3))])
def test_what_is_no_source(source: Any) -> None:
    with pytest.raises((TypeError, lt.FormatError)):
        lt.scan_ome_arrow(source)


def test_documents(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(parquet(TWO, row_group_size=1))
    for options in ({"row": 2}, {"row": -1, "fill_value": 9}, {"column": "label", "row": 3}):
        x = lt.scan_ome_arrow(path, **options)[..., 1:, :]
        document = x.serialize()
        again = lt.LazyTensor.deserialize(document)
        np.testing.assert_array_equal(again.collect(), x.collect())
        assert again.serialize() == document
    arrow = tmp_path / "x.arrow"
    arrow.write_bytes(ipc(TABLE))
    x = lt.scan_ome_arrow(arrow, row=3, mmap=True)
    assert '"mmap": true' in x.serialize() or '"mmap":true' in x.serialize()
    np.testing.assert_array_equal(lt.LazyTensor.deserialize(x.serialize()).collect(), IMAGES[2])
    stack = lt.open_ome_arrow(arrow)[::3].filter(pl.col("well") == "A01").stack()
    np.testing.assert_array_equal(lt.LazyTensor.deserialize(stack.serialize()).collect()[0],
                                  IMAGES[0])  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [{"uri": 3}, {"key": None}, {"row": 1.5}, {"row": True}, {"column": 4}, {"mmap": "yes"},
     {"rows": "all"}, {"rows": [0.5]}],
)  # fmt: skip
def test_documents_that_make_no_sense(changes: dict[str, Any], tmp_path: Path) -> None:
    from lazytensor.plan.registry import open_source

    path = tmp_path / "x.parquet"
    path.write_bytes(ONE)
    good = {"format": "ome-arrow", "uri": str(tmp_path), "key": "x.parquet", "row": 0}
    assert open_source(good).spec.shape == IMAGES[0].shape
    with pytest.raises(lt.SerializationError):
        open_source({**good, **changes})


def test_info_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(ONE)
    assert main(["info", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "uint16" in shown and "ome-arrow" in shown
    assert main(["info", "--json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["shape"] == list(IMAGES[0].shape)
    path.write_bytes(parquet(TABLE))
    assert main(["info", str(path)]) == 0
    assert f"rows           {TABLE.num_rows}" in capsys.readouterr().out
    assert main(["explain", str(path)]) == 2
    assert "open_ome_arrow" in capsys.readouterr().err


def test_metadata_alone_is_read() -> None:
    """Scanning one row of a table reads no pixel, and reading it none of other row groups."""
    big = [record(image((1, 1, 1, 256, 256), seed=n), encoded=True) for n in range(8)]
    store = CountingStore({"x.parquet": parquet(table(big, BYTES), row_group_size=1)})
    x = lt.scan_ome_arrow(store, row=2)
    scanned = store.bytes
    assert scanned < 200_000  # of 1 MB: the footer's read is 64 KiB at once
    np.testing.assert_array_equal(x.collect(), image((1, 1, 1, 256, 256), seed=2))
    assert store.bytes - scanned < 300_000


def test_inferred_types() -> None:
    np.testing.assert_array_equal(
        lt.scan(parquet(table([RECORDS[0]], INFERRED))).collect(), IMAGES[0]
    )


def test_bytes_of_other_kinds() -> None:
    for data in (bytearray(ONE), memoryview(ONE), np.frombuffer(ONE, np.uint8), pa.py_buffer(ONE)):
        np.testing.assert_array_equal(lt.scan_ome_arrow(data).collect(), IMAGES[0])
    with pytest.raises(TypeError):
        lt.scan_ome_arrow(io.StringIO("x"))
