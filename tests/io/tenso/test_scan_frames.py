"""Compressed packets: which frames are read block by block, and that all of them are read right."""

from __future__ import annotations

import struct
from typing import Any

import lz4.block
import lz4.frame
import numpy as np
import pytest

import lazytensor as lt
from lazytensor.io import tenso
from tests.io.tenso.lazily import ONE, counted, frame, linked, read, seekable

RNG = np.random.default_rng(11)
A = np.repeat(RNG.integers(0, 200, (1500, 100)).astype("u2"), 5, axis=1)  # 1.5 MB
NOISE = RNG.integers(0, 256, (1200, 1000)).astype("u1")
PARTS = (np.s_[:], np.s_[700:703], np.s_[-1], np.s_[::100, ::7], np.s_[:, 3], np.s_[1400:, 40:45])


def blocks_of(data: bytes, sizes: list[int], most: int = 4) -> bytes:
    """A frame of independent blocks of the given decoded sizes, the rest in a last one."""
    import xxhash

    described = bytes((0x60, most << 4))
    out = struct.pack("<I", 0x184D2204) + described
    out += bytes((xxhash.xxh32_intdigest(described) >> 8 & 0xFF,))
    at = 0
    for size in [*sizes, len(data) - sum(sizes)]:
        packed = lz4.block.compress(data[at : at + size], store_size=False)
        out += struct.pack("<I", len(packed)) + packed
        at += size
    return out + bytes(4)


FOREIGN: dict[str, dict[str, Any]] = {
    "linked": {},
    "linked, 64 KiB": {"block_size": lz4.frame.BLOCKSIZE_MAX64KB},
    "independent, 64 KiB": {"block_size": lz4.frame.BLOCKSIZE_MAX64KB, "block_linked": False},
    "independent, 1 MiB": {"block_size": lz4.frame.BLOCKSIZE_MAX1MB, "block_linked": False},
    "checksums": {"block_linked": False, "block_checksum": True, "content_checksum": True},
    "linked checksums": {"block_checksum": True, "content_checksum": True},
    "no size": {"block_linked": False, "store_size": False},
}


