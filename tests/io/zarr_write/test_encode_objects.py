"""Encoders: same bytes every time, emptiness, foreign layouts, threads, fallbacks, errors."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numcodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazytensor.errors import DTypeError, FormatError, ShapeError, SinkError
from lazytensor.io.codec import encode_direct
from lazytensor.io.codec.encode import EncodeChain, Room, all_elements_are
from lazytensor.io.zarr.documents import array_documents
from lazytensor.io.zarr.encode import object_encoder
from lazytensor.io.zarr.encode_chunk import ObjectEncoder
from lazytensor.io.zarr.metadata import ArrayMetadata, parse_array_v2, parse_v3
from tests.io.zarr_cases import array_v2, array_v3, distinct, little, read, same, sharding, v2, v3
from tests.io.zarr_write.encoding import written


def encoder(
    shape: tuple[int, ...], dtype: Any, *, write_empty: bool = False, **options: Any
) -> ObjectEncoder:
    options.setdefault("chunks", shape)
    found = array_documents(shape, np.dtype(dtype), **options)
    return object_encoder(found.metadata, write_empty=write_empty)


def encoded(values: np.ndarray, **options: Any) -> bytes:
    return b"".join(encoder(values.shape, values.dtype, **options).encode(values))


def textured(shape: tuple[int, ...] = (64, 64, 64)) -> np.ndarray:
    noise = np.random.default_rng(3).poisson(20, shape)
    return (noise + np.arange(shape[-1]) * 3).astype("u2")


ALL = ["zstd", "zstd:9", "blosc", "blosc:9", "lz4", "gzip", "gzip:6", "zlib", "bz2", "pcodec"]


@pytest.mark.parametrize("compressor", ALL)
def test_the_same_bytes_whatever_came_before(compressor: str) -> None:
    values, other = textured(), distinct((64, 64, 64), "u2")
    one = encoder(values.shape, values.dtype, compressor=compressor)
    first = b"".join(one.encode(values))
    for between in (other, values[:, ::-1], np.zeros_like(values), values[:30, :, :7]):
        one.encode(between)
        encoded(between.copy(), compressor="zstd:3")
    assert b"".join(one.encode(values)) == first
    assert b"".join(one.encode(np.asfortranarray(values))) == first


@pytest.mark.parametrize("compressor", ["zstd", "blosc", "lz4", "gzip"])
def test_threads_encode_side_by_side(compressor: str) -> None:
    blocks = [textured() + i for i in range(8)]
    one = encoder(blocks[0].shape, "u2", compressor=compressor, filters="delta")
    expected = [b"".join(one.encode(block)) for block in blocks]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda block: b"".join(one.encode(block)), blocks * 8))
    assert found == expected * 8


@pytest.mark.parametrize("compressor", ["zstd:3", "blosc", "lz4"])
def test_without_the_c_functions(compressor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_blosc", "_lz4", "_zstd"):
        monkeypatch.setattr(encode_direct, name, lambda: None)
    values = textured()
    store = written(values, (32, 64, 50), compressor=compressor)
    assert same(read(store), values)


def test_contiguous_values_are_handed_out_as_they_are() -> None:
    values = textured()
    (part,) = encoder(values.shape, "u2", compressor=None).encode(values)
    assert np.shares_memory(np.frombuffer(part, "u1"), values)
    turned = encoder(values.shape, "u2", compressor=None, order="F").encode(values.T)
    assert np.shares_memory(np.frombuffer(turned[0], "u1"), values)
    data, digest = encoder(values.shape, "u2", compressor="crc32c").encode(values)
    assert np.shares_memory(np.frombuffer(data, "u1"), values)
    assert len(digest) == 4


def test_read_only_values() -> None:
    values = textured()
    values.flags.writeable = False
    assert encoded(values, compressor="blosc") == encoded(values.copy(), compressor="blosc")


def test_a_shard_is_few_parts_and_one_for_its_end() -> None:
    values = textured()
    parts = encoder(values.shape, "u2", chunks=(8, 8, 8), shards=values.shape).encode(values)
    assert len(parts) == 1


def test_inner_chunks_of_a_raw_shard_that_lie_together_are_not_copied() -> None:
    values = textured()
    options: dict[str, Any] = {"chunks": (16, 64, 64), "shards": (64, 64, 64), "compressor": None}
    parts = encoder(values.shape, "u2", **options).encode(values)
    assert [len(part) for part in parts] == [16 * 64 * 64 * 2] * 4 + [4 * 16 + 4]
    assert all(np.shares_memory(np.frombuffer(part, "u1"), values) for part in parts[:4])


@pytest.mark.parametrize("write_empty", [False, True])
def test_empty_inner_chunks_are_left_out(write_empty: bool) -> None:
    values = np.full((8, 10), 7, "u2")
    values[5, 5] = 1
    options: dict[str, Any] = {"chunks": (4, 4), "shards": (8, 16), "fill_value": 7}
    options |= {"compressor": None, "write_empty": write_empty}
    data = encoded(values, **options)
    index = np.frombuffer(data[-(8 * 16 + 4) : -4], "<u8").reshape(2, 4, 2)
    stored = index[..., 0] != 2**64 - 1
    inside = [[True, True, True, False]] * 2
    assert stored.tolist() == (
        inside if write_empty else [[False] * 4, [False, True, False, False]]
    )
    assert np.array_equal(index == 2**64 - 1, np.repeat(~stored[..., None], 2, axis=2))


EMPTY: list[tuple[str, Any, Any, bool]] = [
    ("f4", 0.0, 0.0, True), ("f4", 0.0, -0.0, False), ("f4", -0.0, -0.0, True),
    ("f4", np.nan, np.nan, True), ("f4", np.nan, np.uint32(0x7FC00001).view("f4"), False),
    ("c16", 1j, 1j, True), ("c16", 1j, 1, False), ("?", True, True, True), ("u1", 3, 3, True),
    ("V3", b"abc", b"abc", True), ("V3", b"abc", b"abd", False), ("S5", b"ab", b"ab", True),
    ("M8[s]", None, np.datetime64("NaT"), True), ("i8", -1, -1, True), ("U2", "é", "é", True),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "fill", "value", "empty"), EMPTY)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5, 7), (64, 3, 700)])
def test_empty_is_equal_to_the_last_bit(
    dtype: str, fill: Any, value: Any, empty: bool, shape: tuple[int, ...]
) -> None:
    one = encoder(shape, dtype, fill_value=fill)
    values = np.full(shape, value, dtype)
    assert one.is_empty(values) == empty
    for view in (values[..., ::-1], values.transpose()[::1]) if len(shape) == 1 else (values,):
        assert one.is_empty(view) == empty
    if empty and values.size > 1:
        last = values.copy()
        last.reshape(-1)[-1:].view("u1")[-1] ^= 1
        assert not one.is_empty(last)


@pytest.mark.parametrize("place", [0, 1, 77, 99_999, 500_000, 999_999])
@pytest.mark.parametrize("stride", [1, 2])
def test_one_value_anywhere_is_seen(place: int, stride: int) -> None:
    values = np.zeros((100, 100, 100 * stride), "u2")[:, :, ::stride]
    one = encoder(values.shape, "u2")
    assert one.is_empty(values)
    assert one.is_empty(values.T)
    values[np.unravel_index(place, values.shape)] = 256
    assert not one.is_empty(values)
    assert not one.is_empty(values.T)


@given(st.binary(max_size=200), st.integers(1, 20), st.integers(0, 30))
def test_repeated_elements(start: bytes, item: int, count: int) -> None:
    element = start[:item].ljust(item, b"x")
    data = element * count
    assert all_elements_are(data, element)
    for at in {0, len(data) // 2, len(data) - 1} - {-1} if data else set():
        changed = bytearray(data)
        changed[at] ^= 255
        assert not all_elements_are(changed, element)


def test_room_joins_what_is_short_and_keeps_what_is_long() -> None:
    room, long = Room(), bytes(100_000)
    for data in (b"ab", long, b"cd", b"ef"):
        room.add(data)
    assert [len(part) for part in room.parts()] == [2, 100_000, 4]
    assert room.nbytes == 100_006
    tail = room.take(20 << 20)
    tail[:1] = b"x"
    room.add(tail[:1])
    assert bytes(room.parts()[-1]) == b"x"
    room.reset()
    assert room.parts() == [] and room.nbytes == 0


def test_room_gives_large_memory_back() -> None:
    room = Room()
    for _ in range(3):
        room.add(room.take(40 << 20))
    room.reset()
    assert sum(len(block) for block in room._blocks) <= 64 << 20


FOREIGN: dict[str, list[Any]] = {
    "big endian": [{"name": "bytes", "configuration": {"endian": "big"}}],
    "transpose": [{"name": "transpose", "configuration": {"order": [1, 2, 0]}}, little()],
    "transpose twice": [
        {"name": "transpose", "configuration": {"order": [1, 2, 0]}},
        {"name": "numcodecs.delta", "configuration": {"dtype": "<i4"}},
        {"name": "transpose", "configuration": {"order": [0, 2, 1]}},
        {"name": "bytes", "configuration": {"endian": "big"}},
        {"name": "gzip", "configuration": {"level": 1}},
    ],
    "reshape": [
        {"name": "transpose", "configuration": {"order": [1, 2, 0]}},
        {"name": "reshape", "configuration": {"shape": [[0, 1], [2]]}},
        {"name": "transpose", "configuration": {"order": [1, 0]}},
        little(),
    ],
    "shard": [sharding((2, 3, 2))],
    "shard, index first": [sharding((2, 3, 2), index_location="start")],
    "shard without checksum": [sharding((2, 3, 2), index_codecs=[little()])],
    "shard, big endian index": [
        sharding((2, 3, 2), index_codecs=[{"name": "bytes", "configuration": {"endian": "big"}}])
    ],
    "shard in gzip": [sharding((2, 3, 2)), {"name": "gzip", "configuration": {"level": 1}}],
    "nested": [sharding((4, 6, 2), [sharding((2, 3, 2), [little(), "crc32c"])])],
    "nested, indices first": [
        sharding((4, 6, 2), [sharding((2, 3, 2), index_location="start")], index_location="start")
    ],
    "turned shard": [
        {"name": "transpose", "configuration": {"order": [2, 0, 1]}},
        sharding(
            (2, 2, 3), [{"name": "transpose", "configuration": {"order": [1, 2, 0]}}, little()]
        ),
    ],
    "values before a shard": [
        {"name": "scale_offset", "configuration": {"scale": 2, "offset": -3}},
        {"name": "cast_value", "configuration": {"data_type": "int16"}},
        sharding((2, 3, 2), [{"name": "bytes", "configuration": {"endian": "big"}}, "crc32c"]),
    ],
    "may be skipped": [
        {"name": "unheard-of", "must_understand": False}, little(),
    ],
    "packbits": [{"name": "packbits", "configuration": {"first_bit": 0, "last_bit": 10}}],
    "pcodec": [{"name": "numcodecs.pcodec", "configuration": {"level": 4}}],
}  # fmt: skip


@pytest.mark.parametrize("shape", [(4, 6, 4), (8, 9, 7), (1, 1, 1)])
@pytest.mark.parametrize("name", FOREIGN)
def test_arrays_that_others_began(name: str, shape: tuple[int, ...]) -> None:
    values = distinct(shape, "i4")
    document = array_v3(shape, (4, 6, 4), "int32", FOREIGN[name], fill_value=5)
    found = parse_v3(document, "zarr.json")
    assert isinstance(found, ArrayMetadata)
    chunks = each_object(values, found)
    assert same(read(v3(document, chunks)), values)


def each_object(values: np.ndarray, meta: ArrayMetadata) -> dict[str, bytes]:
    one = object_encoder(meta)
    chunks = {}
    for at in np.ndindex(meta.counts):
        part = tuple(slice(i * n, (i + 1) * n) for i, n in zip(at, meta.chunk_shape, strict=True))
        chunks[meta.keys.key(at)] = b"".join(one.encode(values[part]))
    return chunks


def test_objects_of_several_shapes() -> None:
    grid = {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": [[2, 4], 3]}}
    document = array_v3((6, 3), (4, 3), chunk_grid=grid)
    found = parse_v3(document, "zarr.json")
    assert isinstance(found, ArrayMetadata) and found.grid is not None
    values = distinct((6, 3), "u2")
    chunks = {
        f"c/{i}/0": b"".join(object_encoder(found, found.grid.layout((n, 3))).encode(part))
        for i, n, part in ((0, 2, values[:2]), (1, 4, values[2:]))
    }
    assert same(read(v3(document, chunks)), values)


V2_FOREIGN: list[tuple[str, dict[str, Any]]] = [
    (">i4", {"filters": [{"id": "delta", "dtype": ">i4", "astype": "<i8"}]}),
    (">i4", {"order": "F", "compressor": numcodecs.Blosc().get_config()}),
    ("<i4", {"filters": [{"id": "shuffle", "elementsize": 1}], "compressor": {"id": "zlib"}}),
    ("<i4", {"filters": [{"id": "crc32"}, {"id": "delta", "dtype": "u1"}, {"id": "adler32"}]}),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "options"), V2_FOREIGN)
def test_arrays_of_v2_that_others_began(dtype: str, options: dict[str, Any]) -> None:
    values = distinct((7, 5), "i4")
    document = array_v2((7, 5), (3, 2), dtype, **options)
    found = parse_array_v2(document, {}, ".zarray")
    assert same(read(v2(document, each_object(values, found))), values)


def test_labels() -> None:
    codec = {"id": "categorize", "labels": ["b", "a"], "dtype": "<U2", "astype": "|u1"}
    document = array_v2((3,), (2,), "<U2", filters=[codec], fill_value="")
    found = parse_array_v2(document, {}, ".zarray")
    values = np.array(["a", "", "b"], "U2")
    assert same(read(v2(document, each_object(values, found))), values)
    with pytest.raises(SinkError, match="'c' is none of the labels"):
        object_encoder(found).encode(np.array(["a", "c"], "U2"))


def test_labels_of_any_length() -> None:
    codec = {"id": "categorize", "labels": ["a longer one", "a"], "dtype": "|O", "astype": "|u1"}
    document = array_v2((3,), (2,), "|O", filters=[codec, {"id": "crc32"}], fill_value="")
    found = parse_array_v2(document, {}, ".zarray")
    chunks = each_object(np.array(["a", "", "a longer one"], found.dtype), found)
    assert chunks["0"][4:] == b"\2\0" and chunks["1"][4:] == b"\1\0"


LOST: list[tuple[Any, Any, str]] = [
    (numcodecs.AsType("<i1", "<i4"), np.array([1, 128], "i4"), "astype: 1 to 128 do not fit int8"),
    (numcodecs.AsType("<u1", "<f4"), np.array([1, np.nan], "f4"), "do not fit uint8"),
    (numcodecs.AsType("<u1", "<f4"), np.array([1, -1], "f4"), "do not fit uint8"),
    (numcodecs.AsType("<i8", "<f8"), np.array([0, 2.0**63]), "do not fit int64"),
    (numcodecs.AsType("<f4", "<f8"), np.array([0, 1e300]), "do not fit float32"),
    (numcodecs.AsType("<f2", "<i4"), np.array([0, 70000], "i4"), "do not fit float16"),
    (numcodecs.Delta("<f4"), np.array([0, np.nan, 1], "f4"), "not finite would spoil"),
    (numcodecs.Delta("<u2", "i1"), np.array([0, 200], "u2"), "differences .* int8 cannot hold"),
    (numcodecs.FixedScaleOffset(0, 100, "<f4", "<i2"), np.array([1, 400], "f4"), "fit int16"),
    (numcodecs.FixedScaleOffset(50, 1, "<u2", "<u2"), np.array([60, 1], "u2"), "fit uint16"),
    (numcodecs.Quantize(3, "<f4"), np.array([1, 3e38], "f4"), "do not fit float32"),
    ({"name": "scale_offset", "configuration": {"scale": 3}}, np.array([1, 30000], "u2"), "do not"),
    ({"name": "cast_value", "configuration": {"data_type": "uint8"}}, np.array([1, 300]), "300"),
    ({"name": "packbits", "configuration": {"last_bit": 7}}, np.array([1, 256], "u2"), "0 to 7"),
]  # fmt: skip


@pytest.mark.parametrize(("codec", "values", "message"), LOST)
def test_values_that_would_be_lost(codec: Any, values: np.ndarray, message: str) -> None:
    with pytest.raises(SinkError, match=message):
        encoded(values, filters=codec)


def test_rounding_is_no_loss() -> None:
    values = np.array([np.nan, 1.0000001, -np.inf, 0.3], "f4")
    values[:1].view("u4")[0] = 0x7FFFFFFF
    stored = np.frombuffer(
        encoded(values, filters={"id": "bitround", "keepbits": 3}, compressor=None), "f4"
    )
    assert stored[:1].view("u4")[0] == 0x7FFFFFFF
    assert stored[1:3].tolist() == [1.0, -np.inf]
    assert abs(stored[3] - 0.3) < 0.02


WRONG: list[tuple[np.ndarray, type[Exception], str]] = [
    (np.zeros((4, 4), "i4"), DTypeError, "needs values of that dtype, and not of int32"),
    (np.zeros((4, 4), ">u2"), DTypeError, "and not of >u2"),
    (np.zeros((4, 5), "u2"), ShapeError, "do not fit a chunk of"),
    (np.zeros((4,), "u2"), ShapeError, "do not fit a chunk of"),
]


@pytest.mark.parametrize(("values", "error", "message"), WRONG)
def test_wrong_values(values: np.ndarray, error: type[Exception], message: str) -> None:
    one = encoder((4, 4), "u2")
    calls: list[Callable[[np.ndarray], object]] = [one.encode, one.is_empty]
    for call in calls:
        with pytest.raises(error, match=message):
            call(values)


def test_n5_is_not_written() -> None:
    found = array_documents((2,), np.dtype("u2"), chunks=(2,)).metadata
    with pytest.raises(FormatError, match="n5 can be read and not written"):
        object_encoder(found._replace(zarr_format=None))


def test_too_much_at_once() -> None:
    one = encoder((4,), np.dtypes.StringDType(), compressor="lz4")
    chain: EncodeChain = one.chain  # type: ignore[attr-defined]
    assert chain._last is not None
    chain._last.most = 10
    with pytest.raises(SinkError, match="lz4: 24 bytes to encode at once; at most 10"):
        one.encode(np.array(["a", "b", "c", "d"], np.dtypes.StringDType()))


def test_failures_of_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    values = textured((8, 8, 8))
    monkeypatch.setattr(encode_direct, "_blosc", lambda: lambda *a: -1)
    monkeypatch.setattr(encode_direct, "_lz4", lambda: lambda *a: 0)
    real = encode_direct._zstd()
    broken = real and real._replace(encode=lambda *a: (1 << 64) - 64)
    monkeypatch.setattr(encode_direct, "_zstd", lambda: broken)
    for name in ("blosc", "lz4", "zstd") if real else ("blosc", "lz4"):
        with pytest.raises(SinkError, match=f"{name}: error"):
            encoded(values, compressor=name)


@pytest.mark.parametrize("compressor", ["zstd", "blosc", "lz4", "gzip", "gzip:9", "bz2", "lzma"])
def test_what_compresses_as_far_as_it_goes_is_read_back(compressor: str) -> None:
    values = np.full(8 << 20, 7, "u2")
    store = written(values, values.shape, compressor=compressor, fill_value=0)
    assert len(store["c/0"]) < values.nbytes // 100
    assert same(read(store), values)


def test_memory_of_a_shard() -> None:
    values = np.random.default_rng(0).integers(0, 256, (64, 512, 512), "u2")
    options: dict[str, Any] = {"chunks": (64, 64, 64), "shards": values.shape}
    one = encoder(values.shape, "u2", **options)
    with ThreadPoolExecutor(1) as pool:  # in whose thread nothing is kept from before
        tracemalloc.start()
        try:
            parts = pool.submit(one.encode, values).result()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    size, slack = sum(map(len, parts)), 10 << 20
    assert values.nbytes // 2 < size
    assert peak < size + slack


def test_high_levels_do_not_keep_their_memory() -> None:
    values = np.random.default_rng(0).integers(0, 50, (1 << 20,), "u2")
    encoded(values, compressor="zstd:22")
    assert encode_direct._per_thread.context is None
    encoded(values, compressor="zstd:1")
    assert (encode_direct._per_thread.context is None) == (encode_direct._zstd() is None)


GRID = st.integers(1, 3).flatmap(
    lambda rank: st.tuples(
        st.tuples(*[st.integers(0, 9)] * rank),
        st.tuples(*[st.integers(1, 4)] * rank),
        st.one_of(st.none(), st.tuples(*[st.integers(1, 3)] * rank)),
    )
)


@given(
    GRID,
    st.sampled_from(["u1", "u2", "f4", "c8", "?", "S3"]),
    st.sampled_from([None, "zstd", "blosc", "crc32c", ["gzip:1", "crc32c"]]),
    st.sampled_from(["C", "F"]),
    st.integers(0, 3),
    st.booleans(),
)
def test_any_grid(
    grid: Any, dtype: str, compressor: Any, order: str, seed: int, write_empty: bool
) -> None:
    shape, chunks, factors = grid
    count = np.random.default_rng(seed).integers(0, 2, shape)
    values = count.astype(dtype)
    options: dict[str, Any] = {"compressor": compressor, "order": order}
    if factors is None:
        options["zarr_format"] = 2 + seed % 2
    else:
        options["shards"] = tuple(n * k for n, k in zip(chunks, factors, strict=True))
    store = written(values, chunks, write_empty=write_empty, **options)
    assert same(read(store), values)
