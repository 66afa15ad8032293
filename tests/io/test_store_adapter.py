"""Open stores, groups and arrays of zarr-python, of every kind it has and of one it has not."""

from __future__ import annotations

import asyncio
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.errors import SourceError
from lazytensor.io.store import Store
from lazytensor.io.store_fsspec import FsspecStore
from lazytensor.io.store_local import LocalStore
from lazytensor.io.store_memory import DictStore
from lazytensor.io.store_open import make_store, resolve_store
from lazytensor.io.store_remote import RemoteStore
from lazytensor.io.store_zarr import ZarrStore
from lazytensor.io.store_zip import ZipStore

zarr = pytest.importorskip("zarr", minversion="3")

VALUES = np.arange(40 * 30, dtype="i2").reshape(40, 30)


class SlowStore(zarr.storage.WrapperStore):
    """A store of a user's own, which counts how many requests it has at once."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.at_once = self.most = 0

    async def get(self, *args: Any, **settings: Any) -> Any:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0.01)
        self.at_once -= 1
        return await self._store.get(*args, **settings)


class OwnStore(zarr.storage.MemoryStore):
    """A subclass may do anything to what it stores, so it is asked itself."""

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        if key.endswith("hidden"):
            return None
        return await super().get(key, prototype, byte_range)


def object_store(root: Path) -> Any:
    obstore = pytest.importorskip("obstore")
    return zarr.storage.ObjectStore(obstore.store.LocalStore(root))


def zip_store(root: Path) -> Any:
    fill(store := zarr.storage.ZipStore(root / "x.zip", mode="w"))
    store.close()
    return zarr.storage.ZipStore(root / "x.zip", mode="r")


def fill(store: Any) -> Any:
    group = zarr.open_group(store, mode="a")
    if "g/plain" in group:
        return store
    for name, shards in (("g/plain", None), ("g/sharded", (20, 15))):
        array = group.create_array(
            name, shape=VALUES.shape, chunks=(10, 5), shards=shards, dtype="i2", fill_value=-1
        )
        array[:35] = VALUES[:35]
    return store


KINDS: dict[str, tuple[Any, type[Store]]] = {
    "local": (lambda root: zarr.storage.LocalStore(root), LocalStore),
    "memory": (lambda root: zarr.storage.MemoryStore(), DictStore),
    "zip": (zip_store, ZipStore),
    "fsspec": (
        lambda root: zarr.storage.FsspecStore.from_url(
            f"file://{root}", storage_options={"auto_mkdir": True}
        ),
        LocalStore,
    ),
    "fsspec memory": (
        lambda root: zarr.storage.FsspecStore.from_url(f"memory://adapter{root}"),
        FsspecStore,
    ),
    "object": (object_store, ZarrStore),
    "logging": (
        lambda root: zarr.storage.LoggingStore(zarr.storage.LocalStore(root), log_level="ERROR"),
        ZarrStore,
    ),
    "wrapped": (lambda root: SlowStore(zarr.storage.LocalStore(root)), ZarrStore),
    "own": (lambda root: OwnStore(), ZarrStore),
}


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opened(kind: str, tmp_path: Path) -> Any:
    make, _ = KINDS[kind]
    store = make(tmp_path)
    return store if store.read_only else fill(store)


def test_kinds(kind: str, opened: Any) -> None:
    store = make_store(opened)
    assert isinstance(store, KINDS[kind][1])
    assert store.identity == make_store(opened).identity
    assert store.get("nothing") is None and store.open("nothing") is None
    assert store.size("nothing") is None and store.token("nothing") is None
    keys = ["g/plain/c/0/0", "nothing", "g/plain/zarr.json"]
    found = store.get_many(keys)
    assert found[1] is None and [store.size(key) for key in keys] == [
        None if data is None else len(data) for data in found
    ]
    whole = store.open("g/sharded/c/0/0")
    assert whole is not None
    with whole:
        all_of_it = bytes(whole.read(0, whole.size))
        parts = [bytes(p) for p in whole.read_many([(5, 9), (40, 41)])]
    assert parts == [all_of_it[5:9], all_of_it[40:41]]
    assert store.children("") == ["g"] and store.children("g") == ["plain", "sharded"]
    walked = dict(store.walk("g/sharded"))
    assert walked["g/sharded/c/0/0"] == len(all_of_it) and len(walked) == 5


def expected() -> np.ndarray:
    values = VALUES.copy()
    values[35:] = -1
    return values


@pytest.mark.parametrize("name", ["plain", "sharded"])
def test_arrays_through_every_door(opened: Any, name: str) -> None:
    group = zarr.open_group(opened, mode="r")
    array = group[f"g/{name}"]
    for x in (
        lt.scan_zarr(opened, f"g/{name}"),
        lt.scan_zarr(group, f"g/{name}"),
        lt.scan_zarr(group["g"], name),
        lt.scan_zarr(array),
        lt.from_array(array),
    ):
        assert x.storage is not None and x.storage.path == f"g/{name}"
        assert np.array_equal(x.collect(), expected())
        assert np.array_equal(x[3:38:7, ::4].collect(), expected()[3:38:7, ::4])


def test_rewritten_chunks_are_seen(opened: Any) -> None:
    if opened.read_only:
        pytest.skip("cannot be written")
    for name in ("plain", "sharded"):
        x = lt.scan_zarr(opened, f"g/{name}")
        assert np.array_equal(x.collect(), expected())
        zarr.open_group(opened, mode="a")[f"g/{name}"][7:9, 3:20] = 9
        changed = expected()
        changed[7:9, 3:20] = 9
        assert np.array_equal(x.collect(), changed)


def test_a_batch_is_one_hop(tmp_path: Path) -> None:
    slow = SlowStore(fill(zarr.storage.LocalStore(tmp_path)))
    x = lt.scan_zarr(slow, "g/plain")
    slow.most = 0
    assert np.array_equal(x.collect(), expected()) and slow.most == 24


def test_large_objects_are_read_in_part() -> None:
    data = bytes(range(256)) * 1000
    store = ZarrStore(OwnStore({"a": zarr.core.buffer.cpu.Buffer.from_bytes(data)}))
    whole = store.open("a")
    assert whole is not None and whole.size == len(data)
    assert [bytes(p) for p in whole.read_many([(1, 3), (100_000, 100_001)])] == [
        data[1:3], data[100_000:100_001],
    ]  # fmt: skip
    assert bytes(whole.read(7, 2)) == data[7:9]
    with pytest.raises(SourceError, match="do not exist"):
        whole.read(len(data), 1)


def test_failures_and_keys() -> None:
    class Failing(OwnStore):
        async def get(self, *args: Any, **settings: Any) -> Any:
            raise ValueError("disk on fire at http://me:hunter2@host/x")

    store = ZarrStore(Failing())
    with pytest.raises(SourceError, match="disk on fire") as caught:
        store.get("a")
    assert "hunter2" not in str(caught.value) and isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(SourceError, match="not allowed"):
        store.get("../a")


def test_an_open_store_travels(tmp_path: Path) -> None:
    store = ZarrStore(SlowStore(fill(zarr.storage.LocalStore(tmp_path))))
    again = pickle.loads(pickle.dumps(store))
    assert again.get("g/plain/c/0/0") == store.get("g/plain/c/0/0")


def test_remote_stores_are_ours() -> None:
    pytest.importorskip("aiohttp")
    store = make_store(zarr.storage.FsspecStore.from_url("http://127.0.0.1:1/x.zarr"))
    assert isinstance(store, RemoteStore) and store.name == "http://127.0.0.1:1/x.zarr"


def test_a_forked_child_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ZarrStore(OwnStore())
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(SourceError, match="open it in the worker"):
        store.get("a")


def test_paths_inside(tmp_path: Path) -> None:
    fill(zarr.storage.LocalStore(tmp_path))
    group = zarr.open_group(tmp_path, mode="r")["g"]
    assert resolve_store(group, "plain")[1] == "g/plain"
    assert resolve_store(group["plain"])[1] == "g/plain"
    assert resolve_store(group.store_path / "plain")[1] == "g/plain"


def test_what_our_reader_cannot_read_is_read_by_zarr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(zarr.storage.LocalStore(tmp_path))
    array = zarr.open_array(tmp_path, path="g/plain")

    def refuse(*args: Any, **settings: Any) -> None:
        raise lt.FormatError("unknown codec")

    monkeypatch.setattr("lazytensor.io.zarr.scan", refuse)
    x = lt.from_array(array)
    assert x.storage is None and np.array_equal(x.collect(), expected())
