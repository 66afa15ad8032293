"""Settings of codecs of values, checked once when the metadata is read.

numcodecs' codecs name the dtypes that they convert between. In v2 those are how bytes are looked
at; in v3 the values have a type of their own, and a codec that decodes to another one is damage.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.codec.bytecodec import ByteCodec
from lazytensor.io.codec.filters import (
    AsTypeCodec,
    CategoriesCodec,
    DeltaCodec,
    FixedScaleOffsetCodec,
    ValueCodec,
)
from lazytensor.io.codec.optional import PCODEC_TYPES, PcodecCodec
from lazytensor.io.codec.packbits import PADDING_PLACES, FlagsCodec, PackBitsCodec, bits_of
from lazytensor.io.codec.rescale import (
    OUT_OF_RANGE,
    ROUNDINGS,
    CastValueCodec,
    ScaleOffsetCodec,
    integer_range,
)
from lazytensor.io.codec.site import Site
from lazytensor.io.codec.text import CategoryReader, TextReader

__all__ = [
    "astype",
    "bitround",
    "cast_value",
    "categorize",
    "category_reader",
    "delta",
    "fixed_scale_offset",
    "flags",
    "pack_bits",
    "pcodec",
    "quantize",
    "scale_offset",
]

_TEXT = r"[<>|=]?U\d{1,6}"
_MOST_LABEL_BYTES = 1 << 26
_MOST_MAPPED = 1 << 12


def _checked(site: Site, codec: ValueCodec) -> ValueCodec:
    """The codec, if it decodes to the values that it was given to encode."""
    if site.zarr_format == 3 and codec.decoded != site.dtype:
        raise FormatError(
            f"{site.where}: it decodes to {codec.decoded}; expected {site.dtype}, the data type of "
            "the array at this place"
        )
    return codec


def _types(site: Site) -> tuple[np.dtype, np.dtype]:
    """``dtype`` and ``astype``, which is the same unless it says otherwise."""
    decoded = site.number_type("dtype", site.dtype if site.zarr_format == 3 else None)
    return decoded, site.number_type("astype", decoded)


def delta(site: Site) -> ByteCodec:
    """``dtype`` and ``astype``."""
    return _checked(site, DeltaCodec(*_types(site)))


def quantize(site: Site) -> ByteCodec | None:
    """``dtype`` and ``astype``; the digits were lost when it was encoded."""
    decoded, stored = _types(site)
    codec = _checked(site, AsTypeCodec("quantize", decoded, stored))
    return None if decoded == stored else codec


def astype(site: Site) -> ByteCodec | None:
    """``decode_dtype`` and ``encode_dtype``."""
    decoded = site.number_type("decode_dtype", site.dtype if site.zarr_format == 3 else None)
    stored = site.number_type("encode_dtype", None)
    if stored.kind == "c" and decoded.kind != "c":
        raise site.wrong("encode_dtype", f"a type whose values {decoded} can hold")
    codec = _checked(site, AsTypeCodec("astype", decoded, stored))
    return None if decoded == stored else codec


def fixed_scale_offset(site: Site) -> ByteCodec:
    """``scale`` and ``offset`` as numbers; ``dtype`` and ``astype``."""
    decoded, stored = _types(site)
    scale, offset = (_number(site, key) for key in ("scale", "offset"))
    try:
        with np.errstate(all="ignore"):
            np.empty(0, stored) / scale + offset
    except (OverflowError, TypeError) as error:
        raise FormatError(f"{site.where}: {error}") from error
    codec = FixedScaleOffsetCodec(decoded, stored, scale=scale, offset=offset)
    return _checked(site, codec)


def _number(site: Site, key: str) -> float:
    value = site.settings.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise site.wrong(key, "a number")
    return value


def _labels(site: Site, itemsize: int) -> list[str]:
    labels = site.settings.get("labels")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise site.wrong("labels", "a list of strings")
    if (len(labels) + 1) * itemsize > _MOST_LABEL_BYTES:
        raise site.wrong("labels", f"at most {_MOST_LABEL_BYTES} bytes of labels")
    return labels


def categorize(site: Site) -> ByteCodec:
    """``labels``, ``dtype`` (strings of a fixed size) and ``astype``."""
    text = site.settings.get("dtype")
    if not isinstance(text, str) or not re.fullmatch(_TEXT, text):
        raise site.wrong("dtype", "the dtype of strings, such as '<U8'")
    dtype = np.dtype(text)
    stored = site.number_type("astype", np.dtype("u1"))
    return CategoriesCodec(_labels(site, dtype.itemsize), dtype, stored)


def category_reader(site: Site) -> TextReader:
    """As ``categorize``, for strings of any length."""
    stored = site.number_type("astype", np.dtype("u1"))
    try:
        return CategoryReader(_labels(site, 1), stored)
    except UnicodeEncodeError as error:
        raise FormatError(f"{site.where}: labels: {error}") from error


def flags(site: Site) -> ByteCodec:
    """numcodecs' ``packbits``: no settings, booleans only."""
    if site.zarr_format == 3 and site.dtype != np.bool_:
        raise FormatError(f"{site.where}: expected an array of bool, found {site.dtype}")
    return FlagsCodec()


