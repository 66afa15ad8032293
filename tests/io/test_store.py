"""Stores: the same objects through every door, and nothing outside the root."""

from __future__ import annotations

import os
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import fsspec.asyn
import pytest

from lazytensor.errors import (
    FormatError,
    SourceChangedError,
    SourceError,
    SourceNotFoundError,
)
from lazytensor.io import store_local
from lazytensor.io.scratch import ENCODED, KEPT_BYTES, STAGE_A, thread_scratch
from lazytensor.io.store import Loaded, Store, check_key, join_key, merge_ranges
from lazytensor.io.store_counting import CountingStore
from lazytensor.io.store_fsspec import FsspecStore
from lazytensor.io.store_local import LocalStore
from lazytensor.io.store_memory import DictStore
from lazytensor.io.store_open import (
    _path_of,
    _without_drive_slash,
    make_store,
    resolve_store,
)
from lazytensor.io.store_remote import RemoteStore
from lazytensor.io.store_zip import ZipStore

OBJECTS = {
    "zarr.json": b"{}",
    "a/zarr.json": b'{"a": 1}',
    "a/c/0/1": bytes(range(256)) * 9,
    "b/c/0": b"",
}


def _folder(root: Path) -> Path:
    for key, data in OBJECTS.items():
        path = root / "store.zarr" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root / "store.zarr"


def _zip(root: Path, method: int) -> Path:
    with zipfile.ZipFile(root / "store.zip", "w", method) as archive:
        for key, data in OBJECTS.items():
            archive.writestr(key, data)
    return root / "store.zip"


def _memory_fs() -> Any:
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    for key, data in OBJECTS.items():
        fs.pipe_file(f"/bucket/{key}", data)
    return fs


@pytest.fixture(
    params=[
        "local",
        "file url",
        "dict",
        "zip",
        "deflated",
        "memory url",
        "fs",
        "counting",
        "local fs",
    ]
)
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    match request.param:
        case "local":
            return make_store(_folder(tmp_path))
        case "file url":
            return make_store(f"file://{_folder(tmp_path)}")
        case "dict":
            return make_store(OBJECTS)
        case "zip":
            return make_store(_zip(tmp_path, zipfile.ZIP_STORED))
        case "deflated":
            return make_store(str(_zip(tmp_path, zipfile.ZIP_DEFLATED)))
        case "memory url":
            _memory_fs()
            return make_store("memory://bucket")
        case "fs":
            return make_store((_memory_fs(), "/bucket"))
        case "counting":
            return CountingStore(CountingStore(str(_folder(tmp_path))))
        case _:
            return make_store((fsspec.filesystem("file"), str(_folder(tmp_path))))


def test_every_store_gives_the_same_objects(any_store: Store) -> None:
    scratch = thread_scratch()
    for key, data in OBJECTS.items():
        assert bytes(any_store.get(key) or b"") == data
        assert bytes(any_store.get(key, scratch) or b"") == data
        assert any_store.size(key) == len(data)
        room = bytearray(len(data))
        assert any_store.get_into(key, memoryview(room)) == len(data) and room == data
    found = any_store.get_many(["a/zarr.json", "nothing", "zarr.json"])
    assert [data if data is None else bytes(data) for data in found] == [b'{"a": 1}', None, b"{}"]
    loaded = any_store.load_many(["nothing", "a/zarr.json"])[1]
    assert isinstance(loaded, Loaded) and bytes(loaded.data) == b'{"a": 1}'
    assert loaded.token == any_store.token("a/zarr.json")
    assert any_store.load_many(["nothing"]) == [None]
    assert any_store.size_many(["nothing", "a/c/0/1"]) == [None, 2304]
    assert any_store.children("") == ["a", "b"] and any_store.children("a") == ["c"]
    assert dict(any_store.walk("a")) == {"a/zarr.json": 8, "a/c/0/1": 2304}
    assert dict(any_store.walk("nothing")) == {}


@pytest.mark.parametrize("key", ["nothing", "a", "a/c", "zarr.json/c/0", "a/c/0/1/2"])
def test_absent_keys_are_none(any_store: Store, key: str) -> None:
    assert any_store.get(key) is None and any_store.open(key) is None
    assert any_store.size(key) is None and any_store.token(key) is None
    assert any_store.get_into(key, memoryview(bytearray(3))) is None


def test_size_that_differs_leaves_the_destination_alone(any_store: Store) -> None:
    room = bytearray(b"xyz")
    assert any_store.get_into("a/zarr.json", memoryview(room)) == 8 and room == b"xyz"


