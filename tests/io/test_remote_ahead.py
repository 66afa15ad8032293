"""What is fetched before it is read: in how many round trips, nothing twice, what goes wrong."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.errors import ChunkDecodeError, SourceError, SourceNotFoundError
from lazytensor.exec.memory import Spare
from tests.exec.test_forks import in_child, needs_fork
from tests.io.servers import ObjectServer, serving
from tests.io.test_store_trips import QUIET, rounds, values_of, write

pytest.importorskip("aiohttp")
zarr = pytest.importorskip("zarr")

SHAPE = (512, 2048)
CHUNKS = {"chunks": (64, 256)}
SHARDS = {"chunks": (16, 64), "shards": (64, 256)}
POINTS = np.random.Generator(np.random.Philox(key=6)).integers(0, SHAPE, (300, 2)).T


@pytest.fixture(scope="module")
def shared() -> Iterator[ObjectServer]:
    with serving() as server:
        yield server


@pytest.fixture
def server(shared: ObjectServer) -> ObjectServer:
    shared.renew()
    return shared


@cache
def objects(kind: str, plus: int = 0) -> dict[str, bytes]:
    """An array by its objects: in chunks, in shards, or in shards in shards."""
    values = values_of(SHAPE) + np.uint16(plus)
    with tempfile.TemporaryDirectory() as folder:
        if kind != "nested":
            return write(Path(folder), values, **(CHUNKS if kind == "chunks" else SHARDS))
        inner = zarr.codecs.ShardingCodec(chunk_shape=(16, 64), codecs=[zarr.codecs.BytesCodec()])
        outer = zarr.codecs.ShardingCodec(chunk_shape=(64, 256), codecs=[inner])
        return write(Path(folder), values, serializer=outer, chunks=(256, 1024))


def store(server: ObjectServer, kind: str) -> np.ndarray:
    """The values of an array that a server has."""
    server.objects = dict(objects(kind))
    return values_of(SHAPE)


def fetched_twice(server: ObjectServer) -> int:
    """Bytes that were asked for more than once, the ends of shards aside."""
    spans = defaultdict(list)
    for request in server.log:
        if request.range is None:
            spans[request.path].append((0, len(server.objects.get(request.path, b""))))
            continue
        first, _, last = request.range.removeprefix("bytes=").partition("-")
        if first:
            spans[request.path].append((int(first), int(last) + 1))
    twice = 0
    for found in spans.values():
        end = 0
        for lo, hi in sorted(found):
            twice += max(0, min(end, hi) - lo)
            end = max(end, hi)
    return twice


WORK: dict[str, Callable[[Any], Any]] = {
    "all": lambda x: x + 1,
    "strided": lambda x: x[::3, ::-5] + 1,
    "turned": lambda x: x.T[100:2000] + 1,
    "sum": lambda x: lt.sum(x.astype("i8")),
    "sum along": lambda x: lt.sum(x.astype("f4"), axis=0),
    "two reads": lambda x: x[:256] + x[256:],
    "points": lambda x: x.vindex[POINTS[0], POINTS[1]],
    "rows": lambda x: x.oindex[[500, 3, 77, 3], [2000, 5, 300]],
    "points of a sum": lambda x: x.vindex[POINTS[0], POINTS[1]] + 1,
}
ONE_TIME = {"chunks": 1, "shards": 2, "nested": 3}


@pytest.mark.parametrize("threads", [1, 3, None])
@pytest.mark.parametrize("kind", ONE_TIME)
@pytest.mark.parametrize("work", WORK)
def test_values_are_the_same_and_nothing_is_fetched_twice(
    server: ObjectServer, work: str, kind: str, threads: int | None
) -> None:
    values = store(server, kind)
    expected = WORK[work](lt.asarray(values)).collect()
    x = WORK[work](lt.scan_zarr(server.url))
    server.log.clear()
    found = x.collect(engine=lt.LocalEngine(threads=threads))
    assert np.array_equal(found, expected)
    # Tasks that begin with the same shard may each ask for its index, and for the indices of shards
    # in it, with what lies between those.
    indices = {"chunks": 0, "shards": 16 << 10, "nested": values.nbytes}
    assert work == "two reads" or fetched_twice(server) <= indices[kind]


@pytest.mark.parametrize("kind", ONE_TIME)
@pytest.mark.parametrize("work", ["all", "sum", "two reads", "points", "points of a sum"])
def test_one_thread_takes_no_more_round_trips_than_one_read(
    server: ObjectServer, work: str, kind: str
) -> None:
    # What several tasks want of one nested shard they ask for one after the other at worst.
    most = ONE_TIME[kind] + (kind == "nested")
    found = []
    for _ in range(3):
        # A machine with other things to do makes more round trips of one, and never fewer.
        server.renew()
        store(server, kind)
        server.quiet = 3 * QUIET
        x = WORK[work](lt.scan_zarr(server.url))
        rounds(server)
        x.collect(engine=lt.LocalEngine(threads=1))
        first = rounds(server)
        x.collect(engine=lt.LocalEngine(threads=1))
        found.append((first, rounds(server)))
        if found[-1][0] <= most and found[-1][1] == 1:
            return
    pytest.fail(f"expected {most} round trips and then 1, found {found}")


@pytest.mark.parametrize("limit", ["1MiB", "3MiB", "64MiB"])
@pytest.mark.parametrize("work", WORK)
def test_what_is_fetched_ahead_keeps_to_the_limit(
    server: ObjectServer, work: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = store(server, "chunks")
    expected = WORK[work](lt.asarray(values)).collect()
    spares: list[Spare] = []
    made = Spare.__init__

    def make(spare: Spare, nbytes: int) -> None:
        made(spare, nbytes)
        spares.append(spare)

    monkeypatch.setattr(Spare, "__init__", make)
    most = 0
    take = Spare.take

    def taking(spare: Spare, nbytes: int, places: int = 1) -> bool:
        nonlocal most
        taken = take(spare, nbytes, places)
        most = max(most, spare.nbytes - spare._free)
        return taken

    monkeypatch.setattr(Spare, "take", taking)
    x = WORK[work](lt.scan_zarr(server.url))
    for threads in (1, 2):
        try:
            engine = lt.LocalEngine(threads=threads, max_memory=limit)
            assert np.array_equal(x.collect(engine=engine), expected)
        except lt.errors.MemoryLimitError:
            assert limit == "1MiB"
            return
    assert spares
    assert all(spare._free == spare.nbytes >= 0 for spare in spares), "all was given back"
    assert most <= lt.config.parse_bytes(limit)
    if limit == "64MiB":
        assert most > 0


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("work", ["all", "sum", "points"])
class TestErrors:
    def test_of_a_server(self, server: ObjectServer, work: str, threads: int) -> None:
        store(server, "chunks")
        x = WORK[work](lt.scan_zarr(server.url))
        server.faults, server.only = [403] * 100, "c/5/3"
        server.absent = 404
        with pytest.raises(SourceError, match="key 'c/5/3': HTTP status 403"):
            x.collect(engine=lt.LocalEngine(threads=threads))
        server.faults = []
        assert np.array_equal(
            x.collect(engine=lt.LocalEngine(threads=threads)),
            WORK[work](lt.asarray(values_of(SHAPE))).collect(),
        )

    def test_of_an_object_that_is_not_there(
        self, server: ObjectServer, work: str, threads: int
    ) -> None:
        values = store(server, "chunks")
        del server.objects["c/5/3"]
        engine = lt.LocalEngine(threads=threads)
        with pytest.raises(SourceNotFoundError, match="c/5/3"):
            WORK[work](lt.scan_zarr(server.url, missing="raise")).collect(engine=engine)
        values[320:384, 768:1024] = 0
        found = WORK[work](lt.scan_zarr(server.url)).collect(engine=engine)
        assert np.array_equal(found, WORK[work](lt.asarray(values)).collect())

    def test_of_a_damaged_object(self, server: ObjectServer, work: str, threads: int) -> None:
        store(server, "chunks")
        server.objects["c/5/3"] = server.objects["c/5/3"][:-1]
        x = WORK[work](lt.scan_zarr(server.url))
        with pytest.raises(ChunkDecodeError, match="c/5/3"):
            x.collect(engine=lt.LocalEngine(threads=threads))

    def test_of_a_damaged_index(self, server: ObjectServer, work: str, threads: int) -> None:
        for kind in ("shards", "nested"):
            store(server, kind)
            key = max(key for key in server.objects if key.startswith("c/"))
            server.objects[key] = server.objects[key][:-9] + b"?" * 9
            x = WORK[work](lt.scan_zarr(server.url))
            with pytest.raises(lt.errors.FormatError, match=key):
                x.collect(engine=lt.LocalEngine(threads=threads))

    def test_what_changes_is_read_again(
        self, server: ObjectServer, work: str, threads: int
    ) -> None:
        for kind in ("shards", "nested"):
            values = store(server, kind)
            x = WORK[work](lt.scan_zarr(server.url))
            engine = lt.LocalEngine(threads=threads)
            x.collect(engine=engine)
            server.objects = objects(kind, plus=1)
            values += np.uint16(1)
            expected = WORK[work](lt.asarray(values)).collect()
            assert np.array_equal(x.collect(engine=engine), expected)


class TestStopping:
    @pytest.mark.parametrize("work", ["all", "sum", "points"])
    def test_cancelling_drops_what_is_under_way(self, server: ObjectServer, work: str) -> None:
        store(server, "chunks")
        x = WORK[work](lt.scan_zarr(server.url))
        server.latency = 60
        handle = x.collect(background=True, engine=lt.LocalEngine(threads=1))
        until(lambda: server.at_once >= 32)
        assert handle.cancel()
        with pytest.raises(CancelledError, match="the run was cancelled"):
            handle.result(timeout=20)
        assert not fetching()

    @pytest.mark.parametrize("work", ["all", "sum", "points"])
    def test_an_interrupt_drops_what_is_under_way(self, server: ObjectServer, work: str) -> None:
        store(server, "chunks")
        x = WORK[work](lt.scan_zarr(server.url))
        server.latency = 60

        def interrupt() -> None:
            until(lambda: server.at_once >= 32)
            signal.raise_signal(signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            x.collect(engine=lt.LocalEngine(threads=1))
        thread.join()
        assert time.monotonic() - begin < 40
        assert not fetching()

    @needs_fork
    def test_a_forked_child_fetches_ahead(self, server: ObjectServer) -> None:
        values = store(server, "shards")
        x = lt.scan_zarr(server.url) + 1
        engine = lt.LocalEngine(threads=1)
        assert np.array_equal(x.collect(engine=engine), values + np.uint16(1))
        sums = np.sum(values + np.uint16(1), axis=0, dtype="i8")
        assert in_child(lambda: np.sum(x.collect(engine=engine), axis=0, dtype="i8").tobytes()) == (
            sums.tobytes()
        )


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert true()


def fetching() -> list[str]:
    """Helpers that are not waiting for work."""
    from lazytensor.exec import crew

    until(lambda: all(helper.errand is None for helper in crew._idle))
    alive = [t for t in threading.enumerate() if t.name.startswith("lazytensor-")]
    idle = {helper.thread for helper in crew._idle}
    return [thread.name for thread in alive if thread not in idle]


def test_a_profile_counts_what_was_fetched_ahead(server: ObjectServer) -> None:
    for kind in ("chunks", "shards"):
        store(server, kind)
        x = lt.scan_zarr(server.url) + 1
        foretold = x.estimate(exact=True).bytes_read
        lt.metrics(reset=True)
        x.collect(engine=lt.LocalEngine(threads=1))
        assert lt.metrics(reset=True)["bytes_read"] == foretold
