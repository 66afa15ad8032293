"""Chunks in files: what is damaged, planted, shared by processes or killed is never served."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.io.disk_cache import DiskCache, Entry, digest, disk_cache, entry_of
from tests.exec.test_forks import in_child, needs_fork

TOKEN = digest("an ETag")
SHAPE = (5, 7)


def entry(number: int, shape: tuple[int, ...] = SHAPE, dtype: Any = "u2") -> Entry:
    return entry_of(f"chunk {number}", shape, np.dtype(dtype))


def values(number: int, shape: tuple[int, ...] = SHAPE, dtype: Any = "u2") -> np.ndarray:
    rng = np.random.Generator(np.random.Philox(key=number))
    return rng.integers(0, 2, shape).astype(dtype) if dtype == "?" else (
        rng.integers(0, 60000, shape).astype(dtype)
    )  # fmt: skip


def raw(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)


def loaded(cache: DiskCache, one: Entry, token: bytes = TOKEN) -> bytes | None:
    out = np.zeros(one.nbytes, np.uint8)
    return out.tobytes() if cache.load(one, token, out) else None


def file_of(folder: Path, one: Entry) -> Path:
    return folder / "lazytensor-chunks-1" / one.file


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache(str(tmp_path), 1 << 20)


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "f4", "f8", "c16"])
@pytest.mark.parametrize("shape", [SHAPE, (), (0, 3), (1,)])
def test_what_is_kept_comes_back(cache: DiskCache, dtype: str, shape: tuple[int, ...]) -> None:
    one, array = entry(1, shape, dtype), values(1, shape, dtype)
    assert loaded(cache, one) is None
    assert cache.token_of(one) is None
    cache.keep(one, TOKEN, raw(array))
    assert loaded(cache, one) == array.tobytes()
    assert cache.token_of(one) == TOKEN
    assert loaded(cache, entry(2, shape, dtype)) is None


def test_files_are_packets_that_anybody_reads(cache: DiskCache, tmp_path: Path) -> None:
    one, array = entry(1), values(1)
    cache.keep(one, TOKEN, raw(array))
    with file_of(tmp_path, one).open("rb") as file:
        mark, found = lt.io.tenso.iter_packets(file)
    assert mark.tobytes() == one.name + TOKEN
    assert np.array_equal(found, array)


def test_a_new_version_takes_the_place_of_the_old(cache: DiskCache, tmp_path: Path) -> None:
    one, new = entry(1), digest("another")
    cache.keep(one, TOKEN, raw(values(1)))
    assert loaded(cache, one, new) is None
    assert loaded(cache, one) is not None, "somebody else may still want the old one"
    cache.keep(one, new, raw(values(2)))
    assert loaded(cache, one) is None
    assert loaded(cache, one, new) == values(2).tobytes()
    assert len(list((tmp_path / "lazytensor-chunks-1").glob("*.tenso"))) == 1


def test_damage_anywhere_is_a_miss_and_is_removed(cache: DiskCache, tmp_path: Path) -> None:
    one, array = entry(1), values(1)
    cache.keep(one, TOKEN, raw(array))
    path = file_of(tmp_path, one)
    good = path.read_bytes()
    lengths = [0, 1, 63, 64, 95, 96, 103, 104, len(good) - 1]
    wrong = [good[:n] for n in lengths] + [good + b"\0", bytes(len(good)), b"x" * len(good)]
    wrong += [good[:at] + bytes((good[at] ^ 16,)) + good[at + 1 :] for at in range(len(good))]
    for number, data in enumerate(wrong):
        path.write_bytes(data)
        assert loaded(cache, one) is None, number
        stale = data[:80] == good[:80] and data[80:96] != good[80:96] and len(data) >= 96
        assert path.exists() == stale, number
    path.write_bytes(good)
    assert loaded(cache, one) == array.tobytes()


def test_an_entry_under_the_name_of_another_is_not_served(cache: DiskCache, tmp_path: Path) -> None:
    cache.keep(entry(1), TOKEN, raw(values(1)))
    file_of(tmp_path, entry(1)).rename(file_of(tmp_path, entry(2)))
    assert loaded(cache, entry(2)) is None


@pytest.mark.skipif(os.name != "posix", reason="links, pipes and modes are those of POSIX")
def test_links_and_pipes_are_no_entries(cache: DiskCache, tmp_path: Path) -> None:
    one, path = entry(1), file_of(tmp_path, entry(1))
    cache.keep(one, TOKEN, raw(values(1)))
    good = path.read_bytes()
    outside = tmp_path / "outside"
    outside.write_bytes(good)
    path.unlink()
    path.symlink_to(outside)
    assert loaded(cache, one) is None
    cache.keep(one, TOKEN, raw(values(1)))
    assert not path.is_symlink()
    assert outside.read_bytes() == good
    path.unlink()
    os.mkfifo(path)
    assert loaded(cache, one) is None
    assert cache.token_of(one) is None
    path.unlink()
    path.mkdir()
    assert loaded(cache, one) is None


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_nobody_else_gets_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = DiskCache(str(tmp_path / "new"), 1 << 20)
    cache.keep(entry(1), TOKEN, raw(values(1)))
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new/lazytensor-chunks-1").stat().st_mode & 0o777 == 0o700
    assert file_of(tmp_path / "new", entry(1)).stat().st_mode & 0o077 == 0
    for name, plant in {
        "open": lambda path: (path.mkdir(), path.chmod(0o777)),
        "link": lambda path: path.symlink_to(tmp_path / "new/lazytensor-chunks-1"),
        "file": lambda path: path.write_bytes(b""),
    }.items():
        (tmp_path / name).mkdir()
        plant(tmp_path / name / "lazytensor-chunks-1")
        caplog.clear()
        other = DiskCache(str(tmp_path / name), 1 << 20)
        for number in range(3):
            other.keep(entry(number), TOKEN, raw(values(number)))
            assert loaded(other, entry(1)) is None
        assert len(caplog.records) == 1, name


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_refuses_is_said_once(
    cache: DiskCache, number: int, monkeypatch: pytest.MonkeyPatch, caplog: Any, tmp_path: Path
) -> None:
    def refuse(*args: Any) -> None:
        raise OSError(number, os.strerror(number))

    cache.keep(entry(0), TOKEN, raw(values(0)))
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(os, "replace", refuse)
        for at in range(1, 4):
            cache.keep(entry(at), TOKEN, raw(values(at)))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert loaded(cache, entry(0)) == values(0).tobytes()
    assert not list((tmp_path / "lazytensor-chunks-1").glob("tmp-*"))


def test_the_folder_may_be_cleared_away(cache: DiskCache, tmp_path: Path) -> None:
    cache.keep(entry(1), TOKEN, raw(values(1)))
    for path in (tmp_path / "lazytensor-chunks-1").iterdir():
        path.unlink()
    (tmp_path / "lazytensor-chunks-1").rmdir()
    assert loaded(cache, entry(1)) is None
    cache.keep(entry(1), TOKEN, raw(values(1)))
    assert loaded(cache, entry(1)) is not None


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = DiskCache(str(tmp_path), 20 * 4096)
    before = lt.metrics()["disk_cache"]["evictions"]
    for number in range(20):
        cache.keep(entry(number), TOKEN, raw(values(number)))
        os.utime(file_of(tmp_path, entry(number)), (number, number))
    assert loaded(cache, entry(0)) is not None, "which makes it the youngest"
    cache.keep(entry(20), TOKEN, raw(values(20)))
    there = [number for number in range(21) if file_of(tmp_path, entry(number)).exists()]
    assert there == [0, *range(4, 21)]
    assert cache.nbytes == 18 * 4096
    assert lt.metrics()["disk_cache"]["evictions"] == before + 3


def test_what_is_too_large_is_not_kept(tmp_path: Path) -> None:
    cache, large = DiskCache(str(tmp_path), 4096), values(1, (64, 64))
    cache.keep(entry(1, large.shape), TOKEN, raw(large))
    assert not (tmp_path / "lazytensor-chunks-1").exists()


def test_files_that_the_killed_left_behind_are_removed(cache: DiskCache, tmp_path: Path) -> None:
    cache.keep(entry(1), TOKEN, raw(values(1)))
    old, young = (tmp_path / "lazytensor-chunks-1" / f"tmp-{name}" for name in ("1", "2"))
    old.write_bytes(b"x" * 5000)
    young.write_bytes(b"x")
    os.utime(old, (0, 0))
    cache.evict()
    assert not old.exists()
    assert young.exists()
    assert cache.nbytes == 2 * 4096


@needs_fork
def test_a_forked_child_goes_on(tmp_path: Path) -> None:
    cache = disk_cache(str(tmp_path), 1 << 20)
    cache.keep(entry(1), TOKEN, raw(values(1)))

    def child() -> bytes:
        assert loaded(cache, entry(1)) == values(1).tobytes()
        cache.keep(entry(2), TOKEN, raw(values(2)))
        return b"good"

    with cache._lock:  # as another thread may hold it
        assert in_child(child) == b"good"
    assert loaded(cache, entry(2)) == values(2).tobytes()


_BUSY = """
import sys, numpy as np
from lazytensor.io.disk_cache import DiskCache
from tests.io.test_disk_cache import TOKEN, entry, loaded, raw, values
folder, seed = sys.argv[1], int(sys.argv[2])
cache, rng, shape = DiskCache(folder, 40 * 69632), np.random.default_rng(seed), (128, 256)
all_values = [values(number, shape) for number in range(60)]
print("ready", flush=True)
hits = 0
for at in range(int(sys.argv[3])):
    number = int(rng.integers(60))
    one, token = entry(number, shape), TOKEN if rng.random() < 0.8 else TOKEN[::-1]
    found = loaded(cache, one, token)
    if found is None:
        cache.keep(one, token, raw(all_values[number]))
    else:
        assert found == all_values[number].tobytes(), number
        hits += 1
