"""The cache of decoded chunks: right values, never old ones, and no more memory than it may use."""

from __future__ import annotations

import os
import threading
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import lazytensor as lt
from lazytensor import native
from lazytensor.errors import ChunkDecodeError, SourceNotFoundError
from lazytensor.io import chunk_cache
from lazytensor.io.chunk_cache import HELD, MINE, NO_ROOM, THEIRS, ChunkCache
from lazytensor.io.zarr import ZarrSource, scan
from lazytensor.plan.caching import CACHING, Caching, caching, new_run
from lazytensor.plan.counters import snapshot
from tests.exec.test_forks import in_child, needs_fork
from tests.io.servers import serving

KERNELS = ("chunks", "windows", "cut", "look")
LONG_AGO = time.time() - 1000


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    for name in KERNELS:
        assert native.wait(name, timeout=200) is not None, native.reason(name)


@pytest.fixture(params=["compiled", "plain"])
def way(request: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "plain":
        monkeypatch.setenv("LAZYTENSOR_NATIVE", "0")
    return str(request.param)


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    chunk_cache.chunk_cache().clear()
    yield
    assert not chunk_cache.chunk_cache().in_use()


SHAPE = (40, 33, 50)
LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {"chunks": (16, 8, 20)},
    "raw": {"chunks": (16, 8, 20), "compressors": None},
    "gzip": {"chunks": (16, 8, 20), "compressors": zarr.codecs.GzipCodec()},
    "sharded": {"chunks": (8, 4, 10), "shards": (16, 16, 20)},
    "big-endian": {"chunks": (16, 8, 20), "dtype": ">u2"},
    "turned": {"chunks": (16, 8, 20), "zarr_format": 2, "order": "F"},
    "whole": {"chunks": (64, 64, 64)},
}


def values_of(shape: tuple[int, ...] = SHAPE, start: int = 1) -> np.ndarray:
    return (np.arange(np.prod(shape, dtype=int)) + start).reshape(shape).astype("u2")


def write(folder: Path, kind: str = "plain", values: np.ndarray | None = None) -> np.ndarray:
    values = values_of() if values is None else values
    settings = {"zarr_format": 3, "dtype": "u2", **LAYOUTS[kind]}
    array = zarr.create_array(str(folder), shape=values.shape, **settings)
    array[...] = values
    age(folder)
    return values


def age(folder: Path, when: float = LONG_AGO) -> None:
    for name in folder.rglob("*"):
        if name.is_file():
            os.utime(name, (when, when))


