"""How many round trips over a network opening, counting and reading take, one after another.

The server keeps its answers until nobody asks any more, and then gives all of them: what was asked
for at once is one round, however long the machine takes to ask.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.errors import SourceError
from lazytensor.sample import write_sample
from tests.io.servers import ObjectServer, serving
from tests.io.test_zarr_grids import sharded

pytest.importorskip("aiohttp")
zarr = pytest.importorskip("zarr")

QUIET = 0.15


@pytest.fixture(scope="module")
def shared() -> Iterator[ObjectServer]:
    with serving() as server:
        yield server


@pytest.fixture
def server(shared: ObjectServer) -> ObjectServer:
    shared.renew()
    shared.quiet = QUIET
    return shared


def values_of(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=5)).integers(0, 1 << 16, shape, np.uint16)


def files(folder: Path) -> dict[str, bytes]:
    """The files of a folder by their paths in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write(folder: Path, values: np.ndarray, **settings: Any) -> dict[str, bytes]:
    """The objects of an array that zarr-python wrote, raw."""
    raw = {"compressors": None, "filters": None}
    array = zarr.create_array(folder, shape=values.shape, dtype=values.dtype, **raw, **settings)
    array[...] = values
    return files(folder)


def rounds(server: ObjectServer) -> int:
    """Round trips since it was last asked."""
    found, server.rounds = server.rounds, 0
    return found


class TestOpening:
    @pytest.mark.parametrize("zarr_format", [2, 3])
    def test_an_array(self, server: ObjectServer, tmp_path: Path, zarr_format: int) -> None:
        values = values_of((8, 6))
        server.objects = write(tmp_path, values, chunks=(4, 6), zarr_format=zarr_format)
        x = lt.scan_zarr(server.url)
        assert rounds(server) == 1
        assert np.array_equal(x.collect(), values) and rounds(server) == 1

    def test_what_is_not_needed_may_be_forbidden(
        self, server: ObjectServer, tmp_path: Path
    ) -> None:
        server.objects = write(tmp_path, values_of((8, 6)), chunks=(4, 6))
        server.absent = 403
        assert lt.scan_zarr(server.url).shape == (8, 6)
        with pytest.raises(SourceError, match="403"):
            lt.scan_zarr(f"{server.url}/none")

    @pytest.mark.filterwarnings("ignore:Consolidated metadata")
    @pytest.mark.parametrize("zarr_format", [2, 3])
    @pytest.mark.parametrize("consolidated", [True, False])
    def test_a_group(
        self, server: ObjectServer, tmp_path: Path, zarr_format: int, consolidated: bool
    ) -> None:
        root = zarr.create_group(tmp_path, zarr_format=zarr_format, attributes={"by": "me"})
        for i in range(5):
            root.create_array(f"a{i}", shape=(i + 1,), dtype="u2")
        if consolidated:
            zarr.consolidate_metadata(tmp_path)
        server.objects = files(tmp_path)
        group = lt.open_zarr(server.url)
        assert rounds(server) == 1 and group.attrs["by"] == "me"
        assert group["a3"].shape == (4,) and rounds(server) == (0 if consolidated else 1)
        if consolidated:
            assert [group[name].shape for name in group] == [(i + 1,) for i in range(5)]
            assert rounds(server) == 0
            return
        page = "".join(f'<a href="a{i}/">a{i}</a>' for i in range(5))
        server.objects[""] = page.encode()
        assert sorted(iter(group)) == [f"a{i}" for i in range(5)]
        assert rounds(server) == 2  # the listing, and all arrays at once

    def test_an_image(self, server: ObjectServer, tmp_path: Path) -> None:
        server.objects = files(write_sample(tmp_path))
        image = lt.open_ome_zarr(server.url)[0]
        assert rounds(server) == 1
        assert [level.shape[-1] for level in image.levels] == [320, 160, 80]
        assert rounds(server) == 1
        asked = [request.path for request in server.log]
        assert asked.count("zarr.json") == 1 and asked.count("2/zarr.json") == 1
        assert "2/.zarray" not in asked  # what is of one format has levels of that format


