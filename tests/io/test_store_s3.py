"""S3 as a store, against moto's server on loopback."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.errors import SourceChangedError, SourceError
from lazytensor.io.store import Store
from lazytensor.io.store_open import make_store
from lazytensor.io.store_remote import RemoteStore
from tests.exec.test_forks import in_child, needs_fork

pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")

BIG = bytes(range(256)) * 1024
OBJECTS = {"zarr.json": b'{"a": 1}', "c/0": BIG, "empty": b"", "b/x": b"1", "a b%20ü/x": b"2"}


@pytest.fixture(scope="module")
def options() -> Iterator[dict[str, Any]]:
    """What s3fs must be told to reach the server, which has a bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "key": "key", "secret": "hunter2", "endpoint_url": f"http://{host}:{port}",
        "client_kwargs": {"region_name": "eu-west-1"},
    }  # fmt: skip
    server.stop()


@pytest.fixture(scope="module")
def fs(options: dict[str, Any]) -> Any:
    import s3fs

    fs = s3fs.S3FileSystem(**options)
    fs.mkdir("bucket")
    for key, data in OBJECTS.items():
        fs.pipe_file(f"bucket/root/{key}", data)
    return fs


@pytest.fixture
def store(fs: Any, options: dict[str, Any]) -> Store:
    return make_store("s3://bucket/root", options)


@pytest.fixture
def asked(store: RemoteStore, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """The requests of the store from now on: operation and range."""
    log: list[tuple[str, str | None]] = []
    call = store._fs._call_s3

    async def logged(method: str, *args: Any, **settings: Any) -> Any:
        log.append((method, settings.get("Range")))
        return await call(method, *args, **settings)

    monkeypatch.setattr(store._fs, "_call_s3", logged)
    return log


def test_objects_and_parts(store: Store, asked: list[Any]) -> None:
    assert isinstance(store, RemoteStore)
    keys = [*OBJECTS, "nothing"]
    assert store.get_many(keys) == [*OBJECTS.values(), None]
    assert len(asked) == len(keys), "one request an object"
    assert [store.size(key) for key in keys] == [*map(len, OBJECTS.values()), None]
    opened = store.open("c/0")
    assert opened is not None and opened.token == store.token("c/0")
    assert bytes(opened.read(-9 + len(BIG), 9)) == BIG[-9:]
    parts = [(3, 5), (100_000, 100_003)]
    assert [bytes(p) for p in opened.read_many(parts)] == [BIG[a:b] for a, b in parts]
    empty = store.open("empty")
    assert empty is not None and empty.size == 0 and empty.token == store.token("empty")
    assert store.open("nothing") is None and store.token("c") is None
    assert store.children("") == ["a b%20ü", "b", "c"] and store.children("c") == []
    assert dict(store.walk("c")) == {"c/0": len(BIG)}


def test_what_is_known_saves_opening(store: Store, asked: list[Any]) -> None:
    seen: list[bytes] = []
    for _ in range(2):
        assert store.using("c/0", lambda whole: seen.append(bytes(whole.read(5, 3))))
    assert asked == [("get_object", "bytes=-16384")] + [("get_object", "bytes=5-7")] * 2
    assert seen == [BIG[5:8]] * 2


def test_listings_and_states_are_not_remembered(store: Store, fs: Any) -> None:
    fs.pipe_file("bucket/root/new/x", b"1")
    assert "new" in store.children("") and store.size("new/x") == 1
    token = store.token("new/x")
    fs.pipe_file("bucket/root/new/x", b"22")
    assert store.size("new/x") == 2 and store.token("new/x") != token
    assert dict(store.walk("new")) == {"new/x": 2}
    fs.rm("bucket/root/new/x")
    assert store.get("new/x") is None and "new" not in store.children("")


def test_parts_are_of_one_content(store: Store, fs: Any) -> None:
    fs.pipe_file("bucket/root/changing", BIG)
    opened = store.open("changing")
    assert opened is not None and bytes(opened.read(0, 1)) == BIG[:1]
    fs.pipe_file("bucket/root/changing", BIG[::-1])
    with pytest.raises(SourceChangedError, match="s3://bucket/root, key 'changing'"):
        opened.read(1000, 1)
    seen: list[bytes] = []
    assert store.using("changing", lambda whole: seen.append(bytes(whole.read(1000, 1))))
    assert seen[-1] == BIG[::-1][1000:1001]
    fs.rm("bucket/root/changing")


def test_errors_name_the_place_and_no_secret(options: dict[str, Any]) -> None:
    assert make_store("s3://nobucket/x", options).get("a") is None
    once = {"retries": {"max_attempts": 0}}
    changes = {"endpoint_url": "http://127.0.0.1:1", "config_kwargs": once}
    wrong = make_store("s3://bucket/x", {**options, **changes})
    wrong._fs.retries = 1  # type: ignore[attr-defined]
    with pytest.raises(SourceError, match=r"s3://bucket/x, key 'a'") as caught:
        wrong.get("a")
    assert "hunter2" not in f"{caught.value} {wrong!r} {wrong.identity}"


def test_an_answer_that_breaks_off_is_asked_for_again(
    store: RemoteStore, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    call, broken = store._fs._call_s3, [True, True]

    class Broken:
        async def read(self) -> bytes:
            raise OSError("reset")

        def close(self) -> None:
            return

    async def breaking(method: str, *args: Any, **settings: Any) -> Any:
        reply = await call(method, *args, **settings)
        if broken and broken.pop():
            reply["Body"].close()
            reply["Body"] = Broken()
        return reply

    monkeypatch.setattr(store._fs, "_call_s3", breaking)
    assert store.get("zarr.json") == b'{"a": 1}' and len(asked) == 3


def test_arrays(options: dict[str, Any], fs: Any) -> None:
    zarr = pytest.importorskip("zarr")
    values = np.arange(60 * 50, dtype="i4").reshape(60, 50)
    for name, shards in (("plain", None), ("sharded", (30, 50))):
        url = f"s3://bucket/arrays/{name}"
        z = zarr.create_array(
            url, shape=values.shape, chunks=(10, 10), shards=shards, dtype="i4",
            storage_options=options,
        )  # fmt: skip
        z[...] = values
        x = lt.scan_zarr(url, storage_options=options)
        assert np.array_equal(x.collect(), values)
        z[5:25, 7:33] = 7
        expected = values.copy()
        expected[5:25, 7:33] = 7
        assert np.array_equal(x.collect(), expected), "rewritten chunks are seen"
        assert np.array_equal(x[3:28:5, 30:40].collect(), expected[3:28:5, 30:40])
        again = pickle.loads(pickle.dumps(x))
        assert np.array_equal(again.collect(), expected)


@needs_fork
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_children_read_what_their_parent_read(store: Store) -> None:
    def read() -> bytes:
        seen: list[bytes] = []
        store.using("c/0", lambda whole: seen.append(bytes(whole.read(5, 3))))
        return b"".join([*seen, *(bytes(data or b"") for data in store.get_many(["b/x"]))])

    assert read() == BIG[5:8] + b"1"
    assert in_child(read) == in_child(lambda: in_child(read)) == read() == BIG[5:8] + b"1"