def test_handles_read_parts(any_store: Store) -> None:
    opened = any_store.open("a/c/0/1")
    assert opened is not None
    with opened:
        assert opened.size == 2304
        assert bytes(opened.read(300, 5)) == bytes([44, 45, 46, 47, 48])
        parts = [bytes(p) for p in opened.read_many([(0, 2), (2302, 2304)], thread_scratch())]
        assert parts == [b"\x00\x01", b"\xfe\xff"]
        for start, count in [(2300, 5), (-1, 2), (0, -1)]:
            with pytest.raises(SourceError, match="do not exist"):
                opened.read(start, count)


@pytest.mark.parametrize(
    "key", ["../secret", "a/../../secret", "/etc/passwd", "a\0b", "..", "a\\b"]
)
def test_keys_stay_inside(any_store: Store, key: str) -> None:
    for call in (any_store.get, any_store.open, any_store.size, any_store.token):
        with pytest.raises(SourceError, match="not allowed"):
            call(key)


def test_keys_with_dots_in_names_are_fine() -> None:
    assert check_key("a..b/..c/d..") == "a..b/..c/d.."
    with pytest.raises(SourceError):
        join_key("a", "..", "b")


def test_stores_pickle(any_store: Store) -> None:
    again = pickle.loads(pickle.dumps(any_store))
    assert bytes(again.get("a/zarr.json")) == b'{"a": 1}'


def test_equal_stores_have_equal_identity(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    assert LocalStore(folder).identity == make_store(f"file://{folder}").identity
    _memory_fs()
    assert make_store("memory://bucket").identity == make_store("memory://bucket/").identity
    assert DictStore(OBJECTS).identity == DictStore(OBJECTS).identity
    assert DictStore(OBJECTS).identity != DictStore(dict(OBJECTS)).identity


def test_tokens_change_with_content(tmp_path: Path) -> None:
    store = LocalStore(_folder(tmp_path))
    before = store.token("a/zarr.json")
    (tmp_path / "new").write_bytes(b'{"a": 2}')
    os.replace(tmp_path / "new", tmp_path / "store.zarr/a/zarr.json")
    assert store.token("a/zarr.json") != before
    data = dict(OBJECTS)
    assert DictStore(data).token("a/zarr.json") == DictStore(OBJECTS).token("a/zarr.json")


def test_handles_of_files_just_written_have_no_token(tmp_path: Path) -> None:
    store = LocalStore(_folder(tmp_path))
    fresh = store.open("a/zarr.json")
    os.utime(tmp_path / "store.zarr/a/zarr.json", (1, 1))
    settled = store.open("a/zarr.json")
    assert fresh is not None and settled is not None
    with fresh, settled:
        assert fresh.token is None and settled.token == store.token("a/zarr.json")


def test_an_open_handle_keeps_its_file(tmp_path: Path) -> None:
    opened = LocalStore(_folder(tmp_path)).open("a/c/0/1")
    assert opened is not None
    with opened:
        (tmp_path / "new").write_bytes(b"short")
        os.replace(tmp_path / "new", tmp_path / "store.zarr/a/c/0/1")
        assert bytes(opened.read(2303, 1)) == b"\xff"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_are_errors_and_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "0")
    with pytest.raises(SourceError, match="not a regular file"):
        LocalStore(tmp_path).get("0")


def test_links_to_folders_do_not_loop(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x").write_bytes(b"1")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    assert dict(LocalStore(tmp_path).walk("")) == {"a/x": 1}


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(FormatError, match="is a file"):
        make_store(tmp_path / "x.npy")
    with pytest.raises(SourceNotFoundError, match="nothing at"):
        make_store(tmp_path / "absent.zarr")
    with pytest.raises(SourceError, match="absurd"):
        make_store("absurd://x")
    with pytest.raises(TypeError, match="int is not a store"):
        make_store(3)
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 no zip at all")
    with pytest.raises(FormatError, match="zip"):
        make_store(tmp_path / "bad.zip")


def test_a_missing_file_system_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, **options: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", refuse)
    for url in ("s3://bucket/x.zarr", "s3://bucket/x.zip", "simplecache::s3://bucket/x.zarr"):
        with pytest.raises(ImportError, match=r"s3fs.*lazytensor-engine\[s3\]"):
            make_store(url)
    with pytest.raises(ImportError, match=r"s3fs to access S3$"):
        make_store("rare://bucket/x.zarr")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/C:/data/x.zarr", "C:/data/x.zarr"),
        ("/c:", "c:"),
        ("C:/data/x.zarr", "C:/data/x.zarr"),
        ("/data/x.zarr", "/data/x.zarr"),
        ("/data/C:/x.zarr", "/data/C:/x.zarr"),
        ("/C:x.zarr", "/C:x.zarr"),
    ],
)
def test_file_urls_of_windows_name_a_drive(path: str, expected: str) -> None:
    assert _without_drive_slash(path) == expected


