"""Of chunks that are stored as they are in memory, what lies between wanted planes is not read."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor import native
from lazytensor.errors import ChunkDecodeError
from tests.io.zarr_cases import array_v2, array_v3, distinct, shard, sharding

SHAPE, CHUNK = (40, 90, 130), (8, 64, 128)
VALUES = distinct(SHAPE, "u2")
ROW = 128 * 2


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    assert native.wait("chunks", timeout=200) is not None, native.reason("chunks")


def _chunks() -> dict[tuple[int, ...], np.ndarray]:
    counts = [-(-n // c) for n, c in zip(SHAPE, CHUNK, strict=True)]
    padded = np.zeros([n * c for n, c in zip(counts, CHUNK, strict=True)], "u2")
    padded[tuple(slice(n) for n in SHAPE)] = VALUES
    return {
        index: padded[tuple(slice(i * c, i * c + c) for i, c in zip(index, CHUNK, strict=True))]
        for index in product(*[range(n) for n in counts])
    }


@pytest.fixture(params=["C", "F", "shards"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Raw chunks of 128 KiB, as files in either order, or two along each axis in a shard."""
    if request.param != "shards":
        document = array_v2(SHAPE, CHUNK, order=request.param)
        (tmp_path / ".zarray").write_text(json.dumps(document))
        for index, chunk in _chunks().items():
            (tmp_path / ".".join(map(str, index))).write_bytes(chunk.tobytes(request.param))
        return tmp_path
    edges = tuple(2 * c for c in CHUNK)
    document = array_v3(SHAPE, edges, "uint16", [sharding(CHUNK)])
    (tmp_path / "zarr.json").write_text(json.dumps(document))
    chunks = _chunks()
    for index in product((0, 1, 2), (0,), (0,)):
        inner = [
            chunks.get(tuple(2 * i + d for i, d in zip(index, corner, strict=True)))
            for corner in product((0, 1), repeat=3)
        ]
        path = tmp_path / "c" / "/".join(map(str, index))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(shard([None if c is None else c.tobytes() for c in inner]))
    return tmp_path


PARTS: dict[str, Any] = {
    "all": np.s_[:],
    "few rows": np.s_[:, 3:9],
    "rows of two chunks": np.s_[1:19, 60:70],
    "planes": np.s_[::3],
    "every other": np.s_[::2, ::2, ::2],
    "backwards": np.s_[19:2:-3, 20:10:-1],
    "a plane": np.s_[5, 7:9],
    "columns": np.s_[:, :, 4:6],
    "a corner": np.s_[6:10, 62:66, 126:130],
}


@pytest.mark.parametrize("part", PARTS)
def test_values_and_bytes(folder: Path, part: str) -> None:
    """As many bytes as the estimate says, and the values of NumPy."""
    x = lt.scan_zarr(folder)[PARTS[part]]
    for _ in range(2):  # the first reading brings the indices of shards
        said = x.estimate(exact=True)
        lt.metrics(reset=True)
        found = x.collect(engine=lt.LocalEngine(threads=1))
        spent = lt.metrics(reset=True)
        assert (np.asarray(found) == VALUES[PARTS[part]]).all()
        assert said.bytes_read == spent["bytes_read"]
        assert said.bytes_decoded == spent["bytes_decoded"]


def test_what_lies_between_planes_is_left_out(folder: Path) -> None:
    if (folder / ".zarray").is_file() and '"F"' in (folder / ".zarray").read_text():
        pytest.skip("here planes lie next to each other")
    x = lt.scan_zarr(folder)
    x.collect()
    lt.metrics(reset=True)
    x[:, 3:9, :128].collect()
    read = lt.metrics(reset=True)["bytes_read"]
    indices = 3 * (8 * 16 + 4)  # which are not remembered while files are this young
    assert read in (40 * 6 * ROW, 40 * 6 * ROW + indices)


def test_a_file_of_the_wrong_size_is_named(folder: Path) -> None:
    path = folder / "1.0.0"
    if not path.is_file():
        pytest.skip("a shard says itself where its chunks are")
    path.write_bytes(path.read_bytes()[1:])
    with pytest.raises(ChunkDecodeError, match=r"key '1\.0\.0'"):
        lt.scan_zarr(folder)[:, 3:9].collect()