@pytest.mark.parametrize("options", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("values", [A, NOISE], ids=["smooth", "noise"])
@pytest.mark.parametrize("integrity", [False, True])
def test_frames_of_others(options: dict[str, Any], values: np.ndarray, integrity: bool) -> None:
    packet = linked(values, **options)
    if integrity:
        packet = frame(values, packet[64:], integrity=True)
    x = lt.scan_tenso(({"a": packet}, "a"))
    for part in PARTS:
        assert np.array_equal(x[part].collect(), values[part])
        assert np.array_equal(x[part].collect(engine=ONE), values[part])
    assert np.array_equal((x + 1).collect(), values + 1)


def test_independent_blocks_of_others_are_found_alone() -> None:
    store, x = counted(linked(A, **FOREIGN["independent, 64 KiB"]))
    size = x.storage.statistics()["bytes_stored"]  # type: ignore[union-attr]
    x[700:703].collect(engine=ONE)
    first = read(store)
    assert first < size * 3 // 24  # and the last one, which proves that all are full
    x[700:703].collect(engine=ONE)
    assert read(store) < first


@pytest.mark.parametrize(
    "sizes",
    [[100] * 10, [65536] * 3 + [10], [65535], [60000] + [65536] * 21, [65536] * 21 + [60000]],
    ids=str,
)
def test_blocks_that_are_not_full_are_noticed(sizes: list[int]) -> None:
    values = A.reshape(-1)[: 22 * 32768 - 200]
    sizes = sizes[: -(-values.nbytes // 65536)]
    while values.nbytes - sum(sizes) > 65536:
        sizes = [*sizes, 65536]
    x = lt.scan_tenso(({"a": frame(values, blocks_of(values.tobytes(), sizes))}, "a"))
    for part in (np.s_[300_000:300_010], np.s_[-5:], np.s_[:], np.s_[::1000]):
        assert np.array_equal(x[part].collect(engine=ONE), values[part])
    assert np.array_equal((x * 2).collect(), values * 2)


def test_a_frame_that_has_to_be_decoded_whole_is_decoded_once_a_run() -> None:
    big = np.repeat(RNG.integers(0, 200, (3000, 100)).astype("u4"), 10, axis=1)  # 12 MB
    store, x = counted(linked(big))
    assert np.array_equal((x + 1).collect(), big + 1)
    body = x.storage.statistics()["bytes_stored"]  # type: ignore[union-attr]
    assert body - 64 < read(store) <= body + 4
    lt.metrics(reset=True)
    x[::500].sum().collect()
    assert lt.metrics()["bytes_decoded"] == big.nbytes


def test_blocks_wanted_by_neighbours_are_decoded_once_in_a_read() -> None:
    values = np.repeat(RNG.integers(0, 200, (4000, 100)).astype("u4"), 10, axis=1)  # 16 MB
    for packet in (seekable(values), bytes(tenso.dumps(values, compress=True))):
        x = lt.scan_tenso(({"a": packet}, "a"))
        source: Any = x._node.source  # type: ignore[attr-defined]
        out = np.empty((4000, 3), "u4")
        lt.metrics(reset=True)
        source.read_into(((0, 4000), (5, 8)), out)
        assert np.array_equal(out, values[:, 5:8])
        last = 0 if x.storage.codecs[0]["seekable"] else values.nbytes % (4 << 20)  # type: ignore[union-attr]
        assert lt.metrics()["bytes_decoded"] == values.nbytes + last


class TestDamage:
    def test_a_block(self) -> None:
        packet = bytearray(seekable(A, integrity=False))
        at = 79 + 4 + 200
        packet[at : at + 40] = b"\xff" * 40
        x = lt.scan_tenso(({"a": bytes(packet)}, "a"))
        with pytest.raises(lt.ChunkDecodeError, match=r"tenso memory/a.*block 0"):
            x[0].collect()
        assert np.array_equal(x[-1].collect(), A[-1])

    def test_a_table_that_is_wrong_is_none(self) -> None:
        packet = bytearray(seekable(A, integrity=False))
        packet[-4] ^= 1
        x = lt.scan_tenso(({"a": bytes(packet)}, "a"))
        assert np.array_equal(x.collect(), A)

    def test_a_table_that_lies(self) -> None:
        packet = bytearray(seekable(A, integrity=False))
        one, other = struct.unpack_from("<2I", packet, len(packet) - 8)
        struct.pack_into("<2I", packet, len(packet) - 8, one - 1, other + 1)
        x = lt.scan_tenso(({"a": bytes(packet)}, "a"))
        with pytest.raises(lt.FormatError, match="another size"):
            x[-1].collect()
        assert np.array_equal(x[0].collect(), A[0])

    def test_of_checksums_in_the_frame(self) -> None:
        packet = bytearray(linked(NOISE, **FOREIGN["checksums"]))
        packet[200_000] ^= 1
        x = lt.scan_tenso(({"a": bytes(packet)}, "a"))
        with pytest.raises(lt.ChecksumError, match="tenso memory/a"):
            x.collect()

    def test_a_bomb(self) -> None:
        """Sizes are those of the shape, whatever the frame says."""
        data = bytes(64 << 20)
        packet = frame(np.zeros(70_000, "u1"), lz4.frame.compress(data, store_size=False))
        lt.metrics(reset=True)
        with pytest.raises(lt.FormatError):
            lt.scan_tenso(({"a": packet}, "a")).collect()
        assert lt.metrics().get("bytes_decoded", 0) <= 70_000


def test_tables_in_bundles_and_files_of_packets() -> None:
    one, other = seekable(A), seekable(A[::-1])
    found = lt.open_tenso(({"a": one + other + one}, "a"))
    for key, values in zip("012", (A, A[::-1], A), strict=True):
        assert np.array_equal(found[key][5:9].collect(), values[5:9])
        assert np.array_equal(found[key].collect(), values)
    assert found["2"].storage.codecs[0]["seekable"]  # type: ignore[union-attr]


def test_memory_is_stated() -> None:
    x = lt.scan_tenso(({"a": linked(np.zeros((3000, 1000), "f4"))}, "a"))
    with pytest.raises(lt.MemoryLimitError):
        (x + 1).collect(engine=lt.LocalEngine(max_memory="8 MiB"))


def test_a_profile_tells_reading_from_decoding() -> None:
    values = np.repeat(RNG.integers(0, 200, (4000, 100)).astype("u4"), 10, axis=1)  # 16 MB
    x = lt.scan_tenso(({"a": seekable(values)}, "a"))
    for y in (x, x + 1):
        result, table = y.profile(engine=ONE)
        assert np.array_equal(result, y.collect())
        assert table["decode_s"].sum() > 0
