"""Names and settings in metadata to encoders: what ``table`` is for decoding.

An encoder is made of the settings and of the decoder of the same codec, which has checked what
decoding depends on. One table serves both versions of zarr: where a name means two things, the
decoder is of two classes. What can be decoded can be encoded, but for what only decoding makes
sense of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from lazytensor.io.codec.bytecodec import ByteCodec
from lazytensor.io.codec.encode import Encoder
from lazytensor.io.codec.encode_packed import TextWriter
from lazytensor.io.codec.site import Site
from lazytensor.plan.registry import resolve

__all__ = ["encoder", "text_writer"]

_ENCODERS: Mapping[str, str] = {
    "adler32": "encode_bytes:checksum",
    "astype": "encode_values:astype",
    "base64": "encode_bytes:base64",
    "bitround": "encode_values:bitround",
    "blosc": "encode_bytes:blosc",
    "bz2": "encode_bytes:bz2",
    "cast_value": "encode_values:cast_value",
    "categorize": "encode_values:categorize",
    "crc32": "encode_bytes:checksum",
    "crc32c": "encode_bytes:checksum",
    "delta": "encode_values:delta",
    "fixedscaleoffset": "encode_values:fixed_scale_offset",
    "fletcher32": "encode_bytes:fletcher32",
    "gzip": "encode_bytes:gzip",
    "jenkins_lookup3": "encode_bytes:checksum",
    "lz4": "encode_bytes:lz4",
    "lzma": "encode_bytes:lzma",
    "packbits": "encode_packed:packbits",
    "pcodec": "encode_packed:pcodec",
    "quantize": "encode_values:quantize",
    "scale_offset": "encode_values:scale_offset",
    "shuffle": "encode_bytes:shuffle",
    "zlib": "encode_bytes:zlib",
    "zstd": "encode_bytes:zstd",
}
_WRITERS: Mapping[str, str] = {
    "categorize": "encode_packed:categories_writer",
    "vlen-utf8": "encode_packed:utf8_writer",
}


def encoder(name: str, site: Site, codec: ByteCodec | None) -> Encoder | None:
    """The encoder for a name, whose decoder is ``codec``; None where encoding changes nothing.

    ``FormatError`` for settings that are none. Every name that ``table`` decodes is known here.

    >>> encoder("numcodecs.zlib", Site({"level": 3}, "zarr.json"), None)
    zlib
    """
    make = resolve(f"{__package__}.{_ENCODERS[name.removeprefix('numcodecs.')]}")
    found = cast("Callable[[Site, ByteCodec | None], Encoder | None]", make)
    return found(site, codec)


def text_writer(name: str, site: Site) -> TextWriter:
    """What makes bytes of strings.

    >>> write = text_writer("vlen-utf8", Site({}, "zarr.json"))
    >>> bytes(write(np.array(["ab"], np.dtypes.StringDType())))
    b'\\x01\\x00\\x00\\x00\\x02\\x00\\x00\\x00ab'
    """
    make = resolve(f"{__package__}.{_WRITERS[name.removeprefix('numcodecs.')]}")
    return cast("Callable[[Site], TextWriter]", make)(site)
