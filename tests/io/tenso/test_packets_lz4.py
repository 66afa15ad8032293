"""Frames of LZ4: ours, those of other writers, and blocks one by one."""

from __future__ import annotations

import struct
from typing import Any

import lz4.frame
import numpy as np
import pytest

import lazytensor as lt
from lazytensor.errors import ChecksumError, ChunkDecodeError, FormatError
from lazytensor.io.tenso import lz4 as blocks
from lazytensor.io.tenso.decode import decode_body
from lazytensor.io.tenso.encode import begin, dense_parts
from lazytensor.io.tenso.frame import RAW, TABLE, Frame
from lazytensor.io.tenso.header import Flag
from lazytensor.io.tenso.outline import Dense, drive, outline
from tests.io.tenso.packets import same

tenso = lt.io.tenso

KIB = 1 << 10
SIZES = [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 256 * KIB, 256 * KIB + 1, 4096 * KIB + 1]


def values_of(n: int, kind: str = "mixed") -> np.ndarray:
    """n bytes that get smaller, that do not, or of which half do."""
    noise = np.random.default_rng(n).integers(0, 256, n, np.uint8)
    runs = (np.arange(n) // 37).astype(np.uint8)
    if kind == "mixed":
        return np.where(np.arange(n) < n // 2, runs, noise)
    return runs if kind == "runs" else noise


def outline_of(data: Any) -> Dense:
    view = memoryview(data)
    found = drive(outline(len(view)), lambda start, n: view[start : start + n])
    assert isinstance(found, Dense)
    return found


def frame_of(data: Any) -> Frame:
    frame = outline_of(data).frame
    assert frame is not None
    return frame


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("kind", ["runs", "noise", "mixed"])
@pytest.mark.parametrize("seekable", [False, True])
def test_frames_are_read_as_they_were_written(n: int, kind: str, seekable: bool) -> None:
    values = values_of(n, kind)
    data = b"".join(dense_parts(values, compress=True, integrity=True, seekable=seekable))
    assert same(tenso.loads(data), values)
    frame = frame_of(data)
    assert frame.block_most == (256 * KIB if seekable else blocks.block_nbytes(n, seekable=False))
    assert len(frame.starts) == -(-n // frame.block_most)
    assert (frame.content_nbytes == n) if seekable else (frame.content_nbytes is None)
    # A block is never stored longer than it is.
    assert all(size & ~RAW <= frame.block_most for size in frame.sizes)
    assert len(data) <= 64 + 15 + n + 4 * len(frame.starts) + 4 + 8 + 8 + 4 * len(frame.starts)


def test_the_table_is_found_from_the_end() -> None:
    values = values_of(2_000_000)
    data = b"".join(dense_parts(values, compress=True, seekable=True))
    sizes = frame_of(data).sizes
    table = struct.unpack(f"<II{len(sizes)}I", data[-8 - 4 * len(sizes) :])
    assert table == (TABLE, 4 * len(sizes), *sizes)
    # Without it the packet is a packet as well.
    assert same(tenso.loads(data[: -len(table) * 4]), values)


@pytest.mark.parametrize("by_package", [False, True])
@pytest.mark.parametrize("seekable", [False, True])
def test_any_range_of_blocks_is_decoded_alone(
    monkeypatch: pytest.MonkeyPatch, by_package: bool, seekable: bool
) -> None:
    if by_package:
        monkeypatch.setattr(blocks, "_decompressor", lambda: None)
    values = values_of(1_000_001 if seekable else 9_000_001)
    data = b"".join(dense_parts(values, compress=True, seekable=seekable))
    frame = frame_of(data)
    count, most = len(frame.starts), frame.block_most
    for first, last in [(0, 1), (1, 3), (2, count), (0, count), (1, 1), (count - 1, count)]:
        if last > count:
            continue
        base = frame.starts[first] - 3 if first < count else 0
        end = frame.starts[last - 1] + (frame.sizes[last - 1] & ~RAW) if last > first else base
        out = np.empty(len(values[first * most : last * most]), np.uint8)
        blocks.decode_blocks(frame, data[base:end], base, first, last, out)
        np.testing.assert_array_equal(out, values[first * most : last * most])
        if last > first:
            with pytest.raises(FormatError, match="lie at bytes"):
                blocks.decode_blocks(frame, data[base : end - 1], base, first, last, out)
    with pytest.raises(ChunkDecodeError):
        blocks.decode_blocks(frame, data, 0, 0, count, np.empty(len(values) + 1, np.uint8))


FOREIGN: list[dict[str, Any]] = [
    {},
    {"block_linked": False, "store_size": False},
    {"block_linked": False, "store_size": True, "block_size": lz4.frame.BLOCKSIZE_MAX256KB},
    {"block_checksum": True, "content_checksum": True},
    {"block_size": lz4.frame.BLOCKSIZE_MAX1MB, "content_checksum": True, "store_size": False},
    {"block_size": lz4.frame.BLOCKSIZE_MAX4MB, "compression_level": 9},
]


@pytest.mark.parametrize("how", FOREIGN, ids=lambda how: "-".join(how) or "plain")
@pytest.mark.parametrize("by_package", [False, True])
def test_frames_of_other_writers(
    monkeypatch: pytest.MonkeyPatch, how: dict[str, Any], by_package: bool
) -> None:
    if by_package:
        monkeypatch.setattr(blocks, "_decompressor", lambda: None)
    for n in (0, 10, 300_000):
        values = values_of(n)
        data = foreign(values, **how)
        assert same(tenso.loads(data), values)
        assert same(tenso.loads(data + b"more of other things"), values)


def foreign(values: np.ndarray, **how: Any) -> bytes:
    head = begin(Flag.COMPRESSION, 5, values.shape, 64)
    return head + lz4.frame.compress(values.tobytes(), **how)


def irregular(values: np.ndarray, step: int) -> bytes:
    """A frame whose blocks hold less than they could."""
    parts: list[Any] = [blocks.frame_begin(len(values), seekable=False)]
    for at in range(0, len(values), step):
        size, packed = blocks.compress_block(values[at : at + step].tobytes())
        parts += [struct.pack("<I", size), packed]
    return b"".join([begin(Flag.COMPRESSION, 5, values.shape, 64), *parts, bytes(4)])


def test_blocks_that_are_not_full_are_decoded_in_turn() -> None:
    values = values_of(10_000)
    data = irregular(values, 777)
    assert same(tenso.loads(data), values)
    frame = frame_of(data)
    with pytest.raises(blocks.IrregularBlocksError):
        blocks.decode_blocks(frame, data, 0, 0, len(frame.starts), np.empty(10_000, np.uint8))


def test_damaged_frames_are_found() -> None:
    values = values_of(200_000, "runs")
    data = bytearray(foreign(values, block_checksum=True, content_checksum=True))
    for at, error in [
        (64 + 20, ChecksumError),  # in a block
        (len(data) - 1, ChecksumError),  # the checksum of the content
        (64, FormatError),  # the magic number
        (64 + 4, FormatError),  # flags
        (64 + 6, ChecksumError),  # the content's size, which the header's check covers
    ]:
        damaged = data.copy()
        damaged[at] ^= 1
        with pytest.raises(error):
            tenso.loads(damaged)
    with pytest.raises(FormatError, match="truncated"):
        tenso.loads(data[:-5])
    plain = bytearray(tenso.dumps(values, compress=True))
    plain[64 + 7 + 4 + 3] ^= 0xFF
    with pytest.raises(ChunkDecodeError, match="LZ4 block 0 of 1"):
        tenso.loads(plain)


def test_a_frame_decodes_to_what_the_header_says() -> None:
    values = values_of(1000, "runs")
    for other in ((999,), (1001,), (10**9,)):
        for how in ({"store_size": True}, {"store_size": False}):
            frame = lz4.frame.compress(values.tobytes(), **how)
            data = begin(Flag.COMPRESSION, 5, other, 64) + frame
            with pytest.raises(FormatError):
                tenso.loads(data)


def test_only_contiguous_memory_takes_blocks() -> None:
    values = values_of(1000)
    data = tenso.dumps(values, compress=True)
    frame = frame_of(data)
    for out in (np.empty(2000, np.uint8)[::2], np.frombuffer(bytes(1000), np.uint8)):
        with pytest.raises(ValueError, match="contiguous and writable"):
            blocks.decode_frame(frame, data, 0, out)


def test_booleans_that_were_compressed() -> None:
    raw = np.array([0, 1, 2, 255], np.uint8)
    data = bytearray(tenso.dumps(raw, compress=True))
    data[7] = 7
    assert tenso.loads(data).tobytes() == bytes((0, 1, 1, 1))
    packet = outline_of(data)
    out = np.empty(4, np.bool_)
    decode_body(packet, data[packet.body[0] : packet.stop], out, verify=True)
    assert out.tobytes() == bytes((0, 1, 1, 1))