def test_file_urls_are_decoded(tmp_path: Path) -> None:
    for name in ("a b", "a%20b", "plain%25", "50%"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(name.encode())
    for url, name in [
        (f"file://{tmp_path}/a%20b", "a b"),
        (f"file://localhost{tmp_path}/a%20b", "a b"),
        (f"file://{tmp_path}/a%2520b", "a%20b"),
        (f"file://{tmp_path}/plain%25", "plain%25"),  # nothing is called "plain%"
        (f"file://{tmp_path}/50%", "50%"),
        (f"local://{tmp_path}/a b", "a b"),
    ]:
        assert bytes(make_store(url).get("x") or b"") == name.encode()
    (tmp_path / "new.zip").write_bytes(_zip(tmp_path, zipfile.ZIP_STORED).read_bytes())
    assert make_store(f"zip::file://{tmp_path}/new%2Ezip").size("b/c/0") == 0


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("/C:/data/a%20b", "C:/data/a b"),
        ("C:/data", "C:/data"),
        ("localhost/C:/data", "C:/data"),
        ("server/share/x", "//server/share/x"),
    ],
)
def test_file_urls_of_windows(address: str, path: str) -> None:
    assert _path_of(address, windows=True) == path


def test_a_cache_on_disk(tmp_path: Path) -> None:
    """``simplecache::`` keeps the first content it sees, parts and wholes alike."""
    fs = _memory_fs()
    store = make_store(
        "simplecache::memory://bucket", {"simplecache": {"cache_storage": str(tmp_path)}}
    )
    assert store.get_many(["a/zarr.json", "no"]) == [b'{"a": 1}', None]
    fs.pipe_file("/bucket/a/zarr.json", b"other and longer")
    opened = store.open("a/zarr.json")
    assert opened is not None and bytes(opened.read(1, 3)) == b'"a"'
    assert pickle.loads(pickle.dumps(store)).get("a/zarr.json") == b'{"a": 1}'


def test_synchronous_file_systems_notice_changes_between_parts() -> None:
    fs = _memory_fs()
    opened = make_store((fs, "/bucket")).open("a/c/0/1")
    assert opened is not None and bytes(opened.read(1, 2)) == b"\x01\x02"
    fs.pipe_file("/bucket/a/c/0/1", OBJECTS["a/c/0/1"][::-1])
    with pytest.raises(SourceChangedError, match="a/c/0/1"):
        opened.read(1, 2)


def test_synchronous_file_systems_are_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lazytensor.io.store_retry.FIRST_PAUSE", 0.001)
    fs = _memory_fs()
    store = FsspecStore(fs, "/bucket")
    call, failures = fs.cat_file, [TimeoutError(), ConnectionResetError()]

    def failing(*args: object, **settings: object) -> object:
        if failures:
            raise failures.pop()
        return call(*args, **settings)

    monkeypatch.setattr(fs, "cat_file", failing)
    assert store.get("zarr.json") == b"{}" and not failures
    failures = [KeyboardInterrupt()]  # type: ignore[list-item]
    with pytest.raises(KeyboardInterrupt):
        store.get("zarr.json")


class _Plain(fsspec.asyn.AsyncFileSystem):
    """An asynchronous file system as others write them: it tells nothing but bytes and info."""

    protocol = "plainest"
    objects: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    async def _info(self, path: str, **settings: Any) -> dict[str, Any]:
        self.asked.append(f"info {path}")
        if path not in self.objects:
            raise FileNotFoundError(path)
        data = self.objects[path]
        return {"name": path, "size": len(data), "type": "file", "ETag": zlib.crc32(data)}

    async def _cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **settings: Any
    ) -> bytes:
        self.asked.append(f"cat {path} {start} {end}")
        if path not in self.objects:
            raise FileNotFoundError(path)
        return self.objects[path][start:end]


def test_any_asynchronous_file_system() -> None:
    fs, data = _Plain(), bytes(range(256)) * 500
    _Plain.objects = {"root/a": data, "root/e": b""}
    store = make_store((fs, "plainest://root"))
    assert isinstance(store, RemoteStore) and store.uri == "plainest://root"
    assert store.get_many(["a", "no", "e"]) == [data, None, b""]
    assert store.size("a") == len(data) and store.open("no") is None
    _Plain.asked.clear()
    opened = store.open("a")
    assert opened is not None and opened.token == store.token("a")
    assert [bytes(p) for p in opened.read_many([(5, 9), (99_999, 100_000)])] == [
        data[5:9], data[99_999:100_000],
    ]  # fmt: skip
    assert _Plain.asked[2:] == ["cat root/a 5 9", "cat root/a 99999 100000", "info root/a"]
    again = pickle.loads(pickle.dumps(store))
    assert again.get("e") == b""
    _Plain.objects["root/a"] = data[::-1]
    with pytest.raises(SourceChangedError):
        opened.read(50_000, 3)
    seen: list[bytes] = []
    assert store.using("a", lambda whole: seen.append(bytes(whole.read(5, 3))))
    assert seen == [data[::-1][5:8]]


