"""Looks at files: compiled or not, from their folder on or not, they tell the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lazytensor import native
from lazytensor.io import file_states
from lazytensor.io.file_states import FileState, unchanged

KEYS = [f"c/{i}/{j}" for i in range(3) for j in range(4)]


@pytest.fixture(params=["compiled", "no folder", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "plain":
        monkeypatch.setenv("LAZYTENSOR_NATIVE", "0")
    elif native.wait("look", timeout=100) is None:
        pytest.skip("there is no compiler")
    if request.param == "no folder":
        monkeypatch.setattr(file_states, "_PATH_ONLY", None)
    name: str = request.param
    return name


def made(folder: Path) -> None:
    for number, key in enumerate(KEYS):
        file = folder / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(number + 1))


def states(folder: str) -> list[FileState]:
    found = []
    for key in KEYS:
        status = os.stat(folder + key)
        token = status.st_ino, status.st_mtime_ns, status.st_size
        found.append(FileState.of(folder, key, token))
    return found


def test_changes_are_seen(tmp_path: Path, way: str) -> None:
    folder = tmp_path / "ä b"
    made(folder)
    known = states(f"{folder}/")
    assert unchanged(known).tolist() == [True] * len(KEYS)
    assert unchanged([]).tolist() == []
    assert unchanged(known[:1]).tolist() == [True]
    (folder / KEYS[1]).unlink()
    (folder / KEYS[3]).write_bytes(bytes(100))
    os.utime(folder / KEYS[5], ns=(0, 10**18 + 1))
    (folder / KEYS[7]).replace(folder / KEYS[8])
    expected = [number not in (1, 3, 5, 7, 8) for number in range(len(KEYS))]
    assert unchanged(known).tolist() == expected
    assert unchanged(known[::-1]).tolist() == expected[::-1]


def test_files_of_several_folders(tmp_path: Path, way: str) -> None:
    one, other, link = tmp_path / "one", tmp_path / "another", tmp_path / "link"
    for folder in (one, other):
        made(folder)
    link.symlink_to(other)
    known = states(f"{one}/") + states(f"{other}/") + states(f"{link}/")
    (one / KEYS[2]).write_bytes(b"")
    (other / KEYS[4]).write_bytes(b"")
    n = len(KEYS)
    expected = [number not in (2, n + 4, 2 * n + 4) for number in range(3 * n)]
    assert unchanged(known).tolist() == expected
    assert unchanged(known[::-1]).tolist() == expected[::-1]


def test_another_folder_in_its_place(tmp_path: Path, way: str) -> None:
    folder = tmp_path / "store"
    made(folder)
    known = states(f"{folder}/")
    folder.rename(tmp_path / "away")
    assert not unchanged(known).any()
    made(folder)
    assert not unchanged(known).any()


def test_relative_folders_and_none(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    assert unchanged(states("store/")).all()
    monkeypatch.chdir(tmp_path / "store")
    assert unchanged(states("")).all()


def test_inodes_with_all_their_bits(tmp_path: Path, way: str) -> None:
    """File systems that are laid over others number files so."""
    made(tmp_path)
    known = states(f"{tmp_path}/")
    far = FileState.of(f"{tmp_path}/", KEYS[0], (2**64 - 1, *known[0][1:3]))
    assert unchanged([far, *known]).tolist() == [False] + [True] * len(KEYS)