def pack_bits(site: Site) -> ByteCodec:
    """The ``packbits`` of v3: which bits, and where the number of padding bits stands."""
    site.only("padding_encoding", "first_bit", "last_bit")
    dtype = site.dtype
    bits = None if dtype is None else bits_of(dtype)
    if dtype is None or bits is None:
        raise FormatError(f"{site.where}: expected an array of numbers, found {dtype}")
    first = site.integer("first_bit", 0, bits - 1, 0)
    last = site.integer("last_bit", first, bits - 1, bits - 1)
    padding = site.choice("padding_encoding", PADDING_PLACES, "none")
    return PackBitsCodec(dtype, first, last, padding)


def pcodec(site: Site) -> ByteCodec:
    """No settings; the type is that of the values, and of times their number."""
    dtype = site.dtype
    if dtype is not None and dtype.kind in "mM" and dtype.isnative:
        dtype = np.dtype("i8")
    if dtype not in PCODEC_TYPES:
        raise FormatError(
            f"{site.where}: pcodec holds numbers in this machine's byte order, and not {dtype}"
        )
    return PcodecCodec(dtype)


def scale_offset(site: Site) -> ByteCodec:
    """``scale`` and ``offset``, scalars of the array's data type."""
    site.only("scale", "offset")
    dtype = _real(site, site.dtype, "the array")
    if dtype.kind not in "iu" and integer_range(dtype) is not None:
        raise FormatError(f"{site.where}: arithmetic on {dtype} is not supported")
    scale = site.parse_scalar(site.settings.get("scale", 1), dtype, f"{site.where}: scale")
    offset = site.parse_scalar(site.settings.get("offset", 0), dtype, f"{site.where}: offset")
    if scale == 0:
        raise site.wrong("scale", "anything but zero")
    return ScaleOffsetCodec(dtype, scale=scale, offset=offset)


def _real(site: Site, dtype: np.dtype | None, what: str) -> np.dtype:
    if dtype is None or dtype.kind in "bc" or bits_of(dtype) is None:
        raise FormatError(f"{site.where}: expected integers or floats in {what}, found {dtype}")
    return dtype


def cast_value(site: Site) -> ByteCodec:
    """``data_type``, ``rounding``, ``out_of_range`` and ``scalar_map``."""
    site.only("data_type", "rounding", "out_of_range", "scalar_map")
    decoded = _real(site, site.dtype, "the array")
    kind = site.parse_type(site.settings.get("data_type"), f"{site.where}: data_type")
    stored = _real(site, kind, "data_type")
    rounding = site.choice("rounding", tuple(ROUNDINGS), "nearest-even")
    out_of_range = site.choice("out_of_range", OUT_OF_RANGE, "error")
    if out_of_range == "wrap" and integer_range(stored) is None:
        raise site.wrong("out_of_range", "no 'wrap', which only integers do,")
    wide = stored.kind in "iu" and stored.itemsize == 8 and integer_range(decoded) is None
    if wide and (decoded.kind != "f" or rounding != "nearest-even"):
        raise FormatError(
            f"{site.where}: casting {stored} to {decoded}, rounding {rounding}, is not supported"
        )
    return CastValueCodec(
        decoded,
        stored,
        rounding=rounding,
        out_of_range=out_of_range,
        decoding=_pairs(site, "decode", stored, decoded),
        encoding=_pairs(site, "encode", decoded, stored),
    )


def _pairs(
    site: Site, direction: str, source: np.dtype, target: np.dtype
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The scalars that are mapped and not cast, by direction."""
    scalars = site.settings.get("scalar_map") or {}
    entries: Any = scalars.get(direction) or [] if isinstance(scalars, dict) else None
    if (
        not isinstance(entries, list)
        or len(entries) > _MOST_MAPPED
        or not all(isinstance(entry, list) and len(entry) == 2 for entry in entries)
    ):
        raise site.wrong("scalar_map", f"at most {_MOST_MAPPED} pairs for each direction")
    where = f"{site.where}: scalar_map: {direction}"
    return [
        (site.parse_scalar(key, source, where), site.parse_scalar(image, target, where))
        for key, image in entries
    ]


def bitround(site: Site) -> None:
    """Values were rounded before they were stored: decoding changes nothing."""
