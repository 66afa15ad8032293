"""Codecs of values: the arithmetic of numcodecs and of zarr's own, checked by exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import ml_dtypes
import numcodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazytensor.errors import ChunkDecodeError, DTypeError, FormatError
from lazytensor.io.codec.bytecodec import ByteCodec
from lazytensor.io.codec.filters import TransposeCodec
from lazytensor.io.codec.packbits import PackBitsCodec
from lazytensor.io.codec.pipeline import ByteChain
from lazytensor.io.codec.rescale import ROUNDINGS
from lazytensor.io.codec.site import Site
from lazytensor.io.codec.table import (
    array_codec,
    byte_codec,
    codec_kind,
    filter_v2,
    number_codec,
)
from lazytensor.io.scratch import STAGE_A, Scratch
from lazytensor.io.zarr.dtypes import parse_dtype_v3
from lazytensor.io.zarr.fill_values import parse_fill_value


def site(settings: dict[str, Any], dtype: Any = None, zarr_format: int = 3) -> Site:
    return Site(
        settings,
        "zarr.json: codecs[0]",
        None if dtype is None else np.dtype(dtype),
        zarr_format,
        parse_dtype_v3,
        lambda value, dtype, where: parse_fill_value(value, dtype, where, zarr_format=3),
    )


def v2(name: str, **settings: Any) -> ByteCodec:
    codec = filter_v2(name, site(settings, zarr_format=2))
    assert codec is not None
    return codec


def v3(name: str, dtype: Any, **settings: Any) -> ByteCodec:
    codec = array_codec(name, site(settings, dtype))
    assert codec is not None
    return codec


def decode(codec: ByteCodec, stored: np.ndarray, dtype: Any, count: int) -> np.ndarray:
    size = count * np.dtype(dtype).itemsize
    data = codec.decode(stored.tobytes(), size, None, Scratch(), STAGE_A)
    return np.frombuffer(data, dtype)


NUMCODECS: list[tuple[str, dict[str, Any], Any]] = [
    ("delta", {"dtype": "<i4", "astype": "<i2"}, np.arange(50, dtype="i4") ** 2),
    ("delta", {"dtype": "<f4"}, np.linspace(0, 9, 40, dtype="f4")),
    ("delta", {"dtype": ">u2"}, np.arange(50, dtype=">u2") * 9),
    ("delta", {"dtype": "u1"}, np.arange(200, 255, dtype="u1")),
    ("astype", {"encode_dtype": "<i2", "decode_dtype": "<f8"}, np.arange(-9.0, 40)),
    ("astype", {"encode_dtype": ">f4", "decode_dtype": "<i4"}, np.arange(70, dtype="i4")),
    ("quantize", {"digits": 2, "dtype": "<f8", "astype": "<f4"}, np.linspace(0, 1, 33)),
    (
        "fixedscaleoffset",
        {"scale": 10, "offset": 1000, "dtype": "<f8", "astype": "u1"},
        np.linspace(1000, 1001, 10),
    ),
    (
        "fixedscaleoffset",
        {"scale": 0.1, "offset": -3.5, "dtype": "<f4", "astype": "<i2"},
        np.linspace(-500, 500, 77, dtype="f4"),
    ),
    (
        "fixedscaleoffset",
        {"scale": 3, "offset": 7, "dtype": "<f4", "astype": "<f4"},
        np.linspace(-5, 5, 77, dtype="f4"),
    ),
    (
        "fixedscaleoffset",
        {"scale": 2, "offset": 1, "dtype": "<i4", "astype": ">i2"},
        np.arange(-50, 50, dtype="i4"),
    ),
    ("packbits", {}, np.arange(29) % 3 == 0),
    ("packbits", {}, np.arange(16) % 5 == 0),
    (
        "categorize",
        {"labels": ["ab", "c", "déjà"], "dtype": "<U3", "astype": "u1"},
        np.array(["c", "x", "ab", "c", "déj"], "<U3"),
    ),
]


@pytest.mark.parametrize(("name", "settings", "values"), NUMCODECS)
def test_filters_give_the_bits_that_numcodecs_gives(
    name: str, settings: dict[str, Any], values: np.ndarray
) -> None:
    theirs = numcodecs.get_codec({"id": name, **settings})
    stored = theirs.encode(values)
    expected = theirs.decode(stored)
    found = decode(v2(name, **settings), stored, expected.dtype, len(values))
    assert found.tobytes() == expected.tobytes()
    out = bytearray(expected.nbytes)
    v2(name, **settings).decode(stored.tobytes(), len(out), memoryview(out), Scratch(), STAGE_A)
    assert out == expected.tobytes()


@pytest.mark.parametrize(("name", "settings", "values"), NUMCODECS)
def test_every_filter_checks_its_size(
    name: str, settings: dict[str, Any], values: np.ndarray
) -> None:
    codec = v2(name, **settings)
    stored = numcodecs.get_codec({"id": name, **settings}).encode(values).tobytes()
    for data in (b"", stored[:-1], stored + b"\0", stored[: len(stored) // 2]):
        with pytest.raises(ChunkDecodeError):
            codec.decode(data, values.nbytes, None, Scratch(), STAGE_A)


@pytest.mark.parametrize("name", ["delta", "astype", "fixedscaleoffset", "categorize"])
def test_nothing_decodes_to_nothing(name: str) -> None:
    settings = next(settings for found, settings, _ in NUMCODECS if found == name)
    assert not len(v2(name, **settings).decode(b"", 0, None, Scratch(), STAGE_A))


def test_long_runs_are_decoded_block_by_block() -> None:
    values = np.arange(100_003) / 8
    theirs = numcodecs.FixedScaleOffset(offset=1, scale=8, dtype="<f8", astype="<i4")
    stored = theirs.encode(values)
    settings = {"offset": 1, "scale": 8, "dtype": "<f8", "astype": "<i4"}
    assert (decode(v2("fixedscaleoffset", **settings), stored, "<f8", len(values)) == values).all()
    flags = np.arange(300_001) % 7 < 3
    stored = numcodecs.PackBits().encode(flags)
    assert (decode(v2("packbits"), stored, "?", len(flags)) == flags).all()


def test_lossy_codecs_are_nothing_to_decode() -> None:
    assert filter_v2("bitround", site({"keepbits": 3}, zarr_format=2)) is None
    assert array_codec("numcodecs.bitround", site({"keepbits": 3}, "f4")) is None
    assert filter_v2("quantize", site({"digits": 1, "dtype": "<f4"}, zarr_format=2)) is None
    same = {"encode_dtype": "<f4", "decode_dtype": "<f4"}
    assert filter_v2("astype", site(same, zarr_format=2)) is None


def test_sizes_follow_backwards_from_the_decoded_size() -> None:
    chain = ByteChain((
        v2("zstd"),
        v2("delta", dtype="<i4", astype="i1"),
        v2("fixedscaleoffset", scale=2, offset=0, dtype="<f8", astype="<i4"),
    ))  # fmt: skip
    assert chain.sizes(80) == ((10, True), (40, True), (80, True))
    values = np.arange(10) / 2
    stored = np.diff(np.arange(10), prepend=0).astype("i1")
    data = numcodecs.Zstd().encode(stored)
    assert (np.frombuffer(chain.decode(data, 80, None, Scratch())) == values).all()
    with pytest.raises(ChunkDecodeError, match="zstd: expected 10 decoded bytes"):
        chain.decode(numcodecs.Zstd().encode(stored[:9]), 80, None, Scratch())
    with pytest.raises(ChunkDecodeError, match="81 bytes are no whole number of float64"):
        chain.sizes(81)
    unknown = ByteChain((v2("zlib"), v2("bz2"), v2("crc32"), v2("delta", dtype="<i4")))
    assert [exact for _, exact in unknown.sizes(400)] == [False, True, True, True]


def test_transposing_after_an_ordered_codec() -> None:
    values = np.arange(24, dtype="u2").reshape(2, 3, 4)
    codec = TransposeCodec((2, 3, 4), (2, 0, 1), 2)
    stored = np.ascontiguousarray(values.transpose(2, 0, 1))
    assert (decode(codec, stored, "u2", 24).reshape(2, 3, 4) == values).all()
    with pytest.raises(ChunkDecodeError, match="expected 48 bytes"):
        decode(codec, stored[:1], "u2", 24)


def packed_by_hand(patterns: list[int], bits: int, padding: str) -> bytes:
    number = sum(pattern << (bits * i) for i, pattern in enumerate(patterns))
    nbytes = -(-bits * len(patterns) // 8)
    left = bytes([8 * nbytes - bits * len(patterns)])
    data = number.to_bytes(nbytes, "little")
    return {"none": data, "first_byte": left + data, "last_byte": data + left}[padding]


@pytest.mark.parametrize("padding", ["none", "first_byte", "last_byte"])
@pytest.mark.parametrize(
    ("dtype", "first", "last"),
    [
        *[("bool", None, None), ("uint8", None, None), ("uint16", 2, 12), ("int16", 1, 10)],
        *[("int32", None, 4), ("int64", 3, 60), ("uint64", None, None), ("float32", 9, None)],
        *[("float16", None, None), ("complex64", 20, 31), ("int4", None, None)],
        *[("uint4", 1, 2), ("int2", None, None), ("int4", 0, 1), ("bfloat16", 7, 15)],
        *[("float4_e2m1fn", None, None), ("float6_e3m2fn", None, None), ("int8", 3, 3)],
    ],
)
def test_packbits_of_any_width(
    dtype: str, first: int | None, last: int | None, padding: str
) -> None:
    kind = parse_dtype_v3(dtype, "zarr.json")
    config = {"first_bit": first, "last_bit": last, "padding_encoding": padding}
    codec = number_codec("packbits", site(config, kind))
    assert isinstance(codec, PackBitsCodec)
    bits = codec.last - codec.first + 1
    components = 2 if kind.kind == "c" else 1
    width = 8 * kind.itemsize // components
    known = {"bool": 1, "int2": 2, "int4": 4, "uint4": 4}.get(dtype, width)
    rng = np.random.default_rng(bits)
    patterns = [int(n) % (1 << bits) for n in rng.integers(0, 1 << 62, 37 * components)]

    def placed(pattern: int) -> int:
        """Bits at their place; above them the sign of signed integers."""
        negative = dtype.startswith("int") and pattern >> (bits - 1)
        sign = ((1 << known) - (1 << (codec.last + 1))) if negative else 0
        return (pattern << codec.first) | sign

    expected = b"".join(placed(p).to_bytes(width // 8, "little") for p in patterns)
    stored = packed_by_hand(patterns, bits, padding)
    assert bytes(codec.decode(stored, len(expected), None, Scratch(), STAGE_A)) == expected
    for wrong in (stored[:-1], stored + b"\0", b""):
        with pytest.raises(ChunkDecodeError):
            codec.decode(wrong, len(expected), None, Scratch(), STAGE_A)


def test_packbits_of_many_blocks_and_wrong_padding() -> None:
    codec = number_codec("packbits", site({"last_bit": 4}, "i2"))
    values = (np.arange(40_000) % 32 - 16).astype("<i2")
    bits = np.unpackbits(values.view("u1").reshape(-1, 2), axis=1, bitorder="little")[:, :5]
    stored = np.packbits(bits, bitorder="little")
    assert (decode(codec, stored, "<i2", len(values)) == values).all()
    for name, stored_bytes in [("first_byte", b"\x03\x1f"), ("last_byte", b"\x1f\x09")]:
        padded = number_codec("packbits", site({"padding_encoding": name, "last_bit": 2}, "u1"))
        with pytest.raises(ChunkDecodeError, match="padding"):
            padded.decode(stored_bytes, 1, None, Scratch(), STAGE_A)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "u8", "i8"])
def test_scale_offset_of_integers_is_exact(dtype: str) -> None:
    info = np.iinfo(dtype)
    codec = v3("scale_offset", dtype, scale=3, offset=5)
    stored = np.array([0, 3, 9, 120], dtype)
    assert decode(codec, stored, dtype, 4).tolist() == [5, 6, 8, 45]
    with pytest.raises(ChunkDecodeError, match="multiple of 3"):
        decode(codec, np.array([4], dtype), dtype, 1)
    plain = v3("scale_offset", dtype, offset=1)
    with pytest.raises(ChunkDecodeError, match="do not fit"):
        decode(plain, np.array([0, info.max], dtype), dtype, 2)
    if info.min:
        turned = v3("scale_offset", dtype, scale=-1)
        assert decode(turned, np.array([info.max], dtype), dtype, 1).tolist() == [-info.max]
        with pytest.raises(ChunkDecodeError, match="do not fit"):
            decode(turned, np.array([info.min], dtype), dtype, 1)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ml_dtypes.bfloat16])
def test_scale_offset_of_floats_stays_in_their_type(dtype: Any) -> None:
    stored = np.array([0, 1, -3.5, 1e4, np.inf, np.nan]).astype(dtype)
    found = decode(v3("scale_offset", dtype, scale=0.1, offset=2.5), stored, dtype, 6)
    scale, offset = np.array([0.1, 2.5]).astype(dtype)
    with np.errstate(all="ignore"):
        expected = stored / scale + offset
    assert expected.dtype == found.dtype and found.tobytes() == expected.tobytes()


def cast(
    values: Any, source: Any, target: Any, rounding: str = "nearest-even", **settings: Any
) -> np.ndarray:
    """What the decoder of an array of ``target`` stored as ``source`` makes of values."""
    name = np.dtype(source).name
    codec = v3("cast_value", target, data_type=name, rounding=rounding, **settings)
    return decode(codec, np.array(values, source), target, len(values))


ROUND_BY_FRACTIONS = {
    "nearest-even": round,
    "towards-zero": math.trunc,
    "towards-positive": math.ceil,
    "towards-negative": math.floor,
    "nearest-away": lambda x: int(math.copysign(math.floor(abs(x) + Fraction(1, 2)), x)),
}
HALVES = [0.0, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 126.5, -128.5, 3.25, 3.75, 0.49999999999999994]


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("target", ["i1", "i4", "u8", "i8"])
def test_casting_floats_to_integers_rounds_as_named(target: str, rounding: str) -> None:
    info = np.iinfo(target)
    values = [
        x for x in HALVES if info.min <= ROUND_BY_FRACTIONS[rounding](Fraction(x)) <= info.max
    ]
    expected = [ROUND_BY_FRACTIONS[rounding](Fraction(x)) for x in values]
    assert cast(values, "f8", target, rounding).tolist() == expected


FLOATS = {"f2": (11, -24), "f4": (24, -149), "bfloat16": (8, -133), "float8_e4m3fn": (4, -9)}


def round_by_fractions(x: float, name: str, rounding: str) -> Fraction:
    """``x`` rounded to the precision of a float type, wherever that stands."""
    precision, least = FLOATS[name]
    exponent = max(math.frexp(x)[1] - precision, least)
    unit = Fraction(2) ** exponent
    return ROUND_BY_FRACTIONS[rounding](Fraction(x) / unit) * unit


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("name", FLOATS)
@settings(max_examples=60)
@given(data=st.data())
def test_casting_floats_to_floats_rounds_once(
    name: str, rounding: str, data: st.DataObject
) -> None:
    precision, _ = FLOATS[name]
    near = st.builds(
        lambda n, bump, e: (n + bump) * 2.0**e,
        st.integers(-(1 << precision), 1 << precision),
        st.sampled_from([0.0, 0.5, 0.5 + 2.0**-28, 0.5 - 2.0**-28, 2.0**-20, 0.25]),
        st.integers(-precision - 8, 8 - precision),
    )
    x = data.draw(near)
    dtype = np.dtype(name if name.startswith("f") and len(name) == 2 else getattr(ml_dtypes, name))
    found = cast([x], "f8", dtype, rounding)
    assert Fraction(float(found[0])) == round_by_fractions(x, name, rounding)


def test_values_out_of_range() -> None:
    assert cast([300, -5], "i2", "u1", out_of_range="clamp").tolist() == [255, 0]
    for values, source, target in [
        ([300], "i2", "u1"),
        ([-1], "i8", "u8"),
        ([1 << 63], "u8", "i8"),
        ([2.0**63], "f8", "i8"),
        ([255.5], "f8", "u1"),
        ([np.inf], "f4", "i4"),
        ([1e300], "f8", "f4"),
        ([70_000], "u4", "f2"),
        ([9], "i1", ml_dtypes.int4),
        ([6.5], "f4", ml_dtypes.float4_e2m1fn),
        ([np.inf], "f4", ml_dtypes.float8_e4m3fn),
    ]:
        with pytest.raises(ChunkDecodeError, match="cannot be held"):
            cast(values, source, target)
    for target in ("i4", ml_dtypes.float4_e2m1fn):
        with pytest.raises(ChunkDecodeError, match="nan cannot be held"):
            cast([np.nan], "f8", target, out_of_range="clamp")
    assert cast([2.0**63, -np.inf, 7], "f8", "i8", out_of_range="clamp").tolist() == [
        (1 << 63) - 1,
        -(1 << 63),
        7,
    ]
    most = float(np.finfo("f4").max)
    assert cast([1e300, -1e300, np.inf, 1], "f8", "f4", out_of_range="clamp").tolist() == [
        *(most, -most, np.inf, 1.0),
    ]
    wide = cast([np.inf, 1e9], "f8", ml_dtypes.float8_e4m3fn, out_of_range="clamp")
    assert wide.astype(float).tolist() == [448.0, 448.0]


def test_wrapping_belongs_to_the_encoded_type() -> None:
    """Decoding to an array of integers that was stored as wider ones wraps, if it says so."""
    wrap = {"out_of_range": "wrap"}
    values = [300, -1, 255, -256 - 7]
    assert cast(values, "i2", "u1", **wrap).tolist() == [v % 256 for v in values]
    assert cast(values, "i2", "i1", **wrap).tolist() == [(v + 128) % 256 - 128 for v in values]
    small = cast(values, "i2", ml_dtypes.int4, **wrap).astype(int).tolist()
    assert small == [(v + 8) % 16 - 8 for v in values]
    floats = v3("cast_value", "f8", data_type="int32", out_of_range="wrap")
    assert decode(floats, np.array([-3], "i4"), "f8", 1).tolist() == [-3.0]


def test_mapped_scalars_are_not_cast() -> None:
    mapped = {"decode": [[255, "NaN"], [0, "-Infinity"]], "encode": [["NaN", 255]]}
    found = cast([1, 255, 0, 7], "u1", "f4", scalar_map=mapped)
    assert found[[0, 3]].tolist() == [1, 7] and np.isnan(found[1]) and found[2] == -np.inf
    back = {"decode": [["NaN", 9], ["Infinity", 8], [-1.5, 7]]}
    assert cast([np.nan, np.inf, -1.5, 2.6], "f4", "u1", scalar_map=back).tolist() == [9, 8, 7, 3]


SITE = "zarr.json: codecs[0]"


@pytest.mark.parametrize(
    ("name", "dtype", "config", "message"),
    [
        ("cast_value", "f4", {}, "data_type"),
        ("cast_value", "f4", {"data_type": "bool"}, "integers or floats in data_type"),
        ("cast_value", "S3", {"data_type": "int8"}, "integers or floats in the array"),
        ("cast_value", "f4", {"data_type": "int8", "rounding": "up"}, "rounding"),
        ("cast_value", "f4", {"data_type": "float16", "out_of_range": "wrap"}, "only integers"),
        ("cast_value", "f4", {"data_type": "int8", "more": 1}, "more: this setting is unknown"),
        ("cast_value", "f4", {"data_type": "int8", "scalar_map": {"decode": [1]}}, "pairs"),
        ("cast_value", "f4", {"data_type": "int8", "scalar_map": {"decode": [["x", 1]]}}, "decode"),
        ("cast_value", "f4", {"data_type": "int64", "rounding": "towards-zero"}, "not supported"),
        ("scale_offset", "f4", {"scale": 0}, "scale: expected anything but zero"),
        ("scale_offset", "i4", {"scale": 0.5}, "scale"),
        ("scale_offset", "c8", {"scale": 2}, "integers or floats"),
        ("numcodecs.delta", "i4", {"dtype": "<i2"}, "decodes to int16; expected int32"),
        ("numcodecs.delta", "i4", {"dtype": "O"}, "dtype of a number"),
        ("numcodecs.delta", "M8[s]", {}, "dtype of a number"),
        ("numcodecs.quantize", "V3", {}, "dtype of a number"),
        ("numcodecs.delta", "i4", {"dtype": "f4,f4"}, "dtype of a number"),
        ("numcodecs.fixedscaleoffset", "f4", {"scale": 1}, "offset: expected a number"),
        ("numcodecs.fixedscaleoffset", "f4", {"scale": 10**400, "offset": 1}, "too large"),
        ("numcodecs.astype", "f4", {"encode_dtype": "c8"}, "float32 can hold"),
        ("numcodecs.packbits", "u1", {}, "expected an array of bool"),
        ("numcodecs.zfpy", "f4", {}, "its package breaks numcodecs"),
        ("delta", "i4", {"dtype": "<i4"}, "known are"),
    ],
)
def test_settings_of_array_codecs_are_checked(
    name: str, dtype: str, config: dict[str, Any], message: str
) -> None:
    with pytest.raises((FormatError, DTypeError), match=message) as caught:
        array_codec(name, site(config, dtype))
    assert SITE in str(caught.value)


@pytest.mark.parametrize(
    ("name", "dtype", "config", "message"),
    [
        ("packbits", "S3", {}, "array of numbers"),
        ("packbits", "u2", {"first_bit": 5, "last_bit": 4}, "last_bit"),
        ("packbits", "u2", {"last_bit": 16}, "last_bit"),
        ("packbits", "u2", {"padding_encoding": "end"}, "padding_encoding"),
        ("packbits", "u2", {"bits": 3}, "unknown"),
        ("numcodecs.pcodec", "c8", {}, "not complex64"),
        ("numcodecs.pcodec", ">u2", {}, "byte order"),
    ],
)
def test_settings_of_number_codecs_are_checked(
    name: str, dtype: str, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        number_codec(name, site(config, dtype))
    assert SITE in str(caught.value)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("pickle", {}, "'pickle' is not supported: reading a pickle can run any program"),
        ("json2", {}, "Python objects"),
        ("msgpack2", {}, "Python objects"),
        ("vlen-bytes", {}, "only as Python objects"),
        ("no-such", {}, "'no-such' is not supported; known are"),
        ("lzma", {"format": 4}, "format"),
        ("lzma", {"format": 3}, "filters"),
        ("lzma", {"format": 3, "filters": [{"id": 99}]}, "filters of a raw stream"),
        ("lzma", {"format": 3, "filters": [{"id": 33, "dict_size": 1 << 30}]}, "dictionaries"),
        ("lzma", {"format": 3, "filters": [{"id": "x"}]}, "integer settings"),
        ("crc32", {"location": "middle"}, "location"),
        ("jenkins_lookup3", {"initval": -1}, "initval"),
        ("jenkins_lookup3", {"prefix": [1, 2]}, "prefix"),
        ("categorize", {"labels": ["a"], "dtype": "|O"}, "dtype of strings"),
        ("categorize", {"labels": "a", "dtype": "<U3"}, "list of strings"),
        ("categorize", {"labels": ["a"] * 1000, "dtype": "<U99999"}, "bytes of labels"),
        ("delta", {}, "dtype of a number"),
    ],
)
def test_settings_of_filters_are_checked(name: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        filter_v2(name, site(config, zarr_format=2))
    assert SITE in str(caught.value)


def test_names_of_v3_are_those_of_numcodecs_or_its_own() -> None:
    assert codec_kind("numcodecs.crc32", site({})) == "bytes -> bytes"
    assert codec_kind("packbits", site({})) == "array -> bytes"
    assert codec_kind("numcodecs.packbits", site({})) == "array -> array"
    shuffle = byte_codec("numcodecs.shuffle", {}, "", zarr_format=3, dtype=np.dtype("f8"))
    assert shuffle.element_size == 8  # type: ignore[attr-defined]
    for name in ("numcodecs.gzip2", "numcodecs.", "", "sharding"):
        with pytest.raises(FormatError, match="not supported"):
            codec_kind(name, site({}))
