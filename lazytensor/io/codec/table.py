"""Names and settings in metadata to decoders: the one place that knows what codecs are called.

Four tables, by what a codec makes of what: bytes of bytes, values of values, bytes of numbers, and
bytes of strings. Zarr v2 has one list of filters in which they mix; v3 keeps them apart, spells
those of numcodecs with a prefix (``"numcodecs.zstd"``), and has two formats called ``packbits``.

Encoder settings (levels, the compressor inside blosc, ...) do not matter for decoding and are not
looked at. What is not in a table is refused by name, and what never will be says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.codec.site import Site
from lazytensor.plan.registry import resolve

if TYPE_CHECKING:
    from lazytensor.io.codec.bytecodec import ByteCodec
    from lazytensor.io.codec.text import TextReader

__all__ = [
    "Kind",
    "array_codec",
    "byte_codec",
    "codec_kind",
    "filter_v2",
    "number_codec",
    "text_reader",
]

Kind = Literal["array -> array", "array -> bytes", "bytes -> bytes"]
_Makers = Mapping[str, str]
"""By name the function that makes a codec of its settings (a ``Site``), ``"module:function"`` in
this package: a store needs one or two of these modules."""

_BYTES = {
    "adler32": "settings_bytes:adler32",
    "base64": "settings_bytes:base64",
    "blosc": "bytecodec:blosc",
    "bz2": "streams:bz2",
    "crc32": "settings_bytes:crc32",
    "crc32c": "settings_bytes:crc32c",
    "fletcher32": "checksums:fletcher32",
    "gzip": "streams:gzip",
    "jenkins_lookup3": "settings_bytes:jenkins_lookup3",
    "lz4": "bytecodec:lz4",
    "lzma": "settings_bytes:lzma",
    "shuffle": "settings_bytes:shuffle",
    "zlib": "streams:zlib",
    "zstd": "zstd:zstd",
}
_VALUES = {
    "astype": "settings_values:astype",
    "bitround": "settings_values:bitround",
    "delta": "settings_values:delta",
    "fixedscaleoffset": "settings_values:fixed_scale_offset",
    "packbits": "settings_values:flags",
    "quantize": "settings_values:quantize",
}
_V2 = {
    **_BYTES,
    **_VALUES,
    "categorize": "settings_values:categorize",
    "pcodec": "settings_values:pcodec",
}
_V3_BYTES = _BYTES | {f"numcodecs.{name}": make for name, make in _BYTES.items()}
_V3_ARRAYS = {
    **{f"numcodecs.{name}": make for name, make in _VALUES.items()},
    "bitround": "settings_values:bitround",
    "cast_value": "settings_values:cast_value",
    "scale_offset": "settings_values:scale_offset",
}
_V3_NUMBERS = {
    "numcodecs.pcodec": "settings_values:pcodec",
    "packbits": "settings_values:pack_bits",
    "pcodec": "settings_values:pcodec",
}
_TEXTS = {
    "categorize": "settings_values:category_reader",
    "numcodecs.vlen-utf8": "text:utf8",
    "vlen-utf8": "text:utf8",
}
_V3_TEXTS = {name: make for name, make in _TEXTS.items() if name != "categorize"}
# Those that say how an array is cut and laid out; what they mean is not known here.
_STRUCTURAL = ("bytes", "sharding_indexed")
_KINDS: dict[str, Kind] = {
    **dict.fromkeys((*_V3_ARRAYS, "reshape", "transpose"), "array -> array"),
    **dict.fromkeys((*_V3_NUMBERS, *_V3_TEXTS, *_STRUCTURAL), "array -> bytes"),
    **dict.fromkeys(_V3_BYTES, "bytes -> bytes"),
}
_OBJECTS = "its values are Python objects; write strings, or a fixed-size data type"
_NEVER = {
    "json2": _OBJECTS,
    "msgpack2": _OBJECTS,
    "pickle": "reading a pickle can run any program",
    "vlen-array": "NumPy holds arrays of variable length only as Python objects",
    "vlen-bytes": "NumPy holds byte strings of variable length only as Python objects",
    "zfpy": "its package breaks numcodecs, and is never imported",
}


def _refused(name: str, site: Site, known: Mapping[str, object]) -> FormatError:
    reason = _NEVER.get(name.removeprefix("numcodecs."))
    return FormatError(
        f"{site.where}: codec {name!r} is not supported"
        + (f": {reason}" if reason else f"; known are {', '.join(sorted(known))}")
    )


def _made(table: _Makers, name: str, site: Site) -> object:
    if name not in table:
        raise _refused(name, site, table)
    make = resolve(f"{__package__}.{table[name]}")
    return make(site)


def codec_kind(name: str, site: Site) -> Kind:
    """What the codec of that name in zarr v3 makes of what; ``FormatError`` if there is none.

    >>> codec_kind("numcodecs.delta", Site({}, "zarr.json"))
    'array -> array'
    """
    if name not in _KINDS:
        raise _refused(name, site, _KINDS)
    return _KINDS[name]


def byte_codec(
    name: str,
    settings: Mapping[str, Any],
    where: str,
    *,
    zarr_format: int,
    dtype: np.dtype | None = None,
) -> ByteCodec:
    """The codec from bytes to bytes; ``FormatError`` if there is none of that name.

    ``dtype``: of the array, whose elements are shuffled where a v3 codec does not say which.

    >>> byte_codec("numcodecs.zlib", {}, "zarr.json", zarr_format=3)
    zlib
    """
    site = Site(settings, where, dtype, zarr_format)
    return cast("ByteCodec", _made(_BYTES if zarr_format == 2 else _V3_BYTES, name, site))


def array_codec(name: str, site: Site) -> ByteCodec | None:
    """The codec of zarr v3 from values to values, None where decoding changes nothing."""
    return cast("ByteCodec | None", _made(_V3_ARRAYS, name, site))


def number_codec(name: str, site: Site) -> ByteCodec:
    """The codec of zarr v3 from numbers to bytes (other than ``bytes`` itself)."""
    return cast("ByteCodec", _made(_V3_NUMBERS, name, site))


def text_reader(name: str, site: Site) -> TextReader:
    """The codec from strings to bytes, of either version."""
    return cast("TextReader", _made(_TEXTS, name, site))


def filter_v2(name: str, site: Site) -> ByteCodec | None:
    """The filter or compressor of zarr v2, None where decoding changes nothing."""
    return cast("ByteCodec | None", _made(_V2, name, site))
