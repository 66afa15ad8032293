"""Ctrl-C at any line of the cache of decoded chunks: nothing stays in use, and nobody waits."""

from __future__ import annotations

import gc
import linecache
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import zarr

import lazytensor as lt
from lazytensor.io import chunk_books, chunk_cache
from lazytensor.io.chunk_cache import HELD, MINE, NO_ROOM, THEIRS, ChunkCache
from lazytensor.io.zarr import cached, scan, windows_reading
from lazytensor.plan.caching import Caching, caching
from tests.io.test_chunk_cache import age, take

FILES = {module.__file__ for module in (chunk_books, chunk_cache, cached, windows_reading)}
# Signals strike after a call or a jump back: not here, between taking a lock and what sees to its
# being given back. What is raised in __del__ reaches nobody.
CLOSED = ("with self._lock:", "try:", "return")


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    chunk_cache.chunk_cache().clear()
    yield
    gc.collect()
    assert not chunk_cache.chunk_cache().in_use()


def struck(at: int, call: Callable[[], Any]) -> bool:
    """Call, with a KeyboardInterrupt at the ``at``-th line; whether there were as many."""
    seen = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal seen
        code = frame.f_code
        if code.co_filename not in FILES or code.co_name == "__del__":
            return None
        if event != "line":
            return trace
        line = linecache.getline(code.co_filename, frame.f_lineno).strip()
        if line not in CLOSED:
            seen += 1
            if seen == at:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def every_line(call: Callable[[], Any], step: int = 1) -> Iterator[int]:
    """Strike at one line after the other, until there are no more."""
    at = 1
    while struck(at, call):
        yield at
        at += step
    assert at > 100


def test_slots() -> None:
    cache, most = ChunkCache(), 6 * 1024 + 64
    for number in range(4):
        first = take(cache, [number], most)
        cache.publish(first, first.fates == MINE)
        cache.give_back(first)

    def use() -> None:
        taken = None
        try:
            # Some are there, one is new, one takes the place of the oldest, one finds no room.
            taken = take(cache, [0, 1, 7, 8, 9, 10, 11], most)
            cache.publish(taken, taken.fates == MINE)
            cache.await_others(taken)
        finally:
            if taken is not None:
                cache.give_back(taken)

    for at in every_line(use):
        assert not cache.in_use(), at
        use()
        assert not cache.in_use() and cache.nbytes <= most, at


def test_what_others_use_stays_theirs() -> None:
    cache = ChunkCache()
    mine = take(cache, [1, 2])
    assert mine.fates.tolist() == [MINE, MINE]
    for i in range(2):
        memory, start = cache.memory_of(mine, i)
        memory[start : start + 1000] = i + 1
    cache.publish(mine, np.array([True, True]))
    addresses = mine.addresses.tolist()

    def use() -> None:
        taken = take(cache, [2, 3, 4])
        try:
            cache.publish(taken, taken.fates == MINE)
        finally:
            cache.give_back(taken)

    for at in every_line(use):
        fresh = take(cache, [5])
        memory, start = cache.memory_of(fresh, 0)
        memory[start : start + 1000] = 77
        cache.give_back(fresh)
        for i in range(2):
            memory, start = cache.memory_of(mine, i)
            assert (memory[start : start + 1000] == i + 1).all(), at
    assert mine.addresses.tolist() == addresses and mine.fates.tolist() == [HELD, HELD]
    cache.give_back(mine)
    assert not cache.in_use()


def test_what_is_lost_is_given_back() -> None:
    cache = ChunkCache()
    lost = take(cache, [1, 2])
    cache.publish(lost, np.array([True, False]))
    del lost
    again = take(cache, [1, 2])
    assert again.fates.tolist() == [HELD, MINE]
    waits = take(cache, [2])
    assert waits.fates.tolist() == [THEIRS]
    done: list[int] = []
    waiting = threading.Thread(target=lambda: done.append(cache.await_others(waits) or 1))
    waiting.start()
    time.sleep(0.05)
    del again
    waiting.join(10)
    assert done == [1] and waits.fates.tolist() == [NO_ROOM]
    cache.give_back(waits)
    assert not cache.in_use()


def test_nobody_waits_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who fills may wait for the one that waits for him."""
    monkeypatch.setattr(chunk_cache, "_PATIENCE", 0.05)
    cache = ChunkCache()
    mine, theirs = take(cache, [1]), take(cache, [1])
    cache.await_others(theirs)
    assert theirs.fates.tolist() == [NO_ROOM] and theirs.slots.tolist() == [-1]
    other = take(cache, [1])
    assert other.fates.tolist() == [MINE] and other.addresses[0] != mine.addresses[0]
    cache.publish(mine, np.array([True]))
    for taken in (mine, theirs, other):
        cache.give_back(taken)
    assert not cache.in_use()


def test_states_that_cannot_be_told() -> None:
    cache, use = ChunkCache(), Caching(1 << 20, 1)
    cache.give_back(take(cache, [1]))
    held = take(cache, [2])
    cache.publish(held, np.array([True]))

    def fail(some: Any, known: Any) -> Any:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        cache.take("a", [2, 3], 1000, use, fail)
    cache.give_back(held)
    assert not cache.in_use()


@pytest.mark.parametrize("way", ["compiled", "plain"])
@pytest.mark.parametrize("layout", [{}, {"shards": (8, 10)}])
def test_reads(
    tmp_path: Path, layout: dict[str, Any], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "plain":
        monkeypatch.setenv("LAZYTENSOR_NATIVE", "0")
    values = np.arange(16 * 20, dtype="u2").reshape(16, 20)
    array = zarr.create_array(
        str(tmp_path), shape=values.shape, chunks=(4, 5), dtype="u2", **layout
    )
    array[...] = values
    age(tmp_path)
    source = scan(str(tmp_path))

    def read() -> np.ndarray:
        out = np.empty((9, 12), "u2")
        source.read_strided(((3, 12), (2, 14)), (1, 1), out)
        return out

    def some() -> None:
        chunk_cache.chunk_cache().clear()
        out = np.empty((4, 4), "u2")
        source.read_into(((0, 4), (0, 4)), out)
        read()

    with caching(4 << 10):
        for at in every_line(some, step=5):
            assert not chunk_cache.chunk_cache().in_use(), at
            assert np.array_equal(read(), values[3:12, 2:14])


def test_collects(tmp_path: Path) -> None:
    values = np.arange(16 * 20, dtype="u2").reshape(16, 20)
    array = zarr.create_array(str(tmp_path), shape=values.shape, chunks=(4, 5), dtype="u2")
    array[...] = values
    age(tmp_path)
    x = lt.scan_zarr(str(tmp_path))
    y = lt.stack([x[i : i + 6, 2:9] for i in (0, 5, 3)])
    wanted = np.stack([values[i : i + 6, 2:9] for i in (0, 5, 3)])
    engine = lt.LocalEngine(threads=1)
    with lt.Config(cache_bytes="4KiB"):

        def collect() -> None:
            chunk_cache.chunk_cache().clear()
            assert np.array_equal(y.collect(engine=engine), wanted)

        for at in every_line(collect, step=11):
            assert not chunk_cache.chunk_cache().in_use(), at
            assert np.array_equal(y.collect(engine=engine), wanted)
