"""N5 arrays and groups: TensorStore's files, hand-made blocks, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fsspec
import lz4.block
import numpy as np
import pytest
import tensorstore as ts
import xxhash
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.errors import (
    ChecksumError,
    ChunkDecodeError,
    DTypeError,
    FormatError,
    LazyTensorError,
    SourceNotFoundError,
)
from lazytensor.io.store_counting import CountingStore
from lazytensor.io.zarr import from_json, scan
from tests.io.zarr_cases import distinct, read, same

DTYPES = [f"{kind}{bits}" for kind in ("uint", "int") for bits in (8, 16, 32, 64)]
DTYPES += ["float32", "float64"]


def attributes(
    dimensions: Sequence[int], block: Sequence[int], dtype: str = "uint16", **changes: Any
) -> dict[str, Any]:
    """The metadata of an array; dimensions fastest first, as N5 has them."""
    return {
        "dimensions": list(dimensions),
        "blockSize": list(block),
        "dataType": dtype,
        "compression": {"type": "raw"},
        **changes,
    }


def n5(document: Any, blocks: dict[str, bytes] | None = None) -> dict[str, bytes]:
    return {"attributes.json": json.dumps(document).encode(), **(blocks or {})}


def block(
    values: np.ndarray, pack: Callable[[bytes], bytes] = bytes, mode: int = 0, **changes: Any
) -> bytes:
    """A block of values that have the slowest dimension first."""
    shape = changes.get("shape", values.shape[::-1])
    header = struct.pack(f">HH{len(shape)}I", mode, len(shape), *shape)
    if mode == 1:
        header += struct.pack(">I", changes.get("elements", values.size))
    return header + pack(values.astype(values.dtype.newbyteorder(">")).tobytes())


def lz4_block(data: bytes, *, raw: bool = False, check: int = 0) -> bytes:
    packed = data if raw else lz4.block.compress(data, store_size=False)
    digest = (xxhash.xxh32_intdigest(data, 0x9747B28C) & 0x0FFFFFFF) ^ check
    token = 0x10 if raw else 0x20
    return struct.pack("<8sBIII", b"LZ4Block", token | 6, len(packed), len(data), digest) + packed


def lz4_stream(data: bytes) -> bytes:
    """What LZ4BlockOutputStream makes of some bytes, in blocks of 16."""
    parts = [lz4_block(data[i : i + 16], raw=i == 16) for i in range(0, len(data), 16)]
    return b"".join(parts) + struct.pack("<8sBIII", b"LZ4Block", 0x10, 0, 0, 0)


PACKERS: dict[str, tuple[dict[str, Any], Callable[[bytes], bytes]]] = {
    "raw": ({"type": "raw"}, bytes),
    "gzip": ({"type": "gzip", "level": -1}, gzip.compress),
    "zlib": ({"type": "gzip", "useZlib": True}, zlib.compress),
    "bzip2": ({"type": "bzip2", "blockSize": 9}, bz2.compress),
    "xz": ({"type": "xz", "preset": 6}, lzma.compress),
    "zstd": ({"type": "zstd", "level": 3}, zstandard.ZstdCompressor().compress),
    "lz4": ({"type": "lz4", "blockSize": 65536}, lz4_stream),
}


def write(path: Path, values: np.ndarray, blocks: Sequence[int], compression: Any) -> None:
    """An array written by TensorStore; values have the slowest dimension first."""
    spec = {
        "driver": "n5",
        "kvstore": {"driver": "file", "path": str(path)},
        "metadata": {
            "compression": compression,
            "dataType": values.dtype.name,
            "dimensions": list(values.shape[::-1]),
            "blockSize": list(blocks[::-1]),
        },
    }
    ts.open(spec, create=True).result().write(values.transpose()).result()


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(tmp_path: Path, dtype: str) -> None:
    values = distinct((5, 7, 3), dtype)
    write(tmp_path, values, (2, 4, 3), {"type": "raw"})
    assert same(lt.scan_zarr(tmp_path).collect(), values)


@pytest.mark.parametrize(
    "compression",
    [
        {"type": "raw"},
        {"type": "gzip"},
        {"type": "gzip", "useZlib": True},
        {"type": "bzip2"},
        {"type": "xz"},
        {"type": "zstd"},
        {"type": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1},
        {"type": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 2},
    ],
    ids=lambda c: "-".join(map(str, c.values())),
)
def test_compressions(tmp_path: Path, compression: dict[str, Any]) -> None:
    values = np.sort(distinct((33, 20, 9), "uint32") % 1000, axis=0)
    write(tmp_path, values, (16, 7, 9), compression)
    x = lt.scan_zarr(tmp_path)
    assert same(x.collect(), values)
    assert same(x[3:30:2, ::-1, 4].collect(), values[3:30:2, ::-1, 4])
    assert x.chunks == (16, 7, 9)


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("mode", [0, 1])
def test_blocks_made_by_hand(kind: str, mode: int) -> None:
    compression, pack = PACKERS[kind]
    values = distinct((5, 7), "int32")
    edge = np.zeros((3, 4), "i4")
    edge[:2, :3] = values[3:, 4:]
    data = n5(
        attributes((7, 5), (4, 3), "int32", compression=compression),
        {
            "0/0": block(values[:3, :4], pack, mode),
            "1/0": block(values[:3, 4:], pack, mode),  # cut off at the edge
            "0/1": block(values[3:, :4], pack, mode),
            "1/1": block(edge, pack, mode),  # padded
        },
    )
    assert same(read(data), values)


def test_facts(tmp_path: Path) -> None:
    values = distinct((5, 7), "uint16")
    write(tmp_path, values, (3, 4), {"type": "gzip"})
    path = tmp_path / "attributes.json"
    document = json.loads(path.read_text()) | {
        "units": ["nm", "nm"],
        "_ARRAY_DIMENSIONS": ["y", "x"],
    }
    path.write_text(json.dumps(document))
    (tmp_path / "1" / "1").unlink()
    x = lt.scan(str(tmp_path))
    assert x.dims == ("y", "x")
    assert dict(x.attrs) == {"units": ["nm", "nm"], "_ARRAY_DIMENSIONS": ["y", "x"]}
    assert x.storage is not None
    assert (x.storage.format, x.storage.chunks, x.storage.shards) == ("n5", (3, 4), None)
    assert x.storage.codecs[0]["type"] == "gzip"
    facts = x.storage.statistics()
    assert (facts["units_stored"], facts["units_total"]) == (3, 4)
    assert facts["bytes_stored"] == sum(
        (tmp_path / k).stat().st_size for k in ("0/0", "0/1", "1/0")
    )
    assert x.estimate(exact=True).bytes_read == facts["bytes_stored"]
    expected = values.copy()
    expected[3:, 4:] = 0
    assert same(x.collect(), expected)
    again = lt.LazyTensor.deserialize((x + 1).serialize())
    assert same(again.collect(), expected + 1)
    source = scan(tmp_path)
    assert from_json(source.to_json()).key == source.key
    with pytest.raises(SourceNotFoundError, match="'1/1' is not stored"):
        lt.scan_zarr(tmp_path, missing="raise").collect()


def test_groups(tmp_path: Path) -> None:
    (tmp_path / "attributes.json").write_text('{"n5": "4.0.0", "made_by": "hand"}')
    values = distinct((4, 6), "uint8")
    write(tmp_path / "volumes" / "raw" / "s0", values, (2, 3), {"type": "raw"})
    write(tmp_path / "volumes" / "raw" / "s1", values[::2, ::2].copy(), (2, 3), {"type": "raw"})
    (tmp_path / "volumes" / "raw" / "attributes.json").write_text('{"scales": [[1, 1], [2, 2]]}')
    (tmp_path / "volumes" / "attributes.json").write_text("{}")
    group = lt.open_zarr(tmp_path)
    assert repr(group).endswith("n5)")
    assert dict(group.attrs) == {"made_by": "hand"}
    raw = group["volumes/raw"]
    assert dict(raw.attrs) == {"scales": [[1, 1], [2, 2]]}
    assert list(raw) == ["s0", "s1"]
    assert same(raw["s0"].collect(), values)
    assert same(group["volumes/raw/s1"].collect(), values[::2, ::2])
    assert same(lt.scan_zarr(tmp_path, "volumes/raw/s0").collect(), values)
    with pytest.raises(FormatError, match="is a zarr group, not an array"):
        lt.scan_zarr(tmp_path)


def test_metadata_of_zarr_goes_first() -> None:
    data = n5(attributes((2,), (2,)), {"zarr.json": b'{"zarr_format": 3, "node_type": "group"}'})
    assert len(lt.open_zarr(data)) == 0


def test_the_first_version_names_the_compression_only() -> None:
    document = attributes((3,), (3,), "uint8", compressionType="gzip")
    del document["compression"]
    values = np.array([1, 2, 3], "u1")
    assert same(read(n5(document, {"0": block(values, gzip.compress)})), values)


def test_what_a_short_block_does_not_hold_is_zero() -> None:
    values = distinct((2, 3), "int16") + np.int16(1)
    data = n5(attributes((6, 4), (6, 4), "int16"), {"0/0": block(values)})
    expected = np.zeros((4, 6), "i2")
    expected[:2, :3] = values
    assert same(read(data), expected)
    x = lt.scan_zarr(data)
    assert same(x[1:3, ::2].collect(), expected[1:3, ::2])
    assert same(x[3:, 4:].collect(), expected[3:, 4:])


def test_only_the_blocks_of_a_box_are_read() -> None:
    values = distinct((4, 6), "uint8")
    blocks = {
        f"{j}/{i}": block(values[2 * i : 2 * i + 2, 3 * j : 3 * j + 3])
        for i in range(2)
        for j in range(2)
    }
    store = CountingStore(n5(attributes((6, 4), (3, 2), "uint8"), blocks))
    source = scan(store)
    store.reset()
    out = np.empty((2, 2), "u1")
    source.read_into(((1, 3), (4, 6)), out)
    assert same(out, values[1:3, 4:6])
    assert [entry[1] for entry in store.log] == ["1/0", "1/1"]


def test_remote_blocks_come_in_batches() -> None:
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    values = distinct((4, 6), "uint8")
    for i in range(2):
        part = values[2 * i : 2 * i + 2]
        fs.pipe_file(f"/x.n5/0/{i}", block(part))
    fs.pipe_file("/x.n5/attributes.json", json.dumps(attributes((6, 4), (6, 2), "uint8")).encode())
    assert same(lt.scan_zarr("memory://x.n5").collect(), values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dimensions": []}, "dimensions: expected at least one dimension"),
        ({"dimensions": [-1, 4]}, "dimensions: expected integers"),
        ({"dimensions": "4"}, "dimensions: expected a list"),
        ({"dimensions": None}, "dimensions: expected a list"),
        ({"dimensions": [2**62, 4]}, "dimensions: expected integers"),
        ({"blockSize": [2]}, "blockSize: expected 2 integers"),
        ({"blockSize": [2, 0]}, "blockSize: expected integers from 1"),
        ({"blockSize": [2, 2**40]}, "blockSize: expected extents up to"),
        ({"dataType": 3}, "dataType: expected a string"),
        ({"dataType": "string"}, "dataType: 'string' is not supported; known: uint8"),
        ({"dataType": "object"}, "dataType: 'object' is not supported"),
        ({"compression": "gzip"}, "compression: expected an object"),
        ({"compression": {}}, "type: expected a string"),
        ({"compression": {"type": "jpeg"}}, "compression 'jpeg' is not supported; known: raw, gz"),
        ({"codecs": []}, "N5 arrays in shards are not supported"),
    ],
)
def test_bad_metadata_is_named(changes: dict[str, Any], message: str) -> None:
    document = attributes((6, 4), (3, 2)) | changes
    with pytest.raises((FormatError, DTypeError), match=f"attributes.json: .*{message}"):
        scan(n5(document))


@pytest.mark.parametrize("key", ["dimensions", "blockSize", "dataType", "compression"])
def test_missing_keys_are_named(key: str) -> None:
    document = attributes((6, 4), (3, 2))
    del document[key]
    with pytest.raises(FormatError, match=key):
        scan(n5(document))


VALUES = distinct((2, 3), "uint16")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected a header of 12 bytes, found 0"),
        (block(VALUES)[:11], "expected a header of 12 bytes, found 11"),
        (block(VALUES)[:-1], "expected 12 bytes, found 11"),
        (block(VALUES) + b"\0", "expected 12 bytes, found 13"),
        (block(VALUES, mode=2), "mode 0 or 1 with 2 dimensions, found mode 2"),
        (block(VALUES.reshape(1, 2, 3)), "with 2 dimensions, found mode 0 with 3"),
        (block(VALUES, shape=(4, 2)), r"a block of \(2, 4\), where the array has \(2, 3\)"),
        (block(VALUES, shape=(2**32 - 1, 2**32 - 1)), "where the array has"),
        (block(VALUES, shape=(0, 2)), r"a block of \(2, 0\)"),
        (block(VALUES, mode=1)[:14], "expected a header of 16 bytes, found 14"),
        (block(VALUES, mode=1, elements=5), "expected 6 elements in a block .* found 5"),
    ],
)
def test_bad_blocks_are_named(data: bytes, message: str) -> None:
    with pytest.raises(ChunkDecodeError, match=f"key '0/0': .*{message}"):
        read(n5(attributes((3, 2), (3, 2)), {"0/0": data}))


def test_a_block_that_claims_much_allocates_nothing() -> None:
    document = attributes((2**31, 2**31), (2**31, 2**31), "uint8")
    with pytest.raises(ChunkDecodeError, match="at most"):
        lt.scan_zarr(n5(document, {"0/0": block(np.zeros((1, 1)), shape=(2**31, 2**31))}))[
            :2, :2
        ].collect()


class TestLz4:
    """Streams of Java's lz4 library."""

    TEXT = bytes(range(40))

    def decode(self, stream: bytes) -> bytes:
        size = len(self.TEXT)
        header = block(np.zeros((size,), "u1"))[:8]
        document = attributes((size,), (size,), "uint8", compression={"type": "lz4"})
        return read(n5(document, {"0": header + stream})).tobytes()

    def test_blocks_with_and_without_an_end(self) -> None:
        stream = lz4_stream(self.TEXT)
        assert self.decode(stream) == self.TEXT
        assert self.decode(stream[:-21]) == self.TEXT

    def test_a_checksum_of_all_bits_is_as_good(self) -> None:
        assert self.decode(lz4_block(self.TEXT, check=0xF0000000)) == self.TEXT

    @pytest.mark.parametrize(
        ("stream", "message"),
        [
            (b"LZ4Bloc", "block header of 21 bytes, found 7"),
            (b"x" + lz4_stream(TEXT)[1:], "expected a block of LZ4Block, found b'xZ4Block'"),
            (lz4_block(TEXT)[:-1], "where 39 bytes are left|where .* bytes are left"),
            (lz4_block(TEXT[:-1]), "expected 40 decoded bytes, found 39"),
            (lz4_block(TEXT + b"!"), "expected at most 40 decoded bytes, found 41"),
            (struct.pack("<8sBIII", b"LZ4Block", 0x30, 1, 40, 0) + b"x", "a block of LZ4Block"),
            (struct.pack("<8sBIII", b"LZ4Block", 0x20, 0, 40, 0), "for 40 decoded ones"),
            (struct.pack("<8sBIII", b"LZ4Block", 0x20, 2, 2**31, 0) + b"xx", "decoded ones"),
            (struct.pack("<8sBIII", b"LZ4Block", 0x20, 4, 40, 0) + b"\xff" * 4, "lz4: "),
            (b"", "expected 40 decoded bytes, found 0"),
        ],
    )
    def test_bad_streams(self, stream: bytes, message: str) -> None:
        with pytest.raises(ChunkDecodeError, match=message):
            self.decode(stream)

    def test_wrong_checksums(self) -> None:
        with pytest.raises(ChecksumError, match="lz4"):
            self.decode(lz4_block(self.TEXT, check=1))


@pytest.mark.parametrize("kind", PACKERS)
@given(data=st.data())
def test_damaged_blocks_are_errors_or_values(kind: str, data: st.DataObject) -> None:
    compression, pack = PACKERS[kind]
    stored = bytearray(block(VALUES, pack))
    change = data.draw(st.sampled_from(["flip", "cut", "extend"]))
    if change == "flip":
        for _ in range(data.draw(st.integers(1, 4))):
            stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    elif change == "cut":
        del stored[data.draw(st.integers(0, len(stored) - 1)) :]
    else:
        stored += data.draw(st.binary(min_size=1, max_size=20))
    try:
        found = read(
            n5(attributes((3, 2), (3, 2), compression=compression), {"0/0": bytes(stored)})
        )
    except LazyTensorError:
        return
    assert found.shape == VALUES.shape
