"""Packets of arrays, quantized arrays and dicts: read as they were written, written as expected."""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lazytensor as lt
from lazytensor.errors import ChecksumError, DTypeError, FormatError, ShapeError
from lazytensor.io.tenso.decode import decode_body, unpack_nibbles
from lazytensor.io.tenso.encode import (
    Encoded,
    Options,
    dense_parts,
    encode,
    pack_nibbles,
    quantized_parts,
)
from lazytensor.io.tenso.outline import Dense, drive, outline
from lazytensor.plan.quantization import QuantizedArray, same_quantized
from tests.io.tenso.packets import DTYPES, SHAPES, VALID, VECTORS, digest, distinct, same

tenso = lt.io.tenso


def check(found: Any, expected: dict[str, Any]) -> None:
    kind = expected["kind"]
    if kind == "dense":
        assert (found.dtype.name, list(found.shape)) == (expected["dtype"], expected["shape"])
        assert digest(found) == expected["sha256"]
    elif kind == "bundle":
        assert list(found) == list(expected["entries"])
        for key, entry in expected["entries"].items():
            check(found[key], entry)
    elif kind == "sparse":
        assert (found.format, list(found.shape)) == (expected["format"], expected["shape"])
        assert digest(found.toarray()) == expected["dense_sha256"]
    elif kind == "quantized":
        assert (found.dtype, list(found.shape)) == (expected["qdtype"], expected["shape"])
        assert found.scales.tobytes().hex() == expected["scales_hex"]
        assert found.zero_points.tobytes().hex() == expected["zero_points_hex"]
        assert digest(found.dequantize()) == expected["dequantized"]["sha256"]
    else:
        assert kind == "string"
        assert list(found) == expected["values"]


@pytest.mark.parametrize("vector", VALID, ids=lambda v: v["file"])
def test_what_the_package_wrote_is_read_and_written_again(vector: dict[str, Any]) -> None:
    data = (VECTORS / vector["file"]).read_bytes()
    if vector["expected"]["kind"] == "sequence":
        found = list(tenso.iter_packets(data))
        for one, expected in zip(found, vector["expected"]["items"], strict=True):
            check(one, {"kind": "dense", **expected})
        return
    found = tenso.loads(data)
    check(found, vector["expected"])
    options = vector["options"] or {"check_integrity": "string" in vector["file"]}
    again = tenso.dumps(found, **options)
    check(tenso.loads(again), vector["expected"])
    if data[4] == 4:  # the only version that is written
        assert bytes(again) == data


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("integrity", [False, True])
@pytest.mark.parametrize("compress", [False, True])
def test_every_dtype_and_shape(
    dtype: Any, shape: tuple[int, ...], integrity: bool, compress: bool
) -> None:
    values = distinct(dtype, shape)
    data = tenso.dumps(values, check_integrity=integrity, compress=compress)
    assert same(tenso.loads(data), values)
    info = tenso.packet_info(data)
    assert (info["dtype"], info["shape"], info["nbytes"], info["packet_nbytes"]) == (
        values.dtype.name, shape, values.nbytes, len(data),
    )  # fmt: skip
    assert (info["integrity"], info["compression"]) == (integrity, "lz4" if compress else None)