def test_files_are_read_without_preadv_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows: parts in any order, and the whole."""
    data = bytes(range(256))
    (tmp_path / "x").write_bytes(data)
    monkeypatch.setattr(store_local, "_HAS_PREADV", False)
    store = LocalStore(tmp_path)
    whole, opened = store.get("x"), store.open("x")
    assert whole == data and opened is not None
    with opened:
        parts = [bytes(opened.read(start, 50)) for start in (200, 0, 7)]
    assert parts == [data[200:250], data[:50], data[7:57]]


def test_zip_entries_are_checked(tmp_path: Path) -> None:
    path = _zip(tmp_path, zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    at = data.index(b"a/c/0/1") + len(b"a/c/0/1")
    data[at + 3] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(FormatError, match="a/c/0/1"):
        ZipStore(path).get("a/c/0/1")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x", b"1" * 100)
    with pytest.raises(FormatError, match="compression method 12"):
        ZipStore(path).get("x")


def test_a_file_system_that_fails_is_a_source_error(monkeypatch: pytest.MonkeyPatch) -> None:
    fs = _memory_fs()
    store = FsspecStore(fs, "/bucket")
    refusing = FsspecStore(fs, "/bucket", missing_status=(404, 403))

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError("403")

    for name in ("cat_file", "info", "cat_ranges"):
        monkeypatch.setattr(fs, name, refuse)
    with pytest.raises(SourceError, match="403"):
        store.get("a/zarr.json")
    assert refusing.get("a/zarr.json") is None and refusing.open("zarr.json") is None
    assert refusing.get_many(["a", "b"]) == [None, None]


def test_a_server_that_ignores_ranges_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    fs = _memory_fs()
    opened = FsspecStore(fs, "/bucket").open("a/c/0/1")
    assert opened is not None
    monkeypatch.setattr(fs, "cat_ranges", lambda paths, *a, **k: [OBJECTS["a/c/0/1"]] * len(paths))
    with pytest.raises(SourceError, match="range requests"):
        opened.read(0, 10)


def test_a_file_system_of_another_process_is_made_anew() -> None:
    store = FsspecStore(_memory_fs(), "/bucket")
    store._made = (-1, None)
    assert store.get("zarr.json") == b"{}"


def test_counting_store_counts_reads_only(tmp_path: Path) -> None:
    store = CountingStore(_folder(tmp_path))
    assert store.size("zarr.json") == 2 and store.children("") == ["a", "b"]
    assert (store.requests, store.bytes, store.lookups) == (0, 0, 2)
    store.get("a/zarr.json")
    store.get("absent")
    opened = store.open("a/c/0/1")
    assert opened is not None
    with opened:
        opened.read(4, 8)
    assert store.log == [
        ("get", "a/zarr.json", 0, 8),
        ("get", "absent", 0, None),
        ("range", "a/c/0/1", 4, 12),
    ]
    assert (store.requests, store.bytes) == (3, 16)
    store.reset()
    assert (store.requests, store.bytes, store.lookups, store.log) == (0, 0, 0, [])


def test_paths_join(tmp_path: Path) -> None:
    store, path = resolve_store(_folder(tmp_path), "/a//c/")
    assert path == "a/c" and bytes(store.get(join_key(path, "0", "1")) or b"")[:2] == b"\x00\x01"


def test_ranges_are_merged_up_to_gap_and_limit() -> None:
    ranges = [(0, 10), (12, 20), (100, 110), (5, 15), (100, 110)]
    assert merge_ranges(ranges, 2, 50) == [(0, 20, [0, 3, 1]), (100, 110, [2, 4])]
    assert merge_ranges([(0, 10), (10, 20)], 0, 15) == [(0, 10, [0]), (10, 20, [1])]
    assert merge_ranges([], 0, 1) == []


def test_scratch_is_reused_and_large_buffers_are_not_kept() -> None:
    scratch = thread_scratch()
    first = scratch.take(STAGE_A, 100)
    first[:3] = b"abc"
    assert bytes(scratch.take(STAGE_A, 3)) == b"abc"
    assert len(scratch.take(ENCODED, KEPT_BYTES + 1)) == KEPT_BYTES + 1
    assert len(scratch._slots[ENCODED]) <= KEPT_BYTES
