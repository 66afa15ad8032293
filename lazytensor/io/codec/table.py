"""Names and settings in metadata to decoders: the one place that knows what codecs are called.

Four tables, by what a codec makes of what: bytes of bytes, values of values, bytes of numbers, and
bytes of strings. Zarr v2 has one list of filters in which they mix; v3 keeps them apart, spells
those of numcodecs with a prefix (``"numcodecs.zstd"``), and has two formats called ``packbits``.

Encoder settings (levels, the compressor inside blosc, ...) do not matter for decoding and are not
looked at. What is not in a table is refused by name, and what never will be says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.codec import settings_bytes as plain
from lazytensor.io.codec import settings_values as values
from lazytensor.io.codec.bytecodec import BloscCodec, ByteCodec, Lz4Codec
from lazytensor.io.codec.checksums import Fletcher32Codec
from lazytensor.io.codec.site import Site
from lazytensor.io.codec.streams import Bz2Codec, DeflateCodec
from lazytensor.io.codec.text import TextReader, Utf8Reader
from lazytensor.io.codec.zstd import ZstdCodec

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
_Made = TypeVar("_Made")
_Makers = dict[str, Callable[[Site], _Made]]

_BYTES: _Makers[ByteCodec] = {
    "adler32": plain.adler32,
    "base64": plain.base64,
    "blosc": lambda site: BloscCodec(),
    "bz2": lambda site: Bz2Codec(),
    "crc32": plain.crc32,
    "crc32c": plain.crc32c,
    "fletcher32": lambda site: Fletcher32Codec(),
    "gzip": lambda site: DeflateCodec("gzip", gzip=True),
    "jenkins_lookup3": plain.jenkins_lookup3,
    "lz4": lambda site: Lz4Codec(),
    "lzma": plain.lzma,
    "shuffle": plain.shuffle,
    "zlib": lambda site: DeflateCodec("zlib", gzip=False),
    "zstd": lambda site: ZstdCodec(),
}
# None: decoding changes nothing.
_VALUES: _Makers[ByteCodec | None] = {
    "astype": values.astype,
    "bitround": lambda site: None,
    "delta": values.delta,
    "fixedscaleoffset": values.fixed_scale_offset,
    "packbits": values.flags,
    "quantize": values.quantize,
}
_V2: _Makers[ByteCodec | None] = {
    **_BYTES,
    **_VALUES,
    "categorize": values.categorize,
    "pcodec": values.pcodec,
}
_V3_BYTES = _BYTES | {f"numcodecs.{name}": make for name, make in _BYTES.items()}
_V3_ARRAYS: _Makers[ByteCodec | None] = {
    **{f"numcodecs.{name}": make for name, make in _VALUES.items()},
    "bitround": lambda site: None,
    "cast_value": values.cast_value,
    "scale_offset": values.scale_offset,
}
_V3_NUMBERS: _Makers[ByteCodec] = {
    "numcodecs.pcodec": values.pcodec,
    "packbits": values.pack_bits,
    "pcodec": values.pcodec,
}
_TEXTS: _Makers[TextReader] = {
    "categorize": values.category_reader,
    "numcodecs.vlen-utf8": lambda site: Utf8Reader(),
    "vlen-utf8": lambda site: Utf8Reader(),
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


def _refused(name: str, site: Site, known: dict[str, object]) -> FormatError:
    reason = _NEVER.get(name.removeprefix("numcodecs."))
    return FormatError(
        f"{site.where}: codec {name!r} is not supported"
        + (f": {reason}" if reason else f"; known are {', '.join(sorted(known))}")
    )


def _made(table: _Makers[_Made], name: str, site: Site) -> _Made:
    if name not in table:
        raise _refused(name, site, dict(table))
    return table[name](site)


def codec_kind(name: str, site: Site) -> Kind:
    """What the codec of that name in zarr v3 makes of what; ``FormatError`` if there is none.

    >>> codec_kind("numcodecs.delta", Site({}, "zarr.json"))
    'array -> array'
    """
    if name not in _KINDS:
        raise _refused(name, site, dict(_KINDS))
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
    return _made(_BYTES if zarr_format == 2 else _V3_BYTES, name, site)


def array_codec(name: str, site: Site) -> ByteCodec | None:
    """The codec of zarr v3 from values to values, None where decoding changes nothing."""
    return _made(_V3_ARRAYS, name, site)


def number_codec(name: str, site: Site) -> ByteCodec:
    """The codec of zarr v3 from numbers to bytes (other than ``bytes`` itself)."""
    return _made(_V3_NUMBERS, name, site)


def text_reader(name: str, site: Site) -> TextReader:
    """The codec from strings to bytes, of either version."""
    return _made(_TEXTS, name, site)


def filter_v2(name: str, site: Site) -> ByteCodec | None:
    """The filter or compressor of zarr v2, None where decoding changes nothing."""
    return _made(_V2, name, site)