@pytest.mark.parametrize("exponent", range(22))
def test_bodies_begin_where_the_alignment_says(exponent: int) -> None:
    values = np.arange(5, dtype=np.uint16)
    data = tenso.dumps(values, alignment=1 << exponent, check_integrity=True)
    assert tenso.packet_info(data)["offset"] % (1 << exponent) == 0
    assert same(tenso.loads(data), values)


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.int16, np.float32, np.complex64, np.bool_]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    ),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 2, 8, 64, 256]),
    st.booleans(),
)
def test_round_trip(
    values: np.ndarray, integrity: bool, compress: bool, alignment: int, copy: bool
) -> None:
    options = {"check_integrity": integrity, "compress": compress, "alignment": alignment}
    found = tenso.loads(tenso.dumps(values, **options), copy=copy)
    assert same(found, values)
    assert found.flags.aligned and found.flags.writeable is copy


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24).reshape(4, 6).T,
        np.arange(24).reshape(4, 6)[::-2, 1::3],
        np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
        np.arange(6, dtype=">i4"),
        np.arange(6, dtype=">c16").reshape(2, 3).T,
        np.broadcast_to(np.float32(2), (3, 2)),
        np.float64(2.5),
        lt.asarray([[1, 2], [3, 4]]) + 1,
    ],
    ids=["T", "steps", "fortran", "big endian", "big complex", "broadcast", "scalar", "lazy"],
)  # fmt: skip
def test_values_count_not_how_they_lie(array: Any) -> None:
    expected = np.ascontiguousarray(array).astype(np.asarray(array).dtype.newbyteorder("="))
    found = tenso.loads(tenso.dumps(array))
    assert found.dtype.isnative and found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected.reshape(np.shape(array)))


def test_strict_refuses_what_would_be_copied() -> None:
    array = np.arange(6).reshape(2, 3)
    assert same(tenso.loads(tenso.dumps(array, strict=True)), array)
    for wrong in (array.T, {"a": {"b": array.T}}):
        with pytest.raises(ValueError, match="not C-contiguous"):
            tenso.dumps(wrong, strict=True)


def test_masks_have_no_place() -> None:
    masked = np.ma.masked_equal([1, 2, 3], 2)
    with pytest.raises(TypeError, match=r"mask.*\.filled"):
        tenso.dumps({"m": masked})


@pytest.mark.parametrize(
    "wrong",
    [[1, 2], 3, "text", None, object(), np.array([None]), np.array(["2020"], "M8[D]"),
     np.zeros(2, [("a", "i4")]), np.array([b"a"]), np.zeros(1, np.longdouble), {1: np.ones(1)},
     {"a": [1]}],
    ids=repr,
)  # fmt: skip
def test_what_packets_do_not_hold(wrong: Any) -> None:
    with pytest.raises(DTypeError):
        tenso.dumps(wrong)


def test_what_is_too_large_is_refused_before_anything_is_written() -> None:
    one = np.zeros((), np.uint8)
    file = io.BytesIO()
    many = np.broadcast_to(one, (1_000_000_001,))
    for wrong in (many, {"a": one, "b": many}, {str(i): one for i in range(256)}):
        with pytest.raises(ShapeError):
            tenso.dump(wrong, file)
    # Four of these need more than the 32 bits that an entry has for its size.
    large = {str(i): np.broadcast_to(np.uint64(), (200_000_000,)) for i in range(3)}
    with pytest.raises(ShapeError, match="4 GiB"):
        tenso.dump({"inner": large}, file)
    nested: Any = one
    for _ in range(64):
        nested = {"k": nested}
    assert list(tenso.loads(tenso.dumps(nested))) == ["k"]
    with pytest.raises(ShapeError, match="64 deep"):
        tenso.dump({"k": nested}, file)
    assert file.getvalue() == b""