print("good", hits, flush=True)
"""


def busy(folder: Path, seed: int, rounds: int) -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", _BUSY, str(folder), str(seed), str(rounds)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root,
    )  # fmt: skip


def test_processes_share_a_folder_and_may_be_killed(tmp_path: Path) -> None:
    steady = [busy(tmp_path, seed, 700) for seed in range(2)]
    doomed = [busy(tmp_path, seed, 1 << 30) for seed in range(2, 5)]
    for number, process in enumerate(doomed):
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()
        time.sleep(0.05 + 0.07 * number)
        process.send_signal(signal.SIGKILL)
    for process in steady:
        out, err = process.communicate(timeout=120)
        last = out.splitlines()[-1].split()
        assert last[0] == "good", err
        assert int(last[1]) > 0
    for process in doomed:
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
    limit, shape = 40 * 69632, (128, 256)
    files = list((tmp_path / "lazytensor-chunks-1").iterdir())
    # Each of those that wrote at once may have gone beyond it by a 32nd, and by one chunk.
    assert sum(path.stat().st_size for path in files) <= limit + 5 * (limit // 32 + 2 * 69632)
    cache = DiskCache(str(tmp_path), limit)
    good = 0
    for number in range(60):
        for token in (TOKEN, TOKEN[::-1]):
            found = loaded(cache, entry(number, shape), token)
            assert found in (None, values(number, shape).tobytes())
            good += found is not None
    assert good == len([path for path in files if path.suffix == ".tenso"]) > 20
