"""Byte decoders: every encoder's output is read, and nothing damaged passes for data."""

from __future__ import annotations

import bz2
import gzip
import lzma
import threading
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numcodecs
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lazytensor.errors import ChecksumError, ChunkDecodeError, FormatError
from lazytensor.io.codec import direct
from lazytensor.io.codec.bytecodec import BloscCodec, ByteCodec, Lz4Codec
from lazytensor.io.codec.checksums import Crc32cCodec, crc32c
from lazytensor.io.codec.filters import DeltaCodec, ShuffleCodec
from lazytensor.io.codec.optional import PcodecCodec
from lazytensor.io.codec.packbits import PackBitsCodec
from lazytensor.io.codec.pipeline import ByteChain
from lazytensor.io.codec.site import Site
from lazytensor.io.codec.streams import DeflateCodec
from lazytensor.io.codec.table import filter_v2
from lazytensor.io.codec.zstd import ZstdCodec
from lazytensor.io.scratch import STAGE_A, Scratch

Encode = Callable[[bytes], bytes]


def _zstd_unsized(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


def _zstd_frames(data: bytes) -> bytes:
    half = len(data) // 3
    plain = zstandard.ZstdCompressor(write_checksum=True)
    return plain.compress(data[:half]) + plain.compress(data[half:])


def _gzip_members(data: bytes) -> bytes:
    half = len(data) // 3
    return gzip.compress(data[:half]) + gzip.compress(b"") + gzip.compress(data[half:])


def _blosc(cname: str, shuffle: int) -> Encode:
    return lambda data: bytes(numcodecs.Blosc(cname, 5, shuffle).encode(np.frombuffer(data, "u2")))


RAW_LZMA = [{"id": lzma.FILTER_DELTA, "dist": 2}, {"id": lzma.FILTER_LZMA2, "preset": 1}]


def v2(name: str, **settings: Any) -> ByteCodec:
    codec = filter_v2(name, Site(settings, ".zarray", np.dtype("<u2"), zarr_format=2))
    assert codec is not None
    return codec


def u2(data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<u2")


def _of_numcodecs(name: str, **settings: Any) -> tuple[ByteCodec, Encode]:
    """Our decoder and their encoder, both with the same settings."""
    theirs = numcodecs.get_codec({"id": name, **settings})
    return v2(name, **settings), lambda data: np.asarray(theirs.encode(u2(data))).tobytes()


def numcodecs_pcodec() -> Any:
    from numcodecs.pcodec import PCodec

    return PCodec()


def _thirteen_bits(data: bytes) -> bytes:
    """Packed by Python's integers: bit ``i`` of the stream is bit ``i`` of the number."""
    values = u2(data).tolist()
    pieces = [values[at : at + 256] for at in range(0, len(values), 256)]  # whole bytes each
    numbers = [sum(value << (13 * i) for i, value in enumerate(piece)) for piece in pieces]
    sizes = [-(-13 * len(piece) // 8) for piece in pieces]
    packed = b"".join(n.to_bytes(k, "little") for n, k in zip(numbers, sizes, strict=True))
    return bytes([8 * len(packed) - 13 * len(values)]) + packed


GZIP, ZLIB = DeflateCodec("gzip", gzip=True), DeflateCodec("zlib", gzip=False)
ENCODERS: dict[str, tuple[ByteCodec, Encode]] = {
    "zstd": (ZstdCodec(), zstandard.ZstdCompressor().compress),
    "zstd unsized": (ZstdCodec(), _zstd_unsized),
    "zstd frames": (ZstdCodec(), _zstd_frames),
    "zstd numcodecs": (ZstdCodec(), lambda data: bytes(numcodecs.Zstd(3, True).encode(data))),
    "gzip": (GZIP, gzip.compress),
    "gzip members": (GZIP, _gzip_members),
    "gzip padded": (GZIP, lambda data: gzip.compress(data) + b"\0" * 7),
    "zlib": (ZLIB, zlib.compress),
    "lz4": (Lz4Codec(), lambda data: bytes(numcodecs.LZ4().encode(data))),
    "crc32c": (Crc32cCodec(), lambda data: data + crc32c(data).to_bytes(4, "little")),
    "shuffle": (ShuffleCodec(2), lambda data: bytes(numcodecs.Shuffle(2).encode(data))),
    "delta": (
        DeltaCodec(np.dtype("<u2"), np.dtype("<u2")),
        lambda data: numcodecs.Delta("<u2").encode(np.frombuffer(data, "<u2")).tobytes(),
    ),
    "blosc none": (BloscCodec(), _blosc("lz4", 0)),
    "bz2": _of_numcodecs("bz2", level=1),
    "bz2 streams": (v2("bz2"), lambda data: bz2.compress(data[:100]) + bz2.compress(data[100:])),
    "lzma xz": _of_numcodecs("lzma", format=1, preset=1),
    "lzma alone": _of_numcodecs("lzma", format=2, preset=1),
    "lzma either": (v2("lzma", format=0), lzma.compress),
    "lzma raw": _of_numcodecs("lzma", format=3, filters=RAW_LZMA),
    "lzma padded": (v2("lzma"), lambda data: lzma.compress(data) + b"\0" * 8),
    "crc32": _of_numcodecs("crc32"),
    "crc32 behind": _of_numcodecs("crc32", location="end"),
    "crc32c numcodecs": _of_numcodecs("crc32c"),
    "crc32c in front": _of_numcodecs("crc32c", location="start"),
    "adler32": _of_numcodecs("adler32"),
    "adler32 behind": _of_numcodecs("adler32", location="end"),
    "fletcher32": _of_numcodecs("fletcher32"),
    "jenkins": _of_numcodecs("jenkins_lookup3"),
    "jenkins seeded": _of_numcodecs("jenkins_lookup3", initval=7),
    "base64": _of_numcodecs("base64"),
    "astype": _of_numcodecs("astype", encode_dtype="<u4", decode_dtype="<u2"),
    "fixedscaleoffset": _of_numcodecs(
        "fixedscaleoffset", scale=2, offset=0, dtype="<u2", astype="<u4"
    ),
    "packbits v3": (PackBitsCodec(np.dtype("u2"), 0, 12, "first_byte"), _thirteen_bits),
    "pcodec": (PcodecCodec(np.dtype("u2")), lambda data: numcodecs_pcodec().encode(u2(data))),
} | {
    f"blosc {cname}": (BloscCodec(), _blosc(cname, shuffle))
    for cname, shuffle in [("lz4", 1), ("lz4hc", 2), ("blosclz", 2), ("zstd", 1), ("zlib", 1)]
}
DATA = {size: (np.arange(size // 2) % 7919).astype("<u2").tobytes() for size in (2, 500, 1 << 18)}
each_encoder = pytest.mark.parametrize("name", ENCODERS)


@cache
def encoded(name: str, size: int) -> bytes:
    return ENCODERS[name][1](DATA[size])


def decode(codec: ByteCodec, data: bytes, size: int, out: memoryview | None = None) -> bytes:
    return bytes(codec.decode(data, size, out, Scratch(), STAGE_A))


@each_encoder
@pytest.mark.parametrize("size", DATA)
def test_decoders_read_what_encoders_write(name: str, size: int) -> None:
    codec, stored = ENCODERS[name][0], encoded(name, size)
    assert decode(codec, stored, size) == DATA[size]
    assert decode(codec, memoryview(bytearray(stored)), size) == DATA[size]
    out = bytearray(size)
    found = codec.decode(stored, size, memoryview(out), Scratch(), STAGE_A)
    assert out == DATA[size] and found.obj is out  # type: ignore[union-attr]
    assert bytes(codec.decode_bounded(stored, size + 5, Scratch(), STAGE_A)) == DATA[size]
    for less in (0, size - 1):
        with pytest.raises(ChunkDecodeError):
            codec.decode_bounded(stored, less, Scratch(), STAGE_A)
    assert len(stored) <= codec.encoded_bound(size)


@each_encoder
@pytest.mark.parametrize("wrong", [498, 502, 2, 1 << 20])
def test_another_size_than_expected_is_an_error(name: str, wrong: int) -> None:
    codec, encode = ENCODERS[name]
    with pytest.raises(ChunkDecodeError):
        decode(codec, encode(DATA[500]), wrong)


@each_encoder
def test_truncated_and_empty_input_is_an_error(name: str) -> None:
    codec, encode = ENCODERS[name]
    stored = encode(DATA[500]).rstrip(b"\0") if "padded" in name else encode(DATA[500])
    for end in (0, 1, 3, 9, len(stored) // 2, len(stored) - 1):
        with pytest.raises((ChunkDecodeError, ChecksumError)):
            decode(codec, stored[:end], 500)


def damaged(data: st.DataObject, stored: bytes) -> bytes:
    """The payload with some bytes changed, and perhaps cut or continued."""
    changed = bytearray(stored)
    head = st.integers(0, min(40, len(changed) - 1))
    for at in data.draw(st.lists(head | st.integers(0, len(changed) - 1), max_size=4)):
        changed[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(changed)) | st.just(len(changed)))
    return bytes(changed[:end]) + data.draw(st.binary(max_size=9))


@each_encoder
@settings(max_examples=40)
@given(data=st.data())
def test_damage_is_an_error_or_as_many_bytes(name: str, data: st.DataObject) -> None:
    """With a good checksum that covers everything, any change is an error."""
    codec = ENCODERS[name][0]
    size = data.draw(st.sampled_from([500, 1 << 18]))
    stored = damaged(data, encoded(name, size))
    try:
        found = decode(codec, stored, size)
    except (ChunkDecodeError, ChecksumError):
        return
    assert len(found) == size
    if name.startswith("crc32"):
        assert stored == encoded(name, size)


@pytest.mark.parametrize("name", ["zstd", "gzip", "zlib", "blosc lz4", "lz4"])
@given(junk=st.binary(max_size=80))
def test_junk_never_crashes(name: str, junk: bytes) -> None:
    with pytest.raises(ChunkDecodeError):
        decode(ENCODERS[name][0], junk, 1 << 20)


def test_bombs_stop_before_memory_is_taken() -> None:
    huge = 1 << 39
    zstd = zstandard.ZstdCompressor().compress(bytes(1 << 20))
    for codec, stored in [
        (ZstdCodec(), zstd),
        (GZIP, gzip.compress(bytes(1 << 20))),
        (Lz4Codec(), b"\xff\xff\xff\xff" + bytes(30)),
        (BloscCodec(), bytes(numcodecs.Blosc().encode(bytes(1 << 20)))),
    ]:
        with pytest.raises(ChunkDecodeError):
            decode(codec, stored, huge)
        with pytest.raises(ChunkDecodeError):
            codec.decode_bounded(stored, 1000, Scratch(), STAGE_A)


def test_trailing_junk_is_an_error() -> None:
    for name in ("zstd", "gzip", "zlib"):
        codec, encode = ENCODERS[name]
        with pytest.raises(ChunkDecodeError):
            decode(codec, encode(DATA[500]) + b"junk", 500)


def test_chains_decode_in_reverse_and_bound_what_lies_between() -> None:
    data = DATA[1 << 18]
    inner = zlib.compress(gzip.compress(data))
    stored = inner + crc32c(inner).to_bytes(4, "little")
    chain = ByteChain((Crc32cCodec(), ZLIB, GZIP))
    assert bytes(chain.decode(stored, len(data), None, Scratch())) == data
    assert bytes(chain.decode_all(stored, len(data))) == data
    bomb = zlib.compress(bytes(1 << 22))
    with pytest.raises(ChunkDecodeError, match="zlib"):
        ByteChain((ZLIB, GZIP)).decode(bomb, 100, None, Scratch())
    three = ByteChain((ZstdCodec(), ZstdCodec(), ZstdCodec()))
    z = zstandard.ZstdCompressor().compress
    out = bytearray(len(data))
    assert three.decode(z(z(z(data))), len(data), memoryview(out), Scratch())
    assert out == data


def test_an_empty_chain_copies_only_where_asked() -> None:
    chain = ByteChain(())
    data = b"1234"
    assert chain.decode(data, 4, None, Scratch()) is data
    out = bytearray(4)
    chain.decode(data, 4, memoryview(out), Scratch())
    assert out == data
    with pytest.raises(ChunkDecodeError, match="expected 5 bytes, found 4"):
        chain.decode(data, 5, None, Scratch())


def test_checksums_are_checked() -> None:
    stored = bytearray(ENCODERS["crc32c"][1](DATA[500]))
    stored[3] ^= 1
    with pytest.raises(ChecksumError, match="crc32c"):
        decode(Crc32cCodec(), bytes(stored), 500)
    frame = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(DATA[500]))
    frame[-1] ^= 1
    with pytest.raises(ChunkDecodeError, match="zstd"):
        decode(ZstdCodec(), bytes(frame), 500)


@pytest.mark.parametrize(("dtype", "astype"), [("<i4", "i1"), ("<u2", "<u2"), ("<f4", "<f4")])
def test_delta_sums_in_the_decoded_type(dtype: str, astype: str) -> None:
    values = np.array([5, 3, 100, 7, 7], dtype)
    codec = numcodecs.Delta(dtype, astype)
    stored = codec.encode(values).tobytes()
    ours = filter_v2("delta", Site({"dtype": dtype, "astype": astype}, "x", zarr_format=2))
    assert ours is not None
    assert decode(ours, stored, values.nbytes) == codec.decode(stored).tobytes()


def test_delta_wraps_like_numpy() -> None:
    stored = np.array([200, 100, 100], "u1").tobytes()
    assert decode(DeltaCodec(np.dtype("u1"), np.dtype("u1")), stored, 3) == bytes([200, 44, 144])


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_shuffle_of_any_element_size(size: int) -> None:
    data = bytes(range(24))
    stored = bytes(numcodecs.Shuffle(size).encode(data))
    out = bytearray(24)
    ShuffleCodec(size).decode(stored, 24, memoryview(out), Scratch(), STAGE_A)
    assert out == data == decode(ShuffleCodec(size), stored, 24)
    with pytest.raises(ChunkDecodeError):
        decode(ShuffleCodec(7), stored, 24)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("pickle", {}, "'pickle' is not supported"),
        ("delta", {"dtype": "O"}, "dtype of a number"),
        ("delta", {"dtype": [1]}, "dtype of a number"),
        ("delta", {}, "dtype of a number"),
        ("shuffle", {"elementsize": 0}, "elementsize"),
        ("shuffle", {"elementsize": "4"}, "elementsize"),
        ("numcodecs.zstd", {}, "not supported"),
    ],
)
def test_unknown_codecs_are_named(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        filter_v2(name, Site(settings, "file.zarr/.zarray: filters[0]", zarr_format=2))
    assert "file.zarr/.zarray" in str(caught.value)


def test_without_memory_for_a_context_the_library_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "zstd_context", lambda: 0)
    assert decode(ZstdCodec(), encoded("zstd", 500), 500) == DATA[500]


def test_threads_do_not_share_contexts() -> None:
    stored = {name: ENCODERS[name][1](DATA[500]) for name in ("zstd", "gzip", "blosc zstd", "lz4")}
    wrong: list[str] = []

    def work() -> None:
        for _ in range(50):
            wrong.extend(
                name for name in stored if decode(ENCODERS[name][0], stored[name], 500) != DATA[500]
            )

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
