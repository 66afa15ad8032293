"""Zarr written to what is no folder: dicts, zip files, stores of zarr-python, file systems."""

from __future__ import annotations

import logging
import os
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import zarr

import lazytensor as lt
from lazytensor.io.zarr.sink_tree import NOTE
from tests.io.zarr_write.test_sink_faults import Broken
from tests.io.zarr_write.test_sink_results import VALUES, source


def broken() -> lt.LazyTensor:
    return lt.scan_source(Broken(VALUES, (4, 4, 4)))


class TestDict:
    def test_keys_appear_at_the_end(self) -> None:
        data: dict[str, bytes] = {}
        found = source().sink_zarr(data, "a/b", chunks=8)
        np.testing.assert_array_equal(found.collect(), VALUES)
        assert list(data)[:2] == ["zarr.json", "a/zarr.json"] and list(data)[-1] == "a/b/zarr.json"
        with pytest.raises(lt.SourceError):
            broken().sink_zarr(data, "c")
        assert not [key for key in data if key.startswith("c/")]

    def test_modes(self) -> None:
        data: dict[str, bytes] = {}
        source().sink_zarr(data, "a", chunks=4)
        with pytest.raises(lt.SinkExistsError):
            source().sink_zarr(data, "a", chunks=8)
        with pytest.raises(lt.SourceError):
            broken().sink_zarr(data, "a", chunks=8, mode="overwrite")
        np.testing.assert_array_equal(lt.scan_zarr(data, "a").collect(), VALUES)
        (source() + 1).sink_zarr(data, "a", chunks=8, mode="overwrite", attributes={})
        np.testing.assert_array_equal(lt.scan_zarr(data, "a").collect(), VALUES + 1)
        assert len([key for key in data if key.startswith("a/c/")]) == 3 * 2
        (source() + 1).sink_zarr(data, "a", chunks=8, mode="resume", attributes={})
        with pytest.raises(lt.SinkExistsError, match="a group, and not an array"):
            source().sink_zarr(data, mode="overwrite")
        source().sink_zarr(data, "b", consolidated=True)
        assert set(lt.open_zarr(data, consolidated=True)) == {"a", "b"}

    def test_what_is_read_is_not_replaced(self) -> None:
        data: dict[str, bytes] = {}
        x = source().sink_zarr(data, "a", chunks=4)
        (x + 1).sink_zarr(data, "a", chunks=4, mode="overwrite")
        np.testing.assert_array_equal(lt.scan_zarr(data, "a").collect(), VALUES + 1)


class TestZip:
    def test_there_and_back(self, tmp_path: Path) -> None:
        place = tmp_path / "x.zip"
        found = source().sink_zarr(place, "a/b", chunks=8)
        np.testing.assert_array_equal(found.collect(), VALUES)
        with zipfile.ZipFile(place) as opened:
            assert opened.testzip() is None
            assert {one.compress_type for one in opened.infolist()} == {zipfile.ZIP_STORED}
            assert opened.namelist()[-1] == "a/b/zarr.json"
        with zarr.storage.ZipStore(place, mode="r") as store:
            array = zarr.open_array(store, path="a/b", mode="r")
            np.testing.assert_array_equal(np.asarray(array), VALUES)

    def test_a_dump_and_what_fails(self, tmp_path: Path) -> None:
        place = tmp_path / "x.zip"
        with pytest.raises(lt.SourceError):
            lt.dump_zarr({"a": source(), "b": broken()}, place)
        assert os.listdir(tmp_path) == []
        group = lt.dump_zarr({"a": source(), "g/b": source() + 1}, place, consolidated=True)
        np.testing.assert_array_equal(group["g/b"].collect(), VALUES + 1)
        with pytest.raises(lt.SinkExistsError):
            source().sink_zarr(place)
        for mode in ("overwrite", "resume"):
            with pytest.raises(ValueError, match="only made, and not changed"):
                source().sink_zarr(place, mode=mode)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"lt\.dump_zarr"):
            source().sink_zarr(tmp_path / "y.zip", "a", consolidated=True)
        assert os.listdir(tmp_path) == ["x.zip"]

    def test_the_bytes_are_the_same_with_one_thread(self, tmp_path: Path) -> None:
        engine = lt.LocalEngine(threads=1)
        for name in "ab":
            source().sink_zarr(tmp_path / f"{name}.zip", chunks=4, engine=engine)
        assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


