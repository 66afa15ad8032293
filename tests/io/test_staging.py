"""Files and folders that are there as a whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.io import staging
from lazytensor.io.staging import StagedFile, StagedFolder, read_at, write_all
from lazytensor.io.staging_remote import place_of
from tests.sources import ChunkedArray


def file(path: Path, mode: Any = "create") -> StagedFile:
    return StagedFile(str(path), mode, f"file {path.name}")


def folder(path: Path, mode: Any = "create") -> StagedFolder:
    return StagedFolder(str(path), mode, f"folder {path.name}", "mark")


def filled(staged: StagedFile | StagedFolder, data: bytes) -> StagedFile | StagedFolder:
    """One that was begun, and written to."""
    staged.begin()
    if isinstance(staged, StagedFile):
        staged.put(0, data)
    else:
        staged.put("a/b", [data])
    return staged


def publish(staged: StagedFile | StagedFolder) -> None:
    if isinstance(staged, StagedFile):
        staged.publish()
    else:
        staged.publish("mark", [b"m"])


def content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else (path / "a" / "b").read_bytes()


KINDS = [file, folder]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_seen_before_it_is_published(tmp_path: Path, kind: Any) -> None:
    staged = filled(kind(tmp_path / "x"), b"123")
    assert not (tmp_path / "x").exists()
    assert all(name.startswith(".") for name in os.listdir(tmp_path))
    publish(staged)
    assert content(tmp_path / "x") == b"123"
    assert os.listdir(tmp_path) == ["x"]
    staged.abort()
    assert content(tmp_path / "x") == b"123"


@pytest.mark.parametrize("kind", KINDS)
def test_who_is_second_learns_it_at_the_end(tmp_path: Path, kind: Any) -> None:
    first, second = (filled(kind(tmp_path / "x"), data) for data in (b"first", b"second"))
    publish(first)
    with pytest.raises(lt.SinkExistsError, match="meanwhile"):
        publish(second)
    second.abort()
    assert content(tmp_path / "x") == b"first"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exchange", [True, False])
def test_two_that_overwrite(
    tmp_path: Path, kind: Any, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(staging, "_renameat2", lambda: None)
    publish(filled(kind(tmp_path / "x"), b"before"))
    both = [filled(kind(tmp_path / "x", "overwrite"), data) for data in (b"first", b"second")]
    for staged in both:
        publish(staged)
    assert content(tmp_path / "x") == b"second"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.skipif(os.name == "nt", reason="there are no locks")
@pytest.mark.parametrize("kind", KINDS)
def test_what_nobody_writes_any_more_is_cleared_away(tmp_path: Path, kind: Any) -> None:
    living = filled(kind(tmp_path / "x"), b"alive")
    dead = filled(kind(tmp_path / "x"), b"dead")
    left = dead.own
    dead._unlock()
    others = {f".x.{'0' * 31}.tmp", f".x.{'g' * 32}.tmp", f".y.{'0' * 32}.tmp", "x.tmp"}
    for name in others:
        (tmp_path / name).write_bytes(b"")
    after = filled(kind(tmp_path / "x"), b"after")
    assert not os.path.lexists(left)
    publish(living)
    assert content(tmp_path / "x") == b"alive"
    after.abort()
    assert set(os.listdir(tmp_path)) == {"x", *others}


def test_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(one: str, other: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    publish(filled(file(tmp_path / "x"), b"1"))
    second = filled(file(tmp_path / "y"), b"2")
    (tmp_path / "y").write_bytes(b"quicker")
    with pytest.raises(lt.SinkExistsError):
        publish(second)
    second.abort()
    assert (tmp_path / "y").read_bytes() == b"quicker"
    assert sorted(os.listdir(tmp_path)) == ["x", "y"]


def test_a_former_folder_is_put_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(filled(folder(tmp_path / "x"), b"before"))
    staged = filled(folder(tmp_path / "x", "overwrite"), b"after")
    monkeypatch.setattr(staging, "_renameat2", lambda: None)
    rename = os.rename

    def fails(one: str, other: str) -> None:
        if one == staged.own and other == str(tmp_path / "x"):
            raise OSError(5, "Input/output error")
        rename(one, other)

    monkeypatch.setattr(os, "rename", fails)
    with pytest.raises(lt.SinkError, match=r"cannot be put into its place: .*Input/output"):
        publish(staged)
    staged.abort()
    assert content(tmp_path / "x") == b"before"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_writes_of_a_few_bytes_at_a_time(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def some(fd: int, views: list[memoryview], at: int | None) -> int:
        return os.write(fd, views[0][:step]) if at is None else os.pwrite(fd, views[0][:step], at)

    monkeypatch.setattr(staging, "_write_some", some)
    with open(tmp_path / "x", "w+b") as opened:
        assert write_all(opened.fileno(), [b"", b"12345", bytearray(b"67"), memoryview(b"8")]) == 8
        assert write_all(opened.fileno(), [b"ab", b"c"], 2) == 3
    assert (tmp_path / "x").read_bytes() == b"12abc678"


def test_without_reads_and_writes_at_an_offset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "_HAS_OFFSETS", False)
    monkeypatch.delattr(os, "writev", raising=False)
    values = np.random.default_rng(0).integers(0, 9, (60, 200, 50)).astype("u2")
    x = lt.scan_source(ChunkedArray(values, (7, 200, 50)))
    for options in ({}, {"compress": True}, {"chunks": 32}):
        engine = lt.LocalEngine(threads=3, max_memory="4MiB")
        found = x.sink_tenso(tmp_path / "x", engine=engine, mode="overwrite", **options)
        np.testing.assert_array_equal(found.collect(), values)


def test_a_file_that_ends(tmp_path: Path) -> None:
    with open(tmp_path / "x", "w+b") as opened:
        opened.write(b"123")
        opened.flush()
        with pytest.raises(OSError, match="cut off"):
            read_at(opened.fileno(), memoryview(bytearray(3)), 1)


def test_places(tmp_path: Path) -> None:
    import fsspec

    path = str(tmp_path / "x")
    for spelt in (path, Path(path), f"file://{path}", (fsspec.filesystem("file"), path)):
        place = place_of(spelt)
        assert (place.fs, place.path, place.uri) == (None, path, path)
    assert place_of("~/x").path == os.path.expanduser("~/x")
    remote = place_of("memory://a/b/")
    assert (remote.path, remote.uri) == ("/a/b", "memory:///a/b")
    for wrong in (3, None, b"x".__len__, [path]):
        with pytest.raises(TypeError, match="is no place to write to"):
            place_of(wrong)
    with pytest.raises(lt.SourceError):
        place_of("nosuch://x")


@pytest.mark.parametrize("kind", KINDS)
def test_names_as_long_as_the_system_has_them(tmp_path: Path, kind: Any) -> None:
    for name in ("n" * 255, "é" * 127):
        left = filled(kind(tmp_path / name), b"left")
        left._unlock()
        publish(filled(kind(tmp_path / name), b"1"))
        publish(filled(kind(tmp_path / name, "overwrite"), b"2"))
        assert content(tmp_path / name) == b"2"
        assert os.listdir(tmp_path) == [name]
        staging._remove(str(tmp_path / name))


@pytest.mark.skipif(os.name == "nt", reason="there are no permissions")
@pytest.mark.parametrize("kind", KINDS)
def test_who_may_read_what_is_replaced_may_read_the_new_one(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "x"
    publish(filled(kind(path), b"1"))
    for mode in (0o700, 0o750):
        path.chmod(mode)
        staged = filled(kind(path, "overwrite"), b"2")
        assert os.stat(staged.own).st_mode & 0o777 == mode
        publish(staged)
        assert path.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("kind", KINDS)
def test_where_open_files_cannot_be_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    monkeypatch.setattr(staging, "_MOVES_OPEN", False)
    for name in ("link", "rename", "replace", "unlink"):
        move = getattr(os, name)

        def moves(path: Any, *rest: Any, move: Any = move, **options: Any) -> None:
            assert staged is None or staged._lock < 0
            move(path, *rest, **options)

        monkeypatch.setattr(os, name, moves)
    monkeypatch.setattr(staging, "_renameat2", lambda: None)
    staged: Any = None
    for mode in ("create", "overwrite"):
        if kind is file:
            staged = filled(kind(tmp_path / "x", mode), mode.encode())
        else:
            new = kind(tmp_path / "x", mode)
            new.begin()
            staged = new
            new.put = lambda key, parts, new=new: _as_it_is(new, key, parts)
            new.put("a/b", [mode.encode()])
        publish(staged)
        assert content(tmp_path / "x") == mode.encode()
    staged = None
    staged = filled(file(tmp_path / "y"), b"not this")
    staged.abort()
    assert os.listdir(tmp_path) == ["x"]


def _as_it_is(staged: StagedFolder, key: str, parts: list[bytes]) -> None:
    path = Path(staged.own, key)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(parts))


def test_another_one_takes_the_place_of_a_folder_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = filled(folder(tmp_path / "x", "overwrite"), b"first")
    second = filled(folder(tmp_path / "x", "overwrite"), b"second")
    rename = os.rename

    def later(one: str, other: str) -> None:
        monkeypatch.setattr(os, "rename", rename)
        publish(first)
        rename(one, other)

    monkeypatch.setattr(os, "rename", later)
    publish(second)
    assert content(tmp_path / "x") == b"second"
    assert os.listdir(tmp_path) == ["x"]


def test_interrupted_between_two_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(filled(folder(tmp_path / "x"), b"before"))
    staged = filled(folder(tmp_path / "x", "overwrite"), b"after")
    monkeypatch.setattr(staging, "_renameat2", lambda: None)
    rename = os.rename

    def interrupted(one: str, other: str) -> None:
        rename(one, other)
        monkeypatch.setattr(os, "rename", rename)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        publish(staged)
    staged.abort()
    assert content(tmp_path / "x") == b"before"
    assert os.listdir(tmp_path) == ["x"]


def test_errors_say_what_the_system_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, views: Any, at: int | None) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    staged = file(tmp_path / "x")
    staged.begin()
    monkeypatch.setattr(staging, "_write_some", full)
    with pytest.raises(lt.SinkError, match=r"^file x: at byte 7: .*No space left") as caught:
        staged.put(7, b"1")
    assert caught.value.errno == errno.ENOSPC
    staged.abort()


def test_a_file_system_that_cannot_allocate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code in (errno.EOPNOTSUPP, errno.EINTR):
        monkeypatch.setattr(staging, "fallocate", lambda *args, code=code: code)
        staged = file(tmp_path / "x")
        staged.begin()
        staged.allocate(100)
        assert os.fstat(staged.descriptor).st_size == 100
        staged.abort()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("kind", "when"), [(file, "_make"), (folder, "_make"), (folder, "_remove")]
)
def test_interrupted_while_something_is_made_or_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, when: str
) -> None:
    publish(filled(kind(tmp_path / "x"), b"before"))
    staged = kind(tmp_path / "x", "overwrite")
    where: Any = staged if when == "_make" else staging
    real = getattr(where, when)

    def interrupted(path: str) -> None:
        monkeypatch.setattr(where, when, real)
        made = real(path) if when == "_make" else -1
        if made >= 0:
            os.close(made)
        raise KeyboardInterrupt

    monkeypatch.setattr(where, when, interrupted)
    with pytest.raises(KeyboardInterrupt):
        publish(filled(staged, b"after"))
    staged.abort()
    assert os.listdir(tmp_path) == ["x"]


def test_a_folder_that_was_taken_for_a_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = os.mkdir

    def removed(path: str) -> None:
        monkeypatch.setattr(os, "mkdir", mkdir)
        mkdir(path)
        os.rmdir(path)

    monkeypatch.setattr(os, "mkdir", removed)
    publish(filled(folder(tmp_path / "x"), b"1"))
    assert content(tmp_path / "x") == b"1"
    assert os.listdir(tmp_path) == ["x"]
