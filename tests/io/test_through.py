"""What a consumer is handed, chunk by chunk, is what a read gives: every value once."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import fsspec
import numcodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazytensor import native
from lazytensor.errors import ChunkDecodeError, SourceNotFoundError
from lazytensor.exec.kernels.consumer import CompiledConsumer
from lazytensor.io.scratch import STAGE_A, Scratch
from lazytensor.io.zarr import ZarrSource, scan
from lazytensor.plan.clock import DECODING, Clock
from lazytensor.plan.counters import snapshot
from tests.io.test_compiled import CODECS
from tests.io.zarr_cases import array_v2, array_v3, distinct, little, shard, sharding, v2, v3

# Copies each element to its place and counts it there; or, of results made of several elements,
# adds them up. What it is told twice, it compares, and it uses what it is lent.
TEXT = """
from lazytensor.native.intrinsics import store_u8
from lazytensor.native.kernels.chunk_block import WORK_WORDS
from lazytensor.native.kernels.consumer_block import (
    BUFFER, COUNTS, PARAMETERS, POSITION, RANK, SOURCE, SOURCE_STRIDES, STREAMED, TARGET,
    TARGET_STRIDES, WORK,
)
from lazytensor.native.kernels.memory import load8, load16, put, word


def kernel(b):
    p, work = word(b, PARAMETERS), word(b, WORK)
    rank, steps = word(b, RANK), word(b, SOURCE_STRIDES)
    item, origin, hits, adds, room = word(p, 0), word(p, 1), word(p, 2), word(p, 3), word(p, 4)
    factors, places, counts = p + 8 * 5, word(b, TARGET_STRIDES), word(b, COUNTS)
    for i in range(WORK_WORDS):
        put(work, i, -7)
    buffer, wrong = word(b, BUFFER), word(b, BUFFER) % 64
    for i in range(room):
        store_u8(buffer + i, 0)
    to, count = origin, 1
    for d in range(rank):
        at = word(word(b, POSITION), d)
        wrong |= at % word(factors, d)
        to += at // word(factors, d) * word(places, d)
        count *= word(counts, d)
    wrong |= to - word(b, TARGET)
    if wrong:
        return 1
    for i in range(count):
        rest, at, to = i, word(b, SOURCE), word(b, TARGET)
        for d in range(rank - 1, -1, -1):
            k = rest % word(counts, d)
            rest //= word(counts, d)
            if steps:
                at += k * word(steps, d)
            to += k // word(factors, d) * word(places, d)
        if adds:
            put(to, 0, word(to, 0) + load16(at))
        else:
            for j in range(item):
                store_u8(to + j, load8(at + j))
            cell = hits + 8 * ((to - word(p, 1)) // item)
            put(cell, 0, word(cell, 0) + 1)
    return 0
"""


@pytest.fixture(scope="module", autouse=True)
def consume() -> native.Kernel:
    assert native.wait("chunks", timeout=200) is not None, native.reason("chunks")
    found = native.wait("consume", text=TEXT, timeout=200)
    assert found is not None, native.reason("consume", text=TEXT)
    return found


class Copy:
    """A consumer that fills an array, in which each dim may run backwards."""

    def __init__(
        self, run: native.Kernel, shape: Sequence[int], dtype: Any, flips: Sequence[bool] = ()
    ) -> None:
        self.memory = np.zeros(shape, dtype)
        mirror = tuple(slice(None, None, -1 if flip else None) for flip in flips)
        self.result = self.memory[(*mirror, ...)]
        # Addresses of hits are computed from those of elements: both arrays are turned alike.
        self.hits = np.zeros(shape, np.int64)
        self.counted = self.hits[(*mirror, ...)]
        words = [self.memory.itemsize, _at(self.result), _at(self.counted), 0, 100]
        words += [1] * len(shape)
        self.consumer = CompiledConsumer(
            run, np.array(words, np.int64), self.result, self.result.strides, buffer_nbytes=100
        )


class Sum:
    """A consumer that adds elements up, ``factors`` of them to a result, all along ``reduced``."""

    def __init__(
        self, run: native.Kernel, shape: Sequence[int], factors: Sequence[int], reduced: Any = ()
    ) -> None:
        cells = [
            1 if d in reduced else -(-n // f)
            for d, (n, f) in enumerate(zip(shape, factors, strict=True))
        ]
        self.result = np.zeros(cells, np.int64)
        strides = [0 if d in reduced else s for d, s in enumerate(self.result.strides)]
        words = [8, _at(self.result), 0, 1, 0, *factors]
        self.consumer = CompiledConsumer(
            run, np.array(words, np.int64), self.result, strides, factors=factors
        )


def _at(array: np.ndarray) -> int:
    found: int = array.__array_interface__["data"][0]
    return found


Box = Sequence[tuple[int, int]]


def copied(
    run: native.Kernel, source: ZarrSource, box: Box, steps: Sequence[int], flips: Any = ()
) -> np.ndarray | None:
    shape = [-(-(hi - lo) // step) for (lo, hi), step in zip(box, steps, strict=True)]
    copy = Copy(run, shape, source.spec.dtype, flips)
    if not source.read_through(tuple(box), tuple(steps), copy.consumer):
        assert not copy.hits.any()
        return None
    assert (copy.hits == 1).all()
    return copy.result


def read(source: ZarrSource, box: Box, steps: Sequence[int]) -> np.ndarray:
    shape = [-(-(hi - lo) // step) for (lo, hi), step in zip(box, steps, strict=True)]
    out = np.empty(shape, source.spec.dtype)
    source.read_strided(tuple(box), tuple(steps), out)
    return out


def agree(
    run: native.Kernel,
    source: ZarrSource,
    box: Box,
    steps: Any,
    flips: Any = (),
    *,
    few: bool = False,
) -> None:
    """The same values and the same counting. ``few``: it may not be worth it."""
    for _ in range(2):  # what is known of a shard from before may save a read
        before = snapshot()
        expected = read(source, box, steps)
        between = snapshot()
        found = copied(run, source, box, steps, flips)
        after = snapshot()
    if found is None:
        assert few
        assert after == between
        return
    assert found.tobytes() == expected.tobytes()
    for name in ("bytes_read", "units_read", "bytes_decoded", "chunks_missing"):
        by_reading = between.get(name, 0) - before.get(name, 0)
        assert after.get(name, 0) - between.get(name, 0) == by_reading, name


def stored(
    values: np.ndarray, chunks: Sequence[int], encode: Callable[[np.ndarray], bytes], order: str
) -> dict[str, bytes]:
    """Chunks by v2 key; what lies beyond the array is something else."""
    found = {}
    counts = [-(-n // c) for n, c in zip(values.shape, chunks, strict=True)]
    for index in np.ndindex(*counts):
        block = np.frombuffer(b"\x01" * prod(chunks) * values.itemsize, values.dtype)
        block = block.reshape(chunks).copy()
        part = values[tuple(slice(i * c, (i + 1) * c) for i, c in zip(index, chunks, strict=True))]
        block[(*(slice(n) for n in part.shape), ...)] = part
        text = encode(np.frombuffer(block.tobytes(order), values.dtype))
        found[".".join(map(str, index)) or "0"] = bytes(text)
    return found


def in_folder(root: Path, objects: Mapping[str, bytes]) -> ZarrSource:
    for key, data in objects.items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(data)
    return scan(str(root))


V2_CODECS: dict[str, Any] = {
    "raw": None,
    "blosc lz4": numcodecs.Blosc("lz4", 5, 1),
    "blosc zstd": numcodecs.Blosc("zstd", 5, 2),
    "blosclz": numcodecs.Blosc("blosclz", 5, 0),
    "zstd": numcodecs.Zstd(1),
    "lz4": numcodecs.LZ4(),
    "shuffle zstd": numcodecs.Zstd(1),
}


def v2_store(
    values: np.ndarray, chunks: Sequence[int], codec: str, order: str = "C", **changes: Any
) -> dict[str, bytes]:
    compressor = V2_CODECS[codec]
    shuffle = numcodecs.Shuffle(values.itemsize) if codec.startswith("shuffle") else None

    def encode(block: np.ndarray) -> bytes:
        text: Any = block
        if shuffle is not None:
            text = shuffle.encode(block.view("u1"))
        return bytes(compressor.encode(text)) if compressor else block.tobytes()

    document = array_v2(
        values.shape,
        tuple(chunks),
        values.dtype.str,
        order=order,
        compressor=compressor and compressor.get_config(),
        filters=[shuffle.get_config()] if shuffle else None,
        **changes,
    )
    return v2(document, stored(values, chunks, encode, order))


@pytest.mark.parametrize("codec", V2_CODECS)
@settings(max_examples=25)
@given(st.data())
def test_any_box_of_any_array(
    consume: native.Kernel, tmp_path_factory: Any, codec: str, data: st.DataObject
) -> None:
    rank = data.draw(st.integers(0, 5))
    dtype = data.draw(st.sampled_from(["u1", "?", "<i2", ">u2", "<f4", ">f8", "<c8"]))
    chunks = [data.draw(st.integers(1, 9 if rank < 4 else 4)) for _ in range(rank)]
    shape = tuple(data.draw(st.integers(1, 3 * c)) for c in chunks)
    values = distinct(shape, dtype)
    order = data.draw(st.sampled_from("CF"))
    objects = v2_store(values, chunks, codec, order, fill_value=1)
    keys = [key for key in objects if not key.startswith(".")]
    for key in data.draw(st.sets(st.sampled_from(keys), max_size=2)):
        del objects[key]
    ends = [sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2))) for n in shape]
    box = [(lo, max(hi, lo + (lo < n))) for (lo, hi), n in zip(ends, shape, strict=True)]
    box = [(min(lo, n - 1), hi) for (lo, hi), n in zip(box, shape, strict=True)]
    steps = [data.draw(st.sampled_from([1, 1, 2, 5])) for _ in shape]
    flips = [data.draw(st.booleans()) for _ in shape]
    source = scan(objects)
    if data.draw(st.booleans()):
        source = in_folder(tmp_path_factory.mktemp("a"), objects)
    agree(consume, source, box, steps, flips, few=codec == "raw")


def test_all_recipes_of_compiled_code_are_covered() -> None:
    assert set(V2_CODECS) <= set(CODECS)


def test_empty_boxes(consume: native.Kernel) -> None:
    source = scan(v2_store(distinct((6, 4), "u2"), (2, 2), "zstd"))
    before = snapshot()
    found = copied(consume, source, [(3, 3), (0, 4)], (1, 1))
    assert found is not None
    assert found.shape == (0, 4)
    assert snapshot() == before


@pytest.mark.parametrize("chunk", [32, 8])
def test_short_rows_are_put_together(consume: native.Kernel, tmp_path: Path, chunk: int) -> None:
    values = distinct((70, 40, 100), "u2")
    objects = v2_store(values, (chunk,) * 3, "blosc lz4", fill_value=9)
    del objects["0.0.1"], objects["1.1.0"], objects["0.1.2"]
    objects["1.0.1"] = objects["1.0.1"][:-1]
    source = in_folder(tmp_path, objects)
    with pytest.raises(ChunkDecodeError, match=r"key '1\.0\.1'"):
        copied(consume, source, [(0, 70), (0, 40), (0, 100)], (1, 1, 1))
    box = [(3, 70), (5, 40), (chunk, 100)]
    (tmp_path / "1.0.1").unlink()
    agree(consume, source, box, (1, 1, 1))
    agree(consume, source, box, (1, 2, 3))
    agree(consume, source, box, (1, 1, 1), (True, False, True))
    # Each result of two, four or eight bytes, so that rows are short or not.
    sums = Sum(consume, (64, 32, 64), (1, 2, 2))
    assert source.read_through(((0, 64), (0, 32), (0, 64)), (1, 1, 1), sums.consumer)
    expected = read(source, [(0, 64), (0, 32), (0, 64)], (1, 1, 1)).astype(np.int64)
    expected = expected.reshape(64, 16, 2, 32, 2).sum(axis=(2, 4))
    assert (sums.result == expected).all()


class Odd:
    """Compressed in a way that compiled code leaves alone: two Zstandard frames."""

    @staticmethod
    def encode(chunk: np.ndarray) -> bytes:
        raw, codec = chunk.tobytes(), numcodecs.Zstd(1)
        half = len(raw) // 2
        return bytes(codec.encode(raw[:half])) + bytes(codec.encode(raw[half:]))


@pytest.mark.parametrize("where", ["memory", "folder", "shards", "shards in memory"])
def test_what_is_left_alone_is_handed_over_once(
    consume: native.Kernel, tmp_path: Path, where: str
) -> None:
    """By the plain way, behind the others; a row with such a chunk in it leaves in two parts."""
    values = distinct((16, 16, 48), "u2")
    if "shards" in where:
        source = sharded(values, tmp_path, memory="memory" in where, odd={0, 5})
    else:
        objects = v2_store(values, (8, 8, 8), "zstd")
        for key in ("0.0.1", "1.1.5", "1.0.0"):
            part = tuple(slice(8 * int(i), 8 * int(i) + 8) for i in key.split("."))
            objects[key] = Odd.encode(np.ascontiguousarray(values[part]))
        source = scan(objects) if where == "memory" else in_folder(tmp_path, objects)
    agree(consume, source, [(0, 16), (0, 16), (0, 48)], (1, 1, 1))
    agree(consume, source, [(1, 15), (7, 16), (3, 40)], (3, 1, 2))
    sums = Sum(consume, values.shape, (1, 1, 1), (0, 1, 2))
    box = tuple((0, n) for n in values.shape)
    assert source.read_through(box, (1, 1, 1), sums.consumer)
    assert sums.result.item() == values.sum(dtype=np.int64)


def sharded(
    values: np.ndarray,
    root: Path,
    *,
    memory: bool = False,
    odd: Any = (),
    missing: Any = (),
    absent: Any = (),
    changes: Callable[[dict[str, bytes]], None] | None = None,
    scanned: Callable[[Any], ZarrSource] = scan,
) -> ZarrSource:
    """Shards of two chunks of 8 along each dim, Zstandard; ``missing``: shards by number,
    ``absent``: inner chunks that each shard lacks."""
    rank = values.ndim
    codecs = [little(), {"name": "zstd", "configuration": {"level": 1, "checksum": False}}]
    document = array_v3(
        values.shape, (16,) * rank, "uint16", [sharding((8,) * rank, codecs)], fill_value=3
    )
    objects: dict[str, bytes] = {}
    counts = [-(-n // 16) for n in values.shape]
    for number, index in enumerate(np.ndindex(*counts)):
        if number in missing:
            continue
        block = np.zeros((16,) * rank, values.dtype)
        part = values[tuple(slice(16 * i, 16 * i + 16) for i in index)]
        block[tuple(slice(n) for n in part.shape)] = part
        inner: list[bytes | None] = []
        for n, corner in enumerate(product((0, 8), repeat=rank)):
            chunk = np.ascontiguousarray(block[tuple(slice(c, c + 8) for c in corner)])
            text = Odd.encode(chunk) if n in odd else bytes(numcodecs.Zstd(1).encode(chunk))
            inner.append(None if n in absent else text)
        objects["/".join(["c", *map(str, index)])] = shard(inner)
    if changes:
        changes(objects)
    if memory:
        return scanned(v3(document, objects))
    return in_folder(root, v3(document, objects))


@pytest.mark.parametrize("memory", [False, True])
def test_shards(consume: native.Kernel, tmp_path: Path, memory: bool) -> None:
    values = distinct((40, 24, 50), "u2")
    source = sharded(values, tmp_path, memory=memory, missing={1, 7}, absent={2, 7})
    boxes = [
        [(0, 40), (0, 24), (0, 50)],
        [(5, 9), (17, 20), (49, 50)],
        [(7, 39), (3, 4), (10, 40)],
        [(8, 16), (0, 8), (8, 16)],
    ]
    for box in boxes:
        for steps in ((1, 1, 1), (2, 1, 3), (9, 5, 17)):
            agree(consume, source, box, steps)
            agree(consume, source, box, steps, (True, True, False))


def test_remote_shards_and_chunks(consume: native.Kernel, tmp_path: Path) -> None:
    values = distinct((40, 24, 50), "u2")
    files = fsspec.filesystem("memory")
    sharded(values, tmp_path / "s", missing={1}, absent={2})
    in_folder(tmp_path / "c", v2_store(values, (8, 8, 8), "blosc zstd"))
    files.put(str(tmp_path), "/through", recursive=True)
    for name in ("s", "c"):
        source = scan(f"memory://through/{name}")
        agree(consume, source, [(0, 40), (0, 24), (0, 50)], (1, 1, 1))
        agree(consume, source, [(7, 39), (3, 4), (10, 40)], (2, 1, 1))
    files.rm("/through", recursive=True)


def test_results_of_several_elements_need_pieces_that_hold_them(consume: native.Kernel) -> None:
    values = distinct((24, 24, 24), "u2")
    source = scan(v2_store(values, (8, 8, 8), "blosc lz4"))

    def sums(lo: int, n: int, factor: int, reduced: Any = ()) -> np.ndarray | None:
        found = Sum(consume, (n,) * 3, (factor,) * 3, reduced)
        good = source.read_through(((lo, lo + n),) * 3, (1, 1, 1), found.consumer)
        assert good or not found.result.any()
        return found.result if good else None

    def expected(lo: int, n: int, factor: int) -> np.ndarray:
        part = values[(slice(lo, lo + n),) * 3].astype(np.int64)
        part = np.pad(part, (0, -n % factor))
        m = len(part) // factor
        return part.reshape(m, factor, m, factor, m, factor).sum(axis=(1, 3, 5))

    for lo, n, factor in ((0, 24, 2), (2, 20, 2), (4, 15, 4), (0, 23, 8), (8, 8, 8), (9, 7, 7)):
        found = sums(lo, n, factor)
        assert found is not None
        assert (found == expected(lo, n, factor)).all()
    for lo, n, factor in ((1, 20, 2), (0, 24, 3), (2, 20, 4), (0, 24, 16)):
        assert sums(lo, n, factor) is None
    whole = sums(3, 21, 1, (0, 1, 2))
    assert whole is not None
    assert whole.item() == values[3:, 3:, 3:].sum(dtype=np.int64)


def test_missing_chunks_may_be_an_error(consume: native.Kernel, tmp_path: Path) -> None:
    objects = v2_store(distinct((8, 8), "u2"), (4, 4), "lz4")
    del objects["1.0"]
    in_folder(tmp_path, objects)
    for store in (objects, str(tmp_path)):
        source = scan(store, missing="raise")
        with pytest.raises(SourceNotFoundError, match=r"'1\.0' is not stored"):
            copied(consume, source, [(0, 8), (0, 8)], (1, 1))
        assert copied(consume, source, [(0, 4), (0, 8)], (1, 1)) is not None


@pytest.mark.parametrize("codec", V2_CODECS)
def test_damaged_chunks_are_named(consume: native.Kernel, tmp_path: Path, codec: str) -> None:
    objects = v2_store(distinct((32, 8), "u2"), (4, 4), codec)
    objects["1.0"] = objects["1.0"][:-1]
    in_folder(tmp_path, objects)
    for store in (objects, str(tmp_path)):
        with pytest.raises(ChunkDecodeError, match=r"key '1\.0'"):
            copied(consume, scan(store), [(0, 32), (0, 8)], (1, 1))


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize("dtype", ["u1", ">f8", "?"])
def test_raw_chunks(consume: native.Kernel, tmp_path: Path, memory: bool, dtype: str) -> None:
    """Of files only the bytes that are wanted."""
    values = distinct((40, 20, 16), dtype)
    objects = v2_store(values, (4, 4, 4), "raw", fill_value=1)
    del objects["0.0.1"]
    source = scan(objects) if memory else in_folder(tmp_path, objects)
    agree(consume, source, [(0, 40), (0, 20), (0, 16)], (1, 1, 1))
    agree(consume, source, [(1, 39), (1, 20), (3, 15)], (1, 3, 1))
    agree(consume, source, [(1, 39), (1, 20), (3, 15)], (2, 1, 1), (False, False, True))


@pytest.mark.parametrize("memory", [False, True])
def test_damaged_shards_are_named(consume: native.Kernel, tmp_path: Path, memory: bool) -> None:
    values, box = distinct((32, 32), "u2"), [(0, 32), (0, 32)]

    def cut(objects: dict[str, bytes]) -> None:
        objects["c/1/0"] = objects["c/1/0"][1:]

    source = sharded(values, tmp_path / "a", memory=memory, changes=cut)
    with pytest.raises(ChunkDecodeError, match="key 'c/1/0'"):
        copied(consume, source, box, (1, 1))
    assert copied(consume, source, [(0, 16), (0, 32)], (1, 1)) is not None

    def flip(objects: dict[str, bytes]) -> None:
        text = bytearray(objects["c/0/1"])
        text[-9] ^= 1
        objects["c/0/1"] = bytes(text)

    source = sharded(values, tmp_path / "b", memory=memory, changes=flip)
    with pytest.raises(Exception, match="key 'c/0/1': crc32c"):
        copied(consume, source, box, (1, 1))


def test_no_way_through(consume: native.Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is done, and nothing counted."""
    values = distinct((16, 16), "u2")
    box, steps = [(0, 16), (0, 16)], (1, 1)
    plain = v2_store(values, (4, 4), "zstd")
    chained = dict(plain)
    chained[".zarray"] = json.dumps(
        array_v2((16, 16), (4, 4), filters=[{"id": "delta", "dtype": "<u2"}])
    ).encode()
    rows = {
        "name": "rectilinear",
        "configuration": {"kind": "inline", "chunk_shapes": [[4, 12], 4]},
    }
    odd = v3(array_v3((16, 16), (4, 4), chunk_grid=rows))
    turned = [
        {"name": "transpose", "configuration": {"order": [1, 0]}},
        sharding((4, 4)),
    ]
    nested = [sharding((8, 8), [sharding((4, 4))])]
    before = snapshot()
    for objects in (
        chained,
        odd,
        v3(array_v3((16, 16), (8, 8), codecs=turned)),
        v3(array_v3((16, 16), (16, 16), codecs=nested)),
    ):
        assert copied(consume, scan(objects), box, steps) is None
    monkeypatch.setenv("LAZYTENSOR_NATIVE", "0")
    assert copied(consume, scan(plain), box, steps) is None
    assert snapshot() == before
    monkeypatch.undo()
    assert copied(consume, scan(plain), box, steps) is not None


def test_many_threads_at_once(consume: native.Kernel, tmp_path: Path) -> None:
    values = distinct((48, 48, 48), "u2")
    sources = [
        in_folder(tmp_path / "c", v2_store(values, (8, 8, 8), "blosc zstd")),
        scan(v2_store(values, (8, 8, 8), "zstd")),
        sharded(values, tmp_path / "s"),
    ]
    wrong: list[Any] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(20):
            lo = rng.integers(0, 40, 3)
            hi = np.minimum(48, lo + rng.integers(1, 40, 3))
            part = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
            source = sources[rng.integers(0, len(sources))]
            box = [(int(a), int(b)) for a, b in zip(lo, hi, strict=True)]
            found = copied(consume, source, box, (1, 1, 1))
            if found is None or not (found == values[part]).all():
                wrong.append(box)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_profile_knows_how_long_the_consumer_took(consume: native.Kernel, tmp_path: Path) -> None:
    source = in_folder(tmp_path, v2_store(distinct((64, 64), "u2"), (32, 32), "blosc zstd"))
    clock = Clock()
    token = DECODING.set(clock)
    try:
        assert copied(consume, source, [(0, 64), (0, 64)], (1, 1)) is not None
    finally:
        DECODING.reset(token)
    assert 0 < clock.consumed < clock.ns


def _in_child(run: native.Kernel, source: ZarrSource, values: np.ndarray) -> None:
    found = copied(run, source, [(0, 16), (0, 16)], (1, 1))
    os._exit(0 if found is not None and (found == values).all() else 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_after_a_fork(consume: native.Kernel, tmp_path: Path) -> None:
    values = distinct((16, 16), "u2")
    source = in_folder(tmp_path, v2_store(values, (4, 4), "blosc zstd"))
    assert copied(consume, source, [(0, 16), (0, 16)], (1, 1)) is not None
    child = multiprocessing.get_context("fork").Process(
        target=_in_child, args=(consume, source, values)
    )
    child.start()
    child.join(60)
    assert child.exitcode == 0


def test_memory_that_compiled_code_was_told_of_outlives_larger_memory_in_its_place() -> None:
    """As if a finalizer read something between an address taken and the code called with it."""
    scratch = Scratch()
    owner, address = scratch.place(STAGE_A, 100)
    owner[:100] = bytes(range(100))
    scratch.take(STAGE_A, 10 * len(owner))
    assert scratch.place(STAGE_A, 100)[1] != address
    assert ctypes.string_at(address, 100) == bytes(range(100))
