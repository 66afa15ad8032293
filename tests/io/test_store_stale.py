"""What is rewritten while an array is open is seen, wherever it lies and whatever is cached."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

import lazytensor as lt
from lazytensor.io.store_counting import CountingStore
from lazytensor.io.zarr import shard_index
from tests.io.servers import ObjectServer, serving

zarr = pytest.importorskip("zarr", minversion="3")

SHAPE = (24, 40)


def values(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 60_000, SHAPE, "u2")


class Place:
    """Where arrays are put, and what opens them there."""

    def __init__(self, url: str, put: Callable[[dict[str, bytes]], None]) -> None:
        self.url = url
        self.put = put


def _local(folder: Path) -> Place:
    def put(files: dict[str, bytes]) -> None:
        for key, data in files.items():
            path = folder / "at" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / "new").write_bytes(data)
            (path.parent / "new").replace(path)

    return Place(str(folder / "at"), put)


def _memory(folder: Path) -> Place:
    fs = fsspec.filesystem("memory")

    def put(files: dict[str, bytes]) -> None:
        for key, data in files.items():
            fs.pipe_file(f"/stale{folder}/{key}", data)

    return Place(f"memory://stale{folder}", put)


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    pytest.importorskip("aiohttp")
    with serving() as server:
        yield server


@pytest.fixture(params=["local", "memory", "http", "http, weak tags"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return _local(tmp_path)
    if request.param == "memory":
        return _memory(tmp_path)
    server: ObjectServer = request.getfixturevalue("server")
    server.etags = "weak" if "weak" in request.param else "strong"
    return Place(server.url, server.objects.update)


def written(folder: Path, seed: int, **settings: Any) -> dict[str, bytes]:
    """The files of an array, as zarr-python writes them."""
    array = zarr.create_array(
        folder / "written", shape=SHAPE, dtype="u2", overwrite=True, **settings
    )
    array[...] = values(seed)
    root = folder / "written"
    files = [path for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {"chunks": (8, 8)},
    # Of the same length whatever the values, so that nothing but the content tells.
    "raw shards": {"chunks": (4, 8), "shards": (12, 40), "compressors": None},
    "shards": {"chunks": (4, 8), "shards": (12, 40)},
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_rewritten_chunks(place: Place, layout: str, tmp_path: Path) -> None:
    for seed in range(3):
        files = written(tmp_path, seed, **LAYOUTS[layout])
        if seed:
            del files["zarr.json"]  # a change of that would be noticed
        place.put(files)
        if not seed:
            x = lt.scan_zarr(place.url)
        for _ in range(2):
            assert np.array_equal(x[3:20:2, 5:].collect(), values(seed)[3:20:2, 5:])
            assert np.array_equal(x.collect(), values(seed))


@pytest.mark.parametrize("place", ["http"], indirect=True)
def test_shards_that_were_empty_and_are_not(place: Place, tmp_path: Path) -> None:
    """Nothing is read of an empty shard but its index, which is known the second time."""
    files = written(tmp_path, 1, chunks=(4, 8), shards=(24, 40))
    partly = zarr.create_array(
        tmp_path / "partly", shape=SHAPE, dtype="u2", chunks=(4, 8), shards=(24, 40)
    )
    partly[:4] = values(2)[:4]
    place.put({**files, "c/0/0": (tmp_path / "partly/c/0/0").read_bytes()})
    x = lt.scan_zarr(place.url)
    for _ in range(2):
        assert not x[8:].any().collect()
    place.put(files)
    assert np.array_equal(x[8:].collect(), values(1)[8:])


def test_known_shards_cost_one_round_trip_each(server: ObjectServer, tmp_path: Path) -> None:
    """And not known ones two: the index comes with the size."""
    server.objects |= written(tmp_path, 0, chunks=(4, 8), shards=(12, 40), compressors=None)
    # Objects so long that they do not come whole with their index.
    for key in ("c/0/0", "c/1/0"):
        index = 15 * 16 + 4
        data = server.objects[key]
        server.objects[key] = data[:-index] + bytes(40_000) + data[-index:]
    x = lt.scan_zarr(server.url)
    server.log.clear()
    assert np.array_equal(x[:, :8].collect(), values(0)[:, :8])
    assert [request.range[:7] for request in server.log if request.range] == [
        "bytes=-", "bytes=-", "bytes=0", "bytes=0",
    ]  # fmt: skip
    server.log.clear()
    assert np.array_equal(x[:, 8:16].collect(), values(0)[:, 8:16])
    assert len(server.log) == 2 and all(request.if_match for request in server.log)
    shard_index._CACHE._start_anew()
    server.log.clear()
    assert np.array_equal(x[:5].collect(), values(0)[:5]) and len(server.log) == 2


def test_shards_that_change_between_index_and_chunks(server: ObjectServer, tmp_path: Path) -> None:
    """A writer that replaces every shard right after its index was read tears nothing."""
    old = written(tmp_path, 1, chunks=(4, 8), shards=(12, 40))
    new = written(tmp_path, 2, chunks=(4, 8), shards=(12, 40))
    server.objects |= old
    x = lt.scan_zarr(server.url)
    answered = server.answer

    def replacing(request: Any) -> tuple[bytes, bool]:
        answer = answered(request)
        if request.path.startswith("c/"):
            server.objects |= new
        return answer

    server.answer = replacing  # type: ignore[method-assign]
    found = x.collect()
    for part in (slice(0, 12), slice(12, 24)):
        assert any(np.array_equal(found[part], values(seed)[part]) for seed in (1, 2))
    assert np.array_equal(x.collect(), values(2))


def test_zip_files(tmp_path: Path) -> None:
    def pack(seed: int) -> None:
        with zipfile.ZipFile(tmp_path / "new", "w") as archive:
            for key, data in written(
                tmp_path, seed, chunks=(4, 8), shards=(12, 40), compressors=None
            ).items():
                archive.writestr(key, data)
        (tmp_path / "new").replace(tmp_path / "x.zip")

    pack(1)
    x = lt.scan_zarr(tmp_path / "x.zip")
    assert np.array_equal(x.collect(), values(1))
    pack(2)
    with pytest.raises(lt.SourceChangedError):
        x.collect()
    assert np.array_equal(lt.scan_zarr(tmp_path / "x.zip").collect(), values(2))


def test_counting_a_remote_store(server: ObjectServer, tmp_path: Path) -> None:
    server.objects |= written(tmp_path, 0, chunks=(4, 8), shards=(12, 40))
    counted = CountingStore(server.url)
    x = lt.scan_zarr(counted)
    assert np.array_equal(x.collect(), values(0))
    stored = {entry[1] for entry in counted.log if entry[3] is not None}
    assert stored == {"zarr.json", "c/0/0", "c/1/0"}
    assert 0 < counted.bytes < 2 * sum(map(len, server.objects.values()))
