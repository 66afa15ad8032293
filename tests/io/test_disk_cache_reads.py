"""Reading through the cache on the disk: what is asked of the store, and that nothing is stale."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from tests.io.servers import ObjectServer, serving
from tests.io.test_store_trips import files, values_of, write

pytest.importorskip("aiohttp")
zarr = pytest.importorskip("zarr")

SHAPE = (64, 100)
KINDS: dict[str, dict[str, Any]] = {
    "chunks": {"chunks": (16, 24)},
    "shards": {"chunks": (8, 12), "shards": (16, 24)},
    "v2": {"chunks": (16, 24), "zarr_format": 2},
}
VALUES = values_of(SHAPE)


@pytest.fixture(scope="module")
def shared() -> Iterator[ObjectServer]:
    with serving() as server:
        yield server


@pytest.fixture
def server(shared: ObjectServer) -> ObjectServer:
    shared.renew()
    return shared


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with lt.Config(disk_cache=tmp_path / "cache"):
        lt.metrics(reset=True)
        yield tmp_path / "cache"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def serve(server: ObjectServer, tmp_path: Path, kind: str, values: np.ndarray = VALUES) -> None:
    folder = tmp_path / f"{kind}-{int(values[0, 0])}"
    server.objects = write(folder, values, **KINDS[kind])


def hits() -> tuple[int, int]:
    """Of the disk, since it was last asked."""
    found = lt.metrics(reset=True)["disk_cache"]
    return found["hits"], found["misses"]


def values_sent(server: ObjectServer) -> int:
    """How often more than a look at an object of values was asked for; the log is emptied."""
    sent = [
        one
        for one in server.log
        if one.method == "GET" and one.range != "bytes=0-0" and one.path[-1].isdigit()
    ]
    server.log.clear()
    return len(sent)


def test_nothing_is_kept_unless_it_is_asked_for(server: ObjectServer, tmp_path: Path) -> None:
    serve(server, tmp_path, "chunks")
    x = lt.scan_zarr(server.url)
    lt.metrics(reset=True)
    assert np.array_equal(x.collect(), VALUES)
    with lt.Config(disk_cache=tmp_path / "cache"), lt.Config(disk_cache=False):
        assert np.array_equal(x.collect(), VALUES)
    assert hits() == (0, 0)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_values_are_sent_once(
    server: ObjectServer, tmp_path: Path, folder: Path, kind: str, cache_bytes: int
) -> None:
    serve(server, tmp_path, kind)
    with lt.Config(cache_bytes=cache_bytes):
        assert np.array_equal(lt.scan_zarr(server.url).collect(), VALUES)
    kept = hits()
    assert kept[0] == 0
    assert kept[1] == (72 if kind == "shards" else 20)
    assert values_sent(server) > 0
    x = lt.scan_zarr(server.url)
    for _ in range(2):
        assert np.array_equal(x.collect(), VALUES)
        assert hits() == (kept[1], 0)
        assert values_sent(server) == 0
    assert np.array_equal(x[5:40:3, 90:10:-7].collect(), VALUES[5:40:3, 90:10:-7])
    assert hits()[1] == 0
    assert len(server.log) <= 12, "objects are asked for their tokens, each once"


def test_any_part_of_chunks_is_right(
    server: ObjectServer, tmp_path: Path, folder: Path, kind: str
) -> None:
    serve(server, tmp_path, kind)
    rng = np.random.default_rng(3)
    for _ in range(6):
        x = lt.scan_zarr(server.url)
        lo, hi = np.sort(rng.integers(0, 64, 2)), np.sort(rng.integers(0, 100, 2))
        part = np.s_[lo[0] : lo[1] : int(rng.integers(1, 20)), hi[0] : hi[1] : 3]
        assert np.array_equal(x[part].collect(), VALUES[part])
        assert np.array_equal((x.astype("f8") * 2).sum(axis=0).collect(), VALUES.sum(0) * 2.0)
        points = rng.integers(0, 64, 9)
        assert np.array_equal(x[points].collect(), VALUES[points])


def test_what_changed_is_read_anew(
    server: ObjectServer, tmp_path: Path, folder: Path, kind: str
) -> None:
    serve(server, tmp_path, kind)
    x = lt.scan_zarr(server.url)
    assert np.array_equal(x.collect(), VALUES)
    serve(server, tmp_path, kind, VALUES + np.uint16(1))
    assert np.array_equal(lt.scan_zarr(server.url).collect(), VALUES + np.uint16(1))
    serve(server, tmp_path, kind, VALUES + np.uint16(2))
    assert np.array_equal(x.collect(), VALUES + np.uint16(2))
    one = next(key for key in server.objects if key.endswith(("c/0/0", "0.0")))
    del server.objects[one]
    assert not x[:16, :24].collect().any()
    assert np.array_equal(x[16:].collect(), VALUES[16:] + np.uint16(2))


def test_without_a_token_nothing_is_kept(
    server: ObjectServer, tmp_path: Path, folder: Path, kind: str
) -> None:
    serve(server, tmp_path, kind)
    server.etags = None
    for _ in range(2):
        assert np.array_equal(lt.scan_zarr(server.url).collect(), VALUES)
        assert hits()[0] == 0
    assert not list(folder.rglob("*.tenso"))


def test_chunks_that_are_not_stored_are_not_kept(
    server: ObjectServer, tmp_path: Path, folder: Path
) -> None:
    serve(server, tmp_path, "chunks")
    key = next(key for key in server.objects if key.endswith("c/1/1"))
    kept = server.objects.pop(key)
    expected = VALUES.copy()
    expected[16:32, 24:48] = 0
    assert np.array_equal(lt.scan_zarr(server.url).collect(), expected)
    assert lt.metrics()["chunks_missing"] == 1
    server.objects[key] = kept
    assert np.array_equal(lt.scan_zarr(server.url).collect(), VALUES)


def test_a_damaged_file_is_read_again(server: ObjectServer, tmp_path: Path, folder: Path) -> None:
    serve(server, tmp_path, "chunks")
    x = lt.scan_zarr(server.url)
    x.collect()
    paths = sorted(folder.rglob("*.tenso"))
    for number, path in enumerate(paths[:6]):
        data = bytearray(path.read_bytes())
        data[170 + number] ^= 1
        path.write_bytes(data[: -number or None])
    hits()
    assert np.array_equal(x.collect(), VALUES)
    assert hits() == (14, 6)
    assert np.array_equal(x.collect(), VALUES)
    assert hits() == (20, 0)


def test_a_folder_that_cannot_be_is_in_nobodys_way(
    server: ObjectServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    serve(server, tmp_path, "chunks")
    (tmp_path / "file").write_bytes(b"")
    with lt.Config(disk_cache=tmp_path / "file" / "cache"):
        for _ in range(3):
            assert np.array_equal(lt.scan_zarr(server.url).collect(), VALUES)
    assert len(caplog.records) == 1


def test_local_files_where_it_is_asked_for(tmp_path: Path, folder: Path, kind: str) -> None:
    write(tmp_path / "a", VALUES, **KINDS[kind])
    x = lt.scan_zarr(tmp_path / "a")
    assert np.array_equal(x.collect(), VALUES)
    assert hits() == (0, 0)
    with lt.Config(disk_cache_local=True):
        x.collect()
        assert hits()[0] == 0
        x.collect()
        assert hits()[0] == 0, "files that were just written may change without a trace"
        for path in (tmp_path / "a").rglob("*"):
            os.utime(path, (1e9, 1e9))
        x = lt.scan_zarr(tmp_path / "a")
        for cache_bytes, expected in ((0, 0), (0, 1), (1 << 20, 1), (1 << 20, 0)):
            with lt.Config(cache_bytes=cache_bytes):
                assert np.array_equal(x.collect(), VALUES)
            assert bool(hits()[0]) == expected
        write(tmp_path / "b", VALUES[::-1].copy(), **KINDS[kind])
        for name in files(tmp_path / "a"):
            (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())
        for _ in range(2):
            assert np.array_equal(lt.scan_zarr(tmp_path / "a").collect(), VALUES[::-1])


def test_tenso_chunks_are_kept_too(server: ObjectServer, tmp_path: Path, folder: Path) -> None:
    lt.asarray(VALUES).sink_tenso(tmp_path / "t", chunks=(16, 24), compress=True)
    server.objects = files(tmp_path / "t")
    for expected in ((0, 20), (20, 0)):
        lt.metrics(reset=True)
        assert np.array_equal(lt.scan_tenso(server.url).collect(), VALUES)
        assert hits() == expected


def test_dtypes_that_packets_do_not_hold(tmp_path: Path, folder: Path) -> None:
    for number, dtype in enumerate([">i4", "M8[s]", "S5", ">f8", "?", "c16", "f2"]):
        values = np.arange(48).reshape(6, 8).astype(dtype)
        array = zarr.create_array(
            tmp_path / str(number), shape=values.shape, dtype=dtype, chunks=(4, 4), zarr_format=2
        )
        array[...] = values
        for path in (tmp_path / str(number)).rglob("*"):
            os.utime(path, (1e9, 1e9))
        for expected in ((0, 4), (4, 0)):
            with lt.Config(disk_cache_local=True):
                lt.metrics(reset=True)
                found = lt.scan_zarr(tmp_path / str(number)).collect()
                assert hits() == expected, dtype
            assert found.tobytes() == lt.scan_zarr(tmp_path / str(number)).collect().tobytes()


def test_plans_stay_as_small_as_they_were(
    server: ObjectServer, tmp_path: Path, folder: Path
) -> None:
    serve(server, tmp_path, "chunks")
    x = lt.scan_zarr(server.url)
    x.collect()
    assert len(pickle.dumps(x)) < 10_000
    assert np.array_equal(pickle.loads(pickle.dumps(x)).collect(), VALUES)


def test_loaders_keep_what_was_in_force_when_they_were_made(
    server: ObjectServer, tmp_path: Path
) -> None:
    from lazytensor.exec.batches import WindowReader

    serve(server, tmp_path, "chunks")
    with lt.Config(disk_cache=tmp_path / "cache"):
        reader = WindowReader(lt.scan_zarr(server.url)._node, (10, 10))
    lt.metrics(reset=True)
    out = np.zeros((2, 10, 10), np.uint16)
    for expected in ((0, 4), (4, 0)):
        reader.read([[0, 0], [30, 70]], out)
        assert np.array_equal(out[1], VALUES[30:40, 70:80])
        found = hits()
        assert found[0] >= expected[0]
        assert (found[1] == 0) == (expected[1] == 0)


def test_the_options_are_checked() -> None:
    for wrong in ({"disk_cache": True}, {"disk_cache": 3}, {"disk_cache_bytes": 0}):
        with pytest.raises(ValueError, match="disk_cache"):
            lt.Config(**wrong)
    with lt.Config(disk_cache="~/somewhere", disk_cache_bytes="1GiB"):
        found = lt.get_config()
    assert found["disk_cache"] == os.path.expanduser("~/somewhere")
    assert found["disk_cache_bytes"] == 1 << 30


_OTHER = """
import sys, numpy as np, lazytensor as lt
with lt.Config(disk_cache=sys.argv[1], disk_cache_local=True):
    found = lt.scan_zarr(sys.argv[2]).collect()
    np.save(sys.argv[3], found)
    print(lt.metrics()["disk_cache"]["hits"], lt.metrics()["disk_cache"]["misses"])
"""


@pytest.mark.parametrize("near", [True, False])
def test_another_process_finds_what_this_one_kept(
    server: ObjectServer, tmp_path: Path, folder: Path, near: bool
) -> None:
    serve(server, tmp_path, "shards")
    local = tmp_path / f"shards-{int(VALUES[0, 0])}"
    for path in local.rglob("*"):
        os.utime(path, (1e9, 1e9))
    place = str(local) if near else server.url
    with lt.Config(disk_cache_local=True):
        lt.scan_zarr(place).collect()
    found = subprocess.run(
        [sys.executable, "-c", _OTHER, str(folder), place, str(tmp_path / "found.npy")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert found.stdout.split() == ["72", "0"], found.stderr
    assert np.array_equal(np.load(tmp_path / "found.npy"), VALUES)


def test_keeping_chunks_asks_for_nothing_more(server: ObjectServer, tmp_path: Path) -> None:
    serve(server, tmp_path, "chunks")
    asked = []
    for settings in ({}, {"disk_cache": tmp_path / "cache"}):
        x = lt.scan_zarr(server.url)
        server.log.clear()
        with lt.Config(**settings):
            assert np.array_equal(x.collect(), VALUES)
        asked.append(len(server.log))
    assert asked[0] == asked[1] == 20