class TestReading:
    def test_objects(self, server: ObjectServer, tmp_path: Path) -> None:
        values = values_of((1024, 2048))
        server.objects = write(tmp_path, values, chunks=(128, 128))
        x = lt.scan_zarr(server.url)
        rounds(server)
        assert np.array_equal(x.collect(), values) and rounds(server) == 1
        assert lt.sum(x.astype("i8")).collect() == values.sum(dtype="i8") and rounds(server) == 1
        assert np.array_equal(x[::300, ::300].collect(), values[::300, ::300])
        assert rounds(server) == 1

    def test_one_thread_does_not_wait_for_what_comes_next(
        self, server: ObjectServer, tmp_path: Path
    ) -> None:
        values = values_of((1024, 2048))
        server.objects = write(tmp_path, values, chunks=(1024, 2048 // 4))
        x = lt.scan_zarr(server.url)
        rounds(server)
        with lt.Config(threads=1):
            assert np.array_equal((x + 1).collect(), values + np.uint16(1))
        assert rounds(server) == 1

    @pytest.mark.parametrize("key", [np.s_[:], np.s_[::4], np.s_[3::64, ::-1]], ids=str)
    def test_parts_of_one_shard(self, server: ObjectServer, tmp_path: Path, key: Any) -> None:
        values = values_of((1024, 2048))
        server.objects = write(tmp_path, values, chunks=(1, 2048), shards=(1024, 2048))
        x = lt.scan_zarr(server.url)[key]
        rounds(server)
        assert np.array_equal(x.collect(), values[key]) and rounds(server) == 2
        assert np.array_equal(x.collect(), values[key]) and rounds(server) == 1

    @pytest.mark.parametrize("key", [np.s_[:], np.s_[::256, ::300], np.s_[5, ::100]], ids=str)
    def test_many_shards(self, server: ObjectServer, tmp_path: Path, key: Any) -> None:
        values = values_of((1024, 2048))
        server.objects = write(tmp_path, values, chunks=(64, 64), shards=(256, 256))
        x = lt.scan_zarr(server.url)[key]
        rounds(server)
        assert np.array_equal(x.collect(), values[key]) and rounds(server) == 2
        assert np.array_equal(x.collect(), values[key]) and rounds(server) == 1

    def test_the_end_that_opening_brought_is_not_fetched_again(
        self, server: ObjectServer, tmp_path: Path
    ) -> None:
        values = values_of((256, 256))
        server.objects = write(tmp_path, values, chunks=(64, 64), shards=(256, 256))
        size = len(server.objects["c/0/0"])
        x = lt.scan_zarr(server.url)
        server.log.clear()
        assert np.array_equal(x.collect(), values)
        spans = [request.range or "" for request in server.log]
        assert spans == ["bytes=-16384", f"bytes=0-{size - 16384 - 1}"]

    @pytest.mark.parametrize("key", [np.s_[3::4], np.s_[1::2], np.s_[::9], np.s_[200:]], ids=str)
    def test_a_part_that_ends_in_it_takes_no_third_round(
        self, server: ObjectServer, tmp_path: Path, key: Any
    ) -> None:
        values = values_of((256, 2048))
        server.objects = write(tmp_path, values, chunks=(1, 2048), shards=(256, 2048))
        x = lt.scan_zarr(server.url)[key]
        rounds(server)
        assert np.array_equal(x.collect(), values[key]) and rounds(server) == 2

    def test_shards_of_several_shapes(self, server: ObjectServer) -> None:
        values = values_of((30, 2000))
        server.objects = sharded(values, (2, 1000), [4, [6, 3], 8], [[1000, 2]])
        x = lt.scan_zarr(server.url)
        rounds(server)
        assert np.array_equal(x.collect(), values) and rounds(server) <= 2
        assert np.array_equal(x[::7].collect(), values[::7]) and rounds(server) == 1
        assert x.estimate(exact=True).bytes_read == values.nbytes and rounds(server) == 1


class TestSizes:
    def test_objects(self, server: ObjectServer, tmp_path: Path) -> None:
        values = values_of((256, 512))
        server.objects = write(tmp_path, values, chunks=(64, 64))
        del server.objects["c/1/1"]
        x = lt.scan_zarr(server.url)
        rounds(server)
        assert x.estimate(exact=True).bytes_read == values.nbytes - 64 * 64 * 2
        assert rounds(server) == 1

    def test_shards(self, server: ObjectServer, tmp_path: Path) -> None:
        values = values_of((256, 512))
        server.objects = write(tmp_path, values, chunks=(16, 16), shards=(64, 64))
        del server.objects["c/1/1"]
        x = lt.scan_zarr(server.url)
        rounds(server)
        index = 16 * 4 * 4 + 4
        stored = values.nbytes - 64 * 64 * 2 + 31 * index
        assert x.estimate(exact=True).bytes_read == stored
        assert rounds(server) <= 2
        assert x[::16, ::32].estimate(exact=True).chunks_read == 16 * 16


class TestStopping:
    @pytest.fixture
    def array(self, server: ObjectServer, tmp_path: Path) -> Any:
        """Eight tasks of one object each."""
        server.objects = write(tmp_path, values_of((4096, 1024)), chunks=(512, 1024))
        x = lt.scan_zarr(server.url)
        server.quiet = 0.0
        server.most_at_once = 0
        return x + 1

    def test_a_cancelled_run_does_not_wait_for_its_answers(
        self, server: ObjectServer, array: Any
    ) -> None:
        server.latency = 60
        handle = array.collect(background=True)
        deadline = time.monotonic() + 20
        while server.at_once < 8 and time.monotonic() < deadline:
            time.sleep(0.005)
        assert server.at_once == 8 and handle.cancel()
        with pytest.raises(CancelledError, match="the run was cancelled"):
            handle.result(timeout=20)

    @pytest.mark.parametrize("threads", [1, None])
    def test_a_failure_ends_the_run(
        self, server: ObjectServer, array: Any, threads: int | None
    ) -> None:
        server.faults, server.only = [400], "c/0/0"
        with (
            lt.Config(threads=threads),
            pytest.raises(SourceError, match="key 'c/0/0': HTTP status 400"),
        ):
            array.collect()
        server.faults = []
        assert array.collect().shape == (4096, 1024)