class TestZarrStores:
    def test_of_this_machine(self, tmp_path: Path) -> None:
        group = zarr.create_group(str(tmp_path / "x"))
        found = source().sink_zarr(group, "a")
        np.testing.assert_array_equal(found.collect(), VALUES)
        np.testing.assert_array_equal(np.asarray(group["a"]), VALUES)
        inner = group.create_group("g")
        source().sink_zarr(inner, "b")
        np.testing.assert_array_equal(np.asarray(group["g/b"]), VALUES)
        (source() + 1).sink_zarr(group["a"], mode="overwrite")
        np.testing.assert_array_equal(np.asarray(group["a"]), VALUES + 1)

    def test_in_memory(self) -> None:
        store = zarr.storage.MemoryStore()
        source().sink_zarr(store, "a", chunks=4)
        np.testing.assert_array_equal(np.asarray(zarr.open_array(store, path="a")), VALUES)
        np.testing.assert_array_equal(lt.scan_zarr(store, "a").collect(), VALUES)

    def test_those_that_cannot_be_written_to(self, tmp_path: Path) -> None:
        source().sink_zarr(tmp_path / "x.zip")
        opened = zarr.storage.ZipStore(tmp_path / "x.zip", mode="a")
        for store in (opened, lt.testing.CountingStore({}), 3, None):
            with pytest.raises(TypeError, match=r"cannot be written to|is no place"):
                source().sink_zarr(store)
        read_only = zarr.storage.LocalStore(tmp_path / "y", read_only=True)
        with pytest.raises(lt.SinkError, match="read only"):
            source().sink_zarr(read_only)


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, Any]]:
    """What s3fs must be told to reach a server that has a bucket."""
    moto = pytest.importorskip("moto.server", reason="the object store of these tests")
    s3fs = pytest.importorskip("s3fs", reason="the file system of these tests")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    found = {
        "key": "key", "secret": "hunter2", "endpoint_url": f"http://{host}:{port}",
        "client_kwargs": {"region_name": "eu-west-1"},
    }  # fmt: skip
    s3fs.S3FileSystem(**found).mkdir("zarrs")
    yield found
    server.stop()


class Remote:
    """A new prefix on a file system."""

    def __init__(self, scheme: str, options: dict[str, Any]) -> None:
        self.url = f"{scheme}://zarrs/{uuid.uuid4().hex}/x"
        self.how: dict[str, Any] = {"chunks": 8, "storage_options": options}
        self.options = options

    def names(self) -> list[str]:
        """What there is, relative to the folder of the store."""
        fs, path = fsspec.core.url_to_fs(self.url, **self.options)
        fs.invalidate_cache()
        folder = path.rpartition("/")[0]
        return sorted(one[len(folder) + 1 :] for one in fs.find(folder))

    def put(self, key: str, data: bytes) -> None:
        fs, path = fsspec.core.url_to_fs(self.url, **self.options)
        fs.pipe_file(f"{path.rpartition('/')[0]}/{key}", data)

    def get(self, key: str) -> bytes:
        fs, path = fsspec.core.url_to_fs(self.url, **self.options)
        data: bytes = fs.cat_file(f"{path.rpartition('/')[0]}/{key}")
        return data


@pytest.fixture(params=["memory", "s3"])
def remote(request: pytest.FixtureRequest) -> Remote:
    options = request.getfixturevalue("bucket") if request.param == "s3" else {}
    return Remote(request.param, options)