@pytest.mark.parametrize("alignment", [0, -64, 3, 1 << 33])
def test_alignments_are_powers_of_two(alignment: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        tenso.dumps(np.ones(1), alignment=alignment)


def test_views_of_aligned_buffers_and_copies_of_others() -> None:
    values = np.arange(100.0)
    data = tenso.dumps(values, check_integrity=True)
    assert tenso.is_aligned(data) and not tenso.is_aligned(data[1:], 2)
    view = tenso.loads(data)
    assert np.shares_memory(view, np.frombuffer(data, np.uint8)) and not view.flags.writeable
    copied = tenso.loads(data, copy=True)
    copied += 1
    assert same(tenso.loads(data), values)
    shifted = (b"x" + bytes(data))[1:]
    odd = memoryview(b"x" + shifted)[1:]
    assert tenso.loads(odd).flags.aligned and same(tenso.loads(odd), values)


def test_any_buffer_is_read_in_its_order() -> None:
    values = np.arange(5, dtype=np.uint16)
    data = tenso.dumps(values)
    room = np.zeros(2 * len(data), np.uint8)
    room[::2] = np.frombuffer(data, np.uint8)
    for buffer in (bytes(data), bytearray(data), room[::2], np.frombuffer(data, np.uint8)[:]):
        assert same(tenso.loads(buffer), values)
    backwards = np.frombuffer(bytes(data)[::-1], np.uint8)[::-1]
    assert same(tenso.loads(backwards), values)
    assert same(tenso.loads(bytes(data) + b"more"), values)


def test_bundles_nest_and_keep_their_order() -> None:
    values = {
        "z": np.arange(3),
        "": np.float32([1.5]),
        "deep": {"é/日本": np.zeros((0, 2)), "empty": {}},
        "a": np.array(True),
    }
    for compress in (False, True):
        found = tenso.loads(tenso.dumps(values, compress=compress, check_integrity=True))
        assert list(found) == list(values) and list(found["deep"]) == ["é/日本", "empty"]
        assert same(found["z"], values["z"]) and found["a"].shape == ()
        assert found["deep"]["empty"] == {}
        info = tenso.packet_info(tenso.dumps(values, compress=compress))
        assert info["entries"]["deep"]["entries"]["é/日本"]["shape"] == (0, 2)
    assert all(a.flags.aligned for a in (found["z"], found[""]))


def test_bytes_other_than_0_are_true() -> None:
    data = bytearray(tenso.dumps(np.array([True, False, True, True])))
    data[64:68] = bytes((2, 0, 255, 1))
    assert tenso.loads(data).tobytes() == bytes((1, 0, 1, 1))
    packet = outline_of(data)
    out = np.empty(4, np.bool_)
    decode_body(packet, bytes(data[64:]), out, verify=True)
    assert out.tobytes() == bytes((1, 0, 1, 1))


def outline_of(data: Any) -> Dense:
    view = memoryview(data)
    found = drive(outline(len(view)), lambda start, n: view[start : start + n])
    assert isinstance(found, Dense)
    return found


@pytest.mark.parametrize("compress", [False, True])
def test_bodies_are_decoded_into_any_array(compress: bool) -> None:
    values = np.arange(12, dtype=np.int16).reshape(3, 4)
    data = tenso.dumps(values, compress=compress, check_integrity=True)
    packet = outline_of(data)
    stored = data[packet.body[0] : packet.stop]
    room = np.zeros((6, 8), np.int16)
    for out in (np.empty((3, 4), np.int16), room[::2, ::2], np.empty((4, 3), np.int16).T):
        assert decode_body(packet, stored, out, verify=True) is out
        np.testing.assert_array_equal(out, values)
    with pytest.raises(FormatError, match="stored bytes"):
        decode_body(packet, stored[1:], verify=True)
    damaged = bytearray(stored)
    damaged[8] ^= 1
    with pytest.raises(ChecksumError, match="XXH3"):
        decode_body(packet, damaged, verify=True, where="file")


def test_versions_2_and_3_have_a_shorter_header() -> None:
    body = np.arange(6, dtype=np.float32)
    for version in (2, 3):
        head = struct.pack("<4sBBBBII", b"TNSO", version, 1, 1, 2, 2, 3)
        data = head.ljust(64, b"\0") + body.tobytes()
        assert same(tenso.loads(data), body.reshape(2, 3))
        entry = struct.pack("<I", 1) + b"k" + struct.pack("<I", len(data)) + data
        bundle = struct.pack("<4sBBBB", b"TNSO", version, 0x10, 0, 1) + entry
        assert same(tenso.loads(bundle)["k"], body.reshape(2, 3))


QUANTIZED = [
    QuantizedArray(np.int8([[-128, 0, 127]]), np.float32([0.5]), np.float32([3]), "qint8"),
    QuantizedArray(
        np.uint8([[0, 255], [1, 2]]), np.float32([1, 2]), np.float32([0, 9]), "quint8",
        "per_channel", 1,
    ),
    QuantizedArray(
        np.int8([-8, 7, 0, -1, 3]), np.float32([1, 2, 3]), np.float32([0, 1, 2]), "qint4",
        "per_group", 0, 2,
    ),
    QuantizedArray(np.uint8([[15, 1], [0, 8]]), np.float32([1]), np.float32([-1]), "quint4"),
    QuantizedArray(np.zeros((0, 2), np.int8), np.float32([1]), np.float32([0]), "qint4"),
]  # fmt: skip


@pytest.mark.parametrize("q", QUANTIZED, ids=lambda q: f"{q.dtype}-{q.scheme}-{q.data.shape}")
@pytest.mark.parametrize("alignment", [1, 64, 128])
def test_quantized_arrays(q: QuantizedArray, alignment: int) -> None:
    data = tenso.dumps(q, check_integrity=True, alignment=alignment)
    assert b"".join(quantized_parts(q, integrity=True, alignment=alignment)) == data
    for copy in (False, True):
        assert same_quantized(tenso.loads(data, copy=copy), q)
    info = tenso.packet_info(data)
    assert (info["dtype"], info["scheme"], info["parameters"]) == (q.dtype, q.scheme, len(q.scales))
    assert same_quantized(tenso.loads(tenso.dumps({"q": q}))["q"], q)
    for at in (18 + 4 * q.data.ndim, len(data) - 1):  # group size or first scale; the checksum
        damaged = bytearray(data)
        damaged[at + 6 if at < len(data) - 1 else at] ^= 1
        with pytest.raises(ChecksumError):
            tenso.loads(damaged)


def test_the_axis_means_something_to_channels_only() -> None:
    data = bytearray(tenso.dumps(QUANTIZED[3]))
    data[10 + 4 * 2 + 1] = 200
    assert same_quantized(tenso.loads(data), QUANTIZED[3])


def test_the_axis_of_channels_counts_from_the_end_too() -> None:
    q = QUANTIZED[1]._replace(axis=-1)
    assert same_quantized(tenso.loads(tenso.dumps(q)), QUANTIZED[1])


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (QUANTIZED[0]._replace(scales=np.float32([1, 2])), "1 scales and zero points, not 2"),
        (QUANTIZED[1]._replace(axis=2), "axis 2"),
        (QUANTIZED[2]._replace(group_size=0), "group_size"),
        (QUANTIZED[2]._replace(scheme="per_row"), "per_row"),
    ],
)
def test_quantized_arrays_that_are_none(wrong: QuantizedArray, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        tenso.dumps(wrong)


def test_quantized_values_are_of_their_dtype() -> None:
    with pytest.raises(DTypeError, match="int8"):
        tenso.dumps(QUANTIZED[0]._replace(data=np.zeros((1, 3), np.uint8)))


@given(st.lists(st.integers(-8, 7), max_size=20), st.integers(0, 19), st.booleans())
def test_nibbles(values: list[int], start: int, signed: bool) -> None:
    data = np.array(values, np.int8)
    if not signed:
        data = (data & 15).view(np.uint8)
    packed = np.empty(-(-len(values) // 2), np.uint8)
    pack_nibbles(data, packed)
    start = min(start, len(values))
    for stop in range(start, len(values) + 1):
        out = np.empty(stop - start, data.dtype)
        unpack_nibbles(packed, start, stop - start, signed, out)
        np.testing.assert_array_equal(out, data[start:stop])
    if len(values) % 2:
        assert packed[-1] < 16


def test_the_layout_before_0_23_is_read_if_asked_for() -> None:
    data = (VECTORS / "malformed" / "quant_v022_layout.tenso").read_bytes()
    with pytest.raises(FormatError, match="legacy=True"):
        tenso.loads(data)
    q = tenso.loads(data, legacy=True)
    assert q.scheme == "per_channel" and q.scales.size == q.shape[q.axis]
    assert same_quantized(tenso.loads(tenso.dumps(q)), q)


def test_files_hold_packets_back_to_back(tmp_path: Path) -> None:
    values = [np.arange(5), {"a": np.ones(2), "b": QUANTIZED[0]}, np.zeros((2, 0))]
    path = tmp_path / "x.tenso"
    with open(path, "wb") as file:
        file.write(b"HEAD")
        for one in values:
            tenso.dump(one, file, check_integrity=True)
    for mode in (False, True):
        with open(path, "rb") as file:
            assert file.read(4) == b"HEAD"
            first, second, third = (tenso.load(file, mmap_mode=mode) for _ in values)
            assert same(first, values[0]) and first.flags.writeable is not mode
            assert same(second["a"], np.ones(2)) and second["a"].flags.aligned
            assert third.shape == (2, 0)
            with pytest.raises(FormatError, match=r"x\.tenso.*found the end"):
                tenso.load(file, mmap_mode=mode)
    tenso.dump(values[0], path)
    assert same(tenso.load(path), values[0])
    changed = tenso.load(path, mmap_mode=True, copy=True)
    changed[0] = 9
    assert same(tenso.load(path), values[0])


@pytest.mark.parametrize("buffering", [0, -1])
def test_what_is_dumped_is_what_dumps_gives(tmp_path: Path, buffering: int) -> None:
    large = np.arange(5_000_000, dtype=np.float32)
    path = tmp_path / "x.tenso"
    for options in ({}, {"check_integrity": True}, {"compress": True, "check_integrity": True}):
        with open(path, "wb", buffering=buffering) as file:
            tenso.dump(large, file, **options)
        assert path.read_bytes() == tenso.dumps(large, **options)
        assert same(tenso.load(path), large)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(ChecksumError, match=r"x\.tenso"):
        tenso.load(path)
    path.write_bytes(data[:-100])
    with pytest.raises(FormatError, match="truncated"):
        tenso.load(path)


@pytest.mark.parametrize(
    "shape", [(3_000_000,), (2000, 1500), (1, 3, 1_000_000), (7, 11, 13, 2999)]
)
def test_large_values_that_lie_apart_are_copied_in_pieces(shape: tuple[int, ...]) -> None:
    whole = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    for apart in (whole.T, whole[..., ::-1], whole.astype(">f4")):
        expected = np.ascontiguousarray(apart, "<f4")
        parts = list(tenso.iter_dumps(apart, check_integrity=True))
        assert b"".join(parts) == tenso.dumps(expected, check_integrity=True)
        assert max(map(len, parts)) <= 4 << 20


def test_parts_are_views_of_the_values() -> None:
    values = np.arange(3_000_000, dtype=np.float32)
    parts = dense_parts(values, integrity=True)
    assert b"".join(parts) == tenso.dumps(values, check_integrity=True)
    assert all(np.shares_memory(np.frombuffer(part, np.uint8), values) for part in parts[1:-1])
    assert b"".join(tenso.iter_dumps(values)) == tenso.dumps(values)
    with pytest.raises(DTypeError):
        tenso.iter_dumps([1])
    packet = encode({"a": values}, Options())
    assert isinstance(packet, Encoded) and packet.nbytes == len(tenso.dumps({"a": values}))


def test_sparse_says_what_it_takes() -> None:
    with pytest.raises(ValueError, match="sparse="):
        tenso.loads(tenso.dumps(np.ones(1)), sparse="torch")


def test_the_namespace_is_there_at_once() -> None:
    assert lt.io.tenso.dumps is tenso.dumps
    assert "tenso" in dir(lt.io)
    with pytest.raises(AttributeError, match="nothing"):
        lt.io.nothing  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(tenso.StringTensor(["a"]))) == tenso.StringTensor(["a"])
