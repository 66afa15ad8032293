"""Zip files as stores: local and remote, odd, damaged, hostile, and replaced while open."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazytensor.errors import (
    ChunkDecodeError,
    FormatError,
    SourceChangedError,
    SourceError,
    SourceNotFoundError,
)
from lazytensor.io.store import Store
from lazytensor.io.store_memory import DictStore
from lazytensor.io.store_open import make_store
from lazytensor.io.store_zip import ZipStore
from tests.io.servers import ObjectServer, serving

BIG = bytes(range(256)) * 1024
OBJECTS = {"zarr.json": b"{}", "a/zarr.json": b'{"a": 1}', "a/c/0": BIG, "a/c/1": BIG[1:], "e": b""}


def packed(objects: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of objects; deflated ones are not only zeros."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for key, data in objects.items():
            archive.writestr(key, data)
    return file.getvalue()


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    pytest.importorskip("aiohttp")
    with serving() as server:
        yield server


@pytest.fixture(params=["local", "remote"])
def put(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[bytes], str]:
    """Puts an archive somewhere and says where."""
    if request.param == "local":

        def write(data: bytes) -> str:
            (tmp_path / "new").write_bytes(data)
            os.replace(tmp_path / "new", tmp_path / "x.zip")
            return str(tmp_path / "x.zip")

        return write
    server: ObjectServer = request.getfixturevalue("server")

    def serve(data: bytes) -> str:
        server.objects["data/x.zip"] = data
        return f"{server.url}/data/x.zip"

    return serve


def used(store: Store, key: str, start: int, count: int) -> bytes:
    """Bytes of an object, read as a driver does."""
    seen: list[bytes] = []
    assert store.using(key, lambda whole: seen.append(bytes(whole.read(start, count))))
    return seen[-1]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_entries_whole_and_in_part(put: Callable[[bytes], str], method: int) -> None:
    store = make_store(put(packed(OBJECTS, method)))
    assert isinstance(store, ZipStore)
    for again in (store, pickle.loads(pickle.dumps(store))):
        keys = [*OBJECTS, "nothing", "a"]
        found = [data if data is None else bytes(data) for data in again.get_many(keys)]
        assert found == [*OBJECTS.values(), None, None]
        assert [again.size(key) for key in keys] == [*map(len, OBJECTS.values()), None, None]
        opened = again.open("a/c/0")
        assert opened is not None
        with opened:
            ranges = [(70_000, 70_003), (1, 2), (len(BIG) - 1, len(BIG))]
            assert [bytes(p) for p in opened.read_many(ranges)] == [BIG[a:b] for a, b in ranges]
            for start, count in ((len(BIG), 1), (-1, 2)):
                with pytest.raises(SourceError, match="do not exist"):
                    opened.read(start, count)
        assert used(again, "a/c/1", 5, 3) == BIG[6:9] and not again.using(
            "nothing", lambda whole: None
        )
        assert again.children("") == ["a"] and dict(again.walk("a/c")) == {
            "a/c/0": len(BIG), "a/c/1": len(BIG) - 1,
        }  # fmt: skip


@pytest.mark.parametrize("form", ["zip://a::{}", "zip://a/::{}"])
def test_urls_name_a_folder_inside(put: Callable[[bytes], str], form: str) -> None:
    url = form.format(put(packed(OBJECTS)))
    store = make_store(url)
    assert store.get("zarr.json") == b'{"a": 1}' and store.get("e") is None
    assert store.uri is not None and make_store(store.uri).get("zarr.json") == b'{"a": 1}'
    assert store.identity == make_store(store.uri).identity
    assert bytes(make_store(url.replace("zip://a", "zip://")).get("a/c/0") or b"") == BIG


def test_zip_files_of_a_file_system() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/zips/x.zip", packed(OBJECTS))
    for store in (
        make_store((fs, "/zips/x.zip")),
        make_store("memory://zips/x.zip"),
        make_store("zip://::memory://zips/x.zip"),
        make_store("zip::memory://zips/x.zip", {"zip": {"mode": "r"}}),
    ):
        assert isinstance(store, ZipStore) and bytes(store.get("a/c/0") or b"") == BIG


def test_a_remote_archive_is_not_downloaded(server: ObjectServer) -> None:
    objects = {f"c/{i}": bytes([i]) * 100_000 for i in range(100)}
    server.objects["x.zip"] = data = packed(objects)
    store = make_store(f"{server.url}/x.zip")
    assert len(server.log) == 1, "the directory comes with opening"
    found = store.get_many(["c/3", "c/50", "c/99"])
    assert [bytes(d or b"")[0] for d in found] == [3, 50, 99] and len(server.log) == 4
    seen: list[bytes] = []
    for _ in range(2):
        store.using("c/7", lambda whole: seen.append(bytes(whole.read(9, 2))))
    assert seen == [b"\x07\x07"] * 2
    assert len(server.log) == 4 + 3, "header and part, then the part"
    assert len(data) > 9_000_000


def test_a_long_directory(put: Callable[[bytes], str]) -> None:
    objects = {f"{i:0100}": str(i).encode() for i in range(3000)}
    store = make_store(put(packed(objects)))
    assert store.get(f"{2999:0100}") == b"2999" and len(list(store.walk(""))) == 3000


def test_zip64_extra_fields_and_comments(put: Callable[[bytes], str]) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        with archive.open("a", "w", force_zip64=True) as entry:
            entry.write(BIG)
        info = zipfile.ZipInfo("b")
        info.extra = b"\xfe\xca\xc8\x00" + bytes(200)
        archive.writestr(info, BIG[2:])
        archive.comment = b"a comment"
    store = make_store(put(b"#!/bin/sh\n" + file.getvalue()))
    assert [bytes(d or b"") for d in store.get_many(["a", "b"])] == [BIG, BIG[2:]]


def test_written_as_a_stream(put: Callable[[bytes], str]) -> None:
    """Sizes and checksum then follow the data."""

    class Pipe(io.RawIOBase):
        data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object, /) -> int:
            self.data += bytes(data)  # type: ignore[call-overload]
            return len(data)  # type: ignore[arg-type]

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type]
        archive.writestr("a", BIG)
    assert make_store(put(pipe.data)).get("a") == BIG


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_of_entries_with_one_name_the_last_counts(put: Callable[[bytes], str]) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", b"old")
        archive.writestr("a", b"newer")
    assert make_store(put(file.getvalue())).get("a") == b"newer"


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/passwd", "a\\b", "a/.."])
def test_names_that_lead_out_are_refused(put: Callable[[bytes], str], name: str) -> None:
    harmless = "x" * len(name)
    data = packed({harmless: b"1", "ok": b"2"}).replace(harmless.encode(), name.encode())
    with pytest.raises(FormatError, match=r"refused, for one of its entries: key .* not allowed"):
        make_store(put(data))


def edited(data: bytes, key: str, at: int, value: bytes) -> bytes:
    """An archive with some bytes of the last directory entry for a key replaced."""
    start = data.rindex(b"PK\x01\x02", 0, data.rindex(key.encode())) + at
    return data[:start] + value + data[start + len(value) :]


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (8, b"\x01\x00", "encrypted"),
        (10, b"\x0c\x00", "compression method 12"),
        (24, (1 << 30).to_bytes(4, "little"), "cannot hold 1073741824"),
        (24, (9_000_000).to_bytes(4, "little"), "expected 9000000 bytes"),
        (24, (100).to_bytes(4, "little"), "expected 100 bytes"),
        (42, (1 << 20).to_bytes(4, "little"), "no header at byte 1048576|zip file"),
        (42, b"\x01", "no header at byte 1|zip file"),
    ],
)
def test_damaged_directories(
    put: Callable[[bytes], str], at: int, value: bytes, message: str
) -> None:
    """A directory that promises too much, or too little, is not believed."""
    noise = Random(1).randbytes(30_000)
    data = edited(packed({"first": b"1", "key": noise}, zipfile.ZIP_DEFLATED), "key", at, value)
    with pytest.raises(FormatError, match=message):
        make_store(put(data)).get("key")


def test_a_bomb_stops_at_the_declared_size(put: Callable[[bytes], str]) -> None:
    data = packed({"key": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ChunkDecodeError, match="expected 1000 bytes"):
        make_store(put(edited(data, "key", 24, (1000).to_bytes(4, "little")))).get("key")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_checksums(put: Callable[[bytes], str], method: int) -> None:
    data = packed({"key": Random(1).randbytes(3000)}, method)
    at = data.index(b"key") + 700
    with pytest.raises(FormatError, match="entry 'key'"):
        make_store(put(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])).get("key")


def test_what_is_no_archive(put: Callable[[bytes], str], server: ObjectServer) -> None:
    with pytest.raises(FormatError, match="expected a zip file"):
        make_store(put(b"PK\x03\x04 nothing of the kind"))
    with pytest.raises(SourceNotFoundError, match="nothing at"):
        make_store(f"{server.url}/none.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("change", ["other", "same size"])
def test_replaced_while_open(put: Callable[[bytes], str], method: int, change: str) -> None:
    store = make_store(put(packed(OBJECTS, method)))
    opened = store.open("a/c/0")
    assert opened is not None
    token = store.token("a/c/0")
    new = {**OBJECTS, "a/c/0": BIG[::-1]}
    put(packed({"0": b"more", **new} if change == "other" else new, method))
    with opened:
        try:
            assert bytes(opened.read(100, 20)) == BIG[100:120], "the file that was opened"
        except SourceChangedError:
            assert store.remote
    calls: list[Callable[[Store], object]] = [
        lambda s: s.get("a/c/0"),
        lambda s: s.get_many(["a/c/0", "a/c/1"]),
        lambda s: s.open("a/c/0"),
        lambda s: s.using("a/c/0", lambda whole: None),
    ]
    for call in calls:
        with pytest.raises(SourceChangedError, match="scan it again"):
            call(store)
    assert store.token("a/c/0") != token and store.changed("a/c/0", token) is not store.remote


def test_written_over_in_place(tmp_path: Path) -> None:
    """Even if the clock does not tell."""
    path = tmp_path / "x.zip"
    path.write_bytes(packed({"a": BIG, "b": b"1"}))
    status = path.stat()
    store = ZipStore(path)
    with path.open("r+b") as file:
        file.write(packed({"a": BIG[::-1], "b": b"1"}))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(SourceChangedError):
        store.get("a")


def test_gone(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(packed(OBJECTS))
    store = ZipStore(path)
    path.unlink()
    with pytest.raises(SourceChangedError, match="has changed"):
        store.get("a/c/0")


@given(
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=8)), min_size=1, max_size=4),
    cut=st.floats(0.5, 1),
)
def test_damage_is_noticed(method: int, edits: list[tuple[float, bytes]], cut: float) -> None:
    """Whatever happens to an archive: the right bytes or a typed error."""
    objects = {"a": Random(1).randbytes(300), "b/c": bytes(200) + b"x", "d": b""}
    data = bytearray(packed(objects, method))
    for where, new in edits:
        at = int(where * len(data))
        data[at : at + len(new)] = new
    if cut < 0.9:
        del data[int(cut * len(data)) :]
    try:
        store = ZipStore(DictStore({"x.zip": bytes(data)}), "x.zip")
    except SourceError:
        return
    for key, expected in objects.items():
        try:
            found = store.get(key)
        except SourceError:
            continue
        assert found is None or bytes(found) == expected, "lost with its name, but not changed"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_handle_has_the_token_of_the_entry(method: int, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(packed(OBJECTS, method))
    os.utime(path, (1e9, 1e9))  # as old as a token has to be
    store = make_store(path)
    for key in OBJECTS:
        whole = store.open(key)
        assert whole is not None
        with whole:
            assert whole.token == store.token(key) is not None
        assert not store.changed(key, whole.token)