def read(source: ZarrSource, box: Any, steps: Any = None) -> np.ndarray:
    steps = (1,) * len(box) if steps is None else steps
    shape = [-(-(hi - lo) // step) for (lo, hi), step in zip(box, steps, strict=True)]
    out = np.full(shape, 7, source.spec.dtype)
    source.read_strided(tuple(box), tuple(steps), out)
    return out


def counted(name: str) -> int:
    return snapshot().get(name, 0)


@pytest.mark.parametrize("kind", LAYOUTS)
class TestValues:
    def test_boxes_with_steps(self, tmp_path: Path, kind: str, way: str) -> None:
        values = write(tmp_path, kind)
        source = scan(str(tmp_path))
        rng = np.random.default_rng(0)
        with caching(1 << 20):
            for _ in range(25):
                lo = rng.integers(0, SHAPE)
                hi = [int(rng.integers(a + 1, n + 1)) for a, n in zip(lo, SHAPE, strict=True)]
                steps = rng.integers(1, 4, 3).tolist() if rng.integers(2) else [1, 1, 1]
                part = tuple(map(slice, lo.tolist(), hi, steps))
                box = list(zip(lo.tolist(), hi, strict=True))
                assert np.array_equal(read(source, box, steps), values[part])

    def test_each_chunk_is_decoded_once(self, tmp_path: Path, kind: str, way: str) -> None:
        values = write(tmp_path, kind)
        source = scan(str(tmp_path))
        whole = [(0, n) for n in SHAPE]
        with caching(4 << 20):
            assert np.array_equal(read(source, whole), values)
            before = counted("units_read"), counted("cache_hits")
            for z in range(0, 40, 7):
                assert np.array_equal(read(source, [(z, z + 1), *whole[1:]]), values[z : z + 1])
        assert counted("units_read") == before[0]
        assert counted("cache_hits") > before[1]

    def test_many_windows(self, tmp_path: Path, kind: str, way: str) -> None:
        values = write(tmp_path, kind)
        source = scan(str(tmp_path))
        rng = np.random.default_rng(1)
        for nbytes in (0, 200_000, 4 << 20):
            starts = rng.integers(0, np.array(SHAPE) - 12, (9, 3))
            out = np.zeros((9, 12, 12, 12), "u2")
            with caching(nbytes):
                reading = source.read_windows(starts, (12,) * 3, (1,) * 3, out)
                if reading is None:  # too much for the cache, and no compiled code
                    assert nbytes < 1 << 20
                    continue
                with closing(reading):
                    crew = [threading.Thread(target=reading.work) for _ in range(3)]
                    for thread in crew:
                        thread.start()
                    for thread in crew:
                        thread.join()
                    reading.end()
            for (a, b, c), window in zip(starts.tolist(), out, strict=True):
                assert np.array_equal(window, values[a : a + 12, b : b + 12, c : c + 12])


@pytest.mark.parametrize("dtype", ["?", "i1", "f8", "c16", "M8[s]", "S3"])
def test_dtypes(tmp_path: Path, dtype: str, way: str) -> None:
    values = np.arange(60).reshape(6, 10).astype("S3" if dtype == "S3" else "i8").astype(dtype)
    array = zarr.create_array(str(tmp_path), shape=(6, 10), chunks=(4, 4), dtype=dtype,
                              zarr_format=2)  # fmt: skip
    array[...] = values
    age(tmp_path)
    source = scan(str(tmp_path))
    with caching(1 << 20):
        for _ in range(2):
            found = read(source, [(1, 6), (2, 9)], (2, 1)) if dtype != "M8[s]" else None
            if found is not None:
                assert found.tobytes() == values[1:6:2, 2:9].tobytes()


def test_without_dims(tmp_path: Path, way: str) -> None:
    array = zarr.create_array(str(tmp_path), shape=(), dtype="i4")
    array[...] = 5
    age(tmp_path)
    source = scan(str(tmp_path))
    with caching(1 << 20):
        assert [int(read(source, [])) for _ in range(2)] == [5, 5]


class TestWhatIsStale:
    def test_a_changed_file_is_seen_by_the_next_collect(self, tmp_path: Path, way: str) -> None:
        write(tmp_path)
        x = lt.scan_zarr(str(tmp_path))
        with lt.Config(cache_bytes="4MiB"):
            assert np.array_equal(x.collect(), values_of())
            for start in (100, 200, 300):
                # The metadata stays; chunks change, at once and with the same size.
                array = zarr.open_array(str(tmp_path), mode="r+")
                array[...] = values_of(start=start)
                assert np.array_equal(x.collect(), values_of(start=start))
                assert np.array_equal(x[3:9, :5].collect(), values_of(start=start)[3:9, :5])

    def test_an_old_file_is_compared_by_its_time(self, tmp_path: Path, way: str) -> None:
        write(tmp_path, "raw")
        source = scan(str(tmp_path))
        box = [(0, 4), (0, 4), (0, 4)]
        chunk = tmp_path / "c/0/0/0"
        with caching(1 << 20):
            before = read(source, box)
        with caching(1 << 20):
            hits = counted("cache_hits")
            read(source, box)
            assert counted("cache_hits") == hits + 1
        data = np.frombuffer(chunk.read_bytes(), "u2") + np.uint16(1)
        chunk.write_bytes(data.tobytes())
        os.utime(chunk, (LONG_AGO + 1, LONG_AGO + 1))
        with caching(1 << 20):
            assert np.array_equal(read(source, box), before + 1)

    def test_a_file_that_is_gone_is_the_fill_value(self, tmp_path: Path, way: str) -> None:
        write(tmp_path)
        source = scan(str(tmp_path))
        box = [(0, 4), (0, 4), (0, 4)]
        with caching(1 << 20):
            assert read(source, box).any()
        (tmp_path / "c/0/0/0").unlink()
        for _ in range(2):
            missing = counted("chunks_missing")
            with caching(1 << 20):
                assert not read(source, box).any()
            assert counted("chunks_missing") == missing + 1
        strict = scan(str(tmp_path), missing="raise")
        with caching(1 << 20), pytest.raises(SourceNotFoundError, match="c/0/0/0"):
            read(strict, box)

    def test_a_chunk_of_a_changed_shard(self, tmp_path: Path, way: str) -> None:
        write(tmp_path, "sharded")
        x = lt.scan_zarr(str(tmp_path))
        with lt.Config(cache_bytes="4MiB"):
            assert np.array_equal(x[:9].collect(), values_of()[:9])
            zarr.open_array(str(tmp_path), mode="r+")[...] = values_of(start=50)
            assert np.array_equal(x[:9].collect(), values_of(start=50)[:9])

    def test_what_is_in_memory_is_kept_for_one_run(self, way: str) -> None:
        objects: dict[str, Any] = {}
        array = zarr.create_array(objects, shape=(20,), chunks=(5,), dtype="u2")
        array[...] = np.arange(20)
        data = {key: value.to_bytes() for key, value in objects.items()}
        source = scan(data)
        with caching(1 << 20):
            first = [read(source, [(0, 12)]) for _ in range(2)]
            assert counted("cache_hits") > 0
        array[...] = np.arange(20) + 1
        data.update({key: value.to_bytes() for key, value in objects.items()})
        with caching(1 << 20):
            assert np.array_equal(read(source, [(0, 12)]), first[1] + 1)


def test_damaged_chunks_are_never_kept(tmp_path: Path, way: str) -> None:
    values = write(tmp_path)
    chunk = tmp_path / "c/0/0/0"
    good = chunk.read_bytes()
    chunk.write_bytes(good[: len(good) // 2])
    age(tmp_path)
    source = scan(str(tmp_path))
    with caching(1 << 20):
        for _ in range(2):
            with pytest.raises(ChunkDecodeError, match="c/0/0/0"):
                read(source, [(0, 30), (0, 20), (0, 30)])
        chunk.write_bytes(good)
        found = read(source, [(0, 30), (0, 20), (0, 30)])
        assert np.array_equal(found, values[:30, :20, :30])


def test_zip_files(tmp_path: Path, way: str) -> None:
    values = write(tmp_path / "a")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in (tmp_path / "a").rglob("*"):
            archive.write(name, str(name.relative_to(tmp_path / "a")))
    age(tmp_path)
    x = lt.scan_zarr(str(tmp_path / "a.zip"))
    with lt.Config(cache_bytes="4MiB"):
        for _ in range(2):
            assert np.array_equal(x[3:30, 2:20].collect(), values[3:30, 2:20])


class TestMemory:
    def test_it_stays_within_its_bound(self, tmp_path: Path, way: str) -> None:
        shape = (64, 64, 64)
        values = values_of(shape)
        array = zarr.create_array(str(tmp_path), shape=shape, chunks=(16, 16, 16), dtype="u2")
        array[...] = values
        age(tmp_path)
        source, most = scan(str(tmp_path)), 20 * 8192 + 100
        rng = np.random.default_rng(2)
        cache = chunk_cache.chunk_cache()
        with caching(most):
            for _ in range(200):
                a, b, c = rng.integers(0, 56, 3).tolist()
                found = read(source, [(a, a + 8), (b, b + 8), (c, c + 8)])
                assert np.array_equal(found, values[a : a + 8, b : b + 8, c : c + 8])
                assert 0 < cache.nbytes <= most
            before = counted("cache_hits")
            read(source, [(0, 64)] * 3)  # goes past it
            assert counted("cache_hits") == before

    def test_a_chunk_larger_than_the_cache_is_not_kept(self, tmp_path: Path, way: str) -> None:
        values = write(tmp_path)
        with caching(1000):
            assert np.array_equal(read(scan(str(tmp_path)), [(0, 9)] * 3), values[:9, :9, :9])
        assert chunk_cache.chunk_cache().nbytes == 0

    def test_measured(self) -> None:
        cache = ChunkCache()
        tracemalloc.start()
        for number in range(300):
            use = Caching(1 << 20, number)
            taken = cache.take("a", [number], 30_000 + number % 3, use, lambda some, _: some)
            cache.publish(taken, taken.fates == MINE)
            cache.give_back(taken)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < (1 << 20) + (1 << 18)

    def test_sizes_take_turns(self) -> None:
        """Slabs of one size make room for another, and what was used last stays."""
        cache, most = ChunkCache(), 10_000
        for round_ in range(6):
            nbytes = (900, 3000)[round_ % 2]
            for number in range(3):
                use = Caching(most, 1)
                taken = cache.take(nbytes, [number], nbytes, use, lambda some, _: [1] * len(some))
                assert taken.fates[0] in (MINE, HELD)
                cache.publish(taken, taken.fates == MINE)
                cache.give_back(taken)
                assert cache.nbytes <= most
            taken = cache.take(nbytes, [2], nbytes, use, lambda some, _: [1])
            assert taken.fates.tolist() == [HELD]
            cache.give_back(taken)
        small = Caching(2000, 1)
        taken = cache.take("x", [0], 500, small, lambda some, _: [1])
        assert cache.nbytes <= 2000
        cache.give_back(taken)


def take(cache: ChunkCache, units: list[int], most: int = 1 << 20, state: Any = 1) -> Any:
    return cache.take("a", units, 1000, Caching(most, 1), lambda some, _: [state] * len(some))


class TestSlots:
    def test_the_oldest_goes_first(self) -> None:
        cache, most = ChunkCache(), 3 * 1024 + 64
        for number in (0, 1, 2, 0, 3):  # 1 is the oldest when room is needed
            taken = take(cache, [number], most)
            cache.publish(taken, taken.fates == MINE)
            cache.give_back(taken)
        fates = {}
        for number in (0, 2, 3, 1):
            taken = take(cache, [number], most)
            fates[number] = int(taken.fates[0])
            cache.give_back(taken)
        assert fates == {0: HELD, 2: HELD, 3: HELD, 1: MINE}

    def test_what_is_in_use_stays(self) -> None:
        cache, most = ChunkCache(), 2 * 1024 + 64
        used = take(cache, [0, 1], most)
        assert used.fates.tolist() == [MINE, MINE]
        other = take(cache, [2], most)
        assert other.fates.tolist() == [NO_ROOM]
        assert other.slots.tolist() == [-1]
        cache.publish(used, np.array([True, False]))
        cache.give_back(other)
        assert take(cache, [2], most).fates.tolist() == [MINE]
        again = take(cache, [0], most)
        assert again.fates.tolist() == [HELD]
        assert again.addresses[0] == used.addresses[0]

    def test_two_ask_for_one(self) -> None:
        cache = ChunkCache()
        mine, theirs = take(cache, [5]), take(cache, [5])
        assert (mine.fates[0], theirs.fates[0]) == (MINE, THEIRS)
        waiting = threading.Thread(target=cache.await_others, args=(theirs,))
        waiting.start()
        cache.publish(mine, np.array([True]))
        waiting.join(10)
        assert theirs.fates.tolist() == [HELD]
        cache.give_back(mine)
        cache.give_back(theirs)
        failing, theirs = take(cache, [6]), take(cache, [6])
        cache.give_back(failing)  # an error, and nothing was published
        cache.await_others(theirs)
        assert theirs.fates.tolist() == [NO_ROOM]
        cache.give_back(theirs)
        assert take(cache, [6]).fates.tolist() == [MINE]

    def test_another_state_is_another_chunk(self) -> None:
        cache = ChunkCache()
        old = take(cache, [0], state="old")
        cache.publish(old, np.array([True]))
        use = Caching(1 << 20, 2)
        new = cache.take("a", [0], 1000, use, lambda some, known: [f"not {known[0]}"])
        assert new.fates.tolist() == [MINE]
        assert new.addresses[0] != old.addresses[0]
        cache.give_back(old)
        cache.give_back(new)
        assert not cache.in_use()


def test_threads_hammering(tmp_path: Path, way: str) -> None:
    """Small cache, many threads: right values, and at most one decodes a chunk at a time."""
    values = write(tmp_path)
    source = scan(str(tmp_path))
    use, errors = new_run(120_000), []

    def hammer(seed: int) -> None:
        CACHING.set(use)
        rng = np.random.default_rng(seed)
        try:
            for _ in range(60):
                a, b, c = rng.integers(0, (30, 23, 40)).tolist()
                found = read(source, [(a, a + 10), (b, b + 10), (c, c + 10)])
                assert np.array_equal(found, values[a : a + 10, b : b + 10, c : c + 10])
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    crew = [threading.Thread(target=hammer, args=(seed,)) for seed in range(6)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join(60)
    assert not errors
    assert chunk_cache.chunk_cache().nbytes <= 120_000


def test_threads_share_what_they_decode(tmp_path: Path, way: str) -> None:
    values = write(tmp_path)
    source = scan(str(tmp_path))
    use, start = new_run(8 << 20), threading.Barrier(4)
    before = counted("units_read")

    def whole() -> None:
        CACHING.set(use)
        start.wait()
        assert np.array_equal(read(source, [(0, n) for n in SHAPE]), values)

    crew = [threading.Thread(target=whole) for _ in range(4)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join(60)
    assert counted("units_read") - before == 3 * 5 * 3


@needs_fork
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_starts_with_an_empty_one(tmp_path: Path, way: str) -> None:
    values = write(tmp_path)
    source = scan(str(tmp_path))
    cache = chunk_cache.chunk_cache()

    def child() -> bytes:
        assert chunk_cache.chunk_cache().nbytes == 0
        with caching(1 << 20):
            found = [read(source, [(0, 20)] * 3) for _ in range(2)]
        good = all(np.array_equal(one, values[:20, :20, :20]) for one in found)
        return b"good" if good and chunk_cache.chunk_cache().nbytes else b"bad"

    with caching(1 << 20):
        read(source, [(0, 20)] * 3)
        with cache._lock:  # as another thread may hold it
            assert in_child(child) == b"good"
        hits = counted("cache_hits")
        read(source, [(0, 20)] * 3)
        assert counted("cache_hits") > hits


def test_the_option(tmp_path: Path) -> None:
    write(tmp_path)
    x = lt.scan_zarr(str(tmp_path))
    lt.metrics(reset=True)
    x[:9].collect()
    assert "cache_misses" not in lt.metrics()
    with lt.Config(cache_bytes="1MiB"):
        assert lt.get_config()["cache_bytes"] == 1 << 20
        x[:9].collect()
        _, rows = x[:9].profile()
        assert rows["cache_hits"].sum() > 0
        with lt.Config(cache_bytes=0):
            hits = lt.metrics()["cache_hits"]
            x[:9].collect()
            assert lt.metrics()["cache_hits"] == hits
    assert lt.metrics()["cache_misses"] > 0
    with pytest.raises(ValueError, match="cache_bytes"):
        lt.Config(cache_bytes=-1)


@pytest.mark.parametrize("kind", ["plain", "sharded"])
def test_remote_chunks_are_fetched_together_and_once(tmp_path: Path, kind: str, way: str) -> None:
    values = write(tmp_path, kind)
    objects = {
        f"a.zarr/{name.relative_to(tmp_path)}": name.read_bytes()
        for name in tmp_path.rglob("*")
        if name.is_file()
    }
    with serving(objects) as server:
        x = lt.scan_zarr(f"{server.url}/a.zarr")
        with lt.Config(cache_bytes="8MiB"):
            part = (slice(3, 30), slice(2, 20), slice(5, 45))
            for _ in range(2):
                assert np.array_equal(x[part].collect(), values[part])
            before = counted("bytes_read")
            assert np.array_equal(x[10:20, 4:9, 7:30].collect(), values[10:20, 4:9, 7:30])
            assert counted("bytes_read") == before
            found = lt.stack([x[i : i + 9, :8, 30:] for i in (0, 11, 31)]).collect()
            assert np.array_equal(
                found, np.stack([values[i : i + 9, :8, 30:] for i in (0, 11, 31)])
            )


def test_metrics_say_what_the_cache_holds(tmp_path: Path) -> None:
    values = np.arange(64 * 64, dtype="u2").reshape(64, 64)
    zarr.create_array(str(tmp_path / "a"), data=values, chunks=(16, 16))
    x = lt.scan_zarr(str(tmp_path / "a"))
    before = lt.metrics()["cache"]
    with lt.Config(cache_bytes="16MiB"):
        for _ in range(2):
            np.testing.assert_array_equal(x[8:24, 8:24].collect(), values[8:24, 8:24])
    after = lt.metrics()["cache"]
    assert after["hits"] + after["misses"] - before["hits"] - before["misses"] == 8
    assert after["nbytes"] > 0
