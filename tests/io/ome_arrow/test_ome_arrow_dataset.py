"""Folders with a table of images and a table of chunks: what is read of them, and believed."""

from __future__ import annotations

import json
import os
import pickle
import threading
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lazytensor as lt
from lazytensor.io.ome_arrow import dataset_units
from lazytensor.io.ome_arrow.dataset import EXTRA_KEY
from lazytensor.io.store_counting import CountingStore
from tests.io.ome_arrow import ome_arrow_files as files_of
from tests.io.ome_arrow.ome_arrow_files import boxes, image, parquet
from tests.io.servers import serving

A, B = image((2, 3, 3, 8, 11), "u2"), image((1, 1, 2, 4, 4), "f4", seed=1)
FOLDER = {"a": A, "b": B}
CHUNK = (1, 1, 2, 4, 6)
Files = dict[str, bytes]


def dataset(images: Mapping[str, np.ndarray], chunk: Any = CHUNK, **options: Any) -> Files:
    return files_of.dataset(images, chunk, **options)


def check(source: Any, images: Mapping[str, np.ndarray] = FOLDER, **options: Any) -> None:
    """Every image is what was written: all of it, a box, and in the rows of the table."""
    opened = lt.open_ome_arrow(source, **options)
    assert len(opened) == len(images)
    for row, (name, values) in enumerate(images.items()):
        x = lt.scan_ome_arrow(source, image_id=name, **options)
        assert x.dims == ("t", "c", "z", "y", "x") and x.dtype == values.dtype
        np.testing.assert_array_equal(x.collect(), values)
        np.testing.assert_array_equal(opened[row][..., 1:3, ::2].collect(), values[..., 1:3, ::2])
        np.testing.assert_array_equal(lt.scan_ome_arrow(source, row=row).collect(), values)


