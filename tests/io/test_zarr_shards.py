"""Shards of every shape the format allows, and damaged ones: right values or a typed error.

Everything runs twice: through the plain code, and through the compiled code with its threshold
lowered so that it is used for the few bytes of a test.
"""

from __future__ import annotations

import gzip
import json
import os
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zarr
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor import native
from lazytensor.errors import ChecksumError, ChunkDecodeError, SourceError
from lazytensor.io.codec.checksums import crc32c
from lazytensor.io.store_counting import CountingStore
from lazytensor.io.zarr import layout, scan
from tests.io.zarr_cases import (
    array_v3,
    distinct,
    little,
    read,
    read_all,
    same,
    shard,
    sharding,
    v3,
)

ABSENT = (2**64 - 1, 2**64 - 1)
CRC = {"name": "crc32c"}
ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
GZIP = {"name": "gzip", "configuration": {"level": 1}}
BIG = {"name": "bytes", "configuration": {"endian": "big"}}


@pytest.fixture(scope="module", autouse=True, params=["plain", "compiled"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """How inner chunks are decoded."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "plain":
            patch.setattr(layout, "kernel", lambda *args, **options: None)
        else:
            assert native.wait("chunks", timeout=100) is not None, native.reason("chunks")
            patch.setattr(layout, "_COST_OF_COMPILED", 0.0)
        yield request.param


def transpose(*order: int) -> dict[str, Any]:
    return {"name": "transpose", "configuration": {"order": list(order)}}


def split(values: np.ndarray, inner: tuple[int, ...]) -> list[np.ndarray]:
    """The inner chunks of a shard, in C order."""
    counts = [range(n // k) for n, k in zip(values.shape, inner, strict=True)]
    return [
        values[tuple(slice(i * k, (i + 1) * k) for i, k in zip(index, inner, strict=True))]
        for index in product(*counts)
    ]


def raw(chunk: np.ndarray) -> bytes:
    return chunk.tobytes()


@dataclass
class Arrangement:
    """Where the inner chunks of a shard lie."""

    order: list[int]
    gaps: list[bytes]
    start: bool = False
    crc: bool = True
    big: bool = False
    shared: bool = False
    absent: set[int] = field(default_factory=set)

    @property
    def index_codecs(self) -> list[Any]:
        return [BIG if self.big else little(), *([CRC] if self.crc else [])]

    def settings(self) -> dict[str, Any]:
        location = "start" if self.start else "end"
        return {"index_codecs": self.index_codecs, "index_location": location}

    def shard(self, chunks: list[bytes]) -> bytes:
        base = 16 * len(chunks) + 4 * self.crc if self.start else 0
        entries: list[tuple[int, int]] = [ABSENT] * len(chunks)
        body, known = b"", {}
        for at in self.order:
            if at in self.absent:
                continue
            if self.shared and chunks[at] in known:
                entries[at] = known[chunks[at]]
                continue
            body += self.gaps[at % len(self.gaps)]
            entries[at] = known[chunks[at]] = base + len(body), len(chunks[at])
            body += chunks[at]
        index = np.array(entries, ">u8" if self.big else "<u8").tobytes()
        index += crc32c(index).to_bytes(4, "little") * self.crc
        return index + body if self.start else body + index


@st.composite
def arrangements(draw: st.DrawFn, count: int) -> Arrangement:
    return Arrangement(
        draw(st.permutations(range(count))),
        draw(st.lists(st.binary(max_size=9), min_size=1, max_size=4)),
        *(draw(st.booleans()) for _ in range(4)),
        absent=draw(st.sets(st.integers(0, count - 1))),
    )


ENCODERS: dict[str, tuple[list[Any], Callable[[np.ndarray], bytes]]] = {
    "raw": ([little()], raw),
    "zstd": ([little(), ZSTD], lambda chunk: zstandard.compress(chunk.tobytes(), 1)),
    "crc": ([little(), CRC], lambda c: c.tobytes() + crc32c(c.tobytes()).to_bytes(4, "little")),
    "turned": ([transpose(1, 0), BIG], lambda chunk: chunk.T.astype(">i4").tobytes()),
}


@pytest.mark.parametrize("encoder", ENCODERS)
@given(data=st.data())
def test_any_arrangement_and_any_box(encoder: str, data: st.DataObject) -> None:
    """Gaps, any order, shared ranges, empty ones, index in front or behind, either byte order."""
    codecs, encode = ENCODERS[encoder]
    values = distinct((8, 6), "int32") // 4
    how = data.draw(arrangements(8))
    chunks = split(values, (2, 3))
    document = array_v3(
        (7, 5), (8, 6), "int32", [sharding((2, 3), codecs, **how.settings())], fill_value=-5
    )
    expected = values.copy()
    for at in how.absent:
        split(expected, (2, 3))[at][...] = -5
    source = scan(v3(document, {"c/0/0": how.shard([encode(chunk) for chunk in chunks])}))
    assert same(read_all(source), expected[:7, :5])
    lo, hi = sorted((data.draw(st.integers(0, 7)), data.draw(st.integers(0, 7))))
    a, b = sorted((data.draw(st.integers(0, 5)), data.draw(st.integers(0, 5))))
    out = np.empty((hi - lo, b - a), "i4")
    source.read_into(((lo, hi), (a, b)), out)
    assert same(out, expected[lo:hi, a:b])


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
@pytest.mark.parametrize("inside", [False, True])
def test_transposed_before_and_inside(order: tuple[int, ...], inside: bool) -> None:
    """The inner shape is that of the turned shard; turning by thirds is not its own inverse."""
    values = distinct((4, 6, 10), "int16")
    turned = values.transpose(order)
    inner = tuple(n // 2 for n in turned.shape)
    codecs = [transpose(1, 2, 0), little()] if inside else [little()]
    chunks = [(c.transpose(1, 2, 0) if inside else c).tobytes() for c in split(turned, inner)]
    document = array_v3(
        (4, 6, 10), (4, 6, 10), "int16", [transpose(*order), sharding(inner, codecs)]
    )
    x = lt.scan_zarr(v3(document, {"c/0/0/0": shard(chunks)}))
    assert same(x.collect(), values)
    assert same(x[1:4, 2, ::3].collect(), values[1:4, 2, ::3])
    grain = dict(zip(order, inner, strict=True))
    assert x.chunks == tuple(grain[d] for d in range(3))


@pytest.mark.parametrize("codec", ["gzip", "zstd", "crc32c"])
@pytest.mark.parametrize("encoder", ["raw", "zstd"])
def test_codecs_around_a_shard(codec: str, encoder: str) -> None:
    packers: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "zstd": zstandard.compress,
        "crc32c": lambda data: data + crc32c(data).to_bytes(4, "little"),
    }
    codecs, encode = ENCODERS[encoder]
    values = distinct((6, 12), "int32")
    document = array_v3((6, 12), (6, 6), "int32", [sharding((2, 3), codecs), {"name": codec}])
    data = {
        f"c/0/{j}": packers[codec](shard([encode(c) for c in split(part, (2, 3))]))
        for j, part in enumerate(np.hsplit(values, 2))
    }
    x = lt.scan_zarr(v3(document, data))
    assert same(x.collect(), values)
    assert x.chunks == (6, 6)  # nothing less can be read
    assert x.estimate(exact=True).bytes_read == sum(map(len, data.values()))


def test_tiny_chunks_compressed_within_a_compressed_shard() -> None:
    """What is around a shard may yield far more than its values: each chunk has a header."""
    values = distinct((64,), "uint8")
    document = array_v3((64,), (64,), "uint8", [sharding((1,), [little(), GZIP]), GZIP])
    packed = gzip.compress(shard([gzip.compress(bytes([v])) for v in values]))
    assert same(read(v3(document, {"c/0": packed})), values)


def test_a_bomb_around_a_shard_stops() -> None:
    document = array_v3((64,), (64,), "uint8", [sharding((1,)), GZIP])
    bomb = gzip.compress(bytes(8 << 20))
    tracemalloc.start()
    with pytest.raises(ChunkDecodeError, match="gzip"):
        read(v3(document, {"c/0": bomb}))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_shards_in_shards_in_shards() -> None:
    values = distinct((16, 8), "uint16")
    codec = sharding((8, 8), [sharding((4, 4), [transpose(1, 0), sharding((2, 4))])])
    outer = []
    for big in split(values, (8, 8)):
        smalls = [split(small.T, (2, 4)) for small in split(big, (4, 4))]
        outer.append(shard([shard([part.tobytes() for part in small]) for small in smalls]))
    data = v3(array_v3((16, 8), (16, 8), "uint16", [codec]), {"c/0/0": shard(outer)})
    x = lt.scan_zarr(data)
    assert same(x.collect(), values)
    assert same(x[3:14:2, 1:7].collect(), values[3:14:2, 1:7])
    assert x.chunks == (4, 2)
    found = scan(data).unit_sizes([(0, 0), (3, 3)])
    assert (found.sampled, found.stored_bytes, found.missing) == (2, 32, 0)


def test_shards_with_nothing_or_little_in_them() -> None:
    document = array_v3((20,), (8,), "uint8", [sharding((2,))], fill_value=9)
    some = shard([None, b"\1\2", None, b"\3\4"])
    x = lt.scan_zarr(v3(document, {"c/0": shard([None] * 4), "c/1": some, "c/2": some}))
    expected = [9] * 10 + [1, 2, 9, 9, 3, 4] + [9, 9, 1, 2]
    assert x.collect().tolist() == expected
    assert x[9:11].collect().tolist() == [9, 1]
    # Nothing is remembered of what lies in memory, so each of the three indices is read.
    assert x.estimate(exact=True).bytes_read == 6 + 3 * 68


def test_a_shard_larger_than_the_array() -> None:
    values = distinct((12, 12), "int16")
    chunks = [
        c.tobytes() if i in (0, 1, 3, 4) else None for i, c in enumerate(split(values, (4, 4)))
    ]
    document = array_v3((5, 7), (12, 12), "int16", [sharding((4, 4))])
    assert same(read(v3(document, {"c/0/0": shard(chunks)})), values[:5, :7])


class TestOtherWriters:
    """TensorStore and zarr-python make the shards."""

    @pytest.mark.parametrize("location", ["start", "end"])
    @pytest.mark.parametrize("turn", [None, (2, 0, 1)])
    def test_tensorstore(self, tmp_path: Path, location: str, turn: Any) -> None:
        values = distinct((9, 10, 7), "uint16")
        inner = [2, 3, 4]
        shape = [4, 6, 8] if turn is None else [3, 4, 4]
        outer = [4, 6, 8] if turn is None else [6, 8, 4]
        codec = sharding(tuple(inner), [little(), ZSTD], index_location=location)
        if turn is not None:
            inner_shape = [outer[a] // 2 for a in turn]
            codec["configuration"]["chunk_shape"] = inner_shape
        spec = {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": str(tmp_path)},
            "metadata": {
                "shape": list(values.shape),
                "data_type": "uint16",
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": outer}},
                "codecs": [*([] if turn is None else [transpose(*turn)]), codec],
            },
        }
        assert len(shape) == 3
        ts.open(spec, create=True).result().write(values).result()
        x = lt.scan_zarr(tmp_path)
        assert same(x.collect(), values)
        assert same(x[1:8, 3:9:2, 6].collect(), values[1:8, 3:9:2, 6])

    def test_nested_of_tensorstore(self, tmp_path: Path) -> None:
        values = distinct((20, 9), "float32")
        values[:8, :4] = 0
        spec = {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": str(tmp_path)},
            "metadata": {
                "shape": [20, 9],
                "data_type": "float32",
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [16, 8]}},
                "codecs": [sharding((8, 4), [sharding((2, 4), [little(), ZSTD])])],
            },
        }
        ts.open(spec, create=True).result().write(values).result()
        assert same(lt.scan_zarr(tmp_path).collect(), values)

    @pytest.mark.parametrize("location", ["start", "end"])
    def test_zarr_python(self, tmp_path: Path, location: Any) -> None:
        values = distinct((13, 21), "int64")
        values[4:8] = 0
        codec = zarr.codecs.ShardingCodec(
            chunk_shape=(2, 5),
            codecs=[zarr.codecs.BytesCodec(endian="big"), zarr.codecs.GzipCodec()],
            index_location=location,
        )
        array = zarr.create_array(
            tmp_path,
            shape=values.shape,
            chunks=(4, 10),
            dtype="int64",
            serializer=codec,
            compressors=None,
            fill_value=0,
        )
        array[...] = values
        assert same(lt.scan_zarr(tmp_path).collect(), values)


class TestWhatIsRead:
    """One handle for each shard; its index once; neighbours together."""

    VALUES = distinct((64,), "uint16")

    def folder(self, path: Path, location: str = "end") -> CountingStore:
        document = array_v3((64,), (32,), "uint16", [sharding((4,), index_location=location)])
        data = v3(document)
        for j, part in enumerate(np.split(self.VALUES, 2)):
            data[f"c/{j}"] = shard(
                [c.tobytes() for c in split(part, (4,))], start=location == "start"
            )
        for key, content in data.items():
            target = path / key
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            os.utime(target, (1, 1))  # the index of a file just written is not kept
        return CountingStore(path)

    @pytest.mark.parametrize("location", ["start", "end"])
    def test_index_and_neighbours(self, tmp_path: Path, location: str) -> None:
        store = self.folder(tmp_path, location)
        source = scan(store)
        store.reset()
        out = np.empty(24, "u2")
        source.read_into(((20, 44),), out)
        assert same(out, self.VALUES[20:44])
        first, index = (132, (0, 132)) if location == "start" else (0, (64, 196))
        assert store.log == [
            ("range", "c/0", *index),
            ("range", "c/0", first + 40, first + 64),
            ("range", "c/1", *index),
            ("range", "c/1", first, first + 24),
        ]
        assert store.lookups == 2
        store.reset()
        source.read_into(((0, 64),), np.empty(64, "u2"))
        assert [entry[:2] for entry in store.log] == [("range", "c/0"), ("range", "c/1")]
        assert store.bytes == 128
        assert store.lookups == 2

    def test_small_gaps_are_read_and_large_ones_are_not(self, tmp_path: Path) -> None:
        store = self.folder(tmp_path)
        gap = store.gap
        chunks = [bytes([i] * 8) for i in range(8)]
        how = Arrangement(list(range(8)), [b"", b"x" * 5, b"x" * (gap + 1), b""])
        (tmp_path / "c" / "0").write_bytes(how.shard(chunks))
        source = scan(store)
        store.reset()
        out = np.empty(32, "u2")
        source.read_into(((0, 32),), out)
        assert out.tobytes() == b"".join(chunks)
        sizes = [end - start for _, _, start, end in store.log if end is not None]
        assert sizes == [132, 8 + 5 + 8, 8 * 4 + 5, 8 * 2]

    def test_an_empty_shard_costs_its_index(self, tmp_path: Path) -> None:
        store = self.folder(tmp_path)
        (tmp_path / "c" / "0").write_bytes(shard([None] * 8))
        source = scan(store)
        store.reset()
        out = np.ones(32, "u2")
        source.read_into(((0, 32),), out)
        assert not out.any()
        assert store.log == [("range", "c/0", 0, 132)]

    def test_an_index_kept_is_that_of_the_same_metadata(self, tmp_path: Path) -> None:
        """New metadata may read the same bytes as other numbers; so must what was kept of them."""
        store = self.folder(tmp_path)
        assert same(read_all(scan(store)), self.VALUES)
        path = tmp_path / "zarr.json"
        document = json.loads(path.read_text())
        settings = document["codecs"][0]["configuration"]
        document["shape"], document["chunk_grid"]["configuration"]["chunk_shape"] = [4, 16], [2, 16]
        settings["chunk_shape"] = [1, 4]
        document["chunk_key_encoding"] = {"name": "v2", "configuration": {"separator": "/"}}
        path.write_text(json.dumps(document))
        for j in range(2):
            (tmp_path / str(j)).mkdir()
            os.link(tmp_path / "c" / str(j), tmp_path / str(j) / "0")
        assert same(read_all(scan(store)), self.VALUES.reshape(4, 16))
        document["chunk_key_encoding"] = {"name": "default"}
        document["shape"], document["chunk_grid"]["configuration"]["chunk_shape"] = [64], [32]
        settings["chunk_shape"] = [4]
        settings["index_codecs"] = [BIG, CRC]
        path.write_text(json.dumps(document))
        with pytest.raises(ChunkDecodeError, match="the index says bytes"):
            read_all(scan(store))


def indexed(entries: list[tuple[int, int]], body: bytes, *, crc: bool = True) -> bytes:
    index = np.array(entries, "<u8").tobytes()
    return body + index + (crc32c(index).to_bytes(4, "little") if crc else b"")


DOCUMENT = array_v3((4,), (4,), "uint8", [sharding((2,))], fill_value=9)


class TestBadShards:
    @pytest.mark.parametrize(
        "entry",
        [
            (39, 2),
            (40, 2),
            (2**62, 2),
            (2**63, 2),
            (2**64 - 2, 2),
            (2**64 - 1, 2),
            (0, 2**64 - 1),
            (0, 2**63),
            (2**63, 2**63),
            (2**64 - 2, 2**64 - 1),
            (2, 2**64 - 2),
            (0, 41),
        ],
    )
    def test_ranges_outside(self, entry: tuple[int, int]) -> None:
        data = indexed([(0, 2), entry], b"\1\2\3\4")
        assert len(data) == 40
        with pytest.raises(ChunkDecodeError, match=r"'c/0': .*the index says bytes \[") as found:
            read(v3(DOCUMENT, {"c/0": data}))
        assert f"[{entry[0]}, {sum(entry)})" in str(found.value)
        with pytest.raises(ChunkDecodeError, match="the index says bytes"):
            scan(v3(DOCUMENT, {"c/0": data})).unit_sizes([(1,)])
        # The other chunk is as good as before.
        out = np.empty(2, "u1")
        scan(v3(DOCUMENT, {"c/0": data})).read_into(((0, 2),), out)
        assert out.tolist() == [1, 2]

    @pytest.mark.parametrize("entry", [(0, 0), (4, 0), (0, 1), (0, 3), (40, 0)])
    def test_ranges_of_the_wrong_size(self, entry: tuple[int, int]) -> None:
        data = indexed([(0, 2), entry], b"\1\2\3\4")
        with pytest.raises(
            ChunkDecodeError, match=f"expected (at most )?2 bytes, found {entry[1]}"
        ):
            read(v3(DOCUMENT, {"c/0": data}))

    def test_ranges_that_overlap_and_reach_into_the_index(self) -> None:
        data = indexed([(1, 2), (2, 2)], b"\1\2\3")
        assert read(v3(DOCUMENT, {"c/0": data})).tolist() == [2, 3, 3, 1]

    def test_truncated_at_any_byte(self) -> None:
        data = indexed([(0, 2), (2, 2)], b"\1\2\3\4")
        for end in range(len(data)):
            with pytest.raises((ChunkDecodeError, ChecksumError), match="'c/0'"):
                read(v3(DOCUMENT, {"c/0": data[:end]}))
            with pytest.raises((ChunkDecodeError, ChecksumError), match="'c/0'"):
                scan(v3(DOCUMENT, {"c/0": data[:end]})).unit_sizes([(0,)])

    def test_truncated_with_the_index_in_front(self) -> None:
        document = array_v3((4,), (4,), "uint8", [sharding((2,), index_location="start")])
        data = shard([b"\1\2", b"\3\4"], start=True)
        for end in range(len(data)):
            with pytest.raises((ChunkDecodeError, ChecksumError), match="'c/0'"):
                read(v3(document, {"c/0": data[:end]}))
        out = np.empty(2, "u1")
        scan(v3(document, {"c/0": data[:-2]})).read_into(((0, 2),), out)
        assert out.tolist() == [1, 2]

    @pytest.mark.parametrize("codecs", [[sharding((2,))], [sharding((2,)), GZIP]])
    def test_objects_without_a_byte(self, codecs: list[Any]) -> None:
        with pytest.raises(ChunkDecodeError, match="'c/0'"):
            read(v3(array_v3((4,), (4,), "uint8", codecs), {"c/0": b""}))

    def test_every_bit_of_a_checked_index_counts(self) -> None:
        data = bytearray(indexed([(0, 2), (2, 2)], b"\1\2\3\4"))
        for at in range(4, len(data)):
            data[at] ^= 16
            with pytest.raises(ChecksumError, match="crc32c"):
                read(v3(DOCUMENT, {"c/0": bytes(data)}))
            data[at] ^= 16

    def test_an_index_larger_than_any_memory(self) -> None:
        huge = (2**40, 2**20)
        source = scan(v3(array_v3(huge, huge, "uint8", [sharding((1, 1))]), {"c/0/0": bytes(100)}))
        with pytest.raises(ChunkDecodeError, match="expected an index of"):
            source.read_into(((0, 1), (0, 1)), np.empty((1, 1), "u1"))


SMALL = st.integers(0, 60)
ENTRIES = st.tuples(
    SMALL | st.sampled_from([2**63 - 1, 2**63, 2**64 - 60, 2**64 - 2, 2**64 - 1]),
    SMALL | st.sampled_from([4, 2**31, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1]),
)


@given(st.lists(ENTRIES | st.just(ABSENT), min_size=6, max_size=6), st.binary(max_size=40))
def test_any_index(entries: list[tuple[int, int]], body: bytes) -> None:
    """Any numbers in an index whose checksum is right: the values there, or a typed error."""
    document = array_v3((12,), (12,), "uint16", [sharding((2,))], fill_value=7)
    data = indexed(entries, body)
    expected = np.full(12, 7, "u2")
    sound = True
    for i, (offset, size) in enumerate(entries):
        if (offset, size) == ABSENT:
            continue
        if size != 4 or offset + size > len(data):
            sound = False
            break
        expected[2 * i : 2 * i + 2] = struct.unpack("<2H", data[offset : offset + size])
    if sound:
        assert same(read(v3(document, {"c/0": data})), expected)
        return
    with pytest.raises(ChunkDecodeError, match="'c/0'"):
        read(v3(document, {"c/0": data}))


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("nested", [False, True])
@given(data=st.data())
def test_damaged_bytes(encoder: str, nested: bool, data: st.DataObject) -> None:
    """Any bytes, a checked index or not: an array of the right shape, or a typed error; little
    memory either way."""
    codecs, encode = ENCODERS[encoder]
    values = distinct((4, 6), "int32")
    settings = {"index_codecs": [little()]} if data.draw(st.booleans()) else {}
    crc = not settings
    codec = sharding((2, 3), codecs, **settings)
    stored = bytearray(shard([encode(c) for c in split(values, (2, 3))], crc=crc))
    if nested:
        codec = sharding((4, 6), [codec], **settings)
        stored = bytearray(shard([bytes(stored)], crc=crc))
    for _ in range(data.draw(st.integers(0, 5))):
        stored[data.draw(st.integers(0, len(stored) - 1))] = data.draw(st.integers(0, 255))
    del stored[data.draw(st.integers(0, 2 * len(stored))) :]
    document = array_v3((4, 6), (4, 6), "int32", [codec])
    tracemalloc.start()
    try:
        assert read(v3(document, {"c/0/0": bytes(stored)})).shape == (4, 6)
    except SourceError as error:
        assert "'c/0/0'" in str(error)  # noqa: PT017
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4 << 20
