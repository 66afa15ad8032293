"""Files of ome-arrow 0.1.0, good and bad, through every entrance of the public API.

``vectors/ome-arrow`` are files that were published with digests of their pixels, and malformed ones
with what a reader should do; ``vectors/ome-arrow-more`` is what ``make.py`` there says.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lazytensor as lt
from tests.io.ome_arrow.ome_arrow_files import boxes, ipc

VECTORS = Path(__file__).parents[2] / "vectors"
HOME, MORE = VECTORS / "ome-arrow", VECTORS / "ome-arrow-more"
MANIFEST = json.loads((HOME / "manifest.json").read_text("utf-8"))
WRITTEN = json.loads((MORE / "manifest.json").read_text("utf-8"))["valid"]
VALID = [entry for entry in MANIFEST["valid"] if not entry["file"].endswith(".vortex")]
FILES = [entry for entry in VALID if not entry["file"].endswith(".ome-arrow")]
FOLDERS = [entry for entry in VALID if entry["file"].endswith(".ome-arrow")]
SHAPE = (1, 2, 3, 12, 10)

Entry = dict[str, Any]


def name_of(entry: Entry) -> str:
    """For parametrized tests."""
    return Path(entry["file"]).stem


def _table(entry: Entry) -> pa.Table:
    path = HOME / entry["file"]
    if path.suffix == ".arrow":
        with pa.OSFile(str(path)) as file:
            return pa.ipc.open_file(file).read_all()
    return pq.read_table(path)


def _memory_url(entry: Entry) -> str:
    url = f"memory://{name_of(entry)}/{Path(entry['file']).name}"
    fsspec.filesystem("memory").pipe_file(url, (HOME / entry["file"]).read_bytes())
    return url


def _on_disk(entry: Entry, folder: Path, **options: Any) -> Path:
    path = folder / "table.arrow"
    path.write_bytes(ipc(_table(entry), **options))
    return path


Way = Callable[[Entry, Path], tuple[Any, dict[str, Any]]]
WAYS: dict[str, Way] = {
    "path": lambda entry, _: (HOME / entry["file"], {}),
    "text": lambda entry, _: (str(HOME / entry["file"]), {}),
    "mapped": lambda entry, _: (HOME / entry["file"], {"mmap": True}),
    "bytes": lambda entry, _: ((HOME / entry["file"]).read_bytes(), {}),
    "buffer": lambda entry, _: (memoryview(bytearray((HOME / entry["file"]).read_bytes())), {}),
    "key in a dict": lambda entry, _: (
        ({"a/b.x": (HOME / entry["file"]).read_bytes()}, "a/b.x"), {},
    ),
    "fs": lambda entry, _: ((fsspec.filesystem("file"), str(HOME / entry["file"])), {}),
    "memory://": lambda entry, _: (_memory_url(entry), {}),
    "table": lambda entry, _: (_table(entry), {}),
    "polars": lambda entry, _: (pl.from_arrow(_table(entry)), {}),
    "lazy polars": lambda entry, _: (pl.from_arrow(_table(entry)).lazy(), {}),
    "IPC, mapped": lambda entry, folder: (_on_disk(entry, folder), {"mmap": True}),
    "IPC, two rows a batch": lambda entry, folder: (_on_disk(entry, folder, rows=2), {}),
    "IPC, lz4": lambda entry, folder: (_on_disk(entry, folder, rows=2, codec="lz4"), {}),
    "IPC, zstd, mapped": lambda entry, folder: (
        _on_disk(entry, folder, codec="zstd"), {"mmap": True},
    ),
    "IPC stream": lambda entry, folder: (_on_disk(entry, folder, stream=True, rows=1), {}),
    "IPC stream, mapped": lambda entry, folder: (
        _on_disk(entry, folder, stream=True), {"mmap": True},
    ),
    "IPC stream, zstd": lambda entry, _: (ipc(_table(entry), stream=True, codec="zstd"), {}),
}  # fmt: skip


def check(x: lt.LazyTensor, facts: Entry) -> np.ndarray:
    """A tensor is the image of a manifest: all of it, and boxes of it."""
    assert x.shape == tuple(facts["shape"]) and x.dims == ("t", "c", "z", "y", "x")
    assert x.dtype == np.dtype(facts["dtype"]) and x.dtype.isnative
    values = x.collect()
    assert values.shape == x.shape and values.dtype == x.dtype
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    assert hashlib.sha256(little.tobytes()).hexdigest() == facts["sha256"]
    last = tuple(n - 1 for n in x.shape)
    np.testing.assert_array_equal(x[last].collect(), values[last])
    half = tuple(slice(n // 3, None, 1 + n // 4) for n in x.shape)
    np.testing.assert_array_equal(x[half].collect(), values[half])
    return values


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("entry", FILES, ids=name_of)
def test_published_files(entry: Entry, way: str, tmp_path: Path) -> None:
    source, options = WAYS[way](entry, tmp_path)
    opened = lt.open_ome_arrow(source, **options)
    assert len(opened) == entry.get("num_rows", 1)
    for facts in entry["images"]:
        row, column = facts["row"], facts["column"]
        check(lt.scan_ome_arrow(source, row=row, column=column, **options), facts)
        check(opened[row, column], facts)
    for row in entry.get("null_rows", []):
        for column in {facts["column"] for facts in entry["images"]}:
            for find in (
                lambda: opened[row, column],  # noqa: B023  (called before the next)
                lambda: lt.scan_ome_arrow(source, row=row, column=column, **options),  # noqa: B023
            ):
                with pytest.raises(KeyError, match=rf"{row}.*{column}|{column}.*{row}") as caught:
                    find()
                assert isinstance(caught.value, lt.SourceNotFoundError)


@pytest.mark.parametrize("entry", FILES, ids=name_of)
def test_the_column_need_not_be_named(entry: Entry) -> None:
    source = HOME / entry["file"]
    columns = {facts["column"] for facts in entry["images"]}
    assert set(lt.open_ome_arrow(source).columns) == columns
    facts = entry["images"][0]
    check(lt.scan_ome_arrow(source), facts)
    if entry.get("num_rows", 1) == 1:
        check(lt.scan(source), facts)


def _files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _in_memory(folder: Path) -> str:
    url = f"memory://{folder.name}"
    fsspec.filesystem("memory").pipe(
        {f"/{folder.name}/{k}": v for k, v in _files_of(folder).items()}
    )
    return url


@pytest.mark.parametrize(
    "way",
    [
        lambda folder: folder,
        str,
        lambda folder: f"{folder}/",
        _files_of,
        _in_memory,
        lambda folder: (fsspec.filesystem("file"), str(folder)),
    ],
    ids=["path", "text", "slash", "dict", "memory://", "fs"],
)
@pytest.mark.parametrize("entry", FOLDERS, ids=name_of)
def test_published_folders(entry: Entry, way: Callable[[Path], Any]) -> None:
    source = way(HOME / entry["file"])
    opened = lt.open_ome_arrow(source)
    assert len(opened) == len(entry["images"])
    for number, facts in enumerate(entry["images"]):
        check(lt.scan_ome_arrow(source, image_id=facts["image_id"]), facts)
        check(lt.scan_ome_arrow(source, row=number), facts)
        check(opened[number], facts)


@pytest.mark.parametrize("entry", WRITTEN, ids=name_of)
def test_what_the_package_writes_by_itself(entry: Entry, tmp_path: Path) -> None:
    files = {
        name.removeprefix(entry["file"]).strip("/"): data
        for name, data in _zipped().items()
        if name.startswith(entry["file"])
    }
    for name, data in files.items():
        path = tmp_path / entry["file"] / name if name else tmp_path / entry["file"]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    opened = lt.open_ome_arrow(tmp_path / entry["file"])
    assert len(opened) == len(entry["images"])
    for number, facts in enumerate(entry["images"]):
        check(opened[number], facts)
        place = {key: facts[key] for key in ("image_id", "column") if key in facts}
        check(lt.scan_ome_arrow(tmp_path / entry["file"], **place), facts)
        if not entry["file"].endswith(".ome-arrow"):
            check(lt.scan_ome_arrow((MORE / "files.zip", entry["file"])), facts)


@cache
def _zipped() -> dict[str, bytes]:
    with zipfile.ZipFile(MORE / "files.zip") as file:
        return {name: file.read(name) for name in file.namelist()}


def test_vortex_is_refused_by_name() -> None:
    path = HOME / "ok/v35_list.vortex"
    for source in (path, path.read_bytes(), str(path)):
        with pytest.raises(lt.FormatError, match=r"(?i)vortex.*parquet"):
            lt.scan_ome_arrow(source)
        with pytest.raises(lt.FormatError, match=r"(?i)vortex"):
            lt.open_ome_arrow(source)
    with pytest.raises(lt.FormatError, match=r"(?i)vortex"):
        lt.scan(path)


@cache
def bad_values() -> np.ndarray:
    """What the malformed files would hold: the planes of one with nothing wrong but a size."""
    row = pq.read_table(HOME / "bad/m07_size_negative.parquet").to_pylist()[0]["ome_arrow"]
    values = np.zeros(SHAPE, "u2")
    for plane in row["planes"]:
        values[plane["t"], plane["c"], plane["z"]] = np.reshape(plane["pixels"], SHAPE[3:])
    return values


def bad(name: str) -> Path:
    """A malformed file, by how its name begins."""
    (path,) = (HOME / "bad").glob(f"{name}_*")
    return path


def opens_wrongly(source: Any, match: str, **options: Any) -> None:
    """Whoever opens it as an image is told why not."""
    for find in (lt.scan_ome_arrow, lambda s, **o: lt.open_ome_arrow(s, **o)[0]):
        with pytest.raises(lt.FormatError, match=match):
            find(source, **options)


def reads_wrongly(x: lt.LazyTensor, where: Any, match: str) -> None:
    """Whoever wants these values is told why not, again and again."""
    for _ in range(2):
        with pytest.raises(lt.FormatError, match=match):
            x[where].collect()
    with pytest.raises(lt.FormatError, match=match):
        x.collect()


def reads_rightly(x: lt.LazyTensor, left: Any, expected: np.ndarray | None = None) -> None:
    """All boxes of planes, but some, can be read, whether or not others were tried before."""
    expected = bad_values() if expected is None else expected
    for t, c, z in np.ndindex(*expected.shape[:3]):
        if (t, c, z) not in left:
            np.testing.assert_array_equal(x[t, c, z].collect(), expected[t, c, z])


@pytest.mark.parametrize("name", [entry["file"] for entry in MANIFEST["malformed"]])
def test_no_malformed_file_is_read_as_if_it_were_good(name: str) -> None:
    source = HOME / name
    if "index_stale" in name:
        return
    with pytest.raises(lt.FormatError):
        lt.scan_ome_arrow(source).collect()
    with pytest.raises(lt.FormatError):
        lt.open_ome_arrow(source)[0].collect()


TCZ = r"\(0, 0, 2\)|t.{0,3}0.*c.{0,3}0.*z.{0,3}2"


def test_m01_a_plane_too_short() -> None:
    x = lt.scan_ome_arrow(bad("m01"))
    reads_rightly(x, {(0, 0, 2)})
    reads_wrongly(x, (0, 0, 2), r"(?s)120.*119|119.*120")
    reads_wrongly(x, (0, 0, 2), TCZ)
    reads_rightly(x, {(0, 0, 2)})


def test_m03_a_plane_that_is_not_there() -> None:
    x = lt.scan_ome_arrow(bad("m03"))
    reads_rightly(x, {(0, 1, 1)})
    reads_wrongly(x, (0, 1, 1), r"\(0, 1, 1\)|t.{0,3}0.*c.{0,3}1.*z.{0,3}1")
    filled = lt.scan_ome_arrow(bad("m03"), fill_value=7)
    expected = bad_values().copy()
    expected[0, 1, 1] = 7
    np.testing.assert_array_equal(filled.collect(), expected)
    opened = lt.open_ome_arrow(bad("m03"), fill_value=7)
    np.testing.assert_array_equal(opened[0].collect(), expected)


def test_m05_a_plane_outside() -> None:
    opens_wrongly(bad("m05"), r"9")


def test_m07_a_negative_size() -> None:
    opens_wrongly(bad("m07"), r"(?s)size_c.*-2|-2.*size_c")


def test_m09_a_chunk_too_short() -> None:
    x = lt.scan_ome_arrow(bad("m09"))
    np.testing.assert_array_equal(x[:, :, 2:].collect(), bad_values()[:, :, 2:])
    np.testing.assert_array_equal(x[0, 0, :2, 8:].collect(), bad_values()[0, 0, :2, 8:])
    reads_wrongly(x, (0, 0, 0, 7, 7), r"(?s)128.*123|123.*128")


def test_m11_two_chunks_for_the_same_values() -> None:
    x = lt.scan_ome_arrow(bad("m11"))
    with pytest.raises(lt.FormatError, match=r"(?i)ambiguous"):
        x.collect()


def test_m13_a_chunk_outside() -> None:
    opens_wrongly(bad("m13"), "-1")


def test_m15_no_pixels_meta() -> None:
    opens_wrongly(bad("m15"), "pixels_meta")


def test_m17_a_value_that_is_null() -> None:
    row = pq.read_table(bad("m17")).to_pylist()[0]["ome_arrow"]
    (hit,) = (p for p in row["planes"] if None in p["pixels"])
    where = (hit["t"], hit["c"], hit["z"])
    x = lt.scan_ome_arrow(bad("m17"))
    reads_rightly(x, {where})
    reads_wrongly(x, where, r"(?i)null")
    expected = bad_values().copy()
    expected[where].reshape(-1)[hit["pixels"].index(None)] = 9
    np.testing.assert_array_equal(lt.scan_ome_arrow(bad("m17"), fill_value=9).collect(), expected)


@pytest.mark.parametrize(("name", "why"), [("m19", r"(?i)zstd"), ("m23", "uint8")])
def test_one_bad_chunk_of_bytes(name: str, why: str) -> None:
    """Chunk 1 is at (0, 0, 0, 0, 8), 2 x 8 x 2."""
    x = lt.scan_ome_arrow(bad(name))
    np.testing.assert_array_equal(x[0, 0, :, :, :8].collect(), bad_values()[0, 0, :, :, :8])
    np.testing.assert_array_equal(x[:, 1:].collect(), bad_values()[:, 1:])
    reads_wrongly(x, (0, 0, 1, 7, 9), why)
    reads_wrongly(x, (0, 0, 1, 7, 9), r"0, 0, 0, 0, 8|x.{0,3}8|chunk 1\b|chunks?\[1\]")


def test_m21_an_unknown_type_of_a_chunk() -> None:
    with pytest.raises(lt.FormatError, match="float33"):
        lt.scan_ome_arrow(bad("m21"))[0, 0, 0, :8, 8:].collect()


def test_m25_no_images_at_all() -> None:
    columns = pq.read_schema(bad("m25")).names
    opens_wrongly(bad("m25"), f"(?s){'.*'.join(map(re.escape, columns))}")
    opens_wrongly(pq.read_table(bad("m25")), f"(?s){'.*'.join(map(re.escape, columns))}")


def test_m27_a_file_cut_in_half() -> None:
    opens_wrongly(bad("m27"), r"(?i)parquet")
    opens_wrongly(bad("m27").read_bytes(), r"(?i)parquet")


def _values_in(folder: Path) -> np.ndarray:
    """Values of the only image, from the columns of its chunks; chunks of wrong lengths are 0."""
    facts = pq.read_table(folder / "images.parquet").to_pylist()[0]
    values = np.zeros([facts[f"size_{d}"] for d in "tczyx"], facts["dtype"])
    for row in pq.read_table(folder / "chunks.parquet").to_pylist():
        box = tuple(slice(row[d], row[d] + row[f"shape_{d}"]) for d in "tczyx")
        if len(row["pixel_bytes"]) == values[box].nbytes:
            values[box] = np.frombuffer(row["pixel_bytes"], facts["dtype"]).reshape(
                values[box].shape
            )
    return values


def test_m29_an_index_that_is_stale() -> None:
    expected = _values_in(bad("m29"))
    x = lt.scan_ome_arrow(bad("m29"))
    reads_rightly(x, set(), expected)
    np.testing.assert_array_equal(x.collect(), expected)
    np.testing.assert_array_equal(lt.open_ome_arrow(bad("m29"))[0].collect(), expected)


def test_m31_a_chunk_of_a_folder_too_short() -> None:
    first = pq.read_table(bad("m31") / "chunks.parquet").to_pylist()[0]
    held, shape = len(first["pixel_bytes"]), [first[f"shape_{d}"] for d in "tczyx"]
    x = lt.scan_ome_arrow(bad("m31"))
    expected, seen = _values_in(bad("m31")), 0
    for box in boxes(x.shape, shape):
        if any(part.start for part in box):
            np.testing.assert_array_equal(x[box].collect(), expected[box])
            seen += 1
    assert seen > 3
    reads_wrongly(x, (0,) * 5, rf"(?s){held + 2}.*{held}|{held}.*{held + 2}")