def on_disk(files: Files, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("dtype", ["bool", "u1", "i1", "u8", "f2", "f8", "c8", "c16"])
@pytest.mark.parametrize("chunk", [(1, 1, 1, 8, 11), (2, 3, 3, 8, 11), (2, 2, 3, 4, 5)])
@pytest.mark.parametrize("index", [True, False])
def test_dtypes_and_chunks(dtype: str, chunk: tuple[int, ...], index: bool) -> None:
    check(dataset({"x": image(A.shape, dtype)}, chunk, index=index), {"x": image(A.shape, dtype)})


@pytest.mark.parametrize("group", [1, 3, 1000])
@pytest.mark.parametrize("index", [True, False])
def test_row_groups(group: int, index: bool) -> None:
    check(dataset(FOLDER, group=group, index=index))


def zipped(files: Files, path: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in files.items():
            file.writestr(prefix + name, data)
    return path


def in_memory_fs(files: Files, name: str) -> str:
    for key, data in files.items():
        fsspec.filesystem("memory").pipe_file(f"memory://{name}/{key}", data)
    return f"memory://{name}"


PLACES: dict[str, Callable[[Files, Path], Any]] = {
    "dict": lambda files, _: files,
    "key in a dict": lambda files, _: ({f"a/b/{k}": v for k, v in files.items()}, "a/b"),
    "path": lambda files, folder: on_disk(files, folder / "x.ome-arrow"),
    "text": lambda files, folder: str(on_disk(files, folder / "x.ome-arrow")) + "/",
    "folder called as a file": lambda files, folder: on_disk(files, folder / "x.ome.parquet"),
    "file URL": lambda files, folder: f"file://{on_disk(files, folder / 'x.ome-arrow')}",
    "fs": lambda files, folder: (
        fsspec.filesystem("file"),
        str(on_disk(files, folder / "x.ome.parquet")),
    ),
    "zip": lambda files, folder: zipped(files, folder / "x.zip"),
    "zip of a folder": lambda files, folder: zipped(files, folder / "x.zip", "x.ome-arrow/"),
    "URL": lambda files, _: in_memory_fs(files, "o4-url/x.ome-arrow"),
    "URL without a name": lambda files, _: in_memory_fs(files, "o4-url/plain"),
    "URL called as a file": lambda files, _: in_memory_fs(files, "o4-url/x.ome.parquet"),
}


@pytest.mark.parametrize("place", PLACES)
def test_places(place: str, tmp_path: Path) -> None:
    check(PLACES[place](dataset(FOLDER), tmp_path))
    one = dataset({"only": B})
    source = PLACES[place](one, tmp_path)
    if place != "key in a dict":  # which zarr takes for (store, path)
        np.testing.assert_array_equal(lt.scan(source).collect(), B)


def test_a_mapped_folder(tmp_path: Path) -> None:
    check(on_disk(dataset(FOLDER), tmp_path / "x"), mmap=True)


def test_scanning_reads_no_chunk() -> None:
    """And a plane no chunk but its own."""
    planes = image((1, 2, 4, 256, 256))
    files = dataset({"x": planes}, (1, 1, 1, 256, 256))
    store = CountingStore(files)
    x = lt.scan_ome_arrow(store)
    opened = lt.open_ome_arrow(store)
    assert opened.shapes["size_z"].to_list() == [4] and opened.frame.collect().height == 1
    of_chunks = [entry for entry in store.log if entry[1] == "chunks.parquet"]
    assert sum(end - start for _, _, start, end in of_chunks) <= 8  # how it ends
    store.reset()
    np.testing.assert_array_equal(x[0, 1, 1].collect(), planes[0, 1, 1])
    meta = pq.ParquetFile(pa.BufferReader(files["chunks.parquet"])).metadata
    places = [_pixels_of(meta, group) for group in range(meta.num_row_groups)]
    touched = {
        number
        for _, key, start, end in store.log
        for number, (first, last) in enumerate(places)
        if key == "chunks.parquet" and start < last and end > first
    }
    assert touched <= {5, 7} and 5 in touched  # what the file ends with is read at once


def _pixels_of(meta: Any, group: int) -> tuple[int, int]:
    chunk = meta.row_group(group).column(meta.row_group(group).num_columns - 1)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    return start, start + chunk.total_compressed_size


def swapped(rows: Any) -> None:
    """Chunks 1 and 4 have changed places since the index was written."""
    chunks = rows["chunks"]
    chunks[1], chunks[4] = chunks[4], chunks[1]


def moved_ids(rows: Any) -> None:
    for row in rows["index"]:
        row["chunk_id"] += 7


def all_in_the_first_group(rows: Any) -> None:
    for row in rows["index"]:
        row["row_group_id"] = 0


def reversed_chunks(rows: Any) -> None:
    rows["chunks"].reverse()


@pytest.mark.parametrize("change", [swapped, moved_ids, all_in_the_first_group, reversed_chunks])
@pytest.mark.parametrize("group", [1, 3])
def test_an_index_that_is_stale(change: Callable[[Any], None], group: int) -> None:
    check(dataset(FOLDER, change=change, group=group))


@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.parametrize("chunk", [(1, 2, 3, 4, 4), (2, 3, 3, 8, 11), (1, 1, 1, 1, 11)])
def test_an_index_of_other_chunks(chunk: tuple[int, ...], group: int) -> None:
    """The chunks were written anew with other extents, the index is that of before."""
    now, before = dataset(FOLDER, chunk, group=group), dataset(FOLDER, group=group)
    check(now | {"index.parquet": before["index.parquet"]})


def test_an_index_of_chunks_of_which_some_are_gone() -> None:
    def change(rows: Any) -> None:
        del rows["chunks"][3]

    files = dataset(FOLDER, change=change)
    x = lt.scan_ome_arrow(files, image_id="a")
    with pytest.raises(lt.FormatError, match=r"missing.*fill_value"):
        x.collect()
    hole = list(boxes(A.shape, CHUNK))[3]
    other = list(boxes(A.shape, CHUNK))[7]
    np.testing.assert_array_equal(x[other].collect(), A[other])
    filled = A.copy()
    filled[hole] = 77
    np.testing.assert_array_equal(
        lt.scan_ome_arrow(files, image_id="a", fill_value=77).collect(), filled
    )
    np.testing.assert_array_equal(lt.open_ome_arrow(files, fill_value=77)[0].collect(), filled)


def test_an_index_that_does_not_know_of_an_image() -> None:
    """Images were added by a writer that leaves an index alone."""
    both, first = dataset(FOLDER), dataset({"a": A})
    check(both | {"index.parquet": first["index.parquet"]})


def test_a_chunk_of_another_dtype_than_its_image() -> None:
    def change(rows: Any) -> None:
        rows["chunks"][2]["dtype"] = "int16"

    for index in (True, False):
        x = lt.scan_ome_arrow(dataset(FOLDER, change=change, index=index), image_id="a")
        with pytest.raises(lt.FormatError, match=r"'int16'.*'uint16'"):
            x.collect()
        np.testing.assert_array_equal(x[1].collect(), A[1])


def in_fragments(names: tuple[str, str], **more: bytes) -> Files:
    """Chunks in two files, one after the other in turn."""
    files = dataset(FOLDER)
    chunks = pq.read_table(pa.BufferReader(files["chunks.parquet"]))
    index = pq.read_table(pa.BufferReader(files["index.parquet"])).to_pylist()
    del files["chunks.parquet"]
    for number, name in enumerate(names):
        rows = np.arange(number, len(chunks), 2)
        files[name] = parquet(chunks.take(rows), row_group_size=1)
        for group, row in enumerate(rows):
            index[row] |= {"fragment_path": name, "row_group_id": group}
    schema = pq.read_schema(pa.BufferReader(dataset(FOLDER)["index.parquet"]))
    files["index.parquet"] = parquet(pa.Table.from_pylist(index, schema=schema))
    return files | more


def test_fragments() -> None:
    check(in_fragments(("chunks.parquet", "parts/more.parquet")))
    stale = in_fragments(("chunks.parquet", "parts/more.parquet"))
    other = in_fragments(("parts/more.parquet", "chunks.parquet"))
    check(stale | {name: other[name] for name in ("chunks.parquet", "parts/more.parquet")})


@pytest.mark.parametrize(
    "path",
    ["../b.parquet", "/b.parquet", "a/../../b.parquet", "..", ".", "", "a\\b", "C:/b", "file:///b",
     "a\0b", "a//b", "memory://b"],
)  # fmt: skip
def test_fragments_that_lead_out_of_the_folder(path: str, tmp_path: Path) -> None:
    """Whatever lies there is not read."""

    def change(rows: Any) -> None:
        for row in rows["index"]:
            row["fragment_path"] = path

    files = dataset(FOLDER, change=change)
    folder = on_disk(files, tmp_path / "x.ome-arrow")
    (tmp_path / "b.parquet").write_bytes(files["chunks.parquet"])
    for source in (files, folder):
        with pytest.raises(lt.FormatError, match="fragment_path"):
            lt.scan_ome_arrow(source, image_id="a")


def test_what_lies_beside_the_pixels_is_compared_once(tmp_path: Path, monkeypatch: Any) -> None:
    folder = on_disk(dataset(FOLDER), tmp_path / "x")
    calls: list[int] = []
    plain = dataset_units.ChunkUnits._prove

    def counted(self: Any, number: int, group: int, fragment: int) -> None:
        calls.append(number)
        plain(self, number, group, fragment)

    monkeypatch.setattr(dataset_units.ChunkUnits, "_prove", counted)
    for _ in range(3):
        np.testing.assert_array_equal(lt.scan_ome_arrow(folder, image_id="b").collect(), B)
    assert len(calls) == len(set(calls)) > 0


def test_another_file_by_now(tmp_path: Path) -> None:
    folder = on_disk(dataset(FOLDER), tmp_path / "x")
    x = lt.scan_ome_arrow(folder, image_id="a")
    changed = dataset({"a": A + 1, "b": B})
    (folder / "chunks.parquet").write_bytes(changed["chunks.parquet"])
    os.utime(folder / "chunks.parquet", ns=(1, 1))
    with pytest.raises(lt.SourceChangedError):
        x.collect()
    np.testing.assert_array_equal(lt.scan_ome_arrow(folder, image_id="a").collect(), A + 1)
    again = lt.scan_ome_arrow(folder, image_id="a")
    (folder / "chunks.parquet").unlink()
    with pytest.raises(lt.SourceNotFoundError):
        again.collect()


def with_extra(files: Files, extra: Any) -> Files:
    images = pq.read_table(pa.BufferReader(files["images.parquet"]))
    text = extra if isinstance(extra, bytes) else json.dumps(extra).encode()
    named = images.replace_schema_metadata({**images.schema.metadata, EXTRA_KEY: text})
    return files | {"images.parquet": parquet(named)}


AXES = [
    {"name": "t", "kind": "time", "unit": "second", "scale": 0.5, "offset": 10.0, "labels": None},
    {"name": "c", "kind": "channel", "labels": ["DAPI", "ER", "RNA"]},
    {"name": "z", "kind": "space", "unit": "micrometer", "scale": 2.0},
    {"name": "y", "kind": "space", "unit": "micrometer", "scale": 0.25, "offset": -1.0},
    {"name": "x"},
]


def test_what_the_format_has_no_columns_for() -> None:
    extra = {"a": {"axes": AXES, "attrs": {"stain": [1, {"k": None}]}, "origin": [0, 0, -3, 5, 7]}}
    files = with_extra(dataset(FOLDER), extra)
    x = lt.scan_ome_arrow(files, image_id="a")
    assert x.axes == (
        lt.Axis("t", "time", "second", 0.5, 10.0),
        lt.Axis("c", "channel", labels=("DAPI", "ER", "RNA")),
        lt.Axis("z", "space", "micrometer", 2.0),
        lt.Axis("y", "space", "micrometer", 0.25, -1.0),
        lt.Axis("x"),
    )
    assert x.origin == (0, 0, -3, 5, 7)
    np.testing.assert_array_equal(x.collect(), A)
    assert x.attrs["stain"] == [1, {"k": None}] and x.attrs["id"] == "a"
    assert lt.scan_ome_arrow(files, image_id="b").origin == (0,) * 5
    assert lt.open_ome_arrow(files)[0].axes == x.axes


def test_channels_by_the_columns_of_the_format() -> None:
    x = lt.scan_ome_arrow(dataset(FOLDER), image_id="a")
    assert x.axes[1] == lt.Axis("c", "channel", labels=("C0", "C1", "C2"))


@pytest.mark.parametrize(
    "extra",
    [
        b"{", b"[]", {"a": 3}, {"a": {"axes": []}}, {"a": {"axes": [1] * 5}},
        {"a": {"axes": [*AXES[:4], {"scale": "1"}]}}, {"a": {"origin": [0] * 4}},
        {"a": {"origin": [0, 0, 0, 0, 1.5]}}, {"a": {"origin": [0, 0, 0, 0, 2**63]}},
        {"a": {"attrs": []}}, {"a": {"axes": [*AXES[:4], {"labels": ["only one"]}]}},
    ],
)  # fmt: skip
def test_what_the_format_has_no_columns_for_and_makes_no_sense(extra: Any) -> None:
    with pytest.raises(lt.FormatError, match=r"lazytensor\.images"):
        lt.scan_ome_arrow(with_extra(dataset(FOLDER), extra), image_id="a")


@pytest.mark.parametrize("text", ["{", "3", '{"a": 1}'])
def test_channels_that_are_no_json(text: str) -> None:
    def change(rows: Any) -> None:
        rows["images"][0]["channels_json"] = text

    with pytest.raises(lt.FormatError, match="channels_json"):
        lt.scan_ome_arrow(dataset(FOLDER, change=change), image_id="a")


def test_columns_that_are_missing() -> None:
    files = dataset(FOLDER)
    for table, column in [("images", "image_id"), ("images", "size_y"), ("images", "dtype"),
                          ("chunks", "pixel_bytes"), ("chunks", "image_id"),
                          ("chunks", "shape_t")]:  # fmt: skip
        made = pq.read_table(pa.BufferReader(files[f"{table}.parquet"])).drop_columns(column)
        less = files | {f"{table}.parquet": parquet(made, row_group_size=1)}
        with pytest.raises(lt.FormatError, match=column):
            lt.scan_ome_arrow(less, image_id="a").collect()


@pytest.mark.parametrize("column", ["chunk_id", "dtype"])
def test_columns_that_may_be_missing(column: str) -> None:
    files = dataset(FOLDER)
    made = pq.read_table(pa.BufferReader(files["chunks.parquet"])).drop_columns(column)
    less = files | {"chunks.parquet": parquet(made, row_group_size=1)}
    check(less)
    del less["index.parquet"]
    check(less)


def test_types_of_other_writers() -> None:
    """Large strings, dictionaries, wide integers, views: known by name."""
    files = dataset(FOLDER)
    for name in ("images.parquet", "chunks.parquet", "index.parquet"):
        made = pq.read_table(pa.BufferReader(files[name]))
        for number, field in enumerate(made.schema):
            kind = field.type
            if pa.types.is_integer(kind):
                kind = pa.uint64() if number % 2 else pa.int64()
            elif pa.types.is_string(kind):
                kind = pa.dictionary(pa.int16(), pa.string()) if number % 2 else pa.large_string()
            elif pa.types.is_large_binary(kind):
                kind = pa.binary()
            made = made.set_column(number, field.name, made.column(number).cast(kind))
        files[name] = parquet(made, row_group_size=1)
    check(files)


def test_pickling(tmp_path: Path) -> None:
    folder = on_disk(dataset(FOLDER), tmp_path / "x")
    for source in (folder, dataset(FOLDER, change=swapped)):
        x = lt.scan_ome_arrow(source, image_id="a")
        table = lt.open_ome_arrow(source)
        for _ in range(2):
            x, table = pickle.loads(pickle.dumps((x, table)))
            np.testing.assert_array_equal(x[1:].collect(), A[1:])
            np.testing.assert_array_equal(table[1].collect(), B)


def test_pickled_and_another_file_by_now(tmp_path: Path) -> None:
    folder = on_disk(dataset(FOLDER), tmp_path / "x")
    data = pickle.dumps(lt.scan_ome_arrow(folder, image_id="a"))
    (folder / "chunks.parquet").write_bytes(dataset({"a": A + 1, "b": B})["chunks.parquet"])
    os.utime(folder / "chunks.parquet", ns=(1, 1))
    with pytest.raises(lt.SourceChangedError):
        pickle.loads(data).collect()


def test_documents(tmp_path: Path) -> None:
    source = on_disk(dataset(FOLDER), tmp_path / "x.ome-arrow")
    x = lt.scan_ome_arrow(source, image_id="a", fill_value=3)[0, 1]
    text = x.serialize()
    assert str(tmp_path) in text and "fill_value" in text
    np.testing.assert_array_equal(lt.LazyTensor.deserialize(text).collect(), A[0, 1])
    with pytest.raises(lt.SerializationError):
        lt.scan_ome_arrow(dataset(FOLDER), image_id="a").serialize()


@pytest.mark.parametrize("change", [None, swapped])
def test_threads(change: Any, tmp_path: Path) -> None:
    folder = on_disk(dataset(FOLDER, change=change), tmp_path / "x")
    x = lt.scan_ome_arrow(folder, image_id="a")
    start = threading.Barrier(8)

    def read(number: int) -> bool:
        start.wait()
        part = (slice(None), number % 3)
        return bool((x[part].collect() == A[part]).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))


def test_many_images() -> None:
    images = {f"crop {number}": image((1, 2, 1, 5, 6), seed=number) for number in range(300)}
    files = dataset(images, (1, 2, 1, 5, 6), group=16)
    table = lt.open_ome_arrow(files)
    stacked = table.stack()
    assert stacked.shape == (300, 1, 2, 1, 5, 6) and stacked.dims[0] == "row"
    np.testing.assert_array_equal(stacked[17].collect(), images["crop 17"])
    np.testing.assert_array_equal(stacked.collect(), np.stack(list(images.values())))


def test_an_empty_folder_of_images() -> None:
    files = dataset({})
    table = lt.open_ome_arrow(files)
    assert len(table) == 0 and list(table) == [] and table.frame.collect().height == 0
    with pytest.raises(lt.OutOfBoundsError):
        table[0]
    with pytest.raises(lt.ShapeError):
        table.stack()


def test_a_folder_on_a_server() -> None:
    """Three round trips to scan it: what is there, the small tables, how the large one ends."""
    with serving({f"x.ome-arrow/{name}": data for name, data in dataset(FOLDER).items()}) as server:
        server.latency = 0.01
        x = lt.scan_ome_arrow(f"{server.url}/x.ome-arrow", image_id="a")
        assert len(server.log) == 7
        of_chunks = [entry for entry in server.log if entry.path.endswith("chunks.parquet")]
        assert [entry.range for entry in of_chunks] in (
            [["bytes=0-0", "bytes=-16384"], ["bytes=0-0", "bytes=-8"]]
        )
        np.testing.assert_array_equal(x[1, 2].collect(), A[1, 2])
        check(f"{server.url}/x.ome-arrow")
        again = pickle.loads(pickle.dumps(x))
        np.testing.assert_array_equal(again[0, 0, 0].collect(), A[0, 0, 0])
