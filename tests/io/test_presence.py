"""Which chunks exist: from listings of every kind of store, and never a chunk too few."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.io.zarr import ZarrSource, scan
from tests.engines import Blocks

STORED = [(0, 0), (0, 3), (2, 10), (11, 1)]
SHAPE, CHUNK = (48, 60), (4, 4)


def v3(separator: str, kind: str = "default", shards: bool = False) -> dict[str, Any]:
    codecs: list[Any] = [{"name": "bytes"}]
    if shards:
        inner = {"chunk_shape": [2, 1], "codecs": codecs, "index_codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}}]}  # fmt: skip
        codecs = [{"name": "sharding_indexed", "configuration": inner}]
    return {
        "zarr_format": 3, "node_type": "array", "shape": SHAPE, "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": CHUNK}},
        "chunk_key_encoding": {"name": kind, "configuration": {"separator": separator}},
        "codecs": codecs, "fill_value": 3,
    }  # fmt: skip


def v2(separator: str) -> dict[str, Any]:
    return {
        "zarr_format": 2, "shape": SHAPE, "chunks": CHUNK, "dtype": "|u1", "compressor": None,
        "fill_value": 3, "order": "C", "filters": None, "dimension_separator": separator,
    }  # fmt: skip


CASES: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "v3 c/0/0": ("zarr.json", v3("/"), "c/", "/"),
    "v3 c.0.0": ("zarr.json", v3("."), "c.", "."),
    "v3 0.0": ("zarr.json", v3(".", "v2"), "", "."),
    "v3 0/0": ("zarr.json", v3("/", "v2"), "", "/"),
    "v2 0.0": (".zarray", v2("."), "", "."),
    "v2 0/0": (".zarray", v2("/"), "", "/"),
}


def entries(name: str, root: str = "") -> dict[str, bytes]:
    """An array with some chunks, and what else lies about."""
    document, meta, prefix, separator = CASES[name]
    start = f"{root}/" if root else ""
    files = {f"{start}{document}": json.dumps(meta).encode()}
    for number, cell in enumerate(STORED):
        files[f"{start}{prefix}{separator.join(map(str, cell))}"] = bytes([number + 10]) * 16
    for name in ("notes.txt", "00.1", "0.15", "99.0", "-1.0", "c.0", "7/8/9", "12/0", "x/1"):
        files.setdefault(f"{start}{name}", b"other")
    return files


def written(files: dict[str, bytes], folder: Path) -> str:
    for key, data in files.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return str(folder)


def zipped(files: dict[str, bytes], path: Path) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for key, data in files.items():
            archive.writestr(key, data)
    return str(path)


def cells(source: ZarrSource, limit: int = 100) -> list[tuple[int, ...]] | None:
    found = source.stored_objects(limit)
    return None if found is None else [tuple(map(int, row)) for row in found]


@pytest.mark.parametrize("root", ["", "a/b"])
@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_name_in_every_store(name: str, root: str, tmp_path: Path) -> None:
    files = entries(name, root)
    for store in (
        files,
        written(files, tmp_path / "folder"),
        zipped(files, tmp_path / "a.zip"),
        lt.testing.CountingStore(files),
    ):
        source = scan(store, root)
        assert cells(source) == STORED
        assert source.fill_value == 3
        assert cells(source, 2) is None


def test_shards_are_counted_as_one() -> None:
    files = {"zarr.json": json.dumps(v3("/", shards=True)).encode(), "c/1/2": b"", "c/0/0": b""}
    source = scan(files)
    assert cells(source) == [(0, 0), (1, 2)]
    assert [cut and cut.together for cut in source.spec.grid] == [2, 4]


def test_nothing_stored_is_an_answer() -> None:
    assert cells(scan({"zarr.json": json.dumps(v3("/")).encode()})) == []


def test_arrays_of_which_nothing_is_known() -> None:
    files = entries("v3 c/0/0")
    assert scan(files, missing="raise").stored_objects(100) is None
    scalar = v3("/") | {
        "shape": [], "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": []}}
    }  # fmt: skip
    assert scan({"zarr.json": json.dumps(scalar).encode()}).stored_objects(100) is None

    class Mapping(dict[str, bytes]):
        """It may stand for anything, and take long to go through."""

    assert scan(Mapping(files)).stored_objects(100) is None


def test_cells_of_several_sizes() -> None:
    meta = v3("/")
    sizes = {"kind": "inline", "chunk_shapes": [[[4, 2], 40], [20, 30, 10]]}
    meta["chunk_grid"] = {"name": "rectilinear", "configuration": sizes}
    files = {"zarr.json": json.dumps(meta).encode(), "c/2/1": b"", "c/0/2": b""}
    assert cells(scan(files)) == [(0, 2), (2, 1)]


def test_links_are_followed_as_in_reading(tmp_path: Path) -> None:
    root = Path(written(entries("v3 c/0/0"), tmp_path / "a"))
    elsewhere = tmp_path / "elsewhere"
    (root / "c" / "11").rename(elsewhere)
    os.symlink(elsewhere, root / "c" / "11", target_is_directory=True)
    assert cells(scan(str(root))) == STORED


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_folder_that_nobody_may_list(tmp_path: Path) -> None:
    root = Path(written(entries("v3 c/0/0"), tmp_path / "a"))
    (root / "c" / "0").chmod(0o111)
    try:
        assert scan(str(root)).stored_objects(100) is None
    finally:
        (root / "c" / "0").chmod(0o755)


def test_a_limit_counts_what_is_looked_at(tmp_path: Path) -> None:
    """Files that are no chunks fill a folder: what was not seen is not called missing."""
    files = entries("v2 0/0")
    files |= {f"other{i}": b"" for i in range(50)}
    source = scan(written(files, tmp_path / "a"))
    for limit in range(80):
        assert cells(source, limit) in (None, STORED)
    assert cells(source, 80) == STORED


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_reading_every_chunk(name: str, tmp_path: Path) -> None:
    meta = CASES[name][1] | {"shape": [400, 600]}
    files = entries(name) | {CASES[name][0]: json.dumps(meta).encode()}
    store = lt.testing.CountingStore(written(files, tmp_path / "a"))
    x = lt.scan(store)
    expected = np.full((400, 600), 3, np.uint8)
    for number, (i, j) in enumerate(STORED):
        expected[4 * i : 4 * i + 4, 4 * j : 4 * j + 4] = number + 10
    # The stray names of which the small array knows nothing are chunks of the large one.
    stray = {"0.15": (0, 15), "99.0": (99, 0), "12/0": (12, 0)}
    _, _, prefix, separator = CASES[name]
    for key, (i, j) in stray.items():
        if prefix == "" and separator in key:
            (tmp_path / "a" / key).write_bytes(b"\5" * 16)
            expected[4 * i : 4 * i + 4, 4 * j : 4 * j + 4] = 5
    for f in (np.sum, np.mean, np.max, np.argmax):
        ours = getattr(lt, f.__name__)(x).collect(engine=Blocks(64, 2))
        np.testing.assert_allclose(ours, f(expected))
    asked = {key for _, key, _, _ in store.log} - {CASES[name][0], ".zattrs"}
    assert len(asked) < 60, "of 15 000 chunks"