class TestRemote:
    def test_there_and_back(self, remote: Remote) -> None:
        x = source()
        found = x.sink_zarr(remote.url, "a/b", **remote.how)
        np.testing.assert_array_equal(found.collect(), VALUES)
        assert {"x/zarr.json", "x/a/zarr.json", "x/a/b/zarr.json"} <= set(remote.names())
        assert len(remote.names()) == 3 + 3 * 2 * 1
        with pytest.raises(lt.SinkExistsError, match="something at"):
            x.sink_zarr(remote.url, "a/b", **remote.how)
        found = (x + 1).sink_zarr(remote.url, "a/b", mode="overwrite", **remote.how)
        np.testing.assert_array_equal(found.collect(), VALUES + 1)
        assert len(remote.names()) == 3 + 3 * 2 * 1
        x.sink_zarr(remote.url, "c", consolidated=True, **remote.how)
        group = lt.open_zarr(remote.url, consolidated=True, storage_options=remote.options)
        assert set(group) == {"a", "c"}

    def test_what_fails_leaves_nothing(self, remote: Remote) -> None:
        with pytest.raises(lt.SourceError):
            broken().sink_zarr(remote.url, "g/a", **remote.how)
        assert remote.names() == []
        source().sink_zarr(remote.url, "a", **remote.how)
        before = remote.names()
        with pytest.raises(lt.SourceError):
            broken().sink_zarr(remote.url, "a", mode="overwrite", **remote.how)
        assert remote.names() == before
        found = lt.scan_zarr(remote.url, "a", storage_options=remote.options)
        np.testing.assert_array_equal(found.collect(), VALUES)

    def test_what_is_begun_is_reserved_and_gone_on_with(
        self, remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from lazytensor.io.zarr.sink_remote import RemotePlace

        x = lt.asarray(VALUES).sink_zarr(tmp_path / "src", chunks=4) + 1
        left = []
        put = RemotePlace.put

        def stops(place: RemotePlace, key: str, parts: Any) -> None:
            if len(left) == 3:
                raise lt.SinkError("stop")
            left.append(key)
            put(place, key, parts)

        with monkeypatch.context() as patch:
            patch.setattr(RemotePlace, "put", stops)
            with pytest.raises(lt.SinkError, match="stop"):
                x.sink_zarr(remote.url, "a", mode="resume", **remote.how)
        assert f"x/a/{NOTE}" in remote.names() and len(remote.names()) == 5
        with pytest.raises(lt.SinkExistsError, match="mode='resume' goes on"):
            x.sink_zarr(remote.url, "a", **remote.how)
        with pytest.raises(lt.SinkError, match="another computation"):
            (x + 1).sink_zarr(remote.url, "a", mode="resume", **remote.how)
        remote.put(f"x/a/{left[0]}", remote.get(f"x/a/{left[0]}")[:-4])
        found = x.sink_zarr(remote.url, "a", mode="resume", **remote.how)
        np.testing.assert_array_equal(found.collect(), VALUES + 1)
        assert len(remote.names()) == 1 + 1 + 6
        before = lt.metrics()["tasks"]
        x.sink_zarr(remote.url, "a", mode="resume", **remote.how)
        assert lt.metrics()["tasks"] == before

    def test_an_overwrite_that_was_killed_while_it_replaced(
        self, remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from lazytensor.io.zarr.sink_remote import RemotePlace

        x = lt.asarray(VALUES).sink_zarr(tmp_path / "src", chunks=4) + 1
        source().sink_zarr(remote.url, "a", **remote.how)
        with monkeypatch.context() as patch:
            patch.setattr(RemotePlace, "abort", lambda self: None)
            swap = RemotePlace._swap

            def killed(place: RemotePlace, tree: Any) -> None:
                swap(place, tree)
                raise lt.SinkError("killed")

            patch.setattr(RemotePlace, "_swap", killed)
            with pytest.raises(lt.SinkError, match="killed"):
                x.sink_zarr(remote.url, "a", mode="overwrite", **remote.how)
        with pytest.raises(lt.SourceNotFoundError):
            lt.scan_zarr(remote.url, "a", storage_options=remote.options)
        found = x.sink_zarr(remote.url, "a", mode="resume", **remote.how)
        np.testing.assert_array_equal(found.collect(), VALUES + 1)
        assert len(remote.names()) == 1 + 1 + 6

    def test_what_is_no_zarr_stays(self, remote: Remote) -> None:
        remote.put("x/a/notes.txt", b"mine")
        for mode in ("create", "overwrite", "resume"):
            with pytest.raises(lt.SinkExistsError, match="no zarr"):
                source().sink_zarr(remote.url, "a", mode=mode, **remote.how)
        assert remote.names() == ["x/a/notes.txt"]

    def test_a_dump(self, remote: Remote) -> None:
        group = lt.dump_zarr({"a": source(), "g/b": source() + 1}, remote.url, **remote.how)
        np.testing.assert_array_equal(group["g/b"].collect(), VALUES + 1)
        with pytest.raises(lt.SinkError, match="would replace what is read"):
            (group["a"] + 1).sink_zarr(remote.url, "a", mode="overwrite", **remote.how)
