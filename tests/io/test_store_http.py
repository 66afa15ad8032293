"""HTTP as a store, against a server on loopback that misbehaves on purpose."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.errors import SourceChangedError, SourceError, SourceNotFoundError
from lazytensor.io import store_retry
from lazytensor.io.store import Loaded, Store
from lazytensor.io.store_open import make_store
from lazytensor.io.store_remote import RemoteStore
from tests.io.servers import ObjectServer, serving

pytest.importorskip("aiohttp")

BIG = bytes(range(256)) * 4096  # 1 MiB, in which every offset below 256 differs
LARGE = BIG * 3


@pytest.fixture(scope="module")
def shared() -> Iterator[ObjectServer]:
    with serving() as server:
        yield server


@pytest.fixture
def server(shared: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> ObjectServer:
    """The server as it is when nothing is wrong with it."""
    shared.renew({"a/zarr.json": b'{"a": 1}', "a/big": BIG, "a/large": LARGE, "a/empty": b""})
    monkeypatch.setattr(store_retry, "FIRST_PAUSE", 0.01)
    return shared


@pytest.fixture
def store(server: ObjectServer) -> Store:
    return make_store(f"{server.url}/a")


def test_objects_and_parts(store: Store, server: ObjectServer) -> None:
    assert isinstance(store, RemoteStore) and store.remote
    assert store.get("zarr.json") == b'{"a": 1}' and store.get("nothing") is None
    assert store.get("empty") == b"" and store.size("empty") == 0
    assert store.get_many(["nothing", "big", "zarr.json"]) == [None, BIG, b'{"a": 1}']
    assert store.size("big") == len(BIG) and store.size("nothing") is None
    assert store.token("nothing") is None and store.token("big") == store.token("big") != None  # noqa: E711
    assert store.open("nothing") is None
    opened = store.open("big")
    assert opened is not None and opened.token == store.token("big")
    with opened:
        assert opened.size == len(BIG)
        assert bytes(opened.read(300, 5)) == BIG[300:305]
        ranges = [(7, 9), (len(BIG) - 3, len(BIG)), (0, 0), (700_000, 700_010), (7, 9)]
        assert [bytes(p) for p in opened.read_many(ranges)] == [BIG[a:b] for a, b in ranges]
        with pytest.raises(SourceError, match="do not exist"):
            opened.read(len(BIG) - 1, 2)
    assert all(request.method == "GET" for request in server.log)


def test_objects_with_their_tokens(store: Store, server: ObjectServer) -> None:
    server.faults, server.only = [403], "a/large"
    big, nothing, large, empty = store.load_many(["big", "nothing", "large", "empty"])
    assert isinstance(big, Loaded) and isinstance(empty, Loaded) and nothing is None
    assert big.data == BIG and isinstance(large, SourceError)
    assert len(server.log) == 4
    server.only = ""
    assert big.token == store.token("big") and empty.data == b""
    assert store.size_many(["nothing", "large", "empty"]) == [None, len(LARGE), 0]


def test_keys_are_quoted_and_queries_stay_at_the_end(server: ObjectServer) -> None:
    server.objects |= {"x/a%20b%3F%23%2541?sig=1": b"1"}
    assert make_store(f"{server.url}/x?sig=1").get("a b?#%41") == b"1"
    server.log.clear()
    with pytest.raises(SourceError, match="not allowed"):
        make_store(f"{server.url}/x").get_many(["ok", "../a"])
    assert not server.log


class TestRoundTrips:
    def test_opening_brings_size_token_and_end(self, store: Store, server: ObjectServer) -> None:
        opened = store.open("big")
        assert opened is not None
        assert bytes(opened.read(len(BIG) - 9, 9)) == BIG[-9:]
        assert len(server.log) == 1 and server.log[0].range == "bytes=-16384"
        ahead = store.open_many(["big", "nothing"], (0, 50_000))[0]
        assert ahead is not None and bytes(ahead.read(49_990, 10)) == BIG[49_990:50_000]
        assert len(server.log) == 3

    def test_small_objects_come_whole(self, store: Store, server: ObjectServer) -> None:
        opened = store.open("zarr.json")
        assert opened is not None and bytes(opened.read(2, 1)) == b"a" and len(server.log) == 1

    def test_what_is_known_saves_opening(self, store: Store, server: ObjectServer) -> None:
        seen: list[bytes] = []
        for _ in range(3):
            assert store.using("big", lambda whole: seen.append(bytes(whole.read(5, 3))))
        assert seen == [BIG[5:8]] * 3
        assert [request.range for request in server.log] == ["bytes=-16384"] + ["bytes=5-7"] * 3
        assert all(request.if_match for request in server.log[1:])

    def test_ranges_are_merged_into_some_requests(self, store: Store, server: ObjectServer) -> None:
        server.objects["a/wide"] = wide = LARGE * 4
        ranges = [(at, at + 1000) for at in range(0, len(wide) - 1000, 40_000)]
        opened = store.open("wide")
        assert opened is not None
        assert [bytes(p) for p in opened.read_many(ranges)] == [wide[a:b] for a, b in ranges]
        assert 8 <= len(server.log) - 1 <= 16

    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        ranges=st.lists(
            st.tuples(st.integers(0, len(LARGE)), st.integers(0, 300_000)), max_size=12
        ),
        ahead=st.sampled_from([None, (0, 200_000), (-1_000_000, 0), (0, 1), (-1, 0)]),
    )
    @example(ranges=[(0, 300_000), (100_000, 5), (0, 7), (2_000_000, 9)], ahead=(0, 1))
    def test_any_ranges(
        self, store: Store, ranges: list[tuple[int, int]], ahead: tuple[int, int] | None
    ) -> None:
        spans = [(start, min(start + length, len(LARGE))) for start, length in ranges]
        for recall in (False, True):
            whole = store.open_many(["large"], ahead, recall=recall)[0]
            assert whole is not None and store.prefetch([(whole, spans[::2])]) == [True]
            assert [bytes(p) for p in whole.read_many(spans)] == [LARGE[a:b] for a, b in spans]

    def test_long_ranges_are_cut(self, store: Store, server: ObjectServer) -> None:
        server.objects["a/long"] = long = LARGE * 3
        opened = store.open("long")
        assert opened is not None and bytes(opened.read(1, len(long) - 1)) == long[1:]
        assert len(server.log) == 4

    def test_ranges_of_many_objects_go_out_together(
        self, store: Store, server: ObjectServer
    ) -> None:
        server.latency = 0.05
        keys = [f"many/{i}" for i in range(40)]
        server.objects |= {f"a/{key}": bytes([i]) * 40_000 for i, key in enumerate(keys)}
        opened = store.open_many(keys)
        parts = [(whole, [(i, i + 2), (20_000, 20_001)]) for i, whole in enumerate(opened) if whole]
        assert store.prefetch(parts) == [True] * 40 and server.most_at_once > 30
        asked = len(server.log)
        for i, (whole, ranges) in enumerate(parts):
            assert [bytes(p) for p in whole.read_many(ranges)] == [bytes([i]) * 2, bytes([i])]
        assert len(server.log) == asked == 80
        again = store.open_many(keys, recall=True)
        assert len(server.log) == asked and store.prefetch([(w, []) for w in again if w])

    def test_one_limit_for_the_process(self, store: Store, server: ObjectServer) -> None:
        server.latency = 0.02
        keys = [f"none/{i}" for i in range(12)]

        def read() -> None:
            with lt.Config(io_concurrency=5):
                assert store.get_many(keys) == [None] * 12

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.most_at_once == 5 and len(server.log) == 48


class TestFailures:
    @pytest.mark.parametrize(
        "faults", [[500], [503, 502], ["drop"], ["cut"], [429, "drop", 504], [408]]
    )
    def test_what_passes_is_asked_again(
        self, store: Store, server: ObjectServer, faults: list[Any]
    ) -> None:
        server.faults[:] = faults
        assert store.get("big") == BIG and len(server.log) == len(faults) + 1

    def test_in_the_middle_of_ranges(self, store: Store, server: ObjectServer) -> None:
        opened = store.open("large")
        server.faults[:] = ["cut", 503]
        assert opened is not None
        assert bytes(opened.read(5, 2_000_000)) == LARGE[5:2_000_005]

    @pytest.mark.parametrize("status", [400, 401, 403, 405, 501])
    def test_what_stays_is_not(self, store: Store, server: ObjectServer, status: int) -> None:
        for call in (store.get, store.open, store.size, store.token):
            server.faults[:] = [status, status]
            with pytest.raises(SourceError, match=f"a, key 'big': HTTP status {status}") as caught:
                call("big")
            assert not isinstance(caught.value, SourceNotFoundError) and caught.value.__cause__

    def test_patience_ends(self, store: Store, server: ObjectServer) -> None:
        server.faults[:] = [503] * 20
        with pytest.raises(SourceError, match=r"key 'big': HTTP status 503"):
            store.get("big")
        assert len(server.log) == store_retry.ATTEMPTS

    def test_the_server_says_how_long_to_wait(self, store: Store, server: ObjectServer) -> None:
        server.faults[:] = [(429, {"Retry-After": "1"})]
        began = time.monotonic()
        assert store.get("zarr.json") == b'{"a": 1}'
        assert time.monotonic() - began >= 1
        server.faults[:] = [(503, {"Retry-After": "86400"})]
        with pytest.raises(SourceError, match="503"):
            store.get("zarr.json")

    def test_nobody_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(store_retry, "FIRST_PAUSE", 0.001)
        with pytest.raises(SourceError, match=r"127\.0\.0\.1:1/x, key 'a'"):
            make_store("http://127.0.0.1:1/x").get("a")

    def test_forbidden_may_mean_missing(self, server: ObjectServer) -> None:
        server.absent = 403
        with pytest.raises(SourceError, match="403"):
            make_store(f"{server.url}/a").get("none")
        lenient = make_store(f"{server.url}/a", missing_status=(404, 403))
        assert lenient.get_many(["none", "zarr.json"]) == [None, b'{"a": 1}']
        assert lenient.open("none") is None and lenient.size("none") is None

    def test_secrets_are_not_shown(self, server: ObjectServer) -> None:
        url = server.url.replace("//", "//me:hunter2@") + "/a?sig=hunter2"
        store = make_store(url)
        server.faults[:] = [403]
        with pytest.raises(SourceError, match="403") as caught:
            store.get("zarr.json")
        for text in (str(caught.value), str(caught.value.__cause__), repr(store), store.name):
            assert "hunter2" not in text


class TestServers:
    """What servers differ in."""

    def test_without_ranges(self, store: Store, server: ObjectServer) -> None:
        server.ranges = False
        opened = store.open("large")
        assert opened is not None and opened.size == len(LARGE)
        parts = [bytes(p) for p in opened.read_many([(5, 9), (2_000_000, 2_000_003)])]
        assert parts == [LARGE[5:9], LARGE[2_000_000:2_000_003]]
        asked = len(server.log)
        assert bytes(opened.read(9, 9)) == LARGE[9:18] and asked == len(server.log) == 2
        assert store.size("big") == len(BIG) and store.size("empty") == 0

    def test_that_stop_doing_ranges(self, store: Store, server: ObjectServer) -> None:
        opened = store.open("large")
        server.ranges = False
        assert opened is not None and bytes(opened.read(3, 2_500_000)) == LARGE[3:2_500_003]

    def test_without_suffix_ranges(self, store: Store, server: ObjectServer) -> None:
        server.suffixes = False
        for _ in range(2):
            opened = store.open("large")
            assert opened is not None and bytes(opened.read(77, 3)) == LARGE[77:80]

    def test_without_lengths(self, store: Store, server: ObjectServer) -> None:
        server.ranges = server.lengths = server.head_length = False
        opened = store.open("big")
        assert opened is not None and bytes(opened.read(77, 3)) == BIG[77:80]
        assert store.size("big") == len(BIG) and store.get("big") == BIG

    @pytest.mark.parametrize("suffixes", [400, 416, 501])
    def test_that_refuse_suffix_ranges(
        self, store: Store, server: ObjectServer, suffixes: int
    ) -> None:
        server.faults[:] = [suffixes]
        opened = store.open("big")
        assert opened is not None and opened.size == len(BIG)
        assert bytes(opened.read(500, 3)) == BIG[500:503]

    def test_that_answer_with_another_part(
        self, store: Store, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = store.open("big")
        assert opened is not None
        for shift in (-3, 3):

            def shifted(request: Any, shift: int = shift) -> tuple[bytes, bool]:
                first, _, last = request.range.removeprefix("bytes=").partition("-")
                moved = f"bytes={int(first) + shift}-{int(last) + shift}"
                return server._object(request._replace(range=moved)), False

            monkeypatch.setattr(server, "answer", shifted)
            with pytest.raises(SourceError, match=r"asked for bytes \[100, 110\), got 10 bytes"):
                opened.read(100, 10)

    @pytest.mark.parametrize("status", [401, 403, 404, 405])
    def test_without_listings(self, store: Store, server: ObjectServer, status: int) -> None:
        server.faults[:] = [status] * 2
        assert store.children("") == []
        server.faults[:] = [500] * 20
        with pytest.raises(SourceError, match="500"):
            store.children("")
        server.faults.clear()
        with pytest.raises(SourceNotFoundError, match="no zarr array or group"):
            lt.scan_zarr(f"{server.url}/none")

    def test_with_listings(self, store: Store, server: ObjectServer) -> None:
        server.objects["a"] = b'<html><a href="b/">b</a> <a href="c/">c</a> <a href="x">x</a>'
        assert store.children("") == ["b", "c"]


class TestChanges:
    @pytest.mark.parametrize("etags", ["strong", "weak", None])
    @pytest.mark.parametrize("checked", [True, False])
    def test_parts_are_of_one_content(
        self, store: Store, server: ObjectServer, etags: str | None, checked: bool
    ) -> None:
        server.etags, server.check_etags = etags, checked
        opened = store.open("big")
        assert opened is not None and (opened.token is None) == (etags is None)
        assert bytes(opened.read(3, 1)) == BIG[3:4]
        server.objects["a/big"] = BIG[::-1] + (b"" if etags else b"1")
        with pytest.raises(SourceChangedError, match="key 'big': changed while it was read"):
            opened.read(100_000, 4)
        del server.objects["a/big"]
        with pytest.raises(SourceChangedError):
            opened.read(200_000, 4)

    def test_dates_serve_where_there_are_no_tags(self, store: Store, server: ObjectServer) -> None:
        server.etags, server.dates = None, True
        assert store.token("big") == ("Sun, 09 Sep 2001 01:46:40 GMT", len(BIG))

    def test_work_is_begun_again_once(self, store: Store, server: ObjectServer) -> None:
        news = [BIG[::-1], BIG[1:], BIG[2:], BIG[3:]]
        seen: list[bytes] = []

        def work(whole: Any) -> None:
            seen.append(bytes(whole.read(100, 4)))
            if changes:
                server.objects["a/big"] = changes.pop()
            seen.append(bytes(whole.read(500_000, 4)))

        changes = news[:1]
        assert store.using("big", work)
        assert seen[-2:] == [news[0][100:104], news[0][500_000:500_004]]
        changes = news[:]
        with pytest.raises(SourceChangedError, match="changed while it was read"):
            store.using("big", work)

    def test_what_is_known_is_checked_even_if_nothing_is_read(
        self, store: Store, server: ObjectServer
    ) -> None:
        sizes: list[int] = []
        for data in (BIG, BIG[1:], BIG[1:], BIG[2:]):
            server.objects["a/big"] = data
            assert store.using("big", lambda whole: sizes.append(whole.size))
        assert sizes[0] == len(BIG) and sizes[-1] == len(BIG) - 2
        del server.objects["a/big"]
        assert not store.using("big", lambda whole: None)


class TestProcess:
    def test_stores_travel(self, store: Store) -> None:
        again = pickle.loads(pickle.dumps(store))
        assert again.get("zarr.json") == b'{"a": 1}' and again.identity == store.identity
        assert again.name == store.name

    def test_many_threads(self, store: Store, server: ObjectServer) -> None:
        server.objects |= {f"a/t/{i}": bytes([i]) * 1000 for i in range(64)}
        wrong: list[int] = []

        def read(i: int) -> None:
            keys = [f"t/{(i + k) % 64}" for k in range(8)]
            found = store.get_many(keys)
            if [bytes(d or b"")[:1] for d in found] != [bytes([(i + k) % 64]) for k in range(8)]:
                wrong.append(i)

        threads = [threading.Thread(target=read, args=(i,)) for i in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    def test_a_run_that_is_stopped_stops_waiting(self, store: Store, server: ObjectServer) -> None:
        from concurrent.futures import CancelledError

        from lazytensor.plan.stopping import STOPPED

        server.latency = 20
        began = time.monotonic()
        token = STOPPED.set(lambda: time.monotonic() - began > 0.1)
        try:
            with lt.Config(io_concurrency=2), pytest.raises(CancelledError):
                store.get_many(["big"] * 9)
        finally:
            STOPPED.reset(token)
        assert time.monotonic() - began < 5 and server.most_at_once == 2
        server.latency = 0
        with lt.Config(io_concurrency=2):  # and no place is taken for good
            assert store.get_many(["zarr.json"] * 9) == [b'{"a": 1}'] * 9

    def test_the_loop_itself_cannot_wait(self, store: Store) -> None:
        import asyncio

        from fsspec.asyn import get_loop

        async def inside() -> Any:
            return store.get("big")

        future = asyncio.run_coroutine_threadsafe(inside(), get_loop())
        with pytest.raises(RuntimeError, match=r"asyncio\.to_thread"):
            future.result(10)
